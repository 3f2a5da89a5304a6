//! The permissions that podcreds needs: of a pod, from its annotations and from how its containers run podcreds (`usage`). Pure.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

mod needs;
mod usage;

pub(crate) use needs::{Need, needs};
pub(crate) use usage::{Usage, Word, Words};

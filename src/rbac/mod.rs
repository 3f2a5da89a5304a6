//! The permissions that podcreds needs: those of a pod, from its annotations and from how its containers run podcreds (`usage`,
//! `needs`), and the Roles that grant them to the service accounts of manifests (`workload`, `roles`, `write`). `grants` reads the Roles
//! that manifests already have. Pure.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

mod grants;
mod needs;
mod roles;
mod usage;
mod workload;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use grants::Grants;
pub(crate) use needs::{Need, annotation_key, needs};
pub(crate) use roles::{Role, Rule, roles};
pub(crate) use usage::{Usage, Word, Words, is_podcreds, repository};
pub(crate) use workload::{Defaults, PodSource, Problem, Problems, Workload};
pub(crate) use write::documents;

//! Kubeconfigs: what kubectl, cloud providers and people keep of the ways into their clusters. Files are read, merged and
//! selected from by kubectl's rules; what comes out is checked, but no file that it names has been read, and nobody asked.
//!
//! Sources: <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>,
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/> and, where they are silent,
//! <https://github.com/kubernetes/client-go/tree/master/tools/clientcmd>.

mod connect;
mod error;
mod loading_rules;
mod raw;
mod resolve;

#[cfg(test)]
mod tests;

pub(crate) use connect::{Proxies, Surroundings, open};
pub(crate) use error::{Error, Kind, Unusable};
pub use loading_rules::{Named, Wanted, load, merge};
pub use raw::parse;
pub use resolve::Access;
pub(crate) use resolve::{Exec, ExecCluster, Impersonation};

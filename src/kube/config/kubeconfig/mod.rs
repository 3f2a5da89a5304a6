//! Kubeconfigs: what kubectl, cloud providers and people keep of the ways into their clusters. Files are read, merged and
//! selected from by kubectl's rules; what comes out is checked, but no file that it names has been read, and nobody asked.
//!
//! Sources: <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>,
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/> and, where they are silent,
//! <https://github.com/kubernetes/client-go/tree/master/tools/clientcmd>.

mod access;
mod check;
mod entries;
mod error;
mod exec;
mod load;
mod open;
mod parse;
mod select;

#[cfg(test)]
mod tests;

pub use access::Access;
pub(crate) use access::Impersonation;
use entries::Entries;
pub(crate) use entries::Kubeconfig;
pub(crate) use error::{Error, Kind, Unusable};
pub(crate) use exec::{Exec, ExecCluster};
pub use load::{Named, load, merge, read_text};
pub(crate) use open::{Proxies, Surroundings, open};
pub use parse::parse;
pub use select::Wanted;

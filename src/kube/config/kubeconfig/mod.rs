//! Kubeconfigs, by kubectl's rules: files are parsed (`raw`), found, merged and selected from (`loading_rules`), validated
//! (`resolve`), and only then are the files that they name read (`connect`). No step contacts a server.
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

pub(crate) use connect::{ClientOptions, ConnectError, LoadError, ProxyEnv, load_client_config};
pub(crate) use error::{EntryError, EntryKind, Error};
pub use loading_rules::{LoadingRules, Overrides, load, merge};
pub use raw::parse;
pub use resolve::ResolvedConfig;
pub(crate) use resolve::{Exec, ExecCluster, Impersonation};

//! The program that a kubeconfig names to get credentials from.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

use std::fmt;
use std::path::PathBuf;

use crate::kube::{Interactive, Material, PluginVersion};
use crate::secret::SecretBytes;

/// A program that prints an `ExecCredential`, and how it is run.
pub struct Exec {
    /// An absolute path, or a name without a slash that is looked for in `PATH`.
    pub command: PathBuf,
    /// Its arguments. They may be secrets.
    pub args: Vec<String>,
    /// Variables that it gets beside those of this process.
    pub env: Vec<(String, SecretBytes)>,
    /// The version that it is asked in and must answer in.
    pub version: PluginVersion,
    /// Whether it may ask a person.
    pub interactive: Interactive,
    /// What a person can do if the program is not there. From elsewhere: it may have several lines and control characters.
    pub install_hint: Option<String>,
    /// The cluster, where the program wants to know it (`provideClusterInfo`).
    pub cluster: Option<ExecCluster>,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("command", &self.command)
            .field("version", &self.version)
            .field("interactive", &self.interactive)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// What goes into `spec.cluster` of the `ExecCredential` that the program gets.
/// Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-Cluster>
#[derive(Clone)]
pub struct ExecCluster {
    /// `server`, as the kubeconfig has it.
    pub server: String,
    /// `tls-server-name`
    pub server_name: Option<String>,
    /// `insecure-skip-tls-verify`
    pub insecure: bool,
    /// `certificate-authority-data`; a file has to be read for it.
    pub authority: Option<Material>,
    /// `proxy-url`
    pub proxy_url: Option<SecretBytes>,
    /// `config`: what the cluster's extension `client.authentication.k8s.io/exec` holds.
    pub config: Option<serde_json::Value>,
}

impl fmt::Debug for ExecCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCluster").field("server", &self.server).finish_non_exhaustive()
    }
}

//! The program that a kubeconfig names to get credentials from.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

use std::fmt;

use crate::kube::{PemSource, Plugin};
use crate::secret::SecretBytes;

/// A program that prints an `ExecCredential`, and what it wants to know.
#[derive(Debug)]
pub struct Exec {
    /// How it is run. Its command is an absolute path, or a name without a slash; it is not told the cluster yet.
    pub plugin: Plugin,
    /// The cluster, where the program wants to know it (`provideClusterInfo`).
    pub cluster: Option<ExecCluster>,
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
    pub authority: Option<PemSource>,
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

//! The configuration of a pod for its own cluster: the mounted service account and two environment variables.
//! Source: <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kube::auth::{Identity, open_token};
use crate::kube::config::{ClientConfig, Server, ServerError, Trust};
use crate::kube::reloading_file::{FileError, read_text};
use crate::kube::transport::tls::Roots;
use crate::object::{NameError, Namespace};

/// Where the kubelet mounts the service account.
pub(crate) const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Makes the configuration from the directory with `token` and `ca.crt`, and from the values of
/// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
///
/// # Errors
/// If one of them is missing or invalid.
pub fn load(
    directory: &Path,
    host: Option<&str>,
    port: Option<&str>,
    request_timeout: Duration,
) -> Result<ClientConfig, Error> {
    let variable = |name, value: Option<&str>| {
        value.filter(|value| !value.is_empty()).map(str::to_owned).ok_or(Error::NotInPod { variable: name })
    };
    let host = variable("KUBERNETES_SERVICE_HOST", host)?;
    let port = variable("KUBERNETES_SERVICE_PORT", port)?;
    let server = Server::parse(&host, &port)?;
    let roots = Roots::open(directory.join("ca.crt"))?;
    let token = open_token(directory.join("token"))?;
    Ok(ClientConfig {
        server,
        server_name: None,
        trust: Trust::Roots(roots),
        identity: Identity { token: Some(token), ..Identity::default() },
        proxy: None,
        request_timeout,
        limits: None,
    })
}

/// Reads the namespace of the pod from the same directory.
///
/// # Errors
/// If the file is missing or invalid.
pub(crate) fn namespace(directory: &Path) -> Result<Namespace, Error> {
    let path = directory.join("namespace");
    let text = read_text(&path)?;
    Namespace::parse(&text).map_err(|cause| Error::Namespace { path, cause })
}

/// What is missing in the pod. Each message says what provides it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An environment variable of the kubelet is not set.
    #[error(
        "{variable} is not set: the kubelet sets it in every pod; outside a pod, use a kubeconfig: --kubeconfig, KUBECONFIG or ~/.kube/config"
    )]
    NotInPod {
        /// Its name.
        variable: &'static str,
    },
    /// The address of the API server is invalid.
    #[error("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT: {0}")]
    Server(#[from] ServerError),
    /// `token`, `ca.crt` or `namespace` cannot be used.
    #[error("{0}; {MOUNTED_BY}")]
    File(#[from] FileError),
    /// `namespace` holds an invalid name.
    #[error("{}: {cause}; {MOUNTED_BY}", path.display())]
    Namespace {
        /// The file.
        path: PathBuf,
        /// What is invalid.
        #[source]
        cause: NameError,
    },
}

const MOUNTED_BY: &str =
    "the kubelet mounts it unless automountServiceAccountToken is false on the pod or its service account";

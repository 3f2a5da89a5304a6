//! The way into the cluster that every pod has: the mounted service account and two environment variables.
//! Source: <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kube::auth::Identity;
use crate::kube::auth::token;
use crate::kube::config::server::{Server, ServerError};
use crate::kube::config::{ClientConfig, Trust};
use crate::kube::reloading_file::{FileError, read_text};
use crate::kube::transport::ca_bundle::Roots;
use crate::object::{NameError, Namespace};

/// Where the kubelet mounts the service account.
pub(crate) const SERVICE_ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Makes the configuration from the folder that holds `token` and `ca.crt`, and from the values of
/// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
///
/// # Errors
/// What is missing or wrong, and what provides it in a pod.
pub fn load(
    folder: &Path,
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
    let roots = Roots::open(folder.join("ca.crt"))?;
    let token = token::open(folder.join("token"))?;
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

/// Reads the pod's namespace from the folder.
///
/// # Errors
/// As [`load`].
pub(crate) fn namespace(folder: &Path) -> Result<Namespace, Error> {
    let path = folder.join("namespace");
    let text = read_text(&path)?;
    Namespace::parse(&text).map_err(|cause| Error::Namespace { path, cause })
}

/// What a pod should have and has not. Each message ends with what provides it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No API server is named.
    #[error(
        "{variable} is not set: the kubelet sets it in every pod; outside of one, name a kubeconfig with --kubeconfig or KUBECONFIG, or have one at ~/.kube/config"
    )]
    NotInPod {
        /// The variable.
        variable: &'static str,
    },
    /// The API server's address is wrong.
    #[error("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT: {0}")]
    Server(#[from] ServerError),
    /// A file that is missing, empty or garbled.
    #[error("{0}; {MOUNTED_BY}")]
    File(#[from] FileError),
    /// `namespace` holds no namespace.
    #[error("{}: {cause}; {MOUNTED_BY}", path.display())]
    Namespace {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: NameError,
    },
}

const MOUNTED_BY: &str =
    "the kubelet mounts it unless automountServiceAccountToken is false on the pod or its service account";

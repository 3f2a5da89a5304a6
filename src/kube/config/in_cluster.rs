//! The configuration of a pod for its own cluster: the mounted service account and two environment variables.
//! Source: <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>

use std::io::ErrorKind;
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
    let roots = Roots::open(directory.join("ca.crt")).map_err(|error| unusable(directory, CA, error))?;
    let token =
        open_token(directory.join("token"), None).map_err(|error| unusable(directory, TOKEN, error))?;
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
    let text = read_text(&path).map_err(|error| unusable(directory, NAMESPACE, error))?;
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
    #[error("{cause}{}{remedy}", if remedy.is_empty() { "" } else { "; " })]
    File {
        /// Which file, and why.
        #[source]
        cause: FileError,
        /// What to do; empty if the cause says it.
        remedy: &'static str,
    },
    /// `namespace` holds an invalid name.
    #[error("{}: {cause}; {}", path.display(), NAMESPACE.broken)]
    Namespace {
        /// The file.
        path: PathBuf,
        /// What is invalid.
        #[source]
        cause: NameError,
    },
}

/// A file of the service account's directory, and what to do if it is missing there or its content cannot be used.
#[derive(Clone, Copy)]
struct MountedFile {
    missing: &'static str,
    broken: &'static str,
}

const TOKEN: MountedFile = MountedFile {
    missing: "add a serviceAccountToken source with the path token to the projected volume that is mounted there",
    broken: "",
};
const CA: MountedFile = MountedFile {
    missing: "add the key ca.crt of the ConfigMap kube-root-ca.crt to the projected volume that is mounted there",
    broken: "check the ConfigMap kube-root-ca.crt in the pod's namespace, which the kubelet mounts there",
};
const NAMESPACE: MountedFile = MountedFile {
    missing: "set POD_NAMESPACE from metadata.namespace with the downward API, or add a downwardAPI item for metadata.namespace with the path namespace to the projected volume that is mounted there",
    broken: "set POD_NAMESPACE from metadata.namespace with the downward API",
};
const NOT_MOUNTED: &str =
    "the kubelet mounts it unless automountServiceAccountToken is false on the pod or its service account";
const DENIED: &str = "podcreds runs as another user: set fsGroup in the pod's securityContext, or defaultMode: 0444 in the projected volume that is mounted there";

fn unusable(directory: &Path, file: MountedFile, cause: FileError) -> Error {
    let remedy = remedy(file, cause.io_error(), directory.exists());
    Error::File { cause, remedy }
}

/// `error` is `None` if the file can be read, but not its content.
fn remedy(file: MountedFile, error: Option<ErrorKind>, is_mounted: bool) -> &'static str {
    match error {
        Some(ErrorKind::NotFound) if is_mounted => file.missing,
        Some(ErrorKind::NotFound) => NOT_MOUNTED,
        Some(ErrorKind::PermissionDenied) => DENIED,
        Some(_) => "",
        None => file.broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_namespace_is_not_reported_as_a_missing_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("namespace"), "Prod\n").unwrap();
        let message = namespace(directory.path()).unwrap_err().to_string();
        assert!(message.ends_with(NAMESPACE.broken), "{message}");
        assert!(!message.contains("projected volume"), "{message}");
    }

    #[test]
    fn each_problem_of_the_service_accounts_directory_has_the_remedy_that_fits() {
        for file in [TOKEN, CA, NAMESPACE] {
            for (error, is_mounted, expected) in [
                (Some(ErrorKind::NotFound), false, NOT_MOUNTED),
                (Some(ErrorKind::NotFound), true, file.missing),
                (Some(ErrorKind::PermissionDenied), true, DENIED),
                (Some(ErrorKind::IsADirectory), true, ""),
                (None, true, file.broken),
            ] {
                assert_eq!(remedy(file, error, is_mounted), expected, "{error:?}");
            }
        }
    }
}

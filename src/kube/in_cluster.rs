//! The way into the cluster that every pod has: the mounted service account and two environment variables.
//! Source: <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kube::config::{ClientConfig, Roots, RootsError, Server, ServerError};
use crate::kube::token::{TokenError, TokenFile};
use crate::object::{NameError, Namespace};

/// Where the kubelet mounts the service account.
pub const SERVICE_ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The largest `ca.crt` that is read, in bytes: some hundreds of certificates.
const CA_LIMIT: u64 = 1024 * 1024;
/// The largest `namespace` file that is read, in bytes.
const NAMESPACE_LIMIT: u64 = 1024;

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
    let ca = folder.join("ca.crt");
    let roots = Roots::parse(&read(&ca, CA_LIMIT)?).map_err(|cause| Error::Roots { path: ca, cause })?;
    let token = TokenFile::open(folder.join("token"))?;
    Ok(ClientConfig { server, roots, token, request_timeout })
}

/// Reads the pod's namespace from the folder.
///
/// # Errors
/// As [`load`].
pub fn namespace(folder: &Path) -> Result<Namespace, Error> {
    let path = folder.join("namespace");
    let bytes = read(&path, NAMESPACE_LIMIT)?;
    let text = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    if text.is_empty() {
        return Err(Error::Empty { path });
    }
    Namespace::parse(&text).map_err(|cause| Error::Namespace { path, cause })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let unreadable = |cause| Error::Unreadable { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path).map_err(unreadable)?.take(limit + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.trim_ascii() {
        [] => Err(Error::Empty { path: path.to_owned() }),
        _ if bytes.len() as u64 > limit => {
            Err(unreadable(io::Error::other(format!("it is larger than {limit} bytes"))))
        }
        _ => Ok(bytes),
    }
}

/// What a pod should have and has not. Each message ends with what provides it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No API server is named.
    #[error(
        "{variable} is not set: the kubelet sets it in every pod; outside of one, podcreds has no API server to ask"
    )]
    NotInPod {
        /// The variable.
        variable: &'static str,
    },
    /// The API server's address is wrong.
    #[error("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT: {0}")]
    Server(#[from] ServerError),
    /// A file that is not there or not readable.
    #[error("{} cannot be read: {cause}; {MOUNTED_BY}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file with nothing in it.
    #[error("{} is empty; {MOUNTED_BY}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// `ca.crt` is no bundle of certificates.
    #[error("{} {cause}; {MOUNTED_BY}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: RootsError,
    },
    /// `token` holds no token.
    #[error("{0}; {MOUNTED_BY}")]
    Token(#[from] TokenError),
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

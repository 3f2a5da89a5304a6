//! Client configuration, validated before the first connection: from a pod's service account, a kubeconfig or a clusters file.

pub mod clusters;
pub mod in_cluster;
pub mod kubeconfig;
pub(crate) mod server;

use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::kube::auth::Identity;
use crate::kube::rate_limit::Limits;
use crate::kube::reloading_file::Reloading;
use crate::kube::transport::ca_bundle::Roots;
use crate::kube::transport::proxy::Proxy;

pub use server::Server;
pub(crate) use server::ServerError;

/// How to connect to one cluster.
#[derive(Debug)]
pub struct ClientConfig {
    /// The API server's address.
    pub server: Server,
    /// The name to verify in its certificate (`tls-server-name`). `None` means the host of the address.
    pub server_name: Option<TlsName>,
    /// How to verify its certificate.
    pub trust: Trust,
    /// The credentials.
    pub identity: Identity,
    /// The forward proxy.
    pub proxy: Option<Proxy>,
    /// The timeout of each phase of a request: sending it, the first byte of the response, the rest of it.
    pub request_timeout: Duration,
    /// The client-side rate limit. `None` means no limit.
    pub limits: Option<Limits>,
}

/// How to verify an API server's certificate.
#[derive(Debug)]
pub enum Trust {
    /// Verify against these CAs.
    Roots(Reloading<Roots>),
    /// Skip verification: a man in the middle can read and modify everything.
    Insecure,
}

/// A name or address that a certificate can be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(pub ServerName<'static>);

impl TlsName {
    /// Checks the name.
    ///
    /// # Errors
    /// If it is neither a DNS name nor an IP address.
    pub(crate) fn parse(text: &str) -> Result<Self, TlsNameError> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| TlsNameError)
    }
}

/// A name that cannot appear in a certificate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is neither a DNS name nor an IP address")]
pub(crate) struct TlsNameError;

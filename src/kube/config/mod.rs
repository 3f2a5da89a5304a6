//! All that a client needs to know of a cluster, checked before the first connection.

pub mod clusters_file;
pub(crate) mod duration;
pub mod in_cluster;
pub mod kubeconfig;
pub(crate) mod registry;
pub(crate) mod server;

use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::kube::auth::identity::Identity;
use crate::kube::limits::Limits;
use crate::kube::reloading_file::Followed;
use crate::kube::transport::ca_bundle::Roots;
use crate::kube::transport::proxy::Proxy;

pub use server::Server;
pub(crate) use server::ServerError;

/// One cluster and the way into it.
#[derive(Debug)]
pub struct ClientConfig {
    /// Where the API server is.
    pub server: Server,
    /// The name that its certificate must have; none for that of the address.
    pub server_name: Option<TlsName>,
    /// Which certificates it may show.
    pub trust: Trust,
    /// Who we are.
    pub identity: Identity,
    /// What stands between it and us.
    pub proxy: Option<Proxy>,
    /// The bound on each phase of a request: sending it, the first byte of the answer, the rest of it.
    pub request_timeout: Duration,
    /// How often it is asked; none for as often as there is something to ask.
    pub limits: Option<Limits>,
}

/// Which certificates an API server may show.
#[derive(Debug)]
pub enum Trust {
    /// Those that lead to one of these.
    Roots(Followed<Roots>),
    /// Any: whoever stands between may read and change everything.
    Anybody,
}

/// A name or address that a certificate can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(pub ServerName<'static>);

impl TlsName {
    /// Checks the name.
    ///
    /// # Errors
    /// If it is neither a DNS name nor an address.
    pub(crate) fn parse(text: &str) -> Result<Self, TlsNameError> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| TlsNameError)
    }
}

/// What no certificate can be for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is neither a DNS name nor an address, which a certificate could be for")]
pub(crate) struct TlsNameError;

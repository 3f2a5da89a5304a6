//! Configures and starts a server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};

use rustls::crypto::ring;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::super::pki::{Authority, Issued, Leaf, OpensslMissing};
use super::listener::Doors;
use super::objects::Objects;
use super::routes::Access;
use super::watches::Watches;
use super::{ApiServer, Cluster, Shared, TOKEN, bind, listen};

/// The configuration of a server.
pub(crate) struct Builder {
    tls_versions: Vec<&'static SupportedProtocolVersion>,
    leaf: Leaf,
    issued: Option<Issued>,
    authority: Option<Arc<Authority>>,
    tokens: Vec<String>,
    host: IpAddr,
    port: u16,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tls_versions: rustls::ALL_VERSIONS.to_vec(),
            leaf: Leaf::default(),
            issued: None,
            authority: None,
            tokens: vec![TOKEN.to_owned()],
            host: Ipv4Addr::LOCALHOST.into(),
            port: 0,
        }
    }
}

impl Builder {
    /// Sets the TLS versions, such as `&[&rustls::version::TLS12]`.
    pub(crate) fn tls_versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.tls_versions = versions.to_vec();
        self
    }

    /// Sets the contents of the server certificate.
    pub(crate) fn leaf(mut self, leaf: Leaf) -> Self {
        self.leaf = leaf;
        self
    }

    /// Presents this certificate instead of one signed by the server's authority.
    pub(crate) fn shows(mut self, issued: Issued) -> Self {
        self.issued = Some(issued);
        self
    }

    /// Uses the authority of another server.
    pub(crate) fn authority(mut self, authority: &Arc<Authority>) -> Self {
        self.authority = Some(Arc::clone(authority));
        self
    }

    /// Accepts this bearer token instead of [`TOKEN`].
    pub(crate) fn token(mut self, token: &str) -> Self {
        self.tokens = vec![token.to_owned()];
        self
    }

    /// Listens on this address, `127.0.0.1` or `[::1]`.
    pub(crate) fn bind(mut self, host: &str) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        self.host = bare.parse().unwrap_or_else(|_| panic!("{host:?} is not an IP address"));
        self
    }

    /// Listens on this port, for a server that comes back. The default is a free port.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// If the address cannot be bound, or if the key needs openssl and it is not installed.
    pub(crate) fn start(self) -> ApiServer {
        self.try_start().unwrap_or_else(|missing| panic!("{missing}"))
    }

    /// Starts the server.
    ///
    /// # Errors
    /// If the key needs openssl and it is not installed.
    pub(crate) fn try_start(self) -> Result<ApiServer, OpensslMissing> {
        let authority = self.authority.unwrap_or_else(|| Arc::new(Authority::new()));
        let issued = match self.issued {
            Some(issued) => issued,
            None => authority.issue(&self.leaf)?,
        };
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.tls_versions)
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(issued.chain(), issued.key())
            .expect("the key belongs to the certificate");

        let listener = bind(SocketAddr::new(self.host, self.port));
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            tls: Arc::new(tls),
            cluster: Mutex::new(Cluster {
                objects: Objects::default(),
                access: Access::new(self.tokens),
                watches: Watches::default(),
                gone_as_status: false,
                held: 0,
                releases: 0,
            }),
            changed: Condvar::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            doors: Doors::default(),
        });
        let acceptor = Mutex::new(Some(listen(&shared, listener)));
        Ok(ApiServer { address, authority, shared, acceptor })
    }
}

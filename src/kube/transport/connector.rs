//! What makes connections: TCP, through a proxy if there is one, and TLS over it, with bounds on every buffer.

use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout, TcpConnector};

use crate::kube::auth::client_cert::ClientCertificate;
use crate::kube::config::TlsName;
use crate::kube::config::server::Server;
use crate::kube::transport::ca_bundle::Roots;
use crate::kube::transport::proxy::Proxy;
use crate::kube::transport::tls::{self, Tls};

/// The receive buffer of a connection: a TLS record.
const INPUT_BUFFER: usize = 16 * 1024;
/// The send buffer of a connection: a request with its token. The default is 128 KiB, which a sidecar has for each watch.
const OUTPUT_BUFFER: usize = 8 * 1024;

/// For the API server's audit log.
const USER_AGENT: &str = concat!("podcreds/", env!("CARGO_PKG_VERSION"));

/// What stays the same for all agents of a client.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its host and port.
    server: String,
    name: Option<ServerName<'static>>,
    proxy: Option<Proxy>,
}

impl Line {
    pub(crate) fn new(server: &Server, name: Option<&TlsName>, proxy: Option<Proxy>) -> Self {
        Self { server: server.authority(), name: name.map(|name| name.0.clone()), proxy }
    }

    /// An agent that trusts these roots, or anybody without, and shows this certificate.
    pub(crate) fn agent(&self, roots: Option<&Roots>, certificate: Option<&ClientCertificate>) -> Agent {
        let config = Agent::config_builder()
            .https_only(true)
            // The default takes variables of the environment, which are for the caller to read.
            .proxy(self.proxy.as_ref().map(Proxy::inner))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .build();
        let tls = Tls {
            server: self.server.clone(),
            name: self.name.clone(),
            config: tls::config(roots, certificate),
        };
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
        Agent::with_parts(config, connector, Addresses::default())
    }
}

/// Takes an address as it is; ureq's own resolver starts a thread for it wherever there is a bound on time.
#[derive(Debug, Default)]
struct Addresses {
    names: DefaultResolver,
}

impl Resolver for Addresses {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        match (host.parse::<IpAddr>(), uri.port_u16()) {
            (Ok(address), Some(port)) => {
                let mut resolved = self.empty();
                resolved.push(SocketAddr::new(address, port));
                Ok(resolved)
            }
            _ => self.names.resolve(uri, config, timeout),
        }
    }
}

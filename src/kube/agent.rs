//! What makes connections: TCP, through a proxy if there is one, and TLS over it, with bounds on every buffer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector,
    Transport,
};

use crate::kube::certificate::ClientCertificate;
use crate::kube::config::TlsName;
use crate::kube::proxy::Proxy;
use crate::kube::roots::Roots;
use crate::kube::server::Server;

/// The receive buffer of a connection: a TLS record.
const INPUT_BUFFER: usize = 16 * 1024;
/// The send buffer of a connection: a request with its token. The default is 128 KiB, which a sidecar has for each watch.
const OUTPUT_BUFFER: usize = 8 * 1024;

/// For the API server's audit log.
const USER_AGENT: &str = concat!("podcreds/", env!("CARGO_PKG_VERSION"));

/// What stays the same for all agents of a client.
#[derive(Debug)]
pub(super) struct Line {
    /// The host of the server as it stands in a URL, and the name that its certificate must have instead.
    renamed: Option<(Uri, Uri)>,
    proxy: Option<Proxy>,
}

impl Line {
    pub(super) fn new(server: &Server, name: Option<&TlsName>, proxy: Option<Proxy>) -> Self {
        // Both are checked already: what cannot be a URI here is no name of a host.
        let uri = |host: &str| format!("https://{host}:{}/", server.port()).parse().ok();
        let renamed = name.and_then(|name| Some((uri(server.url_host())?, uri(&name.as_host())?)));
        Self { renamed, proxy }
    }

    /// An agent that trusts these roots, or anybody without, and shows this certificate.
    pub(super) fn agent(&self, roots: Option<&Roots>, certificate: Option<&ClientCertificate>) -> Agent {
        let certificates = roots.map(Roots::certificates).unwrap_or_default();
        let certificates: Vec<_> =
            certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&certificates))
            .disable_verification(roots.is_none())
            .client_cert(certificate.map(ClientCertificate::shown))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
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
        let tls = Tls { renamed: self.renamed.clone(), rustls: RustlsConnector::default() };
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
        Agent::with_parts(config, connector, Addresses::default())
    }
}

/// TLS with the server's certificate checked for another name than that of its address, where that is wanted
/// (`tls-server-name`). A proxy on the way keeps its own name.
#[derive(Debug)]
struct Tls {
    renamed: Option<(Uri, Uri)>,
    rustls: RustlsConnector,
}

impl<In: Transport> Connector<In> for Tls {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let named = self.renamed.as_ref().filter(|(host, _)| host.authority() == details.uri.authority());
        let Some((_, uri)) = named else { return self.rustls.connect(details, chained) };
        let details = ConnectionDetails {
            uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        self.rustls.connect(&details, chained)
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

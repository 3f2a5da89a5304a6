//! Requests to an API server and the connections that carry them: TCP, CONNECT through a proxy if there is one (`proxy`), TLS on top
//! (`tls`), and a timeout for each phase. `error` maps what fails.

pub(crate) mod error;
pub(crate) mod proxy;
pub(crate) mod tls;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use ureq::config::Config;
use ureq::http::{self, Method, Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout, TcpConnector};
use ureq::{Agent, AsSendBody, Body};

pub(crate) use proxy::{Proxy, ProxyError, bypasses_proxy};
pub use tls::Roots;
pub(crate) use tls::RootsError;

use crate::kube::auth::client_cert::ClientCertificate;
use crate::kube::config::{Server, TlsName};
use crate::kube::transport::tls::Tls;

/// The receive buffer of a connection: a TLS record.
const INPUT_BUFFER: usize = 16 * 1024;
/// The send buffer of a connection: a request with its token. ureq's default is 128 KiB, which a sidecar would hold per watch.
const OUTPUT_BUFFER: usize = 8 * 1024;

/// The timeout for TCP, proxy and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Appears in the API server's audit log.
const USER_AGENT: &str = concat!("podcreds/", env!("CARGO_PKG_VERSION"));

pub(crate) const JSON: &str = "application/json";
/// `Accept` header for an object's metadata: the spec of a pod, with other people's environment variables, is not requested. A
/// server that does not know the form answers with the whole object.
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>
pub(crate) const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// `Accept` header for metadata-only lists.
pub(crate) const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A request to an API server.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    /// The media type of the body, and the body.
    pub(crate) content: Option<(&'static str, &'a [u8])>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str, accept: &'a str) -> Self {
        Self { method: Method::GET, path, accept, content: None }
    }
}

/// The timeouts of a request. `None` means no limit.
pub(crate) struct Timeouts {
    /// The whole request and its response.
    pub(crate) global: Option<Duration>,
    /// Each phase up to the response headers.
    pub(crate) phase: Duration,
    /// The whole response body.
    pub(crate) body: Option<Duration>,
    /// The silence between two reads of the response body.
    pub(crate) per_read: Option<Duration>,
}

/// Sends a request and waits for the response headers.
pub(crate) fn send<S: AsSendBody>(
    agent: &Agent,
    request: Result<http::Request<S>, http::Error>,
    timeouts: &Timeouts,
) -> Result<Response<Body>, ureq::Error> {
    let request = agent
        .configure_request(request?)
        .timeout_global(timeouts.global)
        .timeout_resolve(Some(timeouts.phase))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeouts.phase)))
        .timeout_send_request(Some(timeouts.phase))
        .timeout_send_body(Some(timeouts.phase))
        .timeout_recv_response(Some(timeouts.phase))
        .timeout_recv_body(timeouts.body)
        .timeout_per_read(timeouts.per_read)
        .build();
    agent.run(request)
}

/// `Retry-After` in seconds, the only form that Kubernetes sends.
pub(crate) fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Connection parameters shared by every agent of a client.
#[derive(Debug)]
pub(crate) struct ConnectionParams {
    /// Host and port.
    server: String,
    /// The name to verify instead of the host (`tls-server-name`).
    name: Option<ServerName<'static>>,
    proxy: Option<Proxy>,
}

impl ConnectionParams {
    pub(crate) fn new(server: &Server, name: Option<&TlsName>, proxy: Option<Proxy>) -> Self {
        Self { server: server.authority(), name: name.map(|name| name.0.clone()), proxy }
    }

    /// Builds an agent that verifies servers against `roots` (`None`: no verification) and presents `certificate`.
    pub(crate) fn agent(&self, roots: Option<&Roots>, certificate: Option<&ClientCertificate>) -> Agent {
        let config = Agent::config_builder()
            .https_only(true)
            // By default ureq reads the proxy from the environment, which only the command line may do.
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
        Agent::with_parts(config, connector, LiteralAddrResolver::default())
    }
}

/// Takes IP addresses as they are. ureq's own resolver starts a thread for each lookup with a timeout, even for an address.
#[derive(Debug, Default)]
struct LiteralAddrResolver {
    names: DefaultResolver,
}

impl Resolver for LiteralAddrResolver {
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

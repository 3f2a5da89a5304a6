//! Requests to an API server and the connections that carry them: TCP, CONNECT through a proxy if there is one (`proxy`), TLS on top
//! (`tls`), and a timeout for each phase. `resolver` looks names up, and `error` maps what fails.

mod buffers;
pub(crate) mod error;
pub(crate) mod proxy;
pub(crate) mod resolver;
mod tcp;
pub(crate) mod tls;
mod tunnel;
mod verify;

use std::time::Duration;

use rustls::pki_types::ServerName;
use ureq::http::{self, Method, Response};
use ureq::unversioned::transport::Connector;
use ureq::{Agent, AsSendBody, Body};

pub(crate) use proxy::{Proxy, ProxyError, bypasses_proxy};
pub(crate) use tcp::ReadDeadline;
pub use tls::Roots;
pub(crate) use tls::RootsError;

use crate::kube::auth::client_cert::ClientCertificate;
use crate::kube::config::{Server, TlsName};
use crate::kube::transport::resolver::ThreadResolver;
use crate::kube::transport::tcp::Tcp;
use crate::kube::transport::tls::Tls;
use crate::kube::transport::tunnel::Tunnel;

/// The most requests that are sent to an API server at the same time to read many objects. As many connections are kept for the
/// next requests; ureq's default of 3 would close the others after each request.
pub(crate) const MAX_CONNECTIONS: usize = 8;

/// Appears in the API server's audit log.
const USER_AGENT: &str = concat!("podcreds/", env!("CARGO_PKG_VERSION"));

pub(crate) const JSON: &str = "application/json";
/// `Accept` header that requests only an object's metadata, without, for example, the variables in a pod's spec. A server that does
/// not support it responds with the whole object.
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
    /// Whether the client-side rate limit applies. Not to Events, which have a limit of their own: no read waits for one.
    pub(crate) is_limited: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str, accept: &'a str) -> Self {
        Self { method: Method::GET, path, accept, content: None, is_limited: true }
    }
}

/// Which connection a request takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Connection<'a> {
    /// An idle one, or a new one that later requests share.
    Shared,
    /// A new one of its own, which is closed after the response.
    Own(&'a ReadDeadline),
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
        .timeout_connect(Some(timeouts.phase))
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

/// Builds an agent for one request to a server that is not an API server, without a proxy and without redirects. `roots` are for an
/// `https` URL, which cannot be requested without them.
pub(crate) fn one_time_agent(uri: &http::Uri, roots: Option<&Roots>, timeout: Duration) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .max_idle_connections(0)
        .user_agent(USER_AGENT)
        .build();
    let none = || Err(rustls::Error::General("no certificate authority".to_owned()));
    let config_of = |roots| tls::config(Some(roots), None);
    let server = uri.authority().map(ToString::to_string).unwrap_or_default();
    let tls = Tls { server, name: None, config: roots.map_or_else(none, config_of) };
    Agent::with_parts(config, ().chain(Tcp::default()).chain(tls), ThreadResolver)
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

    /// Prepares TLS that verifies servers against `roots` (`None`: no verification) and presents `certificate`. The agents of a client
    /// share it.
    pub(crate) fn tls(&self, roots: Option<&Roots>, certificate: Option<&ClientCertificate>) -> Tls {
        Tls { server: self.server.clone(), name: self.name.clone(), config: tls::config(roots, certificate) }
    }

    /// Builds an agent, which holds the connections of its requests.
    pub(crate) fn agent(&self, tls: &Tls, connection: Connection<'_>) -> Agent {
        let (idle, tcp) = match connection {
            Connection::Shared => (MAX_CONNECTIONS, Tcp::default()),
            Connection::Own(read_deadline) => (0, Tcp { read_deadline: read_deadline.clone() }),
        };
        let config = Agent::config_builder()
            .https_only(true)
            // By default ureq reads the proxy from the environment, which only the command line may do.
            .proxy(self.proxy.as_ref().map(Proxy::inner))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .max_idle_connections(idle)
            .max_idle_connections_per_host(MAX_CONNECTIONS)
            .build();
        let connector = ().chain(Tunnel::default()).chain(tcp).chain(tls.clone());
        Agent::with_parts(config, connector, ThreadResolver)
    }
}

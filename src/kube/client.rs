//! A client of one API server. Each method is a single attempt; retries are the work of `attempts`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::{debug, warn};
use ureq::http::{self, HeaderMap, Method, Response, StatusCode};
use ureq::{Agent, Body};

use crate::kube::auth::{ExecAuth, Identity};
use crate::kube::body::{self, Content};
use crate::kube::config::{ClientConfig, Server, Trust};
use crate::kube::decode::{self, Status};
use crate::kube::error::{Cause, Error};
use crate::kube::partial_json::PartialJson;
use crate::kube::reloading_file::Reloading;
use crate::kube::request_metrics::RequestMetrics;
use crate::kube::retry::{Deadline, RateLimiter};
use crate::kube::transport::error::from_ureq;
use crate::kube::transport::proxy::Proxy;
use crate::kube::transport::tls::{Roots, Tls};
use crate::kube::transport::{
    self, Connection, ConnectionParams, JSON, METADATA_LIST, METADATA_ONLY, Request, Timeouts, retry_after,
};
use crate::object::{ObjectData, ObjectRef};
use crate::secret::SecretBytes;
use crate::thread::{lock, semaphore::Semaphore};

/// How many watches of a cluster may receive and decode a large event at the same time. It takes about three times its size.
const LARGE_EVENTS: usize = 4;
/// How many large responses of a cluster may be in memory at the same time.
const LARGE_RESPONSES: usize = 6;

/// A client of one API server, for any number of threads. Requests share kept-alive connections.
#[derive(Debug)]
pub struct Client {
    server: Server,
    pub(super) request_timeout: Duration,
    plugin_timeout: Duration,
    pub(super) limiter: RateLimiter,
    /// See [`LARGE_EVENTS`].
    pub(super) permits: Semaphore,
    /// See [`LARGE_RESPONSES`].
    read_permits: Semaphore,
    proxy: Option<Proxy>,
    state: Mutex<ConnectionState>,
    /// The number of requests that are being sent or received, without watches.
    under_way: AtomicUsize,
    requests: Arc<RequestMetrics>,
}

/// Connection state that is rebuilt when credentials or certificate authorities rotate.
#[derive(Debug)]
struct ConnectionState {
    identity: Identity,
    /// `None` means that servers are not verified.
    roots: Option<Reloading<Roots>>,
    params: ConnectionParams,
    /// Built for the current roots and client certificate; replaced when one of them changes.
    tls: Tls,
    agent: Agent,
}

/// A state of an object: a Secret, ConfigMap or Service, or the annotations of a pod.
#[derive(Debug, PartialEq, Eq)]
pub struct Object<T = ObjectData> {
    /// The `resourceVersion`.
    pub version: String,
    /// The content.
    pub data: T,
}

/// A response whose body is not read yet.
pub(super) struct Exchange {
    pub(super) response: Response<Body>,
    pub(super) agent: Agent,
    /// See [`Identity::invalidate`].
    exec_generation: u64,
}

impl Client {
    /// Prepares the client without connecting.
    pub fn new(config: ClientConfig) -> Self {
        Self::with_metrics(config, Arc::default())
    }

    /// Prepares a client that counts its requests in `requests`.
    pub(crate) fn with_metrics(config: ClientConfig, requests: Arc<RequestMetrics>) -> Self {
        let ClientConfig { server, server_name, trust, identity, proxy, request_timeout, limits } = config;
        let mut roots = match trust {
            Trust::Roots(roots) => Some(roots),
            Trust::Insecure => {
                warn!(
                    "TLS verification of {server} is disabled (insecure-skip-tls-verify): a man in the middle can read and modify everything, including the token"
                );
                None
            }
        };
        let params = ConnectionParams::new(&server, server_name.as_ref(), proxy.clone());
        let trusted = roots.as_mut().map(|roots| roots.current().0);
        let tls = params.tls(trusted.as_ref(), identity.certificate());
        let agent = params.agent(&tls, Connection::Shared);
        let plugin_timeout = identity.plugin.as_ref().map(ExecAuth::timeout).unwrap_or_default();
        let state = Mutex::new(ConnectionState { identity, roots, params, tls, agent });
        let limiter = RateLimiter::new(limits);
        let (permits, read_permits) = (Semaphore::new(LARGE_EVENTS), Semaphore::new(LARGE_RESPONSES));
        let under_way = AtomicUsize::new(0);
        Self {
            server,
            request_timeout,
            plugin_timeout,
            limiter,
            permits,
            read_permits,
            proxy,
            state,
            under_way,
            requests,
        }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The counters of this client's requests.
    pub(crate) fn requests(&self) -> Arc<RequestMetrics> {
        Arc::clone(&self.requests)
    }

    /// Closes idle connections, unless a request is in progress, whose connection the next one may use. An idle connection costs the
    /// API server as much memory as a watch.
    pub(crate) fn close_idle(&self) {
        // The lock is held for long only by an exec plugin, whose request is about to need a connection.
        if self.under_way.load(Ordering::Relaxed) == 0
            && let Ok(mut state) = self.state.try_lock()
        {
            state.agent = state.params.agent(&state.tls, Connection::Shared);
        }
    }

    /// Maximum wait for the exec plugin, including time queued behind other callers. Zero without a plugin.
    pub(crate) fn plugin_timeout(&self) -> Duration {
        self.plugin_timeout
    }

    /// Maximum time from the call to the response headers: rate limit, exec plugin, name resolution, connection, sending the
    /// request and the first byte.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.request_timeout.saturating_mul(5).saturating_add(self.plugin_timeout)
    }

    /// Requests a pod, or its metadata only: returns its annotations, and the other fields that podcreds uses.
    ///
    /// # Errors
    /// If this attempt fails. If [`Error::is_final`] is true, a retry cannot succeed.
    pub(crate) fn pod(
        &self,
        pod: &ObjectRef,
        metadata_only: bool,
        deadline: Deadline,
    ) -> Result<(Object<BTreeMap<String, String>>, PartialJson), Error> {
        let accept = if metadata_only { METADATA_ONLY } else { JSON };
        let read = || {
            let body = self.get_object(pod, accept, deadline)?;
            let (version, data) = decode::annotations(pod, body.expose())?;
            Ok((Object { version, data }, PartialJson::parse(body.expose()).unwrap_or_default()))
        };
        read().map_err(|cause| Error::new(pod, cause))
    }

    /// Requests a Secret, a ConfigMap or a Service.
    ///
    /// # Errors
    /// If this attempt fails. If [`Error::is_final`] is true, a retry cannot succeed.
    pub fn object(&self, object: &ObjectRef, deadline: Deadline) -> Result<Object, Error> {
        let read = || decode::object(object, self.get_object(object, JSON, deadline)?.expose());
        let (version, data) = read().map_err(|cause| Error::new(object, cause))?;
        Ok(Object { version, data })
    }

    /// `GET` of an object. Returns the body.
    pub(crate) fn get_object(
        &self,
        object: &ObjectRef,
        accept: &str,
        deadline: Deadline,
    ) -> Result<Content, Cause> {
        let path = format!("{}/{}", collection_path(object), object.name());
        self.execute_for(object, "get", &Request::get(&path, accept), deadline)
    }

    /// `GET` of any path and query, of the whole object or its metadata only. Returns the body.
    ///
    /// # Errors
    /// If this attempt fails. [`Cause::Forbidden`] has no hint: only the caller knows which rule grants the request.
    pub(crate) fn get_path(
        &self,
        path: &str,
        metadata_only: bool,
        deadline: Deadline,
    ) -> Result<SecretBytes, Cause> {
        self.execute(&Request::get(path, if metadata_only { METADATA_ONLY } else { JSON }), deadline)
            .map(Content::into_bytes)
    }

    /// `GET` of a list, with the metadata of its objects only. Returns the body. A metadata-only list has a media type of its own;
    /// the server answers 406 to that of an object.
    ///
    /// # Errors
    /// As [`Client::get_path`].
    pub(crate) fn list_metadata(&self, path: &str, deadline: Deadline) -> Result<SecretBytes, Cause> {
        self.execute(&Request::get(path, METADATA_LIST), deadline).map(Content::into_bytes)
    }

    /// `POST` of JSON, for example of a `SubjectAccessReview`. Returns the body of the response.
    ///
    /// # Errors
    /// As [`Client::get_path`].
    pub(crate) fn post(&self, path: &str, content: &str, deadline: Deadline) -> Result<SecretBytes, Cause> {
        let content = Some((JSON, content.as_bytes()));
        self.execute(
            &Request { method: Method::POST, path, accept: JSON, content, is_limited: true },
            deadline,
        )
        .map(Content::into_bytes)
    }

    /// Like [`Client::execute`], with a hint at the rule that grants RBAC's `verb` on the object.
    pub(crate) fn execute_for(
        &self,
        object: &ObjectRef,
        verb: &str,
        request: &Request<'_>,
        deadline: Deadline,
    ) -> Result<Content, Cause> {
        self.execute(request, deadline).map_err(|cause| cause.with_hint(object, verb))
    }

    /// Sends a request and returns the body of a successful response.
    fn execute(&self, request: &Request<'_>, deadline: Deadline) -> Result<Content, Cause> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let result = self.try_execute(request, deadline);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        result
    }

    fn try_execute(&self, request: &Request<'_>, deadline: Deadline) -> Result<Content, Cause> {
        if request.is_limited {
            self.limiter.wait(deadline.remaining()).map_err(|delay| self.rate_limited(delay))?;
        }
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(Cause::DeadlineExceeded { server: self.server.clone() });
        }
        // A phase times out slightly before the deadline, so that the message can name the phase.
        let phase = self.request_timeout.min(left - left / 10);
        self.exchange(request, left, phase).map_err(|cause| match cause {
            Cause::TimedOut { server, phase: name, .. } => {
                Cause::TimedOut { server, phase: name, is_cut_short: phase < self.request_timeout }
            }
            cause => cause,
        })
    }

    fn exchange(&self, request: &Request<'_>, left: Duration, phase: Duration) -> Result<Content, Cause> {
        let started = Instant::now();
        let timeouts = Timeouts { global: Some(left), phase, body: Some(phase), per_read: None };
        let exchange = self.send(request, &timeouts, Connection::Shared)?;
        let status = exchange.response.status();
        if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
            return Err(self.rejection(exchange)?);
        }
        let body = self.read(exchange.response, phase)?;
        let (method, path, took) = (&request.method, request.path, started.elapsed().as_millis());
        debug!("{method} {path}: {status}, {} bytes in {took} ms", body.expose().len());
        Ok(body)
    }

    /// Maps an unsuccessful response.
    pub(super) fn rejection(&self, exchange: Exchange) -> Result<Cause, Cause> {
        let Exchange { response, exec_generation, .. } = exchange;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let Status { message, is_not_found } =
            decode::status(self.read(response, self.request_timeout)?.expose());
        debug!("the API server answered {status}: {message}");
        Ok(match status {
            300..=399 => Cause::Redirected { server: self.server.clone(), status },
            401 => {
                let identity = &mut self.state().identity;
                identity.invalidate(exec_generation);
                Cause::Unauthorized { credentials: identity.kind(), message }
            }
            403 => Cause::Forbidden { message, hint: None },
            404 if is_not_found => Cause::NotFound { message },
            404 => Cause::unreadable("404 without the reason NotFound, as from a proxy"),
            408 | 429 | 500.. => Cause::Unavailable { status, message, retry_after },
            status => Cause::Refused { status, message },
        })
    }

    pub(super) fn send(
        &self,
        request: &Request<'_>,
        timeouts: &Timeouts,
        connection: Connection<'_>,
    ) -> Result<Exchange, Cause> {
        let asked = Instant::now();
        let (agent, headers, exec_generation) = self.state().prepare(asked, timeouts.global, connection)?;
        let mut builder =
            http::Request::builder().method(&request.method).uri(self.server.request_url(request.path));
        if let Some(all) = builder.headers_mut() {
            *all = headers;
        }
        let builder = builder.header("accept", request.accept);
        let response = match request.content {
            None => transport::send(&agent, builder.body(()), timeouts),
            Some((media_type, content)) => {
                transport::send(&agent, builder.header("content-type", media_type).body(content), timeouts)
            }
        };
        self.requests.count(response.as_ref().ok().map(|response| response.status().as_u16()));
        let response = response.map_err(|error| from_ureq(&self.server, self.proxy.as_ref(), &error))?;
        Ok(Exchange { response, agent, exec_generation })
    }

    fn read(&self, response: Response<Body>, within: Duration) -> Result<Content, Cause> {
        let failed = |error: &ureq::Error| from_ureq(&self.server, self.proxy.as_ref(), error);
        body::read(response.into_body(), &self.read_permits, within, &failed)
    }

    pub(super) fn rate_limited(&self, delay: Duration) -> Cause {
        Cause::RateLimited { server: self.server.clone(), delay }
    }

    /// Locks the connection state. This may take as long as [`Client::plugin_timeout`]: `prepare` runs an exec plugin while it holds
    /// the lock. That is deliberate, as in client-go, whose `getCreds` holds a mutex too: a plugin must not run twice at the same
    /// time (it may prompt the user), and no request can be sent before it has finished. `asked` in [`ExecAuth::refresh`] and the
    /// timeout keep the waiters from queueing up behind one plugin after another.
    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        // A thread that panics while it holds the lock leaves a state that is still valid.
        lock(&self.state)
    }
}

impl ConnectionState {
    /// Reloads what has changed, and returns the agent, the authentication headers and the generation of the exec credential.
    fn prepare(
        &mut self,
        asked: Instant,
        within: Option<Duration>,
        connection: Connection<'_>,
    ) -> Result<(Agent, HeaderMap, u64), Cause> {
        let auth = self.identity.authenticate(asked, within)?;
        let roots = self.roots.as_mut().map(Reloading::current);
        if auth.is_certificate_changed || roots.as_ref().is_some_and(|(_, is_changed)| *is_changed) {
            let roots = roots.as_ref().map(|(roots, _)| roots);
            self.tls = self.params.tls(roots, self.identity.certificate());
            self.agent = self.params.agent(&self.tls, Connection::Shared);
        }
        let agent = match connection {
            Connection::Shared => self.agent.clone(),
            Connection::Own(_) => self.params.agent(&self.tls, connection),
        };
        Ok((agent, auth.headers, auth.exec_generation))
    }
}

/// The path of all objects of this kind in its namespace.
pub(crate) fn collection_path(object: &ObjectRef) -> String {
    format!("/api/v1/namespaces/{}/{}", object.namespace, object.kind.resource())
}

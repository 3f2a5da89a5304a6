//! One connection to one API server, and single attempts to read an object over it. Trying again is the work of `retry`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::{debug, warn};
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use crate::kube::auth::exec_auth::PluginIdentity;
use crate::kube::auth::identity::Identity;
use crate::kube::config::server::Server;
use crate::kube::config::{ClientConfig, Trust};
use crate::kube::decode::{self, Status};
use crate::kube::error::{Cause, Error};
use crate::kube::limits::Limiter;
use crate::kube::reloading_file::Followed;
use crate::kube::request::{
    Bounds, Call, JSON, LIST_OF_METADATA, METADATA_ONLY, collection, retry_after, run,
};
use crate::kube::request_metrics::Requests;
use crate::kube::retry::Deadline;
use crate::kube::transport::ca_bundle::Roots;
use crate::kube::transport::connector::Line;
use crate::kube::transport::error;
use crate::kube::transport::proxy::Proxy;
use crate::kube::watch::Watch;
use crate::object::{Data, ObjectRef};
use crate::secret::{SecretBuffer, SecretBytes};
use crate::thread::lock;

/// The largest answer that is read, in bytes. etcd holds objects of 1.5 MiB; a pod's metadata may come with its
/// `managedFields`.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// The bytes that are read at once.
const CHUNK: usize = 8 * 1024;

/// A client of one API server, for any number of threads. Requests share kept-alive connections.
#[derive(Debug)]
pub struct Client {
    server: Server,
    request_timeout: Duration,
    /// The bound on a credential plugin; zero where there is none.
    plugin_timeout: Duration,
    limiter: Limiter,
    proxy: Option<Proxy>,
    way: Mutex<Way>,
    requests: Arc<Requests>,
}

/// What may change while the client lives.
#[derive(Debug)]
struct Way {
    identity: Identity,
    /// Which certificates are trusted; without, any.
    roots: Option<Followed<Roots>>,
    line: Line,
    /// Made for these roots and this certificate; others need another.
    agent: Agent,
}

/// What a Secret, ConfigMap or Service held, and in which version.
#[derive(Debug)]
pub struct Object {
    /// Its `resourceVersion`.
    pub version: String,
    /// Its content.
    pub data: Data,
}

impl Client {
    /// Prepares the client; nothing is connected yet.
    pub fn new(config: ClientConfig) -> Self {
        Self::counted(config, Arc::default())
    }

    /// The same, with its requests counted here.
    pub(crate) fn counted(config: ClientConfig, requests: Arc<Requests>) -> Self {
        let ClientConfig { server, server_name, trust, identity, proxy, request_timeout, limits } = config;
        let mut roots = match trust {
            Trust::Roots(roots) => Some(roots),
            Trust::Anybody => {
                warn!(
                    "the certificate of {server} is not verified (insecure-skip-tls-verify): whoever stands between can read and change everything, the token too"
                );
                None
            }
        };
        let line = Line::new(&server, server_name.as_ref(), proxy.clone());
        let trusted = roots.as_mut().map(|roots| roots.current().0);
        let agent = line.agent(trusted.as_ref(), identity.certificate());
        let plugin_timeout = identity.plugin.as_ref().map(PluginIdentity::timeout).unwrap_or_default();
        let way = Mutex::new(Way { identity, roots, line, agent });
        let limiter = Limiter::new(limits);
        Self { server, request_timeout, plugin_timeout, limiter, proxy, way, requests }
    }

    /// Who is asked.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// What counts this client's requests.
    pub(crate) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// The bound on waiting for a credential plugin, whoever else waits for it; zero where there is none.
    pub(crate) fn plugin_timeout(&self) -> Duration {
        self.plugin_timeout
    }

    /// The bound on a request up to its answer's header: its turn, a credential plugin if there is one, name, connection,
    /// sending and first byte.
    pub(crate) fn answer_timeout(&self) -> Duration {
        self.request_timeout.saturating_mul(5).saturating_add(self.plugin_timeout)
    }

    /// Reads a pod's annotations.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub(crate) fn annotations(
        &self,
        pod: &ObjectRef,
        deadline: Deadline,
    ) -> Result<BTreeMap<String, String>, Error> {
        let read = || decode::annotations(pod, self.get(pod, METADATA_ONLY, deadline)?.expose());
        read().map_err(|cause| Error::new(pod, cause))
    }

    /// Reads a Secret, a ConfigMap or a Service.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub fn object(&self, object: &ObjectRef, deadline: Deadline) -> Result<Object, Error> {
        let read = || decode::object(object, self.get(object, JSON, deadline)?.expose());
        let (version, data) = read().map_err(|cause| Error::new(object, cause))?;
        Ok(Object { version, data })
    }

    /// Watches one object from a version on, or from its present state where none is given. The API server is asked to
    /// end the watch after `lifetime`; a line that is silent for `silence` is taken for dead.
    ///
    /// # Errors
    /// If the watch cannot be opened.
    pub(crate) fn watch<'a>(
        &'a self,
        object: &'a ObjectRef,
        from: Option<&str>,
        lifetime: Duration,
        silence: Duration,
    ) -> Result<Watch<'a>, Error> {
        let mut path = format!(
            "{}?watch=true&fieldSelector=metadata.name%3D{}&allowWatchBookmarks=true&timeoutSeconds={}",
            collection(object),
            object.name(),
            lifetime.as_secs().max(1)
        );
        // Versions are opaque, but Kubernetes makes them of digits, and nothing else goes into an address.
        let is_plain = |version: &&str| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
        if let Some(version) = from.filter(is_plain) {
            path.push_str("&resourceVersion=");
            path.push_str(version);
        }
        // The API server was asked to end it before: a line that goes on for longer, a byte at a time, is no watch.
        let bounds =
            Bounds { whole: None, phase: self.request_timeout, body: Some(silence), silence: Some(silence) };
        let open = || {
            self.limiter.wait(self.request_timeout).map_err(|wait| self.limited(wait))?;
            let response = self.send(&Call::get(&path, METADATA_ONLY), &bounds)?;
            match response.status() {
                StatusCode::OK => Ok(Watch::new(object, &self.server, response.into_body())),
                _ => Err(self.refusal(response)?),
            }
        };
        open().map_err(|cause| Error::new(object, cause.of_watch().with_remedy(object, "watch")))
    }

    /// The body of a successful answer.
    pub(crate) fn get(
        &self,
        object: &ObjectRef,
        accept: &str,
        deadline: Deadline,
    ) -> Result<SecretBytes, Cause> {
        let path = format!("{}/{}", collection(object), object.name());
        self.exchange(object, "get", &Call::get(&path, accept), deadline)
    }

    /// Reads anything that the API server has, whole or its metadata alone: the body of a successful answer to
    /// `GET` of this path and query.
    ///
    /// # Errors
    /// If this attempt fails. A missing right comes without the rule that would grant it: only the caller knows it.
    pub(crate) fn read_path(
        &self,
        path: &str,
        metadata_only: bool,
        deadline: Deadline,
    ) -> Result<SecretBytes, Cause> {
        self.ask(&Call::get(path, if metadata_only { METADATA_ONLY } else { JSON }), deadline)
    }

    /// Reads the metadata of the objects of a list: the body of a successful answer to `GET` of this path and query. Lists
    /// have a form of their own, and a server answers 406 to the other one.
    ///
    /// # Errors
    /// As [`Client::read_path`].
    pub(crate) fn read_list(&self, path: &str, deadline: Deadline) -> Result<SecretBytes, Cause> {
        self.ask(&Call::get(path, LIST_OF_METADATA), deadline)
    }

    /// Sends JSON to this path by `POST`, as for a review: the body of a successful answer.
    ///
    /// # Errors
    /// As [`Client::read_path`].
    pub(crate) fn post_path(
        &self,
        path: &str,
        content: &str,
        deadline: Deadline,
    ) -> Result<SecretBytes, Cause> {
        let content = Some((JSON, content.as_bytes()));
        self.ask(&Call { method: Method::POST, path, accept: JSON, content }, deadline)
    }

    /// One request about an object and the body of its answer, if that is a success. `verb` is RBAC's.
    pub(crate) fn exchange(
        &self,
        object: &ObjectRef,
        verb: &str,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<SecretBytes, Cause> {
        self.ask(call, deadline).map_err(|cause| cause.with_remedy(object, verb))
    }

    fn ask(&self, call: &Call<'_>, deadline: Deadline) -> Result<SecretBytes, Cause> {
        self.limiter.wait(deadline.remaining()).map_err(|wait| self.limited(wait))?;
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(Cause::OutOfTime { server: self.server.clone() });
        }
        // A phase ends a little before the whole time does, so that the message can say which one it was.
        let bound = self.request_timeout.min(left - left / 10);
        let started = Instant::now();
        let bounds = Bounds { whole: Some(left), phase: bound, body: Some(bound), silence: None };
        let response = self.send(call, &bounds)?;
        let status = response.status();
        if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
            return Err(self.refusal(response)?);
        }
        let body = self.read(response.into_body())?;
        let (method, path, took) = (&call.method, call.path, started.elapsed().as_millis());
        debug!("{method} {path}: {status}, {} bytes in {took} ms", body.expose().len());
        Ok(body)
    }

    /// What an answer means that is no success.
    fn refusal(&self, response: Response<Body>) -> Result<Cause, Cause> {
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let Status { message, is_not_found } = decode::status(self.read(response.into_body())?.expose());
        debug!("the API server answered {status}: {message}");
        Ok(match status {
            300..=399 => Cause::Redirected { server: self.server.clone(), status },
            401 => {
                let identity = &mut self.way().identity;
                identity.is_refused();
                Cause::Unauthorized { what: identity.what(), message }
            }
            403 => Cause::Forbidden { message, remedy: None },
            404 if is_not_found => Cause::NotFound { message },
            404 => Cause::unreadable("404 without the reason NotFound, as from a proxy"),
            408 | 429 | 500.. => Cause::Busy { status, message, retry_after },
            status => Cause::Refused { status, message },
        })
    }

    fn send(&self, call: &Call<'_>, bounds: &Bounds) -> Result<Response<Body>, Cause> {
        let asked = Instant::now();
        let (agent, headers) = self.way().current(asked, bounds.whole)?;
        let mut request =
            Request::builder().method(&call.method).uri(format!("{}{}", self.server, call.path));
        if let Some(known) = request.headers_mut() {
            *known = headers;
        }
        let request = request.header("accept", call.accept);
        let answer = match call.content {
            None => run(&agent, request.body(()), bounds),
            Some((kind, content)) => run(&agent, request.header("content-type", kind).body(content), bounds),
        };
        self.requests.count(answer.as_ref().ok().map(|response| response.status().as_u16()));
        answer.map_err(|error| error::cause(&self.server, self.proxy.as_ref(), &error))
    }

    fn read(&self, body: Body) -> Result<SecretBytes, Cause> {
        let announced = body.content_length().unwrap_or(0);
        if announced > BODY_LIMIT as u64 {
            return Err(Cause::TooLarge { limit: BODY_LIMIT });
        }
        // All of it is overwritten in the end, byte by byte: a small answer has small buffers. One of unknown length is most often
        // a list.
        let room = usize::try_from(announced).ok().filter(|room| *room > 0).unwrap_or(CHUNK);
        let mut buffer = SecretBuffer::with_capacity(room);
        let mut reader = body.into_reader();
        let mut chunk = Zeroizing::new(vec![0; room.min(CHUNK)]);
        loop {
            match reader.read(chunk.as_mut_slice()) {
                Ok(0) => return Ok(buffer.finish()),
                Ok(count) if buffer.len() + count > BODY_LIMIT => {
                    return Err(Cause::TooLarge { limit: BODY_LIMIT });
                }
                Ok(count) => buffer.push(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error::cause(&self.server, self.proxy.as_ref(), &ureq::Error::from(error)));
                }
            }
        }
    }

    fn limited(&self, wait: Duration) -> Cause {
        Cause::Limited { server: self.server.clone(), wait }
    }

    /// A thread that panicked with the lock held cannot have left anything half-made behind.
    fn way(&self) -> MutexGuard<'_, Way> {
        lock(&self.way)
    }
}

impl Way {
    /// The agent, and the headers that say who we are, for the files as they are now.
    fn current(&mut self, asked: Instant, within: Option<Duration>) -> Result<(Agent, HeaderMap), Cause> {
        let (headers, certificate_changed) = self.identity.headers(asked, within)?;
        let roots = self.roots.as_mut().map(Followed::current);
        if certificate_changed || roots.as_ref().is_some_and(|(_, changed)| *changed) {
            let roots = roots.as_ref().map(|(roots, _)| roots);
            self.agent = self.line.agent(roots, self.identity.certificate());
        }
        Ok((self.agent.clone(), headers))
    }
}

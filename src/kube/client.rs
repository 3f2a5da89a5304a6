//! One connection to one API server, and single attempts to read an object over it. Trying again is the work of `retry`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::debug;
use ureq::config::Config;
use ureq::http::{HeaderValue, Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use crate::kube::body::{self, Status};
use crate::kube::config::{ClientConfig, Server};
use crate::kube::error::{Cause, Error};
use crate::kube::retry::Deadline;
use crate::kube::token::TokenFile;
use crate::object::{Data, ObjectRef};
use crate::secret::{SecretBuffer, SecretBytes};

/// The bound on TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes. etcd holds objects of 1.5 MiB; a pod's metadata may come with its
/// `managedFields`.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// The bytes that are read at once.
const CHUNK: usize = 8 * 1024;
/// The receive buffer of a connection: a TLS record.
const INPUT_BUFFER: usize = 16 * 1024;

const JSON: &str = "application/json";
/// Only the metadata of a pod is asked for, and no spec with other people's environment variables in it. A server that
/// does not know the form answers with the whole.
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches>
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// For the API server's audit log.
const USER_AGENT: &str = concat!("podcreds/", env!("CARGO_PKG_VERSION"));

/// A client of one API server. Requests share one kept-alive connection.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    server: Server,
    request_timeout: Duration,
    token: Mutex<TokenFile>,
}

impl Client {
    /// Prepares the client; nothing is connected yet.
    pub fn new(config: ClientConfig) -> Self {
        let roots: Vec<_> =
            config.roots.certificates().iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let bounds = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            // The default takes HTTPS_PROXY, which is not for the cluster's own address.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(USER_AGENT)
            .input_buffer_size(INPUT_BUFFER)
            .build();
        let agent = Agent::with_parts(bounds, DefaultConnector::new(), Addresses::default());
        let ClientConfig { server, request_timeout, token, .. } = config;
        Self { agent, server, request_timeout, token: Mutex::new(token) }
    }

    /// Reads a pod's annotations.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub fn annotations(
        &self,
        pod: &ObjectRef,
        deadline: Deadline,
    ) -> Result<BTreeMap<String, String>, Error> {
        let read = || body::annotations(pod, self.get(pod, METADATA_ONLY, deadline)?.expose());
        read().map_err(|cause| Error::new(pod, cause))
    }

    /// Reads what a Secret or ConfigMap holds.
    ///
    /// # Errors
    /// If this attempt fails; [`Error::is_final`] says whether another may succeed.
    pub fn data(&self, object: &ObjectRef, deadline: Deadline) -> Result<Data, Error> {
        let read = || body::data(object, self.get(object, JSON, deadline)?.expose());
        read().map_err(|cause| Error::new(object, cause))
    }

    /// The body of a successful answer.
    fn get(&self, object: &ObjectRef, accept: &str, deadline: Deadline) -> Result<SecretBytes, Cause> {
        let started = Instant::now();
        let path =
            format!("/api/v1/namespaces/{}/{}/{}", object.namespace, object.kind.resource(), object.name());
        let response = self.send(&path, accept, deadline)?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.read(response.into_body())?;
        debug!("GET {path}: {status}, {} bytes in {} ms", body.expose().len(), started.elapsed().as_millis());
        if status == StatusCode::OK {
            return Ok(body);
        }
        let Status { message, is_not_found } = body::status(body.expose());
        Err(match status.as_u16() {
            300..=399 => Cause::Redirected { server: self.server.clone(), status: status.as_u16() },
            401 => {
                self.lock_token().forget();
                Cause::Unauthorized { message }
            }
            403 => Cause::forbidden(object, message),
            404 if is_not_found => Cause::NotFound { message },
            404 => Cause::unreadable("404 without the reason NotFound, as from a proxy"),
            status @ (408 | 429 | 500..) => Cause::Busy { status, message, retry_after },
            status => Cause::Refused { status, message },
        })
    }

    fn send(&self, path: &str, accept: &str, deadline: Deadline) -> Result<Response<Body>, Cause> {
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(Cause::OutOfTime { server: self.server.clone() });
        }
        // A phase ends a little before the whole time does, so that the message can say which one it was.
        let bound = self.request_timeout.min(left - left / 10);
        let bearer = Zeroizing::new(format!("Bearer {}", self.lock_token().token()?.as_str()));
        let mut authorization =
            HeaderValue::from_str(&bearer).map_err(|_| Cause::unreadable("the token is no header value"))?;
        authorization.set_sensitive(true);
        self.agent
            .get(format!("{}{path}", self.server))
            .header("authorization", authorization)
            .header("accept", accept)
            .config()
            .timeout_global(Some(left))
            .timeout_resolve(Some(bound))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(bound)))
            .timeout_send_request(Some(bound))
            .timeout_recv_response(Some(bound))
            .timeout_recv_body(Some(bound))
            .build()
            .call()
            .map_err(|error| Cause::transport(&self.server, &error))
    }

    fn read(&self, body: Body) -> Result<SecretBytes, Cause> {
        let announced = body.content_length().unwrap_or(0);
        if announced > BODY_LIMIT as u64 {
            return Err(Cause::TooLarge { limit: BODY_LIMIT });
        }
        let mut buffer = SecretBuffer::with_capacity(usize::try_from(announced).unwrap_or(0).max(CHUNK));
        let mut reader = body.into_reader();
        let mut chunk = Zeroizing::new([0; CHUNK]);
        loop {
            match reader.read(chunk.as_mut_slice()) {
                Ok(0) => return Ok(buffer.finish()),
                Ok(count) if buffer.len() + count > BODY_LIMIT => {
                    return Err(Cause::TooLarge { limit: BODY_LIMIT });
                }
                Ok(count) => buffer.push(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Cause::transport(&self.server, &ureq::Error::from(error))),
            }
        }
    }

    /// A thread that panicked with the lock held cannot have left a half-made token behind.
    fn lock_token(&self) -> MutexGuard<'_, TokenFile> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
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

/// `Retry-After` in seconds, the only form that Kubernetes sends.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

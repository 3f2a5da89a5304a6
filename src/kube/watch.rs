//! A watch: the stream of an object's states. Each event carries the whole object, or the metadata of a pod, so no further request is
//! needed. A line is therefore secret.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::Agent;
use ureq::http::StatusCode;
use zeroize::Zeroizing;

use crate::kube::client::{Client, Exchange, collection_path};
use crate::kube::config::Server;
use crate::kube::decode;
use crate::kube::error::{Cause, Error};
use crate::kube::transport::error::from_ureq;
use crate::kube::transport::{Connection, JSON, METADATA_ONLY, ReadDeadline, Request, Timeouts};
use crate::object::{ObjectData, ObjectRef};
use crate::secret::SecretBuffer;
use crate::text::one_line;
use crate::thread::semaphore::{Permit, Semaphore};
use crate::thread::spawn_scoped;

/// How long a watch may be silent before it counts as dead. API servers send a bookmark each minute, so two have been lost by then.
pub(crate) const WATCH_SILENCE: Duration = Duration::from_secs(150);

/// The longest event, in bytes: as large as a response. etcd stores objects of up to 1.5 MiB; the API server adds `managedFields`.
/// A buffer grows with its event, and is freed after it.
const EVENT_LIMIT: usize = 4 * 1024 * 1024;
/// The longest event that needs no permit, in bytes: the most that each of many watches takes while it waits for one.
const SMALL_EVENT: usize = 64 * 1024;
/// The bytes per read. The buffer is on the stack of a thread that waits; a small one saves a page.
const CHUNK: usize = 1024;
/// The longest message of an error event that is repeated, in characters.
const MESSAGE_LIMIT: usize = 500;

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent<T> {
    /// The object was created or modified. This is its present state.
    Applied {
        /// The resourceVersion to resume from.
        version: String,
        data: T,
    },
    /// The object was deleted.
    Deleted {
        /// The resourceVersion to resume from.
        version: String,
    },
    /// The object has not changed up to this resourceVersion.
    Bookmark {
        /// The resourceVersion to resume from.
        version: String,
    },
}

impl<T> WatchEvent<T> {
    /// The resourceVersion to resume from.
    pub(crate) fn version(&self) -> &str {
        match self {
            Self::Applied { version, .. } | Self::Deleted { version } | Self::Bookmark { version } => version,
        }
    }
}

/// Decodes the resourceVersion and the content of an object.
type Decode<T> = fn(&ObjectRef, &[u8]) -> Result<(String, T), Cause>;

impl Client {
    /// Watches one object from a resourceVersion on. "0" means any state that the API server has at hand, which it sends first; a
    /// watch is never opened without a resourceVersion, which an API server in front of an old etcd refuses. The request asks the API
    /// server to close the watch after `lifetime`. A connection that is silent for `silence` is considered dead.
    ///
    /// # Errors
    /// If the watch cannot be opened.
    pub(crate) fn watch(
        &self,
        object: &ObjectRef,
        version: &str,
        lifetime: Duration,
        silence: Duration,
    ) -> Result<Watch<ObjectData>, Error> {
        self.open_watch(object, JSON, decode::object, version, lifetime, silence)
    }

    /// Watches the annotations of a pod, as [`Client::watch`] does other objects.
    ///
    /// # Errors
    /// If the watch cannot be opened.
    pub(crate) fn watch_annotations(
        &self,
        pod: &ObjectRef,
        version: &str,
        lifetime: Duration,
        silence: Duration,
    ) -> Result<Watch<BTreeMap<String, String>>, Error> {
        self.open_watch(pod, METADATA_ONLY, decode::annotations, version, lifetime, silence)
    }

    fn open_watch<T>(
        &self,
        object: &ObjectRef,
        accept: &str,
        decode: Decode<T>,
        version: &str,
        lifetime: Duration,
        silence: Duration,
    ) -> Result<Watch<T>, Error> {
        // The request asks the server to close earlier; a peer that trickles bytes beyond that is treated as dead.
        let timeouts = Timeouts {
            global: None,
            phase: self.request_timeout,
            body: Some(lifetime.saturating_add(silence)),
            per_read: Some(silence),
        };
        let open = || {
            let path = watch_path(object, version, lifetime)?;
            self.limiter.wait(self.request_timeout).map_err(|delay| self.rate_limited(delay))?;
            self.close_idle();
            // A connection that closes alone: closing the agent of the ordinary requests would end these too.
            let read_deadline = ReadDeadline::default();
            let send = || self.send(&Request::get(&path, accept), &timeouts, Connection::Own(&read_deadline));
            let exchange = on_own_stack(&send)?;
            if exchange.response.status() != StatusCode::OK {
                return Err(self.rejection(exchange)?);
            }
            let Exchange { response, agent, .. } = exchange;
            Ok(Watch {
                object: object.clone(),
                server: self.server().clone(),
                reader: response.into_body().into_reader(),
                buffer: SecretBuffer::default(),
                decode,
                permit: None,
                read_deadline,
                timeout: self.request_timeout,
                closer: Closer { agent, permits: self.permits.clone(), is_closed: Arc::default() },
            })
        };
        open().map_err(|cause: Cause| Error::new(object, cause.for_watch().with_hint(object, "watch")))
    }
}

/// Calls a function on a short-lived thread. The stack pages that a TLS handshake touches would otherwise stay allocated for as long
/// as the watch, and take more memory than the rest of it.
fn on_own_stack<T: Send>(call: &(impl Fn() -> T + Sync)) -> T {
    thread::scope(|scope| match spawn_scoped(scope, "open watch", call) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        // Without a second thread, the watch takes more memory.
        Err(_) => call(),
    })
}

fn watch_path(object: &ObjectRef, version: &str, lifetime: Duration) -> Result<String, Cause> {
    if !is_plain(version) {
        return Err(Cause::unreadable("cannot watch from a resourceVersion that is not a number"));
    }
    Ok(format!(
        "{}?watch=true&fieldSelector=metadata.name%3D{}&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={version}",
        collection_path(object),
        object.name(),
        lifetime.as_secs().max(1),
    ))
}

/// Whether this is a resourceVersion as Kubernetes writes it. It is opaque by contract, but nothing else may get into a URL.
fn is_plain(version: &str) -> bool {
    !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
}

/// Closes a watch from any thread.
#[derive(Clone)]
pub(crate) struct Closer {
    agent: Agent,
    permits: Semaphore,
    is_closed: Arc<AtomicBool>,
}

impl Closer {
    /// Shuts the connection of the watch down, so that [`Watch::receive`] returns at once. Has no effect on a watch that has ended.
    pub(crate) fn close(&self) {
        self.agent.clone().shutdown();
        self.permits.cancel(&self.is_closed);
    }
}

/// An open watch. Dropping it closes the connection.
pub(crate) struct Watch<T> {
    object: ObjectRef,
    server: Server,
    reader: ureq::BodyReader<'static>,
    /// The start of an event that is not complete yet.
    buffer: SecretBuffer,
    decode: Decode<T>,
    /// The permit for the last event, if it was large.
    permit: Option<Permit>,
    read_deadline: ReadDeadline,
    /// How long a large event may take once it has its permit: as long as a response with the object.
    timeout: Duration,
    closer: Closer,
}

impl<T> Watch<T> {
    /// Waits for the next event. `None` means that the API server closed the watch, which it does regularly.
    ///
    /// Only a few large events of a cluster are received at the same time, because all watches may have one at once. The permit is kept
    /// until the next call, when the caller has passed the event on. It cannot be held for long: the rest of the event must arrive
    /// within the timeout of a request. Calls `will_take` with the longest time until it returns or calls `will_take` again.
    ///
    /// # Errors
    /// If the connection breaks, is silent for too long or was closed by a [`Closer`], or if the API server sends an error or an invalid
    /// event.
    pub(crate) fn receive(&mut self, will_take: impl Fn(Duration)) -> Result<Option<WatchEvent<T>>, Error> {
        self.permit = None;
        self.read_deadline.set(None);
        let acquire = || {
            // The watches that have a permit return it; waiting for it says nothing about the API server.
            will_take(Duration::MAX);
            let Closer { permits, is_closed, .. } = &self.closer;
            self.permit = permits.acquire(Duration::MAX, is_closed);
            if self.permit.is_none() {
                let reason = "the watch was closed".to_owned();
                return Err(Cause::Unreachable { server: self.server.clone(), reason });
            }
            self.read_deadline.set(Instant::now().checked_add(self.timeout));
            will_take(self.timeout);
            Ok(())
        };
        let line = read_line(&mut self.reader, &mut self.buffer, &self.server, acquire);
        line.and_then(|line| line.map(|line| parse(&self.object, &line, self.decode)).transpose())
            .map_err(|cause| Error::new(&self.object, cause))
    }

    /// A handle that ends this watch from another thread.
    pub(crate) fn closer(&self) -> Closer {
        self.closer.clone()
    }
}

/// Reads the next line, without its newline. `buffer` holds what was read of the line after it. Calls `acquire` before the line takes
/// more than [`SMALL_EVENT`].
fn read_line(
    reader: &mut impl Read,
    buffer: &mut SecretBuffer,
    server: &Server,
    acquire: impl FnOnce() -> Result<(), Cause>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Cause> {
    let mut acquire = Some(acquire);
    let mut chunk = Zeroizing::new([0; CHUNK]);
    // Searches each byte once, even if a line arrives in many small pieces.
    let mut searched = 0;
    loop {
        if let Some(line) = buffer.take_line(searched) {
            return Ok(Some(line));
        }
        searched = buffer.len();
        if buffer.len() > EVENT_LIMIT {
            return Err(Cause::TooLarge { limit: EVENT_LIMIT });
        }
        if buffer.len() + CHUNK > SMALL_EVENT
            && let Some(acquire) = acquire.take()
        {
            acquire()?;
        }
        match reader.read(chunk.as_mut_slice()) {
            Ok(0) if buffer.is_empty() => return Ok(None),
            Ok(0) => return Err(Cause::unreadable("the watch ended in the middle of an event")),
            Ok(count) => buffer.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(from_ureq(server, None, &ureq::Error::from(error))),
        }
    }
}

/// An event whose object is not decoded yet, because what it is depends on the type.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The object of an error event.
#[derive(Deserialize)]
struct Status {
    code: Option<u16>,
    message: Option<String>,
}

/// The object of a bookmark, which has no name.
#[derive(Deserialize)]
struct Bookmark<'a> {
    kind: &'a str,
    metadata: BookmarkMetadata<'a>,
}

#[derive(Deserialize)]
struct BookmarkMetadata<'a> {
    #[serde(rename = "resourceVersion")]
    version: &'a str,
}

fn parse<T>(object: &ObjectRef, line: &[u8], decode: Decode<T>) -> Result<WatchEvent<T>, Cause> {
    let invalid = |_| Cause::unreadable("invalid watch event");
    let Line { kind, object: raw } = serde_json::from_slice(line).map_err(invalid)?;
    let raw = raw.get().as_bytes();
    match kind {
        "ADDED" | "MODIFIED" => {
            let (version, data) = decode(object, raw)?;
            Ok(WatchEvent::Applied { version: checked(version)?, data })
        }
        "DELETED" => Ok(WatchEvent::Deleted { version: checked(decode::version(object, raw)?)? }),
        "BOOKMARK" => {
            let Bookmark { kind, metadata } = serde_json::from_slice(raw).map_err(invalid)?;
            if !decode::is_kind(object.kind, kind) {
                return Err(Cause::unreadable("a bookmark of another watch"));
            }
            Ok(WatchEvent::Bookmark { version: checked(metadata.version.to_owned())? })
        }
        "ERROR" => {
            let Status { code, message } = serde_json::from_slice(raw).map_err(invalid)?;
            let message = one_line(message.as_deref().unwrap_or("no reason given"), MESSAGE_LIMIT);
            Err(match code {
                Some(410) => Cause::Gone { message },
                code => Cause::Unavailable { status: code.unwrap_or(0), message, retry_after: None },
            })
        }
        _ => Err(Cause::unreadable("a watch event of an unknown type")),
    }
}

fn checked(version: String) -> Result<String, Cause> {
    if is_plain(&version) {
        Ok(version)
    } else {
        Err(Cause::unreadable("the resourceVersion of a watch event is not a number"))
    }
}

#[cfg(test)]
mod tests;

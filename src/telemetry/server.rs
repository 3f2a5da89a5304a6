//! A small HTTP server for probes and scrapes: one thread, few connections, and no connection delays another.
//!
//! All sockets are non-blocking, and one `poll` waits for all of them. A connection is closed a fixed time after it was accepted.
//! When there are too many connections, the oldest one is closed, so that silent clients cannot lock out the kubelet.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::telemetry::{Health, metrics, overview};
use crate::thread::spawn;

/// Maximum number of open connections.
const CONNECTIONS: usize = 16;
/// Maximum age of a connection.
const LIFETIME: Duration = Duration::from_secs(5);
/// Maximum number of bytes that are drained after the response.
const DRAIN_LIMIT: usize = 64 * 1024;
/// Pause after a failed accept, for example for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes per read.
const CHUNK: usize = 2 * 1024;
/// Maximum size of a header, in bytes.
const HEADER_LIMIT: usize = 8 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The errors of the status name keys of Secrets, so it is for those who may run commands in the pod.
const NOT_LOCAL: &str = "/status is served only to clients on the pod's loopback address: run podcreds status with kubectl exec, or use kubectl port-forward\n";

/// The value of `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Off,
    At(SocketAddr),
}

impl Listen {
    /// Reads `ADDRESS:PORT`, `:PORT` for all addresses, or `off`.
    ///
    /// # Errors
    /// The accepted forms.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = match text.strip_prefix(':') {
            Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
            None => text.parse().ok(),
        };
        address.map(Self::At).ok_or_else(|| {
            "expected an address with its port, such as [::]:8081, 127.0.0.1:8081 or :8081, or off".to_owned()
        })
    }
}

/// The address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub(crate) struct Error {
    address: SocketAddr,
    cause: io::Error,
}

/// Starts the server on its own thread. It runs as long as the process.
///
/// # Errors
/// If the address cannot be bound or the thread cannot be started.
pub(crate) fn start(listen: Listen, health: Arc<Health>) -> Result<(), Error> {
    let Listen::At(address) = listen else { return Ok(()) };
    let error = |cause| Error { address, cause };
    let listener = bind(address).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    let server = Server { listener, health, connections: VecDeque::new(), accept_from: None };
    spawn("health", move || server.run()).map_err(error)?;
    info!("listening on {bound}");
    Ok(())
}

/// On Linux the unspecified IPv6 address includes IPv4. Without IPv6, the unspecified IPv4 address replaces it.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).or_else(|error| match (address.ip(), error.kind()) {
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), kind) if kind != ErrorKind::AddrInUse => {
            // If both fail, the first error is about the address that the user gave.
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).map_err(|_| error)
        }
        _ => Err(error),
    })
}

struct Server {
    listener: TcpListener,
    health: Arc<Health>,
    /// Oldest first.
    connections: VecDeque<Connection>,
    /// When to accept again after a failure.
    accept_from: Option<Instant>,
}

impl Server {
    fn run(mut self) {
        loop {
            if let Err(error) = self.poll_once() {
                warn!("cannot serve the health and metrics endpoints: {error}");
                sleep(PAUSE);
            }
        }
    }

    /// Waits until a socket is ready or a connection expires, and handles that.
    fn poll_once(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.accept_from = self.accept_from.filter(|from| *from > now);
        let ends = self.connections.iter().map(|connection| connection.ends);
        let wait = ends.chain(self.accept_from).min().map(|end| end.saturating_duration_since(now));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());

        let interest = if self.accept_from.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = vec![PollFd::new(&self.listener, interest)];
        polled.extend(self.connections.iter().map(|it| PollFd::new(&it.stream, it.phase.interest())));
        match poll(&mut polled, wait.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            result => result?,
        };
        let ready: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();

        let now = Instant::now();
        let mut ready = ready.into_iter();
        let has_new = ready.next().unwrap_or_default();
        let health = &self.health;
        self.connections.retain_mut(|connection| {
            let stays_open = !ready.next().unwrap_or_default() || connection.on_ready(health);
            stays_open && connection.ends > now
        });
        if has_new && self.accept_from.is_none() {
            self.accept();
        }
        Ok(())
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, peer)) => {
                if self.connections.len() >= CONNECTIONS {
                    self.connections.pop_front();
                }
                if stream.set_nonblocking(true).is_ok() {
                    let is_local = stream.local_addr().is_ok_and(|own| is_local(own, peer));
                    self.connections.push_back(Connection::new(stream, is_local));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(_) => self.accept_from = Some(Instant::now() + PAUSE),
        }
    }
}

/// Whether both ends have loopback addresses, so that the client is in this pod. The proxy of a service mesh passes on requests of
/// other clients from a loopback address too (Istio's from 127.0.0.6), but to the address of the pod that they asked for.
fn is_local(own: SocketAddr, peer: SocketAddr) -> bool {
    // A socket for both families shows IPv4 addresses as IPv6 ones.
    [own, peer].iter().all(|end| end.ip().to_canonical().is_loopback())
}

struct Connection {
    stream: TcpStream,
    /// Whether the client is in this pod.
    is_local: bool,
    ends: Instant,
    phase: Phase,
}

enum Phase {
    /// The part of the header that has arrived.
    Reading(Vec<u8>),
    /// The rest of the response.
    Writing(Vec<u8>),
    /// Drains up to this many bytes of the request, so that closing does not send RST and discard the response.
    Draining(usize),
}

impl Phase {
    fn interest(&self) -> PollFlags {
        match self {
            Self::Reading(_) | Self::Draining(_) => PollFlags::IN,
            Self::Writing(_) => PollFlags::OUT,
        }
    }
}

impl Connection {
    fn new(stream: TcpStream, is_local: bool) -> Self {
        Self { stream, is_local, ends: Instant::now() + LIFETIME, phase: Phase::Reading(Vec::new()) }
    }

    /// Reads or writes once. Returns whether the connection stays open.
    fn on_ready(&mut self, health: &Health) -> bool {
        match self.advance(health) {
            Ok(stays_open) => stays_open,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn advance(&mut self, health: &Health) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        match &mut self.phase {
            Phase::Reading(received) => {
                let room = CHUNK.min(HEADER_LIMIT - received.len());
                let count = self.stream.read(&mut chunk[..room])?;
                if count == 0 && received.is_empty() {
                    return Ok(false);
                }
                received.extend_from_slice(&chunk[..count]);
                let cut_off = || (count == 0).then(bad_request);
                if let Some(response) = respond_to(received, health, self.is_local).or_else(cut_off) {
                    self.phase = Phase::Writing(response);
                }
                Ok(true)
            }
            Phase::Writing(response) => {
                let count = self.stream.write(response)?;
                response.drain(..count);
                if response.is_empty() {
                    self.stream.shutdown(Shutdown::Write)?;
                    self.phase = Phase::Draining(DRAIN_LIMIT);
                }
                Ok(true)
            }
            Phase::Draining(left) => {
                let count = self.stream.read(&mut chunk)?;
                *left = left.saturating_sub(count);
                Ok(count > 0 && *left > 0)
            }
        }
    }
}

/// The response to the bytes received so far; `None` while the header is incomplete. The body of a GET or HEAD has no meaning, so
/// a request ends with its header.
/// Source: RFC 9112
fn respond_to(received: &[u8], health: &Health, is_local: bool) -> Option<Vec<u8>> {
    let line = received.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Bytes of another protocol, such as a TLS handshake, may never contain an empty line.
    if received.first().is_some_and(|first| !first.is_ascii_alphabetic()) {
        return Some(bad_request());
    }
    if !is_complete(received) {
        return (received.len() >= HEADER_LIMIT)
            .then(|| respond("431 Request Header Fields Too Large", PLAIN, "", "header too large\n", false));
    }
    Some(parse(line).map_or_else(bad_request, |(method, target)| route(method, target, health, is_local)))
}

fn bad_request() -> Vec<u8> {
    respond("400 Bad Request", PLAIN, "", "not an HTTP/1 request\n", false)
}

/// Whether the empty line has arrived. A lone LF ends a line too (RFC 9112, 2.2).
fn is_complete(received: &[u8]) -> bool {
    let ends = |end: &[u8]| received.windows(end.len()).any(|window| window == end);
    ends(b"\n\r\n") || ends(b"\n\n")
}

/// Returns method, and path with query.
fn parse(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_suffix('\r').unwrap_or(line).split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_method = method.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_method || !["HTTP/1.0", "HTTP/1.1"].contains(&version) || words.next().is_some() {
        return None;
    }
    Some((method, target))
}

fn route(method: &str, target: &str, health: &Health, is_local: bool) -> Vec<u8> {
    let only_head = method == "HEAD";
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !["/healthz", "/livez", "/readyz", "/metrics", "/status"].contains(&path) {
        let body = "not found; available: /healthz, /livez, /readyz, /metrics and /status\n";
        return respond("404 Not Found", PLAIN, "", body, only_head);
    }
    if !["GET", "HEAD"].contains(&method) {
        return respond(
            "405 Method Not Allowed",
            PLAIN,
            "Allow: GET, HEAD\r\n",
            "only GET and HEAD\n",
            false,
        );
    }
    let (status, kind, body) = match path {
        "/metrics" => ("200 OK", EXPOSITION, metrics::write(health)),
        "/status" if !is_local => ("403 Forbidden", PLAIN, NOT_LOCAL.to_owned()),
        "/status" if query == "output=table" => {
            ("200 OK", PLAIN, overview::table(&health.status(), SystemTime::now()))
        }
        "/status" => ("200 OK", JSON, overview::json(&health.status())),
        "/readyz" if health.status().ready => ("200 OK", PLAIN, "ready\n".to_owned()),
        "/readyz" => ("503 Service Unavailable", PLAIN, not_ready(health)),
        _ => match health.stalled().as_slice() {
            [] => ("200 OK", PLAIN, "alive\n".to_owned()),
            stalled => ("503 Service Unavailable", PLAIN, format!("stuck: {}\n", stalled.join(", "))),
        },
    };
    respond(status, kind, "", &body, only_head)
}

/// `more` is additional header lines, each with its line end.
fn respond(status: &str, kind: &str, more: &str, body: &str, only_head: bool) -> Vec<u8> {
    let length = body.len();
    let body = if only_head { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Why the sidecar is not ready: names of credentials and objects, never their content.
fn not_ready(health: &Health) -> String {
    let status = health.status();
    if let Some(starts) = status.program_starts {
        return if starts == 0 {
            "the program has not been started yet\n"
        } else {
            "the program is being restarted\n"
        }
        .to_owned();
    }
    let waiting =
        status.waiting().iter().map(|(credential, reason)| format!("credential {credential}: {reason}\n"));
    let waiting = waiting.collect::<String>();
    if waiting.is_empty() {
        return "the annotations were not read yet; the log says why\n".to_owned();
    }
    format!("these credentials have no files yet:\n{waiting}")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let at = |text: &str| Ok(Listen::At(text.parse().unwrap()));
        assert_eq!(Listen::parse("[::]:8081"), at("[::]:8081"));
        assert_eq!(Listen::parse(":8081"), at("[::]:8081"));
        assert_eq!(Listen::parse("127.0.0.1:0"), at("127.0.0.1:0"));
        assert_eq!(Listen::parse("off"), Ok(Listen::Off));
        for wrong in ["", "8081", "localhost:8081", ":", ":70000", "[::]", "OFF"] {
            assert!(Listen::parse(wrong).is_err(), "{wrong}");
        }
    }

    fn ask(health: &Health, received: &str) -> Option<String> {
        respond_to(received.as_bytes(), health, true).map(|response| String::from_utf8(response).unwrap())
    }

    #[test]
    fn each_request_gets_its_status() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let long = "x".repeat(HEADER_LIMIT);
        for (received, status) in [
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.0\n\n", "200"),
            ("GET /livez HTTP/1.1\r\n\r\n", "200"),
            ("GET /metrics?x=1 HTTP/1.1\r\n\r\n", "200"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
            ("GET /readyz HTTP/1.1\r\n\r\n", "503"),
            ("GET /status HTTP/1.1\r\n\r\n", "200"),
            ("GET /status?output=table HTTP/1.1\r\n\r\n", "200"),
            ("POST /status HTTP/1.1\r\n\r\n", "405"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("get /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics HTTP/2.0\r\n\r\n", "400"),
            ("GET  /metrics HTTP/1.1\r\n\r\n", "400"),
            ("GET /metrics HTTP/1.1 x\r\n\r\n", "400"),
            ("GET\r\n\r\n", "400"),
            ("\x16\x03\x01", "400"),
            (&long, "431"),
        ] {
            let answer = ask(&health, received).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{received:?}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        }
        for unfinished in ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n"] {
            assert_eq!(ask(&health, unfinished), None, "{unfinished:?}");
        }
    }

    #[test]
    fn only_local_clients_get_the_status() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        for (path, status) in [("/status", "403"), ("/status?output=table", "403"), ("/readyz", "503")] {
            let request = format!("GET {path} HTTP/1.1\r\n\r\n");
            let response = respond_to(request.as_bytes(), &health, false).unwrap();
            let response = String::from_utf8(response).unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
            assert!(!response.contains("credentials\":"), "{response}");
        }
        let response = ask(&health, "GET /status HTTP/1.1\r\n\r\n").unwrap();
        assert!(
            response.contains("application/json") && response.contains("\"credentials\":[]"),
            "{response}"
        );
    }

    #[test]
    fn a_client_is_local_if_both_ends_are_loopback_addresses() {
        for (own, peer, expected) in [
            ("127.0.0.1:8081", "127.0.0.1:40000", true),
            ("[::1]:8081", "[::1]:40000", true),
            ("[::ffff:127.0.0.1]:8081", "[::ffff:127.0.0.1]:40000", true),
            ("[::ffff:10.0.0.7]:8081", "[::ffff:10.0.0.9]:40000", false),
            ("10.0.0.7:8081", "10.0.0.7:40000", false),
            // Proxies of service meshes.
            ("[::ffff:10.0.0.7]:8081", "[::ffff:127.0.0.6]:40000", false),
            ("[fd00::7]:8081", "[::1]:40000", false),
        ] {
            assert_eq!(is_local(own.parse().unwrap(), peer.parse().unwrap()), expected, "{own} {peer}");
        }
    }

    #[test]
    fn head_has_the_content_length_of_get() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let of = |method| ask(&health, &format!("{method} /healthz HTTP/1.1\r\n\r\n")).unwrap();
        assert!(of("GET").ends_with("\r\n\r\nalive\n") && of("GET").contains("Content-Length: 6\r\n"));
        assert!(of("HEAD").ends_with("\r\n\r\n") && of("HEAD").contains("Content-Length: 6\r\n"));
    }

    #[test]
    fn a_stalled_loop_fails_healthz_and_livez_and_is_named() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let heartbeat = health.heartbeat("main loop");
        let asked = |path: &str| ask(&health, &format!("GET {path} HTTP/1.1\r\n\r\n")).unwrap();
        assert!(["/healthz", "/livez"].iter().all(|path| asked(path).starts_with("HTTP/1.1 200 ")));
        heartbeat.due.store(0, Ordering::Relaxed);
        sleep(Duration::from_millis(2));
        for path in ["/healthz", "/livez"] {
            let response = asked(path);
            assert!(
                response.starts_with("HTTP/1.1 503 ") && response.ends_with("stuck: main loop\n"),
                "{response}"
            );
        }
    }
}

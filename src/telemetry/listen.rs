//! A small HTTP server for probes and scrapes: one thread, few connections, none of which can hold up another.
//!
//! All sockets are non-blocking, and one `poll` waits for all of them. A connection has a bound on its time from the moment
//! it is accepted, whatever it does; when there are too many, the oldest makes room, so that clients that say nothing
//! cannot keep the kubelet out.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::telemetry::Health;
use crate::telemetry::request::{self, HEADER_LIMIT};

/// The most connections at a time.
const CONNECTIONS: usize = 16;
/// How long a connection lasts from being accepted, whatever comes and goes on it.
const LIFETIME: Duration = Duration::from_secs(5);
/// The most that is read after the answer, in bytes, so that closing does not cut it off.
const DRAIN_LIMIT: usize = 64 * 1024;
/// How long nobody is accepted after that has failed, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);
/// What the thread needs; a default would reserve 2 MiB.
const STACK: usize = 64 * 1024;
/// The bytes that are read at once.
const CHUNK: usize = 2 * 1024;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl Listen {
    /// Reads `ADDRESS:PORT`, `:PORT` for all addresses, or `off`.
    ///
    /// # Errors
    /// What else it should be.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = match text.strip_prefix(':') {
            Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
            None => text.parse().ok(),
        };
        address.map(Self::At).ok_or_else(|| "write [::]:8081, 127.0.0.1:8081, :8081 or off".to_owned())
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}")]
pub(crate) struct Error {
    address: SocketAddr,
    cause: io::Error,
}

/// Answers from `health`, on a thread of its own, for as long as the process lives.
///
/// # Errors
/// If the address cannot be bound or the thread not be started.
pub(crate) fn start(listen: Listen, health: Arc<Health>) -> Result<(), Error> {
    let Listen::At(address) = listen else { return Ok(()) };
    let error = |cause| Error { address, cause };
    let listener = bind(address).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    let server = Server { listener, health, connections: VecDeque::new(), accept_from: None };
    thread::Builder::new()
        .name("health".to_owned())
        .stack_size(STACK)
        .spawn(move || server.run())
        .map_err(error)?;
    info!("listening on {bound}");
    Ok(())
}

/// All IPv6 addresses are those of IPv4 too on Linux; where there is no IPv6, only those of IPv4.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).or_else(|error| match (address.ip(), error.kind()) {
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), kind) if kind != ErrorKind::AddrInUse => {
            // Where this fails too, the first reason may be the better one.
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).map_err(|_| error)
        }
        _ => Err(error),
    })
}

struct Server {
    listener: TcpListener,
    health: Arc<Health>,
    /// In the order in which they came.
    connections: VecDeque<Connection>,
    /// When accepting goes on after it has failed.
    accept_from: Option<Instant>,
}

impl Server {
    fn run(mut self) {
        loop {
            if let Err(error) = self.step() {
                warn!("probes and scrapes cannot be answered: {error}");
                thread::sleep(PAUSE);
            }
        }
    }

    /// Waits until something can be done or is over, and does it.
    fn step(&mut self) -> io::Result<()> {
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
        let happened: Vec<_> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();

        let now = Instant::now();
        let mut happened = happened.into_iter();
        let arrived = happened.next().unwrap_or_default();
        let health = &self.health;
        self.connections.retain_mut(|connection| {
            let goes_on = !happened.next().unwrap_or_default() || connection.go_on(health);
            goes_on && connection.ends > now
        });
        if arrived && self.accept_from.is_none() {
            self.accept();
        }
        Ok(())
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => {
                if self.connections.len() >= CONNECTIONS {
                    self.connections.pop_front();
                }
                if stream.set_nonblocking(true).is_ok() {
                    self.connections.push_back(Connection::new(stream));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {}
            Err(_) => self.accept_from = Some(Instant::now() + PAUSE),
        }
    }
}

struct Connection {
    stream: TcpStream,
    ends: Instant,
    phase: Phase,
}

enum Phase {
    /// What has come of the header.
    Reading(Vec<u8>),
    /// What is left of the answer.
    Writing(Vec<u8>),
    /// How much is still read, until the client closes too: an answer is lost where what was sent stays unread.
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
    fn new(stream: TcpStream) -> Self {
        Self { stream, ends: Instant::now() + LIFETIME, phase: Phase::Reading(Vec::new()) }
    }

    /// Reads or writes once what can be; says whether anything is left to do.
    fn go_on(&mut self, health: &Health) -> bool {
        match self.advance(health) {
            Ok(goes_on) => goes_on,
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
                let cut_off = || (count == 0).then(request::bad_request);
                if let Some(answer) = request::answer(received, health).or_else(cut_off) {
                    self.phase = Phase::Writing(answer);
                }
                Ok(true)
            }
            Phase::Writing(answer) => {
                let count = self.stream.write(answer)?;
                answer.drain(..count);
                if answer.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let at = |text: &str| Ok(Listen::At(text.parse().unwrap()));
        assert_eq!(Listen::parse("[::]:8081"), at("[::]:8081"));
        assert_eq!(Listen::parse(":8081"), at("[::]:8081"));
        assert_eq!(Listen::parse("127.0.0.1:0"), at("127.0.0.1:0"));
        assert_eq!(Listen::parse("off"), Ok(Listen::Off));
        for wrong in ["", "8081", "localhost:8081", ":", ":70000", "[::]", "OFF"] {
            assert!(Listen::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! Accepts and ends connections, each with a thread that ends when the server stops.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::departures::Departures;
use super::{Shared, connection};

/// Limit for open connections; further ones are closed immediately.
const MAX_CONNECTIONS: usize = 512;
/// Timeout for the connection by which `stop` wakes the acceptor.
const WAKE: Duration = Duration::from_secs(1);

/// Accepts and serves until [`Doors::stop`]; returns when all connection threads have ended.
pub(super) fn accept_until_stopped(shared: &Shared, listener: TcpListener) {
    thread::scope(|scope| {
        loop {
            let accepted = listener.accept();
            if !shared.doors.wait_for_entry() {
                break;
            }
            // This error belongs to a connection that broke before it was accepted.
            let Ok((stream, _)) = accepted else { continue };
            if let Some(number) = shared.doors.admit(&stream) {
                scope.spawn(move || {
                    connection::serve(shared, stream, number);
                });
            }
        }
        // Close before joining the threads, so that new clients are refused.
        close(listener);
    });
}

/// Shuts the port down first. A close alone would leave it open while a child that another thread has just forked still
/// holds a copy of the descriptor before its exec.
fn close(listener: TcpListener) {
    // Only Linux supports this; other systems return an error and only close.
    let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
}

/// The open connections, and whether new ones are accepted.
#[derive(Default)]
pub(super) struct Doors {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    accepted: usize,
    paused: bool,
    stopped: bool,
    /// A second handle on each open connection, to wake the thread that blocks on it.
    open: BTreeMap<usize, TcpStream>,
}

impl Doors {
    /// Registers a new connection and numbers it from 1. `None` means: close it at once.
    fn admit(&self, stream: &TcpStream) -> Option<usize> {
        let mut state = self.state();
        state.accepted += 1;
        let number = state.accepted;
        if state.stopped || state.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        state.open.insert(number, stream.try_clone().ok()?);
        Some(number)
    }

    /// Drops the second handle, so that the connection's own close is the last one.
    pub(super) fn release(&self, number: usize) {
        self.state().open.remove(&number);
    }

    /// Blocks during a pause; returns `false` once the server is stopped.
    fn wait_for_entry(&self) -> bool {
        let state = self.changed.wait_while(self.state(), |state| state.paused && !state.stopped).unwrap();
        !state.stopped
    }

    pub(super) fn accepted(&self) -> usize {
        self.state().accepted
    }

    pub(super) fn open(&self) -> usize {
        self.state().open.len()
    }

    pub(super) fn pause(&self) {
        self.state().paused = true;
    }

    pub(super) fn resume(&self) {
        self.state().paused = false;
        self.changed.notify_all();
    }

    /// Shuts every open connection down, which wakes its thread to close it. Returns their numbers.
    pub(super) fn drop_all(&self) -> Vec<usize> {
        let state = self.state();
        for stream in state.open.values() {
            // The peer may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        state.open.keys().copied().collect()
    }

    /// Returns those connections whose peer has left.
    pub(super) fn departed(&self, mut numbers: Vec<usize>) -> Vec<usize> {
        if !numbers.is_empty() {
            let departures = Departures::read();
            let state = self.state();
            numbers.retain(|number| state.open.get(number).is_some_and(|stream| departures.include(stream)));
        }
        numbers
    }

    /// Stops admitting, shuts the open connections down, and wakes the acceptor by connecting to it.
    pub(super) fn stop(&self, address: SocketAddr) {
        self.state().stopped = true;
        self.changed.notify_all();
        self.drop_all();
        // This fails if the backlog is full; then other connections wake the acceptor.
        let _ = TcpStream::connect_timeout(&address, WAKE);
    }

    /// Admits connections again after [`stop`](Self::stop).
    pub(super) fn reopen(&self) {
        self.state().stopped = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

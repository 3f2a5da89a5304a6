//! Accepting connections, and ending them: one thread each, all of them gone when the server stops.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::departures::Departures;
use super::{Shared, connection};

/// More at one time are closed as soon as they come.
const MAX_CONNECTIONS: usize = 128;
/// For the connection by which a stop wakes the acceptor.
const WAKE: Duration = Duration::from_secs(1);

/// Accepts and serves until [`Doors::stop`]; returns when every connection's thread has ended.
pub(super) fn accept_until_stopped(shared: &Shared, listener: TcpListener) {
    thread::scope(|scope| {
        loop {
            let accepted = listener.accept();
            if !shared.doors.wait_for_entry() {
                break;
            }
            // An error concerns a connection that was broken before it was accepted.
            let Ok((stream, _)) = accepted else { continue };
            if let Some(number) = shared.doors.admit(&stream) {
                scope.spawn(move || {
                    connection::serve(shared, stream, number);
                });
            }
        }
        // Before the threads are waited for: whoever comes now is refused.
        close(listener);
    });
}

/// A shutdown closes the port at once. The close alone would leave it open while a child that another thread has just
/// forked still holds a copy of the descriptor, on its way to exec.
fn close(listener: TcpListener) {
    // Systems other than Linux refuse it and only close.
    let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
}

/// Who is inside, and whether anybody else may enter.
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
    /// Notes a new connection and numbers it from 1. `None` closes it at once.
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

    /// Lets go of the second handle, so that the next close of the connection is the last.
    pub(super) fn release(&self, number: usize) {
        self.state().open.remove(&number);
    }

    /// Blocks during a pause; `false` once the server is stopped.
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

    /// A shutdown wakes whoever reads or writes; the connection's thread then closes it. Returns the numbers of those
    /// that were open.
    pub(super) fn drop_all(&self) -> Vec<usize> {
        let state = self.state();
        for stream in state.open.values() {
            // The peer may have broken it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        state.open.keys().copied().collect()
    }

    /// Those of these connections whose peer has left.
    pub(super) fn departed(&self, mut numbers: Vec<usize>) -> Vec<usize> {
        if !numbers.is_empty() {
            let departures = Departures::read();
            let state = self.state();
            numbers.retain(|number| state.open.get(number).is_some_and(|stream| departures.include(stream)));
        }
        numbers
    }

    /// Admits nobody else, breaks what is open, and wakes the acceptor by a connection of its own.
    pub(super) fn stop(&self, address: SocketAddr) {
        self.state().stopped = true;
        self.changed.notify_all();
        self.drop_all();
        // A full backlog may refuse it; then the acceptor has others to wake it.
        let _ = TcpStream::connect_timeout(&address, WAKE);
    }

    /// Admits again after a stop.
    pub(super) fn reopen(&self) {
        self.state().stopped = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

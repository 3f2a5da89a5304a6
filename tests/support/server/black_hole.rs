//! A port that accepts connections and never responds.

use std::net::{SocketAddr, TcpListener};

/// Completes TCP handshakes and never sends a byte, so that a TLS handshake hangs. It needs no thread: the kernel
/// accepts connections into the backlog, and no process takes them from there.
pub(crate) struct BlackHole {
    listener: TcpListener,
}

impl BlackHole {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }
}

//! A port behind which nobody speaks.

use std::net::{SocketAddr, TcpListener};

/// Completes TCP handshakes and never says a byte, so that a TLS handshake hangs. Needs no thread: the kernel accepts
/// into the backlog, and nobody takes anything from there.
pub(crate) struct BlackHole {
    listener: TcpListener,
}

impl BlackHole {
    /// On a free port of 127.0.0.1.
    pub(crate) fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }
}

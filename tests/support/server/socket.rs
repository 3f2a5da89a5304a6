//! A TCP connection that the server can end in order or by a reset.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Reads by peeking: the last bytes read stay in the kernel's buffer until the next read.
///
/// Linux sends RST instead of FIN when a socket with unread bytes is closed (RFC 1122, 4.2.2.13). So the server can
/// read a request, decide by its path, and still reset the connection, without `SO_LINGER`.
pub(super) struct Socket {
    stream: TcpStream,
    peeked: usize,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, peeked: 0 }
    }

    /// Removes the last bytes read from the kernel's buffer.
    pub(super) fn consume(&mut self) -> io::Result<()> {
        let peeked = self.peeked as u64;
        self.peeked = 0;
        let taken = io::copy(&mut (&self.stream).take(peeked), &mut io::sink())?;
        if taken == peeked { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Waits until the peer sends something, leaves, or the time is up (`None`: no limit). Returns `true` if the peer
    /// is still connected and was silent.
    pub(super) fn peer_waits(&mut self, time: Option<Duration>) -> io::Result<bool> {
        self.consume()?;
        self.stream.set_read_timeout(time)?;
        let heard = loop {
            match self.stream.peek(&mut [0]) {
                // The kernel does not restart calls on a socket with a timeout: signal(7).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                heard => break heard,
            }
        };
        self.stream.set_read_timeout(None)?;
        match heard {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends FIN after all pending bytes.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.consume()?;
        self.stream.shutdown(Shutdown::Both)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.consume()?;
        self.peeked = self.stream.peek(buffer)?;
        Ok(self.peeked)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

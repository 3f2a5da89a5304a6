//! A TCP connection of which the server decides how it ends: in order, or by a reset.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Reads by peeking: what was read last stays in the kernel's buffer until the next read.
///
/// Linux answers the close of a socket that has unread bytes with RST in place of FIN (RFC 1122, 4.2.2.13). So the server
/// can read a request, decide by its path, and still reset the connection, without `SO_LINGER`.
pub(super) struct Socket {
    stream: TcpStream,
    peeked: usize,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, peeked: 0 }
    }

    /// Takes what was read out of the kernel's buffer.
    pub(super) fn consume(&mut self) -> io::Result<()> {
        let peeked = self.peeked as u64;
        self.peeked = 0;
        let taken = io::copy(&mut (&self.stream).take(peeked), &mut io::sink())?;
        if taken == peeked { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Waits until the peer says anything, goes, or the time is up (`None`: without end). `true` when it is still there
    /// and was silent.
    pub(super) fn peer_waits(&mut self, time: Option<Duration>) -> io::Result<bool> {
        self.consume()?;
        self.stream.set_read_timeout(time)?;
        let heard = loop {
            match self.stream.peek(&mut [0]) {
                // A socket with a timeout is not restarted by the kernel: signal(7).
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

    /// FIN, after all that was sent.
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

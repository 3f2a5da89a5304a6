//! One connection: TLS, then one request after another until either side closes it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::http::{Answer, Framing, Request};
use super::routes::Reply;
use super::socket::Socket;
use super::{Fault, Shared, faults, stream};

/// A longer head ends the connection.
const MAX_HEAD: usize = 64 * 1024;
/// A longer request body ends the connection.
const MAX_BODY: usize = 1024 * 1024;
/// How often a response that waits for other requests looks for them.
const POLL: Duration = Duration::from_millis(2);

/// What the server does with the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Waits for the next request.
    KeepAlive,
    /// Sends `close_notify`, then FIN: an orderly end.
    Close,
    /// Sends FIN alone, as when a process dies.
    Cut,
    /// Sends RST.
    Reset,
}

/// Serves requests until the connection ends.
pub(super) fn serve(shared: &Shared, stream: TcpStream, number: usize) {
    // The peer sees whatever breaks a connection; the server does not report it.
    let connection = Connection::open(&shared.tls, stream, number).map(|mut connection| {
        let after = exchange(shared, &mut connection).unwrap_or(After::Cut);
        let _ = connection.end(after);
        connection
    });
    // Only closing the last handle closes the socket, and a reset is a close.
    shared.doors.release(number);
    drop(connection);
}

fn exchange(shared: &Shared, connection: &mut Connection) -> io::Result<After> {
    while let Some(request) = connection.read_request()? {
        let target = request.target();
        let asked_to_close = request.wants_close();
        let mut fault = shared.faults().take(&target);
        if fault == Some(Fault::Delay) {
            shared.hold();
            fault = None;
        }
        if request.is_watch() {
            // Otherwise threads of abandoned watches would pile up.
            shared.dismiss_departed();
        }
        let reply = {
            // Both under one lock: a test that has seen the effect of a request also finds the request.
            let mut requests = shared.requests();
            let reply = match &fault {
                None => shared.reply(&request),
                Some(fault) => Reply::Whole(shared.whole_reply(&request, fault)),
            };
            requests.push(request);
            reply
        };
        match fault {
            Some(Fault::Hold) => shared.hold(),
            Some(Fault::UntilRequests(count)) => {
                while shared.requests().len() < count {
                    if !connection.socket().peer_waits(Some(POLL))? {
                        return Ok(After::Close);
                    }
                }
            }
            _ => {}
        }
        let after = match (reply, fault) {
            (Reply::Watch(_), _) => stream::send(shared, connection)?,
            (Reply::Whole(answer), None) => connection.send(&answer)?,
            (Reply::Whole(answer), Some(fault)) => faults::play(fault, &answer, connection)?,
        };
        match after {
            After::KeepAlive if asked_to_close => return Ok(After::Close),
            After::KeepAlive => {}
            end => return Ok(end),
        }
    }
    Ok(After::Close)
}

/// The server's end of a TLS connection.
pub(super) struct Connection {
    tls: StreamOwned<ServerConnection, Socket>,
    number: usize,
    /// Decrypted bytes that are not part of a request yet.
    received: Vec<u8>,
}

impl Connection {
    fn open(config: &Arc<ServerConfig>, stream: TcpStream, number: usize) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(Self { tls: StreamOwned::new(session, Socket::new(stream)), number, received: Vec::new() })
    }

    /// Reads the next request; `None` if the peer closed the connection between requests.
    fn read_request(&mut self) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break end;
            }
            if self.received.len() > MAX_HEAD {
                return Err(malformed("the head is too long"));
            }
            if !self.receive()? {
                return Ok(None);
            }
        };
        let head = String::from_utf8(self.received.drain(..end + 4).take(end).collect())
            .map_err(|_| malformed("the head is not UTF-8"))?;
        let mut request = Request::parse(&head, self.number).ok_or_else(|| malformed("no HTTP/1.1"))?;

        let length = request.content_length().filter(|length| *length <= MAX_BODY);
        let length = length.ok_or_else(|| malformed("the body is too long"))?;
        while self.received.len() < length {
            if !self.receive()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        request.body = self.received.drain(..length).collect();
        Ok(Some(request))
    }

    /// Reads once; returns `false` at the end of the stream.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let count = self.tls.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// Sends a whole response.
    pub(super) fn send(&mut self, answer: &Answer) -> io::Result<After> {
        let mut bytes = answer.head(Framing::Length(answer.body.len() as u64));
        bytes.extend_from_slice(&answer.body);
        self.write(&bytes)?;
        Ok(After::KeepAlive)
    }

    /// Sends the bytes immediately.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.write_all(bytes)?;
        self.tls.flush()
    }

    /// The connection number, as recorded in its requests.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The connection below TLS.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.tls.sock
    }

    fn end(&mut self, after: After) -> io::Result<()> {
        match after {
            // The request was only peeked at and is still unread: see `Socket`.
            After::Reset => Ok(()),
            After::Cut => self.socket().close(),
            After::KeepAlive | After::Close => {
                self.tls.conn.send_close_notify();
                self.tls.flush()?;
                self.socket().close()
            }
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

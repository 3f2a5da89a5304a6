//! Faults between a response and the peer, on demand.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::connection::{After, Connection};
use super::http::{Answer, Framing};
use super::routes;

/// Ends a chunked body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A fault of a request. On a watch it applies to the events that the watch would send immediately. The request still
/// counts in `ApiServer::requests`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Sends RST without a response: Linux does so when a socket is closed with unread bytes in its buffer.
    Reset,
    /// Closes TLS and TCP in order without a response, as a server closes an idle connection.
    CloseBeforeAnswer,
    /// Sends the usual head and half of the announced body, then FIN without `close_notify`.
    TruncateBody,
    /// Sends the usual head immediately, then the body one byte per `interval` until it is complete or the peer leaves.
    Drip {
        /// Time between two bytes, at least a millisecond.
        interval: Duration,
    },
    /// Sends nothing until the peer leaves or the server stops.
    SilentHeader,
    /// Chooses the response at once, but sends it only after `ApiServer::release_held`.
    Hold,
    /// Handles the request only after `ApiServer::release_held`, as usual.
    Delay,
    /// Sends the usual response once the server has received this many requests, counted from its start: proof that the peer
    /// sends them meanwhile.
    UntilRequests(usize),
    /// Sends 200 with a Secret's JSON of this length, announced by Content-Length.
    HugeBody {
        /// The exact length, at least 100.
        bytes: u64,
    },
    /// Like `HugeBody`, but chunked, with no length announced.
    HugeChunkedBody {
        /// The exact length without the chunk framing, at least 100.
        bytes: u64,
    },
    /// Sends this code with a `Status` object.
    Status {
        code: u16,
        /// The value of the `Retry-After` header: seconds or an HTTP date.
        retry_after: Option<String>,
        message: String,
    },
    /// Sends these bytes inside TLS instead of a response, then closes in order.
    Raw(Vec<u8>),
    /// Sends 200 with this body, declared as JSON.
    Body(String),
    /// Sends a 307 redirect to this address.
    Redirect(String),
}

impl Fault {
    /// Whether the request is carried out before the fault.
    pub(super) fn comes_after_the_work(&self) -> bool {
        matches!(self, Self::TruncateBody | Self::Drip { .. } | Self::Hold)
    }
}

/// A fault of an open watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchFault {
    /// Sends RST.
    Reset,
    /// Sends FIN without the last chunk and without `close_notify`, as when a process dies.
    Close,
    /// Sends the last chunk, as after `timeoutSeconds`; the connection stays open.
    End,
    /// Sends half of an event's line and a newline; the watch continues.
    BrokenLine,
    /// Sends an event, one line of JSON, that is longer than any object; the watch continues.
    OversizedLine {
        /// The exact length without the newline, at least 1000.
        bytes: u64,
    },
    /// Sends the next event one byte at a time; later events wait for it.
    DripLine {
        /// Time between two bytes; zero sends them as fast as possible.
        interval: Duration,
    },
    /// Sends half of the next event's line, and then nothing until the peer leaves.
    StallLine,
    /// Sends an `ERROR` event with a `Status` of this code, then the last chunk.
    ErrorEvent { code: u16, message: String },
}

/// How often a rule of `ApiServer::fail_on` applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    N(usize),
    Always,
}

/// Pending faults.
#[derive(Default)]
pub(super) struct Faults {
    next: VecDeque<Fault>,
    rules: Vec<Rule>,
}

struct Rule {
    part: String,
    fault: Fault,
    /// `None` means unlimited.
    left: Option<usize>,
}

impl Faults {
    pub(super) fn fail_next(&mut self, fault: Fault) {
        self.next.push_back(fault);
    }

    pub(super) fn fail_on(&mut self, part: &str, fault: Fault, times: Times) {
        let left = match times {
            Times::Once => Some(1),
            Times::N(times) => Some(times),
            Times::Always => None,
        };
        self.rules.push(Rule { part: part.to_owned(), fault, left });
    }

    /// Takes the fault for a request to `target`, if any.
    pub(super) fn take(&mut self, target: &str) -> Option<Fault> {
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        let rule = self.rules.iter_mut().find(|rule| rule.left != Some(0) && target.contains(&rule.part))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}

/// Sends `answer` with the fault applied.
pub(super) fn play(fault: Fault, answer: &Answer, connection: &mut Connection) -> io::Result<After> {
    match fault {
        Fault::Reset => Ok(After::Reset),
        // The wait is over.
        Fault::Hold | Fault::Delay => connection.send(answer),
        Fault::CloseBeforeAnswer => Ok(After::Close),
        Fault::TruncateBody => truncate(answer, connection),
        Fault::Drip { interval } => drip(answer, interval, connection),
        Fault::SilentHeader => {
            connection.socket().peer_waits(None)?;
            Ok(After::Close)
        }
        Fault::UntilRequests(_) => connection.send(answer),
        Fault::HugeBody { bytes } => huge(bytes, Framing::Length(bytes), connection),
        Fault::HugeChunkedBody { bytes } => huge(bytes, Framing::Chunked, connection),
        Fault::Status { code, retry_after, message } => {
            let mut answer = routes::status(code, &message, None);
            if let Some(value) = retry_after {
                answer = answer.with("Retry-After", value);
            }
            connection.send(&answer)
        }
        Fault::Raw(bytes) => {
            connection.write(&bytes)?;
            Ok(After::Close)
        }
        Fault::Body(text) => connection.send(&Answer::text(200, text)),
        Fault::Redirect(address) => connection.send(&Answer::text(307, "").with("Location", address)),
    }
}

fn truncate(answer: &Answer, connection: &mut Connection) -> io::Result<After> {
    let mut bytes = answer.head(Framing::Length(answer.body.len() as u64));
    bytes.extend_from_slice(&answer.body[..answer.body.len() / 2]);
    connection.write(&bytes)?;
    Ok(After::Cut)
}

fn drip(answer: &Answer, interval: Duration, connection: &mut Connection) -> io::Result<After> {
    connection.write(&answer.head(Framing::Length(answer.body.len() as u64)))?;
    // A socket timeout must not be zero.
    let interval = interval.max(Duration::from_millis(1));
    for byte in &answer.body {
        if !connection.socket().peer_waits(Some(interval))? {
            return Ok(After::Close);
        }
        connection.write(&[*byte])?;
    }
    Ok(After::KeepAlive)
}

fn huge(bytes: u64, framing: Framing, connection: &mut Connection) -> io::Result<After> {
    const START: &str = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"huge"},"data":{"filler":""#;
    const END: &str = r#""}}"#;

    connection.write(&Answer::text(200, "").head(framing))?;
    write_filled(START, bytes, END, framing, connection)?;
    if matches!(framing, Framing::Chunked) {
        connection.write(LAST_CHUNK)?;
    }
    Ok(After::KeepAlive)
}

/// Sends exactly `bytes` bytes: `start`, filler, `end`.
pub(super) fn write_filled(
    start: &str,
    bytes: u64,
    end: &str,
    framing: Framing,
    connection: &mut Connection,
) -> io::Result<()> {
    const PIECE: [u8; 16 * 1024] = [b'A'; 16 * 1024];

    let mut filler = bytes.checked_sub((start.len() + end.len()) as u64).expect("longer than its frame");
    write_piece(start.as_bytes(), framing, connection)?;
    while filler > 0 {
        let length = filler.min(PIECE.len() as u64);
        write_piece(&PIECE[..length as usize], framing, connection)?;
        filler -= length;
    }
    write_piece(end.as_bytes(), framing, connection)
}

pub(super) fn write_piece(piece: &[u8], framing: Framing, connection: &mut Connection) -> io::Result<()> {
    match framing {
        Framing::Length(_) => connection.write(piece),
        Framing::Chunked => {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            connection.write(&chunk)
        }
    }
}

//! Everything that can go wrong between an answer and the peer, on demand.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::connection::{After, Connection};
use super::http::{Answer, Framing};
use super::routes;

/// Ends a chunked body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How a request is spoiled. A watch is spoiled as if its body were what it would send at once. The request counts in `ApiServer::requests` all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No answer but RST: Linux sends it where a socket is closed with the request still unread in its buffer.
    Reset,
    /// No answer; TLS and TCP are closed in order, as a server does that tires of an idle connection.
    CloseBeforeAnswer,
    /// The usual head, half of the body that it announces, then FIN without `close_notify`.
    TruncateBody,
    /// The usual head at once, the usual body a byte each `interval`, until it is whole or the peer goes.
    Drip {
        /// Between two bytes; at least a millisecond.
        interval: Duration,
    },
    /// No answer, until the peer goes or the server stops.
    SilentHeader,
    /// 200 and so many bytes of a Secret's JSON, announced by Content-Length.
    HugeBody {
        /// The exact length, at least 100.
        bytes: u64,
    },
    /// The same in chunks, with no length announced.
    HugeChunkedBody {
        /// The exact length without the framing, at least 100.
        bytes: u64,
    },
    /// This code with a `Status` object.
    Status {
        code: u16,
        /// The header's value: seconds or an HTTP date.
        retry_after: Option<String>,
        message: String,
    },
    /// These bytes inside TLS in place of an answer, then the connection is closed in order.
    Raw(Vec<u8>),
    /// 200 with this body, called JSON.
    Body(String),
    /// 307 to this address.
    Redirect(String),
}

impl Fault {
    /// Whether the request was obeyed before its answer was spoiled.
    pub(super) fn comes_after_the_work(&self) -> bool {
        matches!(self, Self::TruncateBody | Self::Drip { .. })
    }
}

/// How a watch that is open is spoiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WatchFault {
    /// RST.
    Reset,
    /// FIN without the last chunk and without `close_notify`, as when a process dies.
    Close,
    /// The last chunk, as after `timeoutSeconds`; the connection lives on.
    End,
    /// Half of an event's line, ended by a new line; the stream goes on.
    BrokenLine,
    /// An event, one JSON line, of a length that no object has; the stream goes on.
    OversizedLine {
        /// The exact length without the new line, at least 1000.
        bytes: u64,
    },
    /// The next event that comes arrives a byte at a time; what follows waits for its end.
    DripLine {
        /// Between two bytes; zero is as fast as they go.
        interval: Duration,
    },
    /// An `ERROR` event with a `Status` of this code, then the last chunk.
    ErrorEvent { code: u16, message: String },
}

/// How often a rule of `ApiServer::fail_on` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    N(usize),
    Always,
}

/// Faults to come.
#[derive(Default)]
pub(super) struct Faults {
    next: VecDeque<Fault>,
    rules: Vec<Rule>,
}

struct Rule {
    part: String,
    fault: Fault,
    /// `None`: without end.
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

    /// The fault for a request to `target`, used up by this call.
    pub(super) fn take(&mut self, target: &str) -> Option<Fault> {
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        let rule = self.rules.iter_mut().find(|rule| rule.left != Some(0) && target.contains(&rule.part))?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}

/// Spoils `answer` on its way to the peer.
pub(super) fn play(fault: Fault, answer: &Answer, connection: &mut Connection) -> io::Result<After> {
    match fault {
        Fault::Reset => Ok(After::Reset),
        Fault::CloseBeforeAnswer => Ok(After::Close),
        Fault::TruncateBody => truncate(answer, connection),
        Fault::Drip { interval } => drip(answer, interval, connection),
        Fault::SilentHeader => {
            connection.socket().peer_waits(None)?;
            Ok(After::Close)
        }
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
    // A socket takes no timeout of zero.
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

/// So many bytes, which start and end as told.
pub(super) fn write_filled(
    start: &str,
    bytes: u64,
    end: &str,
    framing: Framing,
    connection: &mut Connection,
) -> io::Result<()> {
    const PIECE: [u8; 16 * 1024] = [b'A'; 16 * 1024];

    let mut filler = bytes.checked_sub((start.len() + end.len()) as u64).expect("what is huge is longer");
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

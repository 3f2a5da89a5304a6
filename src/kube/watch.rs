//! A watch: the stream of an object's changes. It requests metadata only, so it carries no values; but the annotation
//! `last-applied-configuration` may contain some, so a line is treated as a secret.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::io::{ErrorKind, Read};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::kube::config::Server;
use crate::kube::error::{Cause, Error};
use crate::kube::transport::error::from_ureq;
use crate::object::ObjectRef;
use crate::secret::SecretBuffer;
use crate::text::one_line;

/// The longest line, in bytes: more than the metadata of any object has.
const LINE_LIMIT: usize = 1024 * 1024;
/// The bytes per read.
const CHUNK: usize = 4 * 1024;
/// The longest message of an error event that is repeated, in characters.
const MESSAGE_LIMIT: usize = 500;

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object was created, modified or deleted.
    Object {
        /// The resourceVersion to resume from.
        version: String,
    },
    /// The object has not changed up to this resourceVersion.
    Bookmark {
        /// The resourceVersion to resume from.
        version: String,
    },
}

/// An open watch. Dropping it closes the connection.
pub(crate) struct Watch<'a> {
    object: &'a ObjectRef,
    server: &'a Server,
    reader: ureq::BodyReader<'static>,
    /// The start of a line that is not complete yet.
    buffer: SecretBuffer,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(object: &'a ObjectRef, server: &'a Server, body: ureq::Body) -> Self {
        Self { object, server, reader: body.into_reader(), buffer: SecretBuffer::default() }
    }

    /// Waits for the next event. `None` means that the API server closed the watch, which it does regularly.
    ///
    /// # Errors
    /// If the connection breaks or is silent for too long, or the API server sends an error or an invalid event.
    pub(crate) fn receive(&mut self) -> Result<Option<Change>, Error> {
        self.read_line()
            .and_then(|line| line.map(|line| parse(&line)).transpose())
            .map_err(|cause| Error::new(self.object, cause))
    }

    fn read_line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Cause> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        // Searches each byte once, even if a line arrives in many small pieces.
        let mut searched = 0;
        loop {
            if let Some(line) = self.buffer.take_line(searched) {
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if self.buffer.len() > LINE_LIMIT {
                return Err(Cause::TooLarge { limit: LINE_LIMIT });
            }
            match self.reader.read(chunk.as_mut_slice()) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(Cause::unreadable("the watch ended in the middle of an event")),
                Ok(count) => self.buffer.push(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(from_ureq(self.server, None, &ureq::Error::from(error))),
            }
        }
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    object: EventObject,
}

#[derive(Deserialize)]
struct EventObject {
    metadata: Option<Metadata>,
    code: Option<u16>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "resourceVersion")]
    version: Option<String>,
}

fn parse(line: &[u8]) -> Result<Change, Cause> {
    let event: Event<'_> =
        serde_json::from_slice(line).map_err(|_| Cause::unreadable("invalid watch event"))?;
    if event.kind == "ERROR" {
        let message = one_line(event.object.message.as_deref().unwrap_or("no reason given"), MESSAGE_LIMIT);
        return Err(match event.object.code {
            Some(410) => Cause::Gone { message },
            code => Cause::Unavailable { status: code.unwrap_or(0), message, retry_after: None },
        });
    }
    let version = event.object.metadata.and_then(|metadata| metadata.version);
    let version = version.ok_or_else(|| Cause::unreadable("a watch event without resourceVersion"))?;
    match event.kind {
        "ADDED" | "MODIFIED" | "DELETED" => Ok(Change::Object { version }),
        "BOOKMARK" => Ok(Change::Bookmark { version }),
        _ => Err(Cause::unreadable("a watch event of an unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_parsed_by_type() {
        let line =
            |kind: &str| format!(r#"{{"type":"{kind}","object":{{"metadata":{{"resourceVersion":"7"}}}}}}"#);
        for kind in ["ADDED", "MODIFIED", "DELETED"] {
            assert_eq!(parse(line(kind).as_bytes()).unwrap(), Change::Object { version: "7".into() });
        }
        assert_eq!(parse(line("BOOKMARK").as_bytes()).unwrap(), Change::Bookmark { version: "7".into() });
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(matches!(parse(gone), Err(Cause::Gone { message }) if message == "too old"));
        let error = br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"test"}}"#;
        assert!(matches!(parse(error), Err(Cause::Unavailable { status: 500, .. })));
    }

    #[test]
    fn an_invalid_event_is_rejected_without_being_shown() {
        for line in [
            "",
            "test-password",
            "{}",
            r#"{"type":"ADDED"}"#,
            r#"{"type":"ADDED","object":{}}"#,
            r#"{"type":"X","object":{"metadata":{"resourceVersion":"1"}}}"#,
        ] {
            let message = parse(line.as_bytes()).unwrap_err().to_string();
            assert!(!message.contains("test-password"), "{message}");
        }
    }
}

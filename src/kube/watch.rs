//! The stream of an object's changes. Only metadata is asked for, so no value ever comes this way; but annotations may
//! hold what somebody applied, so a line is as secret as a body.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::io::{ErrorKind, Read};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::kube::config::server::Server;
use crate::kube::error::{Cause, Error};
use crate::kube::transport::error;
use crate::object::ObjectRef;
use crate::secret::SecretBuffer;
use crate::text::one_line;

/// The longest line, in bytes: more than the metadata of any object.
const LINE_LIMIT: usize = 1024 * 1024;
/// The bytes that are read at once.
const CHUNK: usize = 4 * 1024;
/// The most of an error's message that is passed on, in characters.
const MESSAGE_LIMIT: usize = 500;

/// What a watch says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The object was made, changed or deleted.
    Object {
        /// The version to watch from later.
        version: String,
    },
    /// Nothing changed up to this version.
    Bookmark {
        /// The version to watch from later.
        version: String,
    },
}

/// An open watch. Dropping it ends it.
pub(crate) struct Watch<'a> {
    object: &'a ObjectRef,
    server: &'a Server,
    reader: ureq::BodyReader<'static>,
    /// What was read and is not yet a whole line.
    buffer: SecretBuffer,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(object: &'a ObjectRef, server: &'a Server, body: ureq::Body) -> Self {
        Self { object, server, reader: body.into_reader(), buffer: SecretBuffer::default() }
    }

    /// Waits for what comes next; none when the API server has ended the watch, which it does now and then.
    ///
    /// # Errors
    /// If the line breaks, is silent for too long, or says what no API server says.
    pub(crate) fn receive(&mut self) -> Result<Option<Change>, Error> {
        self.read_line()
            .and_then(|line| line.map(|line| parse(&line)).transpose())
            .map_err(|cause| Error::new(self.object, cause))
    }

    fn read_line(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, Cause> {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        // Each byte is looked at once, however small the pieces are that a line comes in.
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
                Ok(0) => return Err(Cause::unreadable("a watch ended in the middle of a line")),
                Ok(count) => self.buffer.push(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error::cause(self.server, None, &ureq::Error::from(error))),
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
        serde_json::from_slice(line).map_err(|_| Cause::unreadable("a line of a watch is no event"))?;
    if event.kind == "ERROR" {
        let message = one_line(event.object.message.as_deref().unwrap_or("it gave no reason"), MESSAGE_LIMIT);
        return Err(match event.object.code {
            Some(410) => Cause::Expired { message },
            code => Cause::Busy { status: code.unwrap_or(0), message, retry_after: None },
        });
    }
    let version = event.object.metadata.and_then(|metadata| metadata.version);
    let version = version.ok_or_else(|| Cause::unreadable("an event of a watch has no resourceVersion"))?;
    match event.kind {
        "ADDED" | "MODIFIED" | "DELETED" => Ok(Change::Object { version }),
        "BOOKMARK" => Ok(Change::Bookmark { version }),
        _ => Err(Cause::unreadable("an event of a watch is of an unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let line =
            |kind: &str| format!(r#"{{"type":"{kind}","object":{{"metadata":{{"resourceVersion":"7"}}}}}}"#);
        for kind in ["ADDED", "MODIFIED", "DELETED"] {
            assert_eq!(parse(line(kind).as_bytes()).unwrap(), Change::Object { version: "7".into() });
        }
        assert_eq!(parse(line("BOOKMARK").as_bytes()).unwrap(), Change::Bookmark { version: "7".into() });
        let expired = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(matches!(parse(expired), Err(Cause::Expired { message }) if message == "too old"));
        let error = br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"test"}}"#;
        assert!(matches!(parse(error), Err(Cause::Busy { status: 500, .. })));
    }

    #[test]
    fn what_is_no_event_is_refused_without_being_shown() {
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

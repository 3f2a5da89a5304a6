//! Parses a watch request and writes the lines of its response. Independent of connections.
//!
//! The rules: <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use std::time::Duration;

use serde_json::{Value, json};

use super::history::Event;
use super::http::Request;
use super::objects::{self, ObjectRef, Objects, metadata_only};
use super::routes;

/// kube-apiserver's default for `--min-request-timeout`, used without `timeoutSeconds`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// Upper limit for `timeoutSeconds`.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A parsed watch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) object: ObjectRef,
    /// `None` means: send the current state first, then the changes.
    pub(super) from: Option<u64>,
    pub(super) timeout: Duration,
    pub(super) bookmarks: bool,
    pub(super) metadata_only: bool,
}

impl Watch {
    /// `None` if path and query are not those of a watch.
    ///
    /// # Errors
    /// Describes the invalid parameter.
    pub(super) fn parse(request: &Request) -> Option<Result<Self, String>> {
        let (kind, namespace) = objects::parse_collection(&request.path)?;
        request.is_watch().then(|| {
            let selector = request.parameter("fieldSelector").unwrap_or_default();
            let name = selected_name(&selector).ok_or_else(|| {
                format!("this server watches one object: fieldSelector=metadata.name=NAME, not {selector:?}")
            })?;
            // A timeout of zero means unset: apiserver, pkg/endpoints/handlers/get.go.
            let timeout = number(request, "timeoutSeconds")?.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
            Ok(Self {
                object: ObjectRef::new(kind, namespace, name),
                from: number(request, "resourceVersion")?,
                timeout: timeout.min(MAX_TIMEOUT),
                bookmarks: request.flag("allowWatchBookmarks"),
                metadata_only: routes::wants_metadata_only(request),
            })
        })
    }

    /// The watch cache's message if the watch cannot start from its version.
    pub(super) fn expired(&self, objects: &Objects) -> Option<String> {
        let (from, oldest) = (self.from?, objects.history().oldest());
        (from < oldest).then(|| format!("too old resource version: {from} ({oldest})"))
    }

    /// Formats a line of the stream.
    pub(super) fn event(&self, event: Event, object: &Value) -> Vec<u8> {
        if self.metadata_only {
            line(event.name(), &metadata_only(object))
        } else {
            line(event.name(), object)
        }
    }

    /// The current state of the object as an event; `None` if it does not exist.
    pub(super) fn present(&self, event: Event, objects: &Objects) -> Option<Vec<u8>> {
        objects.get(&self.object).map(|object| self.event(event, object))
    }

    /// A bookmark: all changes up to `version` have been sent. Go writes the unset creation time as null.
    pub(super) fn bookmark(&self, version: u64) -> Vec<u8> {
        let mut object = json!({
            "kind": self.object.kind.name(),
            "apiVersion": "v1",
            "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
        });
        if self.metadata_only {
            object = metadata_only(&object);
        }
        line("BOOKMARK", &object)
    }

    /// The start and end of an event of any length, around a filler without special characters.
    pub(super) fn around_filler(&self, version: u64) -> (String, &'static str) {
        let ObjectRef { kind, namespace, name } = &self.object;
        let start = format!(
            r#"{{"type":"MODIFIED","object":{{"kind":"{}","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"{namespace}","resourceVersion":"{version}","annotations":{{"filler":""#,
            kind.name()
        );
        (start, "\"}}}}\n")
    }
}

/// The `ERROR` event that ends a watch.
pub(super) fn error(code: u16, message: &str) -> Vec<u8> {
    line("ERROR", &routes::status_object(code, message))
}

fn line(event: &str, object: &Value) -> Vec<u8> {
    // In the field order of Go's `WatchEvent`.
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into_bytes()
}

/// The name in `metadata.name=name`; `None` if the selector has other terms.
fn selected_name(selector: &str) -> Option<&str> {
    let value = selector.strip_prefix("metadata.name=")?;
    let name = value.strip_prefix('=').unwrap_or(value);
    (!name.is_empty() && !name.contains([',', '=', '/'])).then_some(name)
}

/// A numeric parameter; kube-apiserver treats zero like unset.
fn number(request: &Request, name: &str) -> Result<Option<u64>, String> {
    let text = request.parameter(name).filter(|text| !text.is_empty());
    let number = text.map(|text| text.parse().map_err(|_| format!("{name}: {text:?} is not a number")));
    Ok(number.transpose()?.filter(|number| *number != 0))
}

//! The shapes of the API's answers, as far as they are used.
//! Source: <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/>

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::kube::error::Cause;
use crate::object::{Data, Kind};
use crate::quote::{Quoted, one_line};
use crate::secret::SecretBytes;

/// The most of a `Status` message that is passed on, in characters.
const MESSAGE_LIMIT: usize = 500;

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
}

/// A Secret's or ConfigMap's content. Borrowed from the body, so that no value is copied before it is decoded.
#[derive(Deserialize)]
struct Content<'a> {
    kind: Option<String>,
    #[serde(borrow, default)]
    data: Option<BTreeMap<String, Text<'a>>>,
    #[serde(borrow, default, rename = "binaryData")]
    binary_data: Option<BTreeMap<String, Text<'a>>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The message of a `Status`, on one line; for anything else, that there is none.
pub(super) fn status_message(body: &[u8]) -> String {
    match serde_json::from_slice::<Status>(body) {
        Ok(Status { message }) if !message.is_empty() => one_line(&message, MESSAGE_LIMIT),
        _ => "it gave no reason".to_owned(),
    }
}

/// The annotations in a Pod or in its PartialObjectMetadata.
pub(super) fn annotations(body: &[u8]) -> Result<BTreeMap<String, String>, Cause> {
    let pod: Pod = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    Ok(pod.metadata.annotations.unwrap_or_default())
}

/// The decoded content of a Secret or ConfigMap.
pub(super) fn data(kind: Kind, body: &[u8]) -> Result<Data, Cause> {
    let content: Content<'_> = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    if content.kind.as_deref() != Some(kind.to_string().as_str()) {
        return Err(Cause::unreadable(format!("it is no {kind}")));
    }
    let plain = content.data.unwrap_or_default();
    let encoded = content.binary_data.unwrap_or_default();
    match kind {
        Kind::Secret => plain.into_iter().map(decode).collect(),
        _ => plain
            .into_iter()
            .map(|(key, text)| Ok((key, (&*text.0).into())))
            .chain(encoded.into_iter().map(decode))
            .collect(),
    }
}

fn decode((key, text): (String, Text<'_>)) -> Result<(String, SecretBytes), Cause> {
    match STANDARD.decode(text.0.as_bytes()) {
        Ok(bytes) => Ok((key, SecretBytes::new(bytes))),
        Err(_) => Err(Cause::unreadable(format!("the value of key {} is not base64", Quoted(&key)))),
    }
}

/// Where the JSON is wrong. serde's own text can repeat a value, so it is left out.
fn not_json(error: &serde_json::Error) -> Cause {
    let what = if error.is_data() { "unexpected JSON" } else { "not JSON" };
    Cause::unreadable(format!("{what} at line {} column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(data: &str) -> Result<Data, String> {
        let body = format!(r#"{{"kind":"Secret","apiVersion":"v1","data":{data},"type":"Opaque"}}"#);
        super::data(Kind::Secret, body.as_bytes()).map_err(|cause| cause.to_string())
    }

    #[test]
    fn a_secret_is_decoded_and_may_have_nothing_in_it() {
        let read = secret(r#"{"a":"AP8=","b":"","c":"dGVz\u0064A=="}"#).unwrap();
        assert_eq!(
            (read["a"].expose(), read["b"].expose(), read["c"].expose()),
            (&[0, 255][..], &[][..], &b"test"[..])
        );
        assert!(secret("null").unwrap().is_empty());
        assert!(data(Kind::Secret, br#"{"kind":"Secret"}"#).unwrap().is_empty());
    }

    #[test]
    fn a_config_map_has_text_and_bytes() {
        let body = br#"{"kind":"ConfigMap","data":{"host":"db\n"},"binaryData":{"ca":"AP8="}}"#;
        let read = data(Kind::ConfigMap, body).unwrap();
        assert_eq!((read["host"].expose(), read["ca"].expose()), (&b"db\n"[..], &[0, 255][..]));
    }

    #[test]
    fn garbage_is_refused_without_being_shown() {
        for data in [
            r#"{"a":"test-password!"}"#,
            r#"{"a":"dGVzdA"}"#,
            r#"{"a":["test-password"]}"#,
            r#""test-password""#,
        ] {
            let message = secret(data).unwrap_err();
            assert!(!message.contains("test-password") && !message.contains("dGVz"), "{message}");
        }
        assert!(secret(r#"{"a":"test-password!"}"#).unwrap_err().contains("key \"a\" is not base64"));
        for body in ["", "<html>", "[]", "null", r#"{"kind":"Status"}"#, &"[".repeat(100_000)] {
            assert!(data(Kind::Secret, body.as_bytes()).is_err(), "{:.20}", body);
        }
    }

    #[test]
    fn annotations_are_read_from_whole_and_partial_pods() {
        let body = br#"{"kind":"PartialObjectMetadata","metadata":{"name":"a","annotations":{"x/y":"z"}}}"#;
        assert_eq!(annotations(body).unwrap()["x/y"], "z");
        assert!(annotations(br#"{"metadata":{}}"#).unwrap().is_empty());
        assert!(annotations(b"{}").is_err());
    }

    #[test]
    fn the_message_of_a_status_is_one_short_line() {
        assert_eq!(status_message(br#"{"kind":"Status","message":"a\nb"}"#), "a b");
        assert_eq!(status_message(b"<html>test</html>"), "it gave no reason");
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(status_message(long.as_bytes()).len(), MESSAGE_LIMIT);
    }
}

//! The shapes of the API's answers, as far as they are used.
//! Source: <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/>

mod service;

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::kube::error::Cause;
use crate::object::{Kind, ObjectData, ObjectRef};
use crate::secret::SecretBytes;
use crate::text::{Quoted, one_line};

/// The most of a `Status` message that is passed on, in characters.
const MESSAGE_LIMIT: usize = 500;

#[derive(Deserialize)]
struct StatusBody {
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
}

/// What a refusal says.
pub(crate) struct Status {
    /// Its message on one line.
    pub(crate) message: String,
    /// Whether the API server itself says that there is no such object: a proxy's 404 is another thing.
    pub(crate) is_not_found: bool,
}

#[derive(Deserialize)]
struct Pod {
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "resourceVersion")]
    version: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A Secret's or ConfigMap's content. Borrowed from the body, so that no value is copied before it is decoded.
#[derive(Deserialize)]
struct Content<'a> {
    kind: String,
    metadata: Metadata,
    #[serde(borrow, default)]
    data: Option<BTreeMap<String, Text<'a>>>,
    #[serde(borrow, default, rename = "binaryData")]
    binary_data: Option<BTreeMap<String, Text<'a>>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a `Status`; for anything else, that no reason was given.
pub(crate) fn status(body: &[u8]) -> Status {
    match serde_json::from_slice::<StatusBody>(body) {
        Ok(status) if status.kind == "Status" && !status.message.is_empty() => Status {
            message: one_line(&status.message, MESSAGE_LIMIT),
            is_not_found: status.reason == "NotFound",
        },
        _ => Status { message: "it gave no reason".to_owned(), is_not_found: false },
    }
}

/// The annotations in a Pod or in its PartialObjectMetadata.
pub(crate) fn annotations(pod: &ObjectRef, body: &[u8]) -> Result<BTreeMap<String, String>, Cause> {
    Ok(metadata(pod, body)?.annotations.unwrap_or_default())
}

/// The uid in a Pod or in its PartialObjectMetadata.
pub(crate) fn uid(pod: &ObjectRef, body: &[u8]) -> Result<String, Cause> {
    metadata(pod, body)?.uid.ok_or_else(|| Cause::unreadable("it has no uid"))
}

fn metadata(pod: &ObjectRef, body: &[u8]) -> Result<Metadata, Cause> {
    let read: Pod = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    check(pod, &["Pod", "PartialObjectMetadata"], &read.kind, &read.metadata)?;
    Ok(read.metadata)
}

/// A Secret, ConfigMap or Service: its version and its decoded content.
pub(crate) fn object(object: &ObjectRef, body: &[u8]) -> Result<(String, ObjectData), Cause> {
    if object.kind == Kind::Service {
        let (version, service) = service::read(object, body)?;
        return Ok((version, ObjectData::Service(service)));
    }
    let content: Content<'_> = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    check(object, &[&object.kind.to_string()], &content.kind, &content.metadata)?;
    let plain = content.data.unwrap_or_default();
    let encoded = content.binary_data.unwrap_or_default();
    let data = match object.kind {
        Kind::Secret => plain.into_iter().map(decode).collect::<Result<BTreeMap<_, _>, _>>()?,
        _ => {
            let plain = plain.into_iter().map(|(key, text)| Ok((key, (&*text.0).into())));
            plain.chain(encoded.into_iter().map(decode)).collect::<Result<BTreeMap<_, _>, _>>()?
        }
    };
    Ok((content.metadata.version.unwrap_or_default(), ObjectData::Keys(data)))
}

/// Makes sure that an answer is of the object that was asked for: one that belongs to another request, because a proxy
/// lost count, must not be taken for it.
fn check(object: &ObjectRef, kinds: &[&str], kind: &str, metadata: &Metadata) -> Result<(), Cause> {
    let named = metadata.name.as_deref() == Some(object.name());
    let placed = metadata.namespace.as_deref() == Some(object.namespace.to_string().as_str());
    if kinds.contains(&kind) && named && placed {
        Ok(())
    } else {
        Err(Cause::unreadable("it is another object"))
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
    use crate::object::{Data, Namespace};

    fn reference(kind: Kind) -> ObjectRef {
        ObjectRef::parse(kind, "db", &Namespace::parse("prod").unwrap()).unwrap()
    }

    fn read(kind: Kind, rest: &str) -> Result<Data, String> {
        let body = format!(r#"{{"kind":"{kind}","metadata":{{"name":"db","namespace":"prod"}}{rest}}}"#);
        object(&reference(kind), body.as_bytes())
            .map(|(_, data)| data.keys().unwrap().clone())
            .map_err(|cause| cause.to_string())
    }

    fn secret(data: &str) -> Result<Data, String> {
        read(Kind::Secret, &format!(r#","data":{data},"type":"Opaque""#))
    }

    #[test]
    fn a_secret_is_decoded_and_may_have_nothing_in_it() {
        let full = secret(r#"{"a":"AP8=","b":"","c":"dGVz\u0064A=="}"#).unwrap();
        assert_eq!(
            (full["a"].expose(), full["b"].expose(), full["c"].expose()),
            (&[0, 255][..], &[][..], &b"test"[..])
        );
        assert!(secret("null").unwrap().is_empty());
        assert!(read(Kind::Secret, "").unwrap().is_empty());
    }

    #[test]
    fn a_config_map_has_text_and_bytes() {
        let full = read(Kind::ConfigMap, r#","data":{"host":"db\n"},"binaryData":{"ca":"AP8="}"#).unwrap();
        assert_eq!((full["host"].expose(), full["ca"].expose()), (&b"db\n"[..], &[0, 255][..]));
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
            assert!(object(&reference(Kind::Secret), body.as_bytes()).is_err(), "{body:.20}");
        }
    }

    #[test]
    fn an_answer_of_another_object_is_refused() {
        for (kind, name, namespace, right) in [
            ("Secret", "db", "prod", true),
            ("ConfigMap", "db", "prod", false),
            ("Status", "db", "prod", false),
            ("Secret", "other", "prod", false),
            ("Secret", "db", "kube-system", false),
        ] {
            let body =
                format!(r#"{{"kind":"{kind}","metadata":{{"name":"{name}","namespace":"{namespace}"}}}}"#);
            assert_eq!(object(&reference(Kind::Secret), body.as_bytes()).is_ok(), right, "{body}");
        }
        let other = br#"{"kind":"Pod","metadata":{"name":"other","namespace":"prod"}}"#;
        assert!(annotations(&reference(Kind::Pod), other).is_err());
        assert!(annotations(&reference(Kind::Pod), br#"{"kind":"Status","metadata":{}}"#).is_err());
    }

    #[test]
    fn annotations_are_read_from_whole_and_partial_pods() {
        for kind in ["Pod", "PartialObjectMetadata"] {
            let metadata = r#"{"name":"db","namespace":"prod","annotations":{"x/y":"z"}}"#;
            let body = format!(r#"{{"kind":"{kind}","metadata":{metadata}}}"#);
            assert_eq!(annotations(&reference(Kind::Pod), body.as_bytes()).unwrap()["x/y"], "z");
        }
        let none = br#"{"kind":"Pod","metadata":{"name":"db","namespace":"prod"}}"#;
        assert!(annotations(&reference(Kind::Pod), none).unwrap().is_empty());
        assert!(annotations(&reference(Kind::Pod), b"{}").is_err());
    }

    #[test]
    fn a_status_is_one_short_line_and_says_whether_the_object_is_missing() {
        let missing = status(br#"{"kind":"Status","message":"a\nb","reason":"NotFound"}"#);
        assert_eq!((missing.message.as_str(), missing.is_not_found), ("a b", true));
        for other in ["<html>test</html>", r#"{"message":"x","reason":"NotFound"}"#, r#"{"kind":"Status"}"#] {
            let status = status(other.as_bytes());
            assert_eq!(
                (status.message.as_str(), status.is_not_found),
                ("it gave no reason", false),
                "{other}"
            );
        }
        let long = format!(r#"{{"kind":"Status","message":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(status(long.as_bytes()).message.len(), MESSAGE_LIMIT);
    }
}

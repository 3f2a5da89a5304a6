//! Decodes the API server's responses, as far as podcreds uses them.
//! Source: <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::kube::error::Cause;
use crate::object::{Kind, ObjectData, ObjectRef, ServiceData};
use crate::secret::SecretBytes;
use crate::text::{Quoted, one_line};

/// The maximum number of keys of a Secret or ConfigMap: as many as a bundle has files. Kubernetes limits only the size of the object,
/// which leaves room for 150,000 keys; these take a hundred times that size in memory.
const KEY_LIMIT: usize = 10_000;
/// The longest `message` of a `Status` that is repeated, in characters.
const MESSAGE_LIMIT: usize = 500;

#[derive(Deserialize)]
struct StatusBody {
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
}

/// The body of an error response.
pub(crate) struct Status {
    /// The API server's message, on one line.
    pub(crate) message: String,
    /// Whether the API server says that the object does not exist. The 404 of a proxy does not say that.
    pub(crate) is_not_found: bool,
}

/// Any object, without its content.
#[derive(Deserialize)]
struct AnyObject {
    kind: String,
    metadata: Metadata,
}

/// The part of the metadata that every object has. Annotations are not copied from a Secret: `last-applied-configuration` may repeat its
/// values.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "resourceVersion")]
    version: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
}

/// What is read of a Pod, or of its PartialObjectMetadata.
#[derive(Deserialize)]
struct Pod {
    metadata: PodMetadata,
}

#[derive(Deserialize)]
struct PodMetadata {
    uid: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A Secret or ConfigMap. Borrowed from the body, so that no value is copied before it is decoded.
#[derive(Deserialize)]
struct KeyedObject<'a> {
    kind: String,
    metadata: Metadata,
    #[serde(borrow, default)]
    data: Option<Texts<'a>>,
    #[serde(borrow, default, rename = "binaryData")]
    binary_data: Option<Texts<'a>>,
}

/// The values by key. Keys beyond the limit take no memory.
#[derive(Default)]
struct Texts<'a> {
    by_key: BTreeMap<String, Text<'a>>,
    exceeds_limit: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Texts::default())
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Texts<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts by key")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Self, A::Error> {
        while let Some(key) = entries.next_key()? {
            if self.by_key.len() < KEY_LIMIT {
                self.by_key.insert(key, entries.next_value()?);
            } else {
                self.exceeds_limit = true;
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self)
    }
}

/// Borrowed from the body, unless it contains escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Service {
    kind: String,
    metadata: Metadata,
    spec: ServiceSpec,
}

#[derive(Deserialize)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "externalName")]
    external_name: Option<String>,
    ports: Option<Vec<ServicePort>>,
}

/// A port of any protocol. Clients use the Service's own port, not the `targetPort`; a headless Service needs both to be the same.
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec>
#[derive(Deserialize)]
struct ServicePort {
    name: Option<String>,
    port: u16,
}

/// Decodes a `Status`. Any other body counts as one without a message.
pub(crate) fn status(body: &[u8]) -> Status {
    match serde_json::from_slice::<StatusBody>(body) {
        Ok(status) if status.kind == "Status" && !status.message.is_empty() => Status {
            message: one_line(&status.message, MESSAGE_LIMIT),
            is_not_found: status.reason == "NotFound",
        },
        _ => Status { message: "no reason given".to_owned(), is_not_found: false },
    }
}

/// Decodes the resourceVersion and the annotations of a Pod or of its PartialObjectMetadata.
pub(crate) fn annotations(pod: &ObjectRef, body: &[u8]) -> Result<(String, BTreeMap<String, String>), Cause> {
    let (version, metadata) = pod_metadata(pod, body)?;
    Ok((version, metadata.annotations.unwrap_or_default()))
}

/// Decodes the uid of a Pod or of its PartialObjectMetadata.
pub(crate) fn uid(pod: &ObjectRef, body: &[u8]) -> Result<String, Cause> {
    let (_, metadata) = pod_metadata(pod, body)?;
    metadata.uid.ok_or_else(|| Cause::unreadable("the Pod has no uid"))
}

fn pod_metadata(pod: &ObjectRef, body: &[u8]) -> Result<(String, PodMetadata), Cause> {
    let version = version(pod, body)?;
    let read: Pod = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    Ok((version, read.metadata))
}

/// Decodes the resourceVersion alone.
pub(crate) fn version(object: &ObjectRef, body: &[u8]) -> Result<String, Cause> {
    let AnyObject { kind, metadata } = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    check(object, &kind, &metadata)?;
    Ok(metadata.version.unwrap_or_default())
}

/// Decodes a Secret, ConfigMap or Service into its resourceVersion and its content.
pub(crate) fn object(object: &ObjectRef, body: &[u8]) -> Result<(String, ObjectData), Cause> {
    if object.kind == Kind::Service {
        let (version, service) = service(object, body)?;
        return Ok((version, ObjectData::Service(service)));
    }
    let keyed: KeyedObject<'_> = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    check(object, &keyed.kind, &keyed.metadata)?;
    let plain = keyed.data.unwrap_or_default();
    let encoded = keyed.binary_data.unwrap_or_default();
    if plain.exceeds_limit || encoded.exceeds_limit {
        return Err(Cause::TooManyKeys { limit: KEY_LIMIT });
    }
    let (plain, encoded) = (plain.by_key, encoded.by_key);
    let data = match object.kind {
        Kind::Secret => plain.into_iter().map(decode).collect::<Result<BTreeMap<_, _>, _>>()?,
        _ => {
            let plain = plain.into_iter().map(|(key, text)| Ok((key, (&*text.0).into())));
            plain.chain(encoded.into_iter().map(decode)).collect::<Result<BTreeMap<_, _>, _>>()?
        }
    };
    Ok((keyed.metadata.version.unwrap_or_default(), ObjectData::Keys(data)))
}

/// Returns the Service's resourceVersion and address.
fn service(object: &ObjectRef, body: &[u8]) -> Result<(String, ServiceData), Cause> {
    let Service { kind, metadata, spec } = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    check(object, &kind, &metadata)?;
    let host = match spec.kind.as_deref() {
        Some("ExternalName") => spec
            .external_name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Cause::unreadable("a Service of type ExternalName has no externalName"))?,
        // The resolver of every pod completes this name, whatever the cluster domain is. It works for headless Services too.
        // Source: <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>
        _ => format!("{}.{}.svc", object.name(), object.namespace),
    };
    let ports = spec.ports.unwrap_or_default().into_iter();
    let ports = ports
        .map(|ServicePort { name, port }| (name.unwrap_or_default(), port.to_string().as_str().into()))
        .collect::<BTreeMap<_, _>>();
    Ok((metadata.version.unwrap_or_default(), ServiceData { host: host.as_str().into(), ports }))
}

/// Checks that a response describes the requested object. A proxy that confuses connections may answer with that of another
/// request.
fn check(object: &ObjectRef, kind: &str, metadata: &Metadata) -> Result<(), Cause> {
    let named = metadata.name.as_deref() == Some(object.name());
    let placed = metadata.namespace.as_deref() == Some(object.namespace.to_string().as_str());
    if is_kind(object.kind, kind) && named && placed {
        Ok(())
    } else {
        Err(Cause::unreadable("it describes another object"))
    }
}

/// Whether a response of this `kind` may describe such an object. Of a Pod, the metadata alone is requested.
pub(crate) fn is_kind(expected: Kind, kind: &str) -> bool {
    kind == expected.as_str() || (expected == Kind::Pod && kind == "PartialObjectMetadata")
}

fn decode((key, text): (String, Text<'_>)) -> Result<(String, SecretBytes), Cause> {
    match STANDARD.decode(text.0.as_bytes()) {
        Ok(bytes) => Ok((key, SecretBytes::new(bytes))),
        Err(_) => Err(Cause::unreadable(format!("the value of key {} is not base64", Quoted(&key)))),
    }
}

/// Reports the position only: serde's message may contain the value.
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
    fn a_secret_is_decoded_and_may_be_empty() {
        let full = secret(r#"{"a":"AP8=","b":"","c":"dGVz\u0064A=="}"#).unwrap();
        assert_eq!(
            (full["a"].expose(), full["b"].expose(), full["c"].expose()),
            (&[0, 255][..], &[][..], &b"test"[..])
        );
        assert!(secret("null").unwrap().is_empty());
        assert!(read(Kind::Secret, "").unwrap().is_empty());
    }

    #[test]
    fn an_object_has_up_to_10000_keys() {
        let with = |count: usize, text: &str| {
            let keys: Vec<_> = (0..count).map(|index| format!("\"k{index}\":\"{text}\"")).collect();
            format!("{{{}}}", keys.join(","))
        };
        assert_eq!(secret(&with(KEY_LIMIT, "")).unwrap().len(), KEY_LIMIT);
        let message = "the object has more than 10000 keys: move some to other objects";
        assert_eq!(secret(&with(KEY_LIMIT + 1, "")).unwrap_err(), message);
        for field in ["data", "binaryData"] {
            let rest = format!(r#","{field}":{}"#, with(KEY_LIMIT + 1, ""));
            assert_eq!(read(Kind::ConfigMap, &rest).unwrap_err(), message, "{field}");
        }
        // What is beyond the limit is still JSON.
        assert!(
            secret(&with(KEY_LIMIT + 1, "").replace("\"k10000\":", "")).unwrap_err().contains("not JSON")
        );
    }

    #[test]
    fn a_config_map_has_text_and_bytes() {
        let full = read(Kind::ConfigMap, r#","data":{"host":"db\n"},"binaryData":{"ca":"AP8="}"#).unwrap();
        assert_eq!((full["host"].expose(), full["ca"].expose()), (&b"db\n"[..], &[0, 255][..]));
    }

    #[test]
    fn an_invalid_body_is_rejected_without_being_shown() {
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
    fn a_response_about_another_object_is_rejected() {
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
    fn annotations_are_decoded_from_whole_and_partial_pods() {
        for kind in ["Pod", "PartialObjectMetadata"] {
            let metadata = r#"{"name":"db","namespace":"prod","annotations":{"x/y":"z"}}"#;
            let body = format!(r#"{{"kind":"{kind}","metadata":{metadata}}}"#);
            assert_eq!(annotations(&reference(Kind::Pod), body.as_bytes()).unwrap().1["x/y"], "z");
        }
        let none = br#"{"kind":"Pod","metadata":{"name":"db","namespace":"prod"}}"#;
        assert!(annotations(&reference(Kind::Pod), none).unwrap().1.is_empty());
        assert!(annotations(&reference(Kind::Pod), b"{}").is_err());
    }

    #[test]
    fn a_status_is_one_short_line_and_tells_whether_the_object_is_missing() {
        let missing = status(br#"{"kind":"Status","message":"a\nb","reason":"NotFound"}"#);
        assert_eq!((missing.message.as_str(), missing.is_not_found), ("a b", true));
        for other in ["<html>test</html>", r#"{"message":"x","reason":"NotFound"}"#, r#"{"kind":"Status"}"#] {
            let status = status(other.as_bytes());
            assert_eq!((status.message.as_str(), status.is_not_found), ("no reason given", false), "{other}");
        }
        let long = format!(r#"{{"kind":"Status","message":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(status(long.as_bytes()).message.len(), MESSAGE_LIMIT);
    }

    /// The host and, by name, the ports.
    fn read_service(spec: &str) -> Result<(String, Vec<(String, String)>), String> {
        let metadata = r#"{"name":"db","namespace":"prod","resourceVersion":"7"}"#;
        let body = format!(r#"{{"kind":"Service","metadata":{metadata},"spec":{spec}}}"#);
        let (version, data) =
            object(&reference(Kind::Service), body.as_bytes()).map_err(|cause| cause.to_string())?;
        assert_eq!(version, "7");
        let ServiceData { host, ports } = data.service().unwrap();
        let text = |value: &SecretBytes| value.expose_text().unwrap().to_owned();
        Ok((text(host), ports.iter().map(|(name, number)| (name.clone(), text(number))).collect()))
    }

    fn assert_service(spec: &str, host: &str, ports: &[(&str, &str)]) {
        let ports = ports.iter().map(|(name, number)| ((*name).to_owned(), (*number).to_owned())).collect();
        assert_eq!(read_service(spec).unwrap(), (host.to_owned(), ports), "{spec}");
    }

    #[test]
    fn a_service_has_its_cluster_name_as_host_and_its_ports() {
        assert_service(
            r#"{"type":"ClusterIP","clusterIP":"10.0.0.1","ports":[
                {"name":"postgres","protocol":"TCP","port":5432,"targetPort":"pg","nodePort":30001},
                {"name":"port","protocol":"UDP","port":53,"targetPort":5353}]}"#,
            "db.prod.svc",
            &[("port", "53"), ("postgres", "5432")],
        );
        assert_service(r#"{"clusterIP":"None","ports":[{"port":6432}]}"#, "db.prod.svc", &[("", "6432")]);
        assert_service(r#"{"clusterIP":"None","ports":null}"#, "db.prod.svc", &[]);
    }

    #[test]
    fn an_external_service_has_its_external_name_as_host() {
        assert_service(r#"{"type":"ExternalName","externalName":"db.example.com"}"#, "db.example.com", &[]);
        assert_service(
            r#"{"type":"ExternalName","externalName":"db.example.com","ports":[{"port":5432}]}"#,
            "db.example.com",
            &[("", "5432")],
        );
        for spec in [r#"{"type":"ExternalName"}"#, r#"{"type":"ExternalName","externalName":""}"#] {
            assert!(read_service(spec).unwrap_err().contains("has no externalName"), "{spec}");
        }
    }

    #[test]
    fn a_response_that_is_not_a_service_is_rejected() {
        for spec in ["null", "{\"ports\":[{}]}", "{\"ports\":[{\"port\":70000}]}", "{\"ports\":\"x\"}"] {
            assert!(read_service(spec).unwrap_err().contains("unexpected JSON"), "{spec}");
        }
        let other = br#"{"kind":"Service","metadata":{"name":"db","namespace":"other"},"spec":{}}"#;
        assert!(service(&reference(Kind::Service), other).is_err());
    }
}

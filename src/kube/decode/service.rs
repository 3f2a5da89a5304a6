//! What a Service says of where it is: a host, and its ports. Nothing else of it is kept.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Metadata, check, not_json};
use crate::kube::error::Cause;
use crate::object::{Data, ObjectRef, SERVICE_HOST, SERVICE_PORT};

#[derive(Deserialize)]
struct Service {
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "externalName")]
    external_name: Option<String>,
    ports: Option<Vec<Port>>,
}

/// A port of any protocol. That of a container behind it is not looked at: the Service's own is the one that clients use,
/// and for a headless Service both have to be the same.
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/#ServiceSpec>
#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    port: u16,
}

/// Reads its version, and what it is as [`Data`].
pub(crate) fn read(object: &ObjectRef, body: &[u8]) -> Result<(String, Data), Cause> {
    let Service { kind, metadata, spec } = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    check(object, &["Service"], &kind, &metadata)?;
    let host = match spec.kind.as_deref() {
        Some("ExternalName") => spec
            .external_name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Cause::unreadable("a Service of type ExternalName has no externalName"))?,
        // What every pod's resolver completes, whatever the domain of the cluster is called; so do headless Services.
        // Source: <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>
        _ => format!("{}.{}.svc", object.name(), object.namespace),
    };
    let mut data = BTreeMap::from([(SERVICE_HOST.to_owned(), host.as_str().into())]);
    for Port { name, port } in spec.ports.unwrap_or_default() {
        let key = format!("{SERVICE_PORT}{}", name.unwrap_or_default());
        data.insert(key, port.to_string().as_str().into());
    }
    Ok((metadata.version.unwrap_or_default(), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Namespace};

    fn read_spec(spec: &str) -> Result<Vec<(String, String)>, String> {
        let object = ObjectRef::parse(Kind::Service, "db", &Namespace::parse("prod").unwrap()).unwrap();
        let metadata = r#"{"name":"db","namespace":"prod","resourceVersion":"7"}"#;
        let body = format!(r#"{{"kind":"Service","metadata":{metadata},"spec":{spec}}}"#);
        let (version, data) =
            super::super::object(&object, body.as_bytes()).map_err(|cause| cause.to_string())?;
        assert_eq!(version, "7");
        let text = |(key, value): (String, crate::secret::SecretBytes)| {
            (key, value.expose_text().unwrap().to_owned())
        };
        Ok(data.into_iter().map(text).collect())
    }

    fn is(spec: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read_spec(spec).unwrap(), expected, "{spec}");
    }

    #[test]
    fn a_service_is_its_name_in_the_cluster_and_its_ports() {
        is(
            r#"{"type":"ClusterIP","clusterIP":"10.0.0.1","ports":[
                {"name":"postgres","protocol":"TCP","port":5432,"targetPort":"pg","nodePort":30001},
                {"name":"port","protocol":"UDP","port":53,"targetPort":5353}]}"#,
            &[("host", "db.prod.svc"), ("port/port", "53"), ("port/postgres", "5432")],
        );
        is(r#"{"clusterIP":"None","ports":[{"port":6432}]}"#, &[("host", "db.prod.svc"), ("port/", "6432")]);
        is(r#"{"clusterIP":"None","ports":null}"#, &[("host", "db.prod.svc")]);
    }

    #[test]
    fn an_external_service_is_its_external_name() {
        is(r#"{"type":"ExternalName","externalName":"db.example.com"}"#, &[("host", "db.example.com")]);
        is(
            r#"{"type":"ExternalName","externalName":"db.example.com","ports":[{"port":5432}]}"#,
            &[("host", "db.example.com"), ("port/", "5432")],
        );
        for spec in [r#"{"type":"ExternalName"}"#, r#"{"type":"ExternalName","externalName":""}"#] {
            assert!(read_spec(spec).unwrap_err().contains("has no externalName"), "{spec}");
        }
    }

    #[test]
    fn an_answer_that_is_no_service_is_refused() {
        for spec in ["null", "{\"ports\":[{}]}", "{\"ports\":[{\"port\":70000}]}", "{\"ports\":\"x\"}"] {
            assert!(read_spec(spec).unwrap_err().contains("unexpected JSON"), "{spec}");
        }
        let object = ObjectRef::parse(Kind::Service, "db", &Namespace::parse("prod").unwrap()).unwrap();
        let other = br#"{"kind":"Service","metadata":{"name":"db","namespace":"other"},"spec":{}}"#;
        assert!(read(&object, other).is_err());
    }
}

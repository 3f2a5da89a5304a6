//! What a Service says of where it is: a host, and its ports. Nothing else of it is kept.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Metadata, check, not_json};
use crate::kube::error::Cause;
use crate::object::{ObjectRef, ServiceData};

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

/// Returns the Service's resourceVersion and address.
pub(crate) fn read(object: &ObjectRef, body: &[u8]) -> Result<(String, ServiceData), Cause> {
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
    let ports = spec.ports.unwrap_or_default().into_iter();
    let ports = ports
        .map(|Port { name, port }| (name.unwrap_or_default(), port.to_string().as_str().into()))
        .collect::<BTreeMap<_, _>>();
    Ok((metadata.version.unwrap_or_default(), ServiceData { host: host.as_str().into(), ports }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Namespace};
    use crate::secret::SecretBytes;

    /// The host and, by name, the ports.
    fn read_spec(spec: &str) -> Result<(String, Vec<(String, String)>), String> {
        let object = ObjectRef::parse(Kind::Service, "db", &Namespace::parse("prod").unwrap()).unwrap();
        let metadata = r#"{"name":"db","namespace":"prod","resourceVersion":"7"}"#;
        let body = format!(r#"{{"kind":"Service","metadata":{metadata},"spec":{spec}}}"#);
        let (version, data) =
            super::super::object(&object, body.as_bytes()).map_err(|cause| cause.to_string())?;
        assert_eq!(version, "7");
        let ServiceData { host, ports } = data.service().unwrap();
        let text = |value: &SecretBytes| value.expose_text().unwrap().to_owned();
        Ok((text(host), ports.iter().map(|(name, number)| (name.clone(), text(number))).collect()))
    }

    fn is(spec: &str, host: &str, ports: &[(&str, &str)]) {
        let ports = ports.iter().map(|(name, number)| ((*name).to_owned(), (*number).to_owned())).collect();
        assert_eq!(read_spec(spec).unwrap(), (host.to_owned(), ports), "{spec}");
    }

    #[test]
    fn a_service_is_its_name_in_the_cluster_and_its_ports() {
        is(
            r#"{"type":"ClusterIP","clusterIP":"10.0.0.1","ports":[
                {"name":"postgres","protocol":"TCP","port":5432,"targetPort":"pg","nodePort":30001},
                {"name":"port","protocol":"UDP","port":53,"targetPort":5353}]}"#,
            "db.prod.svc",
            &[("port", "53"), ("postgres", "5432")],
        );
        is(r#"{"clusterIP":"None","ports":[{"port":6432}]}"#, "db.prod.svc", &[("", "6432")]);
        is(r#"{"clusterIP":"None","ports":null}"#, "db.prod.svc", &[]);
    }

    #[test]
    fn an_external_service_is_its_external_name() {
        is(r#"{"type":"ExternalName","externalName":"db.example.com"}"#, "db.example.com", &[]);
        is(
            r#"{"type":"ExternalName","externalName":"db.example.com","ports":[{"port":5432}]}"#,
            "db.example.com",
            &[("", "5432")],
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

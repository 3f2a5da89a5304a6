//! Kubernetes objects in memory, as JSON, by API path.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::history::{Event, History};

/// The supported kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Pod,
    Secret,
    ConfigMap,
    Service,
    Event,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Pod, Self::Secret, Self::ConfigMap, Self::Service, Self::Event];

    /// The name in `kind`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::Event => "Event",
        }
    }

    /// The name in a path and in a Role.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::Service => "services",
            Self::Event => "events",
        }
    }
}

/// Identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectRef {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectRef {
    pub(super) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The API path.
    pub(super) fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/{}/{}", self.namespace, self.kind.resource(), self.name)
    }

    /// Parses `/api/v1/namespaces/{namespace}/{resource}/{name}`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let (collection, name) = path.rsplit_once('/')?;
        let (kind, namespace) = parse_collection(collection)?;
        (!name.is_empty()).then(|| Self::new(kind, namespace, name))
    }
}

/// Parses `/api/v1/namespaces/{namespace}/{resource}` into kind and namespace.
pub(super) fn parse_collection(path: &str) -> Option<(Kind, &str)> {
    let (namespace, resource) = path.strip_prefix("/api/v1/namespaces/")?.split_once('/')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.resource() == resource)?;
    (!namespace.is_empty()).then_some((kind, namespace))
}

/// All objects of the cluster.
#[derive(Default)]
pub(super) struct Objects {
    objects: BTreeMap<ObjectRef, Value>,
    history: History,
    raw: BTreeMap<String, String>,
}

impl Objects {
    /// Adds or replaces an object and increments the cluster's resource version.
    pub(super) fn put(&mut self, reference: ObjectRef, mut object: Value) {
        self.raw.remove(&reference.path());
        object["apiVersion"] = json!("v1");
        object["kind"] = json!(reference.kind.name());
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(reference.name);
        metadata["namespace"] = json!(reference.namespace);
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uid(&reference));
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let event = if self.objects.contains_key(&reference) { Event::Modified } else { Event::Added };
        self.history.record(reference.clone(), event, &mut object);
        self.objects.insert(reference, object);
    }

    pub(super) fn put_raw(&mut self, path: &str, text: &str) {
        self.raw.insert(path.to_owned(), text.to_owned());
    }

    pub(super) fn delete(&mut self, reference: &ObjectRef) {
        self.raw.remove(&reference.path());
        if let Some(mut last) = self.objects.remove(reference) {
            self.history.record(reference.clone(), Event::Deleted, &mut last);
        }
    }

    pub(super) fn get(&self, reference: &ObjectRef) -> Option<&Value> {
        self.objects.get(reference)
    }

    /// All objects of a kind, ordered by name.
    pub(super) fn of(&self, kind: Kind) -> Vec<Value> {
        self.objects
            .iter()
            .filter(|(object, _)| object.kind == kind)
            .map(|(_, found)| found.clone())
            .collect()
    }

    pub(super) fn raw(&self, path: &str) -> Option<&str> {
        self.raw.get(path).map(String::as_str)
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    pub(super) fn compact(&mut self) {
        self.history.compact();
    }

    pub(super) fn resource_version(&self, reference: &ObjectRef) -> Option<String> {
        self.get(reference)?["metadata"]["resourceVersion"].as_str().map(String::from)
    }
}

/// The metadata alone, as for `as=PartialObjectMetadata`.
pub(super) fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

pub(super) fn pod(annotations: &[(&str, &str)]) -> Value {
    let mut metadata = json!({ "labels": { "app": "app" } });
    insert_unless_empty(&mut metadata, "annotations", texts(annotations));
    json!({
        "metadata": metadata,
        "spec": {
            "containers": [{ "name": "app", "image": "registry.example/app:1", "resources": {} }],
            "serviceAccountName": "app",
            "nodeName": "node-1",
            "restartPolicy": "Always",
        },
        "status": { "phase": "Running", "podIP": "10.0.0.7", "qosClass": "BestEffort" },
    })
}

pub(super) fn secret(data: &[(&str, &[u8])]) -> Value {
    let mut secret = json!({ "metadata": {}, "type": "Opaque" });
    insert_unless_empty(&mut secret, "data", base64(data));
    secret
}

pub(super) fn configmap(data: &[(&str, &str)], binary_data: &[(&str, &[u8])]) -> Value {
    let mut configmap = json!({ "metadata": {} });
    insert_unless_empty(&mut configmap, "data", texts(data));
    insert_unless_empty(&mut configmap, "binaryData", base64(binary_data));
    configmap
}

pub(super) fn service(ports: &[(&str, u16)]) -> Value {
    let port = |(name, port): &(&str, u16)| {
        let mut entry = json!({ "protocol": "TCP", "port": port, "targetPort": port });
        if !name.is_empty() {
            entry["name"] = json!(name);
        }
        entry
    };
    json!({
        "metadata": {},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.7",
            "ports": ports.iter().map(port).collect::<Vec<_>>(),
            "selector": { "app": "db" },
        },
        "status": { "loadBalancer": {} },
    })
}

/// Omits an empty map, like Go's `omitempty`.
fn insert_unless_empty(object: &mut Value, field: &str, map: Map<String, Value>) {
    if !map.is_empty() {
        object[field] = Value::Object(map);
    }
}

fn texts(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect()
}

fn base64(pairs: &[(&str, &[u8])]) -> Map<String, Value> {
    pairs.iter().map(|(key, bytes)| ((*key).to_owned(), json!(STANDARD.encode(bytes)))).collect()
}

/// Looks like a UUID and is the same in every run, so that tests can compare whole documents.
fn uid(reference: &ObjectRef) -> String {
    let text = format!("{}/{}/{}", reference.kind.resource(), reference.namespace, reference.name);
    // FNV-1a; only the shape matters.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}-0000-4000-8000-{:012x}", hash >> 32, hash & 0xffff_ffff)
}

//! Which Secrets, ConfigMaps and claims the spec of a pod names, and where. Pure.
//!
//! Every field of core/v1 that names one in the pod's own namespace is here.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::inspect::kind::Kind;

/// A list that the API may leave out or send as null.
pub(crate) type List<T> = Option<Vec<T>>;

/// The spec of a pod, without all that is none of ours: images, commands, the values of variables.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(crate) node_name: Option<String>,
    service_account_name: Option<String>,
    /// What it was called before.
    service_account: Option<String>,
    volumes: List<Volume>,
    containers: List<Container>,
    init_containers: List<Container>,
    ephemeral_containers: List<Container>,
    image_pull_secrets: List<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    secret: Option<BySecretName>,
    config_map: Option<Reference>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<ByClaimName>,
    ephemeral: Option<IgnoredAny>,
    azure_file: Option<BySecretName>,
    csi: Option<Csi>,
    cephfs: Option<BySecretRef>,
    cinder: Option<BySecretRef>,
    flex_volume: Option<BySecretRef>,
    iscsi: Option<BySecretRef>,
    rbd: Option<BySecretRef>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<BySecretRef>,
    storageos: Option<BySecretRef>,
}

#[derive(Deserialize)]
struct Reference {
    name: Option<String>,
    optional: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BySecretName {
    secret_name: Option<String>,
    optional: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByClaimName {
    claim_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BySecretRef {
    secret_ref: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Csi {
    node_publish_secret_ref: Option<Reference>,
}

#[derive(Deserialize)]
struct Projected {
    sources: List<Projection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Projection {
    secret: Option<Reference>,
    config_map: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    env: List<Variable>,
    env_from: List<AllKeys>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: String,
    value_from: Option<OneKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneKey {
    secret_key_ref: Option<Reference>,
    config_map_key_ref: Option<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllKeys {
    secret_ref: Option<Reference>,
    config_map_ref: Option<Reference>,
}

/// One place of a spec that names an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// A Secret, a ConfigMap or a PersistentVolumeClaim.
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Which place.
    pub(crate) by: String,
    /// Whether the pod starts without the object.
    pub(crate) optional: bool,
}

impl PodSpec {
    /// The name of its service account.
    pub(crate) fn account(&self) -> &str {
        let named = [&self.service_account_name, &self.service_account].into_iter().flatten();
        named.map(String::as_str).find(|name| !name.is_empty()).unwrap_or("default")
    }

    /// Every place that names an object, in the order of the spec. `pod` is the pod's own name, which names the claims of
    /// its ephemeral volumes; a template has none.
    pub(crate) fn uses(&self, pod: Option<&str>) -> Vec<Use> {
        let mut uses = Vec::new();
        for volume in self.volumes.iter().flatten() {
            volume.uses(pod, &mut uses);
        }
        for (containers, what) in [
            (&self.init_containers, "init container"),
            (&self.containers, "container"),
            (&self.ephemeral_containers, "ephemeral container"),
        ] {
            for container in containers.iter().flatten() {
                container.uses(what, &mut uses);
            }
        }
        for reference in self.image_pull_secrets.iter().flatten() {
            push(&mut uses, Kind::Secret, Some(reference), "imagePullSecrets");
        }
        uses
    }
}

impl Volume {
    fn uses(&self, pod: Option<&str>, uses: &mut Vec<Use>) {
        let by = format!("volume {}", self.name);
        if let Some(BySecretName { secret_name, optional }) = &self.secret {
            push_name(uses, Kind::Secret, secret_name.as_deref(), &by, *optional);
        }
        push(uses, Kind::ConfigMap, self.config_map.as_ref(), &by);
        let sources = self.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for Projection { secret, config_map } in sources {
            push(uses, Kind::Secret, secret.as_ref(), &by);
            push(uses, Kind::ConfigMap, config_map.as_ref(), &by);
        }
        if let Some(ByClaimName { claim_name }) = &self.persistent_volume_claim {
            push_name(uses, Kind::PersistentVolumeClaim, Some(claim_name), &by, None);
        }
        // The controller makes the claim, under this name.
        // https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
        if let (Some(_), Some(pod)) = (&self.ephemeral, pod) {
            let claim = format!("{pod}-{}", self.name);
            let by = format!("{by} (ephemeral)");
            push_name(uses, Kind::PersistentVolumeClaim, Some(&claim), &by, None);
        }
        if let Some(BySecretName { secret_name, .. }) = &self.azure_file {
            let by = format!("{by} (azureFile)");
            push_name(uses, Kind::Secret, secret_name.as_deref(), &by, None);
        }
        if let Some(Csi { node_publish_secret_ref }) = &self.csi {
            push(uses, Kind::Secret, node_publish_secret_ref.as_ref(), &format!("{by} (csi)"));
        }
        for (source, what) in [
            (&self.cephfs, "cephfs"),
            (&self.cinder, "cinder"),
            (&self.flex_volume, "flexVolume"),
            (&self.iscsi, "iscsi"),
            (&self.rbd, "rbd"),
            (&self.scale_io, "scaleIO"),
            (&self.storageos, "storageos"),
        ] {
            let reference = source.as_ref().and_then(|source| source.secret_ref.as_ref());
            push(uses, Kind::Secret, reference, &format!("{by} ({what})"));
        }
    }
}

impl Container {
    fn uses(&self, what: &str, uses: &mut Vec<Use>) {
        let of = format!("of {what} {}", self.name);
        for Variable { name, value_from } in self.env.iter().flatten() {
            let Some(OneKey { secret_key_ref, config_map_key_ref }) = value_from else { continue };
            let by = format!("env {name} {of}");
            push(uses, Kind::Secret, secret_key_ref.as_ref(), &by);
            push(uses, Kind::ConfigMap, config_map_key_ref.as_ref(), &by);
        }
        for AllKeys { secret_ref, config_map_ref } in self.env_from.iter().flatten() {
            let by = format!("envFrom {of}");
            push(uses, Kind::Secret, secret_ref.as_ref(), &by);
            push(uses, Kind::ConfigMap, config_map_ref.as_ref(), &by);
        }
    }
}

fn push(uses: &mut Vec<Use>, kind: Kind, reference: Option<&Reference>, by: &str) {
    if let Some(Reference { name, optional }) = reference {
        push_name(uses, kind, name.as_deref(), by, *optional);
    }
}

/// An empty name is none: the API lets it through where it always did.
fn push_name(uses: &mut Vec<Use>, kind: Kind, name: Option<&str>, by: &str, optional: Option<bool>) {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        let optional = optional.unwrap_or(false);
        uses.push(Use { kind, name: name.to_owned(), by: by.to_owned(), optional });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A spec that names an object in every place that can.
    fn spec() -> Value {
        json!({
            "serviceAccountName": "app",
            "nodeName": "node-1",
            "imagePullSecrets": [{"name": "registry"}, {}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "s-volume", "optional": true, "items": [{"key": "k", "path": "p"}]}},
                {"name": "b", "configMap": {"name": "c-volume"}},
                {"name": "c", "projected": {"sources": [
                    {"secret": {"name": "s-projected"}},
                    {"configMap": {"name": "c-projected", "optional": true}},
                    {"serviceAccountToken": {"path": "token"}},
                    {"downwardAPI": {"items": []}},
                ]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                {"name": "f", "azureFile": {"secretName": "s-azure", "shareName": "x"}},
                {"name": "g", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "s-csi"}}},
                {"name": "h", "cephfs": {"monitors": [], "secretRef": {"name": "s-cephfs"}}},
                {"name": "i", "cinder": {"volumeID": "x", "secretRef": {"name": "s-cinder"}}},
                {"name": "j", "flexVolume": {"driver": "x", "secretRef": {"name": "s-flex"}, "options": {"password": "test-password"}}},
                {"name": "k", "iscsi": {"secretRef": {"name": "s-iscsi"}}},
                {"name": "l", "rbd": {"secretRef": {"name": "s-rbd"}}},
                {"name": "m", "scaleIO": {"secretRef": {"name": "s-scaleio"}}},
                {"name": "n", "storageos": {"secretRef": {"name": "s-storageos"}}},
                {"name": "o", "emptyDir": {}},
                {"name": "p", "csi": {"driver": "x"}},
            ],
            "initContainers": [{
                "name": "first",
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s-init", "key": "k"}}}],
            }],
            "containers": [{
                "name": "app",
                "image": "registry.example/app:1",
                "env": [
                    {"name": "PLAIN", "value": "test-password"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s-env", "key": "k", "optional": true}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c-env", "key": "k"}}},
                    {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "envFrom": [{"secretRef": {"name": "s-from"}}, {"prefix": "X_", "configMapRef": {"name": "c-from", "optional": true}}],
            }],
            "ephemeralContainers": [{"name": "debug", "envFrom": [{"secretRef": {"name": "s-debug"}}], "env": null}],
        })
    }

    fn lines(spec: Value, pod: Option<&str>) -> Vec<String> {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let line = |one: Use| {
            let optional = if one.optional { " optional" } else { "" };
            format!("{} {}: {}{optional}", one.kind, one.name, one.by)
        };
        spec.uses(pod).into_iter().map(line).collect()
    }

    #[test]
    fn every_place_that_can_name_an_object_is_found() {
        let expected = [
            "Secret s-volume: volume a optional",
            "ConfigMap c-volume: volume b",
            "Secret s-projected: volume c",
            "ConfigMap c-projected: volume c optional",
            "PersistentVolumeClaim claim: volume d",
            "PersistentVolumeClaim app-0-e: volume e (ephemeral)",
            "Secret s-azure: volume f (azureFile)",
            "Secret s-csi: volume g (csi)",
            "Secret s-cephfs: volume h (cephfs)",
            "Secret s-cinder: volume i (cinder)",
            "Secret s-flex: volume j (flexVolume)",
            "Secret s-iscsi: volume k (iscsi)",
            "Secret s-rbd: volume l (rbd)",
            "Secret s-scaleio: volume m (scaleIO)",
            "Secret s-storageos: volume n (storageos)",
            "Secret s-init: env A of init container first",
            "Secret s-env: env B of container app optional",
            "ConfigMap c-env: env C of container app",
            "Secret s-from: envFrom of container app",
            "ConfigMap c-from: envFrom of container app optional",
            "Secret s-debug: envFrom of ephemeral container debug",
            "Secret registry: imagePullSecrets",
        ];
        assert_eq!(lines(spec(), Some("app-0")), expected);
    }

    #[test]
    fn a_template_has_no_claims_of_ephemeral_volumes_yet() {
        assert!(!lines(spec(), None).iter().any(|line| line.contains("(ephemeral)")));
    }

    #[test]
    fn the_account_is_the_named_one_or_default() {
        for (spec, account) in [
            (json!({"serviceAccountName": "a", "serviceAccount": "b"}), "a"),
            (json!({"serviceAccountName": "", "serviceAccount": "b"}), "b"),
            (json!({}), "default"),
        ] {
            assert_eq!(serde_json::from_value::<PodSpec>(spec).unwrap().account(), account);
        }
    }
}

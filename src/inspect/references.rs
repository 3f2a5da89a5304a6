//! The Secrets, ConfigMaps and PersistentVolumeClaims that a pod's spec references. Pure.
//!
//! The types cover every field of core/v1 that references one in the pod's namespace.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::inspect::resource::Kind;
use crate::rbac::{Usage, Word, Words, is_podcreds};

/// A list that the API may omit or send as null.
pub(crate) type List<T> = Option<Vec<T>>;

/// A pod's spec, without images and the values of variables, which podcreds must not keep, and with commands only as far as they
/// show how podcreds is run.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(crate) node_name: Option<String>,
    service_account_name: Option<String>,
    /// The deprecated name of `serviceAccountName`.
    service_account: Option<String>,
    volumes: List<Volume>,
    containers: List<Container>,
    init_containers: List<Container>,
    ephemeral_containers: List<Container>,
    image_pull_secrets: List<NamedRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    secret: Option<SecretVolumeSource>,
    config_map: Option<NamedRef>,
    projected: Option<ProjectedVolumeSource>,
    persistent_volume_claim: Option<ClaimVolumeSource>,
    ephemeral: Option<IgnoredAny>,
    azure_file: Option<SecretVolumeSource>,
    csi: Option<CsiVolumeSource>,
    cephfs: Option<SecretRefSource>,
    cinder: Option<SecretRefSource>,
    flex_volume: Option<SecretRefSource>,
    iscsi: Option<SecretRefSource>,
    rbd: Option<SecretRefSource>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<SecretRefSource>,
    storageos: Option<SecretRefSource>,
}

#[derive(Deserialize)]
struct NamedRef {
    name: Option<String>,
    optional: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretVolumeSource {
    secret_name: Option<String>,
    optional: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimVolumeSource {
    claim_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretRefSource {
    secret_ref: Option<NamedRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CsiVolumeSource {
    node_publish_secret_ref: Option<NamedRef>,
}

#[derive(Deserialize)]
struct ProjectedVolumeSource {
    sources: List<VolumeProjection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeProjection {
    secret: Option<NamedRef>,
    config_map: Option<NamedRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    image: Option<String>,
    command: List<Words>,
    args: List<Words>,
    env: List<EnvVar>,
    env_from: List<EnvFromSource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvVar {
    name: String,
    value: Option<Words>,
    value_from: Option<EnvVarSource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvVarSource {
    secret_key_ref: Option<NamedRef>,
    config_map_key_ref: Option<NamedRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvFromSource {
    secret_ref: Option<NamedRef>,
    config_map_ref: Option<NamedRef>,
}

/// A reference to an object from one place of a spec.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// A Secret, a ConfigMap or a PersistentVolumeClaim.
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The place, such as `volume certs`.
    pub(crate) by: String,
    /// Whether the pod can start without the object.
    pub(crate) optional: bool,
}

impl PodSpec {
    pub(crate) fn service_account(&self) -> &str {
        let named = [&self.service_account_name, &self.service_account].into_iter().flatten();
        named.map(String::as_str).find(|name| !name.is_empty()).unwrap_or("default")
    }

    /// How the pod runs podcreds. `None` means that no container's command shows it.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let containers =
            [&self.init_containers, &self.containers].into_iter().flat_map(|list| list.iter().flatten());
        containers.filter_map(Container::usage).reduce(Usage::and)
    }

    /// All references, in the order of the spec. `pod` is the pod's name, which the names of its ephemeral volumes' claims
    /// begin with. `None` means a pod template.
    pub(crate) fn references(&self, pod: Option<&str>) -> Vec<Reference> {
        let mut references = Vec::new();
        for volume in self.volumes.iter().flatten() {
            volume.references(pod, &mut references);
        }
        for (containers, what) in [
            (&self.init_containers, "init container"),
            (&self.containers, "container"),
            (&self.ephemeral_containers, "ephemeral container"),
        ] {
            for container in containers.iter().flatten() {
                container.references(what, &mut references);
            }
        }
        for reference in self.image_pull_secrets.iter().flatten() {
            push(&mut references, Kind::Secret, Some(reference), "imagePullSecrets");
        }
        references
    }
}

impl Volume {
    fn references(&self, pod: Option<&str>, references: &mut Vec<Reference>) {
        let by = format!("volume {}", self.name);
        if let Some(SecretVolumeSource { secret_name, optional }) = &self.secret {
            push_name(references, Kind::Secret, secret_name.as_deref(), &by, *optional);
        }
        push(references, Kind::ConfigMap, self.config_map.as_ref(), &by);
        let sources = self.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for VolumeProjection { secret, config_map } in sources {
            push(references, Kind::Secret, secret.as_ref(), &by);
            push(references, Kind::ConfigMap, config_map.as_ref(), &by);
        }
        if let Some(ClaimVolumeSource { claim_name }) = &self.persistent_volume_claim {
            push_name(references, Kind::PersistentVolumeClaim, Some(claim_name), &by, None);
        }
        // The ephemeral volume controller creates the claim with this name.
        // https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming
        if let (Some(_), Some(pod)) = (&self.ephemeral, pod) {
            let claim = format!("{pod}-{}", self.name);
            let by = format!("{by} (ephemeral)");
            push_name(references, Kind::PersistentVolumeClaim, Some(&claim), &by, None);
        }
        if let Some(SecretVolumeSource { secret_name, .. }) = &self.azure_file {
            let by = format!("{by} (azureFile)");
            push_name(references, Kind::Secret, secret_name.as_deref(), &by, None);
        }
        if let Some(CsiVolumeSource { node_publish_secret_ref }) = &self.csi {
            push(references, Kind::Secret, node_publish_secret_ref.as_ref(), &format!("{by} (csi)"));
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
            push(references, Kind::Secret, reference, &format!("{by} ({what})"));
        }
    }
}

impl Container {
    fn usage(&self) -> Option<Usage> {
        let variables = self.env.iter().flatten().filter_map(|EnvVar { name, value, value_from }| {
            Some((Word::of_variable(name)?, Words::of_variable(value.clone(), value_from.is_some())))
        });
        let command = self.command.as_deref().unwrap_or_default();
        let is_podcreds = is_podcreds(self.image.as_deref().unwrap_or_default(), &self.name);
        Usage::of_container(is_podcreds, command, self.args.as_deref().unwrap_or_default(), variables)
    }

    fn references(&self, what: &str, references: &mut Vec<Reference>) {
        let of = format!("of {what} {}", self.name);
        for EnvVar { name, value_from, .. } in self.env.iter().flatten() {
            let Some(EnvVarSource { secret_key_ref, config_map_key_ref }) = value_from else { continue };
            let by = format!("env {name} {of}");
            push(references, Kind::Secret, secret_key_ref.as_ref(), &by);
            push(references, Kind::ConfigMap, config_map_key_ref.as_ref(), &by);
        }
        for EnvFromSource { secret_ref, config_map_ref } in self.env_from.iter().flatten() {
            let by = format!("envFrom {of}");
            push(references, Kind::Secret, secret_ref.as_ref(), &by);
            push(references, Kind::ConfigMap, config_map_ref.as_ref(), &by);
        }
    }
}

fn push(references: &mut Vec<Reference>, kind: Kind, reference: Option<&NamedRef>, by: &str) {
    if let Some(NamedRef { name, optional }) = reference {
        push_name(references, kind, name.as_deref(), by, *optional);
    }
}

/// Skips empty names, which the API accepts in some fields for compatibility.
fn push_name(
    references: &mut Vec<Reference>,
    kind: Kind,
    name: Option<&str>,
    by: &str,
    optional: Option<bool>,
) {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        let optional = optional.unwrap_or(false);
        references.push(Reference { kind, name: name.to_owned(), by: by.to_owned(), optional });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A spec with a reference in every field that can have one.
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
        let line = |reference: Reference| {
            let optional = if reference.optional { " optional" } else { "" };
            format!("{} {}: {}{optional}", reference.kind, reference.name, reference.by)
        };
        spec.references(pod).into_iter().map(line).collect()
    }

    #[test]
    fn every_field_that_references_an_object_is_read() {
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
    fn a_template_has_no_claims_of_ephemeral_volumes() {
        assert!(!lines(spec(), None).iter().any(|line| line.contains("(ephemeral)")));
    }

    #[test]
    fn the_service_account_defaults_to_default() {
        for (spec, account) in [
            (json!({"serviceAccountName": "a", "serviceAccount": "b"}), "a"),
            (json!({"serviceAccountName": "", "serviceAccount": "b"}), "b"),
            (json!({}), "default"),
        ] {
            assert_eq!(serde_json::from_value::<PodSpec>(spec).unwrap().service_account(), account);
        }
    }
}

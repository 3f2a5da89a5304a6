//! The fields of API responses that `inspect` uses. Deserialization drops all others, above all the values of environment
//! variables and the data of Secrets.
//! Source: <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::inspect::graph::Detail;
use crate::inspect::references::{List, PodSpec};
use crate::kube::Cause;
use crate::secret::SecretBytes;

/// The metadata of an object of any kind.
#[derive(Deserialize)]
pub(crate) struct PartialObjectMetadata {
    pub(crate) metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    #[serde(default)]
    pub(crate) uid: String,
    deletion_timestamp: Option<IgnoredAny>,
    /// In RFC 3339, so that texts compare as times do.
    pub(crate) creation_timestamp: Option<String>,
    owner_references: List<OwnerReference>,
}

impl Metadata {
    pub(crate) fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub(crate) fn owners(&self) -> &[OwnerReference] {
        self.owner_references.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_owned_by(&self, uid: &str) -> bool {
        !uid.is_empty() && self.owners().iter().any(|owner| owner.uid == uid)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnerReference {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

#[derive(Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: PodSpec,
    #[serde(default)]
    pub(crate) status: WithPhase,
}

/// A pod's annotations. [`Metadata`] does not have them, so that those of Secrets, which may contain their data, are dropped.
#[derive(Deserialize)]
pub(crate) struct WithAnnotations {
    pub(crate) metadata: Annotations,
}

#[derive(Default, Deserialize)]
pub(crate) struct Annotations {
    annotations: Option<BTreeMap<String, String>>,
}

impl Annotations {
    /// The annotations with podcreds' prefix.
    pub(crate) fn with_prefix(self, prefix: &str) -> BTreeMap<String, String> {
        let mut annotations = self.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.split_once('/').is_some_and(|(other, _)| other == prefix));
        annotations
    }
}

#[derive(Default, Deserialize)]
pub(crate) struct WithPhase {
    pub(crate) phase: Option<String>,
}

/// An object that owns pods.
#[derive(Deserialize)]
pub(crate) struct Workload {
    pub(crate) metadata: Metadata,
    pub(crate) spec: WorkloadSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkloadSpec {
    pub(crate) selector: Option<LabelSelector>,
    template: Option<PodTemplate>,
    job_template: Option<JobTemplate>,
    volume_claim_templates: List<PartialObjectMetadata>,
}

impl WorkloadSpec {
    /// The pod template, which in a CronJob is inside the template of its Jobs.
    pub(crate) fn template(&mut self) -> Option<PodTemplate> {
        let in_job = || self.job_template.take().and_then(|job| job.spec?.template);
        self.template.take().or_else(in_job)
    }

    /// The names of the `volumeClaimTemplates` of a StatefulSet.
    pub(crate) fn claim_templates(&self) -> impl Iterator<Item = &str> {
        self.volume_claim_templates.iter().flatten().map(|claim| claim.metadata.name.as_str())
    }
}

#[derive(Deserialize)]
struct JobTemplate {
    spec: Option<JobTemplateSpec>,
}

#[derive(Deserialize)]
struct JobTemplateSpec {
    template: Option<PodTemplate>,
}

#[derive(Deserialize)]
pub(crate) struct PodTemplate {
    metadata: Option<Annotations>,
    #[serde(default)]
    spec: PodSpec,
}

impl PodTemplate {
    /// The annotations with podcreds' prefix that its pods get, and their spec.
    pub(crate) fn split(self, prefix: &str) -> (BTreeMap<String, String>, PodSpec) {
        (self.metadata.unwrap_or_default().with_prefix(prefix), self.spec)
    }

    /// All annotations that its pods get.
    pub(crate) fn into_annotations(self) -> BTreeMap<String, String> {
        self.metadata.and_then(|metadata| metadata.annotations).unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabelSelector {
    pub(crate) match_labels: Option<BTreeMap<String, String>>,
    pub(crate) match_expressions: List<Requirement>,
}

#[derive(Deserialize)]
pub(crate) struct Requirement {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: List<String>,
}

#[derive(Deserialize)]
pub(crate) struct Claim {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: ClaimSpec,
    #[serde(default)]
    pub(crate) status: WithPhase,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimSpec {
    pub(crate) volume_name: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct NodeObject {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    conditions: List<Condition>,
    #[serde(default)]
    node_info: NodeInfo,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeInfo {
    kubelet_version: Option<String>,
}

impl NodeStatus {
    /// Whether the Ready condition is True. The control plane sets it to Unknown if the kubelet stops reporting.
    pub(crate) fn is_ready(&self) -> Option<bool> {
        let ready = self.conditions.iter().flatten().find(|condition| condition.r#type == "Ready");
        ready.map(|condition| condition.status == "True")
    }

    pub(crate) fn kubelet_version(&self) -> Option<&String> {
        self.node_info.kubelet_version.as_ref()
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub(crate) metadata: PageMetadata,
    pub(crate) items: List<PartialObjectMetadata>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMetadata {
    pub(crate) r#continue: Option<String>,
    pub(crate) remaining_item_count: Option<u64>,
}

/// A SubjectAccessReview or SelfSubjectAccessReview.
#[derive(Deserialize)]
pub(crate) struct AccessReview {
    pub(crate) status: AccessReviewStatus,
}

#[derive(Deserialize)]
pub(crate) struct AccessReviewStatus {
    #[serde(default)]
    pub(crate) allowed: bool,
}

/// The response of `/version`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    pub(crate) git_version: String,
}

/// An object of the API.
pub(crate) trait ApiObject: DeserializeOwned {
    fn metadata(&self) -> &Metadata;

    /// The remarks about it in the output.
    fn details(&self) -> Vec<Detail>;
}

impl ApiObject for PartialObjectMetadata {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        Vec::new()
    }
}

impl ApiObject for Pod {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        phase(&self.status).into_iter().collect()
    }
}

impl ApiObject for Workload {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        Vec::new()
    }
}

impl ApiObject for Claim {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        let volume = non_empty(self.spec.volume_name.as_ref()).map(Detail::Volume);
        phase(&self.status).into_iter().chain(volume).collect()
    }
}

impl ApiObject for NodeObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn details(&self) -> Vec<Detail> {
        let ready = self.status.is_ready().map(Detail::Ready);
        ready.into_iter().chain(non_empty(self.status.kubelet_version()).map(Detail::Kubelet)).collect()
    }
}

fn phase(status: &WithPhase) -> Option<Detail> {
    non_empty(status.phase.as_ref()).map(Detail::Phase)
}

/// Go serializes an unset string as an empty one.
fn non_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

/// Parses a response. The error has the position only: serde's message may contain a value.
pub(crate) fn parse<T: DeserializeOwned>(body: &SecretBytes) -> Result<T, Cause> {
    serde_json::from_slice(body.expose()).map_err(|error| Cause::Unreadable {
        reason: format!("unexpected JSON at line {}, column {}", error.line(), error.column()),
    })
}

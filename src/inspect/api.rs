//! The shapes of the API's answers, as far as they are used. What is not named here is passed over and never kept: above
//! all the values of environment variables and the data of Secrets.
//! Source: <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::inspect::uses::{List, PodSpec};
use crate::kube::Cause;
use crate::secret::SecretBytes;

/// Any object, by its metadata.
#[derive(Deserialize)]
pub(super) struct Partial {
    pub(super) metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) uid: String,
    deletion_timestamp: Option<IgnoredAny>,
    owner_references: List<OwnerReference>,
}

impl Metadata {
    pub(super) fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub(super) fn owners(&self) -> &[OwnerReference] {
        self.owner_references.as_deref().unwrap_or_default()
    }

    pub(super) fn is_owned_by(&self, uid: &str) -> bool {
        !uid.is_empty() && self.owners().iter().any(|owner| owner.uid == uid)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnerReference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) uid: String,
}

#[derive(Deserialize)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: PodSpec,
    #[serde(default)]
    pub(super) status: Phased,
}

/// A pod by its annotations alone: [`Metadata`] has none, so that those of Secrets are never kept.
#[derive(Deserialize)]
pub(super) struct Annotated {
    pub(super) metadata: Annotations,
}

#[derive(Default, Deserialize)]
pub(super) struct Annotations {
    annotations: Option<BTreeMap<String, String>>,
}

impl Annotations {
    /// Those with this prefix; the others are none of ours.
    pub(super) fn of(self, prefix: &str) -> BTreeMap<String, String> {
        let mut annotations = self.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.split_once('/').is_some_and(|(other, _)| other == prefix));
        annotations
    }
}

#[derive(Default, Deserialize)]
pub(super) struct Phased {
    pub(super) phase: Option<String>,
}

/// Whatever owns pods.
#[derive(Deserialize)]
pub(super) struct Workload {
    pub(super) metadata: Metadata,
    pub(super) spec: WorkloadSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadSpec {
    pub(super) selector: Option<Selector>,
    template: Option<Template>,
    job_template: Option<JobTemplate>,
    volume_claim_templates: List<Partial>,
}

impl WorkloadSpec {
    /// What pods are made from; a CronJob has it in the template of its Jobs.
    pub(super) fn template(&mut self) -> Option<Template> {
        let of_jobs = || self.job_template.take().and_then(|job| job.spec?.template);
        self.template.take().or_else(of_jobs)
    }

    /// The names of the claims that each pod of a StatefulSet gets.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.volume_claim_templates.iter().flatten().map(|claim| claim.metadata.name.as_str())
    }
}

#[derive(Deserialize)]
struct JobTemplate {
    spec: Option<JobTemplateSpec>,
}

#[derive(Deserialize)]
struct JobTemplateSpec {
    template: Option<Template>,
}

#[derive(Deserialize)]
pub(super) struct Template {
    metadata: Option<Annotations>,
    #[serde(default)]
    pub(super) spec: PodSpec,
}

impl Template {
    /// The annotations with this prefix that its pods get.
    pub(super) fn annotations(&mut self, prefix: &str) -> BTreeMap<String, String> {
        self.metadata.take().unwrap_or_default().of(prefix)
    }
}

/// Which pods belong to an owner.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selector {
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    pub(super) match_expressions: List<Requirement>,
}

#[derive(Deserialize)]
pub(super) struct Requirement {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: List<String>,
}

#[derive(Deserialize)]
pub(super) struct Claim {
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: ClaimSpec,
    #[serde(default)]
    pub(super) status: Phased,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimSpec {
    pub(super) volume_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NodeObject {
    pub(super) metadata: Metadata,
    #[serde(default)]
    pub(super) status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeStatus {
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
    /// Whether the kubelet says so; `Unknown` is what the control plane says when it has not heard of it.
    pub(super) fn is_ready(&self) -> Option<bool> {
        let ready = self.conditions.iter().flatten().find(|condition| condition.r#type == "Ready");
        ready.map(|condition| condition.status == "True")
    }

    pub(super) fn kubelet(&self) -> Option<&String> {
        self.node_info.kubelet_version.as_ref()
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub(super) metadata: PageMetadata,
    pub(super) items: List<Partial>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMetadata {
    pub(super) r#continue: Option<String>,
    pub(super) remaining_item_count: Option<u64>,
}

/// The answer to a review of rights.
#[derive(Deserialize)]
pub(super) struct Review {
    pub(super) status: Verdict,
}

#[derive(Deserialize)]
pub(super) struct Verdict {
    #[serde(default)]
    pub(super) allowed: bool,
}

/// The answer of `/version`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub(super) git_version: String,
}

/// Reads an answer. What does not fit is told by its place: the reader's own words may repeat a value.
pub(super) fn parse<T: DeserializeOwned>(body: &SecretBytes) -> Result<T, Cause> {
    serde_json::from_slice(body.expose()).map_err(|error| Cause::Unreadable {
        reason: format!("its JSON has another shape at line {}, column {}", error.line(), error.column()),
    })
}

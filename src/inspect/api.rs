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
pub(crate) struct Partial {
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
    pub(crate) status: Phased,
}

/// A pod by its annotations alone: [`Metadata`] has none, so that those of Secrets are never kept.
#[derive(Deserialize)]
pub(crate) struct Annotated {
    pub(crate) metadata: Annotations,
}

#[derive(Default, Deserialize)]
pub(crate) struct Annotations {
    annotations: Option<BTreeMap<String, String>>,
}

impl Annotations {
    /// Those with this prefix; the others are none of ours.
    pub(crate) fn of(self, prefix: &str) -> BTreeMap<String, String> {
        let mut annotations = self.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.split_once('/').is_some_and(|(other, _)| other == prefix));
        annotations
    }
}

#[derive(Default, Deserialize)]
pub(crate) struct Phased {
    pub(crate) phase: Option<String>,
}

/// Whatever owns pods.
#[derive(Deserialize)]
pub(crate) struct Workload {
    pub(crate) metadata: Metadata,
    pub(crate) spec: WorkloadSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkloadSpec {
    pub(crate) selector: Option<Selector>,
    template: Option<Template>,
    job_template: Option<JobTemplate>,
    volume_claim_templates: List<Partial>,
}

impl WorkloadSpec {
    /// What pods are made from; a CronJob has it in the template of its Jobs.
    pub(crate) fn template(&mut self) -> Option<Template> {
        let of_jobs = || self.job_template.take().and_then(|job| job.spec?.template);
        self.template.take().or_else(of_jobs)
    }

    /// The names of the claims that each pod of a StatefulSet gets.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
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
pub(crate) struct Template {
    metadata: Option<Annotations>,
    #[serde(default)]
    pub(crate) spec: PodSpec,
}

impl Template {
    /// The annotations with this prefix that its pods get.
    pub(crate) fn annotations(&mut self, prefix: &str) -> BTreeMap<String, String> {
        self.metadata.take().unwrap_or_default().of(prefix)
    }
}

/// Which pods belong to an owner.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Selector {
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
    pub(crate) status: Phased,
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
    /// Whether the kubelet says so; `Unknown` is what the control plane says when it has not heard of it.
    pub(crate) fn is_ready(&self) -> Option<bool> {
        let ready = self.conditions.iter().flatten().find(|condition| condition.r#type == "Ready");
        ready.map(|condition| condition.status == "True")
    }

    pub(crate) fn kubelet(&self) -> Option<&String> {
        self.node_info.kubelet_version.as_ref()
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub(crate) metadata: PageMetadata,
    pub(crate) items: List<Partial>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMetadata {
    pub(crate) r#continue: Option<String>,
    pub(crate) remaining_item_count: Option<u64>,
}

/// The answer to a review of rights.
#[derive(Deserialize)]
pub(crate) struct Review {
    pub(crate) status: Verdict,
}

#[derive(Deserialize)]
pub(crate) struct Verdict {
    #[serde(default)]
    pub(crate) allowed: bool,
}

/// The answer of `/version`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    pub(crate) git_version: String,
}

/// Reads an answer. What does not fit is told by its place: the reader's own words may repeat a value.
pub(crate) fn parse<T: DeserializeOwned>(body: &SecretBytes) -> Result<T, Cause> {
    serde_json::from_slice(body.expose()).map_err(|error| Cause::Unreadable {
        reason: format!("its JSON has another shape at line {}, column {}", error.line(), error.column()),
    })
}

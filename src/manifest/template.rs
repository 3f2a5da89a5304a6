//! The pod that an object describes: a pod itself, or the pod template of a workload.

use std::collections::BTreeMap;

use crate::manifest::{Object, Place};
use crate::text::Position;
use crate::yaml::Node;

/// A pod, or the pod template of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template<'a> {
    pub(crate) object: Object<'a>,
    /// The path of keys from the object to the value with `metadata` and `spec`; empty for a pod.
    pub(crate) path: &'static [&'static str],
    /// That value.
    pub(crate) node: &'a Node,
}

/// An annotation whose value is not text. The API server rejects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnnotationProblem<'a> {
    pub(crate) key: &'a str,
    pub(crate) at: Position,
    /// The type of its value, such as `a number`.
    pub(crate) found: &'static str,
}

impl<'a> Object<'a> {
    /// `None` means that objects of this kind have no pods, or that the pod template is missing.
    ///
    /// Besides the kinds of Kubernetes itself: Argo's Rollout and OpenShift's DeploymentConfig, which have a Deployment's shape.
    pub(crate) fn template(&self) -> Option<Template<'a>> {
        const TEMPLATE: &[&str] = &["spec", "template"];
        const JOB_TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec", "template"];
        let path: &[&str] = match (self.group(), self.kind) {
            ("", "Pod") => &[],
            ("", "PodTemplate") => &["template"],
            ("" | "apps" | "batch" | "extensions", "ReplicationController" | "Job")
            | ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("argoproj.io", "Rollout")
            | ("apps.openshift.io", "DeploymentConfig") => TEMPLATE,
            ("batch", "CronJob") => JOB_TEMPLATE,
            _ => return None,
        };
        let node = self.node.find(path).filter(|node| node.is_mapping())?;
        Some(Template { object: *self, path, node })
    }
}

impl<'a> Template<'a> {
    /// `None` means that the manifest is not valid: every pod has one.
    pub(crate) fn spec(&self) -> Option<&'a Node> {
        self.node.get("spec")
    }

    /// The annotations of the pods, with any prefix, and those whose value is not text.
    pub(crate) fn annotations(&self) -> (BTreeMap<String, String>, Vec<AnnotationProblem<'a>>) {
        let mut annotations = BTreeMap::new();
        let mut problems = Vec::new();
        let entries = self.node.find(&["metadata", "annotations"]).map(Node::entries);
        for (key, _, value) in entries.into_iter().flatten() {
            match value.text() {
                Some(text) => drop(annotations.insert(key.to_owned(), text.to_owned())),
                // The API server takes `null` for the empty text.
                None if value.type_name() == "null" => {
                    drop(annotations.insert(key.to_owned(), String::new()))
                }
                None => problems.push(AnnotationProblem { key, at: value.at(), found: value.type_name() }),
            }
        }
        (annotations, problems)
    }

    /// Whether an annotation has this prefix, such as `podcreds.io`.
    pub(crate) fn is_annotated(&self, prefix: &str) -> bool {
        has_prefix(self.node, prefix)
    }

    /// The position of an annotation; for a missing one, that of the annotations or of the template.
    pub(crate) fn annotation_place(&self, key: &str) -> Place<'a> {
        let annotations = self.node.find(&["metadata", "annotations"]);
        let mut entries = annotations.into_iter().flat_map(Node::entries);
        let at = entries.find(|(other, ..)| *other == key).map(|(_, at, _)| at);
        Place { file: self.object.file, at: at.or(annotations.map(Node::at)).unwrap_or(self.node.at()) }
    }

    pub(crate) fn service_account(&self) -> &'a str {
        let named = |key| self.spec()?.get(key)?.text().filter(|name| !name.is_empty());
        named("serviceAccountName").or_else(|| named("serviceAccount")).unwrap_or("default")
    }

    /// The init containers, then the containers.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &'a Node> {
        let list = |key| self.spec().and_then(|spec| spec.get(key)).map(Node::items).unwrap_or_default();
        list("initContainers").iter().chain(list("containers"))
    }
}

/// Whether `metadata.annotations` of an object or pod template has a key with this prefix.
pub(crate) fn has_prefix(node: &Node, prefix: &str) -> bool {
    let annotations = node.find(&["metadata", "annotations"]);
    let mut keys = annotations.into_iter().flat_map(Node::entries).map(|(key, ..)| key);
    keys.any(|key| key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
}

//! `podcreds inspect`: the objects that a pod or workload depends on, as far as RBAC permits, and the state of the clusters.
//!
//! `walk` reads objects, with the types of `api` and `references`, into the pure `graph`, which `output` renders. podcreds
//! neither requests nor keeps values: it reads the metadata of Secrets and ConfigMaps only.

mod api;
pub mod clusters;
mod graph;
mod output;
mod problems;
mod references;
mod resource;
pub(crate) mod review;
mod walk;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use graph::Graph;
pub(crate) use problems::Unknown;
#[cfg(test)]
pub(crate) use references::PodSpec;
pub(crate) use resource::{Target, TargetError};

use crate::annotations::ReferenceScope;
use crate::kube::Cause;
use crate::kube::config::registry::Clusters;
use crate::object::ClusterRef;
use crate::rbac::Usage;

/// The object to inspect.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) target: Target,
    pub(crate) cluster: ClusterRef,
    /// Its namespace, and the default namespaces of the objects that its annotations reference.
    pub(crate) scope: ReferenceScope,
    /// Whether its name is a guess: hostnames are truncated and can be set.
    pub(crate) named_by_host: bool,
    /// The prefix of podcreds' annotation keys.
    pub(crate) prefix: String,
    /// The time limit for all requests together.
    pub(crate) timeout: Duration,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Tree,
    /// For programs.
    Json,
    /// For Markdown.
    Mermaid,
}

impl Format {
    /// Renders a graph, with a final newline.
    pub(crate) fn render(self, graph: &Graph) -> String {
        match self {
            Self::Tree => output::render_tree(graph),
            Self::Json => output::render_json(graph),
            Self::Mermaid => output::render_mermaid(graph),
        }
    }
}

/// Reads the objects that the target depends on. Each request is made once; the graph has those that failed, with the rule
/// that would allow them.
///
/// # Errors
/// If the target itself cannot be read.
pub(crate) fn inspect(clusters: &Clusters, query: &Query) -> Result<Graph, Error> {
    walk::walk(clusters, query)
}

/// Reads the annotations that the pods of a workload get, those with other prefixes included.
///
/// # Errors
/// If the workload cannot be read.
pub(crate) fn template_annotations(
    clusters: &Clusters,
    query: &Query,
) -> Result<BTreeMap<String, String>, Error> {
    walk::template_annotations(clusters, query)
}

/// What is wrong with the objects that the pods of the target use, and with the rights of their service account.
///
/// # Errors
/// If the target itself cannot be read.
pub(crate) fn problems(clusters: &Clusters, query: &Query) -> Result<problems::Problems, Error> {
    Ok(problems::Problems::of(&walk::dependencies(clusters, query)?))
}

/// Reads the newest pods of a workload in JSON, and what could not be read of them.
///
/// # Errors
/// If the workload cannot be read.
pub(crate) fn newest_pods(clusters: &Clusters, query: &Query) -> Result<(Vec<String>, Vec<Unknown>), Error> {
    let (pods, graph) = walk::newest_pods(clusters, query)?;
    Ok((pods, problems::Problems::of(&graph).unknown))
}

/// Reads the target as the API server stores it, in JSON.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn object_text(clusters: &Clusters, query: &Query) -> Result<String, Error> {
    walk::object_text(clusters, query)
}

/// Reads how the pods of the target run podcreds, and what for.
///
/// # Errors
/// If the target cannot be read.
pub(crate) fn pods(clusters: &Clusters, query: &Query) -> Result<Pods, Error> {
    walk::pods(clusters, query)
}

/// A pod, or the pod template of a workload.
pub(crate) struct Pods {
    /// Such as `Deployment/app`.
    pub(crate) name: String,
    pub(crate) service_account: String,
    /// `None` means that no container's command shows it.
    pub(crate) usage: Option<Usage>,
    /// Those with podcreds' prefix.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What to do if the target does not exist: the name of a workload without its kind, a missing `--namespace` and a wrong current
/// context are the usual reasons.
pub(crate) fn not_found_hint(clusters: &Clusters, query: &Query) -> String {
    let Query { target, cluster, scope, .. } = query;
    let kind = match target.is_pod() {
        true => format!("for a workload write KIND/NAME, such as deploy/{}; ", target.name()),
        false => String::new(),
    };
    let server = clusters.client(cluster).map(|client| format!(" of {}", client.server()));
    let flags = match cluster {
        ClusterRef::Named(_) => "--namespace or --cluster-id",
        ClusterRef::Local if clusters.is_service_account(cluster) => "--namespace",
        ClusterRef::Local => "--namespace or --context",
    };
    format!(
        "{kind}podcreds looked in namespace {}{}: to look elsewhere, pass {flags}",
        scope.namespace,
        server.unwrap_or_default()
    )
}

/// Why the target could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {cause}{}", hint.iter().map(|hint| format!("; {hint}")).collect::<String>())]
pub(crate) struct Error {
    pub(crate) object: String,
    pub(crate) cause: Box<Cause>,
    /// The remedy, if it is known.
    pub(crate) hint: Option<String>,
}

#[cfg(test)]
mod tests;

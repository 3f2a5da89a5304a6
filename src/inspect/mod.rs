//! `podcreds inspect`: what a pod, or an owner of pods, hangs on, as far as the rights reach. And which clusters there are.
//!
//! `walk` reads, through `api` and `uses`, into the pure `graph`; `tree`, `json`, `dot` and `mermaid` write it, each with one
//! function from a graph to text. No value is asked for or kept: of Secrets and ConfigMaps the metadata alone is read.

mod api;
pub mod clusters;
mod dot;
mod graph;
mod json;
mod kind;
mod mermaid;
mod selector;
mod target;
mod tree;
mod uses;
mod walk;

use std::time::Duration;

pub(crate) use graph::Graph;
pub(crate) use target::{Target, TargetError};

use crate::annotations::ReferenceScope;
use crate::kube::Cause;
use crate::kube::config::registry::Clusters;
use crate::object::ClusterRef;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// About which object.
    pub(crate) target: Target,
    pub(crate) cluster: ClusterRef,
    /// In which namespace it is, and where what its annotations name is looked for.
    pub(crate) scope: ReferenceScope,
    /// Whether its name is a guess: host names are cut and can be set.
    pub(crate) named_by_host: bool,
    /// Which annotations are ours.
    pub(crate) prefix: String,
    /// The bound on all requests together.
    pub(crate) timeout: Duration,
}

/// The forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Tree,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
}

impl Format {
    /// Writes a graph, ended by a new line.
    pub(crate) fn render(self, graph: &Graph) -> String {
        match self {
            Self::Tree => tree::render(graph),
            Self::Json => json::render(graph),
            Self::Dot => dot::render(graph),
            Self::Mermaid => mermaid::render(graph),
        }
    }
}

/// Reads what the object hangs on. Each request is made once: what is refused is in the graph, with the rule that would
/// allow it.
///
/// # Errors
/// If the object itself cannot be read.
pub(crate) fn inspect(clusters: &Clusters, question: &Question) -> Result<Graph, Error> {
    walk::walk(clusters, question)
}

/// Why the object that was asked about could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {cause}{}", hint.iter().map(|hint| format!("; {hint}")).collect::<String>())]
pub(crate) struct Error {
    /// Which.
    pub(crate) object: String,
    /// Why.
    pub(crate) cause: Box<Cause>,
    /// What to do about it, if that is known.
    pub(crate) hint: Option<String>,
}

#[cfg(test)]
mod tests;

//! What a graph shows to be wrong, for `check`: objects that do not exist, and rights that the service account lacks.

use crate::inspect::graph::{Graph, Relation, State};

/// Messages with remedies.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) errors: Vec<(String, String)>,
    pub(crate) unknown: Vec<Unknown>,
}

/// What could not be checked.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub(crate) message: String,
    pub(crate) remedy: String,
    /// Whether the user may not read an object.
    pub(crate) is_forbidden_get: bool,
}

impl Problems {
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut problems = Self::default();
        for edge in &graph.edges {
            let (from, to) = (&graph.nodes[edge.from].id, &graph.nodes[edge.to]);
            let is_needed = match edge.relation {
                Relation::Uses => !edge.optional,
                Relation::RunsAs => true,
                _ => false,
            };
            if to.state == State::Missing && is_needed {
                let by =
                    if edge.by.is_empty() { String::new() } else { format!(" ({})", edge.by.join(", ")) };
                let message = format!("{} does not exist{by}", to.id);
                problems.errors.push((message, "create it, or correct its name or namespace".to_owned()));
            }
            let Some(access) = edge.access.as_ref().filter(|access| !access.denied.is_empty()) else {
                continue;
            };
            let what = match to.id.name.as_str() {
                "*" => {
                    format!("{}s in namespace {}", to.id.kind, to.id.namespace.as_deref().unwrap_or_default())
                }
                _ => to.id.to_string(),
            };
            let message = format!("{from} may not {} {what}", access.denied.join(" or "));
            problems.errors.push((message, access.remedy.clone().unwrap_or_default()));
        }
        // Whether the node exists says nothing about the pod's credentials.
        for refusal in graph.refusals.iter().filter(|refusal| !refusal.what.starts_with("get Node ")) {
            problems.unknown.push(Unknown {
                message: format!("{}: {}", refusal.what, refusal.reason),
                remedy: refusal.remedy.clone().unwrap_or_else(|| "this was not checked".to_owned()),
                is_forbidden_get: refusal.what.starts_with("get ") && refusal.remedy.is_some(),
            });
        }
        problems
    }
}

//! Renders a graph as a tree for people, one line for each dependency, with the errors below it.
//!
//! Line breaks and control characters in names are replaced, so that a manifest cannot control the terminal.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::inspect::graph::{Edge, Graph, Index, Node, ObjectId};
use crate::text::one_line;

/// The number of references to an object that a line lists.
const REFERENCES_SHOWN: usize = 4;
/// The longest text of a reference, in characters.
const REFERENCE_LIMIT: usize = 200;
/// The longest error message, in characters.
const MESSAGE_LIMIT: usize = 2000;

pub(crate) fn render(graph: &Graph) -> String {
    let Some(root) = graph.nodes.first() else { return String::new() };
    let mut tree =
        Tree { graph, namespace: root.id.namespace.as_deref(), seen: BTreeSet::new(), text: String::new() };
    let line = format!("{}{}", root.id, in_parentheses(&graph.remarks(0)));
    tree.line("", &line);
    tree.children(0, "");
    tree.section("invalid annotations:", graph.annotation_errors.iter().map(String::as_str));
    let refusals: Vec<_> = graph.refusals.iter().map(ToString::to_string).collect();
    tree.section("could not be read:", refusals.iter().map(String::as_str));
    tree.text
}

struct Tree<'a> {
    graph: &'a Graph,
    /// The namespace of the inspected object, which the lines below do not repeat.
    namespace: Option<&'a str>,
    seen: BTreeSet<Index>,
    text: String,
}

impl Tree<'_> {
    /// Writes the dependencies of a node, only the first time the node occurs.
    fn children(&mut self, at: Index, indent: &str) {
        if !self.seen.insert(at) {
            return;
        }
        let edges: Vec<_> = self.graph.edges_from(at).collect();
        let truncated: Vec<_> = self.graph.truncated.iter().filter(|list| list.owner == at).collect();
        let count = edges.len() + truncated.len();
        for (index, edge) in edges.iter().enumerate() {
            let (branch, below) = arms(index + 1 == count);
            let line = self.describe(edge);
            self.line(&format!("{indent}{branch}"), &line);
            self.children(edge.to, &format!("{indent}{below}"));
        }
        for (index, list) in truncated.iter().enumerate() {
            let (branch, _) = arms(edges.len() + index + 1 == count);
            self.line(&format!("{indent}{branch}"), &list.to_string());
        }
    }

    fn describe(&self, edge: &Edge) -> String {
        let Node { id, .. } = &self.graph.nodes[edge.to];
        let remarks = match edge.access {
            // The state of the object is shown where the pod uses it.
            Some(_) => String::new(),
            None => in_parentheses(&self.graph.remarks(edge.to)),
        };
        let mut line = format!("{} {}{remarks}", edge.label(), self.name(id));
        if !edge.by.is_empty() {
            let shown: Vec<_> = edge
                .by
                .iter()
                .take(REFERENCES_SHOWN)
                .map(|reference| one_line(reference, REFERENCE_LIMIT))
                .collect();
            let _ = write!(line, ": {}", shown.join(", "));
            match edge.by.len().saturating_sub(REFERENCES_SHOWN) {
                0 => {}
                more => line.push_str(&format!(" and {more} more")),
            }
        }
        if let Some(remedy) = edge.access.as_ref().and_then(|access| access.remedy.as_ref()) {
            let _ = write!(line, ": {}", one_line(remedy, MESSAGE_LIMIT));
        }
        line
    }

    fn name(&self, id: &ObjectId) -> String {
        match id.cluster.id().is_none() && id.namespace.as_deref() == self.namespace {
            true => ObjectId { namespace: None, ..id.clone() }.to_string(),
            false => id.to_string(),
        }
    }

    fn section<'a>(&mut self, title: &str, lines: impl Iterator<Item = &'a str>) {
        for (index, line) in lines.enumerate() {
            if index == 0 {
                self.text.push('\n');
                self.line("", title);
            }
            let line = one_line(line, MESSAGE_LIMIT);
            self.line("  ", &line);
        }
    }

    fn line(&mut self, indent: &str, line: &str) {
        self.text.extend([indent, line, "\n"]);
    }
}

fn arms(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└── ", "    ") } else { ("├── ", "│   ") }
}

fn in_parentheses(remarks: &str) -> String {
    if remarks.is_empty() { String::new() } else { format!(" ({remarks})") }
}

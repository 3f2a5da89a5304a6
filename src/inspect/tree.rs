//! A graph as a tree for people: what hangs on what, a line each, and below it what could not be read.
//!
//! Names are shown on one line whatever they hold, so that nobody else's text moves the cursor.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::inspect::graph::{Edge, Graph, Index, Node, ObjectId};
use crate::text::one_line;

/// How many places are shown by which an object is used.
const PLACES_SHOWN: usize = 4;
/// The longest line about a place, in characters.
const PLACE_LIMIT: usize = 200;
/// The longest message that is shown, in characters.
const MESSAGE_LIMIT: usize = 2000;

/// Writes the tree.
pub(crate) fn render(graph: &Graph) -> String {
    let Some(root) = graph.nodes.first() else { return String::new() };
    let mut tree =
        Tree { graph, home: root.id.namespace.as_deref(), seen: BTreeSet::new(), text: String::new() };
    let line = format!("{}{}", root.id, in_brackets(&graph.remarks(0)));
    tree.line("", &line);
    tree.branches(0, "");
    tree.section("wrong annotations:", graph.problems.iter().map(String::as_str));
    let refusals: Vec<_> = graph.refusals.iter().map(ToString::to_string).collect();
    tree.section("could not be read:", refusals.iter().map(String::as_str));
    tree.text
}

struct Tree<'a> {
    graph: &'a Graph,
    /// The namespace that is not repeated.
    home: Option<&'a str>,
    seen: BTreeSet<Index>,
    text: String,
}

impl Tree<'_> {
    /// Everything that hangs on a node. What was shown before is not shown again.
    fn branches(&mut self, at: Index, indent: &str) {
        if !self.seen.insert(at) {
            return;
        }
        let edges: Vec<_> = self.graph.edges_from(at).collect();
        let more: Vec<_> = self.graph.more.iter().filter(|more| more.of == at).collect();
        let count = edges.len() + more.len();
        for (index, edge) in edges.iter().enumerate() {
            let (branch, below) = arms(index + 1 == count);
            let line = self.describe(edge);
            self.line(&format!("{indent}{branch}"), &line);
            self.branches(edge.to, &format!("{indent}{below}"));
        }
        for (index, more) in more.iter().enumerate() {
            let (branch, _) = arms(edges.len() + index + 1 == count);
            self.line(&format!("{indent}{branch}"), &more.to_string());
        }
    }

    fn describe(&self, edge: &Edge) -> String {
        let Node { id, .. } = &self.graph.nodes[edge.to];
        let remarks = match edge.access {
            // What it is like stands where it is used.
            Some(_) => String::new(),
            None => in_brackets(&self.graph.remarks(edge.to)),
        };
        let mut line = format!("{} {}{remarks}", edge.words(), self.name(id));
        if !edge.by.is_empty() {
            let shown: Vec<_> =
                edge.by.iter().take(PLACES_SHOWN).map(|place| one_line(place, PLACE_LIMIT)).collect();
            let _ = write!(line, ": {}", shown.join(", "));
            match edge.by.len().saturating_sub(PLACES_SHOWN) {
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
        match id.cluster.id().is_none() && id.namespace.as_deref() == self.home {
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

fn in_brackets(remarks: &str) -> String {
    if remarks.is_empty() { String::new() } else { format!(" ({remarks})") }
}

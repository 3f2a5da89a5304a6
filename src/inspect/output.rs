//! Renders a graph: as a tree for people, as JSON for programs, or as a Mermaid flowchart, which many Markdown viewers show.
//! `docs/inspect.md` documents the fields of the JSON, which are stable.
//! Source: <https://mermaid.js.org/syntax/flowchart.html>
//!
//! Line breaks and control characters in names are replaced, so that a manifest cannot control the terminal.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::escape::percent_encode;
use crate::inspect::graph::{Detail, Edge, Graph, Index, Node, ObjectId, Relation, State};
use crate::text::{and_more, is_shown, one_line};

/// The number of references to an object that a line lists.
const REFERENCES_SHOWN: usize = 4;
/// The longest text of a reference, in characters.
const REFERENCE_LIMIT: usize = 200;
/// The longest error message, in characters.
const MESSAGE_LIMIT: usize = 2000;

/// One line for each dependency, with the errors below the tree.
pub(crate) fn render_tree(graph: &Graph) -> String {
    let Some(root) = graph.nodes.first() else { return String::new() };
    let mut tree =
        Tree { graph, namespace: root.id.namespace.as_deref(), seen: BTreeSet::new(), text: String::new() };
    let line = format!("{}{}", root.id, in_parentheses(&graph.remarks(0)));
    tree.line("", &line);
    tree.children(0, "");
    tree.section("invalid annotations:", graph.annotation_errors.iter().map(String::as_str));
    let refusals: Vec<_> = graph.refusals.iter().map(ToString::to_string).collect();
    tree.section("notes:", graph.notes.iter().map(String::as_str));
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
            let _ = write!(line, ": {}", and_more(&shown, edge.by.len() - shown.len()));
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

pub(crate) fn render_json(graph: &Graph) -> String {
    let id = |index: Index| json_id(&graph.nodes[index].id);
    let edge = |edge: &Edge| {
        let mut value = json!({
            "from": id(edge.from),
            "to": id(edge.to),
            "relation": edge.relation.name(),
            "by": edge.by,
        });
        if edge.relation == Relation::Uses {
            value["optional"] = json!(edge.optional);
        }
        if let Some(access) = &edge.access {
            value["allowed"] = json!(access.allowed);
            value["denied"] = json!(access.denied);
            value["remedy"] = json!(access.remedy);
        }
        value
    };
    let document = json!({
        "root": graph.nodes.first().map(|_| id(0)),
        "nodes": graph.nodes.iter().map(json_node).collect::<Vec<_>>(),
        "edges": graph.edges.iter().map(edge).collect::<Vec<_>>(),
        "more": graph.truncated.iter().map(|list| json!({"of": id(list.owner), "kind": list.kind.name()})).collect::<Vec<_>>(),
        "refusals": graph.refusals.iter().map(|refusal| json!({
            "what": refusal.what, "reason": refusal.reason, "remedy": refusal.remedy,
        })).collect::<Vec<_>>(),
        "problems": graph.annotation_errors,
        "notes": graph.notes,
    });
    format!("{document:#}\n")
}

fn json_node(node: &Node) -> Value {
    let Node { id: object, state, details } = node;
    let mut value = json!({
        "id": json_id(object),
        "group": object.group,
        "kind": object.kind,
        "namespace": object.namespace,
        "name": object.name,
        "state": state.name(),
    });
    if let Some(cluster) = object.cluster.id() {
        value["cluster"] = json!(cluster.as_str());
    }
    for detail in details {
        let (key, detail) = match detail {
            Detail::Phase(phase) => ("phase", json!(phase)),
            Detail::Volume(volume) => ("volume", json!(volume)),
            Detail::Ready(ready) => ("ready", json!(ready)),
            Detail::Kubelet(version) => ("kubelet", json!(version)),
            Detail::Deleting => ("deleting", json!(true)),
        };
        value[key] = detail;
    }
    value
}

/// `[CLUSTER:]KIND[.GROUP]/[NAMESPACE/]NAME`. Percent-encoding each part makes the ID unique, whatever the names contain.
fn json_id(object: &ObjectId) -> String {
    let ObjectId { cluster, group, kind, namespace, name } = object;
    let cluster =
        cluster.id().map(|cluster| format!("{}:", percent_encode(cluster.as_str()))).unwrap_or_default();
    // An unencoded dot separates the group.
    let kind = percent_encode(kind).replace('.', "%2E");
    let group = if group.is_empty() { String::new() } else { format!(".{}", percent_encode(group)) };
    let namespace =
        namespace.as_ref().map(|namespace| format!("{}/", percent_encode(namespace))).unwrap_or_default();
    format!("{cluster}{kind}{group}/{namespace}{}", percent_encode(name))
}

/// Errors become comments at the end.
pub(crate) fn render_mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let remarks = graph.remarks(index);
        let mut label = quoted(&node.id.to_string());
        if !remarks.is_empty() {
            let _ = write!(label, "<br/>{}", quoted(&remarks));
        }
        let class = match node.state {
            State::Exists => "",
            State::Missing if !graph.is_optional(index) => ":::missing",
            State::Missing | State::Unread | State::Named => ":::unread",
        };
        let _ = writeln!(text, "  n{index}[\"{label}\"]{class}");
    }
    for edge in &graph.edges {
        let mut label = quoted(&edge.label());
        for place in &edge.by {
            let _ = write!(label, "<br/>{}", quoted(place));
        }
        let arrow = if edge.optional { "-.->" } else { "-->" };
        let _ = writeln!(text, "  n{} {arrow}|\"{label}\"| n{}", edge.from, edge.to);
    }
    for (index, list) in graph.truncated.iter().enumerate() {
        let _ = writeln!(text, "  n{} --- m{index}[\"{}\"]", list.owner, quoted(&list.to_string()));
    }
    text.push_str("  classDef missing stroke:#c00\n  classDef unread stroke-dasharray:4\n");
    let lines = graph.annotation_errors.iter().chain(&graph.notes).cloned();
    for line in lines.chain(graph.refusals.iter().map(ToString::to_string)) {
        // Older versions parse a comment that contains braces as a directive.
        let line: String = line
            .chars()
            .map(|c| if is_shown(c) { c } else { ' ' })
            .collect::<String>()
            .replace(['{', '}'], "");
        let _ = writeln!(text, "  %% {line}");
    }
    text
}

/// Escapes text for double quotes in Mermaid: every character that may have a meaning in some context becomes the entity `#CODE;`.
/// Source: <https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !is_shown(c) => quoted.push(' '),
            ' ' | '-' | '_' | '.' | '/' | ',' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => quoted.push_str(&format!("#{};", u32::from(c))),
        }
    }
    quoted
}

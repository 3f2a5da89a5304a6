//! A graph for Graphviz: `podcreds inspect -o dot | dot -Tsvg`.
//! Source: <https://graphviz.org/doc/info/lang.html>

use std::fmt::Write;

use crate::inspect::graph::{Graph, State};
use crate::text::is_shown;

/// Writes one `digraph`. What could not be read is a comment above it.
pub(crate) fn render(graph: &Graph) -> String {
    let mut text = String::new();
    for line in graph.problems.iter().cloned().chain(graph.refusals.iter().map(ToString::to_string)) {
        // A comment of this form ends with its line.
        let line: String = line.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect();
        let _ = writeln!(text, "// {line}");
    }
    text.push_str("digraph podcreds {\n  rankdir=LR;\n  node [shape=box];\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let remarks = graph.remarks(index);
        let mut label = quoted(&node.id.to_string());
        if !remarks.is_empty() {
            // The line break of a label.
            let _ = write!(label, "\\n{}", quoted(&remarks));
        }
        let style = match node.state {
            State::Exists => "",
            State::Missing if !graph.is_optional(index) => ", color=red",
            State::Missing | State::Unread | State::Named => ", style=dashed",
        };
        let _ = writeln!(text, "  n{index} [label=\"{label}\"{style}];");
    }
    for edge in &graph.edges {
        let mut label = quoted(&edge.words());
        for place in &edge.by {
            let _ = write!(label, "\\n{}", quoted(place));
        }
        let style = if edge.optional { ", style=dashed" } else { "" };
        let _ = writeln!(text, "  n{} -> n{} [label=\"{label}\"{style}];", edge.from, edge.to);
    }
    for (index, more) in graph.more.iter().enumerate() {
        let label = quoted(&more.to_string());
        let _ =
            writeln!(text, "  m{index} [label=\"{label}\", shape=plaintext];\n  n{} -> m{index};", more.of);
    }
    text.push_str("}\n");
    text
}

/// Text inside a label in double quotes: `"` would end it, `\` begins an escape, `&` begins an HTML entity.
/// Source: <https://graphviz.org/docs/attr-types/escString/>
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '&' => quoted.push_str("&amp;"),
            c if is_shown(c) => quoted.push(c),
            _ => quoted.push(' '),
        }
    }
    quoted
}

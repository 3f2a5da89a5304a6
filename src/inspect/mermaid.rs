//! A graph as a Mermaid flowchart, which Markdown shows at many places.
//! Source: <https://mermaid.js.org/syntax/flowchart.html>

use std::fmt::Write;

use crate::inspect::graph::{Graph, State};
use crate::text::is_shown;

/// Writes one `flowchart`. What could not be read is a comment above its end.
pub(crate) fn render(graph: &Graph) -> String {
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
            State::Missing | State::Unread | State::Named => ":::unseen",
        };
        let _ = writeln!(text, "  n{index}[\"{label}\"]{class}");
    }
    for edge in &graph.edges {
        let mut label = quoted(&edge.words());
        for place in &edge.by {
            let _ = write!(label, "<br/>{}", quoted(place));
        }
        let arrow = if edge.optional { "-.->" } else { "-->" };
        let _ = writeln!(text, "  n{} {arrow}|\"{label}\"| n{}", edge.from, edge.to);
    }
    for (index, more) in graph.more.iter().enumerate() {
        let _ = writeln!(text, "  n{} --- m{index}[\"{}\"]", more.of, quoted(&more.to_string()));
    }
    text.push_str("  classDef missing stroke:#c00\n  classDef unseen stroke-dasharray:4\n");
    for line in graph.problems.iter().cloned().chain(graph.refusals.iter().map(ToString::to_string)) {
        // A comment is a line of its own; with braces in it older versions take it for a directive.
        let line: String = line
            .chars()
            .map(|c| if is_shown(c) { c } else { ' ' })
            .collect::<String>()
            .replace(['{', '}'], "");
        let _ = writeln!(text, "  %% {line}");
    }
    text
}

/// Text inside double quotes: all but what is plain in every context becomes an entity, `#` and the number of the character.
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

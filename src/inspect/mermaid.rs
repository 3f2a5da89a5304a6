//! Renders a graph as a Mermaid flowchart, which many Markdown viewers show.
//! Source: <https://mermaid.js.org/syntax/flowchart.html>

use std::fmt::Write;

use crate::inspect::graph::{Graph, State};
use crate::text::is_shown;

/// Errors become comments at the end.
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
    for line in graph.annotation_errors.iter().cloned().chain(graph.refusals.iter().map(ToString::to_string))
    {
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

/// Escapes text for double quotes: every character that may have a meaning in some context becomes the entity `#CODE;`.
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

//! Writes values in the style of the text around them: block style with its indentation, or flow style.

use crate::yaml::Node;

/// How the neighbours of a new value are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    pub(super) newline: &'a str,
    /// The indentation of a mapping in a mapping.
    pub(super) unit: usize,
    /// The indentation of a list in a mapping, which may be 0.
    pub(super) list: usize,
    /// Whether flow style must be JSON.
    pub(super) is_json: bool,
    /// Whether JSON has no spaces.
    pub(super) is_minified: bool,
}

impl Layout<'_> {
    /// A new line with an indentation.
    pub(super) fn break_line(&self, indent: usize, out: &mut String) {
        out.push_str(self.newline);
        pad(indent, out);
    }

    /// Writes a value in block style, without the indentation of its first line and without a line break at its end.
    pub(super) fn block(&self, node: &Node, indent: usize, out: &mut String) {
        if self.scalar(node, out) {
            return;
        }
        for (index, child) in node.children().iter().enumerate() {
            if index > 0 {
                self.break_line(indent, out);
            }
            match child.key {
                Some(key) => self.entry(key, child.node, indent, out),
                None => {
                    out.push_str("- ");
                    self.block(child.node, indent + 2, out);
                }
            }
        }
    }

    /// Writes a key with its value in block style.
    pub(super) fn entry(&self, key: &str, node: &Node, indent: usize, out: &mut String) {
        self.text(key, false, out);
        out.push(':');
        if node.scalar().is_some() {
            out.push(' ');
            self.block(node, indent, out);
        } else {
            self.nested(node, indent, out);
        }
    }

    /// Writes a collection in block style on the lines after its key.
    pub(super) fn nested(&self, node: &Node, indent: usize, out: &mut String) {
        let indent = indent + if node.is_list() { self.list } else { self.unit };
        self.break_line(indent, out);
        self.block(node, indent, out);
    }

    /// Writes a value in flow style, with an indentation on lines of its own, without on one line.
    pub(super) fn flow(&self, node: &Node, indent: Option<usize>, out: &mut String) {
        if self.scalar(node, out) {
            return;
        }
        let (open, close) = if node.is_list() { ('[', ']') } else { ('{', '}') };
        let inner = indent.map(|indent| indent + self.unit);
        out.push(open);
        for (index, child) in node.children().iter().enumerate() {
            match inner {
                Some(inner) => {
                    out.push_str(if index > 0 { "," } else { "" });
                    self.break_line(inner, out);
                }
                None => out.push_str(if index > 0 { self.comma() } else { "" }),
            }
            self.flow_child(child.key, child.node, inner, out);
        }
        if let Some(indent) = indent {
            self.break_line(indent, out);
        }
        out.push(close);
    }

    /// Writes an entry or item in flow style.
    pub(super) fn flow_child(&self, key: Option<&str>, node: &Node, indent: Option<usize>, out: &mut String) {
        if let Some(key) = key {
            self.text(key, self.is_json, out);
            out.push_str(if self.is_minified { ":" } else { ": " });
        }
        self.flow(node, indent, out);
    }

    pub(super) fn comma(&self) -> &'static str {
        if self.is_minified { "," } else { ", " }
    }

    /// Writes a scalar. `false` means that this is a collection.
    fn scalar(&self, node: &Node, out: &mut String) -> bool {
        match node.scalar() {
            Some((text, true)) => self.text(text, self.is_json, out),
            Some((text, false)) => out.push_str(text),
            None => return false,
        }
        true
    }

    fn text(&self, text: &str, is_quoted: bool, out: &mut String) {
        if !is_quoted && Node::is_plain(text) {
            out.push_str(text);
        } else {
            // A string in JSON is a double-quoted scalar in YAML.
            out.push_str(&serde_json::Value::from(text).to_string());
        }
    }
}

pub(super) fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

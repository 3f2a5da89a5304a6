//! Parses YAML, and JSON as a subset, to a tree with positions (`tree`), and reads typed values from it (`fields`). All type errors
//! are reported at once. This module does no I/O.
//!
//! Scalars have the types of YAML 1.1 (`scalar`), because kubectl reads kubeconfigs by them: `yes` and `y` are booleans, `0o17` is a
//! number. Scalars are stored as secrets, because a kubeconfig is full of them. Error messages hold names of keys and no other
//! text of the document.

mod fields;
mod scalar;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use fields::{Cursor, Fields, ValueError, ValueErrors};
pub(crate) use tree::{SyntaxError, parse};

use crate::secret::SecretBytes;
use crate::text::RedactedPrefix;

/// The maximum size of a document, in bytes: a kubeconfig of a thousand clusters with inline certificates fits.
pub(crate) const TEXT_LIMIT: usize = 1024 * 1024;

/// The maximum nesting. A kubeconfig has 7 levels, and an extension a few more.
const DEPTH_LIMIT: usize = 64;
/// The maximum number of values, where each alias counts as all the values that it repeats.
const NODE_LIMIT: usize = 200_000;

/// The position of the first character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value and its position. Aliases and merge keys are resolved.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    value: Value,
    at: Position,
}

/// Numbers keep their text, because a number may be a password without quotes.
#[derive(Clone, Debug)]
enum Value {
    Null,
    Bool(bool),
    Number(SecretBytes),
    Text(SecretBytes),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping entry.
#[derive(Clone)]
struct Key {
    text: String,
    at: Position,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{password:value}` lacks a space, so the whole text is a key.
        write!(f, "{}", RedactedPrefix(&self.text))
    }
}

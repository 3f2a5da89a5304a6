//! YAML, and JSON with it, as a tree whose nodes know their place, and a reader that finds every error at once. Text in, values
//! out; nothing is read from anywhere.
//!
//! The types are those of YAML 1.1, because kubectl reads kubeconfigs by them: `yes` and `y` are booleans, `0o17` is a
//! number. Scalars are secrets from the first: a kubeconfig is full of them. No message holds any text of a document but the
//! names of keys.

mod fields;
mod scalar;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;

pub(crate) use fields::{Fields, Place, Problem, Problems};
pub(crate) use tree::{SyntaxError, parse};

use crate::secret::SecretBytes;
use crate::text::Beginning;

/// The longest text that is read, in bytes: a thousand clusters with certificates of their own.
pub(crate) const TEXT_LIMIT: usize = 1024 * 1024;

/// The deepest nesting. A kubeconfig has 7 levels, and an extension some more.
const DEPTH_LIMIT: usize = 64;
/// The most values of a document, counted again wherever an alias repeats them.
const NODE_LIMIT: usize = 200_000;

/// Where something begins.
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

/// One value of a document and where it begins. Aliases and merge keys are resolved.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    value: Value,
    at: Position,
}

/// What a node is. Numbers stay as they were written: what was meant by one may be a secret.
#[derive(Clone, Debug)]
enum Value {
    Null,
    Bool(bool),
    Number(SecretBytes),
    Text(SecretBytes),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of an entry of a mapping, and where it begins.
#[derive(Clone)]
struct Key {
    text: String,
    at: Position,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{password:value}` without a space is a key.
        write!(f, "{}", Beginning(&self.text))
    }
}

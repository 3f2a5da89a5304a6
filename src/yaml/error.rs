//! The errors of a text that is not valid YAML, or exceeds a limit.

use crate::yaml::Position;

/// A syntax error with its position. It holds no text of the document except a duplicate key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) kind: SyntaxErrorKind,
}

/// The kinds of syntax errors.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SyntaxErrorKind {
    #[error("is larger than {limit} bytes")]
    TooLong { limit: usize },
    #[error("is not UTF-8 text")]
    NotText,
    /// With the message of the parser.
    #[error("invalid YAML: {0}")]
    Grammar(String),
    #[error("starts a second document; a file must have only one")]
    SecondDocument,
    #[error("is nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("holds more than {limit} values, including those that aliases repeat")]
    TooMany { limit: usize },
    #[error("aliases (*) repeat more than {limit} bytes")]
    Repeated { limit: usize },
    #[error("an alias (*) refers to a value that contains it")]
    Circle,
    #[error("a key must be text")]
    Key,
    /// With the quoted beginning of the key.
    #[error("duplicate key {0}, first at {1}")]
    Twice(String, Position),
    #[error("a merge key (<<) must come first in its mapping, and its value must be mappings")]
    Merge,
    #[error("unsupported tag (!): remove it, or use !!str, !!int, !!float, !!bool, !!null, !!seq or !!map")]
    Tag,
}

impl SyntaxErrorKind {
    pub(crate) fn at(self, at: Position) -> SyntaxError {
        SyntaxError { at, kind: self }
    }
}

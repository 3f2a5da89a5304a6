//! Why a text is no document.

use crate::yaml::{Position, TEXT_LIMIT};

/// Why a text is no document that is read, and where. Nothing of the text is in it but a key that stands twice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {fault}")]
pub struct SyntaxError {
    /// Where it was noticed.
    pub(crate) at: Position,
    pub(crate) fault: Fault,
}

/// What is wrong with the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("is larger than {TEXT_LIMIT} bytes")]
    TooLong,
    #[error("is not UTF-8 text")]
    NotText,
    /// What the parser says.
    #[error("is no YAML: {0}")]
    Grammar(String),
    #[error("starts a second document: write one a file")]
    SecondDocument,
    #[error("is nested deeper than {} levels", super::DEPTH_LIMIT)]
    TooDeep,
    #[error("holds more than {} values, those that aliases repeat among them", super::NODE_LIMIT)]
    TooMany,
    #[error("aliases (*) repeat more than {TEXT_LIMIT} bytes")]
    Repeated,
    #[error("an alias (*) stands inside of what it repeats")]
    Circle,
    #[error("a key must be text")]
    Key,
    /// With the beginning of the key, as it is shown.
    #[error("key {0} stands there twice, first at {1}")]
    Twice(String, Position),
    #[error("a merge key (<<) must be the first of its mapping, and name mappings")]
    Merge,
    #[error(
        "a tag (!) other than !!str, !!int, !!float, !!bool, !!null, !!seq and !!map is not understood: remove it"
    )]
    Tag,
}

impl Fault {
    pub(crate) fn at(self, at: Position) -> SyntaxError {
        SyntaxError { at, fault: self }
    }
}

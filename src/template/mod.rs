//! Templates: text with names of fields in it, written in the language of minijinja. Pure: text and values in, a file or an
//! error with line and column out.
//!
//! minijinja's parser reads them (`parse`), and the tree that becomes of it is rendered here (`render`): minijinja's own
//! machine lets a short template take all memory, and cannot overwrite what it copied
//! (docs/decisions/templates.md).

mod delimiters;
mod error;
mod filters;
mod parse;
mod render;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

pub use delimiters::{Delimiters, DelimitersError};
pub(crate) use error::{Position, TemplateError};

use crate::secret::SecretBytes;
use crate::template::tree::Statement;

/// The longest text of a template, in bytes.
pub const TEXT_LIMIT: usize = 64 * 1024;

/// How many unknown names are told at once.
const MISSING_LIMIT: usize = 20;

/// The values that a template is filled with, by name.
pub type Fields<'a> = BTreeMap<&'a str, &'a SecretBytes>;

/// A template that is written right: every statement, filter and test in it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    statements: Vec<Statement>,
    /// The fields that it cannot do without, in order of name, each with its first place.
    needed: BTreeMap<String, Position>,
    /// Whether the values only stand for others, which must not make it fail.
    stand_ins: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// For text that is empty or longer than [`TEXT_LIMIT`], for wrong syntax, and for what these templates do not have.
    pub fn parse(text: &str, delimiters: &Delimiters) -> Result<Self, TemplateError> {
        let parse::Parsed { statements, used, excused } = parse::parse(text, delimiters)?;
        let needed = used.into_iter().filter(|(name, _)| !excused.contains(name)).collect::<BTreeMap<_, _>>();
        Ok(Self { statements, needed, stand_ins: false })
    }

    /// The fields that it cannot do without, in order of name: those that it neither sets itself nor tests for being there.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.needed.keys().map(String::as_str)
    }

    /// Fields that it cannot do without and that are not among these: the first ones, which are enough to mend it.
    pub(crate) fn missing(&self, known: &BTreeSet<&str>) -> Vec<TemplateError> {
        let unknown = self.needed.iter().filter(|(name, _)| !known.contains(name.as_str()));
        unknown
            .take(MISSING_LIMIT)
            .map(|(name, at)| TemplateError::unknown_name(*at, name, known.iter().copied()))
            .collect()
    }

    /// Fills it with values. The text is written as it is, with a new line at the end if it has none; nothing stays nothing.
    ///
    /// # Errors
    /// The first name that is no field, value that cannot be written, or bound that is reached.
    pub fn render(&self, fields: &Fields<'_>) -> Result<SecretBytes, TemplateError> {
        if let Some((name, at)) = self.needed.iter().find(|(name, _)| !fields.contains_key(name.as_str())) {
            return Err(TemplateError::unknown_name(*at, name, fields.keys().copied()));
        }
        render::render(&self.statements, fields, self.stand_ins)
    }

    /// The same template for values that only stand for others: what is no base64 is then left as it is.
    pub(crate) fn for_stand_ins(self) -> Self {
        Self { stand_ins: true, ..self }
    }
}

#[cfg(test)]
mod tests;

//! Templates in a subset of the minijinja language. Pure: text and field values in, a file or an error with line and column
//! out.
//!
//! minijinja's parser reads a template (`parse`), but our own renderer fills it in (`render`): minijinja's virtual machine lets
//! a short template use all memory, and it cannot overwrite its copies of secrets (docs/decisions/templates.md).

mod delimiters;
mod error;
mod expression;
mod filters;
mod parse;
mod render;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

pub use delimiters::{Delimiters, DelimitersError};
pub(crate) use error::{Position, TemplateError};

use crate::secret::SecretBytes;
use crate::template::tree::Statement;

/// The maximum length of a template, in bytes.
pub const TEXT_LIMIT: usize = 64 * 1024;

/// The maximum number of unknown names that are reported at once.
const UNKNOWN_LIMIT: usize = 20;

/// The field values, by field name.
pub type Fields<'a> = BTreeMap<&'a str, &'a SecretBytes>;

/// A valid template: it has only supported statements, filters and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    statements: Vec<Statement>,
    /// The required fields, each with its first position.
    required: BTreeMap<String, Position>,
    /// Whether the values are placeholders. `b64decode` and computed field names then accept any value.
    placeholders: bool,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// For text that is empty or longer than [`TEXT_LIMIT`], for invalid syntax, and for unsupported parts of the language.
    pub fn parse(text: &str, delimiters: &Delimiters) -> Result<Self, TemplateError> {
        let parse::Parsed { statements, used, optional } = parse::parse(text, delimiters)?;
        let required =
            used.into_iter().filter(|(name, _)| !optional.contains(name)).collect::<BTreeMap<_, _>>();
        Ok(Self { statements, required, placeholders: false })
    }

    /// The required fields, sorted by name: those that the template neither sets itself nor checks for existence.
    #[cfg(test)]
    pub(crate) fn required_names(&self) -> impl Iterator<Item = &str> {
        self.required.keys().map(String::as_str)
    }

    /// Errors for the first required fields that are not in `known`.
    pub(crate) fn unknown_names(&self, known: &BTreeSet<&str>) -> Vec<TemplateError> {
        let unknown = self.required.iter().filter(|(name, _)| !known.contains(name.as_str()));
        unknown
            .take(UNKNOWN_LIMIT)
            .map(|(name, at)| TemplateError::unknown_name(*at, name, known.iter().copied()))
            .collect()
    }

    /// Renders the template, and adds a newline at the end if it is missing. Empty output stays empty.
    ///
    /// # Errors
    /// For the first unknown field, value that cannot be written, or exceeded limit.
    pub fn render(&self, fields: &Fields<'_>) -> Result<SecretBytes, TemplateError> {
        if let Some((name, at)) = self.required.iter().find(|(name, _)| !fields.contains_key(name.as_str())) {
            return Err(TemplateError::unknown_name(*at, name, fields.keys().copied()));
        }
        render::render(&self.statements, fields, self.placeholders)
    }

    /// The same template for placeholder values, which must not make it fail.
    pub(crate) fn for_placeholders(self) -> Self {
        Self { placeholders: true, ..self }
    }
}

#[cfg(test)]
mod tests;

//! Templates in a subset of the minijinja language, and their delimiters. Pure: text and field values in, a file or an error with
//! line and column out.
//!
//! minijinja's parser reads a template (`parse`), but our own renderer fills it in (`render`): minijinja's virtual machine lets
//! a short template use all memory, and it cannot overwrite its copies of secrets (docs/decisions/templates.md).

mod error;
mod expression;
mod filters;
mod parse;
mod render;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::syntax::SyntaxConfig;

pub(crate) use error::TemplateError;
pub(crate) use render::WORK_LIMIT;

use crate::secret::SecretBytes;
use crate::template::parse::Statement;
use crate::text::Position;

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
    /// The names that it sets itself or checks for existence.
    optional: BTreeSet<String>,
    /// The fields of other credentials, as `NAME.FIELD`, each with its first position.
    references: BTreeMap<String, Position>,
    /// Those of them whose existence the template checks.
    optional_references: BTreeSet<String>,
    /// Whether the values are placeholders. `b64decode` and computed field names then accept any value.
    placeholders: bool,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// For text that is empty or longer than [`TEXT_LIMIT`], for invalid syntax, and for unsupported parts of the language.
    pub fn parse(text: &str, delimiters: &Delimiters) -> Result<Self, TemplateError> {
        let parse::Parsed { statements, fields, references } = parse::parse(text, delimiters)?;
        let mut required = fields.used;
        required.retain(|name, _| !fields.optional.contains(name));
        let optional = fields.optional;
        let (references, optional_references) = (references.used, references.optional);
        Ok(Self { statements, required, optional, references, optional_references, placeholders: false })
    }

    /// Whether the template uses this field, or checks whether it exists.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.required.contains_key(name) || self.optional.contains(name)
    }

    /// The required fields, sorted by name: those that the template neither sets itself nor checks for existence.
    #[cfg(test)]
    pub(crate) fn required_names(&self) -> impl Iterator<Item = &str> {
        self.required.keys().map(String::as_str)
    }

    /// Errors for the first required fields that are not in `known`, in the order of their positions.
    pub(crate) fn unknown_names(&self, known: &BTreeSet<&str>) -> Vec<TemplateError> {
        let names: Vec<_> = known.iter().copied().collect();
        let mut errors = Vec::new();
        let mut last = None;
        while errors.len() < UNKNOWN_LIMIT
            && let Some((name, at)) = self
                .required
                .iter()
                .filter(|(name, at)| Some(**at) > last && !known.contains(name.as_str()))
                .min_by_key(|(_, at)| **at)
        {
            errors.push(TemplateError::unknown_name(*at, name, &names));
            last = Some(*at);
        }
        errors
    }

    /// The fields of other credentials that the template uses, sorted: credential, field and first position.
    pub(crate) fn references(&self) -> impl Iterator<Item = (&str, &str, Position)> {
        self.references.iter().filter_map(|(name, at)| {
            let (credential, field) = name.split_once('.')?;
            Some((credential, field, *at))
        })
    }

    /// Whether the template uses a field of this credential without a check for its existence.
    pub(crate) fn requires_credential(&self, name: &str) -> bool {
        let is_of = |reference: &String| reference.split_once('.').is_some_and(|(of, _)| of == name);
        self.references
            .keys()
            .any(|reference| is_of(reference) && !self.optional_references.contains(reference))
    }

    /// Errors for the references to credentials that are not in `known`.
    pub(crate) fn unknown_credentials(&self, known: &BTreeSet<&str>) -> Vec<TemplateError> {
        let names: Vec<_> = known.iter().copied().collect();
        let unknown = self.references().filter(|(credential, ..)| !known.contains(credential));
        let error = |(credential, _, at)| TemplateError::unknown_credential(at, credential, &names);
        unknown.take(UNKNOWN_LIMIT).map(error).collect()
    }

    /// Rejects references to other credentials. The annotations alone say which credentials those are, so a template that
    /// several pods share must not use them.
    ///
    /// # Errors
    /// For the first reference.
    pub(crate) fn without_references(self) -> Result<Self, TemplateError> {
        match self.references.values().min() {
            Some(at) => Err(TemplateError::reference_in_config_map(*at)),
            None => Ok(self),
        }
    }

    /// Renders the template. The output is exactly what the template says, without a line break of podcreds' own at its end.
    ///
    /// # Errors
    /// For the first unknown field, value that cannot be written, or exceeded limit.
    pub fn render(&self, fields: &Fields<'_>) -> Result<SecretBytes, TemplateError> {
        self.render_within(fields, &Fields::new(), WORK_LIMIT)
    }

    /// [`Template::render`] with fields of other credentials, by `NAME.FIELD`, and a limit on the bytes that are written, filtered
    /// and compared. Errors suggest names from all of `others`, so it should have every field of each credential in
    /// [`Self::references`].
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(crate) fn render_within(
        &self,
        fields: &Fields<'_>,
        others: &Fields<'_>,
        work_limit: usize,
    ) -> Result<SecretBytes, TemplateError> {
        let unknown = self.required.iter().filter(|(name, _)| !fields.contains_key(name.as_str()));
        if let Some((name, at)) = unknown.min_by_key(|(_, at)| **at) {
            return Err(TemplateError::unknown_field(*at, name, fields));
        }
        let is_unknown = |name: &str| !self.optional_references.contains(name) && !others.contains_key(name);
        let unknown = self.references.iter().filter(|(name, _)| is_unknown(name));
        if let Some((name, at)) = unknown.min_by_key(|(_, at)| **at) {
            return Err(TemplateError::unknown_reference(*at, name, others));
        }
        render::render(&self.statements, fields, others, self.placeholders, work_limit)
    }

    /// The same template for placeholder values, which must not make it fail.
    pub(crate) fn for_placeholders(self) -> Self {
        Self { placeholders: true, ..self }
    }
}

/// The maximum length of a delimiter, in characters.
const DELIMITER_LIMIT: usize = 4;
/// The characters of an opening delimiter: none that is frequent in text, and not `%`, `#`, `-` and `+`, which have a meaning
/// there.
const OPENING: &str = "{[(<$@&^?!";
/// The characters of a closing delimiter: none that an expression contains outside brackets.
const CLOSING: &str = "}])>$@&^?";

/// The delimiters of expressions. Those of statements and comments are derived from them by replacing the inner character of each
/// (the last of the opening one, the first of the closing one) with `%` or `#`: `[[ ]]` gives `[% %]` and `[# #]`. In a closing
/// delimiter of one character, `%` or `#` is inserted instead: `${ }` gives `$% %}` and `$# #}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiters {
    open: String,
    close: String,
}

impl Default for Delimiters {
    /// `{{ }}`, with `{% %}` and `{# #}`.
    fn default() -> Self {
        Self { open: "{{".to_owned(), close: "}}".to_owned() }
    }
}

impl Delimiters {
    /// Reads an opening and a closing delimiter, separated by white space.
    ///
    /// # Errors
    /// For anything but two delimiters, and for delimiters that could be mistaken for other text.
    pub fn parse(text: &str) -> Result<Self, DelimitersError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [open, close] = words[..] else { return Err(DelimitersError::Form) };
        let is_valid = |delimiter: &str, min: usize, allowed: &str| {
            (min..=DELIMITER_LIMIT).contains(&delimiter.len())
                && delimiter.chars().all(|c| allowed.contains(c))
        };
        if !is_valid(open, 2, OPENING) {
            Err(DelimitersError::Opening)
        } else if !is_valid(close, 1, CLOSING) {
            Err(DelimitersError::Closing)
        } else {
            Ok(Self { open: open.to_owned(), close: close.to_owned() })
        }
    }

    /// The settings of minijinja's parser. They keep a newline at the end of the template.
    ///
    /// # Errors
    /// Never for delimiters that [`Self::parse`] accepts: all six differ by construction.
    pub(crate) fn syntax(&self) -> Result<SyntaxConfig, minijinja::Error> {
        // Delimiters are ASCII, so these are character boundaries.
        let outer_open = &self.open[..self.open.len() - 1];
        let outer_close = if self.close.len() == 1 { self.close.as_str() } else { &self.close[1..] };
        SyntaxConfig::builder()
            .variable_delimiters(self.open.clone(), self.close.clone())
            .block_delimiters(format!("{outer_open}%"), format!("%{outer_close}"))
            .comment_delimiters(format!("{outer_open}#"), format!("#{outer_close}"))
            .keep_trailing_newline(true)
            .build()
    }
}

/// An invalid value of `.delimiters`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DelimitersError {
    /// Not two delimiters.
    #[error("is not an opening and a closing delimiter separated by a space, such as [[ ]]")]
    Form,
    /// An invalid opening delimiter.
    #[error("invalid opening delimiter: use 2 to {DELIMITER_LIMIT} of {OPENING}, for example [[ or ${{")]
    Opening,
    /// An invalid closing delimiter.
    #[error("invalid closing delimiter: use 1 to {DELIMITER_LIMIT} of {CLOSING}, for example ]] or }}")]
    Closing,
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod delimiters_tests {
    use super::*;

    #[test]
    fn delimiters_of_statements_and_comments_are_derived_from_those_of_expressions() {
        for (text, block, comment) in [
            ("{{ }}", ("{%", "%}"), ("{#", "#}")),
            (" [[\t]]\n", ("[%", "%]"), ("[#", "#]")),
            ("<< >>", ("<%", "%>"), ("<#", "#>")),
            ("${ }", ("$%", "%}"), ("$#", "#}")),
            ("<<< >>>", ("<<%", "%>>"), ("<<#", "#>>")),
            ("@@ @@", ("@%", "%@"), ("@#", "#@")),
        ] {
            let syntax = Delimiters::parse(text).unwrap().syntax().unwrap();
            assert_eq!((syntax.block_delimiters(), syntax.comment_delimiters()), (block, comment), "{text}");
        }
        assert_eq!(Delimiters::parse("{{ }}"), Ok(Delimiters::default()));
    }

    #[test]
    fn ambiguous_delimiters_are_rejected_and_named() {
        for (text, part) in [
            ("", "is not an opening and a closing delimiter"),
            ("[[", "is not an opening"),
            ("[[]]", "is not an opening"),
            ("[[ x ]]", "is not an opening"),
            ("[ ]", "invalid opening delimiter"),
            ("<% %>", "invalid opening delimiter"),
            ("[# #]", "invalid opening delimiter"),
            ("(- -)", "invalid opening delimiter"),
            ("'' ''", "invalid opening"),
            ("aa bb", "invalid opening delimiter"),
            ("[[[[[ ]]]]]", "invalid opening"),
            ("[[ ||", "invalid closing delimiter"),
            ("[[ ]]]]]", "invalid closing"),
            ("[[ ==", "invalid closing"),
            ("\u{202e}\u{202e} ]]", "invalid opening delimiter"),
        ] {
            let message = Delimiters::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}

//! What can be wrong with a template, and where. Names of fields and filters are shown, values never, and no other text between
//! quotes in the template either.

use std::fmt;

use minijinja::machinery::Span;

use crate::text::Quoted;

/// How many names a message lists before it only counts them.
const LISTED_NAMES: usize = 20;

/// A place in the text of a template, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// The place of this byte.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        Self { line: span.start_line.into(), column: usize::from(span.start_col) + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{problem}", position.map(|position| format!("{position}: ")).unwrap_or_default())]
pub struct TemplateError {
    position: Option<Position>,
    problem: Box<Problem>,
}

impl TemplateError {
    /// What is wrong at a place.
    pub(crate) fn at(position: Position, problem: Problem) -> Self {
        Self { position: Some(position), problem: Box::new(problem) }
    }

    /// What is wrong with all of it.
    pub(crate) fn of_all(problem: Problem) -> Self {
        Self { position: None, problem: Box::new(problem) }
    }

    /// A name that is no field, among those that are.
    pub(crate) fn unknown_name<'a>(
        at: Position,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let listed = known.clone().take(LISTED_NAMES).map(str::to_owned).collect();
        let more = known.skip(LISTED_NAMES).count();
        Self::at(at, Problem::UnknownName { name: name.to_owned(), known: listed, more })
    }
}

/// What is wrong with a template.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No text at all.
    #[error("is empty")]
    Empty,
    /// More text than its bound.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// Not the language of templates, as the parser says it: it names kinds of words, and statements.
    #[error("{said}{}", hint(said))]
    Syntax {
        /// What the parser said.
        said: String,
    },
    /// More between two marks, or more `elif`, than its bound.
    #[error("there are more than {limit} {what}")]
    TooDeep {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A part of the language that these templates do not have.
    #[error("{what} cannot be used here: {instead}")]
    Unsupported {
        /// The part.
        what: &'static str,
        /// What can.
        instead: &'static str,
    },
    /// A dot behind a name that is not `fields`.
    #[error("{} has no parts: for a field whose name has a dot, write fields[\"name.part\"]", Quoted(name))]
    NoParts {
        /// The name.
        name: String,
    },
    /// An unknown filter.
    #[error("there is no filter {}; there are {}", Quoted(name), known.join(", "))]
    UnknownFilter {
        /// Its name.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// An unknown test.
    #[error("there is no test {}; there are defined and undefined", Quoted(name))]
    UnknownTest {
        /// Its name.
        name: String,
    },
    /// A name that is no field.
    #[error("there is no field {}; there {}", Quoted(name), list(known, *more))]
    UnknownName {
        /// The name.
        name: String,
        /// Some of those that there are.
        known: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// A value that names no field; it may be secret.
    #[error("the value between the brackets is the name of no field")]
    UnknownItem,
    /// Bytes where text is wanted.
    #[error(
        "{} is binary, which only b64encode can write", field.as_ref().map_or("the value".to_owned(), |name| format!("the value of field {}", Quoted(name)))
    )]
    Binary {
        /// The field, where it is one.
        field: Option<String>,
    },
    /// All fields where text is wanted.
    #[error("fields is no text: name one of them, or write {{% for name in fields %}}")]
    NoText,
    /// A value that the reader behind a filter cannot take.
    #[error("the value holds {what}, which {filter} has no way to write")]
    Refused {
        /// The filter.
        filter: &'static str,
        /// What is in it.
        what: &'static str,
    },
    /// Something else where base64 is wanted.
    #[error("the value is no base64")]
    NotBase64,
    /// A bound that was reached while rendering.
    #[error("the template makes more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

fn hint(said: &str) -> &'static str {
    if said.starts_with("unknown statement") { "; there are if, for and set" } else { "" }
}

fn list(known: &[String], more: usize) -> String {
    match (known, more) {
        ([], _) => "is none".to_owned(),
        ([one], 0) => format!("is {one}"),
        (several, 0) => format!("are {}", several.join(", ")),
        (several, more) => format!("are {} and {more} more", several.join(", ")),
    }
}

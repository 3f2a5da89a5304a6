//! Template errors with their positions. Messages show names of fields and filters, but never values or string literals, which
//! may be secret.

use minijinja::machinery::Span;

use crate::template::Fields;
use crate::text::{Excerpt, Position, Quoted, and_more, nearest, suggest};

/// The maximum number of names that a message lists; it counts the rest.
const LISTED_NAMES: usize = 20;
/// The maximum number of names that are compared for a suggestion.
const COMPARED_NAMES: usize = 256;

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        Self { line: span.start_line.into(), column: usize::from(span.start_col) + 1 }
    }
}

/// An error in a template.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{problem}", position.map(|position| format!("{position}: ")).unwrap_or_default())]
pub struct TemplateError {
    position: Option<Position>,
    problem: Box<Problem>,
}

impl TemplateError {
    pub(crate) fn at(position: Position, problem: Problem) -> Self {
        Self { position: Some(position), problem: Box::new(problem) }
    }

    /// The text of the template is longer than `limit` bytes.
    pub(crate) fn too_long(limit: usize) -> Self {
        Self::whole(Problem::TooLong { limit })
    }

    /// An error without a position, about the template as a whole.
    pub(crate) fn whole(problem: Problem) -> Self {
        Self { position: None, problem: Box::new(problem) }
    }

    /// Whether the template names a field that the sources do not provide.
    pub(crate) fn is_unknown_field(&self) -> bool {
        matches!(*self.problem, Problem::UnknownName { what: Unknown::Field, .. })
    }

    /// Whether the template names a field that the sources of this credential do not provide, as `credentials.NAME.FIELD`.
    pub(crate) fn is_unknown_field_of(&self, credential: &str) -> bool {
        matches!(&*self.problem, Problem::UnknownName { what: Unknown::FieldOf(name), .. } if name == credential)
    }

    pub(crate) fn unknown_field(at: Position, name: &str, fields: &Fields<'_>) -> Self {
        Self::unknown_name(at, name, &fields.keys().copied().collect::<Vec<_>>())
    }

    pub(crate) fn unknown_name(at: Position, name: &str, known: &[&str]) -> Self {
        Self::unknown(at, Unknown::Field, name, known)
    }

    /// A field that another credential does not have. `name` is `NAME.FIELD`, as are those of `others`.
    pub(crate) fn unknown_reference(at: Position, name: &str, others: &Fields<'_>) -> Self {
        let (credential, field) = name.split_once('.').unwrap_or_default();
        let of_credential = |other: &&str| other.split_once('.').is_some_and(|(of, _)| of == credential);
        let known: Vec<_> = others
            .keys()
            .copied()
            .filter(of_credential)
            .map(|other| &other[credential.len() + 1..])
            .collect();
        Self::unknown(at, Unknown::FieldOf(credential.to_owned()), field, &known)
    }

    pub(crate) fn unknown_credential(at: Position, name: &str, known: &[&str]) -> Self {
        Self::unknown(at, Unknown::Credential, name, known)
    }

    pub(crate) fn reference_in_config_map(at: Position) -> Self {
        Self::at(at, Problem::ReferenceInConfigMap)
    }

    fn unknown(at: Position, what: Unknown, name: &str, known: &[&str]) -> Self {
        let listed = known.iter().take(LISTED_NAMES).map(|name| (*name).to_owned()).collect();
        let nearest = nearest(name, known.iter().copied().take(COMPARED_NAMES)).map(str::to_owned);
        let more = known.len().saturating_sub(LISTED_NAMES);
        Self::at(
            at,
            Problem::UnknownName { what, name: Excerpt::of_name(name), known: listed, more, nearest },
        )
    }
}

/// What an unknown name was expected to be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unknown {
    #[error("unknown field")]
    Field,
    /// A field of the credential of this name.
    #[error("credential {} has no field", Quoted(_0))]
    FieldOf(String),
    #[error("unknown credential")]
    Credential,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    #[error("empty template")]
    Empty,
    #[error("is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// A message of minijinja's parser, which names token kinds and statements.
    #[error("{message}{}", hint(message, *is_helm))]
    Syntax {
        message: String,
        /// Whether the template seems to contain expressions of Helm.
        is_helm: bool,
    },
    #[error("more than {limit} {what}")]
    TooDeep { what: &'static str, limit: usize },
    /// A part of the minijinja language that these templates do not have.
    #[error("{what} is not supported: {instead}")]
    Unsupported { what: &'static str, instead: &'static str },
    #[error("unknown filter {}; available: {}{}", Quoted(name), known.join(", "), suggest(*nearest))]
    UnknownFilter { name: String, known: Vec<&'static str>, nearest: Option<&'static str> },
    #[error("unknown test {}; available: defined, undefined", Quoted(name))]
    UnknownTest { name: String },
    #[error("{what} {name}; available: {}{}", list(known, *more), suggest(nearest.as_deref()))]
    UnknownName {
        what: Unknown,
        name: Excerpt,
        /// The first known fields.
        known: Vec<String>,
        /// The number of the other known fields.
        more: usize,
        nearest: Option<String>,
    },
    #[error(
        "a template in a ConfigMap cannot use fields of other credentials: add their Secrets to .secret, as in alias=name, and use alias.field"
    )]
    ReferenceInConfigMap,
    /// Another credential without a field.
    #[error(
        "credentials[{name}] needs a field, as in credentials[{name}].password; a field of this credential whose name begins with `credentials.` is written fields[\"credentials.…\"]",
        name = Quoted(name)
    )]
    IncompleteReference { name: String },
    /// A name with `-`, which is a subtraction.
    #[error("values are text, which has no subtraction; a name that contains `-` is written {instead}")]
    Dash { instead: String },
    /// A computed field name. The message does not show it, because it may be secret.
    #[error("the value in brackets is not the name of a field")]
    UnknownItem,
    #[error(
        "{}", field.as_ref().map_or(
            "the value is binary: only b64encode can follow b64decode here".to_owned(),
            |name| format!("the value of field {} is binary; only b64encode can write it", Quoted(name))
        )
    )]
    Binary {
        /// `None` means that the value is computed.
        field: Option<String>,
    },
    #[error("fields is not text: name one field, or write {{% for name in fields %}}")]
    NotText,
    /// A value that the format of a filter cannot represent.
    #[error(
        "the value {} {what}, which {filter} cannot represent{}",
        if *is_at_end { "ends with" } else { "contains" },
        if *is_at_end { ": add .trim: \"true\", which removes it" } else { "" }
    )]
    Unrepresentable {
        filter: &'static str,
        what: &'static str,
        /// Whether it is a line break that `echo` or an editor has added.
        is_at_end: bool,
    },
    #[error("the text that replace searches for is empty")]
    EmptySearch,
    #[error("the value is not base64")]
    NotBase64,
    /// A limit that was exceeded while rendering.
    #[error("rendering takes more than {limit} {what}")]
    TooMuch { what: &'static str, limit: usize },
}

fn hint(message: &str, is_helm: bool) -> &'static str {
    match is_helm {
        true => {
            "; this looks like a Helm expression: render the chart with Helm first, or, if the file itself needs {{ }}, set .delimiters to other delimiters, such as [[ ]]"
        }
        false if message.starts_with("unknown statement") => "; available: if, for, set",
        false if message.ends_with("end of input, expected end of block") => {
            "; the end of an if, for or set block is missing: write {% endif %}, {% endfor %} or {% endset %}"
        }
        false => "",
    }
}

fn list(known: &[String], more: usize) -> String {
    if known.is_empty() { "none".to_owned() } else { and_more(known, more) }
}

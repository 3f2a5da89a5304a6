//! Why a format cannot represent the fields of a credential. Messages contain names of fields and options, never values.

use crate::credential::FieldName;
use crate::escape::Refused;
use crate::formats::field_alias::FieldAliases;
use crate::text::Quoted;

/// How many names a message lists before it only counts them.
const LISTED_NAMES: usize = 20;

/// Why fields cannot be written in a format.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// A value that is not text, in a text format.
    #[error(
        "the value of field {field} is binary, which this format cannot represent: exclude the field with .keys, or use format files"
    )]
    Binary { field: FieldName },
    #[error(
        "field {field} is not a valid environment variable name: rename it with .keys, for example {}={field}",
        env_name(field)
    )]
    InvalidEnvName { field: FieldName },
    #[error(
        "field {field} has the name of a variable that shells reserve: rename it with .keys, for example DB_{field}=<its key>"
    )]
    ReservedByShell { field: FieldName },
    /// A value that dotenv libraries read differently.
    #[error(
        "the value of field {field} contains {what}, which dotenv libraries read differently: use format env or json"
    )]
    NotPortable { field: FieldName, what: &'static str },
    /// A value that the kubelet rejects, or changes.
    #[error("the value of field {field} {problem}: {remedy}")]
    NotForKubelet { field: FieldName, problem: &'static str, remedy: &'static str },
    /// A value that cannot be escaped for the reader of this format.
    #[error(
        "the value of field {field} contains {what}, which this format cannot represent: use another format, or exclude the field with .keys"
    )]
    Unsupported { field: FieldName, what: &'static str },
    /// A field that a connection needs.
    #[error("missing field {aliases}; map it with .keys or .set; available: {}", listed(available))]
    MissingField { aliases: FieldAliases, available: Vec<String> },
    #[error("unknown database engine: add .engine, for example postgresql")]
    MissingEngine,
    /// A field with an unknown engine; its value may be anything, so it is not shown.
    #[error("the value of field {field} is not a supported engine: add .engine, for example postgresql")]
    UnknownEngine { field: FieldName },
    #[error("the value of field {field} is not {expected}")]
    InvalidField { field: FieldName, expected: &'static str },
    #[error("this format supports only one host for this engine, but the fields name several")]
    SeveralHosts,
    #[error("the host is a Unix socket path, which this format does not support for engine {engine}")]
    UnixSocket { engine: &'static str },
    #[error("option {} contains {what}, which this format cannot represent", Quoted(name))]
    UnsupportedOption { name: String, what: &'static str },
    #[error("format {format} does not support engine {engine}")]
    UnsupportedEngine { format: &'static str, engine: &'static str },
}

impl FormatError {
    /// Adds the field to the reason why its value cannot be escaped.
    pub(crate) fn unsupported(field: &FieldName, Refused(what): Refused) -> Self {
        Self::Unsupported { field: field.clone(), what }
    }
}

/// Formats names as "a, b" or, beyond [`LISTED_NAMES`], as "a, b and N more".
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() <= LISTED_NAMES => names.join(", "),
        names => {
            format!("{} and {} more", names[..LISTED_NAMES].join(", "), names.len() - LISTED_NAMES)
        }
    }
}

/// Suggests a valid environment variable name for a field.
fn env_name(field: &FieldName) -> String {
    let plain: String =
        field.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let digit_first = plain.starts_with(|c: char| c.is_ascii_digit());
    format!("{}{}", if digit_first { "_" } else { "" }, plain.to_ascii_uppercase())
}

//! How fields are written: one file per family of formats, which takes fields or a connection and appends bytes. Quoting rules
//! are in `escape`, the choice of the format and the paths of the files in `render`. This file has what all formats share: the
//! fields, and why a format cannot represent them. Pure: no I/O, no clock, no environment.

pub(crate) mod adonet;
pub(crate) mod connection;
mod hint;
pub(crate) mod jdbc;
pub(crate) mod libpq;
pub(crate) mod merge;
pub(crate) mod mycnf;
pub(crate) mod option_names;
pub(crate) mod options;
pub(crate) mod parts;
pub(crate) mod pkcs12;
pub(crate) mod text;
pub(crate) mod uri;

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::FieldName;
use crate::escape::Unrepresentable;
use crate::formats::hint::Hint;
pub(crate) use crate::formats::parts::is_part_of_connection;
use crate::formats::parts::{ENGINE, FieldAliases, HOST, PASSWORD, URI, USERNAME};
use crate::secret::SecretBytes;
use crate::text::{Quoted, and_more, one_line};

/// How many names a message lists before it only counts them.
const LISTED_NAMES: usize = 20;
/// How many characters of a name a message shows: the whole name, if it is a key that Kubernetes accepts.
const NAME_LENGTH: usize = 253;

/// The values of one credential, in order of field name.
pub(crate) type Fields<'a> = BTreeMap<FieldName, &'a SecretBytes>;

/// Returns a value as text without NUL, which no line of a text format can represent.
pub(crate) fn field_text<'a>(field: &FieldName, value: &'a SecretBytes) -> Result<&'a str, FormatError> {
    value
        .expose_text()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| FormatError::Binary { field: field.clone() })
}

/// Why fields cannot be written in a format. Messages contain names of fields and options, never values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// A value that is not text, in a text format.
    #[error(
        "the value of field {field} is binary, which this format cannot represent: exclude the field with .keys, or use format files"
    )]
    Binary { field: FieldName },
    /// The same, for a variable that an annotation other than `.keys` names.
    #[error("the value of variable {name} is binary, which a file of environment variables cannot represent")]
    BinaryVariable { name: FieldName },
    #[error(
        "field {field} is not a valid environment variable name: rename it with .keys, for example {}={key}{}",
        env_name(field),
        in_bulk(field, *is_named)
    )]
    InvalidEnvName { field: FieldName, key: String, is_named: bool },
    #[error(
        "field {field} has the name of a variable that shells or the dynamic linker act on: rename it with .keys, for example DB_{field}={key}{}",
        if *is_named { "" } else { ", or add .prefix: DB_" }
    )]
    ReservedByShell { field: FieldName, key: String, is_named: bool },
    /// The same, for a name that an annotation other than `.keys` chooses.
    #[error(
        "the annotations name variable {name}, which shells or the dynamic linker act on: choose another name"
    )]
    ReservedVariable { name: FieldName },
    /// A key that no annotation names, and whose variable may decide what code runs.
    #[error(
        "field {field} has the name of a variable that changes how programs run: rename it with .keys, for example DB_{field}={key}, or add .prefix: DB_; if you want to set that variable, list it there as {field}={key}"
    )]
    SettingOfPrograms { field: FieldName, key: String },
    /// A value that dotenv libraries read differently.
    #[error(
        "the value of field {field} contains {what}, which dotenv libraries read differently: use format env or json"
    )]
    NotPortable { field: FieldName, what: &'static str },
    /// The same, for a variable that an annotation other than `.keys` names.
    #[error(
        "the value of variable {name} contains {what}, which dotenv libraries read differently: {USE_EXEC}"
    )]
    NotPortableVariable { name: FieldName, what: &'static str },
    /// A value that the kubelet rejects, or changes.
    #[error("the value of field {field} {problem}: {remedy}")]
    NotForKubelet { field: FieldName, problem: &'static str, remedy: &'static str },
    /// The same, for a variable that an annotation other than `.keys` names.
    #[error("the value of variable {name} {problem}: {}", if *is_too_large { "remove .variable, and read the file" } else { USE_EXEC })]
    NotForKubeletVariable { name: FieldName, problem: &'static str, is_too_large: bool },
    /// A value that cannot be escaped for the reader of this format.
    #[error(
        "the value of field {field} contains {what}, which this format cannot represent: use another format, or exclude the field with .keys"
    )]
    Unsupported { field: FieldName, what: &'static str },
    /// As [`Self::Unsupported`], for a field or option of this name.
    #[error(
        "the value of field {name} ends with a line break, which this format cannot represent: add .trim: \"true\", which removes it"
    )]
    LineBreakAtEnd { name: String },
    /// A field that a connection needs.
    #[error(
        "missing field {aliases}: map it in .keys beside the other keys, as in {entry}{}; available: {available}{hint}",
        if [HOST, USERNAME].contains(aliases) { ", or write it in .set" } else { "" }
    )]
    MissingField {
        aliases: FieldAliases,
        /// The entry of `.keys` that would map it.
        entry: String,
        available: NameList,
        hint: Hint,
    },
    /// Neither a user nor a password, although the source is a Secret.
    #[error(
        "missing fields {USERNAME} and {PASSWORD}: map them in .keys beside the other keys, as in {entries}; if the server needs no login, list only the other keys; available: {available}{hint}"
    )]
    MissingLogin { entries: String, available: NameList, hint: Hint },
    #[error("missing database engine: add .engine, for example postgresql{hint}")]
    MissingEngine { hint: Hint },
    /// A field with an unknown engine; its value may be anything, so it is not shown.
    #[error("the value of field {field} is not a supported engine: add .engine, for example postgresql")]
    UnknownEngine { field: FieldName },
    #[error("the value of field {field} is not {expected}")]
    InvalidField { field: FieldName, expected: &'static str },
    /// A certificate, key or password that a key store cannot have.
    #[error("the value of field {field} {problem}")]
    Unusable { field: FieldName, problem: &'static str },
    /// An option that a source may not set. Its name is as secret as its value.
    #[error(
        "field {field} (or the query of the URI) contains an option that only annotations may set for engine {engine}, because it could redirect the connection or load code: give it an entry of its own in .set or .keys (docs/formats/options.md lists the options that need none){}",
        if *engine == "postgresql" { LIBPQ_OPTIONS } else { "" }
    )]
    ForbiddenOption { field: FieldName, engine: &'static str },
    /// More hosts or options than any client takes.
    #[error("with field {field}, the connection has more than {limit} {what}: remove some from that field")]
    TooMany { field: FieldName, limit: usize, what: &'static str },
    #[error(
        "the connection takes more than {limit} bytes: remove hosts or options, or use .keys to exclude fields that are not part of it"
    )]
    LongConnection { limit: usize },
    #[error("this format supports only one host for this engine, but the fields name several")]
    SeveralHosts,
    #[error("the host is a Unix socket path, which this format does not support for engine {engine}")]
    UnixSocket { engine: &'static str },
    #[error("option {} contains {what}, which this format cannot represent", Quoted(name))]
    UnsupportedOption { name: String, what: &'static str },
    #[error(
        "{} is not a valid option name for this format: write an option as the client spells it, and a part of the connection as username, password, host, port or database",
        Quoted(name)
    )]
    InvalidOptionName { name: String },
    #[error(
        "format {format} does not support engine {engine}: use format {}, or one that writes each field separately, such as env or json",
        if *format == "uri" { "jdbc" } else { "uri" }
    )]
    UnsupportedEngine { format: &'static str, engine: &'static str },
}

/// The remedy for a variable whose value only `env` can represent.
const USE_EXEC: &str = "set .variable-format: env, and start the application with podcreds exec";

/// How to set the parameter of libpq that has the name of a field of podcreds.
const LIBPQ_OPTIONS: &str = "; for libpq's own parameter options, write .set: options=options=-c%20search_path%3Dapp, and exclude a key options with .keys";

impl FormatError {
    /// Adds the field to the reason why its value cannot be escaped.
    pub(crate) fn unsupported(field: &FieldName, Unrepresentable(what): Unrepresentable) -> Self {
        Self::Unsupported { field: field.clone(), what }
    }

    /// Names the key of a field that is not a valid variable, which the message proposes for `.keys`.
    pub(crate) fn name_key(&mut self, find: &dyn Fn(&FieldName) -> Option<String>) {
        if let Self::InvalidEnvName { field, key, .. }
        | Self::ReservedByShell { field, key, .. }
        | Self::SettingOfPrograms { field, key } = self
        {
            *key = find(field).unwrap_or_else(|| std::mem::take(key));
        }
    }

    /// Whether a part of a connection is missing, or empty, which counts as missing.
    pub(crate) fn is_missing_part(&self) -> bool {
        matches!(self, Self::MissingField { .. } | Self::MissingLogin { .. } | Self::MissingEngine { .. })
    }

    /// Whether a value of this field would provide the missing part.
    pub(crate) fn may_be_provided_by(&self, field: &str) -> bool {
        let aliases = match self {
            Self::MissingField { aliases, .. } => *aliases,
            Self::MissingEngine { .. } => ENGINE,
            _ => return false,
        };
        aliases.contains(field) || URI.contains(field)
    }
}

/// Names for a message: "a, b", or "a, b and N more" beyond [`LISTED_NAMES`]. They may come from an object that anyone can
/// write, so each is shortened to one line, and no more than the listed ones are copied.
#[derive(Debug)]
pub(crate) struct NameList {
    names: Vec<String>,
    more: usize,
}

impl NameList {
    pub(crate) fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let mut rest = names.into_iter();
        let names =
            rest.by_ref().take(LISTED_NAMES).map(|name| one_line(name.as_ref(), NAME_LENGTH)).collect();
        Self { names, more: rest.count() }
    }

    pub(crate) fn first(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    pub(crate) fn is_one_without_name(&self) -> bool {
        self.more == 0 && matches!(self.names.as_slice(), [name] if name.is_empty())
    }
}

impl fmt::Display for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.names.as_slice(), self.more) {
            ([], _) => f.write_str("none"),
            (names, more) => f.write_str(&and_more(names, more)),
        }
    }
}

/// The annotation that renames such fields in bulk, for those that have the name of their key.
fn in_bulk(field: &FieldName, is_named: bool) -> &'static str {
    match field.as_str().starts_with(|c: char| c.is_ascii_digit()) {
        _ if is_named => "",
        true => ", or add a .prefix",
        false => ", or add .names: \"upper\"",
    }
}

/// Suggests a valid environment variable name for a field.
fn env_name(field: &FieldName) -> String {
    let plain: String =
        field.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let digit_first = plain.starts_with(|c: char| c.is_ascii_digit());
    format!("{}{}", if digit_first { "_" } else { "" }, plain.to_ascii_uppercase())
}

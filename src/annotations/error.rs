//! Errors in annotations. A message shows an [`Excerpt`] of a value, never the value: users put URLs with passwords into the wrong
//! annotation. The same holds for the errors of `credential` and `object` about these values.

use std::fmt;

use crate::annotations::keys::ListError;
use crate::credential::{
    Conflict, CredentialName, EngineError, EnvFileFormat, FieldName, FieldNameError, Format, HeaderError,
    ModeError, OnChangeError, PathError, RelativePath, SchemeError, SourceError, TemplateKeyError,
    UriTemplateError,
};
use crate::formats::option_names::OptionNameError;
use crate::object::NameError;
use crate::template::{DelimitersError, TemplateError};
use crate::text::{Excerpt, RedactedPrefix, list, suggest};

/// All errors in a pod's annotations; never empty.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [error] => return write!(f, "invalid annotation: {error}"),
            errors => write!(f, "{} invalid annotations:\n  ", errors.len())?,
        }
        list(f, &self.0)
    }
}

/// An invalid or missing annotation.
#[derive(Debug)]
pub struct Error {
    annotation: String,
    problem: Problem,
    /// What the value looks like, if it looks like something that belongs elsewhere.
    pub(super) hint: &'static str,
}

impl Error {
    /// `annotation` is the full key, prefix included.
    pub(crate) fn new(annotation: &str, problem: Problem) -> Self {
        Self { annotation: annotation.to_owned(), problem, hint: "" }
    }

    /// The full key, or its beginning if a whole group of annotations is wrong.
    pub(crate) fn annotation(&self) -> &str {
        &self.annotation
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        if self.annotation.len() <= 320 && self.annotation.bytes().all(plain) {
            f.write_str(&self.annotation)?;
        } else {
            write!(f, "{}", RedactedPrefix(&self.annotation))?;
        }
        write!(f, ": {}{}", self.problem, self.hint)
    }
}

/// What to do if an annotation key is the name of a field, as in `podcreds.io/db.password`.
fn value_hint(key: &str) -> &'static str {
    match key {
        "username" | "user" | "password" | "host" | "port" | "database" | "dbname" | "uri" => {
            ": values come from the Secret that .secret names; literals, which must not be secret, belong in .set"
        }
        _ => "",
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// `podcreds.io/secret` instead of `podcreds.io/db.secret`.
    #[error("missing credential name: write {suggestion}")]
    MissingName { suggestion: String },
    /// The part before the dot.
    #[error(
        "invalid credential name {}: use lower-case letters, digits, `-` and `_`, at most 40 characters, with a letter or digit at both ends",
        RedactedPrefix(name)
    )]
    InvalidName { name: String },
    /// The part after the dot.
    #[error("unknown annotation key {}{}{}", RedactedPrefix(key), suggest(*nearest), value_hint(key))]
    UnknownKey { key: String, nearest: Option<&'static str> },
    #[error(
        "unknown format {format} (supported: {}){}",
        Format::ALL.map(|(name, _)| name).join(", "),
        suggest(*nearest)
    )]
    UnknownFormat { format: Excerpt, nearest: Option<&'static str> },
    #[error(
        "unknown variable format {format} (supported: {}){}",
        EnvFileFormat::ALL.map(|file| file.format().name()).join(", "),
        suggest(*nearest)
    )]
    UnknownVariableFormat { format: Excerpt, nearest: Option<&'static str> },
    #[error("unknown cluster {id}: not in the clusters file{}", suggest(nearest.as_deref()))]
    UnknownCluster { id: Excerpt, nearest: Option<String> },
    /// `.cluster` without any clusters.
    #[error("unknown cluster {id}: no clusters file given (--clusters)")]
    NoClusters { id: Excerpt },
    #[error(
        "no source: add .secret, .configmap or .service to credential {name} (.set alone is not a source)"
    )]
    NoSource { name: CredentialName },
    /// vault-db-injector's `.role` without a source.
    #[error(
        "a Vault role alone is not supported (podcreds does not talk to Vault): add .secret to credential {name}, with the Secret that holds user and password"
    )]
    VaultRole { name: CredentialName },
    #[error(
        "invalid environment variable name {name}: use letters, digits and `_`, with commas between names"
    )]
    InvalidVariable { name: Excerpt },
    #[error(transparent)]
    Uri(#[from] UriTemplateError),
    /// The name of a cluster or namespace.
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "invalid prefix {text}: use at most 100 letters, digits, `-`, `_` and `.`, not beginning with `..`"
    )]
    InvalidPrefix { text: Excerpt },
    #[error(
        "must be \"upper\", which names db-user DB_USER, not {text}: remove the annotation to keep the names as they are"
    )]
    InvalidNames { text: Excerpt },
    #[error(transparent)]
    Field(#[from] FieldNameError),
    #[error(transparent)]
    List(#[from] ListError),
    /// `podcreds.io/my.db.secret` instead of `podcreds.io/my-db.secret`.
    #[error("the name of a credential cannot contain a dot: write {suggestion}")]
    DottedName { suggestion: String },
    /// A prefix of variables with characters that they cannot have.
    #[error(
        "is not valid in the name of an environment variable: write a prefix of letters, digits and `_`, such as {suggestion}{}",
        if *is_upper { "" } else { ", and add .names: \"upper\" if the keys contain other characters too" }
    )]
    PrefixOfVariables { suggestion: String, is_upper: bool },
    /// A key in `.keys` without the alias of a source, where every source has one.
    #[error("key {key} does not begin with an alias ({aliases}){remedy}")]
    NoAlias { key: String, aliases: String, remedy: String },
    #[error("duplicate field {field}")]
    DuplicateField { field: FieldName },
    #[error(
        "duplicate field {field}, which .keys names: remove one of them, or move this one to .override, which replaces the value of the source"
    )]
    SetAndListed { field: FieldName },
    #[error("field {field} is in .set too: write it in one of them, .override if a source has the field")]
    SetTwice { field: FieldName },
    #[error(transparent)]
    OptionName(OptionNameError),
    #[error(transparent)]
    Path(#[from] PathError),
    /// Two credentials that write to the same path, or the same entry of a file.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    OnChange(#[from] OnChangeError),
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// `.on-change` touches a file that a credential writes.
    #[error("touches {path}, which credential {other} writes: choose another name")]
    TouchesCredential { path: RelativePath, other: CredentialName },
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    TemplateKey(#[from] TemplateKeyError),
    #[error(transparent)]
    Delimiters(#[from] DelimitersError),
    /// An annotation that conflicts with another one, or requires one that is missing.
    #[error("{0}")]
    Combination(&'static str),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    #[error(transparent)]
    Mode(#[from] ModeError),
    #[error(
        "conflicts with credential {other}, which writes the same file {path} with a different mode: give both the same .file-mode"
    )]
    ModeConflict { path: RelativePath, other: CredentialName },
    #[error(
        "invalid duration {text}: write a number with its unit, such as 500ms, 30s or 1m30s, up to a year"
    )]
    InvalidDuration { text: Excerpt },
    #[error("must be \"true\" or \"false\", not {text}")]
    InvalidBoolean { text: Excerpt },
    #[error("is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
}

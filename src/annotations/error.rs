//! What can be wrong with annotations. Values are shown only where they cannot be secret.

use std::fmt;

use crate::annotations::list::ListError;
use crate::credential::{
    Conflict, CredentialName, EngineError, FieldName, FieldNameError, ModeError, OnChangeError, PathError,
    RelativePath, ServicePortError, TemplateKeyError, UriTemplateError,
};
use crate::object::NameError;
use crate::template::{DelimitersError, TemplateError};
use crate::text::{Quoted, list, suggest};

/// Every error of a pod's annotations: at least one.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [error] => return write!(f, "wrong annotation: {error}"),
            errors => write!(f, "{} wrong annotations:\n  ", errors.len())?,
        }
        list(f, &self.0)
    }
}

/// One wrong annotation.
#[derive(Debug)]
pub struct Error {
    annotation: String,
    problem: Problem,
}

impl Error {
    /// What is wrong with the annotation of this whole name.
    pub(crate) fn new(annotation: &str, problem: Problem) -> Self {
        Self { annotation: annotation.to_owned(), problem }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        if self.annotation.len() <= 320 && self.annotation.bytes().all(plain) {
            write!(f, "{}: {}", self.annotation, self.problem)
        } else {
            write!(f, "{}: {}", Quoted(&self.annotation), self.problem)
        }
    }
}

/// What is wrong with an annotation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// `podcreds.io/secret` instead of `podcreds.io/db.secret`.
    #[error("names no credential: write {right}")]
    NoName {
        /// What would be right.
        right: String,
    },
    /// The part before the dot.
    #[error(
        "{} is no name of a credential: lower-case letters, digits, `-` and `_`, at most 40, with a letter or digit at both ends",
        Quoted(name)
    )]
    BadName {
        /// What stands there.
        name: String,
    },
    /// The part after the dot.
    #[error("{} is no word that podcreds knows{}", Quoted(word), suggest(*nearest))]
    UnknownWord {
        /// What stands there.
        word: String,
        /// The nearest word that exists.
        nearest: Option<&'static str>,
    },
    /// A value of `.format`.
    #[error(
        "{} is no format (files, env, dotenv, envfile, json, yaml, properties, uri, jdbc, libpq, pgpass, pgservice, mycnf, template){}",
        Quoted(format),
        suggest(*nearest)
    )]
    UnknownFormat {
        /// What stands there.
        format: String,
        /// The nearest format that exists.
        nearest: Option<&'static str>,
    },
    /// A value of `.variable-format`.
    #[error(
        "{} is not a format that sets variables (env, dotenv, envfile){}",
        Quoted(format),
        suggest(*nearest)
    )]
    UnknownVariableFormat {
        /// The value.
        format: String,
        /// The nearest format that exists.
        nearest: Option<&'static str>,
    },
    /// A value of `.cluster`.
    #[error("{}{}", Quoted(id), unknown_cluster(nearest.as_deref(), *has_clusters))]
    UnknownCluster {
        /// What stands there.
        id: String,
        /// The nearest id that there is.
        nearest: Option<String>,
        /// Whether there is any.
        has_clusters: bool,
    },
    /// Neither `.secret` nor `.configmap` nor `.service`.
    #[error("names no source: add .secret, .configmap or .service to credential {name} (.set alone is none)")]
    NoSource {
        /// The credential.
        name: CredentialName,
    },
    /// A role of Vault and no Secret.
    #[error(
        "has a role of Vault, which podcreds does not ask: add .secret to credential {name}, with the Secret that holds user and password"
    )]
    NoVault {
        /// The credential.
        name: CredentialName,
    },
    /// The name of no variable.
    #[error("{} is no name of a variable: letters, digits and `_`, with commas between names", Quoted(text))]
    NoVariable {
        /// What stands there.
        text: String,
    },
    /// A URI without its user.
    #[error(transparent)]
    Uri(#[from] UriTemplateError),
    /// The name of a Secret, ConfigMap or namespace.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `.service`.
    #[error(transparent)]
    Service(#[from] ServicePortError),
    /// The name of a field or key.
    #[error(transparent)]
    Field(#[from] FieldNameError),
    /// The grammar of `.keys` or `.set`.
    #[error(transparent)]
    List(#[from] ListError),
    /// A field that is given more than once.
    #[error("field {field} is given twice")]
    Twice {
        /// The field.
        field: FieldName,
    },
    /// A path that leaves the volume.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path that two credentials want.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// `.on-change`.
    #[error(transparent)]
    OnChange(#[from] OnChangeError),
    /// A file to touch that a credential writes.
    #[error("touches {path}, which credential {other} writes: choose another name")]
    Touched {
        /// The file.
        path: RelativePath,
        /// The credential.
        other: CredentialName,
    },
    /// `.template`.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// `.template-from`.
    #[error(transparent)]
    TemplateKey(#[from] TemplateKeyError),
    /// `.delimiters`.
    #[error(transparent)]
    Delimiters(#[from] DelimitersError),
    /// An annotation that does not go with another one, or not without it.
    #[error("{problem}")]
    Together {
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// `.engine`.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// `.file-mode`.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// Another mode than that of a credential that writes the same file.
    #[error("is another one than that of credential {other}, which adds to the same file {path}")]
    OtherMode {
        /// The file.
        path: RelativePath,
        /// The credential.
        other: CredentialName,
    },
    /// Neither `true` nor `false`.
    #[error("{} is neither \"true\" nor \"false\"", Quoted(text))]
    NotBoolean {
        /// What stands there.
        text: String,
    },
    /// A value beyond its bound.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// More of something than its bound.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

fn unknown_cluster(nearest: Option<&str>, has_clusters: bool) -> String {
    match has_clusters {
        true => format!(" is no cluster of the clusters file{}", suggest(nearest)),
        false => " is a cluster that nothing describes: name a clusters file with --clusters".to_owned(),
    }
}

//! Why a credential cannot be rendered. Messages contain names of objects, keys and fields, never values.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::{
    Conflict, Credential, CredentialName, FieldName, FieldNameError, JsonPointer, KeyMapping,
};
use crate::formats::{FormatError, NameList};
use crate::object::{Kind, ObjectRef};
use crate::render::json::JsonProblem;
use crate::render::missing_key::MissingKey;
use crate::template::TemplateError;
use crate::text::{Quoted, list as list_errors, one_line};

/// Every reason why a bundle cannot be rendered; there is at least one.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_errors(f, &self.0)
    }
}

impl Errors {
    /// Whether a credential could be rendered if others took less room.
    pub(crate) fn is_too_large(&self) -> bool {
        self.0.iter().any(|error| error.problem.is_too_large())
    }

    /// Whether all credentials lack only what their sources may still get: keys, ports and values that an operator adds in steps.
    pub(crate) fn are_incomplete_input(&self, credentials: &[Credential]) -> bool {
        let is_incomplete = |error: &Error| {
            let mut named = credentials.iter().filter(|credential| credential.name == error.credential);
            named.any(|credential| error.problem.is_incomplete_input(credential))
        };
        self.0.iter().all(is_incomplete)
    }

    /// Whether the credential is one of those that cannot be rendered.
    pub(crate) fn concern(&self, credential: &Credential) -> bool {
        self.0.iter().any(|error| error.credential == credential.name)
    }

    /// The errors of each credential that cannot be rendered.
    pub(crate) fn by_credential(self) -> BTreeMap<String, Self> {
        let mut errors = BTreeMap::<_, Self>::new();
        for error in self.0 {
            let name = error.credential.to_string();
            errors.entry(name).or_insert_with(|| Self(Vec::new())).0.push(error);
        }
        errors
    }
}

/// Why one credential cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("credential {credential}: {problem}")]
pub struct Error {
    credential: CredentialName,
    problem: Problem,
}

impl Error {
    pub(crate) fn new(credential: &CredentialName, problem: Problem) -> Self {
        Self { credential: credential.clone(), problem }
    }

    pub(crate) fn credential(&self) -> &CredentialName {
        &self.credential
    }
}

/// What is wrong with a credential and its sources.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A key of `.keys`, or that of a template, that does not exist.
    #[error("{0}")]
    MissingKey(Box<MissingKey>),
    /// A field of `.override` that no source has: a misspelling, or a field that is to be added.
    #[error(
        ".override replaces fields of the sources, and none has field {field}{}: correct the name, or write it in .set to add it; available: {available}",
        alias.iter().map(|alias| format!(" (it is called {alias})")).collect::<String>()
    )]
    NothingToOverride { field: FieldName, alias: Option<FieldName>, available: NameList },
    /// A value inside the JSON of a key.
    #[error(transparent)]
    Json(Box<JsonProblem>),
    #[error(
        "the values that .trim shortens and that .keys selects inside JSON and URLs exceed the limit of {limit} bytes: select fewer or smaller ones with .keys"
    )]
    LargeValues { limit: usize },
    #[error(
        "more than {limit} fields: list only the needed keys in .keys, also in that of each credential that the template refers to"
    )]
    TooManyFields { limit: usize },
    /// A Secret without keys: an operator may not have filled it yet, and files without content would replace the current ones.
    #[error(
        "{object} has no keys, so it provides no fields: check its name, and the operator or job that should fill it"
    )]
    NoKeys { object: ObjectRef },
    #[error("field {field} comes from {first} and from {second}: {remedy}")]
    DuplicateField { field: FieldName, first: String, second: String, remedy: &'static str },
    /// A port of `.service` that the Service does not have.
    #[error("{service} has no port {}; available: {}", Quoted(port), ports(available))]
    MissingPort {
        service: ObjectRef,
        port: String,
        /// Names of ports; a port without a name has an empty one.
        available: NameList,
    },
    /// A Service with several ports, none of which `.service` selects.
    #[error(
        "{service} has several ports ({}): choose one in .service, for example {}/{}:{}",
        ports(available),
        service.namespace,
        service.name(),
        available.first()
    )]
    AmbiguousPort { service: ObjectRef, available: NameList },
    /// A key that cannot be a field. Kubernetes itself would reject it.
    #[error("{object}: {cause}")]
    InvalidKey { object: ObjectRef, cause: FieldNameError },
    /// Fields that the format cannot represent.
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{}{cause}", template(location.as_ref()))]
    Template {
        /// The ConfigMap and its key. `None` means that the template is in the annotation.
        location: Option<(ObjectRef, FieldName)>,
        cause: TemplateError,
    },
    #[error(".on-change-header: {0}")]
    Header(TemplateError),
    /// A value that a header cannot carry.
    #[error(
        ".on-change-header: {fields} a line break or another control character, which a header cannot carry{}",
        if *has_end { ": set .trim: \"true\" to remove the line break at the end of the value" } else { "" }
    )]
    HeaderValue { fields: String, has_end: bool },
    #[error(".on-change-header: the header is longer than {limit} bytes")]
    LongHeader { limit: usize },
    #[error("{object}, key {key}: the template is not text")]
    BinaryTemplate { object: ObjectRef, key: FieldName },
    /// A path, or an entry of a file, that two credentials write.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(
        "with this credential, the files of all credentials exceed the limit of {limit} {unit}: remove credentials, or select fewer keys with .keys"
    )]
    TooLarge { limit: usize, unit: &'static str },
}

impl Problem {
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }

    pub(crate) fn is_missing_part(&self) -> bool {
        matches!(self, Self::Format(error) if error.is_missing_part())
    }

    /// Whether the credential could be rendered if its sources had more keys, ports or values. If `.keys` lists the fields, only
    /// those can get a value, and a template that uses another one is wrong.
    fn is_incomplete_input(&self, credential: &Credential) -> bool {
        let has_keys = |object: &ObjectRef| object.kind != Kind::Service;
        let takes_all = |credential: &Credential| {
            credential.key_mapping == KeyMapping::All && credential.source_objects().any(has_keys)
        };
        match self {
            Self::MissingKey(_) | Self::NoKeys { .. } | Self::MissingPort { .. } => true,
            Self::NothingToOverride { .. } => true,
            Self::Json(problem) => problem.cause.is_missing(),
            Self::Format(error) if takes_all(credential) => error.is_missing_part(),
            Self::Format(error) => {
                credential.named_fields().any(|field| error.may_be_provided_by(field.as_str()))
            }
            Self::Template { cause, .. } | Self::Header(cause) if cause.is_unknown_field() => {
                takes_all(credential)
            }
            Self::Template { cause, .. } | Self::Header(cause) => {
                let lacks_field =
                    |other: &Credential| takes_all(other) && cause.is_unknown_field_of(other.name.as_str());
                lacks_field(credential) || credential.others.iter().any(|other| lacks_field(other))
            }
            _ => false,
        }
    }
}

fn template(location: Option<&(ObjectRef, FieldName)>) -> String {
    location.map_or("the template: ".to_owned(), |(object, key)| format!("{object}, key {key}: "))
}

/// The most characters of a JSON pointer that a message shows.
const POINTER_LENGTH: usize = 253;

pub(crate) fn shown_pointer(pointer: &JsonPointer) -> String {
    match pointer.tokens() {
        [] => "\"\"".to_owned(),
        _ => one_line(&pointer.to_string(), POINTER_LENGTH),
    }
}

/// Joins the names of objects for a sentence.
pub(crate) fn and<'a>(objects: impl IntoIterator<Item = &'a ObjectRef>) -> String {
    objects.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// Lists the ports of a Service. Only a single port may be unnamed.
fn ports(available: &NameList) -> String {
    match available.is_one_without_name() {
        true => "one unnamed port, which is used if .service names none".to_owned(),
        false => available.to_string(),
    }
}

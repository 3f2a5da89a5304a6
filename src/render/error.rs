//! Why a credential cannot be rendered. Names of fields and keys are shown, values never.

use std::fmt;

use crate::credential::{Conflict, CredentialName, FieldName, FieldNameError};
use crate::object::ObjectRef;
use crate::render::part::Part;
use crate::template::TemplateError;
use crate::text::{Quoted, list as list_errors};

/// How many keys of an object are listed to help find the right one.
pub(crate) const LISTED_KEYS: usize = 20;

/// The most of a key that a message shows, in characters: all of a key that Kubernetes accepts.
pub(crate) const KEY_SHOWN: usize = 253;

/// Every reason why a bundle cannot be rendered: at least one.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_errors(f, &self.0)
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
    /// What is wrong with the credential of this name.
    pub(crate) fn new(credential: &CredentialName, problem: Problem) -> Self {
        Self { credential: credential.clone(), problem }
    }
}

/// What is wrong with a credential and its sources.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// A key of `.keys` that no source has.
    #[error("{} has no key {key}; it has {}", names(sources), list(present, *more))]
    NoKey {
        /// Where it was looked for.
        sources: Vec<ObjectRef>,
        /// The key.
        key: FieldName,
        /// Some of the keys that are there.
        present: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// A field that two sources give.
    #[error("field {field} comes from {first} and from {second}: {remedy}")]
    TwoSources {
        /// The field.
        field: FieldName,
        /// One source.
        first: String,
        /// The other.
        second: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A port of `.service` that the Service does not have.
    #[error("{service} has no port {}; it has {}", Quoted(port), ports(present))]
    NoPort {
        /// The Service.
        service: ObjectRef,
        /// The name or number that was asked for.
        port: String,
        /// The names of the ports that are there; that of a port without a name is empty.
        present: Vec<String>,
    },
    /// A Service with several ports, of which `.service` names none.
    #[error(
        "{service} has the ports {}: choose one in .service, for example {}/{}:{}",
        ports(present),
        service.namespace,
        service.name(),
        present.first().map_or("", String::as_str)
    )]
    WhichPort {
        /// The Service.
        service: ObjectRef,
        /// The names of its ports.
        present: Vec<String>,
    },
    /// A key that cannot be a field, which Kubernetes itself would not accept.
    #[error("{object}: {cause}")]
    BadKey {
        /// The object.
        object: ObjectRef,
        /// What is wrong with the key.
        cause: FieldNameError,
    },
    /// Bytes in a text format.
    #[error(
        "the value of field {field} is binary, which this format cannot carry: take another format, or leave the field out with .keys, or use format files"
    )]
    Binary {
        /// The field.
        field: FieldName,
    },
    /// A field whose name is no variable's.
    #[error(
        "field {field} is no variable name: rename it with .keys, for example {}={field}",
        variable_name(field)
    )]
    NotAVariable {
        /// The field.
        field: FieldName,
    },
    /// A field whose name is a variable that shells compute or act upon.
    #[error(
        "field {field} has the name of a variable that belongs to a shell: rename it with .keys, for example DB_{field}=<its key>"
    )]
    ShellsOwn {
        /// The field.
        field: FieldName,
    },
    /// A value on which dotenv libraries differ.
    #[error(
        "the value of field {field} holds {what}, which dotenv libraries read differently: use format env or json"
    )]
    NotPortable {
        /// The field.
        field: FieldName,
        /// What is in it.
        what: &'static str,
    },
    /// A value that the kubelet cannot read from an env file, or reads as another one.
    #[error("the value of field {field} {what}: {remedy}")]
    NotForKubelet {
        /// The field.
        field: FieldName,
        /// What is wrong with it.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A value that its reader cannot take.
    #[error(
        "the value of field {field} holds {what}, which this format cannot carry: take another format, or leave the field out with .keys"
    )]
    Refused {
        /// The field.
        field: FieldName,
        /// What is in it.
        what: &'static str,
    },
    /// A part of a connection that no field has.
    #[error("there is no field {}; name it with .keys or .set: there {}", alternatives(*part), there_is(present))]
    NoPart {
        /// The part.
        part: Part,
        /// The fields that there are.
        present: Vec<String>,
    },
    /// Neither annotation nor field says which database it is.
    #[error("nothing says which database this is: add .engine, for example postgresql")]
    NoEngine,
    /// A field that names an unknown database; its value may be anything.
    #[error(
        "the value of field {field} is no engine that podcreds knows: add .engine, for example postgresql"
    )]
    UnknownEngine {
        /// The field.
        field: FieldName,
    },
    /// A part that cannot be one.
    #[error("the value of field {field} is not {form}")]
    BadPart {
        /// The field.
        field: FieldName,
        /// What it should be.
        form: &'static str,
    },
    /// More than one host for an address that has one.
    #[error("there are several hosts, and this format has one for this engine")]
    SeveralHosts,
    /// A Unix socket in an address that has none.
    #[error("the host is the path of a Unix socket, which this format cannot say for engine {engine}")]
    NoSockets {
        /// The engine.
        engine: &'static str,
    },
    /// An option that this format cannot carry.
    #[error("option {} holds {what}, which this format cannot carry", Quoted(name))]
    BadOption {
        /// Its name.
        name: String,
        /// What is in it.
        what: &'static str,
    },
    /// An engine without such an address.
    #[error("format {format} is not for engine {engine}")]
    NotForEngine {
        /// The format.
        format: &'static str,
        /// The engine.
        engine: &'static str,
    },
    /// What is wrong with a template, and where.
    #[error("{}{cause}", template(from.as_ref()))]
    Template {
        /// The ConfigMap and its key, unless it is the annotation itself.
        from: Option<(ObjectRef, FieldName)>,
        /// What and where.
        cause: TemplateError,
    },
    /// A template that is no text.
    #[error("{object}, key {key}: the template is no text")]
    BinaryTemplate {
        /// The ConfigMap.
        object: ObjectRef,
        /// Its key.
        key: FieldName,
    },
    /// A path that two credentials write.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A bundle beyond its bound.
    #[error("with it, there are more than {limit} {what} together")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

fn template(from: Option<&(ObjectRef, FieldName)>) -> String {
    from.map_or("the template: ".to_owned(), |(object, key)| format!("{object}, key {key}: "))
}

fn alternatives(part: Part) -> String {
    match part.0 {
        [name] => (*name).to_owned(),
        [first, rest @ ..] => format!("{first} (or {})", rest.join(", ")),
        [] => String::new(),
    }
}

fn there_is(present: &[String]) -> String {
    match present {
        [] => "is none".to_owned(),
        [one] => format!("is {one}"),
        several => {
            let more = several.len().saturating_sub(LISTED_KEYS);
            format!("are {}", list(&several[..several.len() - more], more))
        }
    }
}

pub(crate) fn names<'a>(sources: impl IntoIterator<Item = &'a ObjectRef>) -> String {
    sources.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// The names of a Service's ports; only a port that is alone may have none.
fn ports(present: &[String]) -> String {
    match present {
        [name] if name.is_empty() => "one without a name, which is meant where none is asked for".to_owned(),
        names => {
            let more = names.len().saturating_sub(LISTED_KEYS);
            list(&names[..names.len() - more], more)
        }
    }
}

fn list(keys: &[String], more: usize) -> String {
    match (keys, more) {
        ([], _) => "none".to_owned(),
        (keys, 0) => keys.join(", "),
        (keys, more) => format!("{} and {more} more", keys.join(", ")),
    }
}

fn variable_name(field: &FieldName) -> String {
    let plain: String =
        field.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let digit_first = plain.starts_with(|c: char| c.is_ascii_digit());
    format!("{}{}", if digit_first { "_" } else { "" }, plain.to_ascii_uppercase())
}

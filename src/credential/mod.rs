//! A credential as its annotations describe it: everything checked that can be checked without its values.
//! Making one from text is the work of `annotations`, making files from one the work of `render`.

mod engine;
mod mode;
mod name;
mod on_change;
mod path;
mod service;
mod template;
mod variable;
mod variables;

pub use engine::Engine;
pub(crate) use engine::EngineError;
pub(crate) use mode::{FileMode, ModeError};
pub(crate) use name::{CredentialName, FieldName, FieldNameError};
pub(crate) use on_change::{OnChange, OnChangeError, SignalName};
pub use path::RelativePath;
pub(crate) use path::{Conflict, PathClaims, PathError};
pub(crate) use service::{ServicePort, ServicePortError};
pub(crate) use template::{TemplateKeyError, TemplateSource, parse_template_key};
pub(crate) use variable::{is_shells_own, is_variable};
pub(crate) use variables::{UriTemplate, UriTemplateError, Variables};

use crate::object::ObjectRef;
use crate::secret::SecretBytes;

/// A named group of annotations: where its fields come from and the one output that they become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name, the part before the dot in `podcreds.io/<name>.<word>`.
    pub(crate) name: CredentialName,
    /// The Secret, the ConfigMap, or both: at least one, unless there is a Service.
    pub(crate) sources: Vec<ObjectRef>,
    /// The Service that gives host and port.
    pub(crate) service: Option<ServicePort>,
    /// Which keys of the sources become fields.
    pub(crate) keys: Keys,
    /// Fields given in the annotations themselves. Somebody may have put a password there, so they are secret too.
    pub(crate) literals: Vec<(FieldName, SecretBytes)>,
    /// What is written.
    pub(crate) format: Format,
    /// The template: there is one for [`Format::Template`], and for no other.
    pub(crate) template: Option<TemplateSource>,
    /// The variables of an [`Format::Env`] file that are not the fields under their own names.
    pub(crate) variables: Option<Variables>,
    /// The variables that get the text of this format; `None` means a file with the text alone.
    pub(crate) exported: Option<Exported>,
    /// The database, where the annotations name it.
    pub(crate) engine: Option<Engine>,
    /// The file, or for [`Format::Files`] the folder.
    pub path: RelativePath,
    /// The mode of its files; none means the volume's default.
    pub(crate) mode: Option<FileMode>,
    /// Whether a missing source or key is no error.
    pub(crate) optional: bool,
    /// What is done after a rotation.
    pub(crate) on_change: Option<OnChange>,
}

impl Credential {
    /// Whether what is written is an `env` file.
    pub(crate) fn is_environment(&self) -> bool {
        let sets = |exported: &Exported| exported.file == VariableFile::Env;
        self.format == Format::Env || self.exported.as_ref().is_some_and(sets)
    }

    /// Whether the kubelet is to read what is written.
    pub(crate) fn is_for_kubelet(&self) -> bool {
        let sets = |exported: &Exported| exported.file == VariableFile::Envfile;
        self.format == Format::Envfile || self.exported.as_ref().is_some_and(sets)
    }

    /// Whether the file or folder at this path is its own, or holds something of it.
    pub(crate) fn owns(&self, path: &str) -> bool {
        let own = self.path.to_string();
        let is_below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_below(path, &own) || is_below(&own, path)
    }

    /// Whether a file at this path can have been written for it.
    pub(crate) fn writes(&self, path: &RelativePath) -> bool {
        match self.format {
            Format::Files => path
                .to_string()
                .strip_prefix(&self.path.to_string())
                .is_some_and(|rest| rest.starts_with('/')),
            _ => *path == self.path,
        }
    }

    /// Every object that it is made from: its sources, and the ConfigMap of its template.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.source_objects().chain(self.template_object())
    }

    /// Every object that gives it fields.
    pub(crate) fn source_objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.sources.iter().chain(self.service.as_ref().map(|service| &service.object))
    }

    /// The ConfigMap that its template is read from.
    pub(crate) fn template_object(&self) -> Option<&ObjectRef> {
        match &self.template {
            Some(TemplateSource::ConfigMap { object, .. }) => Some(object),
            Some(TemplateSource::Text(_)) | None => None,
        }
    }
}

/// Variables that a file sets to the text of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exported {
    /// At least one.
    pub(crate) names: Vec<FieldName>,
    /// The kind of file.
    pub(crate) file: VariableFile,
}

/// A file that sets variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum VariableFile {
    /// As [`Format::Env`].
    #[default]
    Env,
    /// As [`Format::Dotenv`].
    Dotenv,
    /// As [`Format::Envfile`].
    Envfile,
}

impl VariableFile {
    /// Every kind.
    pub(crate) const ALL: [Self; 3] = [Self::Env, Self::Dotenv, Self::Envfile];

    /// The format that writes fields to such a file.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Env => Format::Env,
            Self::Dotenv => Format::Dotenv,
            Self::Envfile => Format::Envfile,
        }
    }
}

/// Which keys of the sources become fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All, under their own names.
    All,
    /// These, each as (field, key).
    Listed(Vec<(FieldName, FieldName)>),
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A folder with one file a field, byte for byte.
    Files,
    /// `export NAME='value'` lines for a POSIX shell.
    Env,
    /// `NAME='value'` lines for dotenv libraries.
    Dotenv,
    /// `NAME='value'` lines for the kubelet (`fileKeyRef`).
    Envfile,
    /// A JSON object of strings.
    Json,
    /// A YAML mapping of strings.
    Yaml,
    /// A Java properties file.
    Properties,
    /// A URI with the password in it.
    Uri,
    /// A JDBC URL with the password in it.
    Jdbc,
    /// A keyword/value connection string of libpq.
    Libpq,
    /// A password file of libpq.
    Pgpass,
    /// A connection service file of libpq.
    Pgservice,
    /// An option file of MySQL and MariaDB.
    Mycnf,
    /// What a template makes of the fields.
    Template,
}

impl Format {
    /// Every format, as `.format` spells it.
    pub const ALL: [(&'static str, Self); 14] = [
        ("files", Self::Files),
        ("env", Self::Env),
        ("dotenv", Self::Dotenv),
        ("envfile", Self::Envfile),
        ("json", Self::Json),
        ("yaml", Self::Yaml),
        ("properties", Self::Properties),
        ("uri", Self::Uri),
        ("jdbc", Self::Jdbc),
        ("libpq", Self::Libpq),
        ("pgpass", Self::Pgpass),
        ("pgservice", Self::Pgservice),
        ("mycnf", Self::Mycnf),
        ("template", Self::Template),
    ];

    /// Whether it is one text without an end of line, which a variable can hold too.
    pub(crate) fn is_one_text(self) -> bool {
        matches!(self, Self::Uri | Self::Jdbc | Self::Libpq)
    }

    /// Its name, as `.format` spells it.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Whether several credentials may write one file, each its own entries.
    pub(crate) fn has_entries(self) -> bool {
        matches!(self, Self::Pgpass | Self::Pgservice)
    }

    /// The mode that its readers insist on, whatever the volume is like.
    pub(crate) fn default_mode(self) -> Option<FileMode> {
        match self {
            Self::Pgpass => Some(FileMode::OWNER),
            _ => None,
        }
    }

    /// Where a credential goes that has no `.path`.
    pub(crate) fn default_path(self, name: &CredentialName) -> String {
        let ending = match self {
            Self::Files => "",
            Self::Env | Self::Dotenv => ".env",
            // `podcreds exec` reads what ends in `.env`.
            Self::Envfile => ".envfile",
            Self::Json => ".json",
            Self::Yaml => ".yaml",
            Self::Properties => ".properties",
            Self::Uri => ".uri",
            Self::Jdbc => ".jdbc",
            Self::Libpq => ".libpq",
            Self::Pgpass => ".pgpass",
            Self::Pgservice => ".pgservice",
            Self::Mycnf => ".cnf",
            Self::Template => ".txt",
        };
        format!("{name}{ending}")
    }
}

//! Credentials as their annotations describe them, validated as far as possible without the values. `annotations` parses
//! them, `render` turns them into files.

mod engine;
mod injector_env;
mod names;
mod on_change;
mod output;
mod path;
mod source;

pub use engine::Engine;
pub(crate) use engine::EngineError;
pub(crate) use injector_env::{InjectorEnv, UriTemplate, UriTemplateError};
pub(crate) use names::{CredentialName, FieldName, FieldNameError, is_env_name, is_reserved_by_shell};
pub(crate) use on_change::{OnChange, OnChangeError, SignalName};
pub use output::Format;
pub(crate) use output::{
    ClientFileFormat, ConnectionStringFormat, DocumentFormat, EnvExport, EnvFileFormat, FileMode, ModeError,
    Output,
};
pub use path::RelativePath;
pub(crate) use path::{Conflict, PathClaims, PathError};
pub(crate) use source::{
    ServicePort, ServicePortError, TemplateKeyError, TemplateSource, parse_template_key,
};

use crate::object::ObjectRef;
use crate::secret::SecretBytes;

/// A named group of annotations: the sources of its fields and its one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The part before the dot in `podcreds.io/<name>.<key>`.
    pub(crate) name: CredentialName,
    /// The Secret, the ConfigMap, or both: at least one, unless there is a Service.
    pub(crate) sources: Vec<ObjectRef>,
    /// The Service that provides host and port.
    pub(crate) service: Option<ServicePort>,
    pub(crate) key_mapping: KeyMapping,
    /// Fields whose values are in the annotations themselves. Users may put a password there, so they are secret too.
    pub(crate) inline_fields: Vec<(FieldName, SecretBytes)>,
    pub(crate) output: Output,
    /// The file, or for [`Output::Files`] the directory.
    pub path: RelativePath,
    /// `None` means the volume's default.
    pub(crate) mode: Option<FileMode>,
    /// Whether a missing source or key is accepted.
    pub(crate) optional: bool,
    /// How the application is notified after a rotation.
    pub(crate) on_change: Option<OnChange>,
}

impl Credential {
    /// The fields that `.keys` and `.set` name, in that order.
    pub(crate) fn named_fields(&self) -> impl Iterator<Item = &FieldName> {
        let listed = match &self.key_mapping {
            KeyMapping::All => &[][..],
            KeyMapping::Listed(keys) => keys,
        };
        listed.iter().map(|(field, _)| field).chain(self.inline_fields.iter().map(|(field, _)| field))
    }

    /// Whether the output is a file that `podcreds exec` can read.
    pub(crate) fn is_env_file(&self) -> bool {
        self.output.env_file() == Some(EnvFileFormat::Env)
    }

    /// Whether the file or directory at this path belongs to the credential, contains its output or is contained in it.
    pub(crate) fn overlaps(&self, path: &str) -> bool {
        let own = self.path.to_string();
        let is_below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_below(path, &own) || is_below(&own, path)
    }

    /// Whether the output may contain a file at this path.
    pub(crate) fn may_contain(&self, path: &RelativePath) -> bool {
        match self.output {
            Output::Files => path
                .to_string()
                .strip_prefix(&self.path.to_string())
                .is_some_and(|rest| rest.starts_with('/')),
            _ => *path == self.path,
        }
    }

    /// Every object that the output depends on: the sources, and the ConfigMap of the template.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.source_objects().chain(self.template_object())
    }

    /// Every object that provides fields.
    pub(crate) fn source_objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.sources.iter().chain(self.service.as_ref().map(|service| &service.object))
    }

    /// The ConfigMap that contains the template.
    pub(crate) fn template_object(&self) -> Option<&ObjectRef> {
        match self.output.template() {
            Some(TemplateSource::ConfigMap { object, .. }) => Some(object),
            Some(TemplateSource::Text(_)) | None => None,
        }
    }
}

/// Which keys of the sources become fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyMapping {
    /// All keys, under their own names.
    All,
    /// The listed pairs of field and key.
    Listed(Vec<(FieldName, FieldName)>),
}

//! Credentials as their annotations describe them, validated as far as possible without the values. `annotations` parses
//! them, `render` turns them into files.

mod engine;
mod injector;
mod key_mapping;
mod names;
mod on_change;
mod output;
mod path;
mod scheme;
mod source;
mod variables;

use core::time::Duration;
use std::sync::Arc;

pub use engine::Engine;
pub(crate) use engine::EngineError;
pub(crate) use injector::{InjectorEnv, UriTemplate, UriTemplateError};
pub(crate) use key_mapping::{JsonPointer, KeyEntry, KeyMapping, Naming};
pub(crate) use names::{CredentialName, FieldName, FieldNameError};
pub(crate) use on_change::{OnChange, OnChangeError, SignalName};
pub use output::Format;
pub(crate) use output::{
    ClientFileFormat, ConnectionStringFormat, DocumentFormat, EnvExport, EnvFileFormat, FileMode, ModeError,
    Output,
};
pub use path::{Bundle, BundleFile, RelativePath};
pub(crate) use path::{Conflict, PathClaims, PathError};
pub(crate) use scheme::{Scheme, SchemeError, engine_of_scheme, has_database_as_path, port_of_scheme};
pub(crate) use source::{Source, SourceError, unlisted_service_fields};
pub(crate) use variables::{
    is_env_name, is_reserved_by_linker, is_reserved_by_shell, is_setting_of_programs,
};

use crate::object::{Kind, NameError, Namespace, ObjectRef};
use crate::secret::SecretBytes;
use crate::template::{Delimiters, Template};
use crate::text::Excerpt;

/// A named group of annotations: the sources of its fields and its one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The part before the dot in `podcreds.io/<name>.<key>`.
    pub(crate) name: CredentialName,
    /// The namespace of the pod.
    pub(crate) namespace: Namespace,
    /// The Secrets, ConfigMaps and Services that provide fields, in this order: at least one, unless the template uses the fields of
    /// other credentials.
    pub(crate) sources: Vec<Source>,
    pub(crate) key_mapping: KeyMapping,
    /// How fields are named that have no name of their own in `key_mapping`.
    pub(crate) naming: Naming,
    /// Whether one line break at the end of each value is removed.
    pub(crate) trim: bool,
    /// Fields whose values are in the annotations themselves. Users may put a password there, so they are secret too.
    pub(crate) inline_fields: Vec<(FieldName, SecretBytes)>,
    /// As `inline_fields`, but each replaces a field of the sources.
    pub(crate) overrides: Vec<(FieldName, SecretBytes)>,
    pub(crate) output: Output,
    /// The credentials whose fields the template uses too.
    pub(crate) others: Vec<Arc<Credential>>,
    /// The file, or the directory if the format [is one](Format::is_directory).
    pub path: RelativePath,
    /// `None` means the volume's default.
    pub(crate) mode: Option<FileMode>,
    /// Whether a missing object is accepted.
    pub(crate) optional: bool,
    /// How the application is notified after a rotation.
    pub(crate) on_change: Option<OnChange>,
    /// The longest delay before applications react to a rotation; `None` means that of `--splay`.
    pub(crate) splay: Option<Duration>,
}

impl Credential {
    /// The fields that `.keys`, `.set` and `.override` name, in that order, each once.
    pub(crate) fn named_fields(&self) -> impl Iterator<Item = &FieldName> {
        let listed = self.key_mapping.entries().iter().map(|entry| &entry.field);
        let is_listed = |field: &&FieldName| self.key_mapping.entries().iter().any(|e| e.field == **field);
        let overridden = self.overrides.iter().map(|(field, _)| field).filter(move |field| !is_listed(field));
        listed.chain(self.inline_fields.iter().map(|(field, _)| field)).chain(overridden)
    }

    /// Whether the output is a connection, which takes its parts from fields of known names.
    pub(crate) fn is_connection(&self) -> bool {
        matches!(self.output, Output::ConnectionString { .. } | Output::ClientFile { .. })
    }

    /// Whether an object is in another namespace than the pod, or in another cluster.
    pub(crate) fn is_elsewhere(&self, object: &ObjectRef) -> bool {
        object.cluster.id().is_some() || object.namespace != self.namespace
    }

    /// The fields that a Service provides although no entry of `.keys` names them.
    pub(crate) fn unlisted_service_fields(&self) -> impl Iterator<Item = FieldName> {
        unlisted_service_fields(&self.sources, &self.key_mapping, &self.naming)
    }

    /// The entries of the file that annotations name and that cannot be missing: variables, members, keys.
    pub(crate) fn named_entries(&self) -> impl Iterator<Item = &FieldName> {
        let exported = self.output.exported_variables().into_iter().flatten().flatten();
        let has_fields = matches!(self.output, Output::Env(_) | Output::Document(_));
        let is_optional = |field: &FieldName| {
            self.key_mapping.entries().iter().any(|entry| entry.optional && entry.field == *field)
        };
        let fields = self.named_fields().filter(move |field| has_fields && !is_optional(field));
        exported.chain(fields)
    }

    /// Whether the output is a file that `podcreds exec` can read.
    pub(crate) fn is_env_file(&self) -> bool {
        self.output.env_file() == Some(EnvFileFormat::Env)
    }

    /// Whether the output is such a file and has one of these paths. Without any paths, all such files are selected.
    pub(crate) fn is_selected_env_file(&self, selected: &[RelativePath]) -> bool {
        self.is_env_file() && (selected.is_empty() || selected.contains(&self.path))
    }

    /// Whether the file or directory at this path belongs to the credential, contains its output or is contained in it.
    pub(crate) fn overlaps(&self, path: &str) -> bool {
        let own = self.path.to_string();
        let is_below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_below(path, &own) || is_below(&own, path)
    }

    /// Every object that the output depends on: the sources, the ConfigMap of the template, and the sources of the credentials that
    /// the template uses.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        let of_others = self.others.iter().flat_map(|other| other.source_objects());
        self.source_objects().chain(self.template_object()).chain(of_others)
    }

    /// The objects without which the credential has no files: all but those of optional credentials that the template does not need.
    pub(crate) fn needed_objects(&self) -> impl Iterator<Item = &ObjectRef> {
        let of_others =
            self.others.iter().filter(|other| self.needs(other)).flat_map(|other| other.source_objects());
        self.source_objects().chain(self.template_object()).chain(of_others)
    }

    /// Whether the template cannot be rendered without the sources of another credential that it uses.
    pub(crate) fn needs(&self, other: &Self) -> bool {
        let is_required = || match self.output.template() {
            Some(TemplateSource::Text(template)) => template.requires_credential(other.name.as_str()),
            _ => false,
        };
        !other.optional || is_required()
    }

    /// The optional credential whose object this one needs, although it is not optional and does not name the object itself.
    pub(crate) fn needed_optional(&self, object: &ObjectRef) -> Option<&CredentialName> {
        let is_own = self.source_objects().chain(self.template_object()).any(|own| own == object);
        let mut others = self.others.iter().filter(|other| other.optional && self.needs(other));
        let other = others.find(|other| other.source_objects().any(|named| named == object))?;
        (!self.optional && !is_own).then_some(&other.name)
    }

    /// Every object that provides fields.
    pub(crate) fn source_objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.sources.iter().map(|source| &source.object)
    }

    /// The ConfigMap that contains the template.
    pub(crate) fn template_object(&self) -> Option<&ObjectRef> {
        match self.output.template() {
            Some(TemplateSource::ConfigMap { object, .. }) => Some(object),
            Some(TemplateSource::Text(_)) | None => None,
        }
    }
}

/// Where the template of a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateSource {
    /// The annotation itself.
    Text(Template),
    /// A key of a ConfigMap, which is fetched together with the sources.
    ConfigMap { object: ObjectRef, key: FieldName, delimiters: Delimiters },
}

/// Parses `[namespace/]configmap/key`; the namespace defaults to `default`.
pub(crate) fn parse_template_key(
    text: &str,
    default: &Namespace,
) -> Result<(ObjectRef, FieldName), TemplateKeyError> {
    let (object, key) = text.rsplit_once('/').ok_or_else(|| TemplateKeyError::Form(Excerpt::new(text)))?;
    if object.matches('/').count() > 1 {
        return Err(TemplateKeyError::Form(Excerpt::new(text)));
    }
    Ok((ObjectRef::parse(Kind::ConfigMap, object, default)?, FieldName::parse(key)?))
}

/// An invalid value of `.template-from`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateKeyError {
    /// Not two or three parts.
    #[error("invalid reference {_0} to a key of a ConfigMap: write configmap/key or namespace/configmap/key")]
    Form(Excerpt),
    #[error(transparent)]
    Object(#[from] NameError),
    #[error(transparent)]
    Key(#[from] FieldNameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_config_map_has_two_or_three_parts() {
        let parse = |text: &str| parse_template_key(text, &Namespace::parse("prod").unwrap());
        for (text, object) in
            [("app/db.conf", "ConfigMap prod/app"), ("other/app/db.conf", "ConfigMap other/app")]
        {
            let (found, key) = parse(text).unwrap();
            assert_eq!((found.to_string().as_str(), key.as_str()), (object, "db.conf"));
        }
        for (text, part) in [
            ("", "write configmap/key"),
            ("app", "write configmap/key"),
            ("a/b/c/d", "write configmap/key"),
            ("/key", "invalid name"),
            ("App/key", "invalid name"),
            ("/app/key", "invalid namespace"),
            ("app/", "invalid key"),
            ("app/..data", "invalid key"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}

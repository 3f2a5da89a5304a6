//! Credentials as their annotations describe them, validated as far as possible without the values. `annotations` parses
//! them, `render` turns them into files.

mod engine;
mod names;
mod on_change;
mod output;
mod path;
mod variables;

pub use engine::Engine;
pub(crate) use engine::EngineError;
pub(crate) use names::{CredentialName, FieldName, FieldNameError};
pub(crate) use on_change::{OnChange, OnChangeError, SignalName};
pub use output::Format;
pub(crate) use output::{
    ClientFileFormat, ConnectionStringFormat, DocumentFormat, EnvExport, EnvFileFormat, FileMode,
    InjectorEnv, ModeError, Output, UriTemplate, UriTemplateError,
};
pub use path::{Bundle, BundleFile, RelativePath};
pub(crate) use path::{Conflict, PathClaims, PathError};
pub(crate) use variables::{
    is_env_name, is_reserved_by_linker, is_reserved_by_shell, is_setting_of_programs,
};

use crate::object::{ClusterRef, Kind, NameError, Namespace, ObjectRef, is_label};
use crate::secret::SecretBytes;
use crate::template::{Delimiters, Template};
use crate::text::Excerpt;

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
    /// The file, or the directory if the format [is one](Format::is_directory).
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

/// The fields that a Service provides, under the names by which `.keys` can rename them.
const SERVICE_FIELDS: [&str; 2] = ["host", "port"];

/// The Service that a credential takes its host and port from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) object: ObjectRef,
    /// The port's name or number. `None` means the only port of the Service.
    pub(crate) port: Option<String>,
}

impl ServicePort {
    /// Parses `[namespace/]name[:port]`; the namespace defaults to `default`. A port name is a DNS label, and so is a number.
    /// Source: <https://kubernetes.io/docs/concepts/services-networking/service/#multi-port-services>
    pub(crate) fn parse(text: &str, default: &Namespace) -> Result<Self, ServicePortError> {
        let (object, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        if port.is_some_and(|port| !is_label(port)) {
            return Err(ServicePortError::Port(Excerpt::new(text)));
        }
        let object = ObjectRef::parse(Kind::Service, object, default)?;
        Ok(Self { object, port: port.map(str::to_owned) })
    }

    /// The same Service and port in the given cluster.
    #[must_use]
    pub(crate) fn in_cluster(self, cluster: ClusterRef) -> Self {
        Self { object: self.object.in_cluster(cluster), ..self }
    }

    /// The fields that a Service provides under their own names: those that `.keys` does not rename.
    pub(crate) fn own_fields(keys: &KeyMapping) -> impl Iterator<Item = &str> {
        let renamed = |field: &str| match keys {
            KeyMapping::All => false,
            KeyMapping::Listed(keys) => keys.iter().any(|(_, key)| key.as_str() == field),
        };
        SERVICE_FIELDS.into_iter().filter(move |field| !renamed(field))
    }
}

/// An invalid value of `.service`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ServicePortError {
    /// The text after the colon is not a port. It may be the rest of a URI, so the message does not show it.
    #[error(
        "invalid port after the colon of {_0}: write name:port or namespace/name:port, with the port's name (at most 63 lower-case letters, digits and `-`) or its number"
    )]
    Port(Excerpt),
    #[error(transparent)]
    Object(#[from] NameError),
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

    fn parse(text: &str) -> Result<ServicePort, String> {
        ServicePort::parse(text, &Namespace::parse("prod").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_port_is_named_by_its_name_or_number_or_not_at_all() {
        for (text, object, port) in [
            ("db", "Service prod/db", None),
            ("db:postgres", "Service prod/db", Some("postgres")),
            ("other/db:5432", "Service other/db", Some("5432")),
        ] {
            let service = parse(text).unwrap();
            assert_eq!((service.object.to_string().as_str(), service.port.as_deref()), (object, port));
        }
    }

    #[test]
    fn an_invalid_service_is_rejected_and_only_its_start_is_shown() {
        for (text, part) in [
            ("", "invalid name"),
            ("DB", "invalid name \"DB\""),
            ("a/b/c:pg", "write name or namespace/name"),
            ("db:", "invalid port after the colon of \"db…\": write name:port"),
            ("db:Postgres", "invalid port after the colon of \"db…\""),
            ("db:a:b", "invalid port after the colon of \"db…\""),
            ("postgresql://app:test-password@db", "invalid port after the colon of \"post…\""),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part) && !message.contains("test-password"), "{text}: {message}");
        }
    }

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

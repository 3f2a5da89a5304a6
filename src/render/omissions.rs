//! What rendering omits of optional credentials because a source or key is missing.

use std::fmt;

use crate::credential::{Credential, CredentialName, FieldName, KeyMapping, ServicePort, TemplateSource};
use crate::object::{ObjectData, ObjectRef};
use crate::render::error::and;
use crate::render::fields::{Sources, entries, is_missing_port, service_entries};

/// A missing input of an optional credential.
#[derive(Debug)]
pub(crate) enum MissingInput<'a> {
    /// A source or the ConfigMap of the template: the credential is skipped.
    Object { name: &'a CredentialName, object: &'a ObjectRef },
    /// The key of the template: the credential is skipped.
    Template { name: &'a CredentialName, object: &'a ObjectRef, key: &'a FieldName },
    /// A key of the sources: the credential is written without the field.
    Key { name: &'a CredentialName, field: &'a FieldName, key: &'a FieldName, objects: Vec<&'a ObjectRef> },
    /// The port of the Service: the credential is written without it.
    Port { name: &'a CredentialName, service: &'a ServicePort },
}

impl MissingInput<'_> {
    /// The credential that is affected.
    pub(crate) fn credential(&self) -> &CredentialName {
        match self {
            Self::Object { name, .. }
            | Self::Template { name, .. }
            | Self::Key { name, .. }
            | Self::Port { name, .. } => name,
        }
    }
}

impl fmt::Display for MissingInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { name, object } => {
                write!(f, "skipping optional credential {name}: {object} not found")
            }
            Self::Template { name, key, object } => {
                write!(f, "skipping optional credential {name}: key {key} not found in {object}")
            }
            Self::Key { name, field, key, objects } => write!(
                f,
                "writing optional credential {name} without field {field}: key {key} not found in {}",
                and(objects.iter().copied())
            ),
            Self::Port { name, service: ServicePort { object, port } } => write!(
                f,
                "writing optional credential {name} without the port: port {} not found in {object}",
                port.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Finds the missing inputs of optional credentials.
pub(crate) fn missing_inputs<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
) -> impl Iterator<Item = MissingInput<'a>> {
    let content = |object: &ObjectRef| sources.get(object).and_then(Option::as_ref);
    credentials.iter().filter(|credential| credential.optional).flat_map(move |credential| {
        let Credential { name, key_mapping, .. } = credential;
        if let Some(object) = credential.objects().find(|object| content(object).is_none()) {
            return vec![MissingInput::Object { name, object }];
        }
        if let Some(TemplateSource::ConfigMap { object, key, .. }) = credential.output.template()
            && content(object).and_then(ObjectData::keys).is_some_and(|data| !data.contains_key(key.as_str()))
        {
            return vec![MissingInput::Template { name, key, object }];
        }
        let mut found: Vec<_> = credential.sources.iter().filter_map(content).map(entries).collect();
        let mut omissions = Vec::new();
        if let Some(service) = &credential.service
            && let Some(address) = content(&service.object).and_then(ObjectData::service)
        {
            let (provided, problem) = service_entries(service, address);
            found.push(provided);
            omissions.extend(problem.filter(is_missing_port).map(|_| MissingInput::Port { name, service }));
        }
        let KeyMapping::Listed(keys) = key_mapping else { return omissions };
        let missing = |key: &FieldName| !found.iter().any(|entries| entries.contains_key(key.as_str()));
        omissions.extend(keys.iter().filter(|(_, key)| missing(key)).map(|(field, key)| MissingInput::Key {
            name,
            field,
            key,
            objects: credential.source_objects().collect(),
        }));
        omissions
    })
}

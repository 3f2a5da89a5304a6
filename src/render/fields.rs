//! Selects the fields of a credential from its sources, and finds what is omitted of an optional credential because a source or
//! key is missing.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::{Credential, CredentialName, FieldName, KeyMapping, ServicePort, TemplateSource};
use crate::formats::{Fields, NameList};
use crate::object::{Data, Kind, ObjectData, ObjectRef, ServiceData};
use crate::render::error::{Problem, and, named_key, turn_round};
use crate::secret::SecretBytes;

/// The content of every fetched object; `None` means that an optional object is missing.
pub type Sources = BTreeMap<ObjectRef, Option<ObjectData>>;

/// Selects the fields. Returns `None` if a source of an optional credential is missing.
pub(crate) fn select<'a>(
    credential: &'a Credential,
    sources: &'a Sources,
) -> Result<Option<Fields<'a>>, Vec<Problem>> {
    let mut found = Vec::new();
    for object in &credential.sources {
        match sources.get(object) {
            Some(Some(data)) => found.push((object, entries(data))),
            // If the object is not optional, fetching it has failed already.
            Some(None) | None => return Ok(None),
        }
    }
    let mut selected = SelectedFields::default();
    if credential.key_mapping == KeyMapping::All && !credential.optional {
        let is_empty = |(object, entries): &&(&ObjectRef, Entries<'_>)| {
            object.kind == Kind::Secret && entries.is_empty()
        };
        let empty = found.iter().filter(is_empty);
        selected.problems.extend(empty.map(|(object, _)| Problem::NoKeys { object: (*object).clone() }));
    }
    if let Some(service) = &credential.service {
        let Some(Some(ObjectData::Service(address))) = sources.get(&service.object) else { return Ok(None) };
        let (mut provided, problem) = service_entries(service, address);
        if let Some(problem) = problem.filter(|problem| !(credential.optional && is_missing_port(problem))) {
            selected.problems.push(problem);
            // Rendering fails anyway. A placeholder for the port prevents a second error about the missing port.
            provided.insert("port", &address.host);
        }
        found.push((&service.object, provided));
    }
    match &credential.key_mapping {
        KeyMapping::All => selected.add_all(&found),
        KeyMapping::Listed(keys) => {
            selected.add_listed(keys, &found, credential.optional);
            if credential.service.is_some() {
                selected.add_service_fields(&credential.key_mapping, &found);
            }
        }
    }
    for (field, value) in &credential.inline_fields {
        selected.add(field.clone(), Origin::Annotation, value);
    }
    selected.finish()
}

/// Whether the Service lacks the port, which counts as a missing key.
pub(crate) fn is_missing_port(problem: &Problem) -> bool {
    matches!(problem, Problem::MissingPort { .. })
}

pub(crate) fn entries(data: &ObjectData) -> Entries<'_> {
    data.keys().into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect::<BTreeMap<_, _>>()
}

/// The values of a source that can become fields, by key.
pub(crate) type Entries<'a> = BTreeMap<&'a str, &'a SecretBytes>;

/// Returns the host and the selected port of a Service, and the problem if the port cannot be selected. A Service without
/// ports is a problem only if `.service` names one.
pub(crate) fn service_entries<'a>(
    service: &ServicePort,
    address: &'a ServiceData,
) -> (Entries<'a>, Option<Problem>) {
    let mut provided = Entries::from([("host", &address.host)]);
    let ports: Vec<_> = address.ports.iter().collect();
    let available = || NameList::new(ports.iter().map(|(name, _)| name));
    let object = || service.object.clone();
    let chosen = match (&service.port, ports.as_slice()) {
        (None, []) => return (provided, None),
        (None, [(_, number)]) => Ok(*number),
        (None, _) => Err(Problem::AmbiguousPort { service: object(), available: available() }),
        (Some(port), ports) => {
            // A name can look like a number. Names take precedence, because they identify ports in Kubernetes.
            let named = ports.iter().find(|(name, _)| *name == port);
            let numbered = || ports.iter().find(|(_, number)| number.expose() == port.as_bytes());
            named.or_else(numbered).map(|(_, number)| *number).ok_or_else(|| Problem::MissingPort {
                service: object(),
                port: port.clone(),
                available: available(),
            })
        }
    };
    match chosen {
        Ok(number) => {
            provided.insert("port", number);
            (provided, None)
        }
        Err(problem) => (provided, Some(problem)),
    }
}

/// Where a field comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Object(&'a ObjectRef),
    Annotation,
}

impl Origin<'_> {
    fn is_service(self) -> bool {
        matches!(self, Self::Object(object) if object.kind == Kind::Service)
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Annotation => f.write_str("the annotation .set"),
        }
    }
}

/// The key of a Secret in which the Vault Secrets Operator stores Vault's whole response: all values again, and metadata.
/// It becomes a field only if `.keys` names it. Vault's own data cannot have this key (`internal/helpers/secrets.go`).
const VAULT_ANSWER: &str = "_raw";

/// The remedy for a field that a Service provides as well.
const CONFLICT_WITH_SERVICE: &str = "a Service always provides host and port, so list the fields of the other sources in .keys without this one, and remove it from .set";

/// The selected fields with their origins, and the problems found while selecting.
#[derive(Default)]
struct SelectedFields<'a> {
    fields: BTreeMap<FieldName, SelectedField<'a>>,
    problems: Vec<Problem>,
}

struct SelectedField<'a> {
    origin: Origin<'a>,
    value: &'a SecretBytes,
}

impl<'a> SelectedFields<'a> {
    fn add_all(&mut self, found: &[(&'a ObjectRef, Entries<'a>)]) {
        for (object, entries) in found {
            for (key, value) in entries {
                if object.kind != Kind::Secret || *key != VAULT_ANSWER {
                    self.add_key(object, key, value);
                }
            }
        }
    }

    /// Adds the fields that a Service provides under their own names.
    fn add_service_fields(&mut self, keys: &KeyMapping, found: &[(&'a ObjectRef, Entries<'a>)]) {
        for (object, entries) in found.iter().filter(|(object, _)| object.kind == Kind::Service) {
            for key in ServicePort::own_fields(keys) {
                entries.get(key).into_iter().for_each(|value| self.add_key(object, key, value));
            }
        }
    }

    /// Adds a key under its own name.
    fn add_key(&mut self, object: &'a ObjectRef, key: &str, value: &'a SecretBytes) {
        match FieldName::parse(key) {
            Ok(field) => self.add(field, Origin::Object(object), value),
            Err(cause) => self.problems.push(Problem::InvalidKey { object: object.clone(), cause }),
        }
    }

    fn add_listed(
        &mut self,
        keys: &[(FieldName, FieldName)],
        found: &[(&'a ObjectRef, Entries<'a>)],
        optional: bool,
    ) {
        for (field, key) in keys {
            let mut holders = found
                .iter()
                .filter_map(|(object, entries)| Some((object, entries.get(key.as_str())?)))
                .peekable();
            if holders.peek().is_none() && !optional {
                let available = found.iter().flat_map(|(_, entries)| entries.keys());
                let is_key = found.iter().any(|(_, entries)| entries.contains_key(field.as_str()));
                self.problems.push(Problem::MissingKey {
                    sources: found.iter().map(|(object, _)| (*object).clone()).collect(),
                    field: field.clone(),
                    key: key.clone(),
                    available: NameList::new(available),
                    is_reversed: is_key,
                });
            }
            for (object, value) in holders {
                self.add(field.clone(), Origin::Object(object), value);
            }
        }
    }

    fn add(&mut self, field: FieldName, origin: Origin<'a>, value: &'a SecretBytes) {
        match self.fields.get(&field) {
            Some(first) => {
                let remedy = match first.origin.is_service() || origin.is_service() {
                    true => CONFLICT_WITH_SERVICE,
                    false => "exclude it with .keys, or split the credential in two",
                };
                let (first, second) = (first.origin.to_string(), origin.to_string());
                self.problems.push(Problem::DuplicateField { field, first, second, remedy });
            }
            None => drop(self.fields.insert(field, SelectedField { origin, value })),
        }
    }

    fn finish(self) -> Result<Option<Fields<'a>>, Vec<Problem>> {
        if self.problems.is_empty() {
            let fields = self.fields.into_iter().map(|(field, selected)| (field, selected.value));
            Ok(Some(fields.collect::<BTreeMap<_, _>>()))
        } else {
            Err(self.problems)
        }
    }
}

/// A missing input that does not keep a credential from being rendered.
#[derive(Debug)]
pub(crate) enum MissingInput<'a> {
    /// A source without keys. Unlike the other variants, it also concerns credentials that are not optional.
    Keys { name: &'a CredentialName, object: &'a ObjectRef },
    /// A source or the ConfigMap of the template: the credential is skipped.
    Object { name: &'a CredentialName, object: &'a ObjectRef },
    /// The key of the template: the credential is skipped.
    Template { name: &'a CredentialName, object: &'a ObjectRef, key: &'a FieldName },
    /// A key of the sources: the credential is written without the field.
    Key {
        name: &'a CredentialName,
        field: &'a FieldName,
        key: &'a FieldName,
        objects: Vec<&'a ObjectRef>,
        /// Whether a source has a key with the name of the field: the entry of `.keys` is the wrong way round.
        is_reversed: bool,
    },
    /// The port of the Service: the credential is written without it.
    Port { name: &'a CredentialName, service: &'a ServicePort },
}

impl MissingInput<'_> {
    /// The credential that is affected.
    pub(crate) fn credential(&self) -> &CredentialName {
        match self {
            Self::Keys { name, .. }
            | Self::Object { name, .. }
            | Self::Template { name, .. }
            | Self::Key { name, .. }
            | Self::Port { name, .. } => name,
        }
    }

    /// Whether it is probably a mistake, and not what `.optional` is for.
    pub(crate) fn is_suspicious(&self) -> bool {
        matches!(self, Self::Keys { .. })
    }
}

impl fmt::Display for MissingInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { name, object } => write!(
                f,
                "credential {name}: {object} has no keys, so it provides no fields: check its name, and the operator or job that should fill it"
            ),
            Self::Object { name, object } => {
                write!(f, "skipping optional credential {name}: {object} not found")
            }
            Self::Template { name, key, object } => {
                write!(f, "skipping optional credential {name}: key {key} not found in {object}")
            }
            Self::Key { name, field, key, objects, is_reversed } => write!(
                f,
                "writing optional credential {name} without field {field}: key {} not found in {}{}",
                named_key(field, key),
                and(objects.iter().copied()),
                turn_round(field, key, *is_reversed)
            ),
            Self::Port { name, service: ServicePort { object, port } } => write!(
                f,
                "writing optional credential {name} without the port: port {} not found in {object}",
                port.as_deref().unwrap_or_default()
            ),
        }
    }
}

/// Finds the missing inputs of optional credentials, and the sources without keys of all.
pub(crate) fn missing_inputs<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
) -> impl Iterator<Item = MissingInput<'a>> {
    let content = |object: &ObjectRef| sources.get(object).and_then(Option::as_ref);
    credentials.iter().flat_map(move |credential| {
        let Credential { name, key_mapping, .. } = credential;
        let is_empty =
            |object: &&ObjectRef| content(object).and_then(ObjectData::keys).is_some_and(Data::is_empty);
        let mut omissions = Vec::new();
        if *key_mapping == KeyMapping::All {
            let empty = credential.sources.iter().filter(is_empty);
            omissions.extend(empty.map(|object| MissingInput::Keys { name, object }));
        }
        if !credential.optional {
            return omissions;
        }
        if let Some(object) = credential.objects().find(|object| content(object).is_none()) {
            return vec![MissingInput::Object { name, object }];
        }
        if let Some(TemplateSource::ConfigMap { object, key, .. }) = credential.output.template()
            && content(object).and_then(ObjectData::keys).is_some_and(|data| !data.contains_key(key.as_str()))
        {
            return vec![MissingInput::Template { name, key, object }];
        }
        let mut found: Vec<_> = credential.sources.iter().filter_map(content).map(entries).collect();
        if let Some(service) = &credential.service
            && let Some(address) = content(&service.object).and_then(ObjectData::service)
        {
            let (provided, problem) = service_entries(service, address);
            found.push(provided);
            omissions.extend(problem.filter(is_missing_port).map(|_| MissingInput::Port { name, service }));
        }
        let KeyMapping::Listed(keys) = key_mapping else { return omissions };
        let has = |key: &FieldName| found.iter().any(|entries| entries.contains_key(key.as_str()));
        omissions.extend(keys.iter().filter(|(_, key)| !has(key)).map(|(field, key)| MissingInput::Key {
            name,
            field,
            key,
            objects: credential.source_objects().collect(),
            is_reversed: has(field),
        }));
        omissions
    })
}

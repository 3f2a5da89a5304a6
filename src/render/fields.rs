//! The fields of a credential, picked from its sources.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::{
    Credential, CredentialName, FieldName, Keys, ServicePort, TemplateSource, is_variable,
};
use crate::escape::{EscapeFn, Unrepresentable};
use crate::object::{Kind, ObjectData, ObjectRef};
use crate::render::error::{KEY_SHOWN, LISTED_KEYS, Problem, names};
use crate::render::service::{self, Entries};
use crate::secret::{SecretBuffer, SecretBytes};
use crate::text::one_line;

/// The content of every object that was asked for; none where an optional one is missing.
pub type Sources = BTreeMap<ObjectRef, Option<ObjectData>>;

/// The values of one credential, in order of field name.
pub(crate) type Fields<'a> = BTreeMap<FieldName, &'a SecretBytes>;

/// Collects the fields; nothing if the credential is optional and one of its sources is missing.
pub(crate) fn collect<'a>(
    credential: &'a Credential,
    sources: &'a Sources,
) -> Result<Option<Fields<'a>>, Vec<Problem>> {
    let mut found = Vec::new();
    for object in &credential.sources {
        match sources.get(object) {
            Some(Some(data)) => found.push((object, entries(data))),
            // Fetching has failed already where this is not optional.
            Some(None) | None => return Ok(None),
        }
    }
    let mut picked = Picked::default();
    if let Some(service) = &credential.service {
        let Some(Some(ObjectData::Service(address))) = sources.get(&service.object) else { return Ok(None) };
        let (mut given, problem) = service::entries(service, address);
        if let Some(problem) = problem.filter(|problem| !(credential.optional && is_missing(problem))) {
            picked.problems.push(problem);
            // Nothing is written, so any value will do to tell what else is wrong, and not this once more.
            given.insert("port", &address.host);
        }
        found.push((&service.object, given));
    }
    match &credential.keys {
        Keys::All => picked.all(&found),
        Keys::Listed(keys) => {
            picked.listed(keys, &found, credential.optional);
            if credential.service.is_some() {
                picked.own_of_service(&credential.keys, &found);
            }
        }
    }
    for (field, value) in &credential.literals {
        picked.add(field.clone(), Source::Literal, value);
    }
    picked.finish()
}

/// Whether it is about a port that is not there, which is like a missing key.
fn is_missing(problem: &Problem) -> bool {
    matches!(problem, Problem::NoPort { .. })
}

fn entries(data: &ObjectData) -> Entries<'_> {
    data.keys().into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect::<BTreeMap<_, _>>()
}

/// Something of an optional credential that is not written.
#[derive(Debug)]
pub(crate) enum Omission<'a> {
    /// All of it.
    Credential {
        /// Its name.
        name: &'a CredentialName,
        /// What is missing.
        object: &'a ObjectRef,
    },
    /// One of its fields.
    Field {
        /// Its name.
        name: &'a CredentialName,
        /// The field.
        field: &'a FieldName,
        /// The key that is missing.
        key: &'a FieldName,
        /// Where it was looked for.
        objects: Vec<&'a ObjectRef>,
    },
    /// Its field `port`.
    Port {
        /// Its name.
        name: &'a CredentialName,
        /// The Service, and the port that it does not have.
        service: &'a ServicePort,
    },
    /// All of it, because its template is missing.
    Template {
        /// Its name.
        name: &'a CredentialName,
        /// The key that is missing.
        key: &'a FieldName,
        /// Where it was looked for.
        object: &'a ObjectRef,
    },
}

impl fmt::Display for Omission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential { name, object } => {
                write!(f, "credential {name} is left out: there is no {object} (.optional)")
            }
            Self::Field { name, field, key, objects } => write!(
                f,
                "credential {name} is written without field {field}: {} has no key {key} (.optional)",
                names(objects.iter().copied())
            ),
            Self::Port { name, service: ServicePort { object, port } } => write!(
                f,
                "credential {name} is written without the port: {object} has no port {} (.optional)",
                port.as_deref().unwrap_or_default()
            ),
            Self::Template { name, key, object } => {
                write!(f, "credential {name} is left out: {object} has no key {key} (.optional)")
            }
        }
    }
}

/// What of the optional credentials is not written, and why.
pub(crate) fn left_out<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
) -> impl Iterator<Item = Omission<'a>> {
    let held = |object: &ObjectRef| sources.get(object).and_then(Option::as_ref);
    credentials.iter().filter(|credential| credential.optional).flat_map(move |credential| {
        let Credential { name, keys, .. } = credential;
        if let Some(object) = credential.objects().find(|object| held(object).is_none()) {
            return vec![Omission::Credential { name, object }];
        }
        if let Some(TemplateSource::ConfigMap { object, key, .. }) = &credential.template
            && held(object).and_then(ObjectData::keys).is_some_and(|data| !data.contains_key(key.as_str()))
        {
            return vec![Omission::Template { name, key, object }];
        }
        let mut found: Vec<_> = credential.sources.iter().filter_map(held).map(entries).collect();
        let mut omissions = Vec::new();
        if let Some(service) = &credential.service
            && let Some(address) = held(&service.object).and_then(ObjectData::service)
        {
            let (given, problem) = service::entries(service, address);
            found.push(given);
            omissions.extend(problem.filter(is_missing).map(|_| Omission::Port { name, service }));
        }
        let Keys::Listed(keys) = keys else { return omissions };
        let missing = |key: &FieldName| !found.iter().any(|entries| entries.contains_key(key.as_str()));
        omissions.extend(keys.iter().filter(|(_, key)| missing(key)).map(|(field, key)| Omission::Field {
            name,
            field,
            key,
            objects: credential.source_objects().collect(),
        }));
        omissions
    })
}

/// A field's value as text without NUL, which no line of a text format can carry.
pub(crate) fn text<'a>(field: &FieldName, value: &'a SecretBytes) -> Result<&'a str, Problem> {
    value
        .expose_text()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Problem::Binary { field: field.clone() })
}

/// Writes a field's value by a rule.
pub(crate) fn escaped(
    rule: EscapeFn,
    field: &FieldName,
    value: &SecretBytes,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    let text = value.expose_text().ok_or_else(|| Problem::Binary { field: field.clone() })?;
    rule(text, out).map_err(|Unrepresentable(what)| Problem::Refused { field: field.clone(), what })
}

/// A field's name as the name of a variable.
pub(crate) fn variable(field: &FieldName) -> Result<&str, Problem> {
    let name = field.as_str();
    if is_variable(name) { Ok(name) } else { Err(Problem::NotAVariable { field: field.clone() }) }
}

/// Where a field comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Object(&'a ObjectRef),
    Literal,
}

impl Source<'_> {
    fn is_service(self) -> bool {
        matches!(self, Self::Object(object) if object.kind == Kind::Service)
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Literal => f.write_str("the annotation .set"),
        }
    }
}

/// What to do about a field that a Service gives too.
const OTHER_THAN_SERVICE: &str = "a Service gives its host and port without being asked, so name in .keys what is wanted of the others, and leave this out there and in .set";

/// Fields with where they come from, and what went wrong with the others.
#[derive(Default)]
struct Picked<'a> {
    fields: BTreeMap<FieldName, (Source<'a>, &'a SecretBytes)>,
    problems: Vec<Problem>,
}

impl<'a> Picked<'a> {
    fn all(&mut self, found: &[(&'a ObjectRef, Entries<'a>)]) {
        for (object, entries) in found {
            entries.iter().for_each(|(key, value)| self.take(object, key, value));
        }
    }

    /// What a Service gives without being asked for it.
    fn own_of_service(&mut self, keys: &Keys, found: &[(&'a ObjectRef, Entries<'a>)]) {
        for (object, entries) in found.iter().filter(|(object, _)| object.kind == Kind::Service) {
            for key in ServicePort::own_fields(keys) {
                entries.get(key).into_iter().for_each(|value| self.take(object, key, value));
            }
        }
    }

    /// Takes a key under its own name.
    fn take(&mut self, object: &'a ObjectRef, key: &str, value: &'a SecretBytes) {
        match FieldName::parse(key) {
            Ok(field) => self.add(field, Source::Object(object), value),
            Err(cause) => self.problems.push(Problem::BadKey { object: object.clone(), cause }),
        }
    }

    fn listed(
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
                let present = found.iter().flat_map(|(_, entries)| entries.keys());
                self.problems.push(Problem::NoKey {
                    sources: found.iter().map(|(object, _)| (*object).clone()).collect(),
                    key: key.clone(),
                    present: present.clone().take(LISTED_KEYS).map(|key| one_line(key, KEY_SHOWN)).collect(),
                    more: present.skip(LISTED_KEYS).count(),
                });
            }
            for (object, value) in holders {
                self.add(field.clone(), Source::Object(object), value);
            }
        }
    }

    fn add(&mut self, field: FieldName, source: Source<'a>, value: &'a SecretBytes) {
        match self.fields.get(&field) {
            Some((first, _)) => {
                let remedy = match first.is_service() || source.is_service() {
                    true => OTHER_THAN_SERVICE,
                    false => "leave it out with .keys, or make two credentials of it",
                };
                let (first, second) = (first.to_string(), source.to_string());
                self.problems.push(Problem::TwoSources { field, first, second, remedy });
            }
            None => drop(self.fields.insert(field, (source, value))),
        }
    }

    fn finish(self) -> Result<Option<Fields<'a>>, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(Some(
                self.fields.into_iter().map(|(field, (_, value))| (field, value)).collect::<BTreeMap<_, _>>(),
            ))
        } else {
            Err(self.problems)
        }
    }
}

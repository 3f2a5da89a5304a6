//! The fields of a credential, picked from its sources.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::{Credential, CredentialName, FieldName, Keys, TemplateSource, is_variable};
use crate::escape::{Refused, Rule};
use crate::object::{Data, ObjectRef};
use crate::quote::one_line;
use crate::render::error::{LISTED_KEYS, Problem, names};
use crate::secret::{SecretBuffer, SecretBytes};

/// The content of every object that was asked for; none where an optional one is missing.
pub type Sources = BTreeMap<ObjectRef, Option<Data>>;

/// The values of one credential, in order of field name.
pub(super) type Fields<'a> = BTreeMap<FieldName, &'a SecretBytes>;

/// Collects the fields; nothing if the credential is optional and one of its sources is missing.
pub(super) fn collect<'a>(
    credential: &'a Credential,
    sources: &'a Sources,
) -> Result<Option<Fields<'a>>, Vec<Problem>> {
    let mut found = Vec::new();
    for object in &credential.sources {
        match sources.get(object) {
            Some(Some(data)) => found.push((object, data)),
            // Fetching has failed already where this is not optional.
            Some(None) | None => return Ok(None),
        }
    }
    let mut picked = Picked::default();
    match &credential.keys {
        Keys::All => picked.all(&found),
        Keys::Listed(keys) => picked.listed(keys, &found, credential.optional),
    }
    for (field, value) in &credential.literals {
        picked.add(field.clone(), "the annotation .set".to_owned(), value);
    }
    picked.finish()
}

/// Something of an optional credential that is not written.
#[derive(Debug)]
pub enum Omission<'a> {
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
        objects: &'a [ObjectRef],
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
                names(objects)
            ),
            Self::Template { name, key, object } => {
                write!(f, "credential {name} is left out: {object} has no key {key} (.optional)")
            }
        }
    }
}

/// What of the optional credentials is not written, and why.
pub fn left_out<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
) -> impl Iterator<Item = Omission<'a>> {
    let held = |object: &ObjectRef| sources.get(object).and_then(Option::as_ref);
    credentials.iter().filter(|credential| credential.optional).flat_map(move |credential| {
        let Credential { name, sources: objects, keys, .. } = credential;
        if let Some(object) = credential.objects().find(|object| held(object).is_none()) {
            return vec![Omission::Credential { name, object }];
        }
        if let Some(TemplateSource::ConfigMap { object, key, .. }) = &credential.template
            && held(object).is_some_and(|data| !data.contains_key(key.as_str()))
        {
            return vec![Omission::Template { name, key, object }];
        }
        let Keys::Listed(keys) = keys else { return Vec::new() };
        let missing =
            |key: &FieldName| !objects.iter().filter_map(held).any(|data| data.contains_key(key.as_str()));
        let fields = keys.iter().filter(|(_, key)| missing(key));
        fields.map(|(field, key)| Omission::Field { name, field, key, objects }).collect()
    })
}

/// A field's value as text without NUL, which no line of a text format can carry.
pub(super) fn text<'a>(field: &FieldName, value: &'a SecretBytes) -> Result<&'a str, Problem> {
    value
        .expose_text()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Problem::Binary { field: field.clone() })
}

/// Writes a field's value by a rule.
pub(super) fn escaped(
    rule: Rule,
    field: &FieldName,
    value: &SecretBytes,
    out: &mut SecretBuffer,
) -> Result<(), Problem> {
    let text = value.expose_text().ok_or_else(|| Problem::Binary { field: field.clone() })?;
    rule(text, out).map_err(|Refused(what)| Problem::Refused { field: field.clone(), what })
}

/// A field's name as the name of a variable.
pub(super) fn variable(field: &FieldName) -> Result<&str, Problem> {
    let name = field.as_str();
    if is_variable(name) { Ok(name) } else { Err(Problem::NotAVariable { field: field.clone() }) }
}

/// The most of a key that a message shows, in characters: all of a key that Kubernetes accepts.
pub(super) const KEY_SHOWN: usize = 253;

/// Fields with where they come from, and what went wrong with the others.
#[derive(Default)]
struct Picked<'a> {
    fields: BTreeMap<FieldName, (String, &'a SecretBytes)>,
    problems: Vec<Problem>,
}

impl<'a> Picked<'a> {
    fn all(&mut self, found: &[(&'a ObjectRef, &'a Data)]) {
        for (object, data) in found {
            for (key, value) in *data {
                match FieldName::parse(key) {
                    Ok(field) => self.add(field, object.to_string(), value),
                    Err(cause) => self.problems.push(Problem::BadKey { object: (*object).clone(), cause }),
                }
            }
        }
    }

    fn listed(
        &mut self,
        keys: &[(FieldName, FieldName)],
        found: &[(&'a ObjectRef, &'a Data)],
        optional: bool,
    ) {
        for (field, key) in keys {
            let mut holders =
                found.iter().filter_map(|(object, data)| Some((object, data.get(key.as_str())?))).peekable();
            if holders.peek().is_none() && !optional {
                let present = found.iter().flat_map(|(_, data)| data.keys());
                self.problems.push(Problem::NoKey {
                    sources: found.iter().map(|(object, _)| (*object).clone()).collect(),
                    key: key.clone(),
                    present: present.clone().take(LISTED_KEYS).map(|key| one_line(key, KEY_SHOWN)).collect(),
                    more: present.skip(LISTED_KEYS).count(),
                });
            }
            for (object, value) in holders {
                self.add(field.clone(), object.to_string(), value);
            }
        }
    }

    fn add(&mut self, field: FieldName, source: String, value: &'a SecretBytes) {
        match self.fields.get(&field) {
            Some((first, _)) => {
                self.problems.push(Problem::TwoSources { field, first: first.clone(), second: source });
            }
            None => drop(self.fields.insert(field, (source, value))),
        }
    }

    fn finish(self) -> Result<Option<Fields<'a>>, Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(Some(self.fields.into_iter().map(|(field, (_, value))| (field, value)).collect()))
        } else {
            Err(self.problems)
        }
    }
}

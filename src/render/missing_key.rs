//! Keys that no source has. A user may have written a value into `.keys` instead of a key, so messages show a key as a whole only if
//! it looks like one.

use std::fmt;

use crate::credential::{Credential, FieldName, KeyEntry};
use crate::formats::NameList;
use crate::object::ObjectRef;
use crate::render::entries::{Found, holders};
use crate::render::error::and;
use crate::render::url::UrlHint;
use crate::text::{nearest, shown_key};

/// How many keys of each source are compared with the missing one.
const COMPARED_KEYS: usize = 256;

/// A missing key, for a message.
#[derive(Debug)]
pub(crate) struct MissingKey {
    /// The field for which `.keys` names the key.
    pub(crate) field: String,
    key: String,
    sources: Vec<ObjectRef>,
    available: NameList,
    hint: UrlHint,
    remedy: String,
}

impl MissingKey {
    pub(crate) fn new(credential: &Credential, entry: &KeyEntry, found: &[Found<'_>], hint: UrlHint) -> Self {
        let KeyEntry { field, key, .. } = entry;
        let is_near = found.iter().any(|(source, entries)| {
            let name = source.key(key.as_str());
            name.is_some_and(|name| nearest(name, entries.keys().copied().take(COMPARED_KEYS)).is_some())
        });
        let shown = shown_key(key.as_str());
        let is_whole = is_near || shown == key.as_str();
        let has_own_name = credential.naming.apply(key.as_str()) != field.as_str();
        let mut remedy = String::new();
        if holders(field, found).next().is_some() {
            remedy.push_str("; in .keys, the left side is the field and the right side is the key");
            match is_whole {
                true => remedy.push_str(&format!(": write {key}={field}")),
                false => remedy.push_str(" (.set is for values, if they are not secret)"),
            }
        }
        if credential.optional && !entry.optional {
            remedy.push_str("; .optional is only about missing objects: if the key may be missing, write `?` after its entry in .keys");
        }
        let available =
            found.iter().flat_map(|(source, entries)| entries.keys().map(|key| source.field(key)));
        Self {
            field: if is_whole || has_own_name { field.to_string() } else { shown.to_string() },
            key: match (is_whole, has_own_name) {
                (true, _) => key.to_string(),
                (false, true) => format!("{shown} of field {field}"),
                (false, false) => shown.to_string(),
            },
            sources: credential.source_objects().cloned().collect(),
            available: NameList::new(available),
            hint,
            remedy,
        }
    }

    /// The key of a template that its ConfigMap does not have.
    pub(crate) fn of_template(object: &ObjectRef, key: &FieldName, available: NameList) -> Self {
        Self {
            field: String::new(),
            key: key.to_string(),
            sources: vec![object.clone()],
            available,
            hint: UrlHint::Nothing,
            remedy: String::new(),
        }
    }
}

impl fmt::Display for MissingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, sources, available, hint, remedy, .. } = self;
        write!(f, "key {key} not found in {}; available: {available}{hint}{remedy}", and(sources))
    }
}

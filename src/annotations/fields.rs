//! Reads the annotations that choose the fields of a credential: its sources, `.keys`, `.set` and `.override`.

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::keys::{self, AnnotationKey};
use crate::credential::{FieldName, KeyEntry, KeyMapping, Naming, Source, SourceError};
use crate::object::{ClusterRef, Kind, Namespace};
use crate::secret::SecretBytes;

/// The annotations that name sources.
pub(super) const SOURCE_KEYS: [(AnnotationKey, Kind); 3] = [
    (AnnotationKey::Secret, Kind::Secret),
    (AnnotationKey::Configmap, Kind::ConfigMap),
    (AnnotationKey::Service, Kind::Service),
];

/// Reads the annotations that name sources. No two sources may have the same alias.
pub(super) fn read_sources(
    values: &mut Values<'_>,
    namespace: &Namespace,
    cluster: &ClusterRef,
) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for (key, kind) in SOURCE_KEYS {
        let read = values.read(key, |text| Ok(Source::parse_list(kind, text, namespace, cluster)?));
        for source in read.into_iter().flatten() {
            match &source.alias {
                Some(alias) if sources.iter().any(|other| other.alias == source.alias) => {
                    values.push(key, SourceError::DuplicateAlias(alias.clone()).into());
                }
                _ => sources.push(source),
            }
        }
    }
    sources
}

pub(super) fn read_keys(text: &str, naming: &Naming) -> Result<Vec<KeyEntry>, Problem> {
    let entries = keys::mappings(text, naming)?;
    let earlier = |at: usize| entries[..at].iter().any(|other| other.field == entries[at].field);
    match (0..entries.len()).find(|at| earlier(*at)) {
        Some(at) => Err(Problem::DuplicateField { field: entries[at].field.clone() }),
        None => Ok(entries),
    }
}

pub(super) fn read_literals(text: &str) -> Result<Vec<(FieldName, SecretBytes)>, Problem> {
    let mut literals: Vec<(FieldName, SecretBytes)> = Vec::new();
    for (field, value) in keys::assignments(text)? {
        if literals.iter().any(|(other, _)| *other == field) {
            return Err(Problem::DuplicateField { field });
        }
        literals.push((field, value));
    }
    Ok(literals)
}

pub(super) fn repeated<'a>(
    keys: &KeyMapping,
    literals: &'a [(FieldName, SecretBytes)],
) -> Option<&'a FieldName> {
    let is_listed = |field: &&FieldName| keys.entries().iter().any(|entry| entry.field == **field);
    literals.iter().map(|(field, _)| field).find(is_listed)
}

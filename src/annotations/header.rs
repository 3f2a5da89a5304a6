//! `.on-change-header`: the header of the request that `.on-change` sends.

use std::collections::BTreeSet;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::keys::AnnotationKey;
use crate::credential::{FieldName, HeaderTemplate, KeyMapping, OnChange};
use crate::template::Delimiters;

/// Reads the header. If `.keys` lists the fields, or the credential has no source, it is also checked against the fields that annotations name.
pub(super) fn read(
    values: &mut Values<'_>,
    on_change: Option<&OnChange>,
    keys: &KeyMapping,
    of_annotations: &[FieldName],
    has_source: bool,
) -> Option<HeaderTemplate> {
    let delimiters = match values.texts.get(&AnnotationKey::Delimiters) {
        // An error is already reported.
        Some(text) => Delimiters::parse(text).ok()?,
        None => Delimiters::default(),
    };
    let header =
        values.read(AnnotationKey::OnChangeHeader, |text| Ok(HeaderTemplate::parse(text, &delimiters)?))?;
    let is_invalid = on_change.is_none() && values.texts.contains_key(&AnnotationKey::OnChange);
    if !is_invalid && on_change.and_then(OnChange::url).is_none() {
        let problem = "requires .on-change with POST or GET: add it, or remove this annotation";
        values.push(AnnotationKey::OnChangeHeader, Problem::Combination(problem));
    }
    if matches!(keys, KeyMapping::Listed(_)) || !has_source {
        let mut known = BTreeSet::new();
        for field in keys.entries().iter().map(|entry| &entry.field).chain(of_annotations) {
            known.insert(field.as_str());
        }
        for error in header.line.unknown_names(&known) {
            values.push(AnnotationKey::OnChangeHeader, error.into());
        }
    }
    Some(header)
}

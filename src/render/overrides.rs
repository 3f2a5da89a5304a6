//! `.override`: which fields it may replace, and where it has to know of other names of a part or of a URI.

use std::collections::BTreeMap;

use crate::credential::{Credential, FieldName, KeyMapping};
use crate::formats::NameList;
use crate::formats::parts::{URI, find_aliases, find_part};
use crate::render::error::Problem;
use crate::render::url::Urls;

/// What a field of `.override` replaces.
pub(crate) enum Target {
    /// The field of this name.
    Field,
    /// Another name of a part, or the part of a URI: a connection needs both, to decide which of them counts.
    PartOfConnection,
}

/// Finds what a field of `.override` replaces. `has_url` tells whether a connection is read from a URL under another name than `uri`.
pub(crate) fn find_target<T>(
    credential: &Credential,
    field: &FieldName,
    fields: &BTreeMap<FieldName, T>,
    urls: &mut Urls<'_, '_>,
    has_url: bool,
) -> Result<Target, Problem> {
    // A listed key may be missing: that is allowed, or reported already.
    let is_listed = credential.key_mapping.entries().iter().any(|entry| entry.field == *field);
    let is_template = credential.key_mapping == KeyMapping::All && credential.output.template().is_some();
    if fields.contains_key(field) || is_listed || (is_template && urls.has(field)) {
        return Ok(Target::Field);
    }
    let aliases = find_aliases(field.as_str());
    let alias = fields.keys().find(|other| aliases.is_some_and(|row| row.contains(other.as_str())));
    let has_uri = || has_url || fields.keys().any(|other| URI.contains(other.as_str()));
    let is_part = alias.is_some() || (find_part(field.as_str()).is_some() && has_uri());
    if credential.is_connection() && is_part {
        return Ok(Target::PartOfConnection);
    }
    let available = NameList::new(fields.keys().map(FieldName::as_str));
    Err(Problem::NothingToOverride { field: field.clone(), alias: alias.cloned(), available })
}

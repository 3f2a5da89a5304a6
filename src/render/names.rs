//! The keys of fields that are not valid names of variables: `.prefix`, `.names` and aliases make a field that is called otherwise.

use crate::credential::{Credential, FieldName};
use crate::render::error::Problem;
use crate::render::fields::Sources;
use crate::render::url::found_sources;

/// How many problems name the key: messages list no more.
const NAMED_PROBLEMS: usize = 20;

/// Names the keys in the first problems.
pub(crate) fn name_keys(
    credential: &Credential,
    sources: &Sources,
    mut problems: Vec<Problem>,
) -> Vec<Problem> {
    let found = found_sources(credential, sources);
    let find = |field: &FieldName| {
        if let Some(entry) = credential.key_mapping.entries().iter().find(|entry| entry.field == *field) {
            return Some(entry.key.to_string());
        }
        let mut keys = found.iter().flat_map(|(source, entries)| entries.keys().map(|key| source.field(key)));
        let key = keys.find(|key| credential.naming.apply(key) == field.as_str())?;
        Some(key.into_owned())
    };
    for problem in problems.iter_mut().take(NAMED_PROBLEMS) {
        if let Problem::Format(error) = problem {
            error.name_key(&find);
        }
    }
    problems
}

//! Fields whose names are not valid names of variables, and their keys: `.prefix`, `.names` and aliases make a field that is called otherwise.

use crate::credential::{Credential, EnvFileFormat, FieldName, KeyMapping, Output, is_env_name};
use crate::formats::Fields;
use crate::render::error::Problem;
use crate::render::fields::Sources;
use crate::render::notice::Notice;
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

/// Removes the fields that have the name of a key and that no environment variable can have, unless no other key is left. An operator
/// may add a key to its Secret at any time.
pub(crate) fn leave_out<'a>(credential: &'a Credential, fields: &mut Fields<'_>) -> Vec<Notice<'a>> {
    let keys_are_names = credential.key_mapping == KeyMapping::All
        && matches!(credential.output, Output::Env(EnvFileFormat::Env | EnvFileFormat::Dotenv));
    if !keys_are_names {
        return Vec::new();
    }
    let is_named = |field: &FieldName| credential.named_fields().any(|named| named == field);
    let of_service: Vec<_> = credential.unlisted_service_fields().collect();
    let is_variable = |field: &FieldName| is_env_name(field.as_str());
    // If only literals, or the host and port of a Service, are left, the file lacks what its Secret is for.
    if !fields.keys().any(|field| is_variable(field) && !is_named(field) && !of_service.contains(field)) {
        return Vec::new();
    }
    let is_valid = |field: &FieldName| is_variable(field) || is_named(field);
    let invalid: Vec<_> = fields.keys().filter(|field| !is_valid(field)).cloned().collect();
    fields.retain(|field, _| is_valid(field));
    invalid.into_iter().map(|field| Notice::Variable { name: &credential.name, field }).collect()
}

//! Checks names in annotations that need not wait for the sources: aliases in `.keys`, and the prefix of variables.

use std::borrow::Cow;

use crate::annotations::Values;
use crate::annotations::error::Problem;
use crate::annotations::keys::AnnotationKey;
use crate::credential::{KeyMapping, Naming, Source, is_env_name};
use crate::text::{and_more, nearest, shown_key};

/// How many aliases a message lists.
const LISTED_ALIASES: usize = 10;

/// Reports keys in `.keys` that no source can have, because every source has an alias and they begin with none.
pub(super) fn check_aliases(values: &mut Values<'_>, sources: &[Source], keys: &KeyMapping) {
    let aliases: Vec<_> = sources.iter().filter_map(|source| source.alias.as_ref()).collect();
    let Some(first) = aliases.first() else { return };
    // A source without an alias may have any key.
    let is_known = |key: &str| sources.iter().any(|source| source.key(key).is_some());
    for key in keys.entries().iter().map(|entry| entry.key.as_str()).filter(|key| !is_known(key)) {
        let split = key.split_once('.');
        let near = split.and_then(|(alias, _)| nearest(alias, aliases.iter().map(|alias| alias.as_str())));
        let shown = shown_key(key);
        let remedy = match (near, split) {
            (Some(alias), Some((_, key))) => format!("; did you mean {alias}.{}?", shown_key(key)),
            _ => format!(": write one before it, as in {first}.{shown}"),
        };
        let listed: Vec<_> = aliases.iter().take(LISTED_ALIASES).map(ToString::to_string).collect();
        let aliases = and_more(&listed, aliases.len() - listed.len());
        values.push(AnnotationKey::Keys, Problem::NoAlias { key: shown.into_owned(), aliases, remedy });
    }
}

/// Reports a prefix that no environment variable can have.
pub(super) fn check_prefix(values: &mut Values<'_>, naming: &Naming) {
    let Naming { prefix, upper } = naming;
    if prefix.is_empty() || is_env_name(prefix) {
        return;
    }
    let valid = |c: char| if c.is_ascii_alphabetic() { c.to_ascii_uppercase() } else { '_' };
    let suggestion = match shown_key(prefix) {
        Cow::Borrowed(prefix) => prefix.chars().map(valid).collect(),
        Cow::Owned(_) => "APP_".to_owned(),
    };
    values.push(AnnotationKey::Prefix, Problem::PrefixOfVariables { suggestion, is_upper: *upper });
}

//! Validated names: of credentials, and of fields and keys.

use std::fmt;

use crate::text::Excerpt;

/// The longest name of a credential, in characters.
const NAME_LIMIT: usize = 40;
/// The longest key of a Secret or ConfigMap, in characters, and so the longest name of a field.
const FIELD_LIMIT: usize = 253;

/// The name of a credential: `[a-z0-9]([-_a-z0-9]*[a-z0-9])?`, at most 40 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CredentialName(String);

impl CredentialName {
    /// Returns `None` if the text is not a valid name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let inner = |b: u8| end(&b) || b == b'-' || b == b'_';
        let valid = text.len() <= NAME_LIMIT
            && text.bytes().all(inner)
            && text.as_bytes().first().is_some_and(end)
            && text.as_bytes().last().is_some_and(end);
        valid.then(|| Self(text.to_owned()))
    }
}

impl CredentialName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a field, and the key of a Secret or ConfigMap: `[-._a-zA-Z0-9]+`, at most 253 characters, not `.` and
/// not beginning with `..`. Kubernetes has the same rule, so that a key can be a file name.
/// Source: <https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FieldName(String);

impl FieldName {
    pub(crate) fn parse(text: &str) -> Result<Self, FieldNameError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let valid = !text.is_empty()
            && text.len() <= FIELD_LIMIT
            && text.bytes().all(inner)
            && text != "."
            && !text.starts_with("..");
        if valid { Ok(Self(text.to_owned())) } else { Err(FieldNameError(Excerpt::new(text))) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be the key of a Secret or ConfigMap.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid key {_0}: use at most 253 letters, digits, `-`, `_` and `.`, not beginning with `..`")]
pub(crate) struct FieldNameError(Excerpt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_names_follow_the_contract() {
        for good in ["a", "0", "db", "my-db_2", &"a".repeat(40)] {
            assert!(CredentialName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "a-", "_", "A", "a.b", "a/b", "..", "ä", &"a".repeat(41)] {
            assert!(CredentialName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn field_names_are_what_a_secret_key_may_be() {
        for good in ["a", "tls.crt", ".dockerconfigjson", "A_b-c", &"a".repeat(253)] {
            assert!(FieldName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "..data", "a/b", "a b", "a\n", "ä", "a\0", &"a".repeat(254)] {
            assert!(FieldName::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Which values are replaced by a placeholder, so that the output can be shown: those from Secrets, and everything that contains a
//! part of one. Annotations, ConfigMaps and Services are not secret.

use crate::secret::SecretBytes;

#[derive(Clone, Copy)]
pub(crate) struct Redaction<'a> {
    pub(crate) placeholder: &'a SecretBytes,
    /// Also replaces values that are not secret: a placeholder beside them may not suit a format or a template.
    pub(crate) all: bool,
}

/// The value, or the placeholder for it.
pub(crate) fn shown<'a>(
    redaction: Option<Redaction<'a>>,
    value: &'a SecretBytes,
    is_public: bool,
) -> &'a SecretBytes {
    match redaction {
        Some(Redaction { placeholder, all }) if all || !is_public => placeholder,
        _ => value,
    }
}

//! Which credentials a publication has changed.

use std::fmt;

use crate::credential::Credential;
use crate::render::Sources;

/// The credentials whose files differ between two bundles.
pub(crate) struct ChangeSet<'a> {
    rotated: Vec<&'a Credential>,
    /// Credentials whose files were removed, because a source was deleted.
    cleared: Vec<&'a Credential>,
}

impl<'a> ChangeSet<'a> {
    /// Finds the changed credentials of which a source was deleted: their content is `None`.
    pub(crate) fn new(changed: impl Iterator<Item = &'a Credential>, contents: &Sources) -> Self {
        let is_cleared = |credential: &&Credential| {
            credential.needed_objects().any(|object| matches!(contents.get(object), Some(None)))
        };
        let (cleared, rotated) = changed.partition(is_cleared);
        Self { rotated, cleared }
    }

    /// Whether an application has new files to read. If files were only removed, a restarted application could
    /// not start.
    pub(crate) fn has_new_files(&self) -> bool {
        !self.rotated.is_empty()
    }

    pub(crate) fn credentials(&self) -> impl Iterator<Item = &'a Credential> {
        self.rotated.iter().chain(&self.cleared).copied()
    }
}

impl fmt::Display for ChangeSet<'_> {
    /// `rotated a, b; cleared c`. Both are empty if edited annotations only dropped credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (verb, credentials) in [("rotated", &self.rotated), ("cleared", &self.cleared)] {
            let names: Vec<_> = credentials.iter().map(|credential| credential.name.to_string()).collect();
            if !names.is_empty() {
                write!(f, "{separator}{verb} {}", names.join(", "))?;
                separator = "; ";
            }
        }
        f.write_str(if separator.is_empty() { "removed files that no annotation names" } else { "" })
    }
}

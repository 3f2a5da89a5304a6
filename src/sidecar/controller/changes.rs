//! Which credentials a publication has changed.

use std::collections::BTreeSet;
use std::fmt;

use crate::credential::Credential;

/// The credentials whose files differ between two bundles.
pub(crate) struct ChangeSet<'a> {
    rotated: Vec<&'a Credential>,
    /// Credentials whose files were removed, because a source was deleted.
    cleared: Vec<&'a Credential>,
}

impl<'a> ChangeSet<'a> {
    /// Finds the credentials of the changed paths. `is_cleared` returns whether a source of a credential was deleted.
    pub(crate) fn new(
        credentials: &'a [Credential],
        changed: &BTreeSet<String>,
        is_cleared: impl Fn(&Credential) -> bool,
    ) -> Self {
        let has_changed = |credential: &&Credential| changed.iter().any(|path| credential.overlaps(path));
        let (cleared, rotated) =
            credentials.iter().filter(has_changed).partition(|credential| is_cleared(credential));
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

//! What another bundle means to whom.

use std::collections::BTreeSet;
use std::fmt;

use crate::credential::Credential;

/// The credentials whose files have changed.
pub(crate) struct Rotation<'a> {
    rotated: Vec<&'a Credential>,
    /// Those whose files are gone, because a source is.
    cleared: Vec<&'a Credential>,
}

impl<'a> Rotation<'a> {
    /// Finds them by the paths that have changed. `is_cleared` says whether a source of a credential is gone.
    pub(crate) fn of(
        credentials: &'a [Credential],
        changed: &BTreeSet<String>,
        is_cleared: impl Fn(&Credential) -> bool,
    ) -> Self {
        let has_changed = |credential: &&Credential| changed.iter().any(|path| credential.overlaps(path));
        let (cleared, rotated) =
            credentials.iter().filter(has_changed).partition(|credential| is_cleared(credential));
        Self { rotated, cleared }
    }

    /// Whether an application has something new to read. It would not start again where its files were cleared away.
    pub(crate) fn has_new_files(&self) -> bool {
        !self.rotated.is_empty()
    }

    /// All of them.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &'a Credential> {
        self.rotated.iter().chain(&self.cleared).copied()
    }
}

impl fmt::Display for Rotation<'_> {
    /// `rotated a, b; cleared c`; of edited annotations nothing else may be left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (what, credentials) in [("rotated", &self.rotated), ("cleared", &self.cleared)] {
            let names: Vec<_> = credentials.iter().map(|credential| credential.name.to_string()).collect();
            if !names.is_empty() {
                write!(f, "{separator}{what} {}", names.join(", "))?;
                separator = "; ";
            }
        }
        f.write_str(if separator.is_empty() { "removed what no annotation names" } else { "" })
    }
}

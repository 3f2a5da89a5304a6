//! The files of credentials that cannot be read yet, after a restart: what an earlier run wrote of them stays, and the others go
//! on.

use std::path::Path;

use crate::bundle::{Bundle, BundleFile};
use crate::credential::Credential;
use crate::volume::{Error, Version};

/// The credentials that can be rendered, and the files of the others as they are.
pub(super) struct Kept {
    pub(super) others: Vec<Credential>,
    pub(super) files: Bundle,
    /// How many credentials these files are of.
    pub(super) kept: usize,
}

/// Finds in the volume at `path` the files of the credentials that lack something. None if there are none of one of them, because
/// no earlier run has written it, or if all lack something, so that there is nothing new. One that is optional may have been left
/// out.
///
/// # Errors
/// If the volume cannot be read.
pub(super) fn keep(
    credentials: &[Credential],
    lacks: impl Fn(&Credential) -> bool,
    path: &Path,
) -> Result<Option<Kept>, Error> {
    let Some(version) = Version::open(path)? else { return Ok(None) };
    let written = version.paths()?;
    // Those that add to a file of one that lacks something stay as that file is.
    let shares = |credential: &Credential| {
        credentials.iter().any(|other| other.path == credential.path && lacks(other))
    };
    let (lacking, others): (Vec<_>, Vec<_>) = credentials.iter().partition(|credential| shares(credential));
    if others.is_empty() {
        return Ok(None);
    }
    let mut files = Bundle::new();
    let kept = lacking.len();
    for credential in lacking {
        let before = files.len();
        for path in written.iter().filter(|path| credential.writes(path)) {
            if let Some(content) = version.read(path)? {
                files.insert(path.clone(), BundleFile { content, mode: credential.mode });
            }
        }
        let shared = files.keys().any(|path| credential.writes(path));
        if files.len() == before && !shared && !credential.optional {
            return Ok(None);
        }
    }
    // What was replaced meanwhile may have been cleared while it was read.
    let is_whole = version.is_current()?;
    Ok(is_whole.then(|| Kept { others: others.into_iter().cloned().collect(), files, kept }))
}

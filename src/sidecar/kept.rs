//! The files of credentials that cannot be read yet, after a restart: what an earlier run wrote of them stays, and the others go
//! on.

use std::path::Path;

use crate::bundle::{Bundle, BundleFile};
use crate::credential::Credential;
use crate::volume::{Error, Reader};

/// The credentials that can be rendered, and the files of the others as they are.
pub(crate) struct Kept {
    pub(crate) others: Vec<Credential>,
    pub(crate) files: Bundle,
    /// How many credentials these files are of.
    pub(crate) kept: usize,
}

/// Finds in the volume at `path` the files of the credentials that lack something. None if there are none of one of them, because
/// no earlier run has written it, or if all lack something, so that there is nothing new. One that is optional may have been left
/// out.
///
/// # Errors
/// If the volume cannot be read.
pub(crate) fn keep(
    credentials: &[Credential],
    lacks: impl Fn(&Credential) -> bool,
    path: &Path,
) -> Result<Option<Kept>, Error> {
    let Some(reader) = Reader::open(path)? else { return Ok(None) };
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
        for (path, content) in reader.read(|path| credential.may_contain(path))? {
            files.insert(path, BundleFile { content, mode: credential.mode });
        }
        if !credential.optional && !files.keys().any(|path| credential.may_contain(path)) {
            return Ok(None);
        }
    }
    Ok(Some(Kept { others: others.into_iter().cloned().collect(), files, kept }))
}

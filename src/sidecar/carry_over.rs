//! Carries the files of an earlier run over into the next bundle, for credentials whose sources have not been read since a restart.
//! The other credentials stay current meanwhile.

use std::path::Path;

use crate::bundle::{Bundle, BundleFile};
use crate::credential::Credential;
use crate::volume::{Error, Reader};

pub(crate) struct CarryOver {
    /// The credentials that can be rendered.
    pub(crate) ready: Vec<Credential>,
    /// The current files of the other credentials.
    pub(crate) files: Bundle,
    /// Number of credentials with carried files.
    pub(crate) count: usize,
}

/// Reads the files of incomplete credentials from the volume at `path`. Returns `None` if a required credential among them has no
/// files from an earlier run, or if no credential is left to render.
///
/// # Errors
/// If the volume cannot be read.
pub(crate) fn carry_over(
    credentials: &[Credential],
    is_incomplete: impl Fn(&Credential) -> bool,
    path: &Path,
) -> Result<Option<CarryOver>, Error> {
    let Some(reader) = Reader::open(path)? else { return Ok(None) };
    // A credential that adds to a file of an incomplete credential is carried over too: the file is rendered whole or not at all.
    let shares_file = |credential: &Credential| {
        credentials.iter().any(|other| other.path == credential.path && is_incomplete(other))
    };
    let (incomplete, ready): (Vec<_>, Vec<_>) =
        credentials.iter().partition(|credential| shares_file(credential));
    if ready.is_empty() {
        return Ok(None);
    }
    let mut files = Bundle::new();
    let count = incomplete.len();
    for credential in incomplete {
        for (path, content) in reader.read(|path| credential.may_contain(path))? {
            files.insert(path, BundleFile { content, mode: credential.mode });
        }
        if !credential.optional && !files.keys().any(|path| credential.may_contain(path)) {
            return Ok(None);
        }
    }
    Ok(Some(CarryOver { ready: ready.into_iter().cloned().collect(), files, count }))
}

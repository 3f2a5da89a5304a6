//! Checks that the files of all credentials fit together, which is known only after every annotation is read.

use std::collections::BTreeMap;

use crate::annotations::error::{Error, Problem};
use crate::annotations::keys::INJECTOR_PREFIX;
use crate::credential::{Credential, OnChange, PathClaims};

/// Extensions of files that only other formats than the default one write.
const EXTENSIONS: [&str; 9] =
    [".env", ".envfile", ".json", ".yaml", ".yml", ".properties", ".uri", ".pgpass", ".cnf"];

/// The names of credentials without a format whose path looks like that of a file, although it is that of a directory.
pub(crate) fn directories_like_files<'a>(
    annotations: &'a BTreeMap<String, String>,
    prefix: &str,
) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (annotation, path) in annotations {
        let rest = annotation.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = rest.and_then(|rest| rest.strip_suffix(".path")) else { continue };
        let has = |key: &&str| annotations.contains_key(&format!("{prefix}/{name}.{key}"));
        let has_format = ["format", "template", "template-from"].iter().any(has);
        if prefix != INJECTOR_PREFIX && !has_format && EXTENSIONS.iter().any(|end| path.ends_with(end)) {
            names.push(name);
        }
    }
    names
}

/// Reports paths that two credentials claim, and touched files that a credential writes.
pub(super) fn check(prefix: &str, credentials: &[Credential], errors: &mut Vec<Error>) {
    let mut claims = PathClaims::default();
    for credential in credentials {
        let Credential { name, path, mode, on_change, .. } = credential;
        let format = credential.output.file_format();
        // Several credentials may touch the same file, but no credential may write it.
        if let Some(OnChange::Touch(touched)) = on_change
            && let Some(other) =
                credentials.iter().find(|other| other.path.parts().next() == touched.parts().next())
        {
            let problem = Problem::TouchesCredential { path: touched.clone(), other: other.name.clone() };
            errors.push(Error::new(&format!("{prefix}/{name}.on-change"), problem));
        }
        let claimed = match format {
            format if format.is_directory() => claims.directory(path, name),
            _ => claims.file(path, format, name),
        };
        // Entries that only the sources name are compared when they are rendered, as are those of a credential that may be skipped.
        let claimed = claimed.and_then(|()| match credential.optional {
            true => Ok(()),
            false => claims.entries(credential, credential.named_entries()),
        });
        let shares = |other: &&Credential| {
            other.path == *path && other.output.file_format() == format && other.mode != *mode
        };
        if let Some(other) = credentials.iter().find(shares).filter(|_| format.is_mergeable()) {
            let problem = Problem::ModeConflict { path: path.clone(), other: other.name.clone() };
            errors.push(Error::new(&format!("{prefix}/{name}.file-mode"), problem));
        }
        if let Err(conflict) = claimed {
            errors.push(Error::new(&format!("{prefix}/{name}.path"), conflict.into()));
        }
    }
}

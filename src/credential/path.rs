//! Paths of files in the volume, the check that no two credentials write the same one, and the files of a bundle by their paths.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::names::{CredentialName, FieldName};
use crate::credential::output::{FileMode, Format};
use crate::secret::SecretBytes;
use crate::text::{Excerpt, RedactedPrefix, is_shown};

/// The longest path, in bytes.
const PATH_LIMIT: usize = 512;
/// The longest part of a path, in bytes: NAME_MAX of Linux.
const PART_LIMIT: usize = 255;
/// The most parts of a path.
const DEPTH_LIMIT: usize = 8;

/// A path that stays inside the volume: relative, without `.` and `..`, without parts that begin with `..` (the volume
/// reserves those names) and without invisible characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelativePath(String);

impl RelativePath {
    /// Parses a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |problem| Err(PathError { excerpt: Excerpt::new(text), problem });
        if text.is_empty() {
            return error("is empty");
        }
        if text.starts_with('/') {
            return error("is absolute: paths are relative to the volume");
        }
        if !text.chars().all(is_shown) {
            return error("contains invisible characters, such as control characters");
        }
        if text.len() > PATH_LIMIT {
            return error("is longer than 512 bytes");
        }
        if text.split('/').count() > DEPTH_LIMIT {
            return error("has more than 8 parts");
        }
        for part in text.split('/') {
            match part {
                "" => return error("has an empty part: name a file, without // and without / at its end"),
                "." => return error("has a part `.`: name a file or directory in the volume"),
                _ if part.starts_with("..") => return error("has a part that begins with `..`"),
                _ if part.len() > PART_LIMIT => return error("has a part of more than 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The path of a field's file in this directory. A [`FieldName`] is always a valid part of a path.
    pub(crate) fn join(&self, field: &FieldName) -> Self {
        Self(format!("{}/{field}", self.0))
    }

    /// The parts of the path, outermost first; there is at least one.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid path, or one that would leave the volume.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{excerpt} {problem}")]
pub struct PathError {
    excerpt: Excerpt,
    problem: &'static str,
}

/// Records which credential writes which path, and detects conflicts.
#[derive(Default)]
pub(crate) struct PathClaims<'a> {
    taken: BTreeMap<String, (Claim, &'a CredentialName)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    File,
    Directory,
    /// A file of this format that several credentials add entries to.
    Entries(Format),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Directory => f.write_str("directory"),
            Self::Entries(format) => write!(f, "{} file", format.name()),
        }
    }
}

impl<'a> PathClaims<'a> {
    /// Claims a file and its parent directories.
    pub(crate) fn file(&mut self, path: &RelativePath, owner: &'a CredentialName) -> Result<(), Conflict> {
        self.parents(path, owner)?;
        self.claim(&path.0, Claim::File, owner)
    }

    /// Claims a file that other credentials of the same format may add entries to, and its parent directories.
    pub(crate) fn entries(
        &mut self,
        path: &RelativePath,
        format: Format,
        owner: &'a CredentialName,
    ) -> Result<(), Conflict> {
        self.parents(path, owner)?;
        self.claim(&path.0, Claim::Entries(format), owner)
    }

    /// Claims a directory and its parents.
    pub(crate) fn directory(
        &mut self,
        path: &RelativePath,
        owner: &'a CredentialName,
    ) -> Result<(), Conflict> {
        self.parents(path, owner)?;
        self.claim(&path.0, Claim::Directory, owner)
    }

    fn parents(&mut self, path: &RelativePath, owner: &'a CredentialName) -> Result<(), Conflict> {
        path.0.match_indices('/').try_for_each(|(end, _)| self.claim(&path.0[..end], Claim::Directory, owner))
    }

    fn claim(&mut self, path: &str, claim: Claim, owner: &'a CredentialName) -> Result<(), Conflict> {
        match self.taken.get(path) {
            None => {
                self.taken.insert(path.to_owned(), (claim, owner));
                Ok(())
            }
            Some((other, _)) if claim == *other && claim != Claim::File => Ok(()),
            Some((other_claim, other)) => Err(Conflict {
                path: path.to_owned(),
                claim,
                other: (*other).clone(),
                other_claim: *other_claim,
            }),
        }
    }
}

/// Two credentials write the same path, or one needs a directory where the other writes a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{} as a {claim} conflicts with credential {other}, which writes it as a {other_claim}: change the .path of one of them",
    RedactedPrefix(path)
)]
pub(crate) struct Conflict {
    path: String,
    claim: Claim,
    other: CredentialName,
    other_claim: Claim,
}

/// The files of all credentials by path, rendered but not yet written. This is the interface between `render`, which fills a
/// bundle, and `volume`, which publishes it; neither imports the other. `render` ensures that no path is the directory of
/// another one.
pub type Bundle = BTreeMap<RelativePath, BundleFile>;

/// A file of a bundle.
#[derive(Debug)]
pub struct BundleFile {
    /// The content.
    pub content: SecretBytes,
    /// The mode; `None` means the volume's default.
    pub mode: Option<FileMode>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_the_volume_are_accepted() {
        for good in ["a", "a/b", ".pgpass", "a.b/c d", "a/.b", "ä", "a...b"] {
            assert!(RelativePath::parse(good).is_ok(), "{good:?}");
        }
        let (long, deep, wide) = ("a/".repeat(300) + "a", "a/".repeat(8) + "a", "a".repeat(256));
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "..data",
            "\u{202e}a",
            "..x/a",
            "a/..b",
            "a\0",
            "a\nb",
            "a\u{7f}",
            "a\u{85}",
            &long,
            &deep,
            &wide,
        ] {
            assert!(RelativePath::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_path_has_one_writer_and_is_a_file_or_a_directory() {
        let (one, two) = (CredentialName::parse("one").unwrap(), CredentialName::parse("two").unwrap());
        let path = |text| RelativePath::parse(text).unwrap();
        let mut claims = PathClaims::default();
        claims.file(&path("a/b"), &one).unwrap();
        claims.file(&path("a/c"), &two).unwrap();
        claims.directory(&path("a"), &two).unwrap();
        for (text, is_file) in [("a/b", true), ("a", true), ("a/b/c", true), ("a/b", false), ("a/b/c", false)]
        {
            let claimed =
                if is_file { claims.file(&path(text), &two) } else { claims.directory(&path(text), &two) };
            assert!(claimed.is_err(), "{text}");
        }
        assert!(claims.file(&path("ab"), &two).is_ok());
    }

    #[test]
    fn entries_of_one_format_may_share_a_file() {
        let (one, two) = (CredentialName::parse("one").unwrap(), CredentialName::parse("two").unwrap());
        let path = RelativePath::parse("a/pgpass").unwrap();
        let mut claims = PathClaims::default();
        claims.entries(&path, Format::Pgpass, &one).unwrap();
        claims.entries(&path, Format::Pgpass, &two).unwrap();
        assert!(claims.entries(&path, Format::Pgservice, &two).is_err());
        assert!(claims.file(&path, &two).is_err());
        assert!(claims.directory(&path, &two).is_err());
    }
}

//! Paths of files in the volume, the check that no two credentials write the same one, and the files of a bundle by their paths.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::Credential;
use crate::credential::names::{CredentialName, FieldName};
use crate::credential::output::{FileMode, Format};
use crate::secret::SecretBytes;
use crate::text::{Excerpt, RedactedPrefix, and_more, is_shown};

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
    taken: BTreeMap<String, Taken<'a>>,
}

struct Taken<'a> {
    claim: Claim,
    /// The first credential that has claimed it.
    owner: &'a CredentialName,
    /// The entries of a file.
    entries: BTreeMap<String, Taken<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A file of this format.
    File(Format),
    Directory,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(Format::Files) => f.write_str("a file"),
            Self::File(format) => write!(f, "a file in format {}", format.name()),
            Self::Directory => f.write_str("a directory"),
        }
    }
}

impl Claim {
    fn can_be_shared(self) -> bool {
        match self {
            Self::File(format) => format.is_mergeable(),
            Self::Directory => true,
        }
    }

    /// The end of the message about two files that conflict: how they can share a path.
    fn alternative(self, owner: Self, other: &CredentialName) -> String {
        let rest = "which makes its text a variable of a file that they share";
        match (self, owner) {
            (Self::File(format), Self::File(_)) if format.is_single_value() => {
                format!(", or add .variable to this credential, {rest}")
            }
            (Self::File(_), Self::File(format)) if format.is_single_value() => {
                format!(", or add {other}.variable, {rest}")
            }
            (Self::File(one), Self::File(two)) if one.is_mergeable() && two.is_mergeable() => {
                ", or give both the same format to share the file".to_owned()
            }
            _ => String::new(),
        }
    }
}

impl<'a> PathClaims<'a> {
    /// Claims a file and its parent directories. Credentials of one format may share it if that format can be merged.
    pub(crate) fn file(
        &mut self,
        path: &RelativePath,
        format: Format,
        owner: &'a CredentialName,
    ) -> Result<(), Conflict> {
        self.parents(path, owner)?;
        self.claim(&path.0, Claim::File(format), owner)
    }

    /// Claims entries of a file, such as variables, which another credential with the same file must not have. The file is claimed
    /// already. `credential` is the one that writes them.
    pub(crate) fn entries<'n>(
        &mut self,
        credential: &'a Credential,
        names: impl Iterator<Item = &'n FieldName>,
    ) -> Result<(), Conflict> {
        let Credential { path, name: owner, .. } = credential;
        let Some(file) = self.taken.get_mut(&path.0) else { return Ok(()) };
        let mut found: Option<(&CredentialName, Vec<String>)> = None;
        for name in names {
            match file.entries.get(name.as_str()) {
                Some(taken) if taken.owner == owner => {}
                Some(Taken { owner: other, .. }) => {
                    let (first, names) = found.get_or_insert_with(|| (*other, Vec::new()));
                    if first == other {
                        names.push(name.to_string());
                    }
                }
                None => {
                    let taken = Taken { claim: file.claim, owner, entries: BTreeMap::new() };
                    file.entries.insert(name.to_string(), taken);
                }
            }
        }
        let Some((other, mut names)) = found else { return Ok(()) };
        let more = names.len().saturating_sub(LISTED_ENTRIES);
        names.truncate(LISTED_ENTRIES);
        Err(Conflict::Entries {
            path: path.clone(),
            format: credential.output.file_format(),
            names,
            more,
            other: other.clone(),
            remedy: match credential.output.exported_variables() {
                Some(_) => "choose another variable name in the annotations of one of them",
                None => "rename it in one of them with .keys or .prefix",
            },
        })
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
                self.taken.insert(path.to_owned(), Taken { claim, owner, entries: BTreeMap::new() });
                Ok(())
            }
            Some(other) if claim == other.claim && claim.can_be_shared() => Ok(()),
            Some(other) => Err(Conflict::Path {
                path: path.to_owned(),
                claim,
                other: other.owner.clone(),
                other_claim: other.claim,
            }),
        }
    }
}

/// Two credentials that cannot both write what their annotations say.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// They write the same path, or one needs a directory where the other writes a file.
    #[error(
        "{} as {claim} conflicts with credential {other}, which writes it as {other_claim}: change the .path of one of them{}",
        RedactedPrefix(path),
        claim.alternative(*other_claim, other)
    )]
    Path { path: String, claim: Claim, other: CredentialName, other_claim: Claim },
    /// They share a file, and both have an entry of these names.
    #[error(
        "duplicate {} {} in {}, which credential {other} writes too: {remedy}, or change the .path of one of them",
        entry_of(*format),
        and_more(names, *more),
        RedactedPrefix(&path.0)
    )]
    Entries {
        path: RelativePath,
        format: Format,
        /// At most [`LISTED_ENTRIES`].
        names: Vec<String>,
        more: usize,
        other: CredentialName,
        remedy: &'static str,
    },
    /// They share a password file, and a line of the other one comes first. The parts of a line may be secret.
    #[error(
        "in {}, libpq would never use a line of this credential, because a line of credential {other} comes first and matches the same host, port, database and user: add what differs with .keys or .set (such as database), rename the credential whose line is more specific so that its name comes first, or change the .path of one of them",
        RedactedPrefix(&path.0)
    )]
    Lines { path: RelativePath, other: CredentialName },
}

/// How many entries a message lists before it only counts them.
const LISTED_ENTRIES: usize = 20;

/// What an entry of a file of this format is called.
fn entry_of(format: Format) -> &'static str {
    match format {
        Format::Json => "member",
        Format::Yaml | Format::Properties => "key",
        _ => "variable",
    }
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
        let file = Format::Uri;
        claims.file(&path("a/b"), file, &one).unwrap();
        claims.file(&path("a/c"), file, &two).unwrap();
        claims.directory(&path("a"), &two).unwrap();
        for (text, is_file) in [("a/b", true), ("a", true), ("a/b/c", true), ("a/b", false), ("a/b/c", false)]
        {
            let claimed = match is_file {
                true => claims.file(&path(text), file, &two),
                false => claims.directory(&path(text), &two),
            };
            assert!(claimed.is_err(), "{text}");
        }
        assert!(claims.file(&path("ab"), file, &two).is_ok());
    }

    #[test]
    fn a_file_is_shared_only_in_one_format_that_can_be_merged() {
        let (one, two) = (CredentialName::parse("one").unwrap(), CredentialName::parse("two").unwrap());
        let path = RelativePath::parse("a/b").unwrap();
        for (_, first) in Format::ALL {
            for (_, second) in Format::ALL {
                let mut claims = PathClaims::default();
                claims.file(&path, first, &one).unwrap();
                let is_shared = claims.file(&path, second, &two).is_ok();
                assert_eq!(is_shared, first == second && first.is_mergeable(), "{first:?} {second:?}");
                assert!(claims.directory(&path, &two).is_err());
            }
        }
    }
}

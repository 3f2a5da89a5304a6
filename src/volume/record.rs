//! The paths that podcreds published: `..podcreds/record` in the volume. By the record, a later run recognises its own files,
//! which it may replace and remove; it never touches others.
//!
//! ```text
//! podcreds volume 1
//! bindings/
//! bindings/db/
//! x.env
//! ```
//!
//! Directories end with a slash. Only directories and the files at the top are recorded: the files in a
//! directory are those of its current version. While a publication that adds names is under way, the first line ends with `incomplete`.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::bounded_file::read_bounded;
use crate::credential::RelativePath;
use crate::volume::tree;

/// The name of the record in podcreds' own directory.
pub(crate) const NAME: &str = "record";
/// Readable by all, so that `podcreds exec` finds the files as any user. It holds no value.
pub(crate) const MODE: u32 = 0o444;
const HEADER: &str = "podcreds volume 1";
const INCOMPLETE: &str = " incomplete";
/// The largest record in bytes: 128 credentials with a path of 512 bytes and the directories above it come to less.
const LIMIT: usize = 1024 * 1024;

/// The names that podcreds published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Paths of directories, each with a slash at the end, and names of files at the top.
    pub(crate) paths: BTreeSet<String>,
    /// Whether a publication that adds names has begun and not ended.
    pub(crate) incomplete: bool,
}

impl Record {
    /// Reads the record in podcreds' own directory; `None` means that there is none yet.
    ///
    /// # Errors
    /// `INVAL` if it is not a record.
    pub(crate) fn load(state: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let file = match tree::open_file(state, NAME) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let text = read_bounded(file, LIMIT);
        let text = text.map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::INVAL))?;
        let text = std::str::from_utf8(&text).map_err(|_| Errno::INVAL)?;
        Self::parse(text).map(Some).ok_or(Errno::INVAL)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let incomplete = match lines.next()?.strip_prefix(HEADER)? {
            "" => false,
            INCOMPLETE => true,
            _ => return None,
        };
        let mut paths = BTreeSet::new();
        for line in lines {
            let path = RelativePath::parse(line.strip_suffix('/').unwrap_or(line)).ok()?;
            let at_top = path.parts().count() == 1;
            if !at_top && !line.ends_with('/') {
                return None;
            }
            paths.insert(line.to_owned());
        }
        (text.len() <= LIMIT).then_some(Self { paths, incomplete })
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{HEADER}{}\n", if self.incomplete { INCOMPLETE } else { "" });
        for path in &self.paths {
            text.push_str(path);
            text.push('\n');
        }
        text
    }

    /// Whether podcreds published a file of this name at the top.
    pub(crate) fn has_file(&self, name: &str) -> bool {
        self.paths.contains(name)
    }

    /// Whether podcreds published this directory; its path ends with a slash.
    pub(crate) fn has_directory(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The directories, each before those in it.
    pub(crate) fn directories(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.paths.iter().map(String::as_str).filter(|path| path.ends_with('/'))
    }

    /// The files at the top.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str).filter(|path| !path.ends_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(paths: &[&str], incomplete: bool) -> Record {
        Record { paths: paths.iter().map(|path| (*path).to_owned()).collect(), incomplete }
    }

    #[test]
    fn a_record_reads_back_the_same() {
        for record in [record(&[], false), record(&["a/", "a/b/", "a.env"], true), record(&["x y"], false)] {
            assert_eq!(Record::parse(&record.to_text()), Some(record));
        }
    }

    #[test]
    fn other_texts_are_not_records() {
        for text in [
            "",
            "podcreds volume 1",
            "podcreds volume 2\n",
            "podcreds volume 1 incomplet\n",
            "podcreds volume 1\n../etc/\n",
            "podcreds volume 1\n/etc/\n",
            "podcreds volume 1\na/b\n",
            "podcreds volume 1\n\n",
            "podcreds volume 1\n..data/\n",
        ] {
            assert_eq!(Record::parse(text), None, "{text:?}");
        }
    }
}

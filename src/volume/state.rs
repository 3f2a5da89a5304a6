//! podcreds' own directory in the volume, `..podcreds`: the locks, the record of published paths, and the staging directory.
//!
//! From the record, a later run knows which files are its own: it may replace and remove those, and never touches others.
//!
//! ```text
//! podcreds volume 1
//! bindings/
//! bindings/db/
//! x.env
//! ```
//!
//! Directories end with a slash. Only directories and the files at the top are recorded: the files in a directory are those of
//! its current version. While a publication that adds names is under way, the first line ends with `incomplete`.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{fdatasync, fstat, renameat};
use rustix::io::Errno;

use crate::credential::RelativePath;
use crate::secret::read_bounded;
use crate::volume::directory::VersionName;
use crate::volume::error::Problem;
use crate::volume::lock;
use crate::volume::tree::{self, Entry, Kind};

pub(crate) const NAME: &str = "..podcreds";
/// Readable by all users, who need the record.
const MODE: u32 = 0o755;
/// The prefix of the staging directory's name.
const STAGING: &str = "new";
/// Readable by all users, so that walking through the volume does not fail during a publication. The entries in it have their
/// final modes.
const STAGING_MODE: u32 = 0o755;
/// The name of the record in podcreds' own directory.
pub(crate) const RECORD: &str = "record";
/// Readable by all, so that `podcreds exec` finds the files as any user. It holds no value.
const RECORD_MODE: u32 = 0o444;
const HEADER: &str = "podcreds volume 1";
const INCOMPLETE: &str = " incomplete";
/// The largest record in bytes: 128 credentials, each with a path of 512 bytes and its parent directories, need less.
const RECORD_LIMIT: usize = 1024 * 1024;
/// The names of the two records that a publication prepares: with the paths that are about to appear, and with those at its end.
pub(crate) const BEGUN: &str = "record.begun";
pub(crate) const ENDED: &str = "record.ended";

#[derive(Debug)]
pub(crate) struct State(OwnedFd);

impl AsFd for State {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl State {
    /// Opens the directory; `None` if nothing was published in this volume yet.
    ///
    /// # Errors
    /// If it belongs to another user, or something else has its name.
    pub(crate) fn open(root: BorrowedFd<'_>) -> Result<Option<Self>, Problem> {
        Ok(Self::open_with_mode(root)?.map(|(state, _)| state))
    }

    fn open_with_mode(root: BorrowedFd<'_>) -> Result<Option<(Self, u32)>, Problem> {
        let failed = |errno| Problem::new("read directories", errno);
        let open = match tree::open_directory(root, NAME) {
            Ok(open) => open,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => {
                return Err(match tree::entry(root, NAME).map_err(failed)? {
                    Some(entry) if entry.kind != Kind::Directory => {
                        Problem::Foreign { name: NAME.to_owned(), owner: entry.owner }
                    }
                    Some(entry) if !entry.is_own() => Problem::other_user(entry.owner),
                    _ => failed(errno),
                });
            }
        };
        let status = fstat(&open).map_err(failed)?;
        if !Entry::from_stat(&status).is_own() {
            return Err(Problem::other_user(status.st_uid));
        }
        Ok(Some((Self(open), tree::permissions(&status))))
    }

    /// Opens the directory, and creates it if it is missing.
    ///
    /// # Errors
    /// As [`State::open`], or if the volume cannot be written.
    pub(crate) fn open_or_create(root: BorrowedFd<'_>) -> Result<Self, Problem> {
        if let Some((state, mode)) = Self::open_with_mode(root)? {
            // Completes a creation that a crash interrupted before the mode was set.
            if mode != MODE {
                let repaired = tree::set_directory_mode(state.as_fd(), MODE);
                repaired.map_err(|errno| Problem::new("read directories", errno))?;
            }
            return Ok(state);
        }
        match tree::create_directory(root, NAME, MODE) {
            Ok(made) => Ok(Self(made)),
            // Another podcreds created it at the same time.
            Err(Errno::EXIST) => {
                Self::open(root)?.ok_or_else(|| Problem::new("create directories", Errno::EXIST))
            }
            Err(errno) => Err(Problem::from_write(root, "create directories", errno)),
        }
    }

    /// The record. `None` means that nothing was published yet.
    ///
    /// # Errors
    /// If it is invalid or cannot be read.
    pub(crate) fn record(&self) -> Result<Option<Record>, Problem> {
        Record::load(self.0.as_fd()).map_err(|errno| match errno {
            Errno::INVAL => Problem::Damaged { name: format!("{NAME}/{}", RECORD) },
            errno => Problem::new("read files", errno),
        })
    }

    /// Writes a record under another name, and syncs it to disk. If a crash of the node emptied another file, the next
    /// publication would notice the difference and rewrite it; an empty record could not be restored.
    pub(crate) fn prepare_record(&self, name: &str, record: &Record) -> Result<(), Errno> {
        let state = self.0.as_fd();
        tree::write_file(state, name, RECORD_MODE, record.to_text().as_bytes())?;
        fdatasync(tree::open_file(state, name)?)
    }

    /// Replaces the record by the one that was prepared under this name.
    pub(crate) fn commit_record(&self, name: &str) -> Result<(), Errno> {
        renameat(&self.0, name, &self.0, RECORD)
    }

    /// Creates the staging directory of a publication.
    pub(crate) fn create_staging(&self, version: &VersionName) -> Result<OwnedFd, Errno> {
        tree::create_directory(self.0.as_fd(), &format!("{STAGING}{version}"), STAGING_MODE)
    }

    pub(crate) fn open_staging(&self, version: &VersionName) -> Result<OwnedFd, Errno> {
        tree::open_directory(self.0.as_fd(), format!("{STAGING}{version}"))
    }

    /// Removes staged entries that were not moved into place, and old entries that were exchanged for new ones.
    pub(crate) fn clear_staging(&self) -> Result<(), Errno> {
        let state = self.0.as_fd();
        let kept = [lock::PUBLICATION, lock::SIDECAR, RECORD];
        let is_leftover = |name: &[u8]| !kept.iter().any(|kept| kept.as_bytes() == name);
        let mut result = Ok(());
        for name in tree::entries_where(state, is_leftover)? {
            // An entry that cannot be removed must not prevent the removal of the others.
            result = result.and(tree::remove(state, &name.to_string_lossy()));
        }
        result
    }
}

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
        let file = match tree::open_file(state, RECORD) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let text = read_bounded(file, RECORD_LIMIT);
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
        (text.len() <= RECORD_LIMIT).then_some(Self { paths, incomplete })
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

/// The entry at the top of the volume that a path is in.
pub(crate) fn entry(path: &str) -> &str {
    path.split_once('/').map_or(path, |(entry, _)| entry)
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

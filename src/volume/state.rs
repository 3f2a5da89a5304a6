//! podcreds' own directory in the volume, `..podcreds`: the lock, the record of what was published, and a place to prepare
//! what is put in place by a rename.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, fdatasync, flock, openat, renameat};
use rustix::io::Errno;

use crate::volume::directory::VersionName;
use crate::volume::error::Problem;
use crate::volume::record::{self, Record};
use crate::volume::tree::{self, Kind};

pub(crate) const NAME: &str = "..podcreds";
/// Readable by all, for the record's sake.
const MODE: u32 = 0o755;
/// A lock on a file needs no right to write, so that a container that may only read the volume must not be able to open it.
const LOCK: &str = "lock";
const LOCK_MODE: u32 = 0o600;
/// What the name of the directory begins with in which entries are prepared.
const STAGING: &str = "new";
/// Readable by all, so that a walk through the volume by any user does not fail while something is published. What is in it has
/// its own mode already.
const STAGING_MODE: u32 = 0o755;
/// The names of the two records that a publication prepares: with what is about to appear, and with what is there at its end.
pub(crate) const BEGUN: &str = "record.begun";
pub(crate) const ENDED: &str = "record.ended";

/// podcreds' own directory.
#[derive(Debug)]
pub(crate) struct State(OwnedFd);

/// The lock, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that was forked meanwhile has the file open until it becomes another program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl State {
    /// Opens the directory; `None` if nothing was published in this volume yet.
    ///
    /// # Errors
    /// If it belongs to another user, or something else has its name.
    pub(crate) fn open(root: BorrowedFd<'_>) -> Result<Option<Self>, Problem> {
        let failed = |errno| Problem::of("read directories", errno);
        match tree::entry(root, NAME).map_err(failed)? {
            None => Ok(None),
            Some(entry) if !entry.is_own() => Err(Problem::other_user(entry.owner)),
            Some(entry) if entry.kind != Kind::Directory => {
                Err(Problem::Foreign { name: NAME.to_owned(), owner: entry.owner })
            }
            Some(_) => tree::open_directory(root, NAME).map(|open| Some(Self(open))).map_err(failed),
        }
    }

    /// Opens the directory, and makes it if there is none.
    ///
    /// # Errors
    /// As [`State::open`], or if the volume cannot be written.
    pub(crate) fn open_or_make(root: BorrowedFd<'_>) -> Result<Self, Problem> {
        if let Some(state) = Self::open(root)? {
            state.mend_mode().map_err(|errno| Problem::of("read directories", errno))?;
            return Ok(state);
        }
        match tree::make_directory(root, NAME, MODE) {
            Ok(made) => Ok(Self(made)),
            // Another podcreds was faster.
            Err(Errno::EXIST) => {
                Self::open(root)?.ok_or_else(|| Problem::of("make directories", Errno::EXIST))
            }
            Err(errno) => Err(Problem::of_writing(root, "make directories", errno)),
        }
    }

    /// A run that died while it made the directory may have left it closed to readers.
    fn mend_mode(&self) -> Result<(), Errno> {
        let directory = self.0.as_fd();
        if tree::directory_mode(directory)? != MODE {
            tree::set_directory_mode(directory, MODE)
        } else {
            Ok(())
        }
    }

    /// Takes the lock. Two processes that publish into one volume would undo each other's work. A file system without locks is
    /// used without.
    ///
    /// # Errors
    /// If another process holds it.
    pub(crate) fn lock(&self) -> Result<Lock, Problem> {
        let file = self.open_lock().map_err(|errno| Problem::of("make files", errno))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Problem::Locked),
            Ok(()) | Err(_) => Ok(Lock(file)),
        }
    }

    fn open_lock(&self) -> Result<OwnedFd, Errno> {
        let made = tree::write_file(self.0.as_fd(), LOCK, LOCK_MODE, b"");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.0, LOCK, flags, Mode::empty()) {
            // Why it could not be made says more than that it is missing.
            Err(Errno::NOENT) => Err(made.err().unwrap_or(Errno::NOENT)),
            result => result,
        }
    }

    /// The record of what was published; `None` if nothing was yet.
    ///
    /// # Errors
    /// If it is not a record.
    pub(crate) fn record(&self) -> Result<Option<Record>, Problem> {
        Record::load(self.0.as_fd()).map_err(|errno| match errno {
            Errno::INVAL => Problem::Damaged { name: format!("{NAME}/{}", record::NAME) },
            errno => Problem::of("read files", errno),
        })
    }

    /// Writes a record beside the current one, under another name. It is synced to disk: a crash of the node that emptied it
    /// could not be mended by comparison, as that of every other file is.
    pub(crate) fn prepare_record(&self, name: &str, record: &Record) -> Result<(), Errno> {
        let state = self.0.as_fd();
        tree::write_file(state, name, record::MODE, record.to_text().as_bytes())?;
        fdatasync(tree::open_file(state, name)?)
    }

    /// Replaces the record by the one that was prepared under this name.
    pub(crate) fn commit_record(&self, name: &str) -> Result<(), Errno> {
        renameat(&self.0, name, &self.0, record::NAME)
    }

    /// Makes the directory in which the entries of one publication are prepared.
    pub(crate) fn make_staging(&self, version: &VersionName) -> Result<OwnedFd, Errno> {
        tree::make_directory(self.0.as_fd(), &format!("{STAGING}{version}"), STAGING_MODE)
    }

    /// Opens that directory.
    pub(crate) fn open_staging(&self, version: &VersionName) -> Result<OwnedFd, Errno> {
        tree::open_directory(self.0.as_fd(), format!("{STAGING}{version}"))
    }

    /// Removes what was prepared and not put in place, and what was exchanged for it.
    pub(crate) fn clear_staging(&self) -> Result<(), Errno> {
        let state = self.0.as_fd();
        let is_left = |name: &[u8]| !matches!(name, b"lock" | b"record");
        let mut result = Ok(());
        for name in tree::entries_where(state, is_left)? {
            // What cannot be removed must not keep the rest.
            result = result.and(tree::remove(state, &name.to_string_lossy()));
        }
        result
    }
}

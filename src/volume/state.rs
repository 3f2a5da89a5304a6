//! podcreds' own directory in the volume, `..podcreds`: the lock, the record of what was published, and a place to prepare
//! what is put in place by a rename.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat, renameat};
use rustix::io::Errno;

use crate::volume::error::Problem;
use crate::volume::record::{self, Record};
use crate::volume::tree::{self, Kind};

pub(super) const NAME: &str = "..podcreds";
/// Readable by all, for the record's sake.
const MODE: u32 = 0o755;
/// A lock on a file needs no right to write, so that a container that may only read the volume must not be able to open it.
const LOCK: &str = "lock";
const LOCK_MODE: u32 = 0o600;
const STAGING: &str = "new";
/// Readable by all, so that a walk through the volume by any user does not fail while something is published. What is in it has
/// its own mode already.
const STAGING_MODE: u32 = 0o755;
const NEXT_RECORD: &str = "record.next";

/// podcreds' own directory.
#[derive(Debug)]
pub(super) struct State(OwnedFd);

/// The lock, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

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
    pub(super) fn open(root: BorrowedFd<'_>) -> Result<Option<Self>, Problem> {
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
    pub(super) fn open_or_make(root: BorrowedFd<'_>) -> Result<Self, Problem> {
        if let Some(state) = Self::open(root)? {
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

    /// Takes the lock. Two processes that publish into one volume would undo each other's work. A file system without locks is
    /// used without.
    ///
    /// # Errors
    /// If another process holds it.
    pub(super) fn lock(&self) -> Result<Lock, Problem> {
        let file = self.open_lock().map_err(|errno| Problem::of("lock files", errno))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Problem::Locked),
            Ok(()) | Err(_) => Ok(Lock(file)),
        }
    }

    fn open_lock(&self) -> Result<OwnedFd, Errno> {
        match tree::write_file(self.0.as_fd(), LOCK, LOCK_MODE, b"") {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::NOSPC | Errno::DQUOT) => {}
            Err(errno) => return Err(errno),
        }
        openat(&self.0, LOCK, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// The record of what was published; `None` if nothing was yet.
    ///
    /// # Errors
    /// If it is not a record.
    pub(super) fn record(&self) -> Result<Option<Record>, Problem> {
        Record::load(self.0.as_fd()).map_err(|errno| match errno {
            Errno::INVAL => Problem::Damaged { name: format!("{NAME}/{}", record::NAME) },
            errno => Problem::of("read files", errno),
        })
    }

    /// Writes a record beside the current one.
    pub(super) fn prepare_record(&self, record: &Record) -> Result<(), Errno> {
        let state = self.0.as_fd();
        tree::remove_file(state, NEXT_RECORD)?;
        tree::write_file(state, NEXT_RECORD, record::MODE, record.to_text().as_bytes())
    }

    /// Replaces the record by the one that was prepared.
    pub(super) fn commit_record(&self) -> Result<(), Errno> {
        renameat(&self.0, NEXT_RECORD, &self.0, record::NAME)
    }

    /// Makes the directory in which entries are prepared.
    pub(super) fn make_staging(&self) -> Result<OwnedFd, Errno> {
        tree::make_directory(self.0.as_fd(), STAGING, STAGING_MODE)
    }

    /// Opens the directory in which entries are prepared.
    pub(super) fn open_staging(&self) -> Result<OwnedFd, Errno> {
        tree::open_directory(self.0.as_fd(), STAGING)
    }

    /// Removes what was prepared and not put in place, and what was exchanged for it.
    pub(super) fn clear_staging(&self) -> Result<(), Errno> {
        let state = self.0.as_fd();
        if tree::entry(state, NEXT_RECORD)?.is_some() {
            tree::remove_file(state, NEXT_RECORD)?;
        }
        tree::remove(state, STAGING)
    }
}

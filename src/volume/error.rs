//! Why a volume could not be written, and what mounts one that can.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::quote::Quoted;

/// A volume that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("volume {}: {problem}", path.display())]
pub struct Error {
    path: PathBuf,
    problem: Problem,
}

impl Error {
    pub(super) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }
}

/// What is wrong with a volume.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    /// ENOENT
    #[error("is not there: mount an emptyDir volume at this path, or name another with --volume")]
    Missing,
    /// ENOTDIR
    #[error("is no folder: mount an emptyDir volume at this path, or name another with --volume")]
    NotAFolder,
    /// EROFS
    #[error("is read-only: leave readOnly out of this container's volumeMount; what was there is unchanged")]
    ReadOnly,
    /// ENOSPC and EDQUOT
    #[error("is full: raise the sizeLimit of its emptyDir; what was there is unchanged")]
    Full,
    /// EACCES and EPERM
    #[error(
        "this process (uid {uid}) may not {operation} in it: set fsGroup in the pod's securityContext, or run both containers as one user; what was there is unchanged"
    )]
    NotAllowed {
        /// What was tried.
        operation: &'static str,
        /// Who tried.
        uid: u32,
    },
    /// Somebody else's entry is where one of ours should go.
    #[error("{} is there and was not written by podcreds: remove it, or choose another .path", Quoted(name))]
    Foreign {
        /// Its name.
        name: String,
    },
    /// A program would become part of the credentials.
    #[error(
        "what is at this place is written by podcreds from the annotations: install a program beside it, for example to bin/podcreds at the top of the volume"
    )]
    Published,
    /// Something that is no program is where one should go.
    #[error(
        "{} is there and is no program, or no folder for one: remove it, or install to another path",
        Quoted(name)
    )]
    InTheWay {
        /// Its name.
        name: String,
    },
    /// MS_NOEXEC
    #[error(
        "is mounted noexec, so that no program starts from there: install to a volume without that option"
    )]
    NoExec,
    /// Another process is writing.
    #[error(
        "another process holds the lock on it (flock): give each podcreds its own volume; what was there is unchanged"
    )]
    Locked,
    /// Anything else that the operating system says.
    #[error("cannot {operation} in it: {errno}; what was there is unchanged")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What came of it.
        errno: Errno,
    },
}

impl Problem {
    /// Why the volume itself could not be opened.
    pub(super) fn of_open(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing,
            Errno::NOTDIR | Errno::LOOP => Self::NotAFolder,
            errno => Self::of("open", errno),
        }
    }

    /// Why something in the volume could not be done.
    pub(super) fn of(operation: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::ROFS => Self::ReadOnly,
            Errno::NOSPC | Errno::DQUOT => Self::Full,
            Errno::ACCESS | Errno::PERM => {
                Self::NotAllowed { operation, uid: rustix::process::geteuid().as_raw() }
            }
            errno => Self::Io { operation, errno },
        }
    }
}

//! Why a volume could not be read or written, and which settings of the pod would allow it.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::text::Quoted;
use crate::volume::access::{self, Identity};
use crate::volume::room::Room;

/// A volume that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("volume {}: {problem}", path.display())]
pub struct Error {
    path: PathBuf,
    problem: Problem,
}

impl Error {
    pub(crate) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// Whether there is no directory at the path.
    pub(crate) fn is_not_a_volume(&self) -> bool {
        matches!(self.problem, Problem::Missing | Problem::NotADirectory)
    }
}

/// What is wrong with the volume.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Problem {
    /// ENOENT
    #[error("does not exist")]
    Missing,
    /// ENOTDIR
    #[error("is not a directory")]
    NotADirectory,
    /// EROFS
    #[error(
        "is read-only: remove readOnly from this container's volumeMount; the existing files are unchanged"
    )]
    ReadOnly,
    /// ENOSPC and EDQUOT
    #[error(
        "is full: raise the sizeLimit of its emptyDir{}; the existing files are unchanged",
        .0.map(|room| room.to_string()).unwrap_or_default()
    )]
    Full(Option<Room>),
    /// EACCES and EPERM
    #[error("permission denied (uid {uid}, {operation}): {remedy}; the existing files are unchanged")]
    NotAllowed {
        operation: &'static str,
        /// The user of this process.
        uid: u32,
        remedy: String,
    },
    /// The volume was written by another user.
    #[error(
        "podcreds wrote its files as uid {owner} but now runs as uid {uid}, which cannot replace them: set the same runAsUser for both containers; the existing files are unchanged"
    )]
    OtherUser {
        /// The user who wrote it.
        owner: u32,
        /// The user of this process.
        uid: u32,
    },
    /// An entry that podcreds did not create is at a path of the bundle.
    #[error(
        "{} exists, belongs to uid {owner} and was not written by podcreds: remove it, or choose another .path; the existing files are unchanged",
        Quoted(name)
    )]
    Foreign {
        /// Its path in the volume.
        name: String,
        /// The user it belongs to.
        owner: u32,
    },
    /// The record is invalid.
    #[error(
        "{} is damaged: it was changed by another process, or written by a newer podcreds; start with an empty volume",
        Quoted(name)
    )]
    Damaged {
        /// Its path in the volume.
        name: String,
    },
    /// A program would be among the credentials.
    #[error(
        "podcreds publishes credentials to this path: install the program elsewhere, for example to bin/podcreds at the top of the volume"
    )]
    Published,
    /// A part of the path of a program begins with two dots.
    #[error(
        "{} is in the path of the program, but names that begin with `..` are reserved for podcreds: install the program elsewhere, for example to bin/podcreds at the top of the volume",
        Quoted(name)
    )]
    Reserved {
        /// The part.
        name: String,
    },
    /// The destination of a program, or a part of its path, is of another kind.
    #[error(
        "{} exists and is not a regular file, or a part of the path is not a directory: remove it, or install to another path",
        Quoted(name)
    )]
    InTheWay {
        /// Its name.
        name: String,
    },
    /// MS_NOEXEC
    #[error("is mounted noexec: install the program to a volume that allows execution")]
    NoExec,
    /// Another process holds the lock.
    #[error(
        "locked by another process (flock): give each podcreds its own volume; the existing files are unchanged"
    )]
    Locked,
    /// Another sidecar of this pod has the volume.
    #[error(
        "another podcreds sidecar ({}) writes to it, and each would remove the files of the other: run one sidecar for all annotations of the pod, or give each its own volume; the existing files are unchanged",
        Quoted(holder)
    )]
    SecondSidecar {
        /// Process, time and host.
        holder: String,
    },
    /// An error while the prepared files are moved into place.
    #[error(
        "cannot move files into place: {errno}; some files may be new and others still old, but each is complete; the next attempt replaces the rest"
    )]
    Replacing {
        /// The error.
        errno: Errno,
    },
    /// Any other error of the operating system.
    #[error("cannot {operation}: {errno}; the existing files are unchanged")]
    Io { operation: &'static str, errno: Errno },
}

impl Problem {
    /// An error while opening the volume itself.
    pub(crate) fn from_open(path: &Path, errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing,
            Errno::NOTDIR | Errno::LOOP => Self::NotADirectory,
            errno => Self::with_remedy("open", errno, || match stat(path) {
                Ok(status) => access::remedy(&status, &Identity::current()),
                Err(_) => "set fsGroup in the pod's securityContext".to_owned(),
            }),
        }
    }

    /// An error of an operation in the volume.
    pub(crate) fn new(operation: &'static str, errno: Errno) -> Self {
        Self::with_remedy(operation, errno, || {
            "set fsGroup in the pod's securityContext, or run both containers as the same user".to_owned()
        })
    }

    /// An error while creating an entry in the volume's top directory.
    pub(crate) fn from_write(root: BorrowedFd<'_>, operation: &'static str, errno: Errno) -> Self {
        Self::with_remedy(operation, errno, || match fstat(root) {
            Ok(status) => access::remedy(&status, &Identity::current()),
            Err(_) => "set fsGroup in the pod's securityContext".to_owned(),
        })
    }

    /// An error while moving prepared files into place.
    pub(crate) fn while_replacing(errno: Errno) -> Self {
        Self::Replacing { errno }
    }

    /// The volume was written by another user.
    pub(crate) fn other_user(owner: u32) -> Self {
        Self::OtherUser { owner, uid: geteuid().as_raw() }
    }

    fn with_remedy(operation: &'static str, errno: Errno, remedy: impl FnOnce() -> String) -> Self {
        match errno {
            Errno::ROFS => Self::ReadOnly,
            Errno::NOSPC | Errno::DQUOT => Self::Full(None),
            Errno::ACCESS | Errno::PERM => {
                Self::NotAllowed { operation, uid: geteuid().as_raw(), remedy: remedy() }
            }
            errno => Self::Io { operation, errno },
        }
    }
}

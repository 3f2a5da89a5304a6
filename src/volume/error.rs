//! Why a volume could not be read or written, and which settings of the pod would allow it.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, Stat, fstat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::text::Quoted;

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

/// What is wrong with a volume.
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
        "is read-only: leave readOnly out of this container's volumeMount; the existing files are unchanged"
    )]
    ReadOnly,
    /// ENOSPC and EDQUOT
    #[error("is full: raise the sizeLimit of its emptyDir; the existing files are unchanged")]
    Full,
    /// EACCES and EPERM
    #[error("this process (uid {uid}) may not {operation} in it: {remedy}; the existing files are unchanged")]
    NotAllowed {
        /// What was tried.
        operation: &'static str,
        /// The user of this process.
        uid: u32,
        /// What to set.
        remedy: String,
    },
    /// The volume was written by another user.
    #[error(
        "podcreds wrote it as uid {owner} but now runs as uid {uid}, which cannot replace those files: give both containers the same runAsUser; the existing files are unchanged"
    )]
    OtherUser {
        /// The user who wrote it.
        owner: u32,
        /// The user of this process.
        uid: u32,
    },
    /// Something of others is where podcreds is to write.
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
    /// podcreds' own record is not readable as one.
    #[error(
        "{} is damaged: it was changed by another process, or written by a newer podcreds; start with an empty volume",
        Quoted(name)
    )]
    Damaged {
        /// Its path in the volume.
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
        "another process holds the lock on it (flock): give each podcreds its own volume; the existing files are unchanged"
    )]
    Locked,
    /// An error of the operating system while what was prepared is put in place.
    #[error(
        "cannot put files in place in it: {errno}; each file is the old one or the new one, and the next attempt does the rest"
    )]
    Replacing {
        /// The error.
        errno: Errno,
    },
    /// Anything else that the operating system says.
    #[error("cannot {operation} in it: {errno}; the existing files are unchanged")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What came of it.
        errno: Errno,
    },
}

impl Problem {
    /// Why the volume itself could not be opened.
    pub(crate) fn of_open(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing,
            Errno::NOTDIR | Errno::LOOP => Self::NotADirectory,
            errno => Self::of("open", errno),
        }
    }

    /// Why something in the volume could not be done.
    pub(crate) fn of(operation: &'static str, errno: Errno) -> Self {
        Self::with_remedy(operation, errno, || {
            "set fsGroup in the pod's securityContext, or run both containers as the same user".to_owned()
        })
    }

    /// Why nothing could be created in the volume's own directory.
    pub(crate) fn of_writing(root: BorrowedFd<'_>, operation: &'static str, errno: Errno) -> Self {
        Self::with_remedy(operation, errno, || match fstat(root) {
            Ok(status) => remedy(&status),
            Err(_) => "set fsGroup in the pod's securityContext".to_owned(),
        })
    }

    /// Why what was prepared could not be put in place.
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
            Errno::NOSPC | Errno::DQUOT => Self::Full,
            Errno::ACCESS | Errno::PERM => {
                Self::NotAllowed { operation, uid: geteuid().as_raw(), remedy: remedy() }
            }
            errno => Self::Io { operation, errno },
        }
    }
}

/// What gives this process the right to write to a volume: `fsGroup` does if the group may write or will be set, and where
/// the volume has a group of its own already it is the mode that keeps the group out.
fn remedy(status: &Stat) -> String {
    let mode = Mode::from_raw_mode(status.st_mode);
    let (owner, group, bits) = (status.st_uid, status.st_gid, status.st_mode & 0o7777);
    let belongs = format!("it belongs to uid {owner} and gid {group} with mode {bits:04o}");
    if mode.contains(Mode::SGID) && !mode.contains(Mode::WGRP) {
        format!("{belongs}, so its group cannot write: give the volume's directory mode 2770")
    } else {
        format!("{belongs}: set fsGroup in the pod's securityContext, or run podcreds as uid {owner}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_remedy_fits_the_mode_of_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(directory.path()).unwrap();
        let remedy = |mode| {
            rustix::fs::fchmod(&root, Mode::from_raw_mode(mode)).unwrap();
            Problem::of_writing(root.as_fd(), "make directories", Errno::ACCESS).to_string()
        };
        assert!(remedy(0o755).contains("with mode 0755: set fsGroup in the pod's securityContext, or run"));
        assert!(remedy(0o2750).contains("with mode 2750, so its group cannot write: give the volume's"));
        assert!(!remedy(0o2750).contains("fsGroup"));
    }
}

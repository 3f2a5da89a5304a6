//! The locks of a volume: files in podcreds' own directory, of which `lock` is held during a publication, and `sidecar` for as long
//! as a sidecar runs. The kernel releases them when the process ends, even if it is killed, so a container that restarts never
//! waits for its predecessor.
//!
//! Locking a file does not require write permission. Containers with read-only access to the volume must therefore not be able to
//! open these files.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_seconds;
use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, fstat, ftruncate, openat};
use rustix::io::{Errno, pread, pwrite};
use rustix::process::getpid;
use rustix::system::uname;

use crate::text::formattable;
use crate::volume::error::Problem;
use crate::volume::state::{self, State};
use crate::volume::tree::{self, Entry, FILE_BITS, Kind};

/// Held during a publication: two processes that publish to one volume would undo each other's changes.
pub(crate) const PUBLICATION: &str = "lock";
/// Held while a sidecar runs: each of two sidecars on one volume would remove the files of the other.
pub(crate) const SIDECAR: &str = "sidecar";
/// Readable by podcreds' own user only.
const MODE: u32 = 0o600;
/// How long a starting sidecar waits for one that is about to end.
pub(crate) const WAIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// The maximum size in bytes of the description of a lock's holder. A host name has at most 64.
const HOLDER_LIMIT: usize = 160;
/// Stands before the host name in the description.
const HOST: &str = " on host ";

/// Holds a lock until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was forked meanwhile has the file open until it calls exec(2).
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl State {
    /// Acquires the lock of a publication. On a file system that does not support locks, it continues without one.
    ///
    /// # Errors
    /// If another process holds it.
    pub(crate) fn lock(&self) -> Result<Lock, Problem> {
        let file = self.open_lock(PUBLICATION)?;
        if acquire(&file) { Ok(Lock(file)) } else { Err(Problem::Locked) }
    }

    /// Acquires the lock of a sidecar.
    ///
    /// # Errors
    /// If another process holds it, and does not end within this time.
    pub(crate) fn lock_for_sidecar(&self, wait: Duration) -> Result<Lock, Problem> {
        let file = self.open_lock(SIDECAR)?;
        let until = Instant::now() + wait;
        while !acquire(&file) {
            if Instant::now() >= until {
                return Err(Problem::SecondSidecar { holder: read_holder(&file) });
            }
            sleep(PAUSE);
        }
        // The lock does not depend on the description, for which a full volume may have no room.
        let _ = write_holder(&file);
        Ok(Lock(file))
    }

    fn open_lock(&self, name: &str) -> Result<OwnedFd, Problem> {
        let failed = |errno| Problem::new("open lock files", errno);
        let directory = self.as_fd();
        // A FIFO in the file's place must not block. NFS locks only files that are open for writing.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || openat(directory, name, flags, Mode::empty());
        let opened = match open() {
            // Another podcreds may create it at the same time.
            Err(Errno::NOENT) => match tree::write_file(directory, name, MODE, b"") {
                Ok(()) | Err(Errno::EXIST) => open(),
                Err(errno) => Err(errno),
            },
            result => result,
        };
        let file = match opened {
            Ok(file) => file,
            Err(errno) => {
                if let Ok(Some(entry)) = tree::entry(directory, name) {
                    check(name, entry)?;
                }
                return Err(failed(errno));
            }
        };
        let status = fstat(&file).map_err(failed)?;
        check(name, Entry::from_stat(&status))?;
        if status.st_mode & FILE_BITS != MODE {
            fchmod(&file, Mode::from_raw_mode(MODE)).map_err(failed)?;
        }
        Ok(file)
    }
}

fn check(name: &str, entry: Entry) -> Result<(), Problem> {
    match entry.kind {
        Kind::File if entry.is_own() => Ok(()),
        Kind::File => Err(Problem::other_user(entry.owner)),
        _ => Err(Problem::Damaged { name: format!("{}/{name}", state::NAME) }),
    }
}

/// Whether this process has the lock now, or the file system does not support locks.
fn acquire(file: &OwnedFd) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

fn write_holder(file: &OwnedFd) -> Result<(), Errno> {
    let since = format_rfc3339_seconds(formattable(SystemTime::now()));
    let holder = format!("pid {} since {since}{HOST}{}", getpid().as_raw_nonzero(), host());
    ftruncate(file, 0)?;
    pwrite(file, holder.as_bytes(), 0).map(drop)
}

fn read_holder(file: &OwnedFd) -> String {
    let mut holder = [0; HOLDER_LIMIT];
    let length = pread(file, &mut holder, 0).unwrap_or_default();
    String::from_utf8_lossy(&holder[..length]).into_owned()
}

/// Whether a lock's holder runs in another pod: the containers of a pod have one host name, by default the pod's name.
pub(crate) fn is_of_another_host(holder: &str) -> bool {
    holder.split_once(HOST).is_some_and(|(_, other)| other != host())
}

fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

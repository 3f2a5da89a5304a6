//! When the files in a volume were published, by the modification times that podcreds left on them.
//!
//! A directory's time is that of its link `..data`, which is created for each version, not the time in the version's name: to keep
//! the names in order, that time is later than the clock after the clock was set back. The change time (ctime) would be the time of
//! the swap itself, but the container runtime also changes it, for example with an SELinux label.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;

use crate::volume::directory;
use crate::volume::reader::Reader;
use crate::volume::tree::{Entry, Kind};
use crate::volume::{lock, state};

/// Times of the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// The beginning of the first publication.
    pub(crate) begun: SystemTime,
    /// The end of the last publication that added or removed names. Until then, it is the end of the first one.
    pub(crate) named: SystemTime,
    /// Each file at the top and each directory of files, with the time of its content. Paths of directories end with a slash.
    pub(crate) entries: Vec<(String, SystemTime)>,
}

impl Reader {
    /// The times of what this process may see; `None` if nothing is published in the present layout. Skips directories that this
    /// process may not enter: they hold files for another user.
    pub(crate) fn times(&self) -> Option<Times> {
        let status = |path: &str| statat(self.root.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW);
        let own = |name: &str| status(&format!("{}/{name}", state::NAME)).ok();
        let record = self.record.as_ref()?;
        let mut entries = Vec::new();
        for path in &record.paths {
            let (target, kind) = match path.ends_with('/') {
                true => (format!("{path}{}", directory::DATA), Kind::Link),
                false => (path.clone(), Kind::File),
            };
            let found: Result<Stat, Errno> = status(&target);
            if let Ok(found) = found
                && Entry::from_stat(&found) == (Entry { kind, owner: self.owner })
            {
                entries.push((path.clone(), time(found.st_mtime, found.st_mtime_nsec)));
            }
        }
        // Nothing writes to the lock. The last publication that changed names has renamed the record at its end.
        let (begun, named) = (own(lock::PUBLICATION)?, own(state::RECORD)?);
        Some(Times {
            begun: time(begun.st_mtime, begun.st_mtime_nsec),
            named: time(named.st_ctime, named.st_ctime_nsec),
            entries,
        })
    }
}

fn time(seconds: i64, nanoseconds: impl TryInto<u32>) -> SystemTime {
    let nanoseconds = nanoseconds.try_into().unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds.try_into().unwrap_or_default(), nanoseconds)
}

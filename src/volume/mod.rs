//! The folder that podcreds writes and the application reads, laid out as the kubelet lays out a Secret volume:
//!
//! ```text
//! db      -> ..data/db
//! ..data  -> ..2026_11_20_17_40_01.123456789
//! ..2026_11_20_17_40_01.123456789/db/password
//! ```
//!
//! A version is never changed once `..data` leads to it. Whoever resolves `..data` once sees one version; whoever opens
//! a path sees the old version or the new one, at every instant and after a crash at any instruction, because links for
//! new names are made before the swap, when they lead nowhere, and those of old names removed after it, when they lead
//! nowhere again. Everything is opened relative to the volume's own folder, one part at a time, without following links.
//!
//! Knows files, and nothing of Kubernetes.

mod error;
mod install;
mod layout;
mod tree;
mod version;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use log::warn;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;

pub use error::{Error, Problem};
pub use install::{Installed, install};
pub use version::Version;

use crate::bundle::Bundle;
use crate::credential::{FileMode, RelativePath};
use crate::volume::layout::VersionName;
use crate::volume::tree::Folder;

/// The most versions before the current one that are kept for their grace.
const KEPT_VERSIONS: usize = 500;
/// How many names are tried for a version.
const NAME_ATTEMPTS: u64 = 100;

/// An open volume.
#[derive(Debug)]
pub struct Volume {
    root: OwnedFd,
    path: PathBuf,
    default_mode: FileMode,
    /// How long the version before a swap is kept, for readers that are still in it.
    grace: Duration,
}

/// What publishing did.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The volume holds this bundle already: no file was written.
    Unchanged,
    /// The bundle was written and swapped in.
    Swapped {
        /// The name of its folder.
        version: String,
        /// The files in which it differs from the version before it, those that are gone too; none if there was none.
        changed: Option<BTreeSet<String>>,
    },
}

impl Volume {
    /// Opens the folder at `path`. The version before a swap is kept for `grace`.
    ///
    /// # Errors
    /// If it is not there, is no folder, or cannot be opened.
    pub fn open(path: &Path, grace: Duration) -> Result<Self, Error> {
        let root = open_root(path)?;
        let status = fstat(&root).map_err(|errno| Error::new(path, Problem::of_open(errno)))?;
        let group_owned = Mode::from_raw_mode(status.st_mode).contains(Mode::SGID);
        let default_mode = if group_owned { FileMode::GROUP } else { FileMode::WORLD };
        Ok(Self { root, path: path.to_owned(), default_mode, grace })
    }

    /// Makes the bundle what the volume holds: whole, by one rename, or not at all.
    ///
    /// # Errors
    /// Why it could not be written. What the volume held before, it still holds.
    pub fn publish(&self, bundle: &Bundle) -> Result<Published, Error> {
        self.lock()?;
        let published = self.publish_locked(bundle).map_err(|problem| Error::new(&self.path, problem));
        // Also released when the process ends, however it ends.
        let _ = flock(&self.root, FlockOperation::Unlock);
        published
    }

    /// Gives a file at the top of the volume a new modification time, and makes it if it is not there.
    ///
    /// # Errors
    /// If something else is in its place, or the volume cannot be written.
    pub fn touch(&self, path: &RelativePath) -> Result<(), Error> {
        let name = path.to_string();
        layout::touch(self.root.as_fd(), &name, self.default_mode.bits())
            .map_err(|problem| Error::new(&self.path, problem))
    }

    /// Removes the versions that have outlived their grace since they were swapped out.
    pub fn clear(&self) {
        if self.lock().is_ok() {
            if let Ok(current) = layout::current(self.root.as_fd()) {
                self.clear_leftovers(current.as_ref());
            }
            let _ = flock(&self.root, FlockOperation::Unlock);
        }
    }

    /// Two processes that publish into one volume would undo each other's work: the second is told so. A file system
    /// without locks is used without.
    fn lock(&self) -> Result<(), Error> {
        match flock(&self.root, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(Error::new(&self.path, Problem::Locked)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn publish_locked(&self, bundle: &Bundle) -> Result<Published, Problem> {
        let root = self.root.as_fd();
        let folder = Folder::of(bundle, self.default_mode);
        let current = layout::current(root)?;
        let links = layout::links(root)?;
        let new_links: Vec<_> = folder.names().filter(|name| !links.contains(*name)).collect();
        layout::check_foreign(root, new_links.iter().copied())?;
        self.clear_leftovers(current.as_ref());

        let holds = |current: &VersionName| tree::holds(root, current.as_str(), &folder);
        let published = if new_links.is_empty() && current.as_ref().is_some_and(holds) {
            Published::Unchanged
        } else {
            let changed = current.as_ref().map(|current| tree::differences(root, current.as_str(), &folder));
            let version = match self.write(&folder, &new_links) {
                // Room for what is needed now comes before the grace of what is not.
                Err(Problem::Full) if self.clear_all_but(current.as_ref()) => {
                    self.write(&folder, &new_links)?
                }
                result => result?,
            };
            self.clear_leftovers(Some(&version));
            Published::Swapped { version: version.to_string(), changed }
        };
        let old_links = links.iter().map(String::as_str).filter(|name| !folder.has(name));
        layout::remove_links(root, old_links);
        Ok(published)
    }

    /// Writes a version beside the current one and swaps it in. If that fails, nothing of it is left.
    fn write(&self, folder: &Folder<'_>, new_links: &[&str]) -> Result<VersionName, Problem> {
        let root = self.root.as_fd();
        let (version, made) = self.make_version(folder)?;
        let result = tree::fill(made.as_fd(), folder)
            .and_then(|()| layout::make_links(root, new_links))
            .and_then(|()| layout::swap(root, &version));
        if let Err(problem) = result {
            layout::remove_links(root, new_links.iter().copied());
            self.remove(version.as_str());
            return Err(problem);
        }
        Ok(version)
    }

    /// Makes the folder of a new version. A name that is taken, because the clock stands or went back, is passed over.
    fn make_version(&self, folder: &Folder<'_>) -> Result<(VersionName, OwnedFd), Problem> {
        let mut errno = Errno::EXIST;
        for attempt in 0..NAME_ATTEMPTS {
            let version = VersionName::new(SystemTime::now() + Duration::from_nanos(attempt));
            match tree::make(self.root.as_fd(), version.as_str(), folder) {
                Ok(made) => return Ok((version, made)),
                Err(Errno::EXIST) => {}
                Err(other) => {
                    errno = other;
                    break;
                }
            }
        }
        Err(Problem::of("make folders", errno))
    }

    /// Removes the versions that nobody should be reading: those that were never current, and those that have not been for
    /// longer than the grace. However fast bundles follow each other, only some of the latest are kept.
    fn clear_leftovers(&self, current: Option<&VersionName>) {
        let now = SystemTime::now();
        let versions = layout::versions(self.root.as_fd());
        // A version was current until the one after it came.
        let successors = versions.iter().skip(1);
        for (kept, (version, successor)) in versions.iter().zip(successors).rev().enumerate() {
            let was_current = current.is_some_and(|current| version < current);
            if !was_current || successor.age(now) >= self.grace || kept >= KEPT_VERSIONS {
                self.remove_unless(version, current);
            }
        }
        if let Some(newest) = versions.last() {
            self.remove_unless(newest, current);
        }
    }

    /// Removes all versions but one; says whether there were any.
    fn clear_all_but(&self, current: Option<&VersionName>) -> bool {
        let versions = layout::versions(self.root.as_fd());
        versions.iter().for_each(|version| self.remove_unless(version, current));
        versions.len() > usize::from(current.is_some())
    }

    fn remove_unless(&self, version: &VersionName, current: Option<&VersionName>) {
        if Some(version) != current {
            self.remove(version.as_str());
        }
    }

    fn remove(&self, version: &str) {
        match tree::remove(self.root.as_fd(), version) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                warn!("{}/{version} is left over and cannot be removed: {errno}", self.path.display())
            }
        }
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| Error::new(path, Problem::of_open(errno)))
}

#[cfg(test)]
mod tests;

//! The volume that podcreds writes and the application reads:
//!
//! ```text
//! x.env                                a regular file, put in place by a rename
//! db/                                  a directory, laid out as a Secret volume
//! db/password                          -> ..data/password
//! db/..data                            -> ..2026_11_20_17_40_01.123456789
//! db/..2026_11_20_17_40_01.123456789/  one version of its files
//! ..podcreds/                          podcreds' own: locks, record, and staged files
//! ```
//!
//! There are no links at the top: in a sticky and world-writable directory, such as a Memory volume, the kernel follows a link
//! only for the user who created it (docs/decisions/volume-layout.md). Each directory and each file at the top changes
//! atomically, and unchanged ones are not written. Everything is opened relative to the volume's own directory, one component
//! at a time, without following links.
//!
//! This module knows nothing of Kubernetes, except for the settings of a pod that its error messages name.

mod access;
mod directory;
mod earlier;
mod error;
mod grace;
mod install;
mod lock;
mod plan;
mod publish;
mod reader;
mod removals;
mod room;
mod state;
mod times;
mod tree;
mod written;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::warn;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, fstat, open, utimensat};
use rustix::io::Errno;

pub(crate) use directory::VersionName;
pub(crate) use error::{Error, Problem};
pub(crate) use install::{Installed, install};
pub(crate) use lock::Lock;
pub(crate) use reader::{Files, Reader};
pub(crate) use times::Times;

use crate::credential::{Bundle, FileMode, RelativePath};
use crate::text::Quoted;
use crate::thread::lock;
use crate::volume::grace::Grace;
use crate::volume::plan::{Directory, Publication};
use crate::volume::room::Room;
use crate::volume::state::{Record, State};
use crate::volume::tree::Kind;
use crate::volume::written::Written;

/// An open volume.
#[derive(Debug)]
pub struct Volume {
    root: OwnedFd,
    path: PathBuf,
    default_mode: FileMode,
    /// How long the previous version of a directory is kept for readers that still have it open.
    grace: Mutex<Grace>,
    /// How many versions of the files the volume has to hold; `None` once it was checked that there is room for them.
    unchecked_versions: Mutex<Option<u64>>,
    /// The changes of a publication that failed while moving files into place. The next publication reports them.
    unreported: Mutex<BTreeSet<String>>,
    leftovers: Mutex<Leftovers>,
    written: Mutex<Written>,
}

/// What is still to be removed from the volume.
#[derive(Debug, Default)]
enum Leftovers {
    /// Unknown: of another process, or of a publication that failed. A complete [`Volume::prune`] leads to `In`.
    #[default]
    Unknown,
    /// Superseded versions in these directories.
    In(BTreeSet<String>),
}

/// The result of publishing.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// The volume holds this bundle already: no file was written.
    Unchanged,
    /// The files that differed were published.
    Swapped {
        /// The version of each directory that changed, which also names the publication.
        version: String,
        /// The files that differ from those before, removed ones too; `None` means that nothing was published before.
        changed: Option<BTreeSet<String>>,
    },
}

impl Volume {
    /// Opens the directory at `path`. Publishing keeps the previous version of a directory for `grace`.
    ///
    /// # Errors
    /// If it does not exist, is not a directory, cannot be opened, or was written by podcreds as another user.
    pub fn open(path: &Path, grace: Duration) -> Result<Self, Error> {
        let root = open_root(path)?;
        let status = fstat(&root).map_err(|errno| Error::new(path, Problem::from_open(path, errno)))?;
        let group_owned = Mode::from_raw_mode(status.st_mode).contains(Mode::SGID);
        let default_mode = if group_owned { FileMode::GROUP } else { FileMode::WORLD };
        State::open(root.as_fd()).map_err(|problem| Error::new(path, problem))?;
        let (path, grace) = (path.to_owned(), Mutex::new(Grace::new(grace)));
        let (unchecked_versions, unreported) = (Mutex::default(), Mutex::default());
        let (leftovers, written) = (Mutex::default(), Mutex::default());
        Ok(Self { root, path, default_mode, grace, unchecked_versions, unreported, leftovers, written })
    }

    /// [`Volume::open`] for a process that publishes: warns of what would go wrong later. `versions` is 1, or 2 if the files will
    /// rotate.
    ///
    /// # Errors
    /// As [`Volume::open`], and if this process may not write to the volume.
    pub(crate) fn open_to_publish(path: &Path, grace: Duration, versions: u64) -> Result<Self, Error> {
        let volume = Self::open(path, grace)?;
        access::check(volume.root.as_fd()).map_err(|problem| Error::new(path, problem))?;
        access::warn_of_group(path, volume.root.as_fd());
        *lock(&volume.unchecked_versions) = Some(versions);
        Ok(volume)
    }

    /// Excludes other sidecars of this pod from the volume while the lock is held. `None` means that the volume has no room for
    /// the lock's file, or that a sidecar of another pod has the volume: replicas with the same annotations write the same files, and
    /// in a rollout the next pod has to become ready before the previous one ends.
    ///
    /// # Errors
    /// If another sidecar of this pod has the volume, or this process may not write to it.
    pub(crate) fn lock_for_sidecar(&self) -> Result<Option<Lock>, Error> {
        match State::open_or_create(self.root.as_fd()).and_then(|state| state.lock_for_sidecar(lock::WAIT)) {
            Ok(lock) => Ok(Some(lock)),
            Err(Problem::SecondSidecar { holder }) if lock::is_of_another_host(&holder) => {
                warn!(
                    "volume {}: a podcreds sidecar of another pod ({}) writes to it too, and each removes the files of the other unless both pods have the same annotations: give each pod its own volume",
                    self.path.display(),
                    Quoted(&holder)
                );
                Ok(None)
            }
            // Each publication reports these until they are over.
            Err(Problem::Full(_) | Problem::Io { .. }) => Ok(None),
            Err(problem) => Err(Error::new(&self.path, problem)),
        }
    }

    /// Publishes a bundle. Each directory and each file at the top is replaced atomically, directories first.
    ///
    /// # Errors
    /// If the volume cannot be written. Its files are then unchanged, except after an error while entries are moved into
    /// place: then each entry is old or new.
    pub fn publish(&self, bundle: &Bundle) -> Result<Published, Error> {
        self.publish_keeping(bundle, &BTreeSet::new())
    }

    /// Publishes a bundle and leaves the entries named in `kept` as they are, in whatever state, even missing: they are neither
    /// written nor repaired nor removed, and stay in the record. An entry is a name at the top of the volume; the bundle must
    /// have no file in a kept one. [`Volume::prune`] removes versions whose grace period has ended from kept entries too.
    ///
    /// # Errors
    /// As [`Volume::publish`].
    pub(crate) fn publish_keeping(
        &self,
        bundle: &Bundle,
        kept: &BTreeSet<String>,
    ) -> Result<Published, Error> {
        let (path, root) = (&*self.path, self.root.as_fd());
        let versions = lock(&self.unchecked_versions).take();
        if let Some(versions) = versions {
            room::warn_of_memory(path, root, bundle, versions);
        }
        let published = self.publish_locked(bundle, kept).map_err(|problem| Error::new(path, problem))?;
        // An earlier version that was just replaced still takes room, but makes way for the next one.
        let holds_one_version = !matches!(published, Published::Swapped { changed: Some(_), .. });
        if versions.is_some_and(|versions| versions > 1) && holds_one_version {
            room::warn_of_space(path, root, bundle);
        }
        Ok(published)
    }

    /// The entries that podcreds has published, in this run or an earlier one, and that are whole: each file at the top that the
    /// record names exists, and each directory has a version. After an interrupted publication, an entry that may lack a part is
    /// not among them. Entries in the layout of earlier releases do not count.
    ///
    /// # Errors
    /// If the volume cannot be read or has an invalid record.
    pub(crate) fn entries(&self) -> Result<BTreeSet<String>, Error> {
        self.whole_entries().map_err(|problem| Error::new(&self.path, problem))
    }

    fn whole_entries(&self) -> Result<BTreeSet<String>, Problem> {
        let root = self.root.as_fd();
        let Some(state) = State::open(root)? else { return Ok(BTreeSet::new()) };
        let Some(record) = state.record()? else { return Ok(BTreeSet::new()) };
        reader::whole_entries(root, &record).map_err(|errno| Problem::new("read directories", errno))
    }

    fn publish_locked(&self, bundle: &Bundle, kept: &BTreeSet<String>) -> Result<Published, Problem> {
        debug_assert!(
            bundle.keys().all(|path| path.parts().next().is_none_or(|entry| !kept.contains(entry))),
            "a file of the bundle is in a kept entry"
        );
        let root = self.root.as_fd();
        let desired = Directory::from_bundle(bundle, self.default_mode);
        let state = State::open_or_create(root)?;
        // Before the lock of the volume, as in `prune`.
        let mut leftovers = lock(&self.leftovers);
        let _lock = state.lock()?;
        let before = state.record()?;
        let is_clean = matches!(*leftovers, Leftovers::In(_));
        if !is_clean {
            self.clear_staging(&state);
        }
        let published_before = before.is_some() || earlier::open(root).is_ok_and(|open| open.is_some());

        let plan = Publication::plan(root, &state, before, &desired, kept, &self.written)?;
        // If the only entries that a failed publication did not replace are kept now, those that it did replace are still to be
        // reported.
        if plan.is_empty() && lock(&self.unreported).is_empty() {
            self.end(&plan, &mut leftovers);
            return Ok(Published::Unchanged);
        }
        // What a killed process has left must not be in the way.
        if is_clean && (plan.stages() || plan.changes_record()) {
            self.clear_staging(&state);
        }
        let mut prepared = plan.prepare();
        // The new files take precedence over the grace period of old versions.
        if let Err(Problem::Full(_)) = prepared {
            self.prune_locked(&state, &plan.record, &BTreeSet::new(), &Grace::default());
            prepared = plan.prepare();
        }
        lock(&self.grace).add(plan.version.clone(), Instant::now());
        let committed = prepared.and_then(|()| plan.commit());
        let mut unreported = lock(&self.unreported);
        if let Err(problem) = committed {
            *leftovers = Leftovers::Unknown;
            let record = state.record().ok().flatten();
            let record = record.as_ref().unwrap_or(&plan.record);
            self.prune_locked(&state, record, kept, &lock(&self.grace));
            return Err(match problem {
                Problem::Full(_) => Problem::Full(Room::new(root, plan.needed())),
                Problem::Replacing { .. } => {
                    unreported.extend(plan.into_changed());
                    problem
                }
                problem => problem,
            });
        }
        if plan.stages() {
            self.warn_of_old_versions(state.clear_staging());
        }
        self.end(&plan, &mut leftovers);
        let version = plan.version.to_string();
        let mut changed = plan.into_changed();
        changed.append(&mut unreported);
        let changed = published_before.then_some(changed);
        Ok(Published::Swapped { version, changed })
    }

    /// Remembers what the volume has after a publication, and removes what it has superseded.
    fn end(&self, plan: &Publication<'_>, leftovers: &mut Leftovers) {
        plan.remember();
        let (left, pruned) = plan.prune(&lock(&self.grace));
        if let Leftovers::In(directories) = leftovers {
            directories.extend(left);
        }
        self.warn_of_old_versions(pruned.and(earlier::clear(self.root.as_fd())));
    }

    /// Removes the leftovers of an interrupted publication.
    fn clear_staging(&self, state: &State) {
        if let Err(errno) = state.clear_staging() {
            warn!("volume {}: cannot remove the leftovers of a publication: {errno}", self.path.display());
        }
    }

    /// Removes the leftovers of an interrupted publication, and versions whose grace period has ended, except those of kept
    /// entries. Returns the directories that still have superseded versions; `None` means that a removal failed.
    fn prune_locked(
        &self,
        state: &State,
        record: &Record,
        kept: &BTreeSet<String>,
        grace: &Grace,
    ) -> Option<BTreeSet<String>> {
        let root = self.root.as_fd();
        let paths = record.directories().filter(|path| !kept.contains(state::entry(path)));
        let (left, pruned) = publish::prune(root, paths, grace);
        let result = state.clear_staging().and(pruned).and(earlier::clear(root));
        self.warn_of_old_versions(result);
        result.is_ok().then_some(left)
    }

    fn warn_of_old_versions(&self, result: Result<(), Errno>) {
        if let Err(errno) = result {
            warn!("volume {}: cannot remove old versions: {errno}", self.path.display());
        }
    }

    /// Updates the modification time of a file at the top of the volume, and creates the file if it does not exist.
    ///
    /// # Errors
    /// If the name is not a regular file of this user, or the volume cannot be written.
    pub(crate) fn touch(&self, path: &RelativePath) -> Result<(), Error> {
        let name = path.to_string();
        touch(self.root.as_fd(), &name, self.default_mode.bits())
            .map_err(|problem| Error::new(&self.path, problem))
    }

    /// Removes the versions whose grace period has ended.
    pub(crate) fn prune(&self) {
        let mut leftovers = lock(&self.leftovers);
        if matches!(&*leftovers, Leftovers::In(directories) if directories.is_empty()) {
            return;
        }
        let Ok(Some(state)) = State::open(self.root.as_fd()) else { return };
        // Before the first publication nothing is superseded, and its lock must not exist: see `times`.
        let Ok(Some(_)) = state.record() else { return };
        let Ok(_lock) = state.lock() else { return };
        let grace = lock(&self.grace);
        let left = match &*leftovers {
            Leftovers::Unknown => match state.record() {
                Ok(Some(record)) => self.prune_locked(&state, &record, &BTreeSet::new(), &grace),
                _ => return,
            },
            Leftovers::In(directories) => {
                let directories = directories.iter().map(String::as_str);
                let (left, pruned) = publish::prune(self.root.as_fd(), directories, &grace);
                self.warn_of_old_versions(pruned);
                Some(left)
            }
        };
        *leftovers = left.map_or(Leftovers::Unknown, Leftovers::In);
    }
}

fn touch(root: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(), Problem> {
    let failed = |errno| Problem::from_write(root, "touch files", errno);
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    match tree::entry(root, name).map_err(failed)? {
        Some(entry) if entry.kind == Kind::File && entry.is_own() => {
            utimensat(root, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
        }
        Some(entry) => Err(Problem::Foreign { name: name.to_owned(), owner: entry.owner }),
        None => tree::write_file(root, name, mode, b"").map_err(failed),
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| Error::new(path, Problem::from_open(path, errno)))
}

#[cfg(test)]
mod tests;

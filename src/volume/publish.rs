//! Publishes what was planned: stages everything that differs, then moves each entry into place by one rename.
//!
//! Out-of-space and permission errors occur during staging, before readers see any change. Directories are moved
//! into place before the files at the top, so that a URL that names a certificate finds it; entries that the bundle no longer
//! contains are removed last. After a crash each directory and each file is old or new, and the next publication completes
//! the rest.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::renameat;
use rustix::io::Errno;

use crate::thread::lock;
use crate::volume::directory::{self, Listing};
use crate::volume::error::Problem;
use crate::volume::grace::Grace;
use crate::volume::plan::{Directory, File, Publication, Step, Target};
use crate::volume::room::occupied;
use crate::volume::state::{self, Record};
use crate::volume::tree::{self, if_present};
use crate::volume::written::Written;

impl Publication<'_> {
    /// Stages everything that differs. Nothing changes for readers.
    ///
    /// # Errors
    /// For example if the volume is full. The next publication removes what was staged.
    pub(crate) fn prepare(&self) -> Result<(), Problem> {
        let failed = |errno| Problem::new("write files", errno);
        if self.adds_names() {
            let both = self.record.paths.union(&self.after.paths).cloned();
            let record = Record { paths: both.collect::<BTreeSet<_>>(), incomplete: true };
            self.state.prepare_record(state::BEGUN, &record).map_err(failed)?;
        }
        if self.changes_record() {
            self.state.prepare_record(state::ENDED, &self.after).map_err(failed)?;
        }
        let staging = LazyCell::new(|| self.state.create_staging(&self.version));
        let staging = || staging.as_ref().map(AsFd::as_fd).map_err(|errno| *errno);
        for (index, step) in self.steps.iter().enumerate() {
            self.prepare_step(staging, &index.to_string(), step).map_err(failed)?;
        }
        Ok(())
    }

    /// Whether there are staged entries. A new version of a directory is not staged: it is written where it is used.
    pub(crate) fn stages(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step, Step::Update { .. }))
    }

    fn adds_names(&self) -> bool {
        !self.after.paths.is_subset(&self.record.paths)
    }

    fn prepare_step<'s>(
        &self,
        staging: impl Fn() -> Result<BorrowedFd<'s>, Errno>,
        staged: &str,
        step: &Step<'_>,
    ) -> Result<(), Errno> {
        match step {
            Step::Update { desired, .. } if desired.files.is_empty() => Ok(()),
            Step::Update { path, desired, new_names } => {
                let new_names = new_names.iter().copied();
                directory::prepare(self.found(path)?.open.as_fd(), &self.version, desired, new_names)
            }
            Step::Create { desired, .. } => self.build(staging()?, staged, desired),
            Step::Link { name, .. } => directory::create_link(staging()?, staged, name),
            Step::File { file, .. } => tree::write_file(staging()?, staged, file.mode, file.content.expose()),
        }
    }

    fn found(&self, path: &str) -> Result<&Listing, Errno> {
        self.found.get(path).ok_or(Errno::NOENT)
    }

    /// Creates a directory with its version, links and subdirectories.
    fn build(&self, parent: BorrowedFd<'_>, name: &str, desired: &Directory<'_>) -> Result<(), Errno> {
        let made = tree::create_directory(parent, name, desired.mode)?;
        if !desired.files.is_empty() {
            directory::prepare(made.as_fd(), &self.version, desired, desired.files.keys().copied())?;
            directory::swap(made.as_fd())?;
        }
        desired.directories.iter().try_for_each(|(name, inner)| self.build(made.as_fd(), name, inner))
    }

    /// The bytes that the changed files and the two records occupy in the volume.
    pub(crate) fn needed(&self) -> u64 {
        let size = |file: &File<'_>| occupied(file.content.expose().len());
        let step = |step: &Step<'_>| match step {
            Step::Update { desired, .. } => desired.files.values().map(size).sum(),
            Step::Create { desired, .. } => desired.all_files("").iter().map(|(_, file)| size(file)).sum(),
            Step::Link { .. } => 0,
            Step::File { file, .. } => size(file),
        };
        let records = if self.changes_record() { 2 * occupied(1) } else { 0 };
        self.steps.iter().map(step).sum::<u64>() + records
    }

    /// Moves everything that was staged into place, one entry after the other.
    ///
    /// # Errors
    /// If a rename fails: each entry is then old or new.
    pub(crate) fn commit(&self) -> Result<(), Problem> {
        self.commit_steps().map_err(Problem::while_replacing)
    }

    fn commit_steps(&self) -> Result<(), Errno> {
        // What is about to appear is recorded before it does.
        if self.adds_names() {
            self.state.commit_record(state::BEGUN)?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            self.commit_step(&index.to_string(), step)?;
        }
        self.removals.iter().try_for_each(|path| self.remove(path))?;
        if self.changes_record() { self.state.commit_record(state::ENDED) } else { Ok(()) }
    }

    fn commit_step(&self, staged: &str, step: &Step<'_>) -> Result<(), Errno> {
        match step {
            Step::Update { path, desired, .. } => {
                let found = self.found(path)?;
                let open = found.open.as_fd();
                // Adds permissions before the swap and removes permissions after it.
                let both = found.mode | desired.mode;
                if both != found.mode {
                    tree::set_directory_mode(open, both)?;
                }
                if desired.files.is_empty() {
                    found.clear()?
                } else {
                    directory::swap(open)?
                }
                if both != desired.mode { tree::set_directory_mode(open, desired.mode) } else { Ok(()) }
            }
            Step::Create { path, place, .. } => self.put(staged, path, *place),
            Step::Link { path, .. } => self.put(staged, path, Target::Other),
            Step::File { name, place, .. } => self.put(staged, name, *place),
        }
    }

    /// Moves a staged entry into place. A rename replaces a file with a file; a directory and a file are exchanged, atomically if
    /// the file system supports it.
    fn put(&self, staged: &str, path: &str, place: Target) -> Result<(), Errno> {
        let staging = self.state.open_staging(&self.version)?;
        let path = path.trim_end_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = tree::open_own_path(self.root, parent)?;
        match place {
            Target::Free => tree::move_to_free(staging.as_fd(), staged, parent.as_fd(), name),
            Target::File => renameat(&staging, staged, &parent, name),
            Target::Other if tree::exchange(staging.as_fd(), staged, parent.as_fd(), name)? => Ok(()),
            Target::Other => {
                let aside = format!("{staged}-old");
                renameat(&parent, name, &staging, aside.as_str())?;
                renameat(&staging, staged, &parent, name).inspect_err(|_| {
                    // An old entry is better than none.
                    let _ = renameat(&staging, aside.as_str(), &parent, name);
                })
            }
        }
    }

    /// Removes an entry that podcreds published and the bundle no longer has. A directory with files of other programs stays, with
    /// these files alone.
    fn remove(&self, path: &str) -> Result<(), Errno> {
        let name = path.trim_end_matches('/');
        let is_directory = name.len() != path.len();
        let (parent, name) = name.rsplit_once('/').unwrap_or(("", name));
        let Some(parent) = if_present(tree::open_own_path(self.root, parent))? else { return Ok(()) };
        let Some(entry) = tree::entry(parent.as_fd(), name)?.filter(|entry| entry.is_own()) else {
            return Ok(());
        };
        if is_directory {
            let Some(found) = Listing::open(parent.as_fd(), name)? else { return Ok(()) };
            found.clear()?;
            tree::remove_directory(parent.as_fd(), name)?;
        } else if self.is_published_file(self.root, "", name, entry.kind) {
            tree::remove_file(self.root, name)?;
        }
        Ok(())
    }

    /// Remembers what the volume has after this publication.
    pub(crate) fn remember(&self) {
        let mut written = lock(self.written);
        self.removals.iter().for_each(|path| written.remove(path));
        self.remember_directories("", self.desired, &mut written);
    }

    fn remember_directories(&self, prefix: &str, desired: &Directory<'_>, written: &mut Written) {
        for (name, directory) in &desired.directories {
            let path = format!("{prefix}{name}/");
            let is_updated =
                |step: &Step<'_>| matches!(step, Step::Update { path: other, .. } if *other == path);
            match self.found.get(&path) {
                Some(found) if !self.steps.iter().any(is_updated) => {
                    if let Some(version) = &found.current {
                        written.add(&path, version, &directory.files);
                    }
                }
                _ if directory.files.is_empty() => {}
                _ => written.add(&path, &self.version, &directory.files),
            }
            self.remember_directories(&path, directory, written);
        }
    }

    /// Removes from the directories that this publication found what [`prune`] removes, and returns the same.
    pub(crate) fn prune(&self, grace: &Grace) -> (BTreeSet<String>, Result<(), Errno>) {
        let updates = self.steps.iter().filter_map(|step| match step {
            Step::Update { path, desired, .. } => Some((path, *desired)),
            _ => None,
        });
        let mut updates_by_path = BTreeMap::new();
        updates_by_path.extend(updates);
        let (mut left, mut result) = (BTreeSet::new(), Ok(()));
        for (path, found) in &self.found {
            let pruned = match updates_by_path.get(path) {
                Some(desired) if !desired.files.is_empty() => {
                    let has_file = |name: &str| desired.files.contains_key(name);
                    found.prune_after(Some(&self.version), has_file, grace)
                }
                // The commit cleared it.
                Some(_) => Ok(false),
                None => found.prune(grace),
            };
            result = result.and(add_left(&mut left, path, pruned));
        }
        (left, result)
    }
}

/// Removes the leftovers of an interrupted publication from directories, and versions whose grace period has ended. Returns the
/// directories that still have superseded versions.
pub(crate) fn prune<'a>(
    root: BorrowedFd<'_>,
    directories: impl Iterator<Item = &'a str>,
    grace: &Grace,
) -> (BTreeSet<String>, Result<(), Errno>) {
    let (mut left, mut result) = (BTreeSet::new(), Ok(()));
    for path in directories {
        let found = Listing::open_path(root, path);
        let pruned = found.and_then(|found| found.map_or(Ok(false), |found| found.prune(grace)));
        result = result.and(add_left(&mut left, path, pruned));
    }
    (left, result)
}

/// An error in one directory must not prevent pruning the others, or pruning this one later.
fn add_left(left: &mut BTreeSet<String>, path: &str, pruned: Result<bool, Errno>) -> Result<(), Errno> {
    if pruned != Ok(false) {
        left.insert(path.to_owned());
    }
    pruned.map(drop)
}

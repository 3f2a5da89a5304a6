//! Publishes what was planned: stages everything that differs, then moves each entry into place by one rename.
//!
//! Out-of-space and permission errors occur during staging, before readers see any change. Directories are moved
//! into place before the files at the top, so that a URL that names a certificate finds it; entries that the bundle no longer
//! contains are removed last. After a crash each directory and each file is old or new, and the next publication completes
//! the rest.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::renameat;
use rustix::io::Errno;

use crate::volume::directory;
use crate::volume::error::Problem;
use crate::volume::plan::{Directory, Publication, Step, Target};
use crate::volume::state::{self, Record};
use crate::volume::tree::{self, if_present};

impl Publication<'_> {
    /// Stages everything that differs. Nothing changes for readers.
    ///
    /// # Errors
    /// For example if the volume is full. The next publication removes what was staged.
    pub(crate) fn prepare(&self) -> Result<(), Problem> {
        let failed = |errno| Problem::new("write files", errno);
        if self.adds_names() {
            let both = self.record.paths.union(&self.paths).cloned();
            let record = Record { paths: both.collect::<BTreeSet<_>>(), incomplete: true };
            self.state.prepare_record(state::BEGUN, &record).map_err(failed)?;
        }
        if self.changes_record() {
            let record = Record { paths: self.paths.clone(), incomplete: false };
            self.state.prepare_record(state::ENDED, &record).map_err(failed)?;
        }
        if self.steps.is_empty() {
            return Ok(());
        }
        let staging = self.state.create_staging(&self.version).map_err(failed)?;
        for (index, step) in self.steps.iter().enumerate() {
            self.prepare_step(staging.as_fd(), &index.to_string(), step).map_err(failed)?;
        }
        Ok(())
    }

    fn adds_names(&self) -> bool {
        !self.paths.is_subset(&self.record.paths)
    }

    fn changes_record(&self) -> bool {
        self.before.as_ref().is_none_or(|record| record.incomplete || record.paths != self.paths)
    }

    fn prepare_step(&self, staging: BorrowedFd<'_>, staged: &str, step: &Step<'_>) -> Result<(), Errno> {
        match step {
            Step::Update { path, desired } => {
                if desired.files.is_empty() {
                    return Ok(());
                }
                let open = tree::open_own_path(self.root, path)?;
                directory::prepare(open.as_fd(), &self.version, desired)
            }
            Step::Create { desired, .. } => self.build(staging, staged, desired),
            Step::Link { name, .. } => directory::create_link(staging, staged, name),
            Step::File { file, .. } => tree::write_file(staging, staged, file.mode, file.content.expose()),
        }
    }

    /// Creates a directory with its version, links and subdirectories.
    fn build(&self, parent: BorrowedFd<'_>, name: &str, desired: &Directory<'_>) -> Result<(), Errno> {
        let made = tree::create_directory(parent, name, desired.mode)?;
        if !desired.files.is_empty() {
            directory::prepare(made.as_fd(), &self.version, desired)?;
            directory::swap(made.as_fd())?;
        }
        desired.directories.iter().try_for_each(|(name, inner)| self.build(made.as_fd(), name, inner))
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
            Step::Update { path, desired } => {
                let open = tree::open_own_path(self.root, path)?;
                let before = tree::directory_mode(open.as_fd())?;
                // Adds permissions before the swap and removes permissions after it.
                tree::set_directory_mode(open.as_fd(), before | desired.mode)?;
                if desired.files.is_empty() {
                    directory::clear(open.as_fd())?;
                } else {
                    directory::swap(open.as_fd())?;
                }
                tree::set_directory_mode(open.as_fd(), desired.mode)
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
            let Some(open) = if_present(tree::open_directory(parent.as_fd(), name))? else { return Ok(()) };
            directory::clear(open.as_fd())?;
            tree::remove_directory(parent.as_fd(), name)?;
        } else if self.is_published_file(self.root, "", name, entry.kind) {
            tree::remove_file(self.root, name)?;
        }
        Ok(())
    }
}

/// Removes the leftovers of an interrupted publication from the directories of the record, and versions whose grace period has
/// ended.
pub(crate) fn prune(root: BorrowedFd<'_>, record: &Record, grace: Duration) -> Result<(), Errno> {
    let mut result = Ok(());
    for path in record.directories() {
        if let Some(open) = if_present(tree::open_own_path(root, path))? {
            // An error in one directory must not prevent pruning the others.
            result = result.and(directory::prune(open.as_fd(), grace));
        }
    }
    result
}

//! One publication: compares what the volume holds with what it should hold, prepares everything that differs beside it, and
//! then puts each entry in place by one rename.
//!
//! Whatever can fail for want of room or rights happens while preparing, when nothing has changed for readers. Directories
//! are put in place before the files at the top, so that a URL that names a certificate finds it; what the bundle no longer
//! has is removed last. After a crash each directory and each file is old or new, and the next publication does the rest.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::renameat;
use rustix::io::Errno;

use crate::volume::desired::{Directory, File};
use crate::volume::directory::{self, Place, VersionName};
use crate::volume::error::Problem;
use crate::volume::record::Record;
use crate::volume::state::{self, State};
use crate::volume::tree::{self, Kind};
use crate::volume::{earlier, reader};

/// A publication that has been planned.
pub(crate) struct Publication<'a> {
    root: BorrowedFd<'a>,
    state: &'a State,
    /// What earlier publications left; `None` if there was none.
    before: Option<Record>,
    record: Record,
    desired: &'a Directory<'a>,
    /// What is to be recorded of the bundle.
    paths: BTreeSet<String>,
    version: VersionName,
    steps: Vec<Step<'a>>,
    /// Paths in the record that the bundle does not have, innermost first.
    removals: Vec<String>,
    changed: BTreeSet<String>,
}

/// Something that differs.
enum Step<'a> {
    /// A directory gets a new version.
    Update { path: String, desired: &'a Directory<'a> },
    /// A directory is built aside and put in place, with everything in it.
    Create { path: String, desired: &'a Directory<'a>, place: Target },
    /// The link of a file takes the place of a directory, after the directory above got its version.
    Link { path: String, name: &'a str },
    /// A file at the top is written aside and put in place.
    File { name: &'a str, file: &'a File<'a>, place: Target },
}

/// What is at the place of something new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Free,
    /// A file or link, which a file replaces by a rename.
    File,
    /// What a rename cannot replace: both are exchanged.
    Other,
}

impl<'a> Publication<'a> {
    /// Compares the volume with what it should hold. Changes nothing.
    ///
    /// # Errors
    /// If something that podcreds did not publish is in the way, or the volume cannot be read.
    pub(crate) fn plan(
        root: BorrowedFd<'a>,
        state: &'a State,
        before: Option<Record>,
        desired: &'a Directory<'a>,
        version: VersionName,
    ) -> Result<Self, Problem> {
        let mut plan = Self {
            root,
            state,
            record: before.clone().unwrap_or_default(),
            before,
            desired,
            paths: desired.recorded_paths(),
            version,
            steps: Vec::new(),
            removals: Vec::new(),
            changed: BTreeSet::new(),
        };
        plan.directories(root, "", desired)?;
        plan.files_at_top()?;
        plan.find_removals()?;
        Ok(plan)
    }

    /// Whether the volume holds the bundle already.
    pub(crate) fn is_empty(&self) -> bool {
        let complete = self.before.as_ref().is_some_and(|record| !record.incomplete);
        complete && self.steps.is_empty() && self.removals.is_empty()
    }

    /// The files that differ.
    pub(crate) fn into_changed(self) -> BTreeSet<String> {
        self.changed
    }

    fn directories(
        &mut self,
        parent: BorrowedFd<'_>,
        prefix: &str,
        desired: &'a Directory<'a>,
    ) -> Result<(), Problem> {
        for (name, directory) in &desired.directories {
            let path = format!("{prefix}{name}/");
            let place = match look(parent, name)? {
                None => Target::Free,
                Some(entry) if !entry.is_own() => return Err(foreign(&path, entry.owner)),
                Some(entry) if entry.kind == Kind::Directory && self.record.has_directory(&path) => {
                    let open = tree::open_own_path(parent, name)
                        .map_err(|errno| Problem::of("open directories", errno))?;
                    self.directories(open.as_fd(), &path, directory)?;
                    self.update(open.as_fd(), path, directory)?;
                    continue;
                }
                Some(entry) if self.is_published_file(parent, prefix, name, entry.kind) => Target::Other,
                Some(entry) => return Err(foreign(&path, entry.owner)),
            };
            let files = directory.all_files(&path);
            let is_new = |(path, file): &(String, &File<'_>)| !earlier::holds(self.root, path, file);
            self.changed.extend(files.into_iter().filter(is_new).map(|(path, _)| path));
            self.steps.push(Step::Create { path, desired: directory, place });
        }
        Ok(())
    }

    /// Whether podcreds published a file of this name in this directory.
    fn is_published_file(&self, parent: BorrowedFd<'_>, prefix: &str, name: &str, kind: Kind) -> bool {
        match kind {
            Kind::Link => directory::is_published(parent, name) && (!prefix.is_empty() || self.takes_over()),
            Kind::File => prefix.is_empty() && self.record.has_file(name),
            Kind::Directory | Kind::Special => false,
        }
    }

    /// Whether links at the top may be those of an earlier version of podcreds.
    fn takes_over(&self) -> bool {
        self.before.as_ref().is_none_or(|record| record.incomplete)
    }

    fn update(
        &mut self,
        open: BorrowedFd<'_>,
        path: String,
        desired: &'a Directory<'a>,
    ) -> Result<(), Problem> {
        let failed = |errno| Problem::of("read directories", errno);
        let mut complete = tree::directory_mode(open).map_err(failed)? == desired.mode;
        let mut links = Vec::new();
        for name in desired.files.keys() {
            match directory::place(open, name).map_err(failed)? {
                Place::Published => {}
                Place::Free => complete = false,
                Place::Taken => {
                    let taken = format!("{path}{name}");
                    let entry = look(open, name)?;
                    let was_directory = entry.is_some_and(|entry| {
                        entry.is_own()
                            && entry.kind == Kind::Directory
                            && self.record.has_directory(&format!("{taken}/"))
                    });
                    if !was_directory {
                        return Err(foreign(&taken, entry.map_or(0, |entry| entry.owner)));
                    }
                    self.check_only_own(open, name, &format!("{taken}/"))?;
                    complete = false;
                    links.push(Step::Link { path: taken, name });
                }
            }
        }
        let differences = directory::differences(open, &desired.files).map_err(failed)?;
        let version_mode = match directory::open_current(open) {
            Ok(Some(version)) => tree::directory_mode(version.as_fd()).map_err(failed)?,
            _ => desired.mode,
        };
        if !complete || !differences.is_empty() || version_mode != desired.mode {
            self.changed.extend(differences.into_iter().map(|name| format!("{path}{name}")));
            // After the directories that take the place of links, and before the links that need the version.
            self.steps.push(Step::Update { path, desired });
            self.steps.extend(links);
        }
        Ok(())
    }

    fn files_at_top(&mut self) -> Result<(), Problem> {
        for (name, file) in &self.desired.files {
            let name: &str = name;
            let place = match look(self.root, name)? {
                None => Target::Free,
                Some(entry) if !entry.is_own() => return Err(foreign(name, entry.owner)),
                Some(entry) if self.is_published_file(self.root, "", name, entry.kind) => {
                    let same = tree::same_file(self.root, name, file.mode, file.content.expose());
                    if same.unwrap_or(false) {
                        continue;
                    }
                    Target::File
                }
                Some(entry)
                    if entry.kind == Kind::Directory && self.record.has_directory(&format!("{name}/")) =>
                {
                    self.check_only_own(self.root, name, &format!("{name}/"))?;
                    Target::Other
                }
                Some(entry) => return Err(foreign(name, entry.owner)),
            };
            if !earlier::holds(self.root, name, file) {
                self.changed.insert(name.to_owned());
            }
            self.steps.push(Step::File { name, file, place });
        }
        Ok(())
    }

    /// A directory that is to disappear must hold nothing but what podcreds put there.
    fn check_only_own(&self, parent: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), Problem> {
        let failed = |errno| Problem::of("read directories", errno);
        let open = tree::open_directory(parent, name).map_err(failed)?;
        let known = |name: &str| self.record.has_directory(&format!("{path}{name}/"));
        if let Some(name) = directory::foreign(open.as_fd(), known).map_err(failed)? {
            let entry = look(open.as_fd(), &name)?;
            return Err(foreign(&format!("{path}{name}"), entry.map_or(0, |entry| entry.owner)));
        }
        for inner in self.record.directories() {
            let inner_name = inner.strip_prefix(path).and_then(|rest| rest.strip_suffix('/'));
            if let Some(inner_name) = inner_name.filter(|name| !name.is_empty() && !name.contains('/')) {
                self.check_only_own(open.as_fd(), inner_name, inner)?;
            }
        }
        Ok(())
    }

    fn find_removals(&mut self) -> Result<(), Problem> {
        let failed = |errno| Problem::of("read directories", errno);
        let desired = &self.paths;
        // Innermost first: a directory's path sorts before the paths in it.
        let gone = self.record.paths.iter().filter(|path| !desired.contains(*path)).rev();
        let mut removals = Vec::new();
        let mut kept = Vec::new();
        for path in gone {
            let (holds_own, holds_foreign) = self.contents(path).map_err(failed)?;
            // What others put there keeps the directory. It stays in the record: podcreds made it and may use it again.
            if holds_foreign {
                kept.push(path.clone());
            }
            if holds_own || !holds_foreign {
                removals.push(path.clone());
            }
        }
        if self.takes_over() {
            let links = earlier::links(self.root).map_err(failed)?;
            let is_gone = |name: &String| !desired.contains(name) && !desired.contains(&format!("{name}/"));
            removals.extend(links.into_iter().filter(is_gone));
        }
        self.removals = removals;
        self.paths.extend(kept);
        let mut before = reader::paths(self.root, &self.record).map_err(failed)?;
        if let Some(version) = earlier::open(self.root).map_err(failed)? {
            before.extend(earlier::paths(version.as_fd()).map_err(failed)?);
        }
        let after = self.desired.all_files("").into_iter().map(|(path, _)| path).collect::<BTreeSet<_>>();
        self.changed.extend(before.into_iter().filter(|path| !after.contains(path)));
        Ok(())
    }

    /// Whether a directory of the record holds files of podcreds, and whether it holds something of others.
    fn contents(&self, path: &str) -> Result<(bool, bool), Errno> {
        if !path.ends_with('/') {
            return Ok((true, false));
        }
        let Some(open) = if_present(tree::open_own_path(self.root, path))? else { return Ok((true, false)) };
        let known = |name: &str| self.record.has_directory(&format!("{path}{name}/"));
        let foreign = directory::foreign(open.as_fd(), known)?;
        Ok((directory::current(open.as_fd()).is_some(), foreign.is_some()))
    }

    /// Writes everything that is new beside what is there. Nothing changes for readers.
    ///
    /// # Errors
    /// If there is no room, for example. Then [`State::clear_staging`] and [`tidy`] remove what was written.
    pub(crate) fn prepare(&self) -> Result<(), Problem> {
        let failed = |errno| Problem::of("write files", errno);
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
        let staging = self.state.make_staging(&self.version).map_err(failed)?;
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
            Step::Link { name, .. } => directory::make_link(staging, staged, name),
            Step::File { file, .. } => tree::write_file(staging, staged, file.mode, file.content.expose()),
        }
    }

    /// Creates a whole directory, with a version and links.
    fn build(&self, parent: BorrowedFd<'_>, name: &str, desired: &Directory<'_>) -> Result<(), Errno> {
        let made = tree::make_directory(parent, name, desired.mode)?;
        if !desired.files.is_empty() {
            directory::prepare(made.as_fd(), &self.version, desired)?;
            directory::swap(made.as_fd())?;
        }
        desired.directories.iter().try_for_each(|(name, inner)| self.build(made.as_fd(), name, inner))
    }

    /// Puts everything in place that was prepared, one entry after the other.
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
                // Rights are added before the swap and taken away after it.
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

    /// Moves what was prepared to its place. A file replaces another by the rename alone; where a directory and a file
    /// change places, both are exchanged in one step if the file system can, and one after the other if not.
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
                    // The old one is better than none.
                    let _ = renameat(&staging, aside.as_str(), &parent, name);
                })
            }
        }
    }

    /// Removes what podcreds published and the bundle no longer has. A directory in which something else lies stays, with
    /// that alone.
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

/// Removes what an interrupted publication left in the directories of the record, and versions that outlived the grace.
pub(crate) fn tidy(root: BorrowedFd<'_>, record: &Record, grace: Duration) -> Result<(), Errno> {
    let mut result = Ok(());
    for path in record.directories() {
        if let Some(open) = if_present(tree::open_own_path(root, path))? {
            // What cannot be removed in one directory must not keep the rest.
            result = result.and(directory::tidy(open.as_fd(), grace));
        }
    }
    result
}

/// `None` where a directory is missing, or something else has its name.
fn if_present(opened: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Errno> {
    match opened {
        Ok(open) => Ok(Some(open)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn look(parent: BorrowedFd<'_>, name: &str) -> Result<Option<tree::Entry>, Problem> {
    tree::entry(parent, name).map_err(|errno| Problem::of("read directories", errno))
}

fn foreign(path: &str, owner: u32) -> Problem {
    Problem::Foreign { name: path.trim_end_matches('/').to_owned(), owner }
}

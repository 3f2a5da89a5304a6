//! Plans a publication: turns a bundle into the tree of directories and files that the volume should hold, compares the volume
//! with it, and rejects what podcreds did not publish. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::time::SystemTime;

use rustix::fs::fstat;
use rustix::io::Errno;

use crate::credential::{Bundle, FileMode};
use crate::secret::SecretBytes;
use crate::thread::lock;
use crate::volume::directory::{self, Listing, Place, VersionName};
use crate::volume::earlier;
use crate::volume::error::Problem;
use crate::volume::state::{Record, State};
use crate::volume::tree::{self, Kind};
use crate::volume::written::Written;

/// A directory that the volume should have. The root holds the whole bundle.
#[derive(Default)]
pub(crate) struct Directory<'a> {
    pub(crate) mode: u32,
    /// The files in it, by name.
    pub(crate) files: BTreeMap<&'a str, File<'a>>,
    /// The directories in it, by name. No name is also a file's.
    pub(crate) directories: BTreeMap<&'a str, Directory<'a>>,
}

pub(crate) struct File<'a> {
    pub(crate) mode: u32,
    pub(crate) content: &'a SecretBytes,
}

impl<'a> Directory<'a> {
    /// The root of the volume. Every user who may read a file may enter and list the directories above it.
    pub(crate) fn from_bundle(bundle: &'a Bundle, default_mode: FileMode) -> Self {
        let mut root = Self::default();
        for (path, file) in bundle {
            let mode = file.mode.unwrap_or(default_mode);
            let parts: Vec<_> = path.parts().collect();
            let file = File { mode: mode.bits(), content: &file.content };
            root.insert(&parts, file, mode.directory_bits());
        }
        root
    }

    fn insert(&mut self, parts: &[&'a str], file: File<'a>, directory_mode: u32) {
        self.mode |= directory_mode;
        match parts {
            [] => {}
            [name] => drop(self.files.insert(name, file)),
            [name, rest @ ..] => {
                self.directories.entry(name).or_default().insert(rest, file, directory_mode);
            }
        }
    }

    /// The paths for the record: each directory, with a slash at the end, and the files at the top.
    pub(crate) fn recorded_paths(&self) -> BTreeSet<String> {
        let mut paths = self.files.keys().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        self.add_directories("", &mut paths);
        paths
    }

    fn add_directories(&self, prefix: &str, paths: &mut BTreeSet<String>) {
        for (name, directory) in &self.directories {
            let path = format!("{prefix}{name}/");
            directory.add_directories(&path, paths);
            paths.insert(path);
        }
    }

    /// All files in and below this directory. `prefix` is the path of this directory.
    pub(crate) fn all_files(&self, prefix: &str) -> Vec<(String, &File<'a>)> {
        let mut files: Vec<_> =
            self.files.iter().map(|(name, file)| (format!("{prefix}{name}"), file)).collect();
        for (name, directory) in &self.directories {
            files.extend(directory.all_files(&format!("{prefix}{name}/")));
        }
        files
    }
}

/// What a publication will change.
pub(crate) struct Publication<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) state: &'a State,
    /// Whether there were earlier publications; `record` is theirs.
    has_record: bool,
    pub(super) record: Record,
    pub(super) desired: &'a Directory<'a>,
    /// The entries that stay as they are.
    pub(super) kept: &'a BTreeSet<String>,
    pub(super) written: &'a Mutex<Written>,
    /// The record at the end of this publication.
    pub(super) after: Record,
    /// The directories of the record that are not kept, by path.
    pub(super) found: BTreeMap<String, Listing>,
    pub(super) version: VersionName,
    pub(super) steps: Vec<Step<'a>>,
    /// Paths in the record that the bundle does not have, innermost first.
    pub(super) removals: Vec<String>,
    pub(super) changed: BTreeSet<String>,
}

/// A change.
pub(super) enum Step<'a> {
    /// A directory gets a new version, and links for new names.
    Update { path: String, desired: &'a Directory<'a>, new_names: Vec<&'a str> },
    /// A new directory is staged with everything in it, and moved into place.
    Create { path: String, desired: &'a Directory<'a>, place: Target },
    /// The link of a file replaces a directory, once the directory above has its version.
    Link { path: String, name: &'a str },
    /// A file at the top is staged and moved into place.
    File { name: &'a str, file: &'a File<'a>, place: Target },
}

/// What exists at the path of a new entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Free,
    /// A file or link, which a rename replaces.
    File,
    /// An entry that a rename cannot replace; the two are exchanged.
    Other,
}

impl<'a> Publication<'a> {
    /// Compares the volume with what it should hold. Changes nothing.
    ///
    /// # Errors
    /// If an entry that podcreds did not publish is at a path of the bundle, or the volume cannot be read.
    pub(crate) fn plan(
        root: BorrowedFd<'a>,
        state: &'a State,
        before: Option<Record>,
        desired: &'a Directory<'a>,
        kept: &'a BTreeSet<String>,
        written: &'a Mutex<Written>,
    ) -> Result<Self, Problem> {
        let mut plan = Self {
            root,
            state,
            has_record: before.is_some(),
            record: before.unwrap_or_default(),
            desired,
            kept,
            written,
            after: Record { paths: desired.recorded_paths(), incomplete: false },
            found: BTreeMap::new(),
            version: VersionName::new(SystemTime::now()),
            steps: Vec::new(),
            removals: Vec::new(),
            changed: BTreeSet::new(),
        };
        plan.directories(root, "", desired)?;
        plan.files_at_top()?;
        plan.find_removals()?;
        plan.keep_records()?;
        if let Some(newest) = plan.found.values().filter_map(|found| found.versions.last()).max() {
            plan.version = newest.next(SystemTime::now());
        }
        Ok(plan)
    }

    /// Whether the volume already has the bundle.
    pub(crate) fn is_empty(&self) -> bool {
        !self.changes_record() && self.steps.is_empty() && self.removals.is_empty()
    }

    pub(super) fn changes_record(&self) -> bool {
        !self.has_record || self.record != self.after
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
            let mut differences = BTreeSet::new();
            let known = |version: &VersionName| {
                differences = lock(self.written).differences(&path, version, &directory.files);
                let names = || directory.files.keys().map(|name| (*name).to_owned());
                (!differences.is_empty()).then(|| names().collect::<BTreeSet<_>>())
            };
            let found = match self.record.has_directory(&path) {
                true => Listing::open_knowing(parent, name, known),
                false => Ok(None),
            };
            if let Ok(Some(mut found)) = found {
                self.directories(found.open.as_fd(), &path, directory)?;
                self.update(&mut found, &path, directory, differences)?;
                self.found.insert(path, found);
                continue;
            }
            let place = match entry(parent, name)? {
                None => Target::Free,
                Some(entry) if !entry.is_own() => return Err(foreign(&path, entry.owner)),
                Some(entry) if self.is_published_file(parent, prefix, name, entry.kind) => Target::Other,
                Some(entry) => {
                    let open = found.map_err(|errno| Problem::new("open directories", errno));
                    return Err(open.err().unwrap_or_else(|| foreign(&path, entry.owner)));
                }
            };
            let files = directory.all_files(&path);
            let is_new = |(path, file): &(String, &File<'_>)| !earlier::file_matches(self.root, path, file);
            self.changed.extend(files.into_iter().filter(is_new).map(|(path, _)| path));
            self.steps.push(Step::Create { path, desired: directory, place });
        }
        Ok(())
    }

    /// Whether podcreds published a file of this name in this directory.
    pub(super) fn is_published_file(
        &self,
        parent: BorrowedFd<'_>,
        prefix: &str,
        name: &str,
        kind: Kind,
    ) -> bool {
        match kind {
            Kind::Link => directory::is_published(parent, name) && (!prefix.is_empty() || self.takes_over()),
            Kind::File => prefix.is_empty() && self.record.has_file(name),
            Kind::Directory | Kind::Special => false,
        }
    }

    /// Whether links at the top may be those of an earlier release of podcreds.
    pub(super) fn takes_over(&self) -> bool {
        !self.has_record || self.record.incomplete
    }

    /// Plans a new version of a directory, if one is needed. `differences` are the files that are known to differ.
    fn update(
        &mut self,
        found: &mut Listing,
        path: &str,
        desired: &'a Directory<'a>,
        mut differences: BTreeSet<String>,
    ) -> Result<(), Problem> {
        let failed = |errno| Problem::new("read directories", errno);
        let open = found.open.as_fd();
        let mut links = Vec::new();
        let mut new_names = Vec::new();
        for name in desired.files.keys() {
            match directory::place(open, name).map_err(failed)? {
                Place::Published => {}
                Place::Free => new_names.push(*name),
                Place::Taken => {
                    let taken = format!("{path}{name}");
                    let entry = entry(open, name)?;
                    let was_directory = entry.is_some_and(|entry| {
                        entry.is_own()
                            && entry.kind == Kind::Directory
                            && self.record.has_directory(&format!("{taken}/"))
                    });
                    if !was_directory {
                        return Err(foreign(&taken, entry.map_or(0, |entry| entry.owner)));
                    }
                    self.check_only_own(open, name, &format!("{taken}/"))?;
                    links.push(Step::Link { path: taken, name });
                }
            }
        }
        // Closed at the end: a bundle may have many directories.
        let version = found.open_version.take();
        if differences.is_empty() {
            differences = found.differences(version.as_ref(), &desired.files);
        }
        let version_mode = match version {
            Some(version) => tree::permissions(&fstat(version).map_err(failed)?),
            None => desired.mode,
        };
        let has_modes = found.mode == desired.mode && version_mode == desired.mode;
        if !has_modes || !new_names.is_empty() || !links.is_empty() || !differences.is_empty() {
            self.changed.extend(differences.into_iter().map(|name| format!("{path}{name}")));
            // After the directories that replace links, and before the links that need the version.
            self.steps.push(Step::Update { path: path.to_owned(), desired, new_names });
            self.steps.extend(links);
        }
        Ok(())
    }

    fn files_at_top(&mut self) -> Result<(), Problem> {
        for (name, file) in &self.desired.files {
            let name: &str = name;
            let place = match entry(self.root, name)? {
                None => Target::Free,
                Some(entry) if !entry.is_own() => return Err(foreign(name, entry.owner)),
                Some(entry) if self.is_published_file(self.root, "", name, entry.kind) => {
                    let same = tree::file_matches(self.root, name, file.mode, file.content.expose());
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
            if !earlier::file_matches(self.root, name, file) {
                self.changed.insert(name.to_owned());
            }
            self.steps.push(Step::File { name, file, place });
        }
        Ok(())
    }

    /// Rejects the removal of a directory that contains entries of other programs.
    fn check_only_own(&self, parent: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), Problem> {
        let failed = |errno| Problem::new("read directories", errno);
        let found =
            Listing::open(parent, name).and_then(|found| found.ok_or(Errno::NOTDIR)).map_err(failed)?;
        let open = found.open.as_fd();
        let known = |name: &str| self.record.has_directory(&format!("{path}{name}/"));
        if let Some(name) = found.foreign(known) {
            let entry = entry(open, name)?;
            return Err(foreign(&format!("{path}{name}"), entry.map_or(0, |entry| entry.owner)));
        }
        for inner in self.record.directories() {
            let inner_name = inner.strip_prefix(path).and_then(|rest| rest.strip_suffix('/'));
            if let Some(inner_name) = inner_name.filter(|name| !name.is_empty() && !name.contains('/')) {
                self.check_only_own(open, inner_name, inner)?;
            }
        }
        Ok(())
    }
}

fn entry(parent: BorrowedFd<'_>, name: &str) -> Result<Option<tree::Entry>, Problem> {
    tree::entry(parent, name).map_err(|errno| Problem::new("read directories", errno))
}

fn foreign(path: &str, owner: u32) -> Problem {
    Problem::Foreign { name: path.trim_end_matches('/').to_owned(), owner }
}

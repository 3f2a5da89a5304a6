//! Reads published files. The files of a directory come from one version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::io::Errno;

use crate::credential::RelativePath;
use crate::secret::SecretBytes;
use crate::volume::error::{Error, Problem};
use crate::volume::state::{self, Record};
use crate::volume::tree::{self, Kind};
use crate::volume::{directory, earlier, open_root};

/// The largest file that is read, in bytes: no bundle has a larger one.
const FILE_LIMIT: u64 = 32 * 1024 * 1024;
/// The number of attempts to read a directory whose version is replaced and pruned meanwhile.
const ATTEMPTS: usize = 10;

/// Files by path.
pub(crate) type Files = BTreeMap<RelativePath, SecretBytes>;

/// A volume in which a bundle was published.
#[derive(Debug)]
pub(crate) struct Reader {
    root: OwnedFd,
    /// `None` means that an earlier release of podcreds published it.
    record: Option<Record>,
    /// The user who published it. Files of other users are not read, because podcreds did not publish them.
    owner: u32,
    path: PathBuf,
}

impl Reader {
    /// Opens the volume at `path`; `None` means that nothing was published yet.
    ///
    /// # Errors
    /// If the volume does not exist, is not a directory, cannot be read, or has an invalid record.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |errno| Error::new(path, Problem::new("read files", errno));
        let root = open_root(path)?;
        let state = match tree::open_directory(root.as_fd(), state::NAME) {
            Ok(state) => Some(state),
            Err(Errno::NOENT) => None,
            // It is just being created, without its final mode.
            Err(Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let (record, owner) = match &state {
            Some(state) => {
                let record = Record::load(state.as_fd()).map_err(|errno| match errno {
                    Errno::INVAL => {
                        let name = format!("{}/{}", state::NAME, state::RECORD);
                        Error::new(path, Problem::Damaged { name })
                    }
                    errno => failed(errno),
                })?;
                (record, fstat(state).map_err(failed)?.st_uid)
            }
            None => match tree::entry(root.as_fd(), directory::DATA).map_err(failed)? {
                Some(entry) => (None, entry.owner),
                None => return Ok(None),
            },
        };
        // The layout of earlier releases is valid until a publication takes it over, if it belongs to the same user.
        let is_earlier = || {
            let data = tree::entry(root.as_fd(), directory::DATA);
            data.is_ok_and(|entry| entry.is_some_and(|entry| entry.owner == owner))
                && directory::current(root.as_fd()).is_some()
        };
        let published = record.is_some() || is_earlier();
        Ok(published.then(|| Self { root, record, owner, path: path.to_owned() }))
    }

    /// Whether the last publication has finished. If not, files that it adds may still be missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.record.as_ref().is_none_or(|record| !record.incomplete)
    }

    /// A number that a publication changes: a hash of the version of each directory, and of the identity of each file at the top. Reads
    /// no file.
    pub(crate) fn fingerprint(&self) -> u64 {
        let root = self.root.as_fd();
        let mut hasher = DefaultHasher::new();
        if let Some(version) = directory::current(root) {
            version.as_str().hash(&mut hasher);
        }
        for path in self.record.iter().flat_map(|record| &record.paths) {
            path.hash(&mut hasher);
            match path.strip_suffix('/') {
                Some(path) => {
                    let open = tree::open_path(root, path, self.owner);
                    if let Some(version) = open.ok().and_then(|open| directory::current(open.as_fd())) {
                        version.as_str().hash(&mut hasher);
                    }
                }
                // The change time too: an inode number may be used again at once.
                None => {
                    if let Ok(status) = statat(root, path.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                        (status.st_ino, status.st_ctime, status.st_ctime_nsec).hash(&mut hasher);
                    }
                }
            }
        }
        hasher.finish()
    }

    /// Reads the files whose path is wanted. Skips directories that this process may not enter: they hold files for another
    /// user.
    ///
    /// # Errors
    /// If a file cannot be read, or a directory changes faster than it can be read.
    pub(crate) fn read(&self, wanted: impl Fn(&RelativePath) -> bool) -> Result<Files, Error> {
        let root = self.root.as_fd();
        let mut files = Files::new();
        let result = match &self.record {
            Some(record) => record.directories().try_for_each(|path| {
                retry(|| read_directory(root, path, self.owner, &wanted)).map(|read| files.extend(read))
            }),
            None => retry(|| read_earlier(root, self.owner, &wanted)).map(|read| files.extend(read)),
        };
        let at_top = self.record.iter().flat_map(Record::files);
        let result = result.and_then(|()| read_files(root, "", self.owner, at_top, &wanted, &mut files));
        result.map_err(|errno| Error::new(&self.path, Problem::new("read files", errno)))?;
        Ok(files)
    }
}

/// The entries of this user that have everything that the record names in them. Directories that hold only directories have no
/// version, so only the innermost ones must have one.
pub(crate) fn whole_entries(root: BorrowedFd<'_>, record: &Record) -> Result<BTreeSet<String>, Errno> {
    let mut entries = record.paths.iter().map(|path| state::entry(path).to_owned()).collect::<BTreeSet<_>>();
    for path in &record.paths {
        let is_present = if !path.ends_with('/') {
            tree::entry(root, path)?.is_some_and(|entry| entry.kind == Kind::File && entry.is_own())
        } else {
            let has_inner = record.paths.range::<str, _>((Bound::Excluded(path.as_str()), Bound::Unbounded));
            has_inner.take(1).any(|next| next.starts_with(path)) || open_version(root, path)?.is_some()
        };
        if !is_present {
            entries.remove(state::entry(path));
        }
    }
    Ok(entries)
}

fn open_version(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>, Errno> {
    let opened = tree::open_own_path(root, path).and_then(|open| directory::open_current(open.as_fd()));
    match opened {
        Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        result => result,
    }
}

/// Repeats until the version was not replaced during the read.
fn retry(mut read: impl FnMut() -> Result<Option<Files>, Errno>) -> Result<Files, Errno> {
    for _ in 0..ATTEMPTS {
        if let Some(files) = read()? {
            return Ok(files);
        }
    }
    Err(Errno::AGAIN)
}

/// The files of one directory; `None` means that their version was replaced meanwhile.
fn read_directory(
    root: BorrowedFd<'_>,
    path: &str,
    owner: u32,
    wanted: &impl Fn(&RelativePath) -> bool,
) -> Result<Option<Files>, Errno> {
    let open = match tree::open_path(root, path, owner) {
        Ok(open) => open,
        Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Some(Files::new())),
        Err(errno) => return Err(errno),
    };
    let Some(name) = directory::current(open.as_fd()) else { return Ok(Some(Files::new())) };
    let mut files = Files::new();
    let read = tree::open_directory(open.as_fd(), name.as_str()).and_then(|version| {
        let names = tree::entries(&version)?;
        let names = names.iter().filter_map(|name| name.to_str().ok());
        read_files(version.as_fd(), path, owner, names, wanted, &mut files)
    });
    let is_current = directory::current(open.as_fd()).as_ref() == Some(&name);
    match read {
        Ok(()) if is_current => Ok(Some(files)),
        Err(errno) if is_current => Err(errno),
        _ => Ok(None),
    }
}

fn read_earlier(
    root: BorrowedFd<'_>,
    owner: u32,
    wanted: &impl Fn(&RelativePath) -> bool,
) -> Result<Option<Files>, Errno> {
    let name = directory::current(root);
    let mut files = Files::new();
    let read = directory::open_current(root).and_then(|version| {
        let Some(version) = version else { return Ok(()) };
        for path in &earlier::paths(version.as_fd())? {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let open = tree::open_path(version.as_fd(), parent, owner)?;
            let prefix = if parent.is_empty() { String::new() } else { format!("{parent}/") };
            read_files(open.as_fd(), &prefix, owner, [name], wanted, &mut files)?;
        }
        Ok(())
    });
    let is_current = directory::current(root) == name;
    match read {
        Ok(()) if is_current => Ok(Some(files)),
        Err(errno) if is_current => Err(errno),
        _ => Ok(None),
    }
}

/// Reads files of the directory with the path `prefix`.
fn read_files<'a>(
    parent: BorrowedFd<'_>,
    prefix: &str,
    owner: u32,
    names: impl IntoIterator<Item = &'a str>,
    wanted: &impl Fn(&RelativePath) -> bool,
    files: &mut Files,
) -> Result<(), Errno> {
    for name in names {
        let Ok(path) = RelativePath::parse(&format!("{prefix}{name}")) else { continue };
        if !wanted(&path) {
            continue;
        }
        match read_file(parent, name, owner) {
            Ok(Some(content)) => drop(files.insert(path, content)),
            // Another program may have removed a file at the top.
            Ok(None) => {}
            Err(Errno::NOENT) if prefix.is_empty() => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The content of a regular file of this owner; `None` means that it is not a regular file or belongs to another user.
fn read_file(parent: BorrowedFd<'_>, name: &str, owner: u32) -> Result<Option<SecretBytes>, Errno> {
    let file = match tree::open_file(parent, name) {
        Err(Errno::LOOP) => return Ok(None),
        result => result?,
    };
    let status = fstat(&file)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || status.st_uid != owner {
        return Ok(None);
    }
    let size = u64::try_from(status.st_size).unwrap_or(u64::MAX);
    if size > FILE_LIMIT {
        return Err(Errno::FBIG);
    }
    // Full capacity at once: a growing buffer would leave copies of the value in freed memory.
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    let read = File::from(file).take(size).read_to_end(&mut content);
    let content = SecretBytes::new(content);
    read.map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))?;
    Ok(Some(content))
}

//! Installs a program beside the credentials, for containers whose image does not include it.
//!
//! Publishing never touches a file that it did not write. Installing rejects a path among the credentials: in a directory that
//! podcreds published, of a file that it published, or with a name that begins with `..`.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, StatVfsMountFlags, flock, fstat, fstatvfs,
};
use rustix::fs::{openat, renameat, statat};
use rustix::io::Errno;

use crate::volume::error::{Error, Problem};
use crate::volume::room::{Room, occupied};
use crate::volume::state::{self, Record};
use crate::volume::tree::{Entry, Kind};
use crate::volume::{directory as layout, open_root, tree};

/// Every user can execute it, because the application may run as any user. No user has write permission.
const MODE: u32 = 0o555;
/// The mode of missing directories that are created.
const DIRECTORY_MODE: u32 = 0o755;

/// The start of the temporary name that the program has while it is written; 16 hexadecimal digits follow.
const TEMPORARY: &str = ".podcreds-";
/// The mode of an empty temporary file.
const TEMPORARY_MODE: u32 = 0o600;
/// How often to create another temporary file, if a concurrent run removes the last one as a leftover.
const ATTEMPTS: usize = 10;

/// Where a program was installed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) path: PathBuf,
    /// `false` means that an identical file existed.
    pub(crate) written: bool,
}

/// Installs a program at `path` by one rename, and creates missing directories. If `path` is a directory or ends with a slash,
/// the program is installed into it as `name`. Requires a umask of zero.
///
/// # Errors
/// If the file cannot be written; an existing file is unchanged.
pub(crate) fn install(program: &[u8], name: &str, path: &Path) -> Result<Installed, Error> {
    let is_directory = path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir();
    let path = if is_directory { path.join(name) } else { path.to_owned() };
    let directory =
        path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let error = |problem| Error::new(directory, problem);
    let name = path.file_name().ok_or_else(|| error(Problem::Missing))?;
    if let Some(part) = path.components().map(Component::as_os_str).find(|part| is_reserved(part)) {
        return Err(error(Problem::Reserved { name: part.to_string_lossy().into_owned() }));
    }
    if is_published(directory) {
        return Err(error(Problem::Published));
    }
    create_directories(directory).map_err(|errno| error(failed(errno, directory.as_os_str())))?;
    let root = open_root(directory)?;
    let written = write(root.as_fd(), name, program).map_err(error)?;
    Ok(Installed { path, written })
}

fn write(directory: BorrowedFd<'_>, name: &OsStr, program: &[u8]) -> Result<bool, Problem> {
    let failed = |errno| failed(errno, name);
    if fstatvfs(directory).map_err(failed)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(Problem::NoExec);
    }
    remove_leftovers(directory);
    if is_current(directory, name, program)? {
        return Ok(false);
    }
    let (next, _lock) = create_temporary(directory).map_err(failed)?;
    let written = fill(directory, &next, program).and_then(|()| renameat(directory, &next, directory, name));
    let written = written.inspect_err(|_| {
        let _ = tree::remove_file(directory, next.as_str());
    });
    written.map(|()| true).map_err(|errno| match failed(errno) {
        Problem::Full(_) => Problem::Full(Room::new(directory, occupied(program.len()))),
        problem => problem,
    })
}

/// Creates a temporary file and locks it: containers of one pod may install at the same time, all as process 1, and the lock
/// tells the file from the leftover of a killed run. On a file system that does not support locks, leftovers stay.
fn create_temporary(directory: BorrowedFd<'_>) -> Result<(String, OwnedFd), Errno> {
    for _ in 0..ATTEMPTS {
        let name = format!("{TEMPORARY}{:016x}", fastrand::u64(..));
        tree::write_file(directory, &name, TEMPORARY_MODE, b"")?;
        // Another run may lock and remove it before this one has the lock.
        let file = match tree::open_file(directory, name.as_str()) {
            Err(Errno::NOENT) => continue,
            file => file?,
        };
        let is_taken = flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
        if !is_taken && fstat(&file)?.st_nlink > 0 {
            return Ok((name, file));
        }
    }
    Err(Errno::AGAIN)
}

/// Writes the program to its temporary file. The descriptor is closed then, because a file that is open for writing cannot be
/// executed.
fn fill(directory: BorrowedFd<'_>, name: &str, program: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    tree::write_content(&openat(directory, name, flags, Mode::empty())?, MODE, program)
}

/// Removes the temporary files of this user that no running process holds.
fn remove_leftovers(directory: BorrowedFd<'_>) {
    let is_temporary = |name: &[u8]| {
        let digits = name.strip_prefix(TEMPORARY.as_bytes());
        digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
    };
    for name in tree::entries_where(directory, is_temporary).unwrap_or_default() {
        let Ok(file) = tree::open_file(directory, name.as_c_str()) else { continue };
        let entry = fstat(&file).map(|status| Entry::from_stat(&status));
        if entry.is_ok_and(|entry| entry.kind == Kind::File && entry.is_own())
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = tree::remove_file(directory, name.as_c_str());
        }
    }
}

/// Whether a part of a path is podcreds' own, or leads out of a directory that is created on the way.
fn is_reserved(part: &OsStr) -> bool {
    part.as_bytes().starts_with(b"..")
}

/// Whether a directory is inside a path that podcreds publishes to, even if it does not exist yet.
fn is_published(directory: &Path) -> bool {
    let is_own_name = |part: Component<'_>| is_reserved(part.as_os_str());
    let existing = directory.ancestors().find_map(|path| fs::canonicalize(Path::new(".").join(path)).ok());
    existing.is_some_and(|existing| existing.components().any(is_own_name) || is_in_published(&existing))
}

/// Whether an existing directory is one that podcreds published, or lies in one: between it and the top of the volume, which
/// has podcreds' own directory, there is a `..data` or a directory of the record.
fn is_in_published(directory: &Path) -> bool {
    let mut published = false;
    for path in directory.ancestors() {
        let Ok(open) = open_root(path) else { continue };
        if let Ok(state) = tree::open_directory(open.as_fd(), state::NAME) {
            let record = Record::load(state.as_fd()).ok().flatten().unwrap_or_default();
            let below = directory.strip_prefix(path).unwrap_or(Path::new(""));
            let is_recorded =
                |path: &Path| path.to_str().is_some_and(|path| record.has_directory(&format!("{path}/")));
            return published || below.ancestors().any(is_recorded);
        }
        published |= layout::current(open.as_fd()).is_some();
    }
    false
}

/// Whether podcreds published this name at the top of a volume.
fn is_published_file(root: BorrowedFd<'_>, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let record = tree::open_directory(root, state::NAME).and_then(|state| Record::load(state.as_fd()));
    let recorded = record.ok().flatten().is_some_and(|record| record.has_file(name));
    recorded || layout::is_published(root, name)
}

fn create_directories(directory: &Path) -> Result<(), Errno> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
    made.map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))
}

/// Whether an identical program is installed.
///
/// # Errors
/// If the name belongs to a credential, or is not a regular file.
fn is_current(directory: BorrowedFd<'_>, name: &OsStr, program: &[u8]) -> Result<bool, Problem> {
    let status = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(failed(errno, name)),
    };
    // The owner of a file could change it after the comparison. Root could replace it anyway.
    let has_trusted_owner = Entry::from_stat(&status).is_own() || status.st_uid == 0;
    match FileType::from_raw_mode(status.st_mode) {
        _ if is_published_file(directory, name) => Err(Problem::Published),
        FileType::RegularFile if has_trusted_owner => {
            Ok(tree::file_matches(directory, name, MODE, program).unwrap_or(false))
        }
        FileType::RegularFile => Ok(false),
        _ => Err(failed(Errno::EXIST, name)),
    }
}

fn failed(errno: Errno, name: &OsStr) -> Problem {
    match errno {
        Errno::EXIST | Errno::ISDIR | Errno::NOTDIR | Errno::LOOP => {
            Problem::InTheWay { name: name.to_string_lossy().into_owned() }
        }
        errno => Problem::new("install a program", errno),
    }
}

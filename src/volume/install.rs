//! A program beside the credentials, so that a container whose image does not have it can start with it.
//!
//! Publishing never touches a file that it did not write. A program that would land among the credentials is refused: in a
//! directory that podcreds wrote, in place of a file that it wrote, or at a name that begins with `..`.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, StatVfsMountFlags, fstatvfs, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::volume::error::{Error, Problem};
use crate::volume::record::Record;
use crate::volume::tree::Entry;
use crate::volume::{directory, open_root, state, tree};

/// Everybody may run it, whatever user the application has; nobody may change it.
const MODE: u32 = 0o555;
/// The mode of the folders above it that have to be made.
const FOLDER_MODE: u32 = 0o755;

/// Where a program was installed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The file.
    pub(crate) path: PathBuf,
    /// Whether it had to be written; otherwise it was there already.
    pub(crate) written: bool,
}

/// Puts a program at `path`, whole by one rename, and makes the folders above it that are missing. If `path` is a folder or
/// ends with a slash, the program goes into it, as `name`. Counts on a umask of zero.
///
/// # Errors
/// Why it could not be written; what was there before is unchanged.
pub(crate) fn install(program: &[u8], name: &str, path: &Path) -> Result<Installed, Error> {
    let is_folder = path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir();
    let path = if is_folder { path.join(name) } else { path.to_owned() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let error = |problem| Error::new(folder, problem);
    let name = path.file_name().ok_or_else(|| error(Problem::Missing))?;
    if name.as_bytes().starts_with(b"..") || is_published(folder) {
        return Err(error(Problem::Published));
    }
    make_folders(folder).map_err(|errno| error(failed(errno, folder.as_os_str())))?;
    let root = open_root(folder)?;
    let written = write(root.as_fd(), name, program).map_err(error)?;
    Ok(Installed { path, written })
}

fn write(folder: BorrowedFd<'_>, name: &OsStr, program: &[u8]) -> Result<bool, Problem> {
    let failed = |errno| failed(errno, name);
    if fstatvfs(folder).map_err(failed)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(Problem::NoExec);
    }
    if is_current(folder, name, program)? {
        return Ok(false);
    }
    // Containers of one pod may install at the same time, all as process 1.
    let next = format!(".podcreds-{:016x}", fastrand::u64(..));
    tree::write_file(folder, &next, MODE, program)
        .and_then(|()| renameat(folder, &next, folder, name))
        .inspect_err(|_| {
            let _ = unlinkat(folder, &next, AtFlags::empty());
        })
        .map_err(failed)?;
    Ok(true)
}

/// Whether a directory is, or would be made, where podcreds publishes.
fn is_published(directory: &Path) -> bool {
    let is_own_name =
        |part: Component<'_>| matches!(part, Component::Normal(name) if name.as_bytes().starts_with(b".."));
    if directory.components().any(is_own_name) {
        return true;
    }
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
        published |= directory::current(open.as_fd()).is_some();
    }
    false
}

/// Whether podcreds published this name at the top of a volume.
fn is_published_file(root: BorrowedFd<'_>, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let record = tree::open_directory(root, state::NAME).and_then(|state| Record::load(state.as_fd()));
    let recorded = record.ok().flatten().is_some_and(|record| record.has_file(name));
    recorded || directory::is_published(root, name)
}

fn make_folders(folder: &Path) -> Result<(), Errno> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))
}

/// Whether just this program is there. What else is there may be replaced, unless it is a credential's or a folder.
fn is_current(folder: BorrowedFd<'_>, name: &OsStr, program: &[u8]) -> Result<bool, Problem> {
    let status = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(failed(errno, name)),
    };
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Err(failed(Errno::ISDIR, name)),
        _ if is_published_file(folder, name) => Err(Problem::Published),
        // Its owner could change the program of another user after it was compared.
        FileType::RegularFile if Entry::of(&status).is_own() => {
            Ok(tree::same_file(folder, name, MODE, program).unwrap_or(false))
        }
        _ => Ok(false),
    }
}

fn failed(errno: Errno, name: &OsStr) -> Problem {
    match errno {
        Errno::EXIST | Errno::ISDIR | Errno::NOTDIR | Errno::LOOP => {
            Problem::InTheWay { name: name.to_string_lossy().into_owned() }
        }
        errno => Problem::of("install a program", errno),
    }
}

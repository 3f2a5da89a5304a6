//! Operations on single files and directories. Each opens one component of a path relative to the directory above it and follows
//! no link, so that a process that can write to the volume cannot redirect an operation to a path outside.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, SeekFrom, Stat, fchmod, fstat, mkdirat, openat,
    readlinkat, renameat, renameat_with, seek, statat, unlinkat,
};
use rustix::io::{Errno, read, retry_on_intr, write as write_bytes};
use rustix::path::Arg;
use rustix::process::geteuid;
use zeroize::Zeroizing;

/// The mode bits of a file that are compared.
pub(crate) const FILE_BITS: u32 = 0o7777;
/// How deep [`remove`] descends; deeper than any path of a bundle.
const DEPTH_LIMIT: usize = 16;
/// How many bytes of a file are compared at once.
const COMPARED: usize = 4096;
/// How many bytes of directory entries one system call reads. A name takes at most 280.
const LISTING_BUFFER: usize = 4096;

/// The type of a directory entry, without following links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
    /// A FIFO, a socket or a device.
    Special,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) owner: u32,
}

impl Entry {
    pub(crate) fn from_stat(status: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            _ => Kind::Special,
        };
        Self { kind, owner: status.st_uid }
    }

    /// Whether the entry belongs to the user of this process.
    pub(crate) fn is_own(self) -> bool {
        self.owner == own_uid()
    }
}

/// The user of this process, which does not change while it runs.
pub(crate) fn own_uid() -> u32 {
    static UID: OnceLock<u32> = OnceLock::new();
    *UID.get_or_init(|| geteuid().as_raw())
}

/// `None` means that there is no entry of this name.
pub(crate) fn entry(parent: BorrowedFd<'_>, name: impl Arg) -> Result<Option<Entry>, Errno> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(Entry::from_stat(&status))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Where a link leads; `None` means that the name is not a link, or its target is not UTF-8.
pub(crate) fn link_target(parent: BorrowedFd<'_>, name: impl Arg) -> Option<String> {
    readlinkat(parent, name, Vec::new()).ok()?.into_string().ok()
}

/// Opens a directory. A link to one is an error.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Opens the directory at a relative path, one component at a time.
///
/// # Errors
/// `NOTDIR` for a component that is not a directory or does not belong to `owner`.
pub(crate) fn open_path(root: BorrowedFd<'_>, path: &str, owner: u32) -> Result<OwnedFd, Errno> {
    let mut open: Option<OwnedFd> = None;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let inner = open_directory(open.as_ref().map_or(root, AsFd::as_fd), part)?;
        if fstat(&inner)?.st_uid != owner {
            return Err(Errno::NOTDIR);
        }
        open = Some(inner);
    }
    open.map_or_else(|| root.try_clone_to_owned().map_err(|_| Errno::MFILE), Ok)
}

/// [`open_path`] for directories of this process's user.
pub(crate) fn open_own_path(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    open_path(root, path, own_uid())
}

/// `None` means that the directory is missing, or that the name is not a directory.
pub(crate) fn if_present(opened: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Errno> {
    match opened {
        Ok(open) => Ok(Some(open)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Creates an empty directory with this mode, whatever the umask. If that fails, it leaves no directory.
pub(crate) fn create_directory(parent: BorrowedFd<'_>, name: &str, mode: u32) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, Mode::RWXU)?;
    let made = open_directory(parent, name);
    let made = made.and_then(|made| set_directory_mode(made.as_fd(), mode).map(|()| made));
    made.inspect_err(|_| {
        let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
    })
}

/// Sets the permissions of a directory and keeps its set-group-ID bit, so that directories pass the volume's group on.
pub(crate) fn set_directory_mode(directory: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    let inherited = Mode::from_raw_mode(fstat(directory)?.st_mode) & Mode::SGID;
    fchmod(directory, Mode::from_raw_mode(mode) | inherited)
}

/// The permissions of a directory, without set-group-ID and sticky.
pub(crate) fn permissions(status: &Stat) -> u32 {
    status.st_mode & 0o777
}

/// Creates a file that does not exist yet. If that fails, it leaves no file.
pub(crate) fn write_file(parent: BorrowedFd<'_>, name: &str, mode: u32, content: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
    write_content(&file, mode, content).inspect_err(|_| {
        let _ = unlinkat(parent, name, AtFlags::empty());
    })
}

/// Writes to an empty file. Its mode is set before its content.
pub(crate) fn write_content(file: &OwnedFd, mode: u32, mut content: &[u8]) -> Result<(), Errno> {
    fchmod(file, Mode::from_raw_mode(mode))?;
    while !content.is_empty() {
        let written = retry_on_intr(|| write_bytes(file, content))?;
        content = &content[written..];
    }
    Ok(())
}

/// Opens a file for reading. A link is an error, and a FIFO in its place does not block.
pub(crate) fn open_file(parent: BorrowedFd<'_>, name: impl Arg) -> Result<OwnedFd, Errno> {
    openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Whether the entry is a regular file with exactly this mode and content.
pub(crate) fn file_matches(
    parent: BorrowedFd<'_>,
    name: impl Arg,
    mode: u32,
    content: &[u8],
) -> Result<bool, Errno> {
    let file = open_file(parent, name)?;
    let status = fstat(&file)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile
        || status.st_mode & FILE_BITS != mode
        || u64::try_from(status.st_size) != Ok(content.len() as u64)
    {
        return Ok(false);
    }
    // The size was checked, so that the end of the content is the end of the file.
    let mut rest = content;
    let mut chunk = Zeroizing::new(vec![0; rest.len().min(COMPARED)]);
    while !rest.is_empty() {
        let count = retry_on_intr(|| read(&file, chunk.as_mut_slice()))?;
        match rest.split_at_checked(count) {
            Some((head, tail)) if count > 0 && *head == chunk[..count] => rest = tail,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Exchanges two entries atomically. `false` means that the file system does not support it.
pub(crate) fn exchange(
    from: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    other: &str,
) -> Result<bool, Errno> {
    match renameat_with(from, name, to, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Moves an entry to an unused name. If the file system does not support RENAME_NOREPLACE, an entry that another process has
/// just created there is replaced.
pub(crate) fn move_to_free(
    from: BorrowedFd<'_>,
    name: &str,
    to: BorrowedFd<'_>,
    other: &str,
) -> Result<(), Errno> {
    match renameat_with(from, name, to, other, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => renameat(from, name, to, other),
        result => result,
    }
}

/// Removes an entry that is not a directory, if it exists.
pub(crate) fn remove_file(parent: BorrowedFd<'_>, name: impl Arg) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes an empty directory. `false` means that it is not empty.
pub(crate) fn remove_directory(parent: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes an entry; a directory with everything in it.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    match remove_below(parent, name, DEPTH_LIMIT) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => remove_file(parent, name),
        result => result,
    }
}

/// [`remove`] for a directory that has exactly these files if no other process has changed it. Does not list it then.
pub(crate) fn remove_with(parent: BorrowedFd<'_>, name: &str, files: &BTreeSet<String>) -> Result<(), Errno> {
    if let Ok(directory) = open_directory(parent, name)
        && files.iter().all(|file| unlinkat(&directory, file.as_str(), AtFlags::empty()).is_ok())
        && unlinkat(parent, name, AtFlags::REMOVEDIR).is_ok()
    {
        return Ok(());
    }
    remove(parent, name)
}

fn remove_below(parent: BorrowedFd<'_>, name: impl Arg + Copy, depth: usize) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    let directory = open_directory(parent, name)?;
    for name in entries(&directory)? {
        match unlinkat(&directory, name.as_c_str(), AtFlags::empty()) {
            // Linux reports ISDIR, POSIX specifies PERM.
            Err(Errno::ISDIR | Errno::PERM) => remove_below(directory.as_fd(), name.as_c_str(), depth)?,
            result => result?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The names in a directory that nothing has listed since it was opened, without `.` and `..`.
pub(crate) fn entries(directory: impl AsFd) -> Result<Vec<CString>, Errno> {
    list(directory, |_, _| true)
}

/// The names in a directory that pass the filter, without `.` and `..`. The others take no memory: another process may have
/// created any number of them. Two threads must not list through one descriptor, because it has one position.
pub(crate) fn entries_where(
    directory: impl AsFd,
    filter: impl Fn(&[u8]) -> bool,
) -> Result<Vec<CString>, Errno> {
    seek(&directory, SeekFrom::Start(0))?;
    list(directory, |name, _| filter(name))
}

/// The names in a directory that pass the filter, without `.` and `..`. The directory must not have been listed since it was opened.
/// The second argument of the filter is whether the entry may be a link: some file systems do not return its type.
pub(crate) fn list(
    directory: impl AsFd,
    mut filter: impl FnMut(&[u8], bool) -> bool,
) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); LISTING_BUFFER];
    let mut listing = RawDir::new(directory, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = match entry {
            // Another process has removed the directory.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name();
        let may_be_link = matches!(entry.file_type(), FileType::Symlink | FileType::Unknown);
        if !matches!(name.to_bytes(), b"." | b"..") && filter(name.to_bytes(), may_be_link) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

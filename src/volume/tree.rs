//! One version: a folder of files as it should be, written, compared with what is there, or removed. Every step opens one
//! part of a path relative to the folder above it and follows no link, so that nobody who can write to the volume can
//! lead a step out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, mkdirat, openat, unlinkat};
use rustix::io::{Errno, read, retry_on_intr, write as write_bytes};
use rustix::path::Arg;
use zeroize::Zeroizing;

use crate::bundle::Bundle;
use crate::credential::FileMode;
use crate::ordered;
use crate::secret::SecretBytes;
use crate::volume::error::Problem;

/// The mode bits of a file that are compared.
const FILE_BITS: u32 = 0o7777;
/// The mode bits of a folder that are compared. The kernel adds set-group-id to folders by itself.
const FOLDER_BITS: u32 = 0o777;
/// How deep a leftover is followed; deeper than any path of a bundle.
const DEPTH_LIMIT: usize = 16;

/// A folder as it should be.
#[derive(Default)]
pub(super) struct Folder<'a> {
    mode: u32,
    children: BTreeMap<&'a str, Node<'a>>,
}

enum Node<'a> {
    Folder(Folder<'a>),
    File { mode: u32, content: &'a SecretBytes },
}

impl<'a> Folder<'a> {
    /// The whole version. A folder can be entered by everybody who may read a file below it.
    pub(super) fn of(bundle: &'a Bundle, default_mode: FileMode) -> Self {
        let mut root = Self { mode: default_mode.folder_bits(), ..Self::default() };
        for (path, file) in bundle {
            let mode = file.mode.unwrap_or(default_mode);
            let parts: Vec<_> = path.parts().collect();
            root.insert(&parts, Node::File { mode: mode.bits(), content: &file.content }, mode.folder_bits());
        }
        root
    }

    fn insert(&mut self, parts: &[&'a str], file: Node<'a>, folder_mode: u32) {
        self.mode |= folder_mode;
        match parts {
            [] => {}
            [name] => drop(self.children.insert(name, file)),
            [name, rest @ ..] => {
                if let Node::Folder(folder) =
                    self.children.entry(name).or_insert_with(|| Node::Folder(Self::default()))
                {
                    folder.insert(rest, file, folder_mode);
                }
            }
        }
    }

    /// The names at its top.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.children.keys().copied()
    }

    /// Whether this name is at its top.
    pub(super) fn has(&self, name: &str) -> bool {
        self.children.contains_key(name)
    }
}

/// Fills an empty folder. Modes are set before content.
pub(super) fn fill(parent: BorrowedFd<'_>, folder: &Folder<'_>) -> Result<(), Problem> {
    for (name, node) in &folder.children {
        match node {
            Node::Folder(folder) => {
                let made = make(parent, name, folder).map_err(|errno| Problem::of("make folders", errno))?;
                fill(made.as_fd(), folder)?;
            }
            Node::File { mode, content } => write_file(parent, name, *mode, content.expose())
                .map_err(|errno| Problem::of("write files", errno))?,
        }
    }
    Ok(())
}

/// Makes a folder that is not there yet, with its mode and still empty.
pub(super) fn make(parent: BorrowedFd<'_>, name: &str, folder: &Folder<'_>) -> Result<OwnedFd, Errno> {
    mkdirat(parent, name, Mode::RWXU)?;
    let mode = folder.mode;
    let folder = open_folder(parent, name)?;
    // Where the volume hands its group down, the folder goes on to do so.
    let inherited = Mode::from_raw_mode(fstat(&folder)?.st_mode) & Mode::SGID;
    fchmod(&folder, Mode::from_raw_mode(mode) | inherited)?;
    Ok(folder)
}

/// Writes a file that is not there yet.
pub(super) fn write_file(
    parent: BorrowedFd<'_>,
    name: &str,
    mode: u32,
    mut content: &[u8],
) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    while !content.is_empty() {
        let written = retry_on_intr(|| write_bytes(&file, content))?;
        content = &content[written..];
    }
    Ok(())
}

/// Whether the folder of this name is just as it should be: the same entries, modes and bytes. What cannot be read is
/// not as it should be.
pub(super) fn holds(parent: BorrowedFd<'_>, name: &str, folder: &Folder<'_>) -> bool {
    same_folder(parent, name, folder).unwrap_or(false)
}

/// The files in which the folder of this name differs from what it should be, in no order: other content, another mode, not
/// there, or there and not wanted.
pub(super) fn differences(parent: BorrowedFd<'_>, name: &str, folder: &Folder<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    differ(parent, name, folder, "", &mut found);
    found
}

fn differ(
    parent: BorrowedFd<'_>,
    name: &str,
    folder: &Folder<'_>,
    prefix: &str,
    found: &mut BTreeSet<String>,
) {
    let open = open_folder(parent, name).ok();
    let entries = open.as_ref().and_then(|open| entries(open).ok()).unwrap_or_default();
    for entry in entries.iter().filter_map(|entry| entry.to_str().ok()) {
        if !folder.children.contains_key(entry) {
            found.insert(format!("{prefix}{entry}"));
        }
    }
    for (name, node) in &folder.children {
        let path = format!("{prefix}{name}");
        match (node, &open) {
            (Node::Folder(folder), Some(open)) => {
                differ(open.as_fd(), name, folder, &format!("{path}/"), found);
            }
            (Node::File { mode, content }, Some(open)) => {
                if !same_file(open.as_fd(), *name, *mode, content.expose()).unwrap_or(false) {
                    found.insert(path);
                }
            }
            (_, None) => {
                found.insert(path);
            }
        }
    }
}

fn same_folder(parent: BorrowedFd<'_>, name: &str, folder: &Folder<'_>) -> Result<bool, Errno> {
    let open = open_folder(parent, name)?;
    if fstat(&open)?.st_mode & FOLDER_BITS != folder.mode {
        return Ok(false);
    }
    let found = ordered::set(entries(&open)?);
    let wanted = folder.children.keys().map(|name| name.as_bytes());
    if !found.iter().map(|name| name.as_bytes()).eq(wanted) {
        return Ok(false);
    }
    for (name, node) in &folder.children {
        let same = match node {
            Node::Folder(folder) => same_folder(open.as_fd(), name, folder)?,
            Node::File { mode, content } => same_file(open.as_fd(), *name, *mode, content.expose())?,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether this is a regular file of just this mode and content.
pub(super) fn same_file(
    parent: BorrowedFd<'_>,
    name: impl Arg,
    mode: u32,
    content: &[u8],
) -> Result<bool, Errno> {
    // Without NONBLOCK, a pipe that somebody put there would hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty())?;
    let status = fstat(&file)?;
    let regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if !regular
        || status.st_mode & FILE_BITS != mode
        || u64::try_from(status.st_size) != Ok(content.len() as u64)
    {
        return Ok(false);
    }
    let mut rest = content;
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        let count = retry_on_intr(|| read(&file, chunk.as_mut_slice()))?;
        match rest.split_at_checked(count) {
            _ if count == 0 => return Ok(rest.is_empty()),
            Some((head, tail)) if *head == chunk[..count] => rest = tail,
            _ => return Ok(false),
        }
    }
}

/// Removes a folder and all that is in it.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    remove_below(parent, name, DEPTH_LIMIT)
}

fn remove_below(parent: BorrowedFd<'_>, name: impl Arg + Copy, depth: usize) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    let folder = open_folder(parent, name)?;
    for name in entries(&folder)? {
        match unlinkat(&folder, name.as_c_str(), AtFlags::empty()) {
            // Linux says ISDIR, POSIX says PERM.
            Err(Errno::ISDIR | Errno::PERM) => remove_below(folder.as_fd(), name.as_c_str(), depth)?,
            result => result?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The names in a folder, without `.` and `..`.
pub(super) fn entries(folder: impl AsFd) -> Result<Vec<CString>, Errno> {
    let names = Dir::read_from(folder)?.map(|entry| Ok(entry?.file_name().to_owned()));
    names.filter(|name| !name.as_ref().is_ok_and(|name| matches!(name.as_bytes(), b"." | b".."))).collect()
}

/// Opens a folder that is no link to one.
pub(super) fn open_folder(parent: BorrowedFd<'_>, name: impl Arg) -> Result<OwnedFd, Errno> {
    openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

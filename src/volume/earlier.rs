//! The layout of earlier releases of podcreds: one version of the whole volume, with links to it at the top.
//!
//! ```text
//! db      -> ..data/db
//! ..data  -> ..2026_11_20_17_40_01.123456789
//! ..2026_11_20_17_40_01.123456789/db/password
//! ```
//!
//! A publication takes these links over as its own files, and [`clear`] removes the version once no link needs it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::volume::directory::{self, DATA, NEXT_DATA};
use crate::volume::plan::File;
use crate::volume::tree::{self, Kind};

/// How deep directories are listed; deeper than any path of a bundle.
const DEPTH_LIMIT: usize = 16;

/// Opens the current version. `None` means that there is none, or that it belongs to another user.
pub(crate) fn open(root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    if tree::entry(root, DATA)?.is_none_or(|entry| !entry.is_own()) {
        return Ok(None);
    }
    match directory::open_current(root) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        result => result,
    }
}

/// Whether the version has exactly this file at this path.
pub(crate) fn file_matches(root: BorrowedFd<'_>, path: &str, file: &File<'_>) -> bool {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Ok(Some(version)) = open(root) else { return false };
    let Ok(parent) = tree::open_own_path(version.as_fd(), parent) else { return false };
    tree::file_matches(parent.as_fd(), name, file.mode, file.content.expose()).unwrap_or(false)
}

/// The names of the links at the top.
pub(crate) fn links(root: BorrowedFd<'_>) -> Result<BTreeSet<String>, Errno> {
    if open(root)?.is_none() {
        return Ok(BTreeSet::new());
    }
    let is_own = |name: &str| matches!(tree::entry(root, name), Ok(Some(entry)) if entry.is_own());
    // Tested while listing: other processes may have created any number of other entries.
    let is_link = |name: &str| directory::is_published(root, name) && is_own(name);
    let names = tree::entries_where(root, |name| {
        !name.starts_with(b"..") && str::from_utf8(name).is_ok_and(is_link)
    })?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect::<BTreeSet<_>>())
}

/// The paths of the files in a version. Skips directories that this process may not enter: they hold files for
/// another user.
pub(crate) fn paths(version: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let mut paths = Vec::new();
    collect(version, "", DEPTH_LIMIT, &mut paths)?;
    Ok(paths)
}

fn collect(
    directory: BorrowedFd<'_>,
    prefix: &str,
    depth: usize,
    paths: &mut Vec<String>,
) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    for name in tree::entries(directory)? {
        // podcreds uses only names that are UTF-8.
        let Ok(name) = name.to_str() else { continue };
        let path = format!("{prefix}{name}");
        match tree::entry(directory, name)? {
            Some(entry) if entry.kind == Kind::Directory => match tree::open_directory(directory, name) {
                Ok(inner) => collect(inner.as_fd(), &format!("{path}/"), depth, paths)?,
                Err(Errno::ACCESS) => {}
                Err(errno) => return Err(errno),
            },
            _ => paths.push(path),
        }
    }
    Ok(())
}

/// Removes the versions, unless a link still leads there.
pub(crate) fn clear(root: BorrowedFd<'_>) -> Result<(), Errno> {
    if open(root)?.is_none() || !links(root)?.is_empty() {
        return Ok(());
    }
    let is_own = |name: &str| matches!(tree::entry(root, name), Ok(Some(entry)) if entry.is_own());
    for version in directory::versions(root)?.iter().filter(|version| is_own(version.as_str())) {
        tree::remove(root, version.as_str())?;
    }
    for name in [NEXT_DATA, DATA] {
        if is_own(name) && tree::link_target(root, name).is_some() {
            tree::remove_file(root, name)?;
        }
    }
    Ok(())
}

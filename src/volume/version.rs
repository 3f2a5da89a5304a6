//! The version that a volume holds, for a reader: `..data` is resolved once, so all files are of one bundle.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use crate::credential::RelativePath;
use crate::secret::SecretBytes;
use crate::volume::error::{Error, Problem};
use crate::volume::layout::{self, VersionName};
use crate::volume::{open_root, tree};

/// The largest file that is read, in bytes: no bundle has a larger one.
const FILE_LIMIT: u64 = 32 * 1024 * 1024;
/// How deep folders are listed; deeper than any path of a bundle.
const DEPTH_LIMIT: usize = 16;

/// What a volume held when it was opened.
#[derive(Debug)]
pub struct Version {
    root: OwnedFd,
    folder: OwnedFd,
    name: VersionName,
    path: PathBuf,
}

impl Version {
    /// Opens what the volume at `path` holds now; none if nothing was published in it yet.
    ///
    /// # Errors
    /// If the volume is not there, is no folder, cannot be read, or is not one of podcreds.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        let error = |problem| Error::new(path, problem);
        let root = open_root(path)?;
        let Some(name) = layout::current(root.as_fd()).map_err(error)? else { return Ok(None) };
        match tree::open_folder(root.as_fd(), name.as_str()) {
            Ok(folder) => Ok(Some(Self { root, folder, name, path: path.to_owned() })),
            // It was replaced and cleared between the two steps.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(error(Problem::of("read files", errno))),
        }
    }

    /// Whether the volume still holds this version. Only then all that was read of it is whole: once replaced, it may have
    /// been cleared meanwhile.
    ///
    /// # Errors
    /// If the volume cannot be read.
    pub fn is_current(&self) -> Result<bool, Error> {
        let current =
            layout::current(self.root.as_fd()).map_err(|problem| Error::new(&self.path, problem))?;
        Ok(current.as_ref() == Some(&self.name))
    }

    /// The paths of its files. Folders that this process may not enter are passed over: they hold files for another user.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn paths(&self) -> Result<Vec<RelativePath>, Error> {
        let mut paths = Vec::new();
        collect(self.folder.as_fd(), "", DEPTH_LIMIT, &mut paths).map_err(|errno| self.unread(errno))?;
        Ok(paths)
    }

    /// The content of a file; none if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, path: &RelativePath) -> Result<Option<SecretBytes>, Error> {
        match self.read_file(path) {
            Ok(content) => Ok(content),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(self.unread(errno)),
        }
    }

    fn read_file(&self, path: &RelativePath) -> Result<Option<SecretBytes>, Errno> {
        let mut open: Option<OwnedFd> = None;
        for part in path.parts() {
            let folder = open.as_ref().unwrap_or(&self.folder);
            // Without NONBLOCK, a pipe that somebody put there would hold us up.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            open = Some(openat(folder, part, flags, Mode::empty())?);
        }
        let Some(file) = open else { return Ok(None) };
        let status = fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let size = u64::try_from(status.st_size).unwrap_or(u64::MAX);
        if size > FILE_LIMIT {
            return Err(Errno::FBIG);
        }
        // As large as it will be: a buffer that grows leaves values behind.
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let read = File::from(file).take(size).read_to_end(&mut content);
        let content = SecretBytes::new(content);
        read.map_err(|cause| Errno::from_io_error(&cause).unwrap_or(Errno::IO))?;
        Ok(Some(content))
    }

    fn unread(&self, errno: Errno) -> Error {
        Error::new(&self.path, Problem::of("read files", errno))
    }
}

/// Lists the files below a folder whose path, with a slash at its end, is `above`.
fn collect(
    folder: BorrowedFd<'_>,
    above: &str,
    depth: usize,
    paths: &mut Vec<RelativePath>,
) -> Result<(), Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
    for name in tree::entries(folder)? {
        // Every name that podcreds gives is text.
        let Ok(text) = name.to_str() else { continue };
        let path = format!("{above}{text}");
        match FileType::from_raw_mode(statat(folder, text, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) {
            FileType::Directory => match tree::open_folder(folder, text) {
                Ok(inner) => collect(inner.as_fd(), &format!("{path}/"), depth, paths)?,
                Err(Errno::ACCESS) => {}
                Err(errno) => return Err(errno),
            },
            _ => paths.extend(RelativePath::parse(&path)),
        }
    }
    Ok(())
}

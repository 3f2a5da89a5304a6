//! A file that changes under us: the kubelet replaces a token before it expires, and a CA bundle when the cluster's
//! authority changes. What stands in a kubeconfig itself has the same form and never changes.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::warn;
use zeroize::Zeroizing;

use crate::bounded_file::read_bounded;

/// The largest file that is read, in bytes: some hundreds of certificates.
const FILE_LIMIT: usize = 1024 * 1024;

/// What a file holds, read again when it looks different.
pub struct Followed<T> {
    /// None for what was in no file of its own.
    file: Option<Source<T>>,
    content: T,
    /// Why it could not be read the last time, which is said once.
    said: String,
}

/// The file, and how it is read.
struct Source<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T, String>,
    stamp: Stamp,
}

impl<T: Clone> Followed<T> {
    /// Reads the file for the first time. `parse` says what is wrong with its bytes without showing them.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or `parse` refuses it.
    pub(crate) fn open(path: PathBuf, parse: fn(&[u8]) -> Result<T, String>) -> Result<Self, FileError> {
        let (stamp, content) = read(&path, parse)?;
        Ok(Self { file: Some(Source { path, parse, stamp }), content, said: String::new() })
    }

    /// What never changes.
    pub(crate) fn fixed(content: T) -> Self {
        Self { file: None, content, said: String::new() }
    }

    /// The content as it is now, and whether it is another than the last time. While the file cannot be read, the last
    /// content is used on, because it may still be good.
    pub(crate) fn current(&mut self) -> (T, bool) {
        let looks_different =
            self.file.as_ref().is_some_and(|file| Stamp::at(&file.path).as_ref() != Some(&file.stamp));
        let changed = looks_different && self.read_again();
        (self.content.clone(), changed)
    }

    /// Reads the file again, however it looks; says whether that was possible.
    pub(crate) fn read_again(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        match read(&file.path, file.parse) {
            Ok((stamp, content)) => {
                (file.stamp, self.content) = (stamp, content);
                self.said.clear();
                true
            }
            Err(error) => {
                let reason = error.to_string();
                if reason != self.said {
                    warn!("{reason}; going on with what it held before");
                    self.said = reason;
                }
                false
            }
        }
    }
}

impl<T> fmt::Debug for Followed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.file.as_ref().map(|file| &file.path);
        f.debug_struct("Followed").field("path", &path).finish_non_exhaustive()
    }
}

/// What changes when a file is replaced or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl Stamp {
    /// That of the file at this path as it is now; none if there is none.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }
}

fn read<T>(path: &Path, parse: fn(&[u8]) -> Result<T, String>) -> Result<(Stamp, T), FileError> {
    let (stamp, bytes) = read_bytes(path)?;
    let content = parse(&bytes).map_err(|problem| FileError { path: path.to_owned(), problem })?;
    Ok((stamp, content))
}

/// The bytes of a small file without white space around them: at least one.
fn read_bytes(path: &Path) -> Result<(Stamp, Zeroizing<Vec<u8>>), FileError> {
    let error = |problem: String| FileError { path: path.to_owned(), problem };
    let unreadable = |cause: io::Error| error(format!("cannot be read: {cause}"));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let bytes = read_bounded(file, FILE_LIMIT).map_err(unreadable)?;
    match bytes.trim_ascii() {
        [] => Err(error("is empty".to_owned())),
        _ => Ok((Stamp::of(&metadata), bytes)),
    }
}

/// Reads a small file once, as text without white space around it.
///
/// # Errors
/// If it cannot be read, is empty or is no UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let (_, bytes) = read_bytes(path)?;
    let text = std::str::from_utf8(bytes.trim_ascii()).map(str::to_owned);
    text.map_err(|_| FileError { path: path.to_owned(), problem: "is not text".to_owned() })
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct FileError {
    path: PathBuf,
    problem: String,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<String, String> {
        String::from_utf8(bytes.to_vec()).map_err(|_| "is garbled".to_owned())
    }

    struct Scene {
        folder: tempfile::TempDir,
        file: Followed<String>,
    }

    impl Scene {
        fn new(content: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("file"), content).unwrap();
            let file = Followed::open(folder.path().join("file"), parse).unwrap();
            Self { folder, file }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("file")
        }

        fn replace(&self, content: &[u8]) {
            fs::write(self.folder.path().join("new"), content).unwrap();
            fs::rename(self.folder.path().join("new"), self.path()).unwrap();
        }
    }

    #[test]
    fn a_replaced_file_is_read_again_once() {
        let mut scene = Scene::new("test-1");
        assert_eq!(scene.file.current(), ("test-1".into(), false));
        scene.replace(b"test-2");
        assert_eq!(scene.file.current(), ("test-2".into(), true));
        assert_eq!(scene.file.current(), ("test-2".into(), false));
    }

    #[test]
    fn a_file_that_cannot_be_read_any_more_keeps_what_it_held() {
        let mut scene = Scene::new("test-1");
        for bad in [&b""[..], b"\xff"] {
            scene.replace(bad);
            assert_eq!(scene.file.current(), ("test-1".into(), false));
        }
        fs::remove_file(scene.path()).unwrap();
        assert_eq!(scene.file.current(), ("test-1".into(), false));
        scene.replace(b"test-2");
        assert_eq!(scene.file.current(), ("test-2".into(), true));
    }

    #[test]
    fn it_can_be_read_again_even_if_it_looks_the_same() {
        let mut scene = Scene::new("test-1");
        let modified = fs::metadata(scene.path()).unwrap().modified().unwrap();
        fs::write(scene.path(), "test-2").unwrap();
        File::options().write(true).open(scene.path()).unwrap().set_modified(modified).unwrap();
        assert_eq!(scene.file.current().0, "test-1");
        assert!(scene.file.read_again());
        assert_eq!(scene.file.current().0, "test-2");
    }

    #[test]
    fn what_is_in_no_file_never_changes() {
        let mut fixed = Followed::fixed("test-1".to_owned());
        assert!(!fixed.read_again());
        assert_eq!(fixed.current(), ("test-1".to_owned(), false));
    }

    #[test]
    fn debug_hides_the_content() {
        assert!(!format!("{:?}", Scene::new("test-1").file).contains("test-1"));
        assert!(!format!("{:?}", Followed::fixed("test-1".to_owned())).contains("test-1"));
    }

    #[test]
    fn a_file_beyond_its_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), vec![b'x'; FILE_LIMIT + 1]).unwrap();
        let error = Followed::open(folder.path().join("file"), parse).unwrap_err().to_string();
        assert!(error.ends_with("file cannot be read: it is larger than 1048576 bytes"), "{error}");
    }
}

//! Files that change while podcreds runs: the kubelet replaces a token before it expires, and a CA bundle when the cluster's
//! certificate authority changes. Data that is inline in a kubeconfig has the same type and never changes.

use std::error::Error;
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::warn;
use zeroize::Zeroizing;

use crate::secret::read_bounded;

/// The largest file that is read, in bytes: some hundreds of certificates.
const FILE_LIMIT: usize = 1024 * 1024;

/// Why a parser rejected the content of a file. Its text must not show the content.
pub(crate) type ParseError = Box<dyn Error + Send + Sync>;

/// Parses the content of a file.
pub(crate) type Parse<T> = fn(&[u8]) -> Result<T, ParseError>;

/// A value that is parsed again when its file changes.
pub struct Reloading<T> {
    /// `None` means that the value came from no file and never changes.
    file: Option<WatchedFile<T>>,
    value: T,
    /// The last error, so that a file that stays broken is logged once.
    warned: String,
}

struct WatchedFile<T> {
    path: PathBuf,
    parse: Parse<T>,
    /// The stamp of the content in use. `None` means that the file has not been read yet, and the inline value is in use.
    stamp: Option<FileStamp>,
}

impl<T: Clone> Reloading<T> {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or `parse` rejects it.
    pub(crate) fn open(path: PathBuf, parse: Parse<T>) -> Result<Self, FileError> {
        let (stamp, value) = read(&path, parse)?;
        Ok(Self { file: Some(WatchedFile { path, parse, stamp: Some(stamp) }), value, warned: String::new() })
    }

    /// Reads the file for the first time. `inline` is the value until the file can be read.
    pub(crate) fn open_or(path: PathBuf, parse: Parse<T>, inline: T) -> Self {
        let file = Some(WatchedFile { path, parse, stamp: None });
        let mut opened = Self { file, value: inline, warned: String::new() };
        opened.reload();
        opened
    }

    /// A value that never changes.
    pub(crate) fn fixed(value: T) -> Self {
        Self { file: None, value, warned: String::new() }
    }

    /// The current value, and whether it changed since the last call. While the file cannot be read or parsed, the last value
    /// stays in use, because it may still be valid.
    pub(crate) fn current(&mut self) -> (T, bool) {
        let is_replaced = self.file.as_ref().is_some_and(|file| FileStamp::stat(&file.path) != file.stamp);
        let is_changed = is_replaced && self.reload();
        (self.value.clone(), is_changed)
    }

    /// Reads the file again, even if its metadata did not change. Returns whether that succeeded.
    pub(crate) fn reload(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        match read(&file.path, file.parse) {
            Ok((stamp, value)) => {
                (file.stamp, self.value) = (Some(stamp), value);
                self.warned.clear();
                true
            }
            Err(error) => {
                let message = error.to_string();
                if message != self.warned {
                    let next = match file.stamp {
                        Some(_) => "keeping the previous content",
                        None => "using the inline value until the file can be read",
                    };
                    warn!("{message}; {next}");
                    self.warned = message;
                }
                false
            }
        }
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.file.as_ref().map(|file| &file.path);
        f.debug_struct("Reloading").field("path", &path).finish_non_exhaustive()
    }
}

/// The metadata that changes when a file is replaced or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl FileStamp {
    /// Reads the metadata of the file at this path. `None` means that the file does not exist.
    pub(crate) fn stat(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::new(&metadata))
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }
}

fn read<T>(path: &Path, parse: Parse<T>) -> Result<(FileStamp, T), FileError> {
    let (stamp, bytes) = read_bytes(path)?;
    let value = parse(&bytes).map_err(|error| FileError::new(path, FileProblem::Content(error)))?;
    Ok((stamp, value))
}

/// Reads a small file. It must hold more than white space.
fn read_bytes(path: &Path) -> Result<(FileStamp, Zeroizing<Vec<u8>>), FileError> {
    let unreadable = |error| FileError::new(path, FileProblem::Unreadable(error));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let bytes = read_bounded(file, FILE_LIMIT).map_err(unreadable)?;
    match bytes.trim_ascii() {
        [] => Err(FileError::new(path, FileProblem::Empty)),
        _ => Ok((FileStamp::new(&metadata), bytes)),
    }
}

/// Reads a small file once, as text without the white space around it.
///
/// # Errors
/// If the file cannot be read, is empty or is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let (_, bytes) = read_bytes(path)?;
    let text = std::str::from_utf8(bytes.trim_ascii()).map(str::to_owned);
    text.map_err(|_| FileError::new(path, FileProblem::NotText))
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct FileError {
    path: PathBuf,
    #[source]
    problem: FileProblem,
}

impl FileError {
    fn new(path: &Path, problem: FileProblem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// The error of the operating system; `None` means that the content cannot be used.
    pub(crate) fn io_error(&self) -> Option<io::ErrorKind> {
        match &self.problem {
            FileProblem::Unreadable(error) => Some(error.kind()),
            FileProblem::Empty | FileProblem::NotText | FileProblem::Content(_) => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FileProblem {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("is empty")]
    Empty,
    #[error("is not text")]
    NotText,
    #[error("{0}")]
    Content(#[source] ParseError),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<String, ParseError> {
        String::from_utf8(bytes.to_vec()).map_err(|_| "is garbled".into())
    }

    struct Fixture {
        directory: tempfile::TempDir,
        file: Reloading<String>,
    }

    impl Fixture {
        fn new(content: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("file"), content).unwrap();
            let file = Reloading::open(directory.path().join("file"), parse).unwrap();
            Self { directory, file }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("file")
        }

        fn replace(&self, content: &[u8]) {
            fs::write(self.directory.path().join("new"), content).unwrap();
            fs::rename(self.directory.path().join("new"), self.path()).unwrap();
        }
    }

    #[test]
    fn a_replaced_file_is_reloaded_once() {
        let mut fixture = Fixture::new("test-1");
        assert_eq!(fixture.file.current(), ("test-1".into(), false));
        fixture.replace(b"test-2");
        assert_eq!(fixture.file.current(), ("test-2".into(), true));
        assert_eq!(fixture.file.current(), ("test-2".into(), false));
    }

    #[test]
    fn a_file_that_becomes_unreadable_keeps_its_last_value() {
        let mut fixture = Fixture::new("test-1");
        for bad in [&b""[..], b"\xff"] {
            fixture.replace(bad);
            assert_eq!(fixture.file.current(), ("test-1".into(), false));
        }
        fs::remove_file(fixture.path()).unwrap();
        assert_eq!(fixture.file.current(), ("test-1".into(), false));
        fixture.replace(b"test-2");
        assert_eq!(fixture.file.current(), ("test-2".into(), true));
    }

    #[test]
    fn a_reload_ignores_the_metadata() {
        let mut fixture = Fixture::new("test-1");
        let modified = fs::metadata(fixture.path()).unwrap().modified().unwrap();
        fs::write(fixture.path(), "test-2").unwrap();
        File::options().write(true).open(fixture.path()).unwrap().set_modified(modified).unwrap();
        assert_eq!(fixture.file.current().0, "test-1");
        assert!(fixture.file.reload());
        assert_eq!(fixture.file.current().0, "test-2");
    }

    #[test]
    fn a_value_without_a_file_never_changes() {
        let mut fixed = Reloading::fixed("test-1".to_owned());
        assert!(!fixed.reload());
        assert_eq!(fixed.current(), ("test-1".to_owned(), false));
    }

    #[test]
    fn debug_hides_the_value() {
        assert!(!format!("{:?}", Fixture::new("test-1").file).contains("test-1"));
        assert!(!format!("{:?}", Reloading::fixed("test-1".to_owned())).contains("test-1"));
    }

    #[test]
    fn a_file_above_the_size_limit_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), vec![b'x'; FILE_LIMIT + 1]).unwrap();
        let error = Reloading::open(directory.path().join("file"), parse).unwrap_err().to_string();
        assert!(error.ends_with("file cannot be read: it is larger than 1048576 bytes"), "{error}");
    }
}

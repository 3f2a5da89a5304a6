//! The bearer token, read from the file that the kubelet keeps current.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::warn;
use zeroize::Zeroizing;

/// The largest token that is read, in bytes.
const TOKEN_LIMIT: usize = 64 * 1024;

/// A file that holds a token and changes under us: the kubelet replaces it before the token expires.
pub struct TokenFile {
    path: PathBuf,
    /// The token, and how the file looked when it was read.
    current: Option<(Stamp, Zeroizing<String>)>,
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TokenFile {
    /// Reads the token for the first time.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or holds what no token can be.
    pub fn open(path: PathBuf) -> Result<Self, TokenError> {
        let current = Some(read(&path)?);
        Ok(Self { path, current })
    }

    /// The token as it is now. The file is read again when it looks different from the last time; while it cannot be
    /// read, the last token is used on, because it may still be good.
    pub fn token(&mut self) -> Result<Zeroizing<String>, TokenError> {
        let seen = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if let Some((stamp, token)) = &self.current
            && seen.as_ref() == Some(stamp)
        {
            return Ok(token.clone());
        }
        match (read(&self.path), &self.current) {
            (Ok((stamp, token)), _) => {
                self.current = Some((stamp, token.clone()));
                Ok(token)
            }
            (Err(error), Some((_, token))) => {
                warn!("{error}; going on with the token of before");
                Ok(token.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The API server refused the token: read the file again at the next use, however it looks.
    pub fn forget(&mut self) {
        if let Ok(current) = read(&self.path) {
            self.current = Some(current);
        }
    }
}

/// What changes when a file is replaced or written.
#[derive(PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        }
    }
}

fn read(path: &Path) -> Result<(Stamp, Zeroizing<String>), TokenError> {
    let error = |problem| TokenError { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|cause| error(Problem::Io(cause)))?;
    let stamp =
        file.metadata().map(|metadata| Stamp::of(&metadata)).map_err(|cause| error(Problem::Io(cause)))?;
    // Room for all that is read, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_LIMIT + 1));
    file.take(TOKEN_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(|cause| error(Problem::Io(cause)))?;
    if bytes.len() > TOKEN_LIMIT {
        return Err(error(Problem::TooLong));
    }
    let token = bytes.trim_ascii();
    match std::str::from_utf8(token) {
        _ if token.is_empty() => Err(error(Problem::Empty)),
        Ok(text) if token.iter().all(u8::is_ascii_graphic) => Ok((stamp, Zeroizing::new(text.to_owned()))),
        _ => Err(error(Problem::Garbled)),
    }
}

/// A token that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct TokenError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Io(io::Error),
    #[error("is empty")]
    Empty,
    #[error("holds characters that no token has")]
    Garbled,
    #[error("is larger than any token")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_replaced_file_is_read_again_and_a_missing_one_keeps_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " test-token-1\n").unwrap();
        let mut file = TokenFile::open(path.clone()).unwrap();
        assert_eq!(file.token().unwrap().as_str(), "test-token-1");

        fs::write(folder.path().join("new"), "test-token-2").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(file.token().unwrap().as_str(), "test-token-2");

        fs::remove_file(&path).unwrap();
        assert_eq!(file.token().unwrap().as_str(), "test-token-2");
    }

    #[test]
    fn a_refused_token_is_read_again_even_if_the_file_looks_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "test-token-1").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = TokenFile::open(path.clone()).unwrap();
        fs::write(&path, "test-token-2").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(file.token().unwrap().as_str(), "test-token-1");
        file.forget();
        assert_eq!(file.token().unwrap().as_str(), "test-token-2");
    }

    #[test]
    fn what_is_no_token_is_refused_and_named_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (content, part) in [
            (b" \n".to_vec(), "is empty"),
            (b"test token".to_vec(), "no token has"),
            (b"test-\xff".to_vec(), "no token has"),
            (b"a\nb".to_vec(), "no token has"),
            (vec![b'x'; TOKEN_LIMIT + 1], "larger than"),
        ] {
            fs::write(&path, content).unwrap();
            let message = TokenFile::open(path.clone()).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("/token "), "{message}");
        }
        let missing = TokenFile::open(folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("/none cannot be read"), "{missing}");
    }

    #[test]
    fn debug_hides_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "test-token-1").unwrap();
        assert!(!format!("{:?}", TokenFile::open(path).unwrap()).contains("test-token"));
    }
}

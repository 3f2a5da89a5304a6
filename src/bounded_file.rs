//! Reads files whose size others decide: never more than a bound, and into memory that is overwritten when it is freed.

use std::fs::File;
use std::io::{self, Read};

use zeroize::Zeroizing;

/// Reads the rest of a file.
///
/// # Errors
/// `FileTooLarge` if there are more than `limit` bytes, and any error of reading.
pub(crate) fn read_bounded(file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Reserve the whole size at once: a buffer that grows leaves copies of its content behind.
    let expected = file.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(limit));
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected.min(limit) + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        let read = |path: &Path, limit| read_bounded(File::open(path).unwrap(), limit);
        assert_eq!(**read(&path, 5).unwrap(), *b"12345");
        let error = read(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it is larger than 4 bytes");
        // Files without a size, as those of /proc, are bounded too.
        assert!(read(Path::new("/dev/zero"), 100).is_err());
    }
}

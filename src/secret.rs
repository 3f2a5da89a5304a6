//! Secret bytes: the value of a Secret, a token, a rendered file.
//!
//! They have no `Display`, a `Debug` that reveals nothing (not even the length), and are overwritten when dropped.
//! [`read_bounded`] reads files into such memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use zeroize::{Zeroize, Zeroizing};

/// Bytes that cannot be printed and are overwritten in memory when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of the bytes without copying them.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Every call deserves a look in a review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text; `None` means that they are not UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl From<&str> for SecretBytes {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(hidden)")
    }
}

/// A growing buffer of secret bytes. Unlike `Vec`, it overwrites its old memory when it moves, and it may have a limit.
pub struct SecretBuffer {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    has_overflowed: bool,
}

impl Default for SecretBuffer {
    fn default() -> Self {
        Self::bounded(usize::MAX)
    }
}

impl SecretBuffer {
    /// An empty buffer that keeps at most `limit` bytes. It drops all bytes after them and reports that in
    /// [`Self::has_overflowed`], so writers need no check of their own and take no memory beyond the limit.
    pub(crate) fn bounded(limit: usize) -> Self {
        Self { bytes: Zeroizing::default(), limit, has_overflowed: false }
    }

    /// A buffer that does not move until it exceeds `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(capacity)), ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether bytes are missing because they exceeded the limit.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len().saturating_add(bytes.len());
        if self.has_overflowed || needed > self.limit {
            self.has_overflowed = true;
            return;
        }
        if needed > self.bytes.capacity() {
            // Old and new memory exist at the same time, so the last move begins at half of the limit.
            let doubled = self.bytes.capacity() * 2;
            let capacity = if doubled > self.limit / 2 { self.limit } else { needed.max(doubled) };
            let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
            larger.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends text.
    pub fn push_str(&mut self, text: &str) {
        self.push(text.as_bytes());
    }

    pub(crate) fn push_char(&mut self, c: char) {
        let mut utf8 = [0; 4];
        self.push(c.encode_utf8(&mut utf8).as_bytes());
        utf8.zeroize();
    }

    /// Removes the first line and returns it without its newline; `None` means that no line is complete. The caller knows that
    /// the first `searched` bytes contain no newline.
    pub(crate) fn take_line(&mut self, searched: usize) -> Option<Zeroizing<Vec<u8>>> {
        let end = searched + self.bytes.get(searched..)?.iter().position(|byte| *byte == b'\n')?;
        let rest = Zeroizing::new(self.bytes[end + 1..].to_vec());
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line[end..].zeroize();
        line.truncate(end);
        Some(line)
    }

    /// The content.
    pub fn finish(self) -> SecretBytes {
        SecretBytes(self.bytes)
    }
}

/// Appends to the text that the buffer already contains, without copying it.
impl From<SecretBytes> for SecretBuffer {
    fn from(SecretBytes(bytes): SecretBytes) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl io::Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        // An error ends the loop of the caller; `has_overflowed` says why.
        if self.has_overflowed { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the rest of a file whose size others decide: never more than a bound, and into memory that is overwritten when it is
/// freed.
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
    fn debug_shows_neither_value_nor_length() {
        let short = format!("{:?}", SecretBytes::from("x"));
        let long = format!("{:#?}", Some(SecretBytes::from("test-password-that-is-long")));
        assert_eq!(short, "SecretBytes(hidden)");
        assert!(!long.contains("test-password") && !long.contains("26"), "{long}");
    }

    #[test]
    fn lines_are_taken_one_by_one_when_complete() {
        let mut buffer = SecretBuffer::default();
        buffer.push(b"one\n\ntw");
        assert_eq!(buffer.take_line(3).as_deref(), Some(&b"one".to_vec()));
        assert_eq!(buffer.take_line(0).as_deref(), Some(&Vec::new()));
        assert_eq!(buffer.take_line(0), None);
        assert_eq!(buffer.take_line(2), None);
        buffer.push(b"o\n");
        assert_eq!(buffer.take_line(2).as_deref(), Some(&b"two".to_vec()));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_buffer_keeps_its_content_while_it_grows() {
        let mut buffer = SecretBuffer::with_capacity(1);
        (0..300).for_each(|i| buffer.push_char(char::from(b'a' + (i % 26) as u8)));
        buffer.push_str("é");
        assert_eq!(buffer.len(), 302);
        assert!(buffer.finish().expose_text().is_some_and(|text| text.starts_with("abcz".get(..3).unwrap())));
    }

    #[test]
    fn a_bounded_buffer_takes_no_memory_beyond_its_limit() {
        let mut buffer = SecretBuffer::bounded(10);
        buffer.push(b"123456");
        buffer.push(b"7890");
        assert!(!buffer.has_overflowed() && buffer.capacity() == 10);
        buffer.push(b"");
        assert!(!buffer.has_overflowed());
        buffer.push(b"1");
        // A shorter text must not follow the gap.
        buffer.push(b"");
        assert!(buffer.has_overflowed() && buffer.capacity() == 10);
        assert_eq!(buffer.finish().expose(), b"1234567890");
        let mut buffer = SecretBuffer::bounded(100);
        let capacities = [20, 20, 20, 40].map(|length| {
            buffer.push(&vec![0; length]);
            buffer.capacity()
        });
        assert_eq!(capacities, [20, 40, 100, 100]);
        let mut buffer = SecretBuffer::bounded(3);
        buffer.push(b"1234");
        buffer.push(b"5");
        assert!(io::Write::write_all(&mut buffer, b"6").is_err() && buffer.is_empty());
    }

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

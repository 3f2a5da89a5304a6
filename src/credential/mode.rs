//! The permission bits of a file.

use std::fmt;

use crate::text::Quoted;

/// Permission bits, `0000` to `0777`, that let the owner read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Everybody may read: where the volume does not say which group should.
    pub(crate) const WORLD: Self = Self(0o444);
    /// The volume's group may read: where the pod sets `fsGroup`.
    pub(crate) const GROUP: Self = Self(0o440);

    /// Only the owner may read: what libpq wants of a file with passwords.
    pub(crate) const OWNER: Self = Self(0o600);

    /// Reads octal digits, with or without leading zeros or `0o`.
    pub(crate) fn parse(text: &str) -> Result<Self, ModeError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let bits = (digits.len() <= 4 && digits.bytes().all(|b| matches!(b, b'0'..=b'7')))
            .then(|| u32::from_str_radix(digits, 8).ok())
            .flatten()
            .filter(|bits| *bits <= 0o777)
            .ok_or_else(|| ModeError::NotOctal(text.to_owned()))?;
        // podcreds reads its own files to see whether they are current.
        if bits & 0o400 == 0 { Err(ModeError::Unreadable(text.to_owned())) } else { Ok(Self(bits)) }
    }

    /// The bits.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The bits of a folder that holds such a file: `x` wherever `r` is. The owner can always list, enter and clear it.
    pub(crate) fn folder_bits(self) -> u32 {
        let read = self.0 & 0o444;
        read | (read >> 2) | 0o700
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A mode that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ModeError {
    /// Not a number, or too large.
    #[error("{} is no file mode: octal digits from 0400 to 0777, for example \"0440\"", Quoted(.0))]
    NotOctal(String),
    /// Without the owner's read bit.
    #[error("{} does not let the owner read the file: add 0400", Quoted(.0))]
    Unreadable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_in_any_usual_spelling() {
        for text in ["440", "0440", "0o440"] {
            assert_eq!(FileMode::parse(text), Ok(FileMode(0o440)), "{text}");
        }
        for text in
            ["", "0o", "8", "1777", "04400", "-440", "+440", "0x1b0", "rw-r-----", "440 ", "0000", "0040"]
        {
            assert!(FileMode::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_folder_can_be_entered_by_whoever_may_read_its_files() {
        for (file, folder) in
            [("0444", 0o755), ("0440", 0o750), ("0400", 0o700), ("0640", 0o750), ("0404", 0o705)]
        {
            assert_eq!(FileMode::parse(file).unwrap().folder_bits(), folder, "{file}");
        }
    }
}

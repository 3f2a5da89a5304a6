//! The bearer token.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::kube::reloading_file::{FileError, Followed};

/// The largest token, in bytes: beyond this it would not fit the send buffer. Service account tokens have about 1 KiB.
const TOKEN_LIMIT: usize = 6 * 1024;

/// A file that holds a token; the kubelet keeps it current.
pub(crate) type TokenFile = Followed<Token>;

/// A token, overwritten when dropped.
pub(crate) type Token = Zeroizing<String>;

/// Reads the token for the first time.
///
/// # Errors
/// If the file cannot be read, is empty, or holds what no token can be.
pub(crate) fn open(path: PathBuf) -> Result<TokenFile, FileError> {
    Followed::open(path, parse)
}

/// Checks a token.
///
/// # Errors
/// What is wrong with it, without showing it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Token, String> {
    let token = bytes.trim_ascii();
    match std::str::from_utf8(token) {
        _ if token.len() > TOKEN_LIMIT => Err("is larger than any token".to_owned()),
        Ok(text) if token.iter().all(u8::is_ascii_graphic) => Ok(Zeroizing::new(text.to_owned())),
        _ => Err("holds characters that no token has".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        assert_eq!(parse(b" test-token-1\n").unwrap().as_str(), "test-token-1");
        for bad in
            [&b"test token"[..], b"test-\xff", b"test\ntoken", b"test\0token", &[b't'; TOKEN_LIMIT + 1]]
        {
            assert!(!parse(bad).unwrap_err().contains("test"), "{bad:?}");
        }
    }
}

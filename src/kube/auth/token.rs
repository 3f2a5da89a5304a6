//! The bearer token.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::kube::reloading_file::{FileError, Reloading};

/// The largest token, in bytes: a longer one would not fit the send buffer. Service account tokens have about 1 KiB.
const TOKEN_LIMIT: usize = 6 * 1024;

/// A token file, which the kubelet keeps current.
pub(crate) type TokenFile = Reloading<Token>;

/// A token, overwritten when dropped.
pub(crate) type Token = Zeroizing<String>;

/// Reads a token file for the first time.
///
/// # Errors
/// If the file cannot be read, is empty, or does not contain a token.
pub(crate) fn open(path: PathBuf) -> Result<TokenFile, FileError> {
    Reloading::open(path, |bytes| Ok(parse(bytes)?))
}

/// Checks a token, without the white space around it.
///
/// # Errors
/// If it is too long, or an HTTP header cannot carry it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Token, TokenError> {
    let token = bytes.trim_ascii();
    match std::str::from_utf8(token) {
        _ if token.len() > TOKEN_LIMIT => Err(TokenError::TooLarge),
        Ok(text) if token.iter().all(u8::is_ascii_graphic) => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(TokenError::Characters),
    }
}

/// Text that is not a token. Its messages do not quote it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TokenError {
    #[error("is too long for a token (limit: {TOKEN_LIMIT} bytes)")]
    TooLarge,
    #[error("contains characters that are not allowed in a token")]
    Characters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_token_is_rejected_without_being_shown() {
        assert_eq!(parse(b" test-token-1\n").unwrap().as_str(), "test-token-1");
        for bad in
            [&b"test token"[..], b"test-\xff", b"test\ntoken", b"test\0token", &[b't'; TOKEN_LIMIT + 1]]
        {
            let error = parse(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("test"), "{bad:?}");
        }
    }
}

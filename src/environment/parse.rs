//! The lines of an `env` file: `export NAME='value'`, the value in single quotes, a single quote in it as `'\''`. A shell
//! reads much more than that; here all else is an error, because podcreds does not write it.

use crate::secret::{SecretBuffer, SecretBytes};

/// Text that format `env` does not write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotOurs {
    /// The number of the line that it begins in, from 1.
    pub(super) line: usize,
}

/// Name and value of each line's variable.
pub(super) fn variables(text: &[u8]) -> Result<Vec<(String, SecretBytes)>, NotOurs> {
    let mut variables = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line_of = |rest: &[u8]| text[..text.len() - rest.len()].split(|byte| *byte == b'\n').count();
        let (name, value, after) = variable(rest).ok_or_else(|| NotOurs { line: line_of(rest) })?;
        variables.push((name.to_owned(), value));
        rest = after;
    }
    Ok(variables)
}

/// The first variable, and what follows its line. A value may have many lines.
fn variable(text: &[u8]) -> Option<(&str, SecretBytes, &[u8])> {
    let text = text.strip_prefix(b"export ")?;
    let (name, mut rest) = text.split_at_checked(text.iter().position(|byte| *byte == b'=')?)?;
    let name = std::str::from_utf8(name).ok().filter(|name| is_variable(name))?;
    let mut value = SecretBuffer::default();
    rest = rest.strip_prefix(b"='")?;
    loop {
        let (piece, after) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'\'')?)?;
        if piece.contains(&0) {
            return None;
        }
        value.push(piece);
        match after.strip_prefix(br"'\''") {
            Some(after) => {
                value.push(b"'");
                rest = after;
            }
            None => return Some((name, value.finish(), after.strip_prefix(b"'\n")?)),
        }
    }
}

/// `[A-Za-z_][A-Za-z0-9_]*`
/// Source: <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap03.html#tag_03_216>
fn is_variable(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with(|c: char| c.is_ascii_digit())
}

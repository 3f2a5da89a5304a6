//! The lines of an `env` file: `export NAME='value'`, the value in single quotes, a single quote in it as `'\''`. A shell
//! reads much more than that; here all else is an error, because podcreds does not write it: so is a variable that format
//! `env` refuses, such as `PATH` or `LD_PRELOAD`.

use crate::credential::{is_env_name, is_reserved_by_shell};
use crate::secret::{SecretBuffer, SecretBytes};

/// Text that format `env` does not write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotOurs {
    /// The number of the line that it begins in, from 1.
    pub(crate) line: usize,
}

/// Name and value of each line's variable.
pub(crate) fn variables(text: &[u8]) -> Result<Vec<(String, SecretBytes)>, NotOurs> {
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
    let name =
        std::str::from_utf8(name).ok().filter(|name| is_env_name(name) && !is_reserved_by_shell(name))?;
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
            None => {
                let value = value.finish();
                value.expose_text()?;
                return Some((name, value, after.strip_prefix(b"'\n")?));
            }
        }
    }
}

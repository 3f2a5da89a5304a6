//! Reads the environment variables back from files that format `env` wrote, for `podcreds exec`. Pure.
//!
//! Each line is `export NAME='value'`, with a single quote in the value written as `'\''`. A shell accepts much more; here
//! everything that format `env` does not write is an error. That includes variables that it rejects, such as `PATH` and
//! `LD_PRELOAD`.

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::{RelativePath, is_env_name, is_reserved_by_shell};
use crate::secret::{SecretBuffer, SecretBytes};
use crate::text::list as list_errors;

/// Environment variables by name, each with the file that sets it.
#[derive(Debug, Default)]
pub struct Environment(BTreeMap<String, Variable>);

#[derive(Debug)]
struct Variable {
    value: SecretBytes,
    file: RelativePath,
}

impl Environment {
    /// Reads the variables of all files. Several files may set a variable to the same value.
    ///
    /// # Errors
    /// Reports every file that is not in format `env`, and every variable that two files set to different values.
    pub fn from_files(files: &BTreeMap<RelativePath, SecretBytes>) -> Result<Self, Errors> {
        let mut environment = Self::default();
        let mut errors = Vec::new();
        for (file, content) in files {
            match parse(content.expose()) {
                Err(UnsupportedSyntax { line }) => {
                    errors.push(Error::UnsupportedSyntax { file: file.clone(), line });
                }
                Ok(variables) => errors.extend(
                    variables
                        .into_iter()
                        .filter_map(|(name, value)| environment.set(name, value, file).err()),
                ),
            }
        }
        if errors.is_empty() { Ok(environment) } else { Err(Errors(errors)) }
    }

    fn set(&mut self, name: String, value: SecretBytes, file: &RelativePath) -> Result<(), Error> {
        match self.0.get(&name) {
            Some(variable) if variable.value == value => Ok(()),
            Some(Variable { file: first, .. }) => {
                Err(Error::Conflict { first: first.clone(), second: file.clone(), name })
            }
            None => {
                self.0.insert(name, Variable { value, file: file.clone() });
                Ok(())
            }
        }
    }

    /// The number of variables.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Name and value of each variable, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretBytes)> {
        self.0.iter().map(|(name, variable)| (name.as_str(), &variable.value))
    }

    /// The value of a variable; `None` means that no file sets it.
    pub(crate) fn get(&self, name: &str) -> Option<&SecretBytes> {
        self.0.get(name).map(|variable| &variable.value)
    }

    /// Whether both set the same variables to the same values, from whichever files.
    pub(crate) fn has_same_variables(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }

    /// The variable with the longest name and value together, and its file.
    pub(crate) fn largest(&self) -> Option<(&str, &RelativePath)> {
        let size = |(name, variable): &(&String, &Variable)| name.len() + variable.value.expose().len();
        self.0.iter().max_by_key(size).map(|(name, variable)| (name.as_str(), &variable.file))
    }
}

/// Text that format `env` does not write, on the line with this number (from 1).
#[derive(Debug, PartialEq, Eq)]
struct UnsupportedSyntax {
    line: usize,
}

/// Reads one file: the name and value of each variable.
fn parse(text: &[u8]) -> Result<Vec<(String, SecretBytes)>, UnsupportedSyntax> {
    let mut variables = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line_of = |rest: &[u8]| text[..text.len() - rest.len()].split(|byte| *byte == b'\n').count();
        let (name, value, after) =
            parse_variable(rest).ok_or_else(|| UnsupportedSyntax { line: line_of(rest) })?;
        variables.push((name.to_owned(), value));
        rest = after;
    }
    Ok(variables)
}

/// Reads the first variable, whose value may span several lines; returns its name, its value and the remaining text.
fn parse_variable(text: &[u8]) -> Option<(&str, SecretBytes, &[u8])> {
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

/// All errors in the files; never empty.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub(crate) Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_errors(f, &self.0)
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// A file of another format.
    #[error(
        "file {file}, line {line}: not in format env (export NAME='value'), which is the only format that exec reads; select the env files with --env-file"
    )]
    UnsupportedSyntax {
        file: RelativePath,
        /// The number of the line, from 1.
        line: usize,
    },
    /// Two files that set a variable to different values.
    #[error(
        "files {first} and {second} set variable {name} to different values: rename one with .keys or .variable, or select files with --env-file"
    )]
    Conflict { name: String, first: RelativePath, second: RelativePath },
}

#[cfg(test)]
mod tests;

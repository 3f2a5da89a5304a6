//! The variables of `env` files: what `render` writes is read back here, and nothing else is. Pure.

mod parse;

use std::collections::BTreeMap;
use std::fmt;

use crate::credential::RelativePath;
use crate::secret::SecretBytes;
use crate::text::list as list_errors;

/// Variables, each with the file that sets it.
#[derive(Debug, Default)]
pub struct Environment(BTreeMap<String, Variable>);

#[derive(Debug)]
struct Variable {
    value: SecretBytes,
    file: RelativePath,
}

impl Environment {
    /// Reads the variables of all these files. Files may agree on a variable.
    ///
    /// # Errors
    /// Every file that is not as format `env` writes it, and every variable to which two files give different values.
    pub fn of(files: &BTreeMap<RelativePath, SecretBytes>) -> Result<Self, Errors> {
        let mut environment = Self::default();
        let mut errors = Vec::new();
        for (file, content) in files {
            match parse::variables(content.expose()) {
                Err(parse::NotOurs { line }) => errors.push(Error::NotOurs { file: file.clone(), line }),
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

    /// How many variables there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Name and value of each, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SecretBytes)> {
        self.0.iter().map(|(name, variable)| (name.as_str(), &variable.value))
    }

    /// The variable that takes most room, and its file.
    pub(crate) fn largest(&self) -> Option<(&str, &RelativePath)> {
        let size = |(name, variable): &(&String, &Variable)| name.len() + variable.value.expose().len();
        self.0.iter().max_by_key(size).map(|(name, variable)| (name.as_str(), &variable.file))
    }
}

/// Every reason why files are no environment: at least one.
#[derive(Debug, thiserror::Error)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list_errors(f, &self.0)
    }
}

/// Why files are no environment.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A file of another format.
    #[error(
        "file {file}, line {line}: not as format env writes it (export NAME='value'), which is all that exec reads: name the files that are with --env-file"
    )]
    NotOurs {
        /// The file.
        file: RelativePath,
        /// The number of the line, from 1.
        line: usize,
    },
    /// Two files that do not agree.
    #[error(
        "files {first} and {second} give variable {name} different values: rename one with .keys, or name the files that are wanted with --env-file"
    )]
    Conflict {
        /// The variable.
        name: String,
        /// One file.
        first: RelativePath,
        /// The other.
        second: RelativePath,
    },
}

#[cfg(test)]
mod tests;

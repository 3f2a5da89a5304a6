//! What can be wrong with a clusters file. Tokens are never shown.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::text::list;
use crate::yaml::{Problem, SyntaxError};

/// A clusters file that cannot be used.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is no YAML.
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Where, and why.
        cause: SyntaxError,
    },
    /// It holds what is wrong, or lacks something.
    Values {
        /// Its path.
        path: PathBuf,
        /// All of it: at least one.
        problems: Vec<Problem>,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, cause } => {
                write!(f, "clusters file {} cannot be read: {cause}", path.display())
            }
            Self::Syntax { path, cause } => write!(f, "clusters file {}: {cause}", path.display()),
            Self::Values { path, problems } => {
                write!(f, "clusters file {}: ", path.display())?;
                if problems.len() > 1 {
                    write!(f, "{} errors:\n  ", problems.len())?;
                }
                list(f, problems)
            }
        }
    }
}

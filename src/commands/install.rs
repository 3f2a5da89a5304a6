//! `podcreds install`: puts the running program into a volume, so that an image without it can start with `podcreds exec`.

use std::path::Path;
use std::{fs, io};

use log::info;

use crate::volume::{self, Installed};

/// The program that runs, under whatever name it was started.
const PROGRAM: &str = "/proc/self/exe";
/// What it is called in a folder.
const NAME: &str = "podcreds";

/// Copies the program to `path`, or into it if it is a folder.
///
/// # Errors
/// Why it could not be read or written; what was there before is unchanged.
pub(crate) fn run(path: &Path) -> Result<(), Error> {
    let program = fs::read(PROGRAM).map_err(Error::Program)?;
    let Installed { path, written } = volume::install(&program, NAME, path)?;
    match written {
        true => info!("installed {} ({} bytes)", path.display(), program.len()),
        false => info!("{} is this program already: nothing was written", path.display()),
    }
    Ok(())
}

/// Why the program was not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error(
        "{PROGRAM} cannot be read: {0}; the image's file needs a mode such as 0555, and /proc must be mounted"
    )]
    Program(io::Error),
    /// It cannot be written.
    #[error(transparent)]
    Volume(#[from] volume::Error),
}

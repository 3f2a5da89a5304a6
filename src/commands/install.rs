//! `podcreds install`: copies this binary into a volume, so that a container whose image does not include it can run
//! `podcreds exec`.

use std::path::Path;
use std::{fs, io};

use log::info;

use crate::volume::{self, Installed};

/// This binary, under whatever name it was started.
const PROGRAM: &str = "/proc/self/exe";
/// The file name if the destination is a directory.
const NAME: &str = "podcreds";

/// Copies this binary to `path`, or into it if it is a directory.
///
/// # Errors
/// If the binary cannot be read or the file not be written; an existing file is unchanged.
pub(crate) fn run(path: &Path) -> Result<(), Error> {
    let program = fs::read(PROGRAM).map_err(Error::Program)?;
    let Installed { path, written } = volume::install(&program, NAME, path)?;
    match written {
        true => info!("installed {} ({} bytes)", path.display(), program.len()),
        false => info!("{} is up to date: nothing written", path.display()),
    }
    Ok(())
}

/// Why the binary was not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{PROGRAM} cannot be read: {0}")]
    Program(io::Error),
    #[error(transparent)]
    Volume(#[from] volume::Error),
}

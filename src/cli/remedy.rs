//! What the user can do about an error: the flags and manifest fields that the other layers do not know of.

use crate::cli::exit::Error;
use crate::commands::{exec, install, sidecar};
use crate::sync;
use crate::telemetry::probe;
use crate::volume;

/// The error with its remedy, as one sentence.
pub(crate) fn message(error: &Error) -> String {
    match remedy(error) {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}

fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::Sync(error) | Error::Sidecar(sidecar::Error::Sync(error)) => for_sync(error),
        Error::Sidecar(sidecar::Error::Listen(_)) => Some("pass another address with --listen, or off"),
        Error::Probe(probe::Error::Off) => Some("pass the address that the sidecar listens on with --listen"),
        Error::Exec(error) => for_exec(error),
        Error::Install(install::Error::Program(_)) => {
            Some("the binary in the image needs a mode such as 0555, and /proc must be mounted")
        }
        _ => None,
    }
}

fn for_sync(error: &sync::Error) -> Option<&'static str> {
    match error {
        sync::Error::NoAnnotations { .. } => Some("pass --allow-none to start without credentials"),
        sync::Error::Volume(error) => for_volume(error),
        _ => None,
    }
}

/// The sidecar logs other volume errors too, which therefore carry their remedies themselves; these two end every command
/// at its start.
fn for_volume(error: &volume::Error) -> Option<&'static str> {
    error
        .is_not_a_volume()
        .then_some("mount an emptyDir volume at this path, or pass another one with --volume")
}

fn for_exec(error: &exec::Error) -> Option<&'static str> {
    match error {
        exec::Error::Sync(error) => for_sync(error),
        exec::Error::Volume(error) => for_volume(error),
        exec::Error::Unpublished { .. } => Some(
            "see the log of the container that runs podcreds init or sidecar on it, or pass --render to do without a volume",
        ),
        exec::Error::NoFiles { .. } => Some(
            "give a credential .format env, or name the file with --env-file if its .path does not end in .env; pass --allow-none to start without variables",
        ),
        exec::Error::NoFile { .. } => Some(
            "correct --env-file, or give a credential .format env and this .path; pass --allow-none to start without it",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::volume::Volume;

    #[test]
    fn a_missing_volume_gets_a_remedy_that_names_the_flag() {
        let error = Volume::open(Path::new("/missing/volume"), Duration::ZERO).unwrap_err();
        assert_eq!(
            message(&Error::Sync(error.into())),
            "volume /missing/volume: does not exist; mount an emptyDir volume at this path, or pass another one with --volume"
        );
    }
}

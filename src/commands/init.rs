//! `podcreds init`: one pass, for an init container.

use std::path::Path;
use std::time::{Duration, Instant};

use log::info;

use crate::kube::Client;
use crate::sync::{self, Error, Outcome, Settings};
use crate::volume::{Published, Volume};

/// Writes every credential once into the folder at `path`.
///
/// # Errors
/// Why it was not written; what was there before is unchanged.
pub fn run(settings: &Settings, client: &Client, path: &Path, grace: Duration) -> Result<(), Error> {
    let started = Instant::now();
    let volume = Volume::open(path, grace)?;
    let Outcome { credentials, files, published } = sync::run(settings, client, &volume)?;
    let what = format!("{} of {}", count(files, "file"), count(credentials, "credential"));
    let (path, took) = (path.display(), started.elapsed().as_millis());
    match published {
        Published::Swapped { version, .. } => {
            info!("wrote {what} to {path} in {took} ms, as version {version}")
        }
        Published::Unchanged => info!("{what} in {path} were current after {took} ms: nothing was written"),
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

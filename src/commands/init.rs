//! `podcreds init`: one pass, for an init container.

use std::path::Path;
use std::time::{Duration, Instant};

use log::info;

use crate::kube::config::clusters::Clusters;
use crate::sync::{self, Error, Settings};
use crate::volume::{Published, Volume};

/// Writes every credential once into the folder at `path`.
///
/// # Errors
/// Why it was not written; what was there before is unchanged.
pub(crate) fn run(
    settings: &Settings,
    clusters: &Clusters,
    path: &Path,
    grace: Duration,
) -> Result<(), Error> {
    let started = Instant::now();
    let volume = Volume::open(path, grace)?;
    let outcome = sync::run(settings, clusters, &volume)?;
    let (path, took) = (path.display(), started.elapsed().as_millis());
    match &outcome.published {
        Published::Swapped { version, .. } => {
            info!(bundle = version.as_str(); "wrote {outcome} to {path} in {took} ms, as version {version}")
        }
        Published::Unchanged => {
            info!("{path} is current after {took} ms, with {outcome}: nothing was written")
        }
    }
    Ok(())
}

//! `podcreds init`: publishes every credential once, for an init container.

use std::path::Path;
use std::time::{Duration, Instant};

use log::info;

use crate::kube::config::registry::Clusters;
use crate::sync::{self, Error, Settings};
use crate::volume::{Published, Volume};

/// Publishes every credential to the volume at `path`.
///
/// # Errors
/// The first step that failed; the volume is unchanged.
pub(crate) fn run(
    settings: &Settings,
    clusters: &Clusters,
    path: &Path,
    grace: Duration,
) -> Result<(), Error> {
    let started = Instant::now();
    let volume = Volume::open_to_publish(path, grace, 1)?;
    let outcome = sync::run(settings, clusters, &volume)?;
    let (path, took) = (path.display(), started.elapsed().as_millis());
    match &outcome.published {
        Published::Swapped { version, .. } => {
            info!(bundle = version.as_str(); "wrote {outcome} to {path} in {took} ms, as version {version}")
        }
        Published::Unchanged => {
            info!("{path} is up to date after {took} ms, with {outcome}: nothing written")
        }
    }
    Ok(())
}

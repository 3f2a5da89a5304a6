//! `podcreds sidecar`: keeps credentials current, and serves probes and metrics meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::kube::config::clusters_file::Labels;
use crate::kube::config::registry::Clusters;
use crate::object::ClusterRef;
use crate::sidecar::{self, Exit, Settings, Sink};
use crate::sync;
use crate::telemetry::server::{self, Listen};
use crate::telemetry::{Cluster, Health};

/// Opens the volume at `path`, starts the HTTP server, then publishes until a rotation ends the sidecar, if [`Settings::exit_on_change`] is set.
///
/// # Errors
/// If the address cannot be bound, the volume cannot be opened, or the annotations are invalid.
pub(crate) fn run(
    settings: Settings,
    (path, grace): (&Path, Duration),
    clusters: Clusters,
    listen: Listen,
) -> Result<Exit, Error> {
    // First, because two sidecars on one volume usually have the same address too, and the message about the volume is the one that helps.
    let sink = Sink::open(path, grace).map_err(sync::Error::from)?;
    let health = Arc::new(Health::new(metrics_clusters(&clusters), settings.stale_after));
    let pod = settings.sync.annotations.pod().map(|pod| pod.name().to_owned());
    health.status().pod = (pod, settings.sync.scope.namespace.to_string());
    health.status().expiry_warning = settings.expiry_warning;
    server::start(listen, Arc::clone(&health))?;
    Ok(sidecar::run(settings, sink, Arc::new(clusters), &health)?)
}

/// The clusters with the labels and request counters that the metrics show.
pub(crate) fn metrics_clusters(clusters: &Clusters) -> Vec<Cluster> {
    let local = Cluster { requests: clusters.own().requests(), ..Cluster::default() };
    let others = clusters.others().iter().map(|(id, member)| {
        let Labels { name, environment, region } = member.labels().clone();
        let labels = [("name", name), ("environment", environment), ("region", region)];
        Cluster {
            id: ClusterRef::Named(id.clone()),
            labels: labels.into_iter().filter_map(|(label, value)| Some((label, value?))).collect(),
            requests: member.requests(),
        }
    });
    std::iter::once(local).chain(others).collect()
}

/// Why the sidecar could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Listen(#[from] server::Error),
    #[error(transparent)]
    Sync(#[from] sync::Error),
}

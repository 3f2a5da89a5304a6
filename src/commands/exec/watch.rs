//! Watches the sources for the supervisor, as the sidecar does, without a volume.

use std::sync::Arc;

use crate::commands::sidecar::metrics_clusters;
use crate::credential::RelativePath;
use crate::env_file::Environment;
use crate::kube::config::registry::Clusters;
use crate::sidecar::{self, Memory, Rotation, Sink};
use crate::supervisor::{Update, Updates};
use crate::telemetry::Health;
use crate::volume::Files;

/// What is watched.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) settings: sidecar::Settings,
    pub(super) clusters: Arc<Clusters>,
    /// As [`crate::commands::exec::Settings::files`].
    pub(super) selected: Vec<RelativePath>,
    /// What the program was started with.
    pub(super) files: Files,
}

impl Watcher {
    /// Sends an update after each rotation. Returns only if the annotations have become invalid since the program was started.
    pub(super) fn run(self, updates: Updates) {
        let Self { settings, clusters, selected, files } = self;
        let updates = Arc::new(updates);
        let sender = Arc::clone(&updates);
        let deliver = move |rotation: Rotation<'_>| sender.send(update(&rotation));
        let sink = Sink::Memory(Memory::new(selected, files, settings.splay, Box::new(deliver)));
        // Not the health that answers probes, which only tells whether the program runs.
        let health = Arc::new(Health::new(metrics_clusters(&clusters), settings.stale_after));
        // It has no code for an exit after a rotation.
        if let Err(error) = sidecar::run(settings, sink, clusters, &health) {
            updates.send(Update::Failed(format!("{error}; restart this container once that is corrected")));
        }
    }
}

fn update(rotation: &Rotation<'_>) -> Update {
    match Environment::from_files(rotation.files) {
        Ok(environment) => {
            let (version, splay) = (rotation.version.to_owned(), Some(rotation.splay));
            Update::Environment { environment, version, splay }
        }
        Err(errors) => Update::Failed(errors.to_string()),
    }
}

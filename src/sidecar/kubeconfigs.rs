//! Detects changes of kubeconfigs. Requests do not detect them in time: a watch on the previous API server may be silent for minutes.

use std::sync::mpsc::SyncSender;
use std::thread::sleep;

use crate::kube::config::registry::Clusters;
use crate::sidecar::controller::{Event, FILE_INTERVAL};

/// Sends an [`Event::Kubeconfig`] for each change and each failure.
pub(crate) fn follow(clusters: &Clusters, events: &SyncSender<Event>) {
    loop {
        clusters.reload_kubeconfigs(&mut |cluster, is_changed, failure| {
            // Fails only when the sidecar is about to exit.
            let _ = events.send(Event::Kubeconfig { cluster, is_changed, failure });
        });
        sleep(FILE_INTERVAL);
    }
}

//! Notices changes of kubeconfigs. No request would: a watch of the API server that a kubeconfig named before may be silent for minutes.

use std::sync::mpsc::SyncSender;
use std::thread::sleep;

use crate::kube::config::registry::{Clusters, KubeconfigState};
use crate::sidecar::controller::{Event, FILE_INTERVAL};

/// Sends an [`Event::Kubeconfig`] for each change and each failure, until the sidecar exits.
pub(crate) fn follow(clusters: &Clusters, events: &SyncSender<Event>) {
    let mut known = Vec::<KubeconfigState>::new();
    loop {
        for (index, (cluster, state)) in clusters.reload_kubeconfigs().into_iter().enumerate() {
            known.resize_with(known.len().max(index + 1), KubeconfigState::default);
            let before = std::mem::replace(&mut known[index], state.clone());
            if before == state && state.failure.is_none() {
                continue;
            }
            let is_changed = before.changes != state.changes;
            if events.send(Event::Kubeconfig { cluster, is_changed, failure: state.failure }).is_err() {
                return;
            }
        }
        sleep(FILE_INTERVAL);
    }
}

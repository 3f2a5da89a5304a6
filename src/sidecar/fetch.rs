//! Reads objects. With several clusters, each cluster's objects are read on a thread of their own, so that a cluster that does not
//! answer delays its own credentials only. The thread ends with its batch: an idle sidecar has none.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::kube::config::registry::Clusters;
use crate::kube::{Deadline, Error, Object};
use crate::object::{ClusterRef, ObjectRef};
use crate::sidecar::event::{Event, FetchBatch, Fetched};
use crate::telemetry::{Health, Heartbeat};
use crate::thread::spawn;

/// An object to read.
#[derive(Clone)]
pub(crate) struct FetchRequest {
    pub(crate) object: ObjectRef,
    /// When its change was noticed; `None` if it is read for another reason.
    pub(crate) noticed: Option<Instant>,
}

#[derive(Clone)]
pub(crate) struct Fetcher {
    pub(crate) clusters: Arc<Clusters>,
    /// For one object.
    pub(crate) timeout: Duration,
    pub(crate) health: Arc<Health>,
    pub(crate) events: SyncSender<Event>,
}

impl Fetcher {
    /// Reads these objects of one cluster in the background, and sends the batch when all are read. With the local
    /// cluster alone, reads them inline and returns the batch, which saves two thread switches.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(
        &self,
        cluster: ClusterRef,
        requests: Vec<FetchRequest>,
        heartbeat: &Heartbeat,
    ) -> io::Result<Option<FetchBatch>> {
        if self.clusters.others().is_empty() {
            return Ok(Some(self.fetch(cluster, requests, heartbeat)));
        }
        let fetcher = self.clone();
        let heartbeat = self.health.heartbeat(&match cluster.id() {
            Some(id) => format!("reads of cluster {id}"),
            None => "reads".to_owned(),
        });
        let run = move || {
            let batch = fetcher.fetch(cluster, requests, &heartbeat);
            // A full queue may block this thread for as long as the controller takes: that is the controller's heartbeat.
            drop(heartbeat);
            // Fails only when the sidecar is about to exit.
            let _ = fetcher.events.send(Event::Fetched(batch));
        };
        spawn("read", run).map(|_| None)
    }

    fn fetch(&self, cluster: ClusterRef, requests: Vec<FetchRequest>, heartbeat: &Heartbeat) -> FetchBatch {
        let fetch = |FetchRequest { object, noticed }| {
            let started = Instant::now();
            let result = self.object(&object, heartbeat);
            Fetched { object, noticed, started, result }
        };
        FetchBatch { cluster, results: requests.into_iter().map(fetch).collect() }
    }

    /// Reads one object. The first request to a cluster may have to create its client and run its exec plugin.
    pub(crate) fn object(&self, object: &ObjectRef, heartbeat: &Heartbeat) -> Result<Object, Error> {
        heartbeat.beat(self.timeout);
        let client = self.clusters.client(&object.cluster);
        let client = client.map_err(|cause| Error::new(object, cause))?;
        heartbeat.beat(self.timeout.saturating_mul(2).saturating_add(client.plugin_timeout()));
        client.object(object, Deadline::after(self.timeout))
    }
}

//! Reads objects, and edited annotations with the objects that they newly name. With several clusters, each cluster's objects are
//! read on a thread of their own, so that a cluster that does not answer delays its own credentials only. The thread ends with
//! its batch: an idle sidecar has none.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::credential::Credential;
use crate::kube::config::registry::Clusters;
use crate::kube::{Deadline, Error, Object};
use crate::object::{ClusterRef, ObjectRef};
use crate::sidecar::event::{AnnotationsUpdate, Event, FetchBatch, Fetched, NewSpec};
use crate::sidecar::{self, Settings};
use crate::sync::{self, Need};
use crate::telemetry::{Health, Heartbeat, Reason};
use crate::thread::spawn;

/// For reading the annotations once.
const ANNOTATIONS_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Reads edited annotations and the objects that they newly name, in the background, so that an object that cannot be read does
/// not delay a rotation. Sends an [`AnnotationsUpdate`]. `current` are the credentials before the edit;
/// `held` are the objects that need not be read again.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn reload_annotations(
    fetcher: &Fetcher,
    settings: &Arc<Settings>,
    current: &Arc<Vec<Credential>>,
    held: BTreeSet<ObjectRef>,
) -> io::Result<()> {
    let (fetcher, settings, current) = (fetcher.clone(), Arc::clone(settings), Arc::clone(current));
    let heartbeat = fetcher.health.heartbeat("annotations");
    let run = move || {
        heartbeat.beat(ANNOTATIONS_TIMEOUT.saturating_add(fetcher.clusters.own().plugin_timeout()));
        let deadline = Deadline::after(ANNOTATIONS_TIMEOUT);
        let update = match sync::credentials(&settings.sync, &fetcher.clusters, deadline) {
            Ok(credentials) if credentials == *current => AnnotationsUpdate::Unchanged,
            Ok(credentials) => fetch_new(&fetcher, credentials, &held, &heartbeat),
            Err(sync::Error::Unread { errors, .. }) => AnnotationsUpdate::Failed {
                reason: sidecar::reason(&errors),
                message: sidecar::join(&errors),
                is_final: false,
            },
            Err(error) => AnnotationsUpdate::Failed {
                reason: Reason::Annotations,
                message: error.to_string(),
                is_final: true,
            },
        };
        // As in `Fetcher::start`.
        drop(heartbeat);
        let _ = fetcher.events.send(Event::Reloaded(Box::new(update)));
    };
    spawn("annotations", run).map(drop)
}

fn fetch_new(
    fetcher: &Fetcher,
    credentials: Vec<Credential>,
    held: &BTreeSet<ObjectRef>,
    heartbeat: &Heartbeat,
) -> AnnotationsUpdate {
    let mut fetched = BTreeMap::new();
    for (object, need) in sync::objects(&credentials) {
        if held.contains(object) {
            continue;
        }
        let found = match fetcher.object(object, heartbeat) {
            Ok(found) => Some(found),
            Err(error) if need == Need::Optional && error.is_not_found() => None,
            Err(error) => {
                let reason = Reason::from(&error);
                return AnnotationsUpdate::Failed { reason, message: error.to_string(), is_final: false };
            }
        };
        fetched.insert(object.clone(), found);
    }
    AnnotationsUpdate::Edited(NewSpec { credentials, fetched })
}

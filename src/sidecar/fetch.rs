//! Reads objects and annotations in the background. Each result is an event of its own, so that an object that does not answer
//! delays no other.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::kube::config::registry::Clusters;
use crate::kube::{Deadline, Error, Object};
use crate::object::{ClusterRef, ObjectRef};
use crate::sidecar::controller::{AnnotationsFailure, Event, ReadAnnotations};
use crate::sync;
use crate::telemetry::{Health, Heartbeat, Reason};
use crate::thread::pool::{Lane, Pool};

/// Maximum number of reads of one cluster at the same time. Reads of objects whose last read failed take at most half of them.
const CONCURRENT_READS: usize = 16;
/// Time limit for one attempt to read the annotations.
const ANNOTATIONS_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Fetcher {
    reader: Reader,
    /// For each cluster, its threads and the number of reads that are queued or in progress.
    pools: BTreeMap<ClusterRef, (Pool, Arc<AtomicUsize>)>,
}

/// What each read needs.
#[derive(Clone)]
struct Reader {
    clusters: Arc<Clusters>,
    settings: Arc<sync::Settings>,
    health: Arc<Health>,
    events: SyncSender<Event>,
}

impl Fetcher {
    pub(crate) fn new(
        clusters: Arc<Clusters>,
        settings: Arc<sync::Settings>,
        health: Arc<Health>,
        events: SyncSender<Event>,
    ) -> Self {
        Self { reader: Reader { clusters, settings, health, events }, pools: BTreeMap::new() }
    }

    /// Reads an object, and sends an [`Event::Read`]. `is_retry` means that its last read failed.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn read(&mut self, object: ObjectRef, read: u64, is_retry: bool) -> io::Result<()> {
        let (name, cluster) = (format!("read of {object}"), object.cluster.clone());
        let lane = if is_retry { Lane::Suspect } else { Lane::Regular };
        self.start(cluster, lane, name, move |reader, heartbeat| {
            let result = reader.object(&object, heartbeat);
            Event::Read { object, read, result }
        })
    }

    /// Reads and parses the annotations, and sends an [`Event::AnnotationsRead`].
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn read_annotations(&mut self, read: u64) -> io::Result<()> {
        let name = "read of the annotations".to_owned();
        self.start(ClusterRef::Local, Lane::Regular, name, move |reader, heartbeat| {
            let timeout = ANNOTATIONS_TIMEOUT;
            heartbeat.beat(timeout.saturating_add(reader.clusters.own().plugin_timeout()));
            let found =
                sync::read_annotations(&reader.settings, &reader.clusters, true, Deadline::after(timeout));
            let result = found.map(|(found, _)| ReadAnnotations {
                result: sync::parse(&reader.settings, &found.data),
                version: found.version,
            });
            Event::AnnotationsRead { read, result: result.map_err(|error| failure(&error)) }
        })
    }

    fn start(
        &mut self,
        cluster: ClusterRef,
        lane: Lane,
        name: String,
        run: impl FnOnce(&Reader, &Heartbeat) -> Event + Send + 'static,
    ) -> io::Result<()> {
        let reader = self.reader.clone();
        let (pool, pending) = self
            .pools
            .entry(cluster.clone())
            .or_insert_with(|| (Pool::new(CONCURRENT_READS), Arc::default()));
        pending.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(pending);
        let run = move || {
            let heartbeat = reader.health.heartbeat(&name);
            let event = run(&reader, &heartbeat);
            // Watches have connections of their own, and there may be no further read for months.
            if shared.fetch_sub(1, Ordering::Relaxed) == 1
                && let Ok(client) = reader.clusters.client(&cluster)
            {
                client.close_idle();
            }
            // A full queue may block this thread. If the controller is stuck, its own heartbeat shows that.
            drop(heartbeat);
            // Fails only when the sidecar is about to exit.
            let _ = reader.events.send(event);
        };
        pool.submit(lane, Box::new(run)).inspect_err(|_| {
            pending.fetch_sub(1, Ordering::Relaxed);
        })
    }
}

impl Reader {
    /// The first request to a cluster may have to create its client and run its exec plugin.
    fn object(&self, object: &ObjectRef, heartbeat: &Heartbeat) -> Result<Object, Error> {
        let timeout = self.settings.timeout;
        heartbeat.beat(timeout);
        let client = self.clusters.client(&object.cluster).map_err(|cause| Error::new(object, cause))?;
        heartbeat.beat(timeout.saturating_mul(2).saturating_add(client.plugin_timeout()));
        client.object(object, Deadline::after(timeout)).map_err(|mut error| {
            self.clusters.explain(&mut error);
            error.add_watch();
            error
        })
    }
}

fn failure(error: &sync::Error) -> AnnotationsFailure {
    let sync::Error::Unread { errors, hint, .. } = error else {
        return AnnotationsFailure {
            reason: Reason::Annotations,
            message: error.to_string(),
            retry_after: None,
        };
    };
    // Without the time that it took, which would make each failure a new one.
    let message = sync::unread::sidecar_message(errors, hint.as_deref());
    let reason = errors.first().map_or(Reason::ApiUnreachable, Reason::from);
    AnnotationsFailure { reason, message, retry_after: errors.iter().filter_map(Error::retry_after).max() }
}

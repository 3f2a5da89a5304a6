//! Objects of several clusters are read in the background, those of each by themselves: a cluster that does not answer holds up
//! what comes from it and nothing else. A thread lives as long as its reads: what is idle costs nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use crate::kube::config::registry::Clusters;
use crate::kube::{Deadline, Error, Object};
use crate::object::{ClusterRef, ObjectRef};
use crate::sidecar::told::{Batch, Read, Told};
use crate::telemetry::{Health, Pulse};

/// Enough for TLS and JSON; a thread's default would reserve eight times as much.
pub(crate) const STACK: usize = 256 * 1024;

/// An object to read, and since when it may be another than what is held.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) object: ObjectRef,
    pub(crate) noticed: Option<Instant>,
}

/// What reading needs.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) clusters: Arc<Clusters>,
    /// The bound on one object.
    pub(crate) timeout: Duration,
    pub(crate) health: Arc<Health>,
    pub(crate) told: Sender<Told>,
}

impl Reader {
    /// Has these objects of one cluster read, and told what they are when all are read. Where there is no other cluster that
    /// could be held up, they are read at once and returned: that saves the way to another thread and back.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn start(
        &self,
        cluster: ClusterRef,
        wanted: Vec<Wanted>,
        pulse: &Pulse,
    ) -> io::Result<Option<Batch>> {
        if self.clusters.others().is_empty() {
            return Ok(Some(self.read(cluster, wanted, pulse)));
        }
        let reader = self.clone();
        let pulse = self.health.pulse(&match cluster.id() {
            Some(id) => format!("reads of cluster {id}"),
            None => "reads".to_owned(),
        });
        let thread = thread::Builder::new().name("read".into()).stack_size(STACK);
        let read = move || {
            // Without a receiver the process is about to end.
            let _ = reader.told.send(Told::Read(reader.read(cluster, wanted, &pulse)));
        };
        thread.spawn(read).map(|_| None)
    }

    fn read(&self, cluster: ClusterRef, wanted: Vec<Wanted>, pulse: &Pulse) -> Batch {
        let read = |Wanted { object, noticed }| {
            let started = Instant::now();
            let result = self.object(&object, pulse);
            Read { object, since: noticed, started, result }
        };
        Batch { cluster, reads: wanted.into_iter().map(read).collect() }
    }

    /// Reads one object. Before the request, its cluster's client may have to be made, and a credential plugin be run.
    pub(crate) fn object(&self, object: &ObjectRef, pulse: &Pulse) -> Result<Object, Error> {
        pulse.beat(self.timeout);
        let client = self.clusters.client(&object.cluster);
        let client = client.map_err(|cause| Error::new(object, cause))?;
        pulse.beat(self.timeout.saturating_mul(2).saturating_add(client.plugin_timeout()));
        client.object(object, Deadline::after(self.timeout))
    }
}

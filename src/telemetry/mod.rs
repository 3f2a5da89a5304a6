//! The sidecar's health: one store of its [`Status`], and whether its loops are alive.
//!
//! The sidecar's threads report to one [`Health`]. [`server`] answers probes and scrapes from it, [`metrics`] and
//! [`overview`] format it, and [`probe`] is the client of an exec probe. It contains numbers and names of objects, never their content.

mod component;
pub(crate) mod events;
pub(crate) mod metrics;
mod overview;
pub(crate) mod probe;
pub(crate) mod server;
mod status;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

pub(crate) use component::{Component, Reason, Subject};
pub(crate) use status::{Content, Moment, Report, Status};

use crate::kube::RequestMetrics;
use crate::object::ClusterRef;
use crate::thread::lock;

/// Slack before a loop that missed its heartbeat is reported as stuck: a container may have little processor time.
const MARGIN: Duration = Duration::from_secs(10);
/// The kernel rounds the timeouts of sockets up, by up to an eighth of the time.
/// Source: kernel/time/timer.c, "the granularity of the wheel levels"
const TIMER_SLACK: u32 = 8;

/// What all threads of the sidecar report.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    /// When the process started, for the metrics.
    process_started: Option<SystemTime>,
    /// The local cluster first.
    clusters: Vec<Cluster>,
    heartbeats: Mutex<Vec<Heartbeat>>,
    status: Mutex<Status>,
}

/// A cluster that the sidecar reads from.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) id: ClusterRef,
    /// Labels from the clusters file, with their values.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// Counts the requests to it.
    pub(crate) requests: Arc<RequestMetrics>,
}

/// Shows that one loop is alive.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    name: Arc<str>,
    started: Instant,
    /// When the next beat is due, in milliseconds from the start.
    due: Arc<AtomicU64>,
}

impl Heartbeat {
    /// The loop is alive, and will beat again `within` this time, plus a margin.
    pub(crate) fn beat(&self, within: Duration) {
        let slack = MARGIN.saturating_add(within / TIMER_SLACK);
        let due = self.started.elapsed().saturating_add(within).saturating_add(slack);
        self.due.store(u64::try_from(due.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_overdue(&self) -> bool {
        self.started.elapsed().as_millis() > self.due.load(Ordering::Relaxed).into()
    }
}

impl Health {
    /// The health of a sidecar that has not published yet. The local cluster comes first. A failure that lasts for `stale_after`
    /// is reported as staleness.
    pub(crate) fn new(clusters: Vec<Cluster>, stale_after: Duration) -> Self {
        let now = Moment::now();
        let status = Mutex::new(Status::new(now, stale_after));
        let process_started = metrics::start_time();
        Self { started: now.instant, process_started, clusters, heartbeats: Mutex::default(), status }
    }

    /// Registers a loop, which must beat from now on.
    pub(crate) fn heartbeat(&self, name: &str) -> Heartbeat {
        let heartbeat = Heartbeat { name: name.into(), started: self.started, due: Arc::default() };
        heartbeat.beat(Duration::ZERO);
        self.heartbeats().push(heartbeat.clone());
        heartbeat
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }

    /// The names of the loops whose heartbeat is overdue.
    fn stalled(&self) -> Vec<Arc<str>> {
        let heartbeats = self.heartbeats();
        let stalled = heartbeats.iter().filter(|heartbeat| heartbeat.is_overdue());
        stalled.map(|heartbeat| Arc::clone(&heartbeat.name)).collect()
    }

    /// The heartbeats of running loops. A loop that has ended has dropped its own, so only this list still refers to it.
    fn heartbeats(&self) -> MutexGuard<'_, Vec<Heartbeat>> {
        let mut heartbeats = lock(&self.heartbeats);
        heartbeats.retain(|heartbeat| Arc::strong_count(&heartbeat.due) > 1);
        heartbeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_allows_for_kernel_timers_that_are_an_eighth_late() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let heartbeat = health.heartbeat("watch");
        let within = Duration::from_secs(3600);
        heartbeat.beat(within);
        let due = Duration::from_millis(heartbeat.due.load(Ordering::Relaxed));
        assert!(due >= within + within / 8 + MARGIN, "{due:?}");
    }

    #[test]
    fn a_stalled_loop_is_named() {
        let health = Health::new(Vec::new(), Duration::ZERO);
        let (late, _in_time) = (health.heartbeat("late"), health.heartbeat("in time"));
        late.beat(Duration::MAX);
        assert!(health.stalled().is_empty());
        late.due.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(health.stalled(), ["late".into()]);
        late.beat(Duration::ZERO);
        assert!(health.stalled().is_empty());
        late.due.store(0, Ordering::Relaxed);
        drop(late);
        assert!(health.stalled().is_empty(), "a loop that has ended is not late");
    }
}

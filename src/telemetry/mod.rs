//! The sidecar's health: whether its loops are alive, whether the first files are written and current, and counters.
//!
//! The sidecar's threads report to one [`Health`]. [`server`] answers probes and scrapes from it, [`metrics`] formats it, and
//! [`probe`] is the client of an exec probe. It contains numbers and names of objects, never their content.

pub(crate) mod events;
pub(crate) mod metrics;
pub(crate) mod probe;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::kube::{self, RequestMetrics};
use crate::object::{ClusterRef, ObjectRef};
use crate::thread::lock;

/// Slack before a loop that missed its heartbeat is reported as stuck: a container may have little processor time.
const MARGIN: Duration = Duration::from_secs(10);

/// What all threads of the sidecar report.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    /// When the process started, for the metrics.
    process_started: Option<SystemTime>,
    /// The local cluster first.
    clusters: Vec<Cluster>,
    heartbeats: Mutex<Vec<Heartbeat>>,
    state: Mutex<State>,
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

/// A point in time by both clocks: durations need the monotonic one, messages and metrics the wall clock. Taken together, so
/// that a later step of the wall clock changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) time: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whether the first files are written.
    ready: bool,
    /// The components that fail, each with the time of its first failure.
    failing: BTreeMap<Component, Moment>,
    failures: [u64; Reason::ALL.len()],
    syncs: Counts,
    last_success: Option<SystemTime>,
    watch_restarts: u64,
    notifications: Counts,
    /// The applications whose notification is failing, each with the time of the first failed attempt.
    pending_notifications: BTreeMap<String, Moment>,
    events: Counts,
    rotations: metrics::Histogram,
}

#[derive(Debug, Default)]
struct Counts {
    succeeded: u64,
    failed: u64,
}

impl Counts {
    fn count(&mut self, is_success: bool) {
        *(if is_success { &mut self.succeeded } else { &mut self.failed }) += 1;
    }
}

/// What has to work for the files to be current.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    /// Reading the pod's annotations.
    Annotations,
    /// Reading an object.
    Source(ObjectRef),
    /// Watching an object.
    Watch(ObjectRef),
    /// Rendering and publishing the files.
    Bundle,
}

impl Component {
    /// Whether it depends on this cluster alone.
    fn is_of(&self, cluster: &ClusterRef) -> bool {
        *self != Self::Bundle && self.cluster() == cluster
    }

    /// The cluster that it depends on. [`Self::Bundle`] depends on all clusters and counts as local.
    pub(crate) fn cluster(&self) -> &ClusterRef {
        self.object().map_or(&ClusterRef::Local, |object| &object.cluster)
    }

    /// The object that it is about. The annotations' pod is not one: they may come from a file.
    pub(crate) fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Source(object) | Self::Watch(object) => Some(object),
            Self::Annotations | Self::Bundle => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotations => f.write_str("the pod's annotations"),
            Self::Source(object) => write!(f, "{object}"),
            Self::Watch(object) => write!(f, "the watch of {object}"),
            Self::Bundle => f.write_str("the files"),
        }
    }
}

/// Why a component fails: the values of a metric's label, so there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The API server refused the request or does not have the object.
    ApiRefused,
    /// The API server did not answer in time, or was too busy.
    ApiUnreachable,
    /// Edited annotations are wrong.
    Annotations,
    /// A credential cannot be rendered from its sources.
    Render,
    /// The volume cannot be written.
    Volume,
    /// An entry of the clusters file cannot be used.
    Configuration,
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::ApiRefused,
        Self::ApiUnreachable,
        Self::Annotations,
        Self::Render,
        Self::Volume,
        Self::Configuration,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::ApiRefused => "api_refused",
            Self::ApiUnreachable => "api_unreachable",
            Self::Annotations => "annotations",
            Self::Render => "render",
            Self::Volume => "volume",
            Self::Configuration => "configuration",
        }
    }
}

impl From<&kube::Error> for Reason {
    fn from(error: &kube::Error) -> Self {
        match error.class() {
            kube::Class::Refused => Self::ApiRefused,
            kube::Class::Configuration => Self::Configuration,
            kube::Class::Unreachable => Self::ApiUnreachable,
        }
    }
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
        let due = self.started.elapsed().saturating_add(within).saturating_add(MARGIN);
        self.due.store(u64::try_from(due.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_overdue(&self) -> bool {
        self.started.elapsed().as_millis() > self.due.load(Ordering::Relaxed).into()
    }
}

impl Health {
    /// The health of a sidecar that has not published yet. The local cluster comes first.
    pub(crate) fn new(clusters: Vec<Cluster>) -> Self {
        let now = Moment::now();
        let failing = BTreeMap::from([(Component::Bundle, now)]);
        let state = Mutex::new(State { failing, ..State::default() });
        let process_started = metrics::start_time();
        Self { started: now.instant, process_started, clusters, heartbeats: Mutex::default(), state }
    }

    /// Registers a loop, which must beat from now on.
    pub(crate) fn heartbeat(&self, name: &str) -> Heartbeat {
        let heartbeat = Heartbeat { name: name.into(), started: self.started, due: Arc::default() };
        heartbeat.beat(Duration::ZERO);
        self.heartbeats().push(heartbeat.clone());
        heartbeat
    }

    /// Marks a component as healthy. Returns whether it was failing.
    pub(crate) fn healthy(&self, component: &Component) -> bool {
        self.state().failing.remove(component).is_some()
    }

    /// Counts a failure of a component. Returns whether it was healthy.
    pub(crate) fn failing(&self, component: Component, reason: Reason) -> bool {
        let mut state = self.state();
        state.failures[reason as usize] += 1;
        match state.failing.entry(component) {
            Entry::Vacant(entry) => {
                entry.insert(Moment::now());
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// A bundle was published, `latency` after its change was noticed. `replaced` means that it replaced an earlier bundle.
    pub(crate) fn published(&self, latency: Duration, replaced: bool) {
        let mut state = self.state();
        if replaced {
            state.rotations.observe(latency);
        }
        state.succeeded();
    }

    /// The volume already had this bundle.
    pub(crate) fn unchanged(&self) {
        self.state().succeeded();
    }

    /// An attempt to publish failed.
    pub(crate) fn publish_failed(&self) {
        self.state().syncs.count(false);
    }

    /// A watch broke or ended early, and is restarted.
    pub(crate) fn count_watch_restart(&self) {
        self.state().watch_restarts += 1;
    }

    /// An application was notified.
    pub(crate) fn notified(&self, application: &str) {
        let mut state = self.state();
        state.notifications.count(true);
        state.pending_notifications.remove(application);
    }

    /// An attempt to notify an application failed.
    pub(crate) fn notify_failed(&self, application: &str) {
        let mut state = self.state();
        state.notifications.count(false);
        state.pending_notifications.entry(application.to_owned()).or_insert_with(Moment::now);
    }

    /// The notification of an application was cancelled.
    pub(crate) fn notify_cancelled(&self, application: &str) {
        self.state().pending_notifications.remove(application);
    }

    /// The applications whose notification is failing, each with the time of the first failed attempt.
    pub(crate) fn pending_notifications(&self) -> BTreeMap<String, Moment> {
        self.state().pending_notifications.clone()
    }

    /// An Event was recorded, or dropped.
    pub(crate) fn count_event(&self, is_recorded: bool) {
        self.state().events.count(is_recorded);
    }

    /// The components that fail, with the time of the first failure that still holds. `None` while all are healthy, and before
    /// the first files are written.
    pub(crate) fn stale(&self) -> Option<(Moment, Vec<Component>)> {
        let state = self.state();
        let since = state.stale_since().filter(|_| state.ready)?;
        Some((since, state.failing.keys().cloned().collect()))
    }

    /// The failing components that publishing waits for.
    fn pending_sources(&self) -> Vec<Component> {
        let state = self.state();
        state.failing.keys().filter(|component| **component != Component::Bundle).cloned().collect()
    }

    /// Whether the first files are written.
    pub(crate) fn is_ready(&self) -> bool {
        self.state().ready
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

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn succeeded(&mut self) {
        self.ready = true;
        self.syncs.count(true);
        self.last_success = Some(SystemTime::now());
        self.failing.remove(&Component::Bundle);
    }

    /// The first failure that still holds; `None` while all components are healthy.
    fn stale_since(&self) -> Option<Moment> {
        self.failing.values().min().copied()
    }

    /// The same for the components of one cluster.
    fn cluster_stale_since(&self, cluster: &ClusterRef) -> Option<Moment> {
        let failing = self.failing.iter().filter(|(component, _)| component.is_of(cluster));
        failing.map(|(_, since)| *since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Namespace};

    fn source(name: &str) -> Component {
        Component::Source(ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap())
    }

    #[test]
    fn files_are_stale_from_the_first_failure_that_still_holds() {
        let health = Health::new(Vec::new());
        let since = |component: &Component| health.state().failing.get(component).copied();
        let stale_since = || health.state().stale_since();
        assert!(since(&Component::Bundle).is_some(), "before the first bundle nothing is current");
        health.published(Duration::ZERO, false);
        assert_eq!(stale_since(), None);

        health.failing(source("a"), Reason::ApiRefused);
        let first = since(&source("a"));
        std::thread::sleep(Duration::from_millis(1));
        health.failing(source("a"), Reason::ApiRefused);
        health.failing(source("b"), Reason::ApiUnreachable);
        assert_eq!(since(&source("a")), first);
        assert!(since(&source("b")) > first);
        health.unchanged();
        assert_eq!(stale_since(), first);
        health.healthy(&source("a"));
        assert_eq!(stale_since(), since(&source("b")));
        health.healthy(&source("b"));
        assert_eq!(stale_since(), None);
    }

    #[test]
    fn the_sidecar_is_ready_from_the_first_files_on() {
        for publish in [|health: &Health| health.published(Duration::ZERO, false), Health::unchanged] {
            let health = Health::new(Vec::new());
            health.failing(Component::Bundle, Reason::Volume);
            assert!(!health.is_ready());
            publish(&health);
            assert!(health.is_ready());
            health.failing(Component::Bundle, Reason::Render);
            assert!(health.is_ready());
        }
    }

    #[test]
    fn a_stalled_loop_is_named() {
        let health = Health::new(Vec::new());
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

//! How the sidecar is: whether its loops are alive, whether the first bundle is out, whether what is out is current, and
//! what was counted on the way.
//!
//! The sidecar's threads report to one [`Health`]; [`listen`] answers probes and scrapes from it, [`metrics`] writes it
//! down, [`probe`] asks. It holds numbers and the names of objects, and nothing of what is in them.

pub(crate) mod events;
pub(crate) mod listen;
pub(crate) mod metrics;
pub(crate) mod probe;
mod request;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::kube::{self, RequestMetrics};
use crate::object::{ClusterId, ObjectRef};

/// How much longer than it said a loop may take until it counts as wedged: a container may have little processor time.
const MARGIN: Duration = Duration::from_secs(10);

/// What the sidecar's threads report, for all of them.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    /// The pod's own cluster first.
    clusters: Vec<Cluster>,
    pulses: Mutex<Vec<Pulse>>,
    state: Mutex<State>,
}

/// A cluster that is asked.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// Its id; none for the pod's own.
    pub(crate) id: Option<ClusterId>,
    /// How people call it: names of labels and their values.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// What counts the requests to it.
    pub(crate) requests: Arc<RequestMetrics>,
}

#[derive(Debug, Default)]
struct State {
    /// The first bundle is out.
    ready: bool,
    /// What fails now, and since when.
    failing: BTreeMap<Part, Instant>,
    failures: [u64; Reason::ALL.len()],
    swapped: u64,
    unchanged: u64,
    failed: u64,
    last_success: Option<SystemTime>,
    watch_restarts: u64,
    notices: Outcomes,
    /// The applications that could not be told so far, and since when.
    untold: BTreeMap<String, Instant>,
    events: Outcomes,
    rotations: metrics::Histogram,
}

/// How often something came to a good end, and how often not.
#[derive(Debug, Default)]
struct Outcomes {
    good: u64,
    bad: u64,
}

impl Outcomes {
    fn count(&mut self, is_good: bool) {
        *(if is_good { &mut self.good } else { &mut self.bad }) += 1;
    }
}

/// What has to work for the files to be current.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The pod's annotations are read.
    Annotations,
    /// An object is there and its last version is read.
    Source(ObjectRef),
    /// An object's changes are told.
    Watch(ObjectRef),
    /// What was read is rendered and published.
    Bundle,
}

impl Part {
    /// Whether it is this cluster, none for the pod's own, that it comes from.
    fn is_of(&self, cluster: Option<&ClusterId>) -> bool {
        *self != Self::Bundle && self.cluster() == cluster
    }

    /// The cluster that it comes from; none for the pod's own, and for what comes from all.
    pub(crate) fn cluster(&self) -> Option<&ClusterId> {
        match self {
            Self::Source(object) | Self::Watch(object) => object.cluster.as_ref(),
            Self::Annotations | Self::Bundle => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotations => f.write_str("the pod's annotations"),
            Self::Source(object) => write!(f, "{object}"),
            Self::Watch(object) => write!(f, "the watch of {object}"),
            Self::Bundle => f.write_str("the files"),
        }
    }
}

/// Why something fails: the values of a label, so there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The API server gave a clear answer, and it was no: also that there is no such object.
    ApiRefused,
    /// The API server could not be reached in time, or was too busy.
    ApiUnreachable,
    /// Edited annotations are wrong.
    Annotations,
    /// A source does not fill its credential.
    Render,
    /// The volume could not be written.
    Volume,
    /// What describes a cluster cannot be used.
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

/// One loop's sign of life.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    name: Arc<str>,
    started: Instant,
    /// When the next beat is due, in milliseconds from the start.
    due: Arc<AtomicU64>,
}

impl Pulse {
    /// The loop is alive, and will say so again `within` this time, give or take a margin.
    pub(crate) fn beat(&self, within: Duration) {
        let due = self.started.elapsed().saturating_add(within).saturating_add(MARGIN);
        self.due.store(u64::try_from(due.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_overdue(&self) -> bool {
        self.started.elapsed().as_millis() > self.due.load(Ordering::Relaxed).into()
    }
}

impl Health {
    /// Nothing is out yet. The pod's own cluster comes first.
    pub(crate) fn new(clusters: Vec<Cluster>) -> Self {
        let started = Instant::now();
        let failing = BTreeMap::from([(Part::Bundle, started)]);
        let state = Mutex::new(State { failing, ..State::default() });
        Self { started, clusters, pulses: Mutex::default(), state }
    }

    /// A loop that must beat from now on, by its name.
    pub(crate) fn pulse(&self, name: &str) -> Pulse {
        let pulse = Pulse { name: name.into(), started: self.started, due: Arc::default() };
        pulse.beat(Duration::ZERO);
        self.pulses().push(pulse.clone());
        pulse
    }

    /// This part works. Whether it did not before.
    pub(crate) fn works(&self, part: &Part) -> bool {
        self.state().failing.remove(part).is_some()
    }

    /// This part failed, and may do so again. Whether it worked before.
    pub(crate) fn fails(&self, part: Part, reason: Reason) -> bool {
        let mut state = self.state();
        state.failures[reason as usize] += 1;
        match state.failing.entry(part) {
            Entry::Vacant(entry) => {
                entry.insert(Instant::now());
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// A bundle was swapped in, so long after the change was noticed. `replaced` if there was another before it.
    pub(crate) fn swapped(&self, took: Duration, replaced: bool) {
        let mut state = self.state();
        state.swapped += 1;
        if replaced {
            state.rotations.observe(took);
        }
        state.succeeded();
    }

    /// The volume holds the bundle already.
    pub(crate) fn unchanged(&self) {
        let mut state = self.state();
        state.unchanged += 1;
        state.succeeded();
    }

    /// An attempt to publish failed.
    pub(crate) fn not_published(&self) {
        self.state().failed += 1;
    }

    /// A watch broke or ended early, and another is begun.
    pub(crate) fn watch_restarts(&self) {
        self.state().watch_restarts += 1;
    }

    /// An application was told of a rotation.
    pub(crate) fn told(&self, application: &str) {
        let mut state = self.state();
        state.notices.count(true);
        state.untold.remove(application);
    }

    /// An application could not be told of a rotation this time.
    pub(crate) fn not_told(&self, application: &str) {
        let mut state = self.state();
        state.notices.count(false);
        state.untold.entry(application.to_owned()).or_insert_with(Instant::now);
    }

    /// Nobody wants this application told any more.
    pub(crate) fn need_not_be_told(&self, application: &str) {
        self.state().untold.remove(application);
    }

    /// The applications that could not be told so far, and since when.
    pub(crate) fn untold(&self) -> BTreeMap<String, Instant> {
        self.state().untold.clone()
    }

    /// An Event was recorded, or left out.
    pub(crate) fn event(&self, is_recorded: bool) {
        self.state().events.count(is_recorded);
    }

    /// What fails now, and since when the first of it does; nothing before the first bundle, when there are no files yet.
    pub(crate) fn stale(&self) -> Option<(Instant, Vec<Part>)> {
        let state = self.state();
        let since = state.failing.values().min().copied().filter(|_| state.ready)?;
        Some((since, state.failing.keys().cloned().collect()))
    }

    /// What fails, besides that nothing is written because of it.
    fn waits_for(&self) -> Vec<Part> {
        let state = self.state();
        state.failing.keys().filter(|part| **part != Part::Bundle).cloned().collect()
    }

    /// Whether the first bundle is out.
    pub(crate) fn is_ready(&self) -> bool {
        self.state().ready
    }

    /// The loops that have not beaten in time.
    fn wedged(&self) -> Vec<Arc<str>> {
        self.pulses().iter().filter(|pulse| pulse.is_overdue()).map(|pulse| Arc::clone(&pulse.name)).collect()
    }

    /// The pulses of the loops that there are: one that has ended has let go of its own.
    fn pulses(&self) -> MutexGuard<'_, Vec<Pulse>> {
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|pulse| Arc::strong_count(&pulse.due) > 1);
        pulses
    }

    /// A thread that panicked with the lock held cannot have left anything half-made behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn succeeded(&mut self) {
        self.ready = true;
        self.last_success = Some(SystemTime::now());
        self.failing.remove(&Part::Bundle);
    }

    /// How long the files may have been out of date.
    fn staleness(&self) -> Duration {
        self.failing.values().min().map(Instant::elapsed).unwrap_or_default()
    }

    /// How long what comes from one cluster may have been.
    fn staleness_of(&self, cluster: Option<&ClusterId>) -> Duration {
        let failing = self.failing.iter().filter(|(part, _)| part.is_of(cluster));
        failing.map(|(_, since)| since).min().map(Instant::elapsed).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Kind, Namespace};

    fn source(name: &str) -> Part {
        Part::Source(ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap())
    }

    #[test]
    fn staleness_lasts_from_the_first_failure_that_still_holds() {
        let health = Health::new(Vec::new());
        let since = |part: &Part| health.state().failing.get(part).copied();
        assert!(since(&Part::Bundle).is_some(), "before the first bundle nothing is current");
        health.swapped(Duration::ZERO, false);
        assert_eq!(health.state().staleness(), Duration::ZERO);

        health.fails(source("a"), Reason::ApiRefused);
        let first = since(&source("a"));
        std::thread::sleep(Duration::from_millis(1));
        health.fails(source("a"), Reason::ApiRefused);
        health.fails(source("b"), Reason::ApiUnreachable);
        assert_eq!(since(&source("a")), first);
        assert!(since(&source("b")) > first);
        health.unchanged();
        assert!(health.state().staleness() >= first.unwrap().elapsed() - Duration::from_millis(1));
        health.works(&source("a"));
        assert!(health.state().staleness() > Duration::ZERO);
        health.works(&source("b"));
        assert_eq!(health.state().staleness(), Duration::ZERO);
    }

    #[test]
    fn readiness_comes_with_the_first_bundle_and_stays() {
        for out in [|health: &Health| health.swapped(Duration::ZERO, false), Health::unchanged] {
            let health = Health::new(Vec::new());
            health.fails(Part::Bundle, Reason::Volume);
            assert!(!health.is_ready());
            out(&health);
            assert!(health.is_ready());
            health.fails(Part::Bundle, Reason::Render);
            assert!(health.is_ready());
        }
    }

    #[test]
    fn a_loop_that_is_late_is_named() {
        let health = Health::new(Vec::new());
        let (late, _in_time) = (health.pulse("late"), health.pulse("in time"));
        late.beat(Duration::MAX);
        assert!(health.wedged().is_empty());
        late.due.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(health.wedged(), ["late".into()]);
        late.beat(Duration::ZERO);
        assert!(health.wedged().is_empty());
        late.due.store(0, Ordering::Relaxed);
        drop(late);
        assert!(health.wedged().is_empty(), "a loop that has ended is not late");
    }
}

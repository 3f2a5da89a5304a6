//! What is known about the sidecar: which components fail and since when, which credentials have files, and counters. Metrics
//! and probes read it; what the log and the Events say follows from its changes, so that they all agree. Pure: it knows the time
//! only from its callers.

mod certificates;
mod credentials;
mod deadlines;
mod served;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use log::Level;

pub(crate) use certificates::Validity;
pub(crate) use credentials::SourceStatus;
pub(crate) use served::{Content, Notification, Served};

use crate::object::ObjectRef;
use crate::telemetry::component::{Component, Reason, Subject};
use crate::telemetry::events::EventReason;
use crate::telemetry::metrics::Histogram;

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

/// What a change of the status leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// A line of the log.
    Log { level: Level, subject: Subject, message: String },
    /// An Event for the pod.
    Event { reason: EventReason, message: String },
}

/// The one store of the sidecar's status.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) started: Moment,
    /// How long a failure may last before it is reported as staleness.
    stale_after: Duration,
    /// How long before a certificate expires the log and an Event report it.
    pub(crate) expiry_warning: Duration,
    /// Whether every credential has its files.
    pub(crate) ready: bool,
    /// The credentials that have no files yet, each with the reason, while not ready.
    waiting: BTreeMap<String, String>,
    /// The pod's name and namespace; the name is `None` with an annotations file.
    pub(crate) pod: (Option<String>, String),
    /// What the files of each credential come from.
    pub(crate) served: Served,
    /// The objects of each credential.
    credentials: BTreeMap<String, BTreeSet<ObjectRef>>,
    /// The components that fail.
    failing: BTreeMap<Component, Moment>,
    /// The last report of each component since it was healthy.
    last: BTreeMap<Component, LastReport>,
    /// The start of the staleness that was reported; `None` while none is.
    stale_since: Option<Moment>,
    /// The components whose staleness was reported.
    stale: BTreeSet<Component>,
    /// The applications whose notification is failing, each with the time of the first failed attempt.
    pub(crate) pending_notifications: BTreeMap<String, (Moment, String)>,
    /// Those that were reported.
    overdue: BTreeSet<String>,
    pub(crate) failures: [u64; Reason::ALL.len()],
    pub(crate) syncs: Counts,
    pub(crate) last_success: Option<SystemTime>,
    pub(crate) watch_restarts: u64,
    pub(crate) notifications: Counts,
    pub(crate) events: Counts,
    pub(crate) rotations: Histogram,
    /// How often a supervised program was started; `None` means that podcreds supervises none.
    pub(crate) program_starts: Option<u64>,
    /// What was not taken yet.
    reports: Vec<Report>,
}

#[derive(Debug)]
struct LastReport {
    message: String,
    /// `None` if the component is degraded and not failing.
    reason: Option<Reason>,
    /// Whether an Event was recorded since the component was healthy.
    is_recorded: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn count(&mut self, is_success: bool) {
        *(if is_success { &mut self.succeeded } else { &mut self.failed }) += 1;
    }
}

impl Status {
    /// The status of a sidecar that has not published yet.
    pub(crate) fn new(started: Moment, stale_after: Duration) -> Self {
        Self {
            started,
            stale_after,
            expiry_warning: certificates::DEFAULT_WARNING,
            ready: false,
            waiting: BTreeMap::new(),
            pod: Default::default(),
            served: Served::default(),
            credentials: BTreeMap::new(),
            failing: BTreeMap::new(),
            last: BTreeMap::new(),
            stale_since: None,
            stale: BTreeSet::new(),
            pending_notifications: BTreeMap::new(),
            overdue: BTreeSet::new(),
            failures: [0; Reason::ALL.len()],
            syncs: Counts::default(),
            last_success: None,
            watch_restarts: 0,
            notifications: Counts::default(),
            events: Counts::default(),
            rotations: Histogram::default(),
            program_starts: None,
            reports: Vec::new(),
        }
    }

    /// Takes what the changes since the last call lead to.
    pub(crate) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    pub(crate) fn log(&mut self, level: Level, subject: Subject, message: impl Into<String>) {
        self.reports.push(Report::Log { level, subject, message: message.into() });
    }

    fn event(&mut self, reason: EventReason, message: impl Into<String>) {
        self.reports.push(Report::Event { reason, message: message.into() });
    }

    /// Sets the credentials, each with its objects. What concerns the status of others is dropped.
    pub(crate) fn set_credentials(&mut self, credentials: BTreeMap<String, BTreeSet<ObjectRef>>) {
        let gone = |component: &Component| matches!(component, Component::Credential(name) if !credentials.contains_key(name));
        self.failing.retain(|component, _| !gone(component));
        self.last.retain(|component, _| !gone(component));
        self.served.retain(|name| credentials.contains_key(name));
        self.credentials = credentials;
    }

    /// A component failed. Each failure is counted, and a new message is logged.
    pub(crate) fn failing(&mut self, now: Moment, component: Component, reason: Reason, message: &str) {
        self.report(&component, Some(reason), message, Level::Warn);
        self.store_last_error(&component, message, now.time);
        self.failures[reason as usize] += 1;
        if let Entry::Vacant(entry) = self.failing.entry(component) {
            entry.insert(now);
        }
    }

    /// A component works with a limitation, which is logged once.
    pub(crate) fn degraded(&mut self, component: &Component, level: Level, message: &str) {
        self.report(component, None, message, level);
        self.failing.remove(component);
    }

    /// A component works. Returns whether it was reported as failing or degraded.
    pub(crate) fn healthy(&mut self, component: &Component) -> bool {
        self.failing.remove(component);
        let Some(last) = self.last.remove(component) else { return false };
        // If staleness was reported, its own end is reported instead.
        if last.is_recorded && (self.stale_since.is_none() || !self.failing.is_empty()) {
            self.event(EventReason::Current, format!("{component}: recovered"));
        }
        true
    }

    /// The sidecar does not depend on this component any more.
    pub(crate) fn forget(&mut self, component: &Component) {
        if let Component::Source(object) = component {
            self.served.forget(object);
        }
        self.failing.remove(component);
        self.last.remove(component);
    }

    /// Reports a problem that concerns no single component.
    pub(crate) fn warn(&mut self, reason: EventReason, message: String) {
        self.log(Level::Warn, Subject::None, message.clone());
        self.event(reason, message);
    }

    /// The files of a deleted source are removed (`--on-delete clear`).
    pub(crate) fn cleared(&mut self, component: &Component, message: &str) {
        self.degraded(component, Level::Warn, message);
        self.event(EventReason::Failed, message);
    }

    /// Files were published. `rotation` is the time since their change was noticed, if they replaced earlier ones.
    pub(crate) fn published(&mut self, now: Moment, rotation: Option<Duration>, message: &str) {
        if let Some(latency) = rotation {
            self.rotations.observe(latency);
        }
        self.succeeded(now);
        let reason = if rotation.is_some() { EventReason::Rotated } else { EventReason::Written };
        self.event(reason, message);
    }

    /// The volume has the current files.
    pub(crate) fn succeeded(&mut self, now: Moment) {
        self.syncs.count(true);
        self.last_success = Some(now.time);
        self.healthy(&Component::Volume);
    }

    /// A credential could not be rendered, or the volume not be written.
    pub(crate) fn publish_failed(
        &mut self,
        now: Moment,
        component: Component,
        reason: Reason,
        message: &str,
    ) {
        self.failing(now, component, reason, message);
        self.syncs.count(false);
    }

    /// Sets the credentials that have no files yet, each with the reason. Ready is final: files that were written stay.
    pub(crate) fn set_waiting(&mut self, waiting: BTreeMap<String, String>) {
        self.ready |= waiting.is_empty();
        self.waiting = waiting;
    }

    /// A supervised program was started, or is about to be stopped. Only a running one is ready.
    pub(crate) fn set_program(&mut self, is_running: bool) {
        self.ready = is_running;
        if is_running {
            self.program_starts = Some(self.program_starts.unwrap_or_default() + 1);
        }
    }

    /// The credentials that have no files yet, each with the reason.
    pub(crate) fn waiting(&self) -> &BTreeMap<String, String> {
        &self.waiting
    }

    #[cfg(test)]
    pub(crate) fn is_failing(&self, component: &Component) -> bool {
        self.failing.contains_key(component)
    }

    /// The message of a component that fails or is degraded.
    pub(crate) fn message(&self, component: &Component) -> Option<&str> {
        self.last.get(component).map(|last| last.message.as_str())
    }

    /// The number of objects that are polled because they cannot be watched.
    pub(crate) fn unwatched(&self) -> usize {
        let degraded = |(component, last): &(&Component, &LastReport)| {
            matches!(component, Component::Watch(_)) && last.reason.is_none()
        };
        self.last.iter().filter(degraded).count()
    }

    /// A watch broke or ended early, and is restarted.
    pub(crate) fn watch_restarted(&mut self) {
        self.watch_restarts += 1;
    }

    /// An application was notified of these credentials, as of this version.
    pub(crate) fn notified(
        &mut self,
        now: Moment,
        application: &str,
        credentials: &BTreeSet<String>,
        version: &str,
    ) {
        self.notifications.count(true);
        self.served.notified(application, credentials, version, now.time);
        self.pending_notifications.remove(application);
    }

    /// An attempt to notify an application failed.
    pub(crate) fn notify_failed(&mut self, now: Moment, application: &str, reason: &str) {
        self.notifications.count(false);
        let pending = self.pending_notifications.entry(application.to_owned());
        reason.clone_into(&mut pending.or_insert((now, String::new())).1);
    }

    /// The notification of an application was cancelled.
    pub(crate) fn notify_cancelled(&mut self, application: &str) {
        self.pending_notifications.remove(application);
    }

    /// The first failure that still holds; `None` while all components are healthy. Before the first files are written, the
    /// start of the sidecar.
    pub(crate) fn stale_since(&self) -> Option<Moment> {
        if !self.ready {
            return Some(self.started);
        }
        self.failing.values().min().copied()
    }

    /// Logs a new message at `level`, and a repeated one for debugging only.
    fn report(&mut self, component: &Component, reason: Option<Reason>, message: &str, level: Level) {
        let last = self.last.get(component);
        let level = if last.is_some_and(|last| last.message == message) { Level::Debug } else { level };
        let is_new = last.is_none_or(|last| last.message != message || !last.is_recorded);
        let was_recorded = last.is_some_and(|last| last.is_recorded);
        let record = is_new && reason.is_some_and(|reason| self.is_worth_an_event(component, reason));
        self.log(level, Subject::from(component), message);
        if record {
            self.event(EventReason::Failed, message);
        }
        let is_recorded = record || was_recorded;
        self.last.insert(component.clone(), LastReport { message: message.to_owned(), reason, is_recorded });
    }

    /// A watch whose connection breaks once is routine, and an unreachable API server is one Event for all its objects.
    fn is_worth_an_event(&self, component: &Component, reason: Reason) -> bool {
        let fails_again = self.last.contains_key(component);
        let is_recorded = |(other, last): (&Component, &LastReport)| {
            other != component
                && other.cluster() == component.cluster()
                && last.is_recorded
                && last.reason == Some(Reason::ApiUnreachable)
        };
        let is_known = reason == Reason::ApiUnreachable && self.last.iter().any(is_recorded);
        !is_known && (fails_again || !matches!(component, Component::Watch(_)))
    }
}

#[cfg(test)]
mod tests;

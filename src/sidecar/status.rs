//! Reports status in one place, so that the log, the metrics and the Events agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use humantime::format_rfc3339_seconds;
use log::{Level, info, log, warn};

use crate::kube::log_object;
use crate::sidecar::event::Event;
use crate::telemetry::events::{EventReason, Events};
use crate::telemetry::{Component, Health, Moment, Reason};
use crate::thread::lock;

/// Maximum number of failures that one message names.
const NAMED: usize = 3;

/// Used by all threads of the sidecar.
pub(crate) struct StatusReporter {
    pub(crate) health: Arc<Health>,
    events: Events,
    /// How long a failure may last before it is reported as staleness.
    stale_after: Duration,
    /// Wakes the controller, which then calls [`Self::check_deadlines`].
    wake: SyncSender<Event>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last report of each component since it was healthy.
    last: BTreeMap<Component, LastStatus>,
    /// The start of the staleness that was reported; `None` while none is.
    stale_since: Option<Moment>,
    /// The applications whose failing notification was reported.
    overdue: BTreeSet<String>,
}

struct LastStatus {
    message: String,
    /// `None` if the component is degraded and not failing.
    reason: Option<Reason>,
    /// Whether an Event was recorded since the component was healthy.
    is_recorded: bool,
}

impl StatusReporter {
    pub(crate) fn new(
        health: Arc<Health>,
        events: Events,
        stale_after: Duration,
        wake: SyncSender<Event>,
    ) -> Self {
        Self { health, events, stale_after, wake, state: Mutex::default() }
    }

    /// A component failed. Each failure is counted, and a new message is logged.
    pub(crate) fn failing(&self, component: Component, reason: Reason, message: &str) {
        self.log_once(&component, Some(reason), message);
        let is_watch = matches!(component, Component::Watch(_));
        if self.health.failing(component, reason) && is_watch {
            self.wake();
        }
    }

    /// An attempt to render or publish failed.
    pub(crate) fn publish_failed(&self, reason: Reason, message: &str) {
        self.failing(Component::Bundle, reason, message);
        self.health.publish_failed();
    }

    /// A component works with a limitation, which is logged once.
    pub(crate) fn degraded(&self, component: &Component, message: &str) {
        self.log_once(component, None, message);
        self.health.healthy(component);
    }

    /// A component works. Returns whether it was reported as failing or degraded.
    pub(crate) fn healthy(&self, component: &Component) -> bool {
        if self.health.healthy(component) && matches!(component, Component::Watch(_)) {
            self.wake();
        }
        let mut state = self.state();
        let Some(last) = state.last.remove(component) else { return false };
        // If staleness was reported, its own end is reported instead.
        if last.is_recorded && state.stale_since.is_none() {
            self.events.record(EventReason::Current, &format!("{component}: recovered"));
        }
        true
    }

    /// Watches fail on other threads: the controller has to check the deadlines then. It does so after each event, so that a
    /// full queue needs no other one, and no thread ever waits here.
    fn wake(&self) {
        let _ = self.wake.try_send(Event::StatusChanged);
    }

    /// A bundle was published, `latency` after its change was noticed. `replaced` means that it replaced an earlier bundle.
    pub(crate) fn published(&self, latency: Duration, replaced: bool, message: &str) {
        self.healthy(&Component::Bundle);
        self.health.published(latency, replaced);
        self.events.record(if replaced { EventReason::Rotated } else { EventReason::Written }, message);
    }

    /// The volume already had this bundle.
    pub(crate) fn unchanged(&self) {
        self.healthy(&Component::Bundle);
        self.health.unchanged();
    }

    /// The files of a deleted source are removed (`--on-delete clear`).
    pub(crate) fn cleared(&self, component: &Component, message: &str) {
        self.degraded(component, message);
        self.events.record(EventReason::Failed, message);
    }

    /// Reports failures that have lasted for longer than `--stale-after`, and the end of those that were reported. Returns when
    /// to check again.
    pub(crate) fn check_deadlines(&self) -> Option<Instant> {
        [self.check_staleness(), self.check_notifications()].into_iter().flatten().min()
    }

    fn check_staleness(&self) -> Option<Instant> {
        let stale = self.health.stale();
        let mut state = self.state();
        match (stale, state.stale_since) {
            (None, Some(since)) => {
                state.stale_since = None;
                let message = format!("the files are current again (stale since {})", clock(since));
                info!("{message}");
                self.events.record(EventReason::Current, &message);
            }
            (Some((since, failing)), None) if since.instant.elapsed() >= self.stale_after => {
                state.stale_since = Some(since);
                let reasons = state.reasons(&failing);
                let message =
                    format!("the files may have been out of date since {}: {reasons}", clock(since));
                warn!("{message}");
                self.events.record(EventReason::Stale, &message);
            }
            (Some((since, _)), None) => return Some(since.instant + self.stale_after),
            _ => {}
        }
        None
    }

    fn check_notifications(&self) -> Option<Instant> {
        let pending = self.health.pending_notifications();
        let mut state = self.state();
        let mut next = None;
        for (application, since) in &pending {
            if since.instant.elapsed() < self.stale_after {
                next = [next, Some(since.instant + self.stale_after)].into_iter().flatten().min();
            } else if state.overdue.insert(application.clone()) {
                let message = format!("{application}: notification failing since {}", clock(*since));
                warn!("{message}");
                self.events.record(EventReason::NotifyFailed, &message);
            }
        }
        state.overdue.retain(|application| {
            let is_pending = pending.contains_key(application);
            if !is_pending {
                self.events.record(EventReason::Notified, &format!("{application}: notified"));
            }
            is_pending
        });
        next
    }

    /// Logs a new message as a warning, and a repeated one for debugging only.
    fn log_once(&self, component: &Component, reason: Option<Reason>, message: &str) {
        let mut state = self.state();
        let last = state.last.get(component);
        let level = if last.is_some_and(|last| last.message == message) { Level::Debug } else { Level::Warn };
        match component.object() {
            Some(object) => log_object!(level, object, "{message}"),
            None => log!(level, "{message}"),
        }
        let is_new = last.is_none_or(|last| last.message != message || !last.is_recorded);
        let record = is_new && reason.is_some_and(|reason| state.is_worth_an_event(component, reason));
        if record {
            self.events.record(EventReason::Failed, message);
        }
        let is_recorded = record || last.is_some_and(|last| last.is_recorded);
        state.last.insert(component.clone(), LastStatus { message: message.to_owned(), reason, is_recorded });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// A watch whose connection breaks once is routine, and an unreachable API server is one Event for all its objects.
    fn is_worth_an_event(&self, component: &Component, reason: Reason) -> bool {
        let fails_again = self.last.contains_key(component);
        let is_recorded = |(other, last): (&Component, &LastStatus)| {
            other != component
                && other.cluster() == component.cluster()
                && last.is_recorded
                && last.reason == Some(Reason::ApiUnreachable)
        };
        let is_known = reason == Reason::ApiUnreachable && self.last.iter().any(is_recorded);
        !is_known && (fails_again || !matches!(component, Component::Watch(_)))
    }

    /// The messages of failing components, at most [`NAMED`] of them.
    fn reasons(&self, failing: &[Component]) -> String {
        let message = |component: &Component| match self.last.get(component) {
            Some(last) => last.message.clone(),
            None => component.to_string(),
        };
        let named: Vec<_> = failing.iter().take(NAMED).map(message).collect();
        match failing.len().saturating_sub(NAMED) {
            0 => named.join("; "),
            more => format!("{}; and {more} more", named.join("; ")),
        }
    }
}

fn clock(moment: Moment) -> humantime::Rfc3339Timestamp {
    format_rfc3339_seconds(moment.time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ClusterId, ClusterRef, Kind, Namespace, ObjectRef};
    use crate::sidecar::event;

    #[test]
    fn a_full_queue_does_not_block_a_report() {
        let (sender, queue) = event::queue();
        while sender.try_send(Event::StatusChanged).is_ok() {}
        let health = Arc::new(Health::new(Vec::new()));
        let events = Events::off(Arc::clone(&health));
        let status = StatusReporter::new(health, events, Duration::ZERO, sender);
        let object = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap();
        let watch = Component::Watch(object);
        status.failing(watch.clone(), Reason::ApiUnreachable, "test");
        assert!(status.healthy(&watch));
        drop(queue);
        status.failing(watch, Reason::ApiUnreachable, "test");
    }

    #[test]
    fn each_unreachable_api_server_is_one_event() {
        let source = |name: &str, cluster: Option<&str>| {
            let object = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap();
            Component::Source(object.in_cluster(
                cluster.map_or(ClusterRef::Local, |id| ClusterRef::Named(ClusterId::parse(id).unwrap())),
            ))
        };
        let mut state = State::default();
        let mut records = |component: Component| {
            let reason = Reason::ApiUnreachable;
            let is_recorded = state.is_worth_an_event(&component, reason);
            let last = LastStatus { message: "test".to_owned(), reason: Some(reason), is_recorded };
            state.last.insert(component, last);
            is_recorded
        };
        assert!(records(source("a", None)));
        assert!(!records(source("b", None)));
        assert!(records(source("a", Some("hub"))));
        assert!(!records(source("b", Some("hub"))));
    }
}

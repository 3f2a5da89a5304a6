//! How it goes, told in one place, so that the log, the metrics and the Events say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_seconds;
use log::{debug, info, warn};

use crate::sidecar::told::Told;
use crate::telemetry::events::{Events, What};
use crate::telemetry::{Health, Part, Reason};

/// How many of the things that fail are named in one message.
const NAMED: usize = 3;

/// Told by all threads of the sidecar.
pub(crate) struct Report {
    pub(crate) health: Arc<Health>,
    events: Events,
    /// How long something must fail until the files are called stale.
    stale_after: Duration,
    /// Wakes the follower, which looks how it goes.
    wake: Sender<Told>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was said of each part since it last worked.
    said: BTreeMap<Part, Said>,
    /// Since when the files were said to be stale.
    stale_since: Option<Instant>,
    /// The applications of which it was said that they could not be told.
    untold: BTreeSet<String>,
}

struct Said {
    message: String,
    reason: Option<Reason>,
    is_recorded: bool,
}

impl Report {
    pub(crate) fn new(
        health: Arc<Health>,
        events: Events,
        stale_after: Duration,
        wake: Sender<Told>,
    ) -> Self {
        Self { health, events, stale_after, wake, state: Mutex::default() }
    }

    /// This part failed: each time counts, and what is new is said.
    pub(crate) fn fails(&self, part: Part, reason: Reason, message: &str) {
        let is_watch = matches!(part, Part::Watch(_));
        self.says(&part, Some(reason), message);
        // The follower sees its own failures.
        if self.health.fails(part, reason) && is_watch {
            let _ = self.wake.send(Told::Health);
        }
    }

    /// The bundle could not be rendered or published.
    pub(crate) fn not_published(&self, reason: Reason, message: &str) {
        self.fails(Part::Bundle, reason, message);
        self.health.not_published();
    }

    /// This part works in another way than it should: once is enough to say so.
    pub(crate) fn makes_do(&self, part: &Part, message: &str) {
        self.says(part, None, message);
        self.health.works(part);
    }

    /// This part works. Whether anything else had been said of it.
    pub(crate) fn works(&self, part: &Part) -> bool {
        if self.health.works(part) && matches!(part, Part::Watch(_)) {
            let _ = self.wake.send(Told::Health);
        }
        let mut state = self.state();
        let Some(said) = state.said.remove(part) else { return false };
        // Where the files were called stale, it is said that they no longer are.
        if said.is_recorded && state.stale_since.is_none() {
            self.events.record(What::Current, &format!("{part}: this works again"));
        }
        true
    }

    /// A bundle was swapped in, so long after the change was noticed. `replaced` if there was another before it.
    pub(crate) fn swapped(&self, took: Duration, replaced: bool, message: &str) {
        self.works(&Part::Bundle);
        self.health.swapped(took, replaced);
        self.events.record(if replaced { What::Rotated } else { What::Written }, message);
    }

    /// The volume holds the bundle already.
    pub(crate) fn unchanged(&self) {
        self.works(&Part::Bundle);
        self.health.unchanged();
    }

    /// Files were cleared away, because their source is gone and that was asked for.
    pub(crate) fn cleared(&self, part: &Part, message: &str) {
        self.makes_do(part, message);
        self.events.record(What::Failed, message);
    }

    /// Says what has lasted for too long, and what no longer does: files that are stale, applications that cannot be told.
    /// Returns when to look again.
    pub(crate) fn tell_delays(&self) -> Option<Instant> {
        [self.tell_staleness(), self.tell_untold()].into_iter().flatten().min()
    }

    fn tell_staleness(&self) -> Option<Instant> {
        let stale = self.health.stale();
        let mut state = self.state();
        match (stale, state.stale_since) {
            (None, Some(since)) => {
                state.stale_since = None;
                let message = format!("the files are current again; they were not since {}", clock(since));
                info!("{message}");
                self.events.record(What::Current, &message);
            }
            (Some((since, failing)), None) if since.elapsed() >= self.stale_after => {
                state.stale_since = Some(since);
                let reasons = state.reasons(&failing);
                let message =
                    format!("the files may have been out of date since {}: {reasons}", clock(since));
                warn!("{message}");
                self.events.record(What::Stale, &message);
            }
            (Some((since, _)), None) => return Some(since + self.stale_after),
            _ => {}
        }
        None
    }

    fn tell_untold(&self) -> Option<Instant> {
        let untold = self.health.untold();
        let mut state = self.state();
        let mut again = None;
        for (application, since) in &untold {
            if since.elapsed() < self.stale_after {
                again = [again, Some(*since + self.stale_after)].into_iter().flatten().min();
            } else if state.untold.insert(application.clone()) {
                let message = format!("{application}: not possible since {}", clock(*since));
                warn!("{message}");
                self.events.record(What::NotTold, &message);
            }
        }
        state.untold.retain(|application| {
            let waits = untold.contains_key(application);
            if !waits {
                self.events.record(What::Told, &format!("{application}: done"));
            }
            waits
        });
        again
    }

    /// Says what is new aloud, and the rest only to those who want to know all.
    fn says(&self, part: &Part, reason: Option<Reason>, message: &str) {
        let mut state = self.state();
        let before = state.said.get(part);
        if before.is_some_and(|said| said.message == message) {
            debug!("{message}");
        } else {
            warn!("{message}");
        }
        let is_new = before.is_none_or(|said| said.message != message || !said.is_recorded);
        let records = is_new && reason.is_some_and(|reason| state.is_worth_an_event(part, reason));
        if records {
            self.events.record(What::Failed, message);
        }
        let is_recorded = records || before.is_some_and(|said| said.is_recorded);
        state.said.insert(part.clone(), Said { message: message.to_owned(), reason, is_recorded });
    }

    /// A thread that panicked with the lock held cannot have left anything half-made behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A line that breaks once is everyday, and an API server that is away is one Event and not one for each object.
    fn is_worth_an_event(&self, part: &Part, reason: Reason) -> bool {
        let fails_again = self.said.contains_key(part);
        let is_told = |(other, said): (&Part, &Said)| {
            other != part
                && other.cluster() == part.cluster()
                && said.is_recorded
                && said.reason == Some(Reason::ApiUnreachable)
        };
        let is_known = reason == Reason::ApiUnreachable && self.said.iter().any(is_told);
        !is_known && (fails_again || !matches!(part, Part::Watch(_)))
    }

    /// Why these parts fail, as far as there is room to say it.
    fn reasons(&self, failing: &[Part]) -> String {
        let named: Vec<_> = failing
            .iter()
            .take(NAMED)
            .map(|part| self.said.get(part).map_or_else(|| part.to_string(), |said| said.message.clone()))
            .collect();
        match failing.len().saturating_sub(NAMED) {
            0 => named.join("; "),
            more => format!("{}; and {more} more", named.join("; ")),
        }
    }
}

/// A moment as the clock on the wall showed it, if it was not set since.
fn clock(moment: Instant) -> humantime::Rfc3339Timestamp {
    format_rfc3339_seconds(SystemTime::now().checked_sub(moment.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ClusterId, ClusterRef, Kind, Namespace, ObjectRef};

    #[test]
    fn each_api_server_that_is_away_is_one_event() {
        let source = |name: &str, cluster: Option<&str>| {
            let object = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap();
            Part::Source(object.in_cluster(
                cluster.map_or(ClusterRef::Local, |id| ClusterRef::Named(ClusterId::parse(id).unwrap())),
            ))
        };
        let mut state = State::default();
        let mut is_told = |part: Part| {
            let is_recorded = state.is_worth_an_event(&part, Reason::ApiUnreachable);
            let said = Said { message: "test".to_owned(), reason: Some(Reason::ApiUnreachable), is_recorded };
            state.said.insert(part, said);
            is_recorded
        };
        assert!(is_told(source("a", None)));
        assert!(!is_told(source("b", None)));
        assert!(is_told(source("a", Some("hub"))));
        assert!(!is_told(source("b", Some("hub"))));
    }
}

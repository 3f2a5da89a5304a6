//! How it goes, told in one place, so that the log, the metrics and the Events say the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_seconds;
use log::{debug, info, warn};

use crate::events::{Events, What};
use crate::health::{Health, Part, Reason};

/// Told by all threads of the sidecar.
pub(super) struct Report {
    pub(super) health: Arc<Health>,
    events: Events,
    /// How long something must fail until the files are called stale.
    stale_after: Duration,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// What was said of each part since it last worked.
    said: BTreeMap<Part, String>,
    /// Since when the files were said to be stale.
    stale_since: Option<Instant>,
}

impl Report {
    pub(super) fn new(health: Arc<Health>, events: Events, stale_after: Duration) -> Self {
        Self { health, events, stale_after, told: Mutex::default() }
    }

    /// This part failed: each time counts, and what is new is said.
    pub(super) fn fails(&self, part: Part, reason: Reason, message: &str) {
        if self.says(&part, message) {
            self.events.record(What::Failed, message);
        }
        self.health.fails(part, reason);
    }

    /// The bundle could not be rendered or published.
    pub(super) fn not_published(&self, reason: Reason, message: &str) {
        self.fails(Part::Bundle, reason, message);
        self.health.not_published();
    }

    /// This part works in another way than it should: once is enough to say so.
    pub(super) fn makes_do(&self, part: &Part, message: &str) {
        self.says(part, message);
        self.health.works(part);
    }

    /// This part works. Whether anything else had been said of it.
    pub(super) fn works(&self, part: &Part) -> bool {
        self.health.works(part);
        self.told().said.remove(part).is_some()
    }

    /// A bundle was swapped in, so long after the change was noticed.
    pub(super) fn swapped(&self, took: Duration, what: What, message: &str) {
        self.works(&Part::Bundle);
        self.health.swapped(took);
        self.events.record(what, message);
    }

    /// The volume holds the bundle already.
    pub(super) fn unchanged(&self) {
        self.works(&Part::Bundle);
        self.health.unchanged();
    }

    /// Says so when the files have been stale for a while, and when they no longer are. Returns when to look again.
    pub(super) fn tell_staleness(&self) -> Option<Instant> {
        let stale = self.health.stale();
        let mut told = self.told();
        match (stale, told.stale_since) {
            (None, Some(since)) => {
                told.stale_since = None;
                let message = format!("the files are current again; they were not since {}", clock(since));
                info!("{message}");
                self.events.record(What::Current, &message);
            }
            (Some((since, failing)), None) if since.elapsed() >= self.stale_after => {
                told.stale_since = Some(since);
                let failing: Vec<_> = failing.iter().map(ToString::to_string).collect();
                let message = format!(
                    "the files may have been out of date since {}, because of {}",
                    clock(since),
                    failing.join(", ")
                );
                warn!("{message}");
                self.events.record(What::Stale, &message);
            }
            (Some((since, _)), None) => return Some(since + self.stale_after),
            _ => {}
        }
        None
    }

    /// Says what is new aloud, and the rest only to those who want to know all. Returns whether it is new.
    fn says(&self, part: &Part, message: &str) -> bool {
        let mut told = self.told();
        let is_new = told.said.get(part).is_none_or(|said| said != message);
        if is_new {
            warn!("{message}");
            told.said.insert(part.clone(), message.to_owned());
        } else {
            debug!("{message}");
        }
        is_new
    }

    /// A thread that panicked with the lock held cannot have left anything half-made behind.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A moment as the clock on the wall showed it, if it was not set since.
fn clock(moment: Instant) -> humantime::Rfc3339Timestamp {
    format_rfc3339_seconds(SystemTime::now().checked_sub(moment.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH))
}

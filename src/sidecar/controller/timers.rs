//! The only timer queue of the controller: everything that waits for a point in time.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::sidecar::controller::Target;

/// What happens when a timer fires. Each value has at most one timer; setting it again replaces its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Read the annotations or an object.
    Read(Target),
    /// Render and publish.
    Publish,
    /// Notify applications, or exit, after a rotation.
    React,
    /// Remove versions whose grace period has ended.
    Prune,
    /// Report failures that have lasted for `--stale-after`.
    Status,
}

#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<Timer, Instant>);

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0.insert(timer, at);
    }

    pub(crate) fn cancel(&mut self, timer: &Timer) {
        self.0.remove(timer);
    }

    pub(crate) fn at(&self, timer: &Timer) -> Option<Instant> {
        self.0.get(timer).copied()
    }

    /// When the next timer fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = self.0.iter().filter(|(_, at)| **at <= now);
        let timer = due.min_by_key(|(_, at)| **at).map(|(timer, _)| timer.clone())?;
        self.0.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_fire_in_order_of_time_and_once() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut timers = Timers::default();
        timers.set(Timer::Publish, now + 2 * second);
        timers.set(Timer::Prune, now + second);
        timers.set(Timer::Status, now + 3 * second);
        timers.set(Timer::Status, now);
        timers.cancel(&Timer::Prune);
        assert_eq!(timers.next(), Some(now));
        assert_eq!(timers.take_due(now), Some(Timer::Status));
        assert_eq!(timers.take_due(now + second), None);
        assert_eq!(timers.take_due(now + 2 * second), Some(Timer::Publish));
        assert_eq!(timers.next(), None);
    }
}

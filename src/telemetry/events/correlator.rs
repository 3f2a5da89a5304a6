//! Decides which Events become objects, as client-go does: repetitions increase a count, many similar Events are combined, and
//! each reason has a rate limit.
//! Source: <https://github.com/kubernetes/client-go/blob/master/tools/record/events_cache.go>

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crate::kube::TokenBucket;
use crate::telemetry::events::{EventReason, PendingEvent};

/// The rate limit of each reason: Events at once, and the time until one more.
const BURST: u32 = 25;
const INTERVAL: Duration = Duration::from_secs(300);
/// How many different messages of one reason may follow each other within this time; further ones are combined.
const MAX_DIFFERENT: usize = 9;
const SIMILAR_FOR: Duration = Duration::from_secs(600);
/// Maximum number of Events whose repetitions are counted.
const MAX_KNOWN: usize = 64;
/// The prefix of a combined message, as in client-go.
const COMBINED: &str = "(combined from similar events): ";

/// An Event with the number of its repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AggregatedEvent {
    pub(crate) message: String,
    pub(crate) count: u32,
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
}

pub(crate) struct Correlator {
    /// One for each reason, so that many Events of one reason do not suppress another.
    buckets: [TokenBucket; EventReason::COUNT],
    groups: Vec<SimilarEvents>,
    /// By reason and message; a combined Event has no message here. The latest Event is the last.
    known: VecDeque<((EventReason, Option<String>), AggregatedEvent)>,
}

/// The recent messages of one reason.
struct SimilarEvents {
    reason: EventReason,
    messages: BTreeSet<String>,
    last: Instant,
}

impl Correlator {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            buckets: std::array::from_fn(|_| TokenBucket::new(BURST, INTERVAL, now)),
            groups: Vec::new(),
            known: VecDeque::new(),
        }
    }

    /// Returns the Event to record: a new one, or with `counts` a known one with its new count. `None` if the rate limit is
    /// exceeded.
    pub(crate) fn admit(
        &mut self,
        pending: &PendingEvent,
        counts: bool,
        now: Instant,
    ) -> Option<AggregatedEvent> {
        let PendingEvent { reason, message, at, .. } = pending;
        let is_combined = self.is_one_of_many(*reason, message, now);
        let key = (*reason, (!is_combined).then(|| message.clone()));
        let message = if is_combined { format!("{COMBINED}{message}") } else { message.clone() };
        let position = self.known.iter().position(|(known, _)| *known == key);
        let before = position.and_then(|position| self.known.remove(position)).filter(|_| counts);
        let event = match before {
            Some((_, before)) => AggregatedEvent {
                message,
                count: before.count.saturating_add(1),
                first: before.first,
                last: *at,
            },
            None => AggregatedEvent { message, count: 1, first: *at, last: *at },
        };
        if self.known.len() == MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((key, event.clone()));
        self.buckets[*reason as usize].take(now).then_some(event)
    }

    /// Notes the message. Returns whether its reason has had so many different messages recently that this one is combined with
    /// others.
    fn is_one_of_many(&mut self, reason: EventReason, message: &str, now: Instant) -> bool {
        self.groups.retain(|group| now.saturating_duration_since(group.last) <= SIMILAR_FOR);
        let position = self.groups.iter().position(|group| group.reason == reason);
        let position = position.unwrap_or_else(|| {
            self.groups.push(SimilarEvents { reason, messages: BTreeSet::new(), last: now });
            self.groups.len() - 1
        });
        let group = &mut self.groups[position];
        group.last = now;
        if group.messages.contains(message) {
            return false;
        }
        let is_one_of_many = group.messages.len() >= MAX_DIFFERENT;
        if !is_one_of_many {
            group.messages.insert(message.to_owned());
        }
        is_one_of_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(reason: EventReason, message: &str, second: u64) -> PendingEvent {
        PendingEvent {
            until: Instant::now(),
            reason,
            message: message.to_owned(),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        }
    }

    #[test]
    fn a_repetition_increases_the_count_and_keeps_the_first_time() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        let mut admit = |reason, message, second| {
            correlator.admit(&pending(reason, message, second), true, start).unwrap()
        };
        admit(EventReason::Rotated, "db", 1);
        assert_eq!(admit(EventReason::Rotated, "other", 2).count, 1);
        assert_eq!(admit(EventReason::Failed, "db", 3).count, 1);
        let again = admit(EventReason::Rotated, "db", 4);
        let time = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(again, AggregatedEvent { message: "db".into(), count: 2, first: time(1), last: time(4) });
    }

    #[test]
    fn many_different_messages_are_combined_until_a_quiet_period() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        let mut admit = |message: &str, second| {
            let now = start + Duration::from_secs(second);
            correlator.admit(&pending(EventReason::Failed, message, second), true, now).unwrap()
        };
        for number in 0..9 {
            assert_eq!(admit(&number.to_string(), 0).message, number.to_string());
        }
        assert_eq!(admit("10", 600).message, format!("{COMBINED}10"));
        let combined = admit("11", 1200);
        assert_eq!((combined.message, combined.count), (format!("{COMBINED}11"), 2));
        assert_eq!(admit("8", 1200).message, "8");
        assert_eq!(admit("12", 1801).message, "12");
    }

    #[test]
    fn each_reason_is_limited_to_a_burst_and_one_more_in_each_interval() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        let mut taken =
            |after| correlator.admit(&pending(EventReason::Rotated, "db", 0), true, start + after).is_some();
        assert_eq!((0..100).filter(|_| taken(Duration::ZERO)).count(), 25);
        assert_eq!([taken(INTERVAL), taken(INTERVAL)], [true, false]);
    }

    #[test]
    fn the_number_of_known_events_is_bounded() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        for number in 0..1000 {
            let now = start + SIMILAR_FOR * 2 * number;
            correlator.admit(&pending(EventReason::Rotated, &number.to_string(), 0), true, now);
        }
        assert_eq!(correlator.known.len(), MAX_KNOWN);
        assert_eq!(correlator.groups.len(), 1);
        let again =
            correlator.admit(&pending(EventReason::Rotated, "999", 0), true, start + SIMILAR_FOR * 4000);
        assert_eq!(again.map(|event| event.count), Some(2));
    }

    #[test]
    fn without_counting_each_repetition_is_a_new_event() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        for second in 1..3 {
            let event = correlator.admit(&pending(EventReason::Rotated, "db", second), false, start).unwrap();
            assert_eq!((event.count, event.first), (1, event.last));
        }
    }
}

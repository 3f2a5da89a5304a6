//! Which Events become objects, as client-go decides it: what happens again is counted, many that are alike are combined,
//! and there are never more than a few in a while.
//! Source: <https://github.com/kubernetes/client-go/blob/master/tools/record/events_cache.go>

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use crate::kube::TokenBucket;
use crate::telemetry::events::{Happening, What};

/// How many Events there may be at once, and how often one more.
const BURST: u32 = 25;
const INTERVAL: Duration = Duration::from_secs(300);
/// How many of one kind may say something different within this time; others are combined.
const DIFFERENT: usize = 9;
const SIMILAR_FOR: Duration = Duration::from_secs(600);
/// How many are remembered, to be counted.
const REMEMBERED: usize = 64;
/// What stands before the message of those that are combined.
const COMBINED: &str = "(combined from similar events): ";

/// An Event that is there, or shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) message: String,
    pub(crate) count: u32,
    pub(crate) first: SystemTime,
    pub(crate) last: SystemTime,
}

/// What was recorded lately.
pub(crate) struct Correlator {
    /// One for each kind, so that many of one do not keep out another.
    buckets: [TokenBucket; What::COUNT],
    groups: Vec<Group>,
    /// By what it is, and by its message unless it is a combined one; the latest at the end.
    remembered: VecDeque<((What, Option<String>), Known)>,
}

/// What was said of one kind.
struct Group {
    what: What,
    messages: BTreeSet<String>,
    last: Instant,
}

impl Correlator {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            buckets: std::array::from_fn(|_| TokenBucket::new(BURST, INTERVAL, now)),
            groups: Vec::new(),
            remembered: VecDeque::new(),
        }
    }

    /// The Event for this: a new one, or with `counts` one that is there with its new count. None if there are too many.
    pub(crate) fn take(&mut self, happening: &Happening, counts: bool, now: Instant) -> Option<Known> {
        let Happening { what, message, at, .. } = happening;
        let is_combined = self.is_one_of_many(*what, message, now);
        let key = (*what, (!is_combined).then(|| message.clone()));
        let message = if is_combined { format!("{COMBINED}{message}") } else { message.clone() };
        let position = self.remembered.iter().position(|(known, _)| *known == key);
        let before = position.and_then(|position| self.remembered.remove(position)).filter(|_| counts);
        let known = match before {
            Some((_, before)) => {
                Known { message, count: before.count.saturating_add(1), first: before.first, last: *at }
            }
            None => Known { message, count: 1, first: *at, last: *at },
        };
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, known.clone()));
        self.buckets[*what as usize].take(now).then_some(known)
    }

    /// Whether this kind has said so many different things lately that one more is combined with others.
    fn is_one_of_many(&mut self, what: What, message: &str, now: Instant) -> bool {
        self.groups.retain(|group| now.saturating_duration_since(group.last) <= SIMILAR_FOR);
        let position = self.groups.iter().position(|group| group.what == what);
        let position = position.unwrap_or_else(|| {
            self.groups.push(Group { what, messages: BTreeSet::new(), last: now });
            self.groups.len() - 1
        });
        let group = &mut self.groups[position];
        group.last = now;
        if group.messages.contains(message) {
            return false;
        }
        let is_one_of_many = group.messages.len() >= DIFFERENT;
        if !is_one_of_many {
            group.messages.insert(message.to_owned());
        }
        is_one_of_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(what: What, message: &str, second: u64) -> Happening {
        Happening {
            until: Instant::now(),
            what,
            message: message.to_owned(),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        }
    }

    #[test]
    fn what_happens_again_is_counted_from_its_first_time() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        let mut take =
            |what, message, second| correlator.take(&happening(what, message, second), true, start).unwrap();
        take(What::Rotated, "db", 1);
        assert_eq!(take(What::Rotated, "other", 2).count, 1);
        assert_eq!(take(What::Failed, "db", 3).count, 1);
        let again = take(What::Rotated, "db", 4);
        let time = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(again, Known { message: "db".into(), count: 2, first: time(1), last: time(4) });
    }

    #[test]
    fn many_that_say_different_things_are_combined_until_it_was_quiet_for_a_while() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        let mut take = |message: &str, second| {
            let now = start + Duration::from_secs(second);
            correlator.take(&happening(What::Failed, message, second), true, now).unwrap()
        };
        for number in 0..9 {
            assert_eq!(take(&number.to_string(), 0).message, number.to_string());
        }
        assert_eq!(take("10", 600).message, format!("{COMBINED}10"));
        let combined = take("11", 1200);
        assert_eq!((combined.message, combined.count), (format!("{COMBINED}11"), 2));
        assert_eq!(take("8", 1200).message, "8");
        assert_eq!(take("12", 1801).message, "12");
    }

    #[test]
    fn there_are_never_more_than_a_burst_and_one_in_an_interval() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        let mut taken =
            |after| correlator.take(&happening(What::Rotated, "db", 0), true, start + after).is_some();
        assert_eq!((0..100).filter(|_| taken(Duration::ZERO)).count(), 25);
        assert_eq!([taken(INTERVAL), taken(INTERVAL)], [true, false]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        for number in 0..1000 {
            let now = start + SIMILAR_FOR * 2 * number;
            correlator.take(&happening(What::Rotated, &number.to_string(), 0), true, now);
        }
        assert_eq!(correlator.remembered.len(), REMEMBERED);
        assert_eq!(correlator.groups.len(), 1);
        let again = correlator.take(&happening(What::Rotated, "999", 0), true, start + SIMILAR_FOR * 4000);
        assert_eq!(again.map(|known| known.count), Some(2));
    }

    #[test]
    fn where_nothing_may_be_counted_each_is_a_new_one() {
        let start = Instant::now();
        let mut correlator = Correlator::new(start);
        for second in 1..3 {
            let known = correlator.take(&happening(What::Rotated, "db", second), false, start).unwrap();
            assert_eq!((known.count, known.first), (1, known.last));
        }
    }
}

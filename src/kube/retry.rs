//! How long to go on, and how long to wait in between: exponential back-off with full jitter, never less than the API
//! server asked for, never beyond the deadline.
//! Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>

use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use crate::backoff::Backoff;
use crate::kube::error::Error;
use crate::log_object::log_object;

/// The most that is waited after any failure, unless the server asks for more.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// The longest time that can be waited for: beyond all that a clock can add up.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The most that is kept back of the whole time for a last attempt, and its share of a shorter one.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);
const LAST_ATTEMPT_SHARE: u32 = 10;

/// The moment at which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    whole: Duration,
}

impl Deadline {
    /// This long from now.
    pub fn after(duration: Duration) -> Self {
        Self { started: Instant::now(), whole: duration.min(FOREVER) }
    }

    /// How long it has been waited.
    pub(crate) fn waited(self) -> Duration {
        self.started.elapsed()
    }

    /// How long is left; zero when it is over.
    pub(crate) fn remaining(self) -> Duration {
        self.whole.saturating_sub(self.waited())
    }

    /// How long to wait before the next attempt, so that the last one still has some time; none if no other fits.
    fn fit(self, jitter: Duration, asked: Option<Duration>) -> Option<Duration> {
        let last = LAST_ATTEMPT.min(self.whole / LAST_ATTEMPT_SHARE);
        let most = self.remaining().checked_sub(last).filter(|most| !most.is_zero())?;
        match asked {
            Some(asked) if asked > most => None,
            Some(asked) => Some(asked.max(jitter).min(most)),
            None => Some(jitter.min(most)),
        }
    }
}

/// Asks for every item until each has an answer. Those that failed are tried again together, round by round, until all
/// have succeeded, one has failed for good, or no other round fits before the deadline. Answers come in the order of the
/// items. `gives_up` says for which errors there is no other round: [`Error::is_final`], or more.
///
/// # Errors
/// The last error of every item that has none.
pub(crate) fn until_settled<K, V>(
    items: impl IntoIterator<Item = K>,
    deadline: Deadline,
    gives_up: fn(&Error) -> bool,
    mut ask: impl FnMut(&K) -> Result<V, Error>,
) -> Result<Vec<(K, V)>, Vec<Error>> {
    let mut slots: Vec<Slot<K, V>> = items.into_iter().map(|item| Slot::new(item)).collect();
    let mut backoff = Backoff::up_to(LONGEST_DELAY);
    loop {
        for slot in &mut slots {
            if matches!(slot.answer, Some(Ok(_))) {
                continue;
            }
            match ask(&slot.item) {
                // A reason that was given is worth more than that there was no time to give one.
                Err(error) if error.is_out_of_time() && slot.answer.is_some() => {}
                answer => slot.answer = Some(answer),
            }
        }
        let errors = || slots.iter().filter_map(|slot| slot.answer.as_ref()?.as_ref().err());
        if errors().next().is_none() {
            break;
        }
        let delay = deadline.fit(backoff.delay(), errors().filter_map(Error::retry_after).max());
        let Some(delay) = delay.filter(|_| !errors().any(gives_up)) else {
            return Err(slots.into_iter().filter_map(|slot| slot.answer?.err()).collect());
        };
        for slot in &mut slots {
            slot.log(delay, deadline);
        }
        thread::sleep(delay);
    }
    Ok(slots.into_iter().filter_map(|slot| Some((slot.item, slot.answer?.ok()?))).collect())
}

/// An item and what came of it last.
struct Slot<K, V> {
    item: K,
    answer: Option<Result<V, Error>>,
    logged: String,
}

impl<K, V> Slot<K, V> {
    fn new(item: K) -> Self {
        Self { item, answer: None, logged: String::new() }
    }

    /// Says why it is asked for again: aloud where the reason is a new one.
    fn log(&mut self, delay: Duration, deadline: Deadline) {
        let Some(Err(error)) = &self.answer else { return };
        let (delay, left, reason) =
            (delay.as_secs_f64(), deadline.remaining().as_secs_f64(), error.to_string());
        if reason == self.logged {
            log_object!(
                Level::Debug,
                error.object(),
                "{}: no change; trying again in {delay:.1} s",
                error.object()
            );
        } else {
            log_object!(
                Level::Warn,
                error.object(),
                "{reason}; trying again, in {delay:.1} s for the first time and for {left:.0} s at most"
            );
            self.logged = reason;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::server::Server;
    use crate::kube::error::Cause;
    use crate::object::{Kind, Namespace, ObjectRef};

    fn error(cause: Cause) -> Error {
        let namespace = Namespace::parse("prod").unwrap();
        Error::new(&ObjectRef::new(Kind::Secret, namespace, "db").unwrap(), cause)
    }

    fn busy(retry_after: Option<Duration>) -> Error {
        error(Cause::Busy { status: 429, message: String::new(), retry_after })
    }

    #[test]
    fn only_what_failed_is_asked_again() {
        let mut asked = Vec::new();
        let answers = until_settled(
            ["a", "b", "c"],
            Deadline::after(Duration::from_secs(20)),
            Error::is_final,
            |item| {
                asked.push(*item);
                if *item == "b" && asked.len() < 5 { Err(busy(None)) } else { Ok(asked.len()) }
            },
        );
        assert_eq!(answers.unwrap(), [("a", 1), ("b", 5), ("c", 3)]);
        assert_eq!(asked, ["a", "b", "c", "b", "b"]);
    }

    #[test]
    fn a_final_error_ends_it_after_its_round_and_all_errors_are_returned() {
        let mut asked = 0;
        let errors =
            until_settled(["a", "b"], Deadline::after(Duration::from_secs(20)), Error::is_final, |item| {
                asked += 1;
                let last = Cause::Refused { status: 400, message: String::new() };
                Err::<(), _>(if *item == "a" { error(last) } else { busy(None) })
            });
        assert_eq!((errors.unwrap_err().len(), asked), (2, 2));
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_not_begun() {
        let asked = Some(Duration::from_secs(3600));
        let errors = until_settled(["a"], Deadline::after(Duration::from_secs(20)), Error::is_final, |_| {
            Err::<(), _>(busy(asked))
        });
        assert_eq!(errors.unwrap_err().len(), 1);
    }

    #[test]
    fn a_reason_that_was_given_is_kept_when_the_time_is_up() {
        let mut asked = 0;
        let errors =
            until_settled(["a", "b"], Deadline::after(Duration::from_millis(100)), Error::is_final, |_| {
                asked += 1;
                let server = Server::parse("10.0.0.1", "443").unwrap();
                Err::<(), _>(if asked > 2 { error(Cause::OutOfTime { server }) } else { busy(None) })
            });
        assert!(
            asked > 2 && errors.unwrap_err().iter().all(|error| matches!(error.cause, Cause::Busy { .. }))
        );
    }

    #[test]
    fn delays_leave_time_for_a_last_attempt() {
        let seconds = Duration::from_secs;
        let minute = Deadline::after(seconds(60));
        assert_eq!(minute.fit(seconds(3), None), Some(seconds(3)));
        assert_eq!(minute.fit(seconds(3), Some(seconds(9))), Some(seconds(9)));
        assert!(
            minute.fit(seconds(100), None).is_some_and(|delay| (seconds(58)..=seconds(59)).contains(&delay))
        );
        assert_eq!(minute.fit(seconds(3), Some(seconds(100))), None);
        assert_eq!(Deadline::after(Duration::ZERO).fit(Duration::ZERO, None), None);
        assert!(Deadline::after(Duration::MAX).remaining() > seconds(1_000_000));
    }
}

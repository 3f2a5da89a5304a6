//! How long to go on, and how long to wait in between: exponential back-off with full jitter, never less than the API
//! server asked for, never beyond the deadline.
//! Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>

use std::thread;
use std::time::{Duration, Instant};

use log::warn;

use crate::kube::error::Error;

/// The most that is waited after the first failure; doubles with each.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The most that is waited after any failure, unless the server asks for more.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// The moment at which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// This long from now.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        Self { at: now.checked_add(duration).unwrap_or(now) }
    }

    /// How long is left; zero when it is over.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// Asks for every item until each has an answer. Those that failed are tried again together, round by round, until all
/// have succeeded, one has failed for good, or the next round would begin after the deadline. Answers come in the order
/// of the items.
///
/// # Errors
/// The last error of every item that has none.
pub fn until_settled<K, V>(
    items: impl IntoIterator<Item = K>,
    deadline: Deadline,
    mut ask: impl FnMut(&K) -> Result<V, Error>,
) -> Result<Vec<(K, V)>, Vec<Error>> {
    let mut slots: Vec<(K, Option<V>)> = items.into_iter().map(|item| (item, None)).collect();
    for round in 0.. {
        let mut errors = Vec::new();
        for (item, answer) in slots.iter_mut().filter(|(_, answer)| answer.is_none()) {
            match ask(item) {
                Ok(value) => *answer = Some(value),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            break;
        }
        let delay = delay(round, &errors);
        if errors.iter().any(Error::is_final) || delay >= deadline.remaining() {
            return Err(errors);
        }
        for error in &errors {
            let left = deadline.remaining().as_secs();
            warn!("{error}; trying again in {} ms, for {left} s more", delay.as_millis());
        }
        thread::sleep(delay);
    }
    Ok(slots.into_iter().filter_map(|(item, answer)| Some((item, answer?))).collect())
}

fn delay(round: u32, errors: &[Error]) -> Duration {
    let jitter = longest_delay(round).mul_f64(fastrand::f64());
    errors.iter().filter_map(Error::retry_after).max().map_or(jitter, |asked| asked.max(jitter))
}

fn longest_delay(round: u32) -> Duration {
    FIRST_DELAY.saturating_mul(2_u32.saturating_pow(round)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let answers = until_settled(["a", "b", "c"], Deadline::after(Duration::from_secs(20)), |item| {
            asked.push(*item);
            if *item == "b" && asked.len() < 5 { Err(busy(None)) } else { Ok(asked.len()) }
        });
        assert_eq!(answers.unwrap(), [("a", 1), ("b", 5), ("c", 3)]);
        assert_eq!(asked, ["a", "b", "c", "b", "b"]);
    }

    #[test]
    fn a_final_error_ends_it_after_its_round_and_all_errors_are_returned() {
        let mut asked = 0;
        let errors = until_settled(["a", "b"], Deadline::after(Duration::from_secs(20)), |item| {
            asked += 1;
            let last = Cause::Refused { status: 400, message: String::new() };
            Err::<(), _>(if *item == "a" { error(last) } else { busy(None) })
        });
        assert_eq!((errors.unwrap_err().len(), asked), (2, 2));
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_not_begun() {
        let asked = Some(Duration::from_secs(3600));
        let errors =
            until_settled(["a"], Deadline::after(Duration::from_secs(20)), |_| Err::<(), _>(busy(asked)));
        assert_eq!(errors.unwrap_err().len(), 1);
    }

    #[test]
    fn delays_grow_to_a_bound_and_are_never_shorter_than_asked() {
        let longest: Vec<_> =
            [0, 1, 5, 6, 7, 40, u32::MAX].map(|round| longest_delay(round).as_millis()).into();
        assert_eq!(longest, [100, 200, 3200, 6400, 8000, 8000, 8000]);
        for round in 0..20 {
            assert!(delay(round, &[busy(None)]) <= longest_delay(round));
            assert!(delay(round, &[busy(Some(Duration::from_secs(2)))]) >= Duration::from_secs(2));
        }
        let drawn: Vec<_> = (0..8).map(|_| delay(7, &[busy(None)])).collect();
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "no jitter: {drawn:?}");
    }
}

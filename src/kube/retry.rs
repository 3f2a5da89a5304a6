//! When requests are sent. Deadlines and retries: exponential back-off with full jitter, never shorter than the API server's
//! `Retry-After` and never past the deadline. The client-side rate limit: a token bucket, as in client-go.
//! Sources: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>,
//! <https://pkg.go.dev/k8s.io/client-go/rest#Config>, `QPS` and `Burst`.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use log::{Level, debug};

use crate::kube::error::{Cause, Error};
use crate::kube::log_object;
use crate::text::ShortDuration;
use crate::thread::lock;

/// The upper bound of the delay after a first failure; it doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay between two rounds, unless the API server asks for a longer one.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// The longest deadline. Beyond it, adding to a clock could overflow.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The time that is reserved for the last attempt: one second, or a tenth of the deadline if that is shorter.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);
const LAST_ATTEMPT_SHARE: u32 = 10;

/// The delays between attempts: exponential back-off with full jitter.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    /// Delays that grow up to `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// Counts a failure and returns the delay before the next attempt: a random part of a bound that doubles each time.
    pub(crate) fn delay(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }

    /// Starts again with the shortest delay, after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn bound(&self) -> Duration {
        FIRST_DELAY.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.longest)
    }
}

/// A point in time after which nothing is attempted any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    duration: Duration,
}

impl Deadline {
    /// The deadline `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self { started: Instant::now(), duration: duration.min(FOREVER) }
    }

    /// The time since the deadline was set.
    pub(crate) fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// The time left; zero once the deadline has passed.
    pub(crate) fn remaining(self) -> Duration {
        self.duration.saturating_sub(self.elapsed())
    }

    /// The delay before the next attempt, capped so that a final attempt still fits before the deadline. `None` means that no
    /// further attempt fits, or that the server asks for a longer delay (`retry_after`) than fits.
    fn next_delay(self, jitter: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        let last_attempt = LAST_ATTEMPT.min(self.duration / LAST_ATTEMPT_SHARE);
        let longest = self.remaining().checked_sub(last_attempt).filter(|longest| !longest.is_zero())?;
        match retry_after {
            Some(retry_after) if retry_after > longest => None,
            Some(retry_after) => Some(retry_after.max(jitter).min(longest)),
            None => Some(jitter.min(longest)),
        }
    }
}

/// Calls `attempt` for every item until all have succeeded. Items that failed are retried together, in rounds, until `gives_up`
/// is true for an error ([`Error::is_final`] or [`Error::is_actionable`]) or no further round fits before the deadline. Results
/// come in the order of the items.
///
/// # Errors
/// The last error of every item that did not succeed.
pub(crate) fn retry_until_done<K, V>(
    items: impl IntoIterator<Item = K>,
    deadline: Deadline,
    gives_up: fn(&Error) -> bool,
    mut attempt: impl FnMut(&K) -> Result<V, Error>,
) -> Result<Vec<(K, V)>, Vec<Error>> {
    let mut pending: Vec<Pending<K, V>> = items.into_iter().map(|item| Pending::new(item)).collect();
    let mut backoff = Backoff::up_to(LONGEST_DELAY);
    loop {
        for entry in &mut pending {
            if matches!(entry.result, Some(Ok(_))) {
                continue;
            }
            match attempt(&entry.item) {
                // Only the clock ended this attempt. The error of an earlier one says more about what is wrong.
                Err(Error { cause: Cause::DeadlineExceeded { .. }, .. }) if entry.result.is_some() => {}
                result => entry.result = Some(result),
            }
        }
        let errors = || pending.iter().filter_map(|entry| entry.result.as_ref()?.as_ref().err());
        if errors().next().is_none() {
            break;
        }
        let delay = deadline.next_delay(backoff.delay(), errors().filter_map(Error::retry_after).max());
        let Some(delay) = delay.filter(|_| !errors().any(gives_up)) else {
            return Err(pending.into_iter().filter_map(|entry| entry.result?.err()).collect());
        };
        for entry in &mut pending {
            entry.log_retry(delay, deadline);
        }
        thread::sleep(delay);
    }
    Ok(pending.into_iter().filter_map(|entry| Some((entry.item, entry.result?.ok()?))).collect())
}

/// An item and the result of its last attempt; `None` before the first.
struct Pending<K, V> {
    item: K,
    result: Option<Result<V, Error>>,
    /// The message of the last warning, which is not repeated.
    warned: String,
}

impl<K, V> Pending<K, V> {
    fn new(item: K) -> Self {
        Self { item, result: None, warned: String::new() }
    }

    /// Logs why the item is retried: as a warning if the reason is a new one.
    fn log_retry(&mut self, delay: Duration, deadline: Deadline) {
        let Some(Err(error)) = &self.result else { return };
        let message = error.to_string();
        let (delay, left) = (ShortDuration(delay), ShortDuration(deadline.remaining()));
        if message == self.warned {
            log_object!(
                Level::Debug,
                error.object(),
                "{}: still failing; retrying in {delay}",
                error.object()
            );
        } else {
            log_object!(Level::Warn, error.object(), "{message}; retrying in {delay}, for up to {left}");
            self.warned = message;
        }
    }
}

/// A client-side limit on requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests per second in the long run; more than zero.
    pub qps: f64,
    /// How many requests may be sent at once; at least one.
    pub burst: u32,
}

/// Applies [`Limits`] to the requests of all threads of a client. `None` means no limit.
#[derive(Debug)]
pub(crate) struct RateLimiter(Option<Mutex<TokenBucket>>);

impl RateLimiter {
    pub(crate) fn new(limits: Option<Limits>) -> Self {
        Self(limits.map(|Limits { qps, burst }| {
            Mutex::new(TokenBucket::new(burst.max(1), Duration::from_secs_f64(1.0 / qps), Instant::now()))
        }))
    }

    /// Blocks until the limit admits this request, first come first served.
    ///
    /// # Errors
    /// The delay that the limit asks for, if it is longer than `longest`. The request then takes no place in the queue.
    pub(crate) fn wait(&self, longest: Duration) -> Result<(), Duration> {
        let Some(bucket) = &self.0 else { return Ok(()) };
        // A thread that panics while it holds the lock leaves a bucket that is still valid.
        let delay = lock(bucket).reserve(Instant::now(), longest)?;
        if !delay.is_zero() {
            debug!("waiting {} ms for the client-side rate limit", delay.as_millis());
            thread::sleep(delay);
        }
        Ok(())
    }
}

/// A token bucket: holds at most `burst` tokens and gains one per `interval`. The caller passes the time in, so that tests need no
/// clock.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    burst: f64,
    interval: Duration,
    /// Below zero while reserved tokens have not been gained yet.
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// Creates a full bucket.
    pub(crate) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst: burst.into(), interval, tokens: burst.into(), filled: now }
    }

    /// Takes a token, if the bucket holds a whole one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.reserve(now, Duration::ZERO).is_ok()
    }

    /// Takes a token and returns how long the caller must wait for it. Reservations queue up: each gets the next token to be gained.
    ///
    /// # Errors
    /// The wait, if it is longer than `longest`; no token is taken then.
    pub(crate) fn reserve(&mut self, now: Instant, longest: Duration) -> Result<Duration, Duration> {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() / self.interval.as_secs_f64();
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        let missing = (1.0 - self.tokens).max(0.0);
        let wait =
            Duration::try_from_secs_f64(missing * self.interval.as_secs_f64()).unwrap_or(Duration::MAX);
        if wait > longest {
            return Err(wait);
        }
        self.tokens -= 1.0;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::Server;
    use crate::object::{Kind, Namespace, ObjectRef};

    fn error(cause: Cause) -> Error {
        let namespace = Namespace::parse("prod").unwrap();
        Error::new(&ObjectRef::new(Kind::Secret, namespace, "db").unwrap(), cause)
    }

    fn unavailable(retry_after: Option<Duration>) -> Error {
        error(Cause::Unavailable { status: 429, message: String::new(), retry_after })
    }

    #[test]
    fn delays_double_up_to_a_bound_and_are_jittered() {
        let after = |failures| Backoff { failures, longest: Duration::from_secs(8) };
        let bounds: Vec<_> =
            [0, 1, 5, 6, 7, 40, u32::MAX].map(|failures| after(failures).bound().as_millis()).into();
        assert_eq!(bounds, [100, 200, 3200, 6400, 8000, 8000, 8000]);
        let mut backoff = after(7);
        let delays: Vec<_> = (0..8).map(|_| backoff.delay()).collect();
        assert!(delays.windows(2).any(|pair| pair[0] != pair[1]), "no jitter: {delays:?}");
        assert_eq!(backoff.failures, 15);
        backoff.reset();
        assert!(backoff.delay() <= FIRST_DELAY);
    }

    #[test]
    fn only_items_that_failed_are_retried() {
        let mut attempted = Vec::new();
        let results = retry_until_done(
            ["a", "b", "c"],
            Deadline::after(Duration::from_secs(20)),
            Error::is_final,
            |item| {
                attempted.push(*item);
                if *item == "b" && attempted.len() < 5 { Err(unavailable(None)) } else { Ok(attempted.len()) }
            },
        );
        assert_eq!(results.unwrap(), [("a", 1), ("b", 5), ("c", 3)]);
        assert_eq!(attempted, ["a", "b", "c", "b", "b"]);
    }

    #[test]
    fn a_final_error_ends_the_retries_after_its_round_and_all_errors_are_returned() {
        let mut attempts = 0;
        let errors =
            retry_until_done(["a", "b"], Deadline::after(Duration::from_secs(20)), Error::is_final, |item| {
                attempts += 1;
                let refused = Cause::Refused { status: 400, message: String::new() };
                Err::<(), _>(if *item == "a" { error(refused) } else { unavailable(None) })
            });
        assert_eq!((errors.unwrap_err().len(), attempts), (2, 2));
    }

    #[test]
    fn a_retry_after_beyond_the_deadline_is_not_waited_for() {
        let retry_after = Some(Duration::from_secs(3600));
        let deadline = Deadline::after(Duration::from_secs(20));
        let errors =
            retry_until_done(["a"], deadline, Error::is_final, |_| Err::<(), _>(unavailable(retry_after)));
        assert_eq!(errors.unwrap_err().len(), 1);
    }

    #[test]
    fn the_error_of_an_earlier_attempt_outlives_an_exceeded_deadline() {
        let mut attempts = 0;
        let deadline = Deadline::after(Duration::from_millis(100));
        let errors = retry_until_done(["a", "b"], deadline, Error::is_final, |_| {
            attempts += 1;
            let server = Server::parse("10.0.0.1", "443").unwrap();
            Err::<(), _>(if attempts > 2 {
                error(Cause::DeadlineExceeded { server })
            } else {
                unavailable(None)
            })
        });
        let is_unavailable = |error: &Error| matches!(error.cause, Cause::Unavailable { .. });
        assert!(attempts > 2 && errors.unwrap_err().iter().all(is_unavailable));
    }

    #[test]
    fn delays_leave_time_for_a_last_attempt() {
        let seconds = Duration::from_secs;
        let minute = Deadline::after(seconds(60));
        assert_eq!(minute.next_delay(seconds(3), None), Some(seconds(3)));
        assert_eq!(minute.next_delay(seconds(3), Some(seconds(9))), Some(seconds(9)));
        let longest = minute.next_delay(seconds(100), None);
        assert!(longest.is_some_and(|delay| (seconds(58)..=seconds(59)).contains(&delay)));
        assert_eq!(minute.next_delay(seconds(3), Some(seconds(100))), None);
        assert_eq!(Deadline::after(Duration::ZERO).next_delay(Duration::ZERO, None), None);
        assert!(Deadline::after(Duration::MAX).remaining() > seconds(1_000_000));
    }
}

#[cfg(test)]
mod rate_limit_tests {
    use super::*;

    #[test]
    fn a_bucket_allows_a_burst_and_then_one_token_per_interval() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, Duration::from_secs(10), start);
        let mut taken = |seconds| bucket.take(start + Duration::from_secs(seconds));
        assert_eq!([taken(0), taken(0), taken(0), taken(0)], [true, true, true, false]);
        assert_eq!([taken(9), taken(10), taken(10), taken(19), taken(20)], [false, true, false, false, true]);
        // It never holds more than the burst.
        assert_eq!([taken(999), taken(999), taken(999), taken(999)], [true, true, true, false]);
    }

    #[test]
    fn reservations_queue_up_and_one_that_waits_too_long_takes_no_token() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut bucket = TokenBucket::new(2, seconds(10), start);
        let mut reserve = |after, longest| bucket.reserve(start + seconds(after), seconds(longest));
        assert_eq!([reserve(0, 0), reserve(0, 0)], [Ok(seconds(0)), Ok(seconds(0))]);
        assert_eq!([reserve(0, 60), reserve(0, 60)], [Ok(seconds(10)), Ok(seconds(20))]);
        assert_eq!([reserve(0, 5), reserve(5, 60)], [Err(seconds(30)), Ok(seconds(25))]);
        assert_eq!(reserve(1000, 0), Ok(seconds(0)));
    }
}

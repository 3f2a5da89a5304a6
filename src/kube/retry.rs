//! When requests are sent. Deadlines and delays: exponential back-off with full jitter, never shorter than the API server's
//! `Retry-After` and never past the deadline. The client-side rate limit: a token bucket, as in client-go.
//! Sources: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>,
//! <https://pkg.go.dev/k8s.io/client-go/rest#Config>, `QPS` and `Burst`.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use log::debug;

use crate::thread::lock;

/// The upper bound of the delay after a first failure; it doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest deadline. Beyond it, adding to a clock could overflow.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The time that is reserved for the last attempt: one second, or a tenth of the deadline if that is shorter.
const LAST_ATTEMPT: Duration = Duration::from_secs(1);
const LAST_ATTEMPT_SHARE: u32 = 10;

/// The delays between attempts: exponential back-off with full jitter.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Delays that grow up to `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self::new(FIRST_DELAY, longest)
    }

    /// Delays that grow from `first` up to `longest`: the bounds of a random delay.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { failures: 0, first, longest }
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
        self.first.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.longest)
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
    pub(crate) fn next_delay(self, jitter: Duration, retry_after: Option<Duration>) -> Option<Duration> {
        let last_attempt = LAST_ATTEMPT.min(self.duration / LAST_ATTEMPT_SHARE);
        let longest = self.remaining().checked_sub(last_attempt).filter(|longest| !longest.is_zero())?;
        match retry_after {
            Some(retry_after) if retry_after > longest => None,
            Some(retry_after) => Some(retry_after.max(jitter).min(longest)),
            None => Some(jitter.min(longest)),
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

    #[test]
    fn delays_double_up_to_a_bound_and_are_jittered() {
        let after = |failures| Backoff { failures, ..Backoff::up_to(Duration::from_secs(8)) };
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

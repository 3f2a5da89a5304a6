//! Rates: a token bucket, and the client-side limit on requests to one API server that is made of it, as in client-go. The server's
//! own wishes (`Retry-After`) are left to `retry` and to the sidecar.
//! Source: <https://pkg.go.dev/k8s.io/client-go/rest#Config>, `QPS` and `Burst`.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::thread::lock;

use log::debug;

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

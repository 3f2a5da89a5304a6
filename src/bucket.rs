//! A bound on how often something is done: a bucket of tokens that fills up again at an even pace.

use std::time::{Duration, Instant};

/// Holds at most `burst` tokens, and gains one in each `interval`. Whatever takes time from elsewhere stays testable.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: f64,
    interval: Duration,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst: burst.into(), interval, tokens: burst.into(), filled: now }
    }

    /// Takes a token, if there is a whole one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.reserve(now, Duration::ZERO).is_ok()
    }

    /// Takes a token that may still have to be gained, and says how long that takes. Tokens that were taken so are gained
    /// one after the other.
    ///
    /// # Errors
    /// How long it would take, if that is more than `most`; then none is taken.
    pub(crate) fn reserve(&mut self, now: Instant, most: Duration) -> Result<Duration, Duration> {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() / self.interval.as_secs_f64();
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        let missing = (1.0 - self.tokens).max(0.0);
        let wait =
            Duration::try_from_secs_f64(missing * self.interval.as_secs_f64()).unwrap_or(Duration::MAX);
        if wait > most {
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
    fn it_gives_a_burst_and_then_one_in_each_interval() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, Duration::from_secs(10), start);
        let mut taken = |seconds| bucket.take(start + Duration::from_secs(seconds));
        assert_eq!([taken(0), taken(0), taken(0), taken(0)], [true, true, true, false]);
        assert_eq!([taken(9), taken(10), taken(10), taken(19), taken(20)], [false, true, false, false, true]);
        // It never holds more than the burst.
        assert_eq!([taken(999), taken(999), taken(999), taken(999)], [true, true, true, false]);
    }

    #[test]
    fn what_is_reserved_comes_one_after_the_other_and_what_would_take_too_long_is_not_taken() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut bucket = Bucket::new(2, seconds(10), start);
        let mut reserve = |after, most| bucket.reserve(start + seconds(after), seconds(most));
        assert_eq!([reserve(0, 0), reserve(0, 0)], [Ok(seconds(0)), Ok(seconds(0))]);
        assert_eq!([reserve(0, 60), reserve(0, 60)], [Ok(seconds(10)), Ok(seconds(20))]);
        assert_eq!([reserve(0, 5), reserve(5, 60)], [Err(seconds(30)), Ok(seconds(25))]);
        assert_eq!(reserve(1000, 0), Ok(seconds(0)));
    }
}

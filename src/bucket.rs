//! A bound on how often something is done: a bucket of tokens that fills up again at an even pace.

use std::time::{Duration, Instant};

/// Holds at most `burst` tokens, and gains one in each `interval`. Whatever takes time from elsewhere stays testable.
#[derive(Debug)]
pub struct Bucket {
    burst: f64,
    interval: Duration,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst: burst.into(), interval, tokens: burst.into(), filled: now }
    }

    /// Takes a token, if there is a whole one.
    pub fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() / self.interval.as_secs_f64();
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled = now;
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
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
}

//! How long to wait between attempts at something that fails: exponential back-off with full jitter.
//! Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>

use std::time::Duration;

/// The most that is waited after the first failure; doubles with each.
pub(crate) const FIRST_DELAY: Duration = Duration::from_millis(100);

/// How long to wait after each failure in a row.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    /// Waits that grow up to `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// How long to wait after one more failure, drawn evenly from nothing to a bound that doubles each time.
    pub(crate) fn delay(&mut self) -> Duration {
        let most = self.most();
        self.failures = self.failures.saturating_add(1);
        most.mul_f64(fastrand::f64())
    }

    /// It worked: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    fn most(&self) -> Duration {
        FIRST_DELAY.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_are_drawn() {
        let after = |failures| Backoff { failures, longest: Duration::from_secs(8) };
        let most: Vec<_> =
            [0, 1, 5, 6, 7, 40, u32::MAX].map(|failures| after(failures).most().as_millis()).into();
        assert_eq!(most, [100, 200, 3200, 6400, 8000, 8000, 8000]);
        let mut backoff = after(7);
        let drawn: Vec<_> = (0..8).map(|_| backoff.delay()).collect();
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "no jitter: {drawn:?}");
        assert_eq!(backoff.failures, 15);
        backoff.reset();
        assert!(backoff.delay() <= FIRST_DELAY);
    }
}

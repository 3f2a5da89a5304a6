//! When to try an operation next.

use std::time::{Duration, Instant};

use crate::kube::Backoff;

/// Maximum delay between attempts at a failing operation.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(30);
/// Maximum delay that an API server can demand with Retry-After.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

pub(crate) struct RetryTimer {
    /// `None` while no attempt is scheduled.
    pub(crate) at: Option<Instant>,
    /// The end of the delay that the API server demanded.
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl RetryTimer {
    /// A timer that is due.
    pub(crate) fn due() -> Self {
        Self { at: Some(Instant::now()), not_before: None, backoff: Backoff::up_to(MAX_DELAY) }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Starts an attempt. An attempt that is scheduled from now on is another one.
    pub(crate) fn begin(&mut self) {
        self.at = None;
    }

    /// Schedules an attempt as soon as the API server permits.
    pub(crate) fn schedule(&mut self) {
        self.at = Some(Instant::now()).max(self.not_before);
    }

    pub(crate) fn succeeded(&mut self) {
        self.not_before = None;
        self.backoff.reset();
    }

    /// Schedules the next attempt, after `retry_after` at the earliest. Returns the delay.
    pub(crate) fn failed(&mut self, retry_after: Duration) -> Duration {
        let (now, retry_after) = (Instant::now(), retry_after.min(MAX_RETRY_AFTER));
        let delay = self.backoff.delay().max(retry_after);
        (self.at, self.not_before) = (Some(now + delay), Some(now + retry_after));
        delay
    }
}

/// Varies a duration by up to a tenth, so that many pods do not send their requests at the same time.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}

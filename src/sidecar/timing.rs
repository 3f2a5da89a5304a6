//! When things are tried, tried again, and done now and then.

use std::thread;
use std::time::{Duration, Instant};

use crate::kube::Backoff;

/// The most that is waited between attempts at something that fails.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The longest that an API server can ask to be left alone.
pub(crate) const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// When something is tried, and tried again.
pub(crate) struct Attempt {
    pub(crate) at: Option<Instant>,
    /// The API server does not want to be asked before.
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Attempt {
    pub(crate) fn now() -> Self {
        Self { at: Some(Instant::now()), not_before: None, backoff: Backoff::up_to(LONGEST_DELAY) }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// It is being tried from now on: what is asked for meanwhile is another attempt.
    pub(crate) fn begin(&mut self) {
        self.at = None;
    }

    /// Tries as soon as that is allowed.
    pub(crate) fn expect(&mut self) {
        self.at = Some(Instant::now()).max(self.not_before);
    }

    pub(crate) fn succeeded(&mut self) {
        self.not_before = None;
        self.backoff.reset();
    }

    /// Tries again after a while: not before the API server wants to be asked. Returns how long that is.
    pub(crate) fn failed(&mut self, asked: Duration) -> Duration {
        let (now, asked) = (Instant::now(), asked.min(LONGEST_ASKED));
        let wait = self.backoff.delay().max(asked);
        (self.at, self.not_before) = (Some(now + wait), Some(now + asked));
        wait
    }
}

/// A time around this one, so that many pods do not ask at once: a tenth more or less.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Sleeps, where a thread has nothing else to do.
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

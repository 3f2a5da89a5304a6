//! How often one API server is asked: a client-side limit for each cluster, as client-go has it, beside what the server
//! itself asks for (`Retry-After`, which `retry` and the sidecar obey).
//! Source: <https://pkg.go.dev/k8s.io/client-go/rest#Config>, `QPS` and `Burst`.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use log::debug;

use crate::bucket::Bucket;
use crate::thread::lock;

/// So many requests a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests a second, more than zero.
    pub qps: f64,
    /// How many may come at once, at least one.
    pub burst: u32,
}

/// Keeps requests to a rate, whichever thread makes them.
#[derive(Debug)]
pub(crate) struct Limiter(Option<Mutex<Bucket>>);

impl Limiter {
    /// Without limits nothing waits.
    pub(crate) fn new(limits: Option<Limits>) -> Self {
        Self(limits.map(|Limits { qps, burst }| {
            Mutex::new(Bucket::new(burst.max(1), Duration::from_secs_f64(1.0 / qps), Instant::now()))
        }))
    }

    /// Waits for a place in the line of requests, in the order of asking. If that is beyond `most`, the place is given up, and
    /// how long it would have taken is returned.
    pub(crate) fn wait(&self, most: Duration) -> Result<(), Duration> {
        let Some(bucket) = &self.0 else { return Ok(()) };
        // A thread that panicked with the lock held cannot have left anything half-made behind.
        let wait = lock(bucket).reserve(Instant::now(), most)?;
        if !wait.is_zero() {
            debug!("waiting {} ms for the client-side limit", wait.as_millis());
            thread::sleep(wait);
        }
        Ok(())
    }
}

//! Counts the requests of a client, for the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::thread::lock;

/// Counters of a client's requests.
#[derive(Debug, Default)]
pub(crate) struct RequestMetrics {
    counts: Mutex<RequestCounts>,
}

/// A snapshot of [`RequestMetrics`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    /// Requests with a response, by HTTP status.
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// Requests without a response.
    pub(crate) unanswered: u64,
}

impl RequestMetrics {
    pub(crate) fn counts(&self) -> RequestCounts {
        self.lock().clone()
    }

    /// Counts one request. `None` means without a response.
    pub(crate) fn count(&self, status: Option<u16>) {
        let mut counts = self.lock();
        match status {
            Some(status) => *counts.by_status.entry(status).or_default() += 1,
            None => counts.unanswered += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, RequestCounts> {
        lock(&self.counts)
    }
}

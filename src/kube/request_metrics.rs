//! How many requests were made, and what came of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::thread::lock;

/// Counts the requests of a client.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    counts: Mutex<RequestCounts>,
}

/// What [`Requests`] counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    /// Requests that were answered, by HTTP status.
    pub(crate) by_status: BTreeMap<u16, u64>,
    /// Requests that got no answer.
    pub(crate) unanswered: u64,
}

impl Requests {
    /// The counts as they are now.
    pub(crate) fn counts(&self) -> RequestCounts {
        self.lock().clone()
    }

    /// Counts one request with its answer's status, or without an answer.
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

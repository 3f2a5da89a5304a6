//! What wakes the controller: events, with the queue that carries them, and timers.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use crate::credential::Credential;
use crate::kube::{Backoff, Error, Object};
use crate::object::{ClusterRef, ObjectRef};
use crate::telemetry::Reason;

/// Maximum number of queued events. Senders wait while many objects change during a single step of the controller. The channel
/// reserves memory for all of them at once.
const QUEUE: usize = 64;
/// Maximum delay between attempts at a failing operation.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(30);
/// Maximum delay that an API server can demand with Retry-After.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Creates the queue of the controller.
///
/// A full queue blocks its senders, and cannot deadlock, because the controller never waits for a sender:
///
/// - The senders with `send` are the threads that watch, fetch and reload. They send without a lock held, and the controller
///   never joins them.
/// - The controller itself never sends with `send`. [`Event::StatusChanged`] may come from any thread, the controller included:
///   it is sent with `try_send` and dropped if the queue is full, as the controller checks the status after each event anyway.
/// - When the controller ends, it drops the receiver, and `send` returns an error.
pub(crate) fn queue() -> (SyncSender<Event>, Receiver<Event>) {
    mpsc::sync_channel(QUEUE)
}

pub(crate) enum Event {
    /// An object may have changed.
    Changed(Change),
    /// Objects of one cluster were read.
    Fetched(FetchBatch),
    /// The pod's annotations were read again.
    Reloaded(Box<AnnotationsUpdate>),
    /// A watch has begun to fail, or has recovered.
    StatusChanged,
}

/// An object that may have changed, and when that was noticed.
pub(crate) struct Change {
    pub(crate) object: ObjectRef,
    pub(crate) at: Instant,
}

/// The results of reading objects of one cluster.
pub(crate) struct FetchBatch {
    pub(crate) cluster: ClusterRef,
    pub(crate) results: Vec<Fetched>,
}

/// The result of reading one object.
pub(crate) struct Fetched {
    pub(crate) object: ObjectRef,
    /// When its change was noticed; `None` if it was read for another reason.
    pub(crate) noticed: Option<Instant>,
    pub(crate) started: Instant,
    pub(crate) result: Result<Object, Error>,
}

/// The result of reading the annotations again.
pub(crate) enum AnnotationsUpdate {
    Unchanged,
    /// The annotations have changed, and all objects that they newly name were read.
    Edited(NewSpec),
    /// The annotations are wrong, or they or an object that they newly name could not be read.
    Failed {
        reason: Reason,
        message: String,
        /// Whether a retry is pointless until the annotations are edited again.
        is_final: bool,
    },
}

/// The credentials of edited annotations, with the objects that they newly name.
pub(crate) struct NewSpec {
    pub(crate) credentials: Vec<Credential>,
    /// `None` means that an optional object does not exist.
    pub(crate) fetched: BTreeMap<ObjectRef, Option<Object>>,
}

/// When to try an operation next.
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

    /// Marks the scheduled attempt as started. Whatever is scheduled after this call is a further attempt.
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

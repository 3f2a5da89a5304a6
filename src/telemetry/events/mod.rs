//! Events on the pod itself, so that `kubectl describe pod` shows the state of its credentials. A thread records them in the
//! background; no other part of the sidecar waits for an Event or fails because of one.
//!
//! A correlator combines similar Events, so that they do not fill the namespace.

mod correlator;

use std::mem::{self, Discriminant};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use log::{Level, warn};

use crate::kube::config::registry::Clusters;
use crate::kube::{Backoff, Cause, Client, Deadline, Error, Event, Server, log_object};
use crate::object::{Kind, ObjectRef};
use crate::telemetry::Health;
use crate::telemetry::events::correlator::{AggregatedEvent, Correlator};
use crate::text::one_line;
use crate::thread::LateThread;

/// Maximum number of Events that wait to be recorded. While the queue is full, new Events are dropped.
const QUEUE: usize = 64;
/// Maximum length of a message, in characters: the limit of `events.k8s.io`.
const MESSAGE_LIMIT: usize = 1024;
/// Maximum delay between attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Maximum delay that an API server can demand with Retry-After.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How long to retry one Event. The API server itself deletes Events after an hour.
const RETRY_FOR: Duration = Duration::from_secs(3600);
/// How long not to try `patch` again after it was forbidden.
const NO_PATCH_FOR: Duration = Duration::from_secs(600);

/// The reason of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventReason {
    /// The first files are written.
    Written,
    /// A bundle replaced an earlier one.
    Rotated,
    /// A failure keeps the files from being current.
    Failed,
    /// The files may have been out of date for longer than `--stale-after`.
    Stale,
    /// A failure is over.
    Current,
    /// An application could not be notified of a rotation for longer than `--stale-after`.
    NotifyFailed,
    /// Such a notification has succeeded.
    Notified,
    /// A certificate expires soon or has expired.
    Expires,
}

impl EventReason {
    const COUNT: usize = 8;

    /// The value for `--field-selector reason=…`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Written => "CredentialsWritten",
            Self::Rotated => "CredentialsRotated",
            Self::Failed => "CredentialsFailed",
            Self::Stale => "CredentialsStale",
            Self::Current => "CredentialsCurrent",
            Self::NotifyFailed => "NotifyFailed",
            Self::Notified => "Notified",
            Self::Expires => "CertificateExpires",
        }
    }

    fn is_warning(self) -> bool {
        matches!(self, Self::Failed | Self::Stale | Self::NotifyFailed | Self::Expires)
    }
}

/// Records Events, unless they are disabled.
pub(crate) struct Events {
    /// `None` means that Events are disabled. A recorder whose thread cannot be started is started with a later Event.
    recorder: Option<(SyncSender<PendingEvent>, LateThread)>,
    health: Arc<Health>,
}

/// An Event that waits to be recorded.
#[derive(Debug)]
struct PendingEvent {
    reason: EventReason,
    message: String,
    at: SystemTime,
    /// When to stop retrying.
    until: Instant,
}

impl Events {
    pub(crate) fn off(health: Arc<Health>) -> Self {
        Self { recorder: None, health }
    }

    /// Records Events for this pod. Without a `uid`, reads it from the pod.
    pub(crate) fn start(
        clusters: Arc<Clusters>,
        pod: ObjectRef,
        uid: Option<String>,
        timeout: Duration,
        health: Arc<Health>,
    ) -> Self {
        let (sender, pending) = mpsc::sync_channel(QUEUE);
        let recorder = Recorder {
            clusters,
            pod,
            uid,
            read_uid: None,
            timeout,
            correlator: Correlator::new(Instant::now()),
            no_patch_until: None,
            last_failure: None,
            is_limited: false,
            health: Arc::clone(&health),
        };
        let thread = LateThread::new("events", move || recorder.run(&pending));
        Self { recorder: Some((sender, thread)), health }
    }

    /// Queues an Event. The message must not contain a value of a Secret.
    pub(crate) fn record(&self, reason: EventReason, message: &str) {
        let Some((sender, thread)) = &self.recorder else { return };
        if let Err(error) = thread.start() {
            warn!("cannot record Events: cannot start a thread: {error}; trying again with the next Event");
        }
        let message = one_line(message, MESSAGE_LIMIT);
        let (at, until) = (SystemTime::now(), Instant::now() + RETRY_FOR);
        if sender.try_send(PendingEvent { reason, message, at, until }).is_err() {
            self.health.status().events.count(false);
        }
    }
}

/// The delay before another attempt. It also delays all later Events, so the delay that an API server can request is bounded.
fn delay(backoff: Duration, retry_after: Option<Duration>) -> Duration {
    backoff.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

struct Recorder {
    clusters: Arc<Clusters>,
    pod: ObjectRef,
    /// `POD_UID`; `None` means that it is read from the pod.
    uid: Option<String>,
    /// The uid of the pod, and the API server that returned it.
    read_uid: Option<(Server, String)>,
    /// For one attempt.
    timeout: Duration,
    correlator: Correlator,
    /// Until when to create an Event for each repetition, because `patch` is forbidden.
    no_patch_until: Option<Instant>,
    /// The kind of the last failure, which is logged once.
    last_failure: Option<Discriminant<Cause>>,
    /// Whether the rate limit was logged since an Event was last admitted.
    is_limited: bool,
    health: Arc<Health>,
}

impl Recorder {
    fn run(mut self, queue: &Receiver<PendingEvent>) {
        while let Ok(pending) = queue.recv() {
            let is_recorded = match self.correlator.admit(&pending, self.may_patch(), Instant::now()) {
                Some(event) => {
                    self.is_limited = false;
                    self.record(&pending, &event)
                }
                None => {
                    if !self.is_limited {
                        warn!("too many Events with reason {}: dropping some", pending.reason.name());
                    }
                    self.is_limited = true;
                    false
                }
            };
            self.health.status().events.count(is_recorded);
        }
    }

    /// Retries until the Event is recorded or cannot be. Returns whether it was recorded.
    fn record(&mut self, pending: &PendingEvent, event: &AggregatedEvent) -> bool {
        let mut backoff = Backoff::up_to(MAX_DELAY);
        loop {
            let Err(error) = self.attempt(pending.reason, event) else {
                self.last_failure = None;
                return true;
            };
            let is_lost = error.is_forbidden() || error.is_not_found() || error.is_final();
            let failure = Some(mem::discriminant(&error.cause));
            let level = if failure == self.last_failure { Level::Debug } else { Level::Warn };
            let next = if is_lost { "dropping the Event" } else { "retrying" };
            log_object!(level, error.object(), "{error}; {next}");
            self.last_failure = failure;
            if is_lost || Instant::now() > pending.until {
                return false;
            }
            sleep(delay(backoff.delay(), error.retry_after()));
        }
    }

    fn attempt(&mut self, reason: EventReason, aggregated: &AggregatedEvent) -> Result<(), Error> {
        // Requested for each Event, because a changed kubeconfig replaces the client.
        let client = self.clusters.own();
        let uid = self.uid(&client)?;
        if aggregated.count > 1 && self.may_patch() {
            let AggregatedEvent { count, last, message, .. } = aggregated;
            match client.count_event(&self.name(aggregated.first), *count, *last, message, self.deadline()) {
                // The API server has deleted it: create it again, with its count.
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_forbidden() => {
                    if self.no_patch_until.is_none() {
                        log_object!(
                            Level::Warn,
                            error.object(),
                            "{error}; recording each repetition as a new Event"
                        );
                    }
                    self.no_patch_until = Some(Instant::now() + NO_PATCH_FOR);
                }
                counted => return counted,
            }
        }
        let single = AggregatedEvent { count: 1, first: aggregated.last, ..aggregated.clone() };
        let aggregated = if self.may_patch() { aggregated } else { &single };
        let event = Event {
            object: &self.name(aggregated.first),
            pod: &self.pod,
            uid: &uid,
            is_warning: reason.is_warning(),
            reason: reason.name(),
            message: &aggregated.message,
            count: aggregated.count,
            first: aggregated.first,
            last: aggregated.last,
        };
        client.create_event(&event, self.deadline())
    }

    fn uid(&mut self, client: &Client) -> Result<String, Error> {
        if let Some(uid) = &self.uid {
            return Ok(uid.clone());
        }
        if let Some((server, uid)) = &self.read_uid
            && server == client.server()
        {
            return Ok(uid.clone());
        }
        let uid = client.uid(&self.pod, self.deadline())?;
        self.read_uid = Some((client.server().clone(), uid.clone()));
        Ok(uid)
    }

    fn may_patch(&self) -> bool {
        self.no_patch_until.is_none_or(|until| until < Instant::now())
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// The name of an Event that first happened at this time: the pod's name and the time, as in client-go.
    fn name(&self, first: SystemTime) -> ObjectRef {
        let time = first.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.pod.numbered(Kind::Event, time.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_retry_after_silences_the_events_for_five_minutes() {
        let seconds = Duration::from_secs;
        assert_eq!(delay(seconds(3), None), seconds(3));
        assert_eq!(delay(seconds(3), Some(seconds(60))), seconds(60));
        assert_eq!(delay(seconds(3), Some(seconds(1))), seconds(3));
        assert_eq!(delay(seconds(3), Some(seconds(3600))), seconds(300));
    }
}

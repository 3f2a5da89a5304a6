//! A thread that watches one object and reports when it may have changed. It survives all failures of the connection and the API
//! server, and backs off after each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::Level;

use crate::kube::config::registry::Clusters;
use crate::kube::{self, Backoff, Cause, Error, log_object};
use crate::object::ObjectRef;
use crate::sidecar::WatchSettings;
use crate::sidecar::event::{Change, Event, MAX_DELAY, MAX_RETRY_AFTER, jittered};
use crate::sidecar::status::StatusReporter;
use crate::telemetry::{Component, Heartbeat, Reason};
use crate::thread::spawn;

/// How long a watch must last to reset the back-off.
const GOOD_WATCH: Duration = Duration::from_secs(5);
/// Grace after the requested watch duration before the connection is considered dead, in addition to a tenth of the duration.
const SILENCE: Duration = Duration::from_secs(1);

/// Starts a thread that sends [`Event::Changed`] whenever `object` may have changed since `version`, until it is cancelled.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start(
    clusters: Arc<Clusters>,
    object: ObjectRef,
    version: Option<String>,
    settings: WatchSettings,
    events: SyncSender<Event>,
    status: Arc<StatusReporter>,
) -> io::Result<WatchHandle> {
    let handle = WatchHandle(Arc::new(AtomicU8::new(ACTIVE)));
    let heartbeat = status.health.heartbeat(&format!("watch of {object}"));
    let name = format!("watch {}", object.name());
    let watcher = Watcher {
        clusters,
        object,
        version,
        settings,
        events,
        status,
        heartbeat,
        opened: None,
        handle: handle.clone(),
        current_at: Instant::now(),
    };
    spawn(&name, move || watcher.run()).map(|_| handle)
}

/// Cancels a watcher. A watcher observes its cancellation between two events of the watch, as a blocked read cannot be
/// interrupted; until then it can be reused.
#[derive(Clone)]
pub(crate) struct WatchHandle(Arc<AtomicU8>);

const ACTIVE: u8 = 0;
const CANCELLED: u8 = 1;
const ENDED: u8 = 2;

impl WatchHandle {
    pub(crate) fn cancel(&self) {
        self.exchange(ACTIVE, CANCELLED);
    }

    /// Revokes the cancellation. Returns whether the watcher is active, and so need not be replaced.
    pub(crate) fn reuse(&self) -> bool {
        self.exchange(CANCELLED, ACTIVE);
        self.0.load(Ordering::Acquire) == ACTIVE
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) == ENDED
    }

    /// For the watcher: ends it if it was cancelled, so that it cannot be reused. Returns whether it continues.
    fn continues(&self) -> bool {
        !self.exchange(CANCELLED, ENDED) && !self.has_ended()
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

struct Watcher {
    clusters: Arc<Clusters>,
    object: ObjectRef,
    /// The resourceVersion to watch from; `None` means that the object must be read again.
    version: Option<String>,
    settings: WatchSettings,
    events: SyncSender<Event>,
    status: Arc<StatusReporter>,
    heartbeat: Heartbeat,
    /// When the current watch was opened; `None` if that failed.
    opened: Option<Instant>,
    handle: WatchHandle,
    /// When a change was last reported, or a bookmark confirmed that there was none.
    current_at: Instant,
}

impl Watcher {
    fn run(mut self) {
        let mut backoff = Backoff::up_to(MAX_DELAY);
        // An API server that has just started may refuse requests that it permits later.
        let mut refused = Backoff::up_to(self.settings.poll_interval);
        while self.handle.continues() {
            self.opened = None;
            let ended = self.watch();
            // A watch that lasted long enough counts as a success, however it ended.
            let lasted = self
                .opened
                .is_some_and(|opened| opened.elapsed() > GOOD_WATCH.min(self.settings.timeout / 2));
            if lasted {
                backoff.reset();
                refused.reset();
            }
            match ended {
                // The failure of a cancelled watch is of no interest.
                Err(_) if !self.handle.continues() => {}
                Ok(()) if lasted => {}
                Ok(()) => {
                    self.status.health.count_watch_restart();
                    self.pause(backoff.delay());
                }
                Err(error) if error.is_forbidden() => {
                    // The files stay current as long as the object can be read.
                    let interval = self.settings.poll_interval;
                    let message = format!("{error}; polling it at least every {interval:?} instead");
                    self.status.degraded(&self.component(), &message);
                    self.pause(refused.delay());
                    self.changed();
                }
                // The API server keeps resourceVersions for minutes only, so this is routine, not a failure.
                Err(error) if matches!(error.cause, Cause::Gone { .. }) => {
                    log_object!(Level::Debug, &self.object, "{error}; reading it again");
                    self.version = None;
                    self.status.health.count_watch_restart();
                    self.pause(backoff.delay());
                }
                Err(error) => {
                    // Changes may have been missed: read the object again. The API server may also have been restored from a backup,
                    // and would then send nothing until its resourceVersion has passed ours.
                    self.version = None;
                    let wait =
                        backoff.delay().max(error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER));
                    let message = format!("{error}; restarting the watch");
                    self.status.failing(self.component(), Reason::from(&error), &message);
                    self.status.health.count_watch_restart();
                    // If watches fail while reads succeed, the object is polled.
                    if self.current_at.elapsed() > self.settings.poll_interval {
                        self.changed();
                    }
                    self.pause(wait);
                }
            }
        }
        self.status.healthy(&self.component());
    }

    /// Watches once, until the watch ends.
    fn watch(&mut self) -> Result<(), Error> {
        let lifetime = jittered(self.settings.timeout);
        let object = self.object.clone();
        let client = self.clusters.client(&object.cluster);
        let client = client.map_err(|cause| Error::new(&object, cause))?;
        let silence = lifetime + lifetime / 10 + SILENCE;
        self.heartbeat.beat(client.answer_timeout().saturating_add(silence));
        let mut watch = client.watch(&object, self.version.as_deref(), lifetime, silence)?;
        self.opened = Some(Instant::now());
        if self.status.healthy(&self.component()) {
            log_object!(Level::Info, &object, "{object} is watched again");
        }
        // The watch reports changes from now on; a read covers those before.
        if self.version.is_none() {
            self.changed();
        }
        let mut silent = true;
        while self.handle.continues() {
            self.heartbeat.beat(silence);
            let Some(change) = watch.receive()? else { break };
            silent = false;
            match change {
                kube::Change::Object { version } => {
                    self.version = Some(version);
                    self.changed();
                }
                kube::Change::Bookmark { version } => {
                    self.version = Some(version);
                    self.current_at = Instant::now();
                }
            }
        }
        if silent {
            // Not even a bookmark: the API server may be waiting until it reaches this resourceVersion.
            self.version = None;
        }
        log_object!(Level::Debug, &object, "the watch of {object} ended; renewing it");
        Ok(())
    }

    fn changed(&mut self) {
        self.current_at = Instant::now();
        let change = Change { object: self.object.clone(), at: self.current_at };
        if let Err(TrySendError::Full(event)) = self.events.try_send(Event::Changed(change)) {
            // This thread waits for the controller, whose heartbeat shows whether that is stuck. Fails only when the sidecar is
            // about to exit.
            self.heartbeat.beat(Duration::MAX);
            let _ = self.events.send(event);
        }
    }

    fn component(&self) -> Component {
        Component::Watch(self.object.clone())
    }

    fn pause(&self, time: Duration) {
        self.heartbeat.beat(time);
        sleep(time);
    }
}

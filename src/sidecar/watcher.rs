//! Opens a watch on a thread of its own and forwards its events until it ends. The controller decides what to do next.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::kube::config::registry::Clusters;
use crate::kube::{self, Closer, Error, WATCH_SILENCE, Watch};
use crate::object::ObjectRef;
use crate::sidecar::controller::{Event, Position, Update, jittered};
use crate::telemetry::Heartbeat;
use crate::thread::{lock, spawn};

/// Grace after the requested duration of a watch before the connection is considered dead, in addition to a tenth of it.
const GRACE: Duration = Duration::from_secs(1);

/// How many watches may be open in a process that may have `limit` file descriptors. The volume needs two for each directory, and reads
/// and clients of the HTTP server need some.
pub(crate) fn max_watches(limit: u64) -> usize {
    usize::try_from(limit / 4).unwrap_or(usize::MAX)
}

/// Starts watches. Contains what all of them need.
#[derive(Clone)]
pub(crate) struct Watcher {
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) events: SyncSender<Event>,
    /// The requested duration of a watch.
    pub(crate) lifetime: Duration,
}

/// Opens a watch: [`kube::Client::watch`] or [`kube::Client::watch_annotations`].
type Open<T> = fn(&kube::Client, &ObjectRef, &str, Duration, Duration) -> Result<Watch<T>, Error>;

/// Stops a watch.
#[derive(Default)]
pub(crate) struct WatchHandle(Arc<Mutex<Slot>>);

#[derive(Default)]
enum Slot {
    /// The watch is not open yet.
    #[default]
    Opening,
    Open(Closer),
    Stopped,
}

impl WatchHandle {
    /// Shuts the connection down, so that the thread ends even while it waits for an event.
    pub(crate) fn stop(&self) {
        if let Slot::Open(closer) = std::mem::replace(&mut *lock(&self.0), Slot::Stopped) {
            closer.close();
        }
    }

    /// Stores the closer of the open watch. Returns whether the watch was stopped while it was opening.
    fn opened(&self, closer: Closer) -> bool {
        let mut slot = lock(&self.0);
        match *slot {
            Slot::Stopped => true,
            _ => {
                *slot = Slot::Open(closer);
                false
            }
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(*lock(&self.0), Slot::Stopped)
    }
}

impl Watcher {
    /// Watches an object. `wrap` converts each update to an event. The last update is [`Update::Ended`], unless the watch is
    /// stopped.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start<T: 'static>(
        &self,
        object: ObjectRef,
        from: Position,
        heartbeat: Heartbeat,
        open: Open<T>,
        wrap: impl Fn(Update<T>) -> Event + Send + 'static,
    ) -> io::Result<WatchHandle> {
        let (watcher, handle) = (self.clone(), WatchHandle::default());
        let shared = WatchHandle(Arc::clone(&handle.0));
        let name = format!("watch {}", object.name());
        let run = move || {
            let send = |update| watcher.send(wrap(update), &heartbeat);
            let ended = watcher.watch(&object, &from, &shared, &heartbeat, open, &send);
            if !shared.is_stopped() {
                send(Update::Ended(ended.err()));
            }
        };
        spawn(&name, run).map(|_| handle)
    }

    fn watch<T>(
        &self,
        object: &ObjectRef,
        from: &Position,
        handle: &WatchHandle,
        heartbeat: &Heartbeat,
        open: Open<T>,
        send: &impl Fn(Update<T>),
    ) -> Result<(), Error> {
        let version = match from {
            Position::At(version) => version,
            Position::Any => "0",
        };
        // Jitter: watches of many pods that begin at the same time must not end at the same time.
        let lifetime = jittered(self.lifetime);
        let silence = (lifetime + lifetime / 10 + GRACE).min(WATCH_SILENCE);
        let client = self.clusters.client(&object.cluster).map_err(|cause| Error::new(object, cause))?;
        // The body of a refusal may be as slow as the events of a watch.
        heartbeat.beat(client.answer_timeout().saturating_add(silence));
        let mut watch = open(&client, object, version, lifetime, silence)?;
        if handle.opened(watch.closer()) {
            return Ok(());
        }
        send(Update::Opened);
        loop {
            heartbeat.beat(silence);
            let Some(event) = watch.receive(|time| heartbeat.beat(time))? else { return Ok(()) };
            send(Update::Event(event));
        }
    }

    /// A full queue blocks this thread, which then receives no further events. This bounds the memory that a burst of
    /// events takes.
    fn send(&self, event: Event, heartbeat: &Heartbeat) {
        if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
            // If the controller is stuck, its own heartbeat shows that.
            heartbeat.beat(Duration::MAX);
            // Fails only when the sidecar is about to exit.
            let _ = self.events.send(event);
        }
    }
}

//! The main loop: waits for changes, reads the changed objects, renders and publishes them, and notifies applications.

mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use log::{Level, info};

use crate::credential::{Credential, CredentialName};
use crate::kube::{Backoff, log_object};
use crate::object::{Kind, ObjectRef};
use crate::sidecar::event::{AnnotationsUpdate, Event, MAX_DELAY, NewSpec, RetryTimer, jittered};
use crate::sidecar::fetch::{self, Fetcher};
use crate::sidecar::notify::Notifier;
use crate::sidecar::source_store::SourceStore;
use crate::sidecar::status::StatusReporter;
use crate::sidecar::watcher::{self, WatchHandle};
use crate::sidecar::{Exit, Settings, WatchSettings};
use crate::sync::AnnotationSource;
use crate::telemetry::{Component, Heartbeat, Reason};
use crate::volume::{self, Volume};

/// Debounce window: changes within it of each other are published together.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// Maximum time to wait for further changes before publishing.
const MAX_DEBOUNCE: Duration = Duration::from_millis(50);
/// How often to check an annotations file for edits.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// Upper bound on watch threads, including cancelled ones that have not ended yet: one and a half times the objects that a pod's
/// annotations can name.
const MAX_WATCHERS: usize = 768;
/// Maximum wait for an event, after which the loop sends its next heartbeat.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The state of the loop between two events.
pub(crate) struct Controller {
    settings: Arc<Settings>,
    fetcher: Fetcher,
    status: Arc<StatusReporter>,
    heartbeat: Heartbeat,
    volume: Volume,
    credentials: Arc<Vec<Credential>>,
    store: SourceStore,
    queue: Receiver<Event>,
    publish: RetryTimer,
    notifier: Notifier,
    /// Active watchers, and cancelled ones that have not ended yet.
    watchers: BTreeMap<ObjectRef, WatchHandle>,
    /// The omissions of optional credentials in the last bundle, by credential and message. Logged when they change.
    omitted: BTreeSet<(CredentialName, String)>,
    /// When the first change was noticed that is not published yet.
    noticed: Option<Instant>,
    /// When to read all objects again; `None` if all are watched and need no resync.
    poll_at: Option<Instant>,
    /// When to read the annotations again.
    annotations_at: Option<Instant>,
    /// Whether the annotations are being read.
    reloading: bool,
    annotations_backoff: Backoff,
    /// When a failure will have lasted for `--stale-after`.
    deadline_at: Option<Instant>,
    /// When the grace of superseded versions ends.
    prune_at: Option<Instant>,
    /// Set after a rotation with `--exit-on-change`.
    exit: Option<Exit>,
}

impl Controller {
    /// Starts to read all sources. Watches start once an object was read.
    pub(crate) fn start(
        settings: Arc<Settings>,
        fetcher: Fetcher,
        status: Arc<StatusReporter>,
        heartbeat: Heartbeat,
        queue: Receiver<Event>,
        volume: Volume,
        credentials: Vec<Credential>,
    ) -> Self {
        let restarted =
            matches!(volume::Reader::open(&settings.volume), Ok(Some(reader)) if reader.is_complete());
        let store = SourceStore::new(&credentials, settings.on_delete, restarted, Arc::clone(&status));
        let notifier = Notifier::start(&credentials, &settings.volume, Arc::clone(&status.health));
        let mut controller = Self {
            fetcher,
            status,
            heartbeat,
            volume,
            credentials: Arc::new(credentials),
            store,
            queue,
            publish: RetryTimer::due(),
            notifier,
            noticed: None,
            poll_at: next_poll(settings.watch),
            annotations_at: None,
            reloading: false,
            annotations_backoff: Backoff::up_to(MAX_DELAY),
            deadline_at: None,
            watchers: BTreeMap::new(),
            omitted: BTreeSet::new(),
            // The grace of versions that an earlier run superseded ends too.
            prune_at: Some(Instant::now() + settings.grace),
            exit: None,
            settings,
        };
        if controller.settings.follow_annotations {
            controller.watch_annotations();
        }
        controller.fetch_due();
        controller
    }

    /// Publishes if that is due, then waits for the next event and handles it. Returns `Some` when the sidecar shall exit.
    pub(crate) fn run_once(&mut self) -> Option<Exit> {
        self.publish_if_due();
        if self.exit.is_some() {
            return self.exit.take();
        }
        self.deadline_at = self.status.check_deadlines();
        self.wait();
        None
    }

    /// Starts a watch of each object that was read, and cancels the other watches.
    fn watch(&mut self) {
        if !self.settings.watch.is_enabled {
            return;
        }
        let versions = self.store.versions().collect::<BTreeMap<_, _>>();
        self.watchers.retain(|_, handle| !handle.has_ended());
        let is_needed = |object: &ObjectRef| versions.contains_key(object) || object.kind == Kind::Pod;
        self.watchers.iter().filter(|(object, _)| !is_needed(object)).for_each(|(_, handle)| handle.cancel());
        for (object, version) in versions {
            if !self.watchers.get(&object).is_some_and(WatchHandle::reuse) {
                self.start_watcher(object, version);
            }
        }
    }

    fn start_watcher(&mut self, object: ObjectRef, version: Option<String>) {
        let (clusters, status) = (Arc::clone(&self.fetcher.clusters), Arc::clone(&self.status));
        let (settings, events) = (self.settings.watch, self.fetcher.events.clone());
        let is_pod = object.kind == Kind::Pod;
        match watcher::start(clusters, object.clone(), version, settings, events, status) {
            Ok(handle) => drop(self.watchers.insert(object, handle)),
            Err(error) => {
                log_object!(
                    Level::Warn,
                    &object,
                    "cannot watch {object}: cannot start a thread: {error}; polling all objects"
                );
                let at = Some(Instant::now() + jittered(settings.poll_interval));
                *(if is_pod { &mut self.annotations_at } else { &mut self.poll_at }) = at;
            }
        }
    }

    /// Watches or polls the annotations.
    fn watch_annotations(&mut self) {
        match &self.settings.sync.annotations {
            AnnotationSource::Pod { pod, .. } if self.settings.watch.is_enabled => {
                self.start_watcher(pod.clone(), None)
            }
            _ => self.annotations_at = Some(Instant::now() + self.annotations_interval()),
        }
    }

    fn annotations_interval(&self) -> Duration {
        match self.settings.sync.annotations {
            AnnotationSource::File(_) | AnnotationSource::Template { .. } => FILE_INTERVAL,
            AnnotationSource::Pod { .. } => jittered(self.settings.watch.poll_interval),
        }
    }

    fn reload_annotations(&mut self) {
        let is_watched = matches!(self.settings.sync.annotations, AnnotationSource::Pod { .. })
            && self.settings.watch.is_enabled;
        self.annotations_at = (!is_watched).then(|| Instant::now() + self.annotations_interval());
        let held = self.store.objects();
        match fetch::reload_annotations(&self.fetcher, &self.settings, &self.credentials, held) {
            Ok(()) => self.reloading = true,
            Err(error) => self.reject_annotations(
                Reason::ApiUnreachable,
                &format!("cannot read the annotations: cannot start a thread: {error}"),
            ),
        }
    }

    fn on_annotations(&mut self, update: AnnotationsUpdate) {
        self.reloading = false;
        match update {
            AnnotationsUpdate::Unchanged => drop(self.status.healthy(&Component::Annotations)),
            AnnotationsUpdate::Edited(_) if self.watchers.len() >= MAX_WATCHERS => {
                let message = "too many watches: waiting for those of earlier annotations to end";
                self.reject_annotations(Reason::Annotations, message);
            }
            AnnotationsUpdate::Edited(spec) => self.apply_spec(spec),
            AnnotationsUpdate::Failed { reason, message, is_final } => {
                let at = self.annotations_at;
                self.reject_annotations(reason, &message);
                if is_final {
                    self.annotations_at = at;
                }
            }
        }
    }

    /// Replaces the credentials by those of edited annotations.
    fn apply_spec(&mut self, spec: NewSpec) {
        let credentials = match self.store.apply_spec(spec) {
            Ok(credentials) => credentials,
            Err(error) => return self.reject_annotations(Reason::Annotations, &error.to_string()),
        };
        info!("applied the edited annotations");
        self.annotations_backoff.reset();
        self.status.healthy(&Component::Annotations);
        self.notifier.apply(&credentials, &self.settings.volume);
        self.credentials = Arc::new(credentials);
        self.watch();
        self.publish = RetryTimer::due();
    }

    /// Reports why edited annotations are not applied, and schedules a retry.
    fn reject_annotations(&mut self, reason: Reason, message: &str) {
        self.annotations_at = Some(Instant::now() + self.annotations_backoff.delay());
        let message = format!("{message}; keeping the current credentials");
        self.status.failing(Component::Annotations, reason, &message);
    }

    /// Waits for an event or for the first timer, and starts what is due then.
    fn wait(&mut self) {
        let due = [
            self.poll_at,
            self.publish.at,
            self.prune_at,
            self.annotations_at.filter(|_| !self.reloading),
            self.deadline_at,
            self.store.next_attempt(),
        ]
        .into_iter()
        .flatten()
        .min();
        let wait = due.map_or(MAX_WAIT, |at| at.saturating_duration_since(Instant::now()).min(MAX_WAIT));
        self.heartbeat.beat(wait);
        match self.queue.recv_timeout(wait) {
            Ok(event) => self.debounce(event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.poll_at.is_some_and(|at| at <= Instant::now()) {
            self.store.mark_all_stale();
            self.poll_at = next_poll(self.settings.watch);
        }
        if self.annotations_at.is_some_and(|at| at <= Instant::now()) && !self.reloading {
            self.reload_annotations();
        }
        self.fetch_due();
        if self.prune_at.is_some_and(|at| at <= Instant::now()) {
            self.volume.prune();
            self.prune_at = None;
        }
    }

    /// Starts the reads that are due, each cluster's on its own.
    fn fetch_due(&mut self) {
        for (cluster, requests) in self.store.start_fetches() {
            match self.fetcher.start(cluster.clone(), requests.clone(), &self.heartbeat) {
                Ok(Some(batch)) => drop(self.handle(Event::Fetched(batch))),
                Ok(None) => {}
                Err(error) => self.store.on_spawn_failure(&cluster, &requests, &error),
            }
        }
    }

    /// Handles an event. After a change, waits for further ones: objects that are changed together are published together.
    fn debounce(&mut self, event: Event) {
        let mut expects_more = self.handle(event);
        let end = Instant::now() + MAX_DEBOUNCE;
        while expects_more && Instant::now() < end {
            match self.queue.recv_timeout(DEBOUNCE) {
                Ok(event) => expects_more = self.handle(event),
                Err(_) => return,
            }
        }
    }

    /// Handles one event. Returns whether another change may follow at once.
    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Changed(change) if change.object.kind == Kind::Pod => {
                self.annotations_at = Some(Instant::now());
                return true;
            }
            Event::Changed(change) => {
                self.store.mark_stale(&change);
                return true;
            }
            Event::Fetched(batch) => {
                if let Some(noticed) = self.store.apply(batch) {
                    self.noticed = [self.noticed, Some(noticed)].into_iter().flatten().min();
                    self.publish = RetryTimer::due();
                }
                self.watch();
            }
            Event::Reloaded(update) => self.on_annotations(*update),
            // `run_once` checks the deadlines.
            Event::StatusChanged => {}
        }
        false
    }
}

/// When to read all objects again.
fn next_poll(watch: WatchSettings) -> Option<Instant> {
    let interval = if watch.is_enabled { watch.resync } else { Some(watch.poll_interval) };
    interval.map(|interval| Instant::now() + jittered(interval))
}

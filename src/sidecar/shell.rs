//! Executes the controller's actions and passes events to the controller. Has the queue of events, the clock, the sink, the
//! threads that read and watch, and the applications to notify.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use log::{Level, debug, log};
use rustix::process::{Resource, getrlimit};

use crate::credential::Credential;
use crate::kube::config::registry::Clusters;
use crate::kube::{self, Cause, Error, log_object};
use crate::render::SOURCES_LIMIT;
use crate::sidecar::controller::{
    Action, AnnotationsFailure, Controller, Event, FILE_INTERVAL, Follow, Policy, Position, Target, Update,
};
use crate::sidecar::fetch::Fetcher;
use crate::sidecar::kubeconfigs;
use crate::sidecar::notify::{Notification, Notifier};
use crate::sidecar::watcher::{WatchHandle, Watcher, max_watches};
use crate::sidecar::{Exit, Settings, Sink};
use crate::sync;
use crate::telemetry::events::Events;
use crate::telemetry::{Health, Heartbeat, Moment, Reason, Report, Subject};
use crate::thread::LateThread;

/// Maximum number of queued events. It is small because each event may carry an object of several megabytes. Senders wait if more
/// objects change during a single step of the controller.
const QUEUE: usize = 8;
/// Maximum wait for an event, after which the loop sends its next heartbeat.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Creates the queue of events.
///
/// A full queue blocks its senders, and cannot deadlock, because the shell never waits for a sender: the threads that read, watch
/// and notify send without a lock held, and the shell never joins them. When it ends, it drops the receiver, and `send` returns
/// an error.
pub(crate) fn queue() -> (SyncSender<Event>, Receiver<Event>) {
    mpsc::sync_channel(QUEUE)
}

pub(crate) struct Shell {
    settings: Arc<Settings>,
    health: Arc<Health>,
    heartbeat: Heartbeat,
    recorder: Events,
    sink: Sink,
    fetcher: Fetcher,
    watcher: Watcher,
    notifier: Notifier,
    queue: Receiver<Event>,
    /// The open watches, by id.
    watches: BTreeMap<u64, WatchHandle>,
    /// Results of executed actions, which are handled before the queue.
    results: VecDeque<Event>,
    /// Follows kubeconfigs; `None` means that no cluster has one.
    kubeconfigs: Option<LateThread>,
}

impl Shell {
    pub(crate) fn new(
        settings: Settings,
        clusters: &Arc<Clusters>,
        health: Arc<Health>,
        heartbeat: Heartbeat,
        recorder: Events,
        sink: Sink,
    ) -> Self {
        let (events, queue) = queue();
        let settings = Arc::new(settings);
        let (shared, sync) = (Arc::clone(clusters), Arc::clone(&settings.sync));
        let fetcher = Fetcher::new(shared, sync, Arc::clone(&health), events.clone());
        let lifetime = settings.watch.timeout;
        let watcher = Watcher { clusters: Arc::clone(clusters), events: events.clone(), lifetime };
        let notifier = Notifier::new(sink.directory(), events.clone());
        let kubeconfigs = clusters.has_kubeconfigs().then(|| {
            let clusters = Arc::clone(clusters);
            LateThread::new("kubeconfigs", move || kubeconfigs::follow(&clusters, &events))
        });
        let (watches, results) = (BTreeMap::new(), VecDeque::new());
        Self {
            settings,
            health,
            heartbeat,
            recorder,
            sink,
            fetcher,
            watcher,
            notifier,
            queue,
            watches,
            results,
            kubeconfigs,
        }
    }

    /// The sender of further events.
    pub(crate) fn events(&self) -> SyncSender<Event> {
        self.watcher.events.clone()
    }

    /// Keeps the credentials current, until a rotation ends the sidecar.
    ///
    /// # Errors
    /// If the volume cannot be read at the start.
    pub(crate) fn run(mut self, credentials: Vec<Credential>) -> Result<Exit, sync::Error> {
        let earlier = self.sink.entries()?;
        self.notifier.apply(&credentials);
        let (mut controller, mut actions) = {
            let policy = self.policy();
            Controller::start(policy, credentials, &earlier, Moment::now(), &mut self.health.status())
        };
        loop {
            if let Some(Err(error)) = self.kubeconfigs.as_ref().map(LateThread::start) {
                debug!("cannot follow kubeconfigs: cannot start a thread: {error}; trying again soon");
            }
            for action in actions {
                if let Some(exit) = self.execute(action) {
                    return Ok(exit);
                }
            }
            let event = self.next_event(controller.next_timer());
            // Rendering has no timeout of its own: a slow machine may take as long as a slow network.
            self.heartbeat.beat(self.settings.sync.timeout);
            actions = controller.step(Moment::now(), event, &mut self.health.status());
        }
    }

    fn policy(&self) -> Policy {
        let Settings { watch, on_delete, exit_on_change, splay, .. } = &*self.settings;
        let pod = self.settings.sync.annotations.pod().cloned();
        let replica = pod.as_ref().map_or_else(host_name, |pod| pod.name().to_owned());
        let interval = if pod.is_some() { watch.poll_interval } else { FILE_INTERVAL };
        let follow = self.settings.follow_annotations.then_some(Follow { pod, interval });
        Policy {
            watch: *watch,
            on_delete: *on_delete,
            grace: self.sink.grace(),
            exit_on_change: *exit_on_change,
            splay: *splay,
            replica,
            sources_limit: SOURCES_LIMIT,
            follow,
            place: self.sink.to_string(),
        }
    }

    fn next_event(&mut self, timer: Option<Instant>) -> Event {
        if let Some(event) = self.results.pop_front() {
            return event;
        }
        let wait = timer.map_or(MAX_WAIT, |at| at.saturating_duration_since(Instant::now()).min(MAX_WAIT));
        self.heartbeat.beat(wait);
        // The senders are never all gone: `fetcher` has one.
        let event = self.queue.recv_timeout(wait).unwrap_or(Event::Tick);
        if matches!(event, Event::Tick) {
            self.notifier.retry();
        }
        if let Event::Watch { watch, update: Update::Ended(_), .. }
        | Event::AnnotationsWatch { watch, update: Update::Ended(_) } = &event
        {
            self.watches.remove(watch);
        }
        event
    }

    fn execute(&mut self, action: Action) -> Option<Exit> {
        match action {
            Action::Read { target, read, is_retry } => self.read(target, read, is_retry),
            Action::Watch { target, watch, from } => self.watch(target, watch, from),
            Action::StopWatch { watch } => self.stop_watch(watch),
            Action::Publish { bundle, kept } => {
                self.heartbeat.beat(self.settings.sync.timeout);
                let started = Instant::now();
                let result = self.sink.publish(bundle, &kept);
                self.results.push_back(Event::Published { result, took: started.elapsed() });
            }
            Action::Prune => self.sink.prune(),
            Action::Notify { credentials, version } => self.notify(&credentials, version),
            Action::SetNotified { credentials } => self.notifier.apply(&credentials),
            Action::Report(report) => report_all(&[report], &self.recorder),
            Action::Exit(exit) => return Some(exit),
        }
        None
    }

    fn read(&mut self, target: Target, read: u64, is_retry: bool) {
        match target {
            Target::Annotations => {
                if let Err(cause) = self.fetcher.read_annotations(read) {
                    let message = format!("cannot read the annotations: {}", no_thread(&cause));
                    let reason = Reason::ApiUnreachable;
                    let failure = AnnotationsFailure { reason, message, retry_after: None };
                    self.results.push_back(Event::AnnotationsRead { read, result: Err(failure) });
                }
            }
            Target::Source(object) => {
                if let Err(cause) = self.fetcher.read(object.clone(), read, is_retry) {
                    let result = Err(Error::new(&object, no_thread(&cause)));
                    self.results.push_back(Event::Read { object, read, result });
                }
            }
        }
    }

    fn watch(&mut self, target: Target, watch: u64, from: Position) {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let is_full = self.watches.len() >= max_watches(limit);
        let failed = match target {
            Target::Source(object) if is_full => {
                let update = Update::Ended(Some(Error::new(&object, Cause::NoDescriptor { limit })));
                Event::Watch { object, watch, update }
            }
            Target::Annotations => {
                let Some(pod) = self.settings.sync.annotations.pod() else { return };
                let heartbeat = self.health.heartbeat(&format!("watch of {pod}"));
                let sync = Arc::clone(&self.settings.sync);
                let parse = move |update: Update<_>| Event::AnnotationsWatch {
                    watch,
                    update: update.map(|annotations| sync::parse(&sync, &annotations)),
                };
                let open = kube::Client::watch_annotations;
                match self.watcher.start(pod.clone(), from, heartbeat, open, parse) {
                    Ok(handle) => return drop(self.watches.insert(watch, handle)),
                    Err(cause) => {
                        let error = Error::new(pod, no_thread(&cause));
                        Event::AnnotationsWatch { watch, update: Update::Ended(Some(error)) }
                    }
                }
            }
            Target::Source(object) => {
                let heartbeat = self.health.heartbeat(&format!("watch of {object}"));
                let watched = object.clone();
                let wrap = move |update| Event::Watch { object: watched.clone(), watch, update };
                match self.watcher.start(object.clone(), from, heartbeat, kube::Client::watch, wrap) {
                    Ok(handle) => return drop(self.watches.insert(watch, handle)),
                    Err(cause) => {
                        let error = Error::new(&object, no_thread(&cause));
                        Event::Watch { object, watch, update: Update::Ended(Some(error)) }
                    }
                }
            }
        };
        self.results.push_back(failed);
    }

    fn stop_watch(&mut self, watch: u64) {
        if let Some(handle) = self.watches.remove(&watch) {
            handle.stop();
        }
    }

    fn notify(&self, credentials: &[Credential], version: String) {
        let pod = self.settings.sync.annotations.pod().map(|pod| pod.name().to_owned());
        let namespace = self.settings.sync.scope.namespace.to_string();
        let notification = Notification { credentials: Default::default(), pod, namespace, version };
        self.notifier.notify(credentials, &notification);
    }
}

/// The host name, which in a pod is usually the pod's name.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(crate) fn report_all(reports: &[Report], recorder: &Events) {
    for report in reports {
        match report {
            Report::Event { reason, message } => recorder.record(*reason, message),
            Report::Log { level, subject, message } => log_report(*level, subject, message),
        }
    }
}

fn log_report(level: Level, subject: &Subject, message: &str) {
    match subject {
        Subject::None => log!(level, "{message}"),
        Subject::Object(object) => log_object!(level, object, "{message}"),
        Subject::Credential(credential) => log!(level, credential = credential.as_str(); "{message}"),
        Subject::Bundle(bundle) => log!(level, bundle = bundle.as_str(); "{message}"),
    }
}

/// A thread could not be started: a limit on processes or memory, which may be over soon.
fn no_thread(cause: &io::Error) -> Cause {
    Cause::NoThread { reason: cause.to_string() }
}

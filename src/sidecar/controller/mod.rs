//! The sidecar's decisions, as a pure state machine: an event and the time go in, actions come out. It has no threads, sockets,
//! files or clocks; `shell` has them, executes the actions and returns the results as further events.
//!
//! [`tracker`] decides when to read and watch an object, [`sources`] handles the results, [`entries`] renders the credentials,
//! [`publish`] publishes them, [`reactions`] delays what follows a rotation, [`annotations`] applies edits, and [`timers`] is the only
//! timer queue. Failures are reported to
//! the [`Status`].

mod action;
mod annotations;
mod changes;
mod entries;
mod event;
mod kubeconfigs;
mod publish;
mod reactions;
mod sources;
mod timers;
mod tracker;

pub(crate) use action::{Action, Position, Target};
pub(crate) use annotations::FILE_INTERVAL;
pub(crate) use event::{
    AnnotationsFailure, AnnotationsResult, Event, NotifyOutcome, ReadAnnotations, Update,
};
pub(crate) use tracker::{MAX_DELAY, MAX_RETRY_AFTER, jittered};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use log::Level;

use crate::credential::{Application, Credential, CredentialName};
use crate::kube;
use crate::object::ObjectRef;
use crate::render::Sources;
use crate::sidecar::controller::entries::{Batch, Entries};
use crate::sidecar::controller::reactions::Reaction;
use crate::sidecar::controller::sources::Source;
use crate::sidecar::controller::timers::{Timer, Timers};
use crate::sidecar::controller::tracker::{Context, Tracker};
use crate::sidecar::{OnDelete, WatchSettings};
use crate::telemetry::events::EventReason;
use crate::telemetry::{Moment, Status};

/// The settings that decisions depend on.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) watch: WatchSettings,
    pub(crate) on_delete: OnDelete,
    pub(crate) grace: Duration,
    pub(crate) exit_on_change: Option<u8>,
    /// The longest delay before applications react to a rotation, unless a credential has its own.
    pub(crate) splay: Duration,
    /// What distinguishes this replica from others: the name of the pod or host.
    pub(crate) replica: String,
    /// The most bytes that all sources may have together.
    pub(crate) sources_limit: usize,
    /// How to follow the annotations; `None` means that edits are ignored.
    pub(crate) follow: Option<Follow>,
    /// Where the files are, for messages: the volume's directory, or memory.
    pub(crate) place: String,
}

/// How to follow the annotations.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    /// The pod to watch. `None` means that the annotations come from a file.
    pub(crate) pod: Option<ObjectRef>,
    /// How often to read them while they are not watched.
    pub(crate) interval: Duration,
}

pub(crate) struct Controller {
    policy: Policy,
    credentials: Vec<Credential>,
    entries: Entries,
    /// The content of each source that was read. `None` means that the source is missing, and that credentials are rendered
    /// without it.
    contents: Sources,
    sources: BTreeMap<ObjectRef, Source>,
    annotations: annotations::State,
    timers: Timers,
    last_id: u64,
    /// Whether this or an earlier run has published.
    has_published: bool,
    /// Whether entries of earlier annotations may have to be removed.
    has_removals: bool,
    /// The batch that is being published. `None` means that no publication is in progress.
    publishing: Option<Batch>,
    publish_backoff: kube::Backoff,
    /// When the grace period of the version that was superseded last ends.
    prune_from: Option<Instant>,
    /// When files were last published.
    published_at: Option<Instant>,
    /// When a volume that could not be written is tried again.
    publish_from: Option<Instant>,
    /// When the oldest unpublished change was noticed.
    noticed: Option<Instant>,
    /// What is missing in the volume, by credential, level and message. Logged when it changes.
    notices: BTreeSet<(CredentialName, Level, String)>,
    /// The credentials that the first publication waited for when this was last logged, each with the reason.
    reported_waiting: BTreeMap<String, String>,
    /// The applications that are to be notified of a rotation, or the exit after it.
    reactions: Vec<Reaction>,
    actions: Vec<Action>,
}

impl Controller {
    /// Starts to read all sources. `earlier` are the entries that an earlier run has written.
    pub(crate) fn start(
        policy: Policy,
        credentials: Vec<Credential>,
        earlier: &BTreeSet<String>,
        now: Moment,
        status: &mut Status,
    ) -> (Self, Vec<Action>) {
        let mut controller = Self {
            entries: Entries::new(&credentials, earlier),
            contents: Sources::new(),
            sources: BTreeMap::new(),
            annotations: annotations::State::default(),
            timers: Timers::default(),
            last_id: 0,
            has_published: !earlier.is_empty(),
            // Without credentials, the only thing to publish is the removal of earlier files.
            has_removals: credentials.is_empty(),
            publishing: None,
            publish_backoff: kube::Backoff::up_to(MAX_DELAY),
            prune_from: None,
            published_at: None,
            publish_from: None,
            noticed: None,
            notices: BTreeSet::new(),
            reported_waiting: BTreeMap::new(),
            reactions: Vec::new(),
            actions: Vec::new(),
            credentials,
            policy,
        };
        // Versions that an earlier run superseded also have to be removed when their grace period ends.
        controller.timers.set(Timer::Prune, now.instant + controller.policy.grace);
        // Without sources, no other event would lead to the first publication.
        controller.timers.set(Timer::Publish, now.instant);
        controller.name_credentials(status);
        controller.track_sources(now, status);
        controller.follow_annotations(now, status);
        let actions = controller.finish(now, status);
        (controller, actions)
    }

    /// Handles an event, and then the timers that are due.
    pub(crate) fn step(&mut self, now: Moment, event: Event, status: &mut Status) -> Vec<Action> {
        match event {
            Event::Tick => {}
            Event::Read { object, read, result } => self.on_read(&object, read, result, now, status),
            Event::Watch { object, watch, update } => self.on_update(&object, watch, update, now, status),
            Event::AnnotationsRead { read, result } => self.on_annotations_read(read, result, now, status),
            Event::AnnotationsWatch { watch, update } => {
                self.on_annotations_update(watch, update, now, status);
            }
            Event::Kubeconfig { cluster, is_changed, failure } => {
                self.on_kubeconfig(cluster, is_changed, failure.as_deref(), now, status);
            }
            Event::Published { result, took } => self.on_published(result, took, now, status),
            Event::Notification { application, outcome } => match outcome {
                NotifyOutcome::Success { credentials, version } => {
                    status.notified(now, &application, &credentials, &version);
                }
                NotifyOutcome::Failure { reason } => status.notify_failed(now, &application, &reason),
                NotifyOutcome::Cancelled => status.notify_cancelled(&application),
            },
            Event::Misplaced { message } => status.warn(EventReason::Failed, message),
        }
        while let Some(timer) = self.timers.take_due(now.instant) {
            self.on_timer(timer, now, status);
        }
        self.finish(now, status)
    }

    /// When to call [`Self::step`] even if nothing happens.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn finish(&mut self, now: Moment, status: &mut Status) -> Vec<Action> {
        self.update_readiness(status);
        match status.check_deadlines(now) {
            Some(at) => self.timers.set(Timer::Status, at),
            None => self.timers.cancel(&Timer::Status),
        }
        let mut actions = std::mem::take(&mut self.actions);
        // Reports come first: an action may end the process.
        let reports = status.take_reports().into_iter().map(Action::Report);
        actions.splice(0..0, reports);
        actions
    }

    fn on_timer(&mut self, timer: Timer, now: Moment, status: &mut Status) {
        match timer {
            Timer::Read(Target::Annotations) => {
                if let Some((tracker, mut context)) = self.annotations_context(now, status) {
                    tracker.read(&mut context);
                }
            }
            Timer::Read(Target::Source(object)) => {
                if let Some((source, mut context)) = self.source_context(&object, now, status) {
                    source.tracker.read(&mut context);
                }
            }
            Timer::Publish => self.publish(now, status),
            Timer::React => self.react(now),
            Timer::Prune => {
                self.actions.push(Action::Prune);
                if let Some(at) = self.prune_from.take().filter(|at| *at > now.instant) {
                    self.timers.set(Timer::Prune, at);
                }
            }
            // `finish` checks the deadlines.
            Timer::Status => {}
        }
    }

    /// Tells the status which objects each credential depends on.
    fn name_credentials(&self, status: &mut Status) {
        let mut named = BTreeMap::new();
        for credential in &self.credentials {
            let objects: &mut BTreeSet<_> = named.entry(credential.name.to_string()).or_default();
            objects.extend(credential.objects().cloned());
        }
        status.set_credentials(named);
        for credential in &self.credentials {
            let application = Application::of(credential).map(|application| application.to_string());
            status.served.set_application(credential.name.as_str(), application);
        }
    }

    fn context<'a>(&'a mut self, now: Moment, status: &'a mut Status) -> Context<'a> {
        let (watch, timers, actions) = (self.policy.watch, &mut self.timers, &mut self.actions);
        Context { now, watch, timers, status, actions, last_id: &mut self.last_id }
    }
}

#[cfg(test)]
mod tests;

//! The one loop: it waits for what has changed, reads it, renders and publishes, and has applications told.

mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::credential::Credential;
use crate::kube::Backoff;
use crate::object::{Kind, ObjectRef};
use crate::sidecar::edits;
use crate::sidecar::held::Held;
use crate::sidecar::notify::Notifier;
use crate::sidecar::reading::Reader;
use crate::sidecar::report::Report;
use crate::sidecar::timing::{Attempt, LONGEST_DELAY, jittered};
use crate::sidecar::told::{Edit, Look, Told};
use crate::sidecar::watcher::{self, Interest};
use crate::sidecar::{Exit, Follow, Settings};
use crate::sync::AnnotationsFrom;
use crate::telemetry::{Part, Pulse, Reason};
use crate::volume::{self, Volume};

/// How long it is waited for another change after one, so that what is changed together is published together.
const SETTLE: Duration = Duration::from_millis(2);
/// The most that is waited for more changes before they are published.
const SETTLE_AT_MOST: Duration = Duration::from_millis(50);
/// How often an annotations file is looked at, where it is followed.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// How many watches there may be when others are begun, also those that nobody needs any more and that have not ended yet: half
/// as many again as the annotations of a pod can name.
const WATCHERS: usize = 768;
/// The most that is waited for a change before the loop says that it lives.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The loop's state between two waits.
pub(crate) struct Follower {
    settings: Arc<Settings>,
    reader: Reader,
    report: Arc<Report>,
    pulse: Pulse,
    volume: Volume,
    credentials: Arc<Vec<Credential>>,
    held: Held,
    told: Receiver<Told>,
    publish: Attempt,
    notifier: Notifier,
    /// What is watched, or was until lately.
    watchers: BTreeMap<ObjectRef, Interest>,
    /// What optional credentials were written without, the last time.
    omitted: BTreeSet<String>,
    /// When the first change was noticed that is not published.
    noticed: Option<Instant>,
    /// When everything is read again, watched or not.
    poll_at: Option<Instant>,
    /// When the annotations are read again.
    annotations_at: Option<Instant>,
    /// Whether they are being read.
    looking: bool,
    annotations_backoff: Backoff,
    /// When it may have to be said that something has lasted for too long.
    delay_at: Option<Instant>,
    /// When versions that were swapped out have outlived their grace.
    clear_at: Option<Instant>,
    /// How the sidecar ends, once it does.
    exit: Option<Exit>,
}

impl Follower {
    /// Has every source read, and changes told from then on.
    pub(crate) fn start(
        settings: Arc<Settings>,
        reader: Reader,
        report: Arc<Report>,
        pulse: Pulse,
        told: Receiver<Told>,
        volume: Volume,
        credentials: Vec<Credential>,
    ) -> Self {
        let restarted =
            matches!(volume::Reader::open(&settings.volume), Ok(Some(reader)) if reader.is_complete());
        let held = Held::new(&credentials, settings.on_delete, restarted, Arc::clone(&report));
        let notifier = Notifier::start(&credentials, &settings.volume, Arc::clone(&report.health));
        let mut follower = Self {
            reader,
            report,
            pulse,
            volume,
            credentials: Arc::new(credentials),
            held,
            told,
            publish: Attempt::now(),
            notifier,
            noticed: None,
            poll_at: next_poll(settings.follow),
            annotations_at: None,
            looking: false,
            annotations_backoff: Backoff::up_to(LONGEST_DELAY),
            delay_at: None,
            watchers: BTreeMap::new(),
            omitted: BTreeSet::new(),
            // What an earlier run swapped out has its grace too.
            clear_at: Some(Instant::now() + settings.grace),
            exit: None,
            settings,
        };
        if follower.settings.follow_annotations {
            follower.follow_annotations();
        }
        follower.read_due();
        follower
    }

    /// Publishes what is due, and waits for what comes next. Returns how the sidecar ends, if it does.
    pub(crate) fn turn(&mut self) -> Option<Exit> {
        self.publish_if_due();
        if self.exit.is_some() {
            return self.exit.take();
        }
        self.delay_at = self.report.tell_delays();
        self.wait();
        None
    }

    /// Starts a watch of each object that is held, and ends those of others.
    fn watch(&mut self) {
        if !self.settings.follow.watch {
            return;
        }
        let held = self.held.versions().collect::<BTreeMap<_, _>>();
        self.watchers.retain(|_, interest| !interest.has_ended());
        let is_wanted = |object: &ObjectRef| held.contains_key(object) || object.kind == Kind::Pod;
        self.watchers
            .iter()
            .filter(|(object, _)| !is_wanted(object))
            .for_each(|(_, interest)| interest.drop_it());
        for (object, version) in held {
            if !self.watchers.get(&object).is_some_and(Interest::take_up) {
                self.start_watcher(object, version);
            }
        }
    }

    fn start_watcher(&mut self, object: ObjectRef, version: Option<String>) {
        let (clusters, report) = (Arc::clone(&self.reader.clusters), Arc::clone(&self.report));
        let (follow, changes) = (self.settings.follow, self.reader.told.clone());
        let is_pod = object.kind == Kind::Pod;
        match watcher::start(clusters, object.clone(), version, follow, changes, report) {
            Ok(interest) => drop(self.watchers.insert(object, interest)),
            Err(error) => {
                warn!("{object} cannot be watched: no thread can be started: {error}; everything is polled");
                let at = Some(Instant::now() + jittered(follow.poll_interval));
                *(if is_pod { &mut self.annotations_at } else { &mut self.poll_at }) = at;
            }
        }
    }

    /// Has edits of the annotations told, or looks for them now and then.
    fn follow_annotations(&mut self) {
        match &self.settings.sync.annotations {
            AnnotationsFrom::Pod { pod, .. } if self.settings.follow.watch => {
                self.start_watcher(pod.clone(), None)
            }
            _ => self.annotations_at = Some(Instant::now() + self.annotations_interval()),
        }
    }

    fn annotations_interval(&self) -> Duration {
        match self.settings.sync.annotations {
            AnnotationsFrom::File(_) => FILE_INTERVAL,
            AnnotationsFrom::Pod { .. } => jittered(self.settings.follow.poll_interval),
        }
    }

    /// Has the annotations read again.
    fn look_at_annotations(&mut self) {
        let watched = matches!(self.settings.sync.annotations, AnnotationsFrom::Pod { .. })
            && self.settings.follow.watch;
        self.annotations_at = (!watched).then(|| Instant::now() + self.annotations_interval());
        match edits::look(&self.reader, &self.settings, &self.credentials, self.held.objects()) {
            Ok(()) => self.looking = true,
            Err(error) => self.keep_annotations(
                Reason::ApiUnreachable,
                &format!("the annotations cannot be read: no thread can be started: {error}"),
            ),
        }
    }

    /// Goes over to what the annotations say now; while they are wrong, nothing changes.
    fn looked(&mut self, look: Look) {
        self.looking = false;
        match look {
            Look::Unchanged => drop(self.report.works(&Part::Annotations)),
            Look::Edited(_) if self.watchers.len() >= WATCHERS => {
                let said = "the annotations were edited too often: watches of what they named before have to end first";
                self.keep_annotations(Reason::Annotations, said);
            }
            Look::Edited(edit) => self.adopt(edit),
            Look::Failed { reason, said, is_final } => {
                let at = self.annotations_at;
                self.keep_annotations(reason, &said);
                if is_final {
                    self.annotations_at = at;
                }
            }
        }
    }

    /// Goes over to credentials whose sources were read.
    fn adopt(&mut self, edit: Edit) {
        let credentials = match self.held.adopt(edit) {
            Ok(credentials) => credentials,
            Err(error) => return self.keep_annotations(Reason::Annotations, &error.to_string()),
        };
        info!("the annotations have changed and are applied");
        self.annotations_backoff.reset();
        self.report.works(&Part::Annotations);
        self.notifier.adopt(&credentials, &self.settings.volume);
        self.credentials = Arc::new(credentials);
        self.watch();
        self.publish = Attempt::now();
    }

    /// Says why edited annotations are not applied, and tries again later.
    fn keep_annotations(&mut self, reason: Reason, said: &str) {
        self.annotations_at = Some(Instant::now() + self.annotations_backoff.delay());
        let message = format!("{said}; the credentials stay as they are");
        self.report.fails(Part::Annotations, reason, &message);
    }

    /// Waits for a change, or for the time of something that is due, and has read what may have changed.
    fn wait(&mut self) {
        let due = [
            self.poll_at,
            self.publish.at,
            self.clear_at,
            self.annotations_at.filter(|_| !self.looking),
            self.delay_at,
            self.held.next_attempt(),
        ]
        .into_iter()
        .flatten()
        .min();
        let wait =
            due.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(Instant::now()).min(LONGEST_WAIT));
        self.pulse.beat(wait);
        match self.told.recv_timeout(wait) {
            Ok(told) => self.settle(told),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.poll_at.is_some_and(|at| at <= Instant::now()) {
            self.held.expect_all();
            self.poll_at = next_poll(self.settings.follow);
        }
        if self.annotations_at.is_some_and(|at| at <= Instant::now()) && !self.looking {
            self.look_at_annotations();
        }
        self.read_due();
        if self.clear_at.is_some_and(|at| at <= Instant::now()) {
            self.volume.prune();
            self.clear_at = None;
        }
    }

    /// Has read what is due, of each cluster by itself.
    fn read_due(&mut self) {
        for (cluster, wanted) in self.held.begin_reads() {
            match self.reader.start(cluster.clone(), wanted.clone(), &self.pulse) {
                Ok(Some(batch)) => drop(self.take(Told::Read(batch))),
                Ok(None) => {}
                Err(error) => self.held.cannot_read(&cluster, &wanted, &error),
            }
        }
    }

    /// Takes what is told. What changes together is told together, so after a change it is waited for others.
    fn settle(&mut self, told: Told) {
        let mut waits = self.take(told);
        let settled = Instant::now() + SETTLE_AT_MOST;
        while waits && Instant::now() < settled {
            match self.told.recv_timeout(SETTLE) {
                Ok(told) => waits = self.take(told),
                Err(_) => return,
            }
        }
    }

    /// Takes one thing that is told; says whether another of its kind may come right after.
    fn take(&mut self, told: Told) -> bool {
        match told {
            Told::Changed(change) if change.object.kind == Kind::Pod => {
                self.annotations_at = Some(Instant::now());
                return true;
            }
            Told::Changed(change) => {
                self.held.expect(&change);
                return true;
            }
            Told::Read(batch) => {
                if let Some(noticed) = self.held.take(batch) {
                    self.noticed = [self.noticed, Some(noticed)].into_iter().flatten().min();
                    self.publish = Attempt::now();
                }
                self.watch();
            }
            Told::Looked(look) => self.looked(*look),
            Told::Health => {}
        }
        false
    }
}

/// When everything is read again: in turn where nothing is watched, else as often as that is wanted besides.
fn next_poll(follow: Follow) -> Option<Instant> {
    let interval = if follow.watch { follow.resync } else { Some(follow.poll_interval) };
    interval.map(|interval| Instant::now() + jittered(interval))
}

//! The one loop: it waits for what has changed, reads it, renders and publishes, and has applications told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::backoff::Backoff;
use crate::credential::Credential;
use crate::health::{Part, Pulse, Reason};
use crate::kube::{Client, Deadline};
use crate::notify::{Notice, Notifier};
use crate::object::{Kind, ObjectRef};
use crate::render::left_out;
use crate::sidecar::held::Held;
use crate::sidecar::report::Report;
use crate::sidecar::rotation::Rotation;
use crate::sidecar::timing::{Attempt, LONGEST_DELAY, jittered};
use crate::sidecar::told::Told;
use crate::sidecar::watcher::{self, Interest};
use crate::sidecar::{self, Follow, Settings};
use crate::sync::{self, AnnotationsFrom, Error, Outcome};
use crate::volume::{Published, Volume};

/// How long it is waited for another change after one, so that what is changed together is published together.
const SETTLE: Duration = Duration::from_millis(2);
/// The most that is waited for more changes before they are published.
const SETTLE_AT_MOST: Duration = Duration::from_millis(50);
/// How often an annotations file is looked at, where it is followed.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// The bound on reading annotations again, during which no change of a source is followed.
const ANNOTATIONS_TIMEOUT: Duration = Duration::from_secs(5);
/// How many watches there may be, also those that nobody needs any more and that have not ended yet: twice as many as the
/// annotations of a pod can name.
const WATCHERS: usize = 256;
/// The most that is waited for a change before the loop says that it lives.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The loop's state between two waits.
pub(super) struct Follower<'a> {
    settings: &'a Settings,
    client: Arc<Client>,
    report: Arc<Report>,
    pulse: Pulse,
    volume: Volume,
    credentials: Vec<Credential>,
    held: Held,
    /// Kept for watchers to come.
    sender: Sender<Told>,
    told: Receiver<Told>,
    publish: Attempt,
    notifier: Notifier,
    /// What is watched, or was until lately.
    watchers: BTreeMap<ObjectRef, Interest>,
    /// What optional credentials were written without, the last time.
    omitted: BTreeSet<String>,
    /// When the first change was noticed that is not published.
    noticed: Option<Instant>,
    /// When everything is read again, where nothing is watched.
    poll_at: Option<Instant>,
    /// When the annotations are read again.
    annotations_at: Option<Instant>,
    annotations_backoff: Backoff,
    /// When it may have to be said that something has lasted for too long.
    delay_at: Option<Instant>,
    /// When versions that were swapped out have outlived their grace.
    clear_at: Option<Instant>,
}

impl<'a> Follower<'a> {
    /// Reads every source once, and has changes told from then on.
    pub(super) fn start(
        settings: &'a Settings,
        client: Arc<Client>,
        report: Arc<Report>,
        pulse: Pulse,
        (sender, told): (Sender<Told>, Receiver<Told>),
        volume: Volume,
        credentials: Vec<Credential>,
    ) -> Self {
        let mut held = Held::new(
            &credentials,
            settings.on_delete,
            settings.sync.timeout,
            Arc::clone(&report),
            pulse.clone(),
        );
        let noticed = held.read_due(&client);
        let notifier = Notifier::start(&credentials, &settings.volume, Arc::clone(&report.health));
        let mut follower = Self {
            settings,
            client,
            report,
            pulse,
            volume,
            credentials,
            held,
            sender,
            told,
            publish: Attempt::now(),
            notifier,
            noticed,
            poll_at: next_poll(settings.follow),
            annotations_at: None,
            annotations_backoff: Backoff::up_to(LONGEST_DELAY),
            delay_at: None,
            watchers: BTreeMap::new(),
            omitted: BTreeSet::new(),
            // What an earlier run swapped out has its grace too.
            clear_at: Some(Instant::now() + settings.grace),
        };
        follower.watch();
        if settings.follow_annotations {
            follower.follow_annotations();
        }
        follower
    }

    /// Publishes what is due, and waits for what comes next.
    pub(super) fn turn(&mut self) {
        self.publish_if_due();
        self.delay_at = self.report.tell_delays();
        self.wait();
    }

    /// Starts a watch of each object that is held, and ends those of others.
    fn watch(&mut self) {
        if !self.settings.follow.watch {
            return;
        }
        let held: BTreeMap<_, _> = self.held.versions().collect();
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
        let (client, report) = (Arc::clone(&self.client), Arc::clone(&self.report));
        let (follow, changes) = (self.settings.follow, self.sender.clone());
        let is_pod = object.kind == Kind::Pod;
        match watcher::start(client, object.clone(), version, follow, changes, report) {
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

    /// Reads the annotations again and goes over to what they say now; while they are wrong, nothing changes.
    fn read_annotations(&mut self) {
        let watched = matches!(self.settings.sync.annotations, AnnotationsFrom::Pod { .. })
            && self.settings.follow.watch;
        self.annotations_at = (!watched).then(|| Instant::now() + self.annotations_interval());
        self.pulse.beat(ANNOTATIONS_TIMEOUT);
        match sync::credentials(&self.settings.sync, &self.client, Deadline::after(ANNOTATIONS_TIMEOUT)) {
            Ok(credentials) if credentials == self.credentials => {
                self.report.works(&Part::Annotations);
            }
            Ok(_) if self.watchers.len() >= WATCHERS => {
                let said = "the annotations were edited too often: watches of what they named before have to end first";
                self.keep_annotations(Reason::Annotations, said);
            }
            Ok(credentials) => match self.held.adopt(&credentials, &self.client) {
                Ok(()) => self.adopt(credentials),
                Err((reason, said)) => self.keep_annotations(reason, &said),
            },
            Err(Error::Unread { errors, .. }) => {
                let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
                self.keep_annotations(sidecar::reason(&errors), &said.join("\n  "));
            }
            // Only another edit can help.
            Err(error) => {
                let at = self.annotations_at;
                self.keep_annotations(Reason::Annotations, &error.to_string());
                self.annotations_at = at;
            }
        }
    }

    /// Goes over to credentials whose sources are held.
    fn adopt(&mut self, credentials: Vec<Credential>) {
        info!("the annotations have changed and are applied");
        self.annotations_backoff.reset();
        self.report.works(&Part::Annotations);
        self.notifier.adopt(&credentials, &self.settings.volume);
        self.credentials = credentials;
        self.watch();
        self.publish = Attempt::now();
    }

    /// Says why edited annotations are not applied, and tries again later.
    fn keep_annotations(&mut self, reason: Reason, said: &str) {
        self.annotations_at = Some(Instant::now() + self.annotations_backoff.delay());
        let message = format!("{said}; the credentials stay as they are");
        self.report.fails(Part::Annotations, reason, &message);
    }

    /// Waits for a change, or for the time of something that is due, and reads what may have changed.
    fn wait(&mut self) {
        let due = [
            self.poll_at,
            self.publish.at,
            self.clear_at,
            self.annotations_at,
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
            Ok(told) => self.settle(&told),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.poll_at.is_some_and(|at| at <= Instant::now()) {
            self.held.expect_all();
            self.poll_at = Some(Instant::now() + jittered(self.settings.follow.poll_interval));
        }
        if self.annotations_at.is_some_and(|at| at <= Instant::now()) {
            self.read_annotations();
        }
        if let Some(noticed) = self.held.read_due(&self.client) {
            self.noticed = [self.noticed, Some(noticed)].into_iter().flatten().min();
            self.publish = Attempt::now();
        }
        if self.clear_at.is_some_and(|at| at <= Instant::now()) {
            self.volume.clear();
            self.clear_at = None;
        }
    }

    /// Notes a change, and those that come with it.
    fn settle(&mut self, told: &Told) {
        self.expect(told);
        let settled = Instant::now() + SETTLE_AT_MOST;
        while Instant::now() < settled {
            match self.told.recv_timeout(SETTLE) {
                Ok(told) => self.expect(&told),
                Err(_) => return,
            }
        }
    }

    fn expect(&mut self, told: &Told) {
        match told {
            Told::Changed(change) if change.object.kind == Kind::Pod => {
                self.annotations_at = Some(Instant::now());
            }
            Told::Changed(change) => self.held.expect(change),
            Told::Health => {}
        }
    }

    /// Tells the applications whose credentials have changed.
    fn notify(&self, rotation: &Rotation<'_>, version: String) {
        let pod = match &self.settings.sync.annotations {
            AnnotationsFrom::Pod { pod, .. } => Some(pod.name().to_owned()),
            AnnotationsFrom::File(_) => None,
        };
        let namespace = self.settings.sync.namespace.to_string();
        let notice = Notice { credentials: BTreeSet::new(), pod, namespace, version };
        self.notifier.notify(rotation.credentials(), &notice);
    }

    fn publish_if_due(&mut self) {
        if !self.publish.is_due() {
            return;
        }
        let Some(sources) = self.held.sources() else {
            // A source that was never read: reading it makes publishing due again.
            self.publish.succeeded();
            return;
        };
        // No bound of the files' own: a slow disk may take as long as a slow network.
        self.pulse.beat(self.settings.sync.timeout);
        let started = Instant::now();
        match sync::publish(&self.credentials, sources, &self.volume) {
            Ok(outcome) => {
                self.publish.succeeded();
                let omitted =
                    left_out(&self.credentials, sources).map(|omission| omission.to_string()).collect();
                if self.omitted != omitted {
                    omitted.difference(&self.omitted).for_each(|omission| info!("{omission}"));
                    self.omitted = omitted;
                }
                match &outcome.published {
                    Published::Swapped { version, changed } => {
                        self.clear_at = Some(Instant::now() + self.settings.grace);
                        self.swapped(&outcome, version, changed.as_ref(), started);
                    }
                    Published::Unchanged => {
                        if !self.report.health.is_ready() {
                            let path = self.settings.volume.display();
                            info!("{path} is current, with {outcome}: nothing was written");
                        }
                        self.report.unchanged();
                    }
                }
                self.noticed = None;
            }
            Err(error) => {
                self.report.not_published(
                    reason(&error),
                    &format!("{error}; until this is mended the files stay as they are, those of other credentials too"),
                );
                match error {
                    // Only a change of a source can help, and that makes publishing due again.
                    Error::Render(_) => self.publish.succeeded(),
                    _ => {
                        self.publish.failed(Duration::ZERO);
                    }
                }
            }
        }
    }

    /// Says that a bundle is out, and has the applications told whose files have changed. Of the first one, nobody has
    /// read anything before.
    fn swapped(
        &self,
        outcome: &Outcome,
        version: &str,
        changed: Option<&BTreeSet<String>>,
        started: Instant,
    ) {
        let (path, took) = (self.settings.volume.display(), started.elapsed().as_millis());
        let written = format!("wrote {outcome} to {path}");
        let latency = self.noticed.unwrap_or(started).elapsed();
        let Some(changed) = changed else {
            info!("{written} in {took} ms, as version {version}");
            return self.report.swapped(latency, false, &written);
        };
        let is_cleared = |credential: &Credential| self.held.lacks_a_source(credential);
        let rotation = Rotation::of(&self.credentials, changed, is_cleared);
        info!("{rotation}: {written} in {took} ms, as version {version}");
        self.report.swapped(latency, true, &rotation.to_string());
        self.notify(&rotation, version.to_owned());
    }
}

fn next_poll(follow: Follow) -> Option<Instant> {
    (!follow.watch).then(|| Instant::now() + jittered(follow.poll_interval))
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Unread { errors, .. } => sidecar::reason(errors),
        Error::Volume(_) | Error::Output(_) => Reason::Volume,
        _ => Reason::Render,
    }
}

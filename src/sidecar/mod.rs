//! The long-running mode: credentials that follow their sources.
//!
//! One thread for each source says that it has changed (`watcher`); this one reads what has changed, renders and
//! publishes, through the same code as `init`. What it holds of each source is in `held`: a source that cannot be read
//! keeps what it last held, and holds up no other.

mod held;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::backoff::Backoff;
use crate::credential::{Credential, CredentialName};
use crate::health::{Health, Part, Pulse, Reason};
use crate::kube::{self, Client, Deadline};
use crate::notify::{Notice, Notifier};
use crate::object::{Kind, ObjectRef};
use crate::sidecar::held::Held;
use crate::sync::{self, AnnotationsFrom, Error};
use crate::volume::{Published, Volume};

/// How long it is waited for another change after one, so that what is changed together is published together.
const SETTLE: Duration = Duration::from_millis(2);
/// The most that is waited for more changes before they are published.
const SETTLE_AT_MOST: Duration = Duration::from_millis(50);
/// How often an annotations file is looked at, where it is followed.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// The bound on reading annotations again, during which no change of a source is followed.
const ANNOTATIONS_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is waited between attempts at something that fails.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The longest that an API server can ask to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// How often edited annotations are tried again that name what cannot be read.
const ANNOTATIONS_RETRY: Duration = Duration::from_secs(5);
/// The most that is waited for a change before the loop says that it lives.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the sidecar needs to know.
#[derive(Debug)]
pub struct Settings {
    /// What a pass needs to know.
    pub sync: sync::Settings,
    /// The folder to write.
    pub volume: PathBuf,
    /// How long a version that was swapped out is kept.
    pub grace: Duration,
    /// How changes are noticed.
    pub follow: Follow,
    /// What becomes of the files of a Secret that was deleted.
    pub on_delete: OnDelete,
    /// Whether annotations that are edited after the start are applied.
    pub follow_annotations: bool,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug)]
pub struct Follow {
    /// Whether the API server is asked to tell; otherwise sources are only read now and then.
    pub watch: bool,
    /// How often sources are read that are not watched.
    pub poll_interval: Duration,
    /// How long one watch lasts before the next; a line that is silent for longer is dead.
    pub watch_timeout: Duration,
}

/// What becomes of the files of a source that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// They stay as they are.
    Keep,
    /// They are cleared away.
    Clear,
}

/// An object that may have changed, and since when that is known.
struct Noticed {
    object: ObjectRef,
    at: Instant,
}

/// Writes every credential and keeps them current, and reports to `health`. Returns only if it cannot begin.
///
/// # Errors
/// A volume that is not there, or annotations that are wrong. All that may pass is waited out.
pub fn run(settings: &Settings, client: Client, health: &Arc<Health>) -> Result<Infallible, Error> {
    let volume = Volume::open(&settings.volume, settings.grace)?;
    let client = Arc::new(client);
    let pulse = health.pulse("follower");
    let credentials = credentials(&settings.sync, &client, health, &pulse)?;
    let mut held =
        Held::new(&credentials, settings.on_delete, settings.sync.timeout, Arc::clone(health), pulse.clone());
    let (changed, noticed) = held.read_due(&client);

    let notifier = Notifier::start(&credentials, &settings.volume);
    let (sender, changes) = mpsc::channel();
    let mut follower = Follower {
        settings,
        client,
        health,
        pulse,
        volume,
        credentials,
        held,
        sender,
        changes,
        publish: Attempt::now(),
        notifier,
        changed: changed.into_iter().collect(),
        noticed,
        poll_at: next_poll(settings.follow),
        annotations_at: None,
        annotations_failure: String::new(),
        edited: BTreeSet::new(),
        watchers: BTreeMap::new(),
        // What an earlier run swapped out has its grace too.
        clear_at: Some(Instant::now() + settings.grace),
    };
    follower.watch();
    if settings.follow_annotations {
        follower.follow_annotations();
    }
    loop {
        follower.publish_if_due();
        follower.wait();
    }
}

/// Reads the pod's annotations, however long it takes until they can be read.
fn credentials(
    settings: &sync::Settings,
    client: &Client,
    health: &Health,
    pulse: &Pulse,
) -> Result<Vec<Credential>, Error> {
    let mut attempt = Attempt::now();
    loop {
        pulse.beat(settings.timeout);
        match sync::credentials(settings, client, Deadline::after(settings.timeout)) {
            Err(Error::Unread { errors, .. }) => {
                let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
                warn!("{}; going on", said.join("\n  "));
                health.fails(Part::Annotations, errors.first().map_or(Reason::ApiUnreachable, Reason::from));
                let wait = attempt
                    .failed(errors.iter().filter_map(kube::Error::retry_after).max().unwrap_or_default());
                pulse.beat(wait);
                pause(wait);
            }
            result => {
                health.works(&Part::Annotations);
                return result;
            }
        }
    }
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Unread { errors, .. } => errors.first().map_or(Reason::ApiUnreachable, Reason::from),
        Error::Volume(_) | Error::Output(_) => Reason::Volume,
        _ => Reason::Render,
    }
}

/// When something is tried, and tried again.
struct Attempt {
    at: Option<Instant>,
    backoff: Backoff,
}

impl Attempt {
    fn now() -> Self {
        Self { at: Some(Instant::now()), backoff: Backoff::up_to(LONGEST_DELAY) }
    }

    fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    fn succeeded(&mut self) {
        self.at = None;
        self.backoff.reset();
    }

    /// Tries again after a while: not before the API server wants to be asked. Returns how long that is.
    fn failed(&mut self, asked: Duration) -> Duration {
        let wait = self.backoff.delay().max(asked.min(LONGEST_ASKED));
        self.at = Some(Instant::now() + wait);
        wait
    }
}

/// The loop's state between two waits.
struct Follower<'a> {
    settings: &'a Settings,
    client: Arc<Client>,
    health: &'a Arc<Health>,
    pulse: Pulse,
    volume: Volume,
    credentials: Vec<Credential>,
    held: Held,
    /// Kept for watchers to come.
    sender: Sender<Noticed>,
    changes: Receiver<Noticed>,
    publish: Attempt,
    notifier: Notifier,
    /// The objects that have changed since the last bundle was published, and when the first change was noticed.
    changed: BTreeSet<ObjectRef>,
    /// The credentials whose annotations have changed since then.
    edited: BTreeSet<CredentialName>,
    /// What is watched, each with what ends it.
    watchers: BTreeMap<ObjectRef, Arc<AtomicBool>>,
    noticed: Option<Instant>,
    /// When everything is read again, where nothing is watched.
    poll_at: Option<Instant>,
    /// When the annotations are read again, and why that failed the last time.
    annotations_at: Option<Instant>,
    annotations_failure: String,
    /// When versions that were swapped out have outlived their grace.
    clear_at: Option<Instant>,
}

impl Follower<'_> {
    /// Starts a watch of each object that is held, and ends those of others.
    fn watch(&mut self) {
        if !self.settings.follow.watch {
            return;
        }
        let held: BTreeMap<_, _> = self.held.versions().collect();
        self.watchers.retain(|object, ended| {
            let keep = held.contains_key(object) || object.kind == Kind::Pod;
            ended.store(!keep, Ordering::Relaxed);
            keep
        });
        for (object, version) in held {
            if !self.watchers.contains_key(&object) {
                self.start_watcher(object, version);
            }
        }
    }

    fn start_watcher(&mut self, object: ObjectRef, version: Option<String>) {
        let (client, health) = (Arc::clone(&self.client), Arc::clone(self.health));
        let (follow, changes) = (self.settings.follow, self.sender.clone());
        match watcher::start(client, object.clone(), version, follow, changes, health) {
            Ok(ended) => drop(self.watchers.insert(object, ended)),
            Err(error) => {
                warn!("{object} cannot be watched: no thread can be started: {error}; everything is polled");
                self.poll_at = Some(Instant::now() + jittered(follow.poll_interval));
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
            Ok(credentials) if credentials == self.credentials => self.annotations_failure.clear(),
            Ok(credentials) => match self.held.adopt(&credentials, &self.client) {
                Ok(()) => self.adopt(credentials),
                Err(error) => self.keep_annotations(&error.to_string()),
            },
            Err(Error::Unread { errors, .. }) => {
                let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
                self.keep_annotations(&said.join("\n  "));
            }
            // Only another edit can help.
            Err(error) => {
                let at = self.annotations_at;
                self.keep_annotations(&error.to_string());
                self.annotations_at = at;
            }
        }
    }

    /// Goes over to credentials whose sources are held.
    fn adopt(&mut self, credentials: Vec<Credential>) {
        info!("the annotations have changed and are applied");
        self.annotations_failure.clear();
        let is_new = |credential: &&Credential| !self.credentials.contains(credential);
        self.edited.extend(credentials.iter().filter(is_new).map(|credential| credential.name.clone()));
        self.notifier.adopt(&credentials, &self.settings.volume);
        self.credentials = credentials;
        self.watch();
        self.publish = Attempt::now();
    }

    /// Says why edited annotations are not applied, and tries again later.
    fn keep_annotations(&mut self, reason: &str) {
        self.annotations_at = Some(Instant::now() + jittered(ANNOTATIONS_RETRY));
        if reason != self.annotations_failure {
            warn!("{reason}; the credentials stay as they are");
            reason.clone_into(&mut self.annotations_failure);
        }
    }

    /// Waits for a change, or for the time of something that is due, and reads what may have changed.
    fn wait(&mut self) {
        let due =
            [self.poll_at, self.publish.at, self.clear_at, self.annotations_at, self.held.next_attempt()]
                .into_iter()
                .flatten()
                .min();
        let wait =
            due.map_or(LONGEST_WAIT, |at| at.saturating_duration_since(Instant::now()).min(LONGEST_WAIT));
        self.pulse.beat(wait);
        match self.changes.recv_timeout(wait) {
            Ok(change) => self.changed(&change),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.poll_at.is_some_and(|at| at <= Instant::now()) {
            self.held.expect_all();
            self.poll_at = Some(Instant::now() + jittered(self.settings.follow.poll_interval));
        }
        if self.annotations_at.is_some_and(|at| at <= Instant::now()) {
            self.read_annotations();
        }
        let (changed, noticed) = self.held.read_due(&self.client);
        if !changed.is_empty() {
            self.changed.extend(changed);
            self.noticed = [self.noticed, noticed].into_iter().flatten().min();
            self.publish = Attempt::now();
        }
        if self.clear_at.is_some_and(|at| at <= Instant::now()) {
            self.volume.clear();
            self.clear_at = None;
        }
    }

    /// Notes a change, and those that come with it.
    fn changed(&mut self, change: &Noticed) {
        self.expect(change);
        let settled = Instant::now() + SETTLE_AT_MOST;
        while Instant::now() < settled {
            match self.changes.recv_timeout(SETTLE) {
                Ok(change) => self.expect(&change),
                Err(_) => return,
            }
        }
    }

    fn expect(&mut self, change: &Noticed) {
        match change.object.kind {
            Kind::Pod => self.annotations_at = Some(Instant::now()),
            Kind::Secret | Kind::ConfigMap => self.held.expect(change),
        }
    }

    /// Tells the applications whose credentials have changed.
    fn notify(&self, version: String) {
        let pod = match &self.settings.sync.annotations {
            AnnotationsFrom::Pod { pod, .. } => Some(pod.name().to_owned()),
            AnnotationsFrom::File(_) => None,
        };
        let namespace = self.settings.sync.namespace.to_string();
        let notice = Notice { credentials: BTreeSet::new(), pod, namespace, version };
        let is_changed = |credential: &&Credential| {
            self.edited.contains(&credential.name)
                || credential.sources.iter().any(|object| self.changed.contains(object))
        };
        self.notifier.notify(self.credentials.iter().filter(is_changed), &notice);
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
        let published = sync::render(&self.credentials, sources)
            .and_then(|bundle| Ok((bundle.len(), self.volume.publish(&bundle)?)));
        match published {
            Ok((files, Published::Swapped { version, replaced })) => {
                let (path, took) = (self.settings.volume.display(), started.elapsed().as_millis());
                info!("wrote {files} files to {path} in {took} ms, as version {version}");
                self.clear_at = Some(Instant::now() + self.settings.grace);
                self.publish.succeeded();
                self.health.swapped(self.noticed.take().unwrap_or(started).elapsed());
                // Nobody has read anything before the first bundle.
                if replaced {
                    self.notify(version);
                }
                self.changed.clear();
                self.edited.clear();
            }
            Ok((_, Published::Unchanged)) => {
                self.publish.succeeded();
                self.noticed = None;
                self.health.unchanged();
                self.changed.clear();
                self.edited.clear();
            }
            Err(error) => {
                warn!("{error}; the files stay as they are");
                self.health.not_published(reason(&error));
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
}

fn next_poll(follow: Follow) -> Option<Instant> {
    (!follow.watch).then(|| Instant::now() + jittered(follow.poll_interval))
}

/// A time around this one, so that many pods do not ask at once: a tenth more or less.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Sleeps, where a thread has nothing else to do.
fn pause(time: Duration) {
    thread::sleep(time);
}

//! One thread for one object: it watches, and says when the object may have changed. It never ends, whatever the line and
//! the API server do, and never asks in a hot loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info};

use crate::kube::config::clusters::Clusters;
use crate::kube::{Backoff, Cause, Change, Error};
use crate::object::ObjectRef;
use crate::sidecar::Follow;
use crate::sidecar::reading::STACK;
use crate::sidecar::report::Report;
use crate::sidecar::timing::{LONGEST_ASKED, LONGEST_DELAY, jittered, pause};
use crate::sidecar::told::{Noticed, Told};
use crate::telemetry::{Part, Pulse, Reason};

/// How long a watch must last to count as one that worked.
const GOOD_WATCH: Duration = Duration::from_secs(5);
/// How much longer than a watch lasts its line may be silent, besides a tenth of that time.
const SILENCE: Duration = Duration::from_secs(1);

/// Starts a thread that sends `object` through `changes` whenever it may have changed since `version`, until what is
/// returned says that nobody wants to know.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn start(
    clusters: Arc<Clusters>,
    object: ObjectRef,
    version: Option<String>,
    follow: Follow,
    changes: Sender<Told>,
    report: Arc<Report>,
) -> io::Result<Interest> {
    let interest = Interest(Arc::new(AtomicU8::new(WANTED)));
    let pulse = report.health.pulse(&format!("watch of {object}"));
    let thread = thread::Builder::new().name(format!("watch {}", object.name())).stack_size(STACK);
    let told = Instant::now();
    let watcher = Watcher {
        clusters,
        object,
        version,
        follow,
        changes,
        report,
        pulse,
        opened: None,
        interest: interest.clone(),
        told,
    };
    thread.spawn(move || watcher.run()).map(|_| interest)
}

/// Whether anybody wants to know of a watcher's object. A watcher hears only between two lines of its watch that nobody
/// does, and until then it can be taken up again.
#[derive(Clone)]
pub(crate) struct Interest(Arc<AtomicU8>);

const WANTED: u8 = 0;
const UNWANTED: u8 = 1;
const ENDED: u8 = 2;

impl Interest {
    /// Nobody wants to know any more.
    pub(crate) fn drop_it(&self) {
        self.exchange(WANTED, UNWANTED);
    }

    /// Somebody wants to know; whether there is still a watcher that tells.
    pub(crate) fn take_up(&self) -> bool {
        self.exchange(UNWANTED, WANTED);
        self.0.load(Ordering::Acquire) == WANTED
    }

    /// Whether the watcher has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) == ENDED
    }

    /// Asked by the watcher: whether it goes on. If not, it cannot be taken up again.
    fn lasts(&self) -> bool {
        !self.exchange(UNWANTED, ENDED) && !self.has_ended()
    }

    fn exchange(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

struct Watcher {
    clusters: Arc<Clusters>,
    object: ObjectRef,
    /// The last version that is known; none where the present state must be read.
    version: Option<String>,
    follow: Follow,
    changes: Sender<Told>,
    report: Arc<Report>,
    pulse: Pulse,
    /// When the last watch was opened; none if that failed.
    opened: Option<Instant>,
    interest: Interest,
    /// When it was last told that the object may have changed, or was known that it had not.
    told: Instant,
}

impl Watcher {
    fn run(mut self) {
        let mut backoff = Backoff::up_to(LONGEST_DELAY);
        // An API server that has just started may refuse what it will allow.
        let mut refused = Backoff::up_to(self.follow.poll_interval);
        while self.interest.lasts() {
            self.opened = None;
            let ended = self.watch();
            // A watch that lasted was a good one, however it ended.
            let lasted = self
                .opened
                .is_some_and(|opened| opened.elapsed() > GOOD_WATCH.min(self.follow.watch_timeout / 2));
            if lasted {
                backoff.reset();
                refused.reset();
            }
            match ended {
                // Nobody wants to know why.
                Err(_) if !self.interest.lasts() => {}
                Ok(()) if lasted => {}
                Ok(()) => {
                    self.report.health.watch_restarts();
                    self.pause(backoff.delay());
                }
                Err(error) if error.is_forbidden() => {
                    // Nothing fails as long as it can be read.
                    let message =
                        format!("{error}; it is read at least every {:?} instead", self.follow.poll_interval);
                    self.report.makes_do(&self.part(), &message);
                    self.pause(refused.delay());
                    self.changed();
                }
                // Versions are kept for minutes only, so this is everyday: nothing fails, it is read again.
                Err(error) if matches!(error.cause, Cause::Gone { .. }) => {
                    debug!("{error}; reading it again");
                    self.version = None;
                    self.report.health.watch_restarts();
                    self.pause(backoff.delay());
                }
                Err(error) => {
                    // What was missed cannot be told: read it again. A server that comes back may also have older versions than
                    // before (it was restored, or is another one), and would say nothing until it has reached ours.
                    self.version = None;
                    let wait =
                        backoff.delay().max(error.retry_after().unwrap_or_default().min(LONGEST_ASKED));
                    let message = format!("{error}; watching again");
                    self.report.fails(self.part(), Reason::from(&error), &message);
                    self.report.health.watch_restarts();
                    // Where watches fail and reads do not, it is polled.
                    if self.told.elapsed() > self.follow.poll_interval {
                        self.changed();
                    }
                    self.pause(wait);
                }
            }
        }
        self.report.works(&self.part());
    }

    /// Watches until the watch ends.
    fn watch(&mut self) -> Result<(), Error> {
        let lifetime = jittered(self.follow.watch_timeout);
        let object = self.object.clone();
        let client = self.clusters.client(object.cluster.as_ref());
        let client = client.map_err(|cause| Error::new(&object, cause))?;
        let silence = lifetime + lifetime / 10 + SILENCE;
        self.pulse.beat(client.answer_timeout().saturating_add(silence));
        let mut watch = client.watch(&object, self.version.as_deref(), lifetime, silence)?;
        self.opened = Some(Instant::now());
        if self.report.works(&self.part()) {
            info!("{object} is watched again");
        }
        // From now on changes are told; what happened before is read.
        if self.version.is_none() {
            self.changed();
        }
        let mut silent = true;
        while self.interest.lasts() {
            self.pulse.beat(silence);
            let Some(change) = watch.receive()? else { break };
            silent = false;
            match change {
                Change::Object { version } => {
                    self.version = Some(version);
                    self.changed();
                }
                Change::Bookmark { version } => {
                    self.version = Some(version);
                    self.told = Instant::now();
                }
            }
        }
        if silent {
            // Not even a bookmark: the API server may not know the version, and wait until it does.
            self.version = None;
        }
        debug!("the watch of {object} ended and is renewed");
        Ok(())
    }

    fn changed(&mut self) {
        self.told = Instant::now();
        // Without a receiver the process is about to end.
        let noticed = Noticed { object: self.object.clone(), at: Instant::now() };
        let _ = self.changes.send(Told::Changed(noticed));
    }

    fn part(&self) -> Part {
        Part::Watch(self.object.clone())
    }

    fn pause(&self, time: Duration) {
        self.pulse.beat(time);
        pause(time);
    }
}

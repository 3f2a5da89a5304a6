//! Events on the pod itself, so that `kubectl describe pod` shows how its credentials are. Recorded in the background:
//! nothing waits for them, and nothing fails because of them.
//!
//! What is recorded goes through a correlator, which keeps many of a kind from becoming many objects.

mod correlator;

use std::mem::{self, Discriminant};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{debug, warn};

use crate::kube::{Backoff, Cause, Client, Deadline, Error, Event};
use crate::object::{Kind, ObjectRef};
use crate::telemetry::Health;
use crate::telemetry::events::correlator::{Correlator, Known};
use crate::text::one_line;

/// How many are held while the API server cannot be reached; what comes then is dropped.
const HELD: usize = 64;
/// The longest message, in characters: what `events.k8s.io` takes.
const MESSAGE_LIMIT: usize = 1024;
/// The most that is waited between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// How long is tried to record one. The API server itself forgets Events after an hour.
const TRIED_FOR: Duration = Duration::from_secs(3600);
/// How long it is not tried again to count Events where that is forbidden.
const NO_PATCH_FOR: Duration = Duration::from_secs(600);
/// Enough for TLS and JSON.
const STACK: usize = 256 * 1024;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The first bundle is out.
    Written,
    /// Another bundle took its place.
    Rotated,
    /// Something that keeps the files from being current.
    Failed,
    /// The files have not been known to be current for a while.
    Stale,
    /// They are again.
    Current,
    /// An application could not be told of a rotation for a while.
    NotTold,
    /// It was told after all.
    Told,
}

impl What {
    const COUNT: usize = 7;

    /// As one word, for `--field-selector reason=…`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Written => "CredentialsWritten",
            Self::Rotated => "CredentialsRotated",
            Self::Failed => "CredentialsFailed",
            Self::Stale => "CredentialsStale",
            Self::Current => "CredentialsCurrent",
            Self::NotTold => "ApplicationNotTold",
            Self::Told => "ApplicationTold",
        }
    }

    fn is_warning(self) -> bool {
        matches!(self, Self::Failed | Self::Stale | Self::NotTold)
    }
}

/// Where is told what happens: to the API server, or to nobody.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: Option<SyncSender<Happening>>,
    health: Arc<Health>,
}

/// What happened, and when.
#[derive(Debug)]
struct Happening {
    what: What,
    message: String,
    at: SystemTime,
    /// When it is no longer tried to record it.
    until: Instant,
}

impl Events {
    /// Tells nobody.
    pub(crate) fn off(health: Arc<Health>) -> Self {
        Self { sender: None, health }
    }

    /// Tells the API server of this pod, whose uid is asked for where it is not given.
    pub(crate) fn start(
        client: Arc<Client>,
        pod: ObjectRef,
        uid: Option<String>,
        timeout: Duration,
        health: Arc<Health>,
    ) -> Self {
        let (sender, happenings) = mpsc::sync_channel(HELD);
        let recorder = Recorder {
            client,
            pod,
            uid,
            timeout,
            correlator: Correlator::new(Instant::now()),
            no_patch_until: None,
            said: None,
            said_too_many: false,
            health: Arc::clone(&health),
        };
        let thread = thread::Builder::new().name("events".into()).stack_size(STACK);
        match thread.spawn(move || recorder.run(&happenings)) {
            Ok(_) => Self { sender: Some(sender), health },
            Err(error) => {
                warn!("no Events are recorded: no thread can be started: {error}");
                Self::off(health)
            }
        }
    }

    /// Has it recorded, at some time. No value may be in the message.
    pub(crate) fn record(&self, what: What, message: &str) {
        let Some(sender) = &self.sender else { return };
        let message = one_line(message, MESSAGE_LIMIT);
        if sender
            .try_send(Happening { what, message, at: SystemTime::now(), until: Instant::now() + TRIED_FOR })
            .is_err()
        {
            self.health.event(false);
        }
    }
}

struct Recorder {
    client: Arc<Client>,
    pod: ObjectRef,
    uid: Option<String>,
    /// The bound on one attempt.
    timeout: Duration,
    correlator: Correlator,
    /// Until when an Event that is there is not counted once more, because that is forbidden: each time is an Event of its
    /// own.
    no_patch_until: Option<Instant>,
    /// Why none could be recorded the last time, without the names in it.
    said: Option<Discriminant<Cause>>,
    /// Whether it was said that there are too many.
    said_too_many: bool,
    health: Arc<Health>,
}

impl Recorder {
    fn run(mut self, happenings: &Receiver<Happening>) {
        while let Ok(happening) = happenings.recv() {
            let recorded = match self.correlator.take(&happening, self.may_patch(), Instant::now()) {
                Some(known) => {
                    self.said_too_many = false;
                    self.record(&happening, &known)
                }
                None => {
                    if !self.said_too_many {
                        warn!("too many Events with reason {}: some are left out", happening.what.reason());
                    }
                    self.said_too_many = true;
                    false
                }
            };
            self.health.event(recorded);
        }
    }

    /// Tries until it is recorded, or until that is of no use.
    fn record(&mut self, happening: &Happening, known: &Known) -> bool {
        let mut backoff = Backoff::up_to(LONGEST_DELAY);
        loop {
            let Err(error) = self.attempt(happening.what, known) else {
                self.said = None;
                return true;
            };
            let is_lost = error.is_forbidden() || error.is_not_found() || error.is_final();
            let reason = Some(mem::discriminant(&error.cause));
            if reason == self.said {
                debug!("{error}");
            } else {
                let rest = if is_lost { "the Event is left out" } else { "trying again" };
                warn!("{error}; {rest}");
                self.said = reason;
            }
            if is_lost || Instant::now() > happening.until {
                return false;
            }
            thread::sleep(backoff.delay().max(error.retry_after().unwrap_or_default().min(TRIED_FOR)));
        }
    }

    fn attempt(&mut self, what: What, known: &Known) -> Result<(), Error> {
        if self.uid.is_none() {
            self.uid = Some(self.client.uid(&self.pod, self.deadline())?);
        }
        if known.count > 1 && self.may_patch() {
            let Known { count, last, message, .. } = known;
            match self.client.count_event(&self.name(known.first), *count, *last, message, self.deadline()) {
                // The API server has forgotten it: it is created again, with its count.
                Err(error) if error.is_not_found() => {}
                Err(error) if error.is_forbidden() => {
                    if self.no_patch_until.is_none() {
                        warn!("{error}; each time is an Event of its own");
                    }
                    self.no_patch_until = Some(Instant::now() + NO_PATCH_FOR);
                }
                counted => return counted,
            }
        }
        let anew = Known { count: 1, first: known.last, ..known.clone() };
        let known = if self.may_patch() { known } else { &anew };
        let event = Event {
            object: &self.name(known.first),
            pod: &self.pod,
            uid: self.uid.as_deref().unwrap_or_default(),
            is_warning: what.is_warning(),
            reason: what.reason(),
            message: &known.message,
            count: known.count,
            first: known.first,
            last: known.last,
        };
        self.client.create_event(&event, self.deadline())
    }

    fn may_patch(&self) -> bool {
        self.no_patch_until.is_none_or(|until| until < Instant::now())
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// The name of an Event that happened first at this time: the pod's and the time, as client-go has it.
    fn name(&self, first: SystemTime) -> ObjectRef {
        let time = first.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.pod.numbered(Kind::Event, time.as_nanos())
    }
}

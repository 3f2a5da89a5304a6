//! Notifies applications after a rotation (`.on-change`). Each application has a thread that retries until the notification
//! succeeds, so a dead application delays nothing else. Rotations during the retries are merged into one notification.

mod http;
mod pod;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use log::{Level, info, log, warn};
use rustix::io::Errno;
use serde::Serialize;

use crate::credential::{Credential, OnChange};
use crate::kube::{Backoff, NoThread};
use crate::sidecar::controller::{Event, NotifyOutcome};
use crate::text::Quoted;
use crate::thread::{Job, lock, spawn};
use crate::volume::{self, Volume};

/// Maximum delay between attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The content of a notification. It contains no value of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Notification {
    /// The names of the changed credentials.
    pub(crate) credentials: BTreeSet<String>,
    /// `None` with an annotations file, as the pod's name is then unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    pub(crate) namespace: String,
    /// The version of the directories that have changed.
    pub(crate) version: String,
}

/// The applications to notify.
pub(crate) struct Notifier {
    mailboxes: BTreeMap<OnChange, Arc<Mailbox>>,
    /// The directory of the files for `touch`.
    volume: PathBuf,
    events: SyncSender<Event>,
    /// Starts a thread.
    spawn: fn(Job) -> io::Result<()>,
}

/// The pending notifications of one application.
#[derive(Default)]
struct Mailbox {
    message: Mutex<Message>,
    changed: Condvar,
}

#[derive(Default)]
struct Message {
    pending: Option<Notification>,
    /// The notification that the thread is trying to deliver.
    current: Option<Notification>,
    /// Whether edited annotations no longer name this application.
    cancelled: bool,
    /// Whether the thread is running. If it could not be started, the next notification starts it.
    has_thread: bool,
}

impl Notifier {
    pub(crate) fn new(volume: PathBuf, events: SyncSender<Event>) -> Self {
        Self { mailboxes: BTreeMap::new(), volume, events, spawn: |run| spawn("notify", run).map(drop) }
    }

    /// Starts the threads of applications with pending notifications that could not be started before.
    pub(crate) fn retry(&self) {
        for (target, mailbox) in &self.mailboxes {
            if mailbox.lock().pending.is_some() {
                start(target, mailbox, &self.volume, &self.events, self.spawn);
            }
        }
    }

    /// Starts a thread for each new application, and cancels the thread of each application that no credential names any more.
    /// Undelivered notifications of such an application go to the applications that its credentials name now.
    pub(crate) fn apply(&mut self, credentials: &[Credential]) {
        let is_named = |target: &OnChange| credentials.iter().any(|it| it.on_change.as_ref() == Some(target));
        let (kept, dropped) =
            std::mem::take(&mut self.mailboxes).into_iter().partition(|(it, _)| is_named(it));
        self.mailboxes = kept;
        for target in credentials.iter().filter_map(|credential| credential.on_change.as_ref()) {
            if let OnChange::Signal { process, .. } = target
                && !self.mailboxes.contains_key(target)
                && let Err(error) = process::check(process)
            {
                warn!("{target}: {error}; until this is fixed, its notifications fail");
            }
            let mailbox = self.mailboxes.entry(target.clone()).or_default();
            start(target, mailbox, &self.volume, &self.events, self.spawn);
        }
        let dropped: BTreeMap<OnChange, Arc<Mailbox>> = dropped;
        for (target, mailbox) in dropped {
            if !mailbox.lock().has_thread {
                // Its thread would report this.
                report_without_thread(&target, NotifyOutcome::Cancelled, &self.events);
            }
            if let Some(undelivered) = mailbox.cancel() {
                let moved =
                    credentials.iter().filter(|it| undelivered.credentials.contains(&it.name.to_string()));
                self.notify(&moved.cloned().collect::<Vec<_>>(), &undelivered);
            }
        }
    }

    /// Queues a notification of changed credentials. It is merged with one that is still pending.
    pub(crate) fn notify(&self, changed: &[Credential], notification: &Notification) {
        let mut targets = BTreeMap::<&OnChange, BTreeSet<String>>::new();
        for credential in changed {
            if let Some(target) = &credential.on_change {
                targets.entry(target).or_default().insert(credential.name.to_string());
            }
        }
        for (target, credentials) in targets {
            if let Some(mailbox) = self.mailboxes.get(target) {
                let notification = Notification { credentials, ..notification.clone() };
                let mut message = mailbox.lock();
                message.pending = Some(notification.after(message.pending.take()));
                drop(message);
                mailbox.changed.notify_one();
                start(target, mailbox, &self.volume, &self.events, self.spawn);
            }
        }
    }
}

impl Notification {
    /// Adds the credentials of an older notification.
    fn after(mut self, older: Option<Self>) -> Self {
        self.credentials.extend(older.into_iter().flat_map(|older| older.credentials));
        self
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Message> {
        lock(&self.message)
    }

    /// Ends the thread. Returns the undelivered notification.
    fn cancel(&self) -> Option<Notification> {
        let mut message = self.lock();
        message.cancelled = true;
        self.changed.notify_one();
        message.undelivered()
    }

    /// Waits for a notification. `None` means that the application was cancelled.
    fn take(&self) -> Option<Notification> {
        let mut message = self.lock();
        loop {
            if message.cancelled {
                return None;
            }
            if message.pending.is_some() {
                message.current = message.undelivered();
                return message.current.clone();
            }
            message = self.changed.wait(message).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The notification to retry after a failure, merged with later ones. `None` means that the application was cancelled.
    fn retry(&self) -> Option<Notification> {
        let mut message = self.lock();
        if message.cancelled {
            return None;
        }
        message.current = message.undelivered();
        message.current.clone()
    }
}

impl Message {
    /// Takes the undelivered notifications, merged into one with the version of the newer one.
    fn undelivered(&mut self) -> Option<Notification> {
        let current = self.current.take();
        match self.pending.take() {
            Some(pending) => Some(pending.after(current)),
            None => current,
        }
    }
}

/// Starts the thread of an application, unless it has one.
fn start(
    target: &OnChange,
    mailbox: &Arc<Mailbox>,
    volume: &Path,
    events: &SyncSender<Event>,
    spawn: fn(Job) -> io::Result<()>,
) {
    if std::mem::replace(&mut mailbox.lock().has_thread, true) {
        return;
    }
    let (shared, volume, sender) = (Arc::clone(mailbox), volume.to_owned(), events.clone());
    let name = target.clone();
    if let Err(error) = spawn(Box::new(move || run(&shared, &name, &volume, &sender))) {
        let mut message = mailbox.lock();
        message.has_thread = false;
        warn!("{target}: cannot start a thread: {error}; trying again within a minute");
        if message.pending.is_some() {
            // If the queue is full, the failure is counted with the next attempt.
            let reason = format!("cannot start a thread: {error}");
            report_without_thread(target, NotifyOutcome::Failure { reason }, events);
        }
    }
}

/// Reports an outcome from the thread that also receives the events, so it must not wait for room in the queue.
fn report_without_thread(target: &OnChange, outcome: NotifyOutcome, events: &SyncSender<Event>) {
    let _ = events.try_send(Event::Notification { application: target.to_string(), outcome });
}

/// Notifies one application of all rotations, until it is cancelled.
fn run(mailbox: &Mailbox, target: &OnChange, volume: &Path, events: &SyncSender<Event>) {
    let report = |outcome| {
        // Fails only when the sidecar is about to exit.
        let _ = events.send(Event::Notification { application: target.to_string(), outcome });
    };
    let mut backoff = Backoff::up_to(MAX_DELAY);
    while let Some(mut notification) = mailbox.take() {
        let mut last_reason = String::new();
        while let Err(error) = attempt(target, &notification, volume) {
            let reason = error.to_string();
            report(NotifyOutcome::Failure { reason: reason.clone() });
            let level = if last_reason == reason { Level::Debug } else { Level::Warn };
            log!(level, bundle = notification.version.as_str(); "{target}: {reason}; retrying until it succeeds");
            last_reason = reason;
            sleep(backoff.delay());
            let Some(next) = mailbox.retry() else { return report(NotifyOutcome::Cancelled) };
            notification = next;
        }
        mailbox.lock().current = None;
        backoff.reset();
        report(NotifyOutcome::Success { version: notification.version.clone() });
        let version = notification.version.as_str();
        info!(bundle = version; "{target}: notified of version {version}");
    }
}

/// Why an application could not be notified.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error("HTTP status {0}")]
    Status(ureq::http::StatusCode),
    #[error(transparent)]
    Http(ureq::Error),
    #[error(transparent)]
    NoThread(NoThread),
    #[error(transparent)]
    Body(#[from] serde_json::Error),
    #[error(transparent)]
    Touch(#[from] volume::Error),
    #[error(
        "pidfd_open failed ({0}): the kernel does not support it, or the container's seccomp profile blocks it"
    )]
    NoDescriptors(Errno),
    #[error("cannot signal process {process} ({errno}): run both containers as the same user")]
    Refused { process: i32, errno: Errno },
    #[error(
        "process {} is not visible: set shareProcessNamespace: true in the pod, so that podcreds sees the processes of other containers",
        Quoted(process)
    )]
    NotShared { process: String },
    #[error("process {} not found in this pod; running: {running}", Quoted(process))]
    NotFound { process: String, running: String },
}

fn attempt(target: &OnChange, notification: &Notification, volume: &Path) -> Result<(), NotifyError> {
    match target {
        OnChange::Post(url) => http::post(url, notification),
        OnChange::Get(url) => http::get(url),
        OnChange::Signal { signal, process } => process::signal(*signal, process),
        OnChange::Touch(path) => Ok(Volume::open(volume, Duration::ZERO)?.touch(path)?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::annotations::{self, ReferenceScope};
    use crate::object::Namespace;

    fn notification(credential: &str, version: &str) -> Notification {
        let credentials = BTreeSet::from([credential.to_owned()]);
        Notification { credentials, pod: None, namespace: "prod".into(), version: version.into() }
    }

    fn mailbox(pending: Option<Notification>, current: Option<Notification>) -> Mailbox {
        let mailbox = Mailbox::default();
        (mailbox.lock().pending, mailbox.lock().current) = (pending, current);
        mailbox
    }

    #[test]
    fn rotations_during_a_notification_are_merged_into_one_of_the_newest_version() {
        let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let retried = mailbox(Some(notification("b", "2")), Some(notification("a", "1"))).retry().unwrap();
        assert_eq!((retried.version.as_str(), retried.credentials), ("2", both));
        assert_eq!(mailbox(None, Some(notification("a", "1"))).retry(), Some(notification("a", "1")));
        assert_eq!(mailbox(Some(notification("b", "2")), None).take(), Some(notification("b", "2")));
    }

    #[test]
    fn a_cancelled_notification_is_returned_and_not_delivered() {
        let mailbox = mailbox(None, Some(notification("a", "1")));
        assert_eq!(mailbox.cancel(), Some(notification("a", "1")));
        assert_eq!((mailbox.take(), mailbox.retry()), (None, None));
    }

    #[test]
    fn a_notification_without_a_thread_counts_as_failed_and_is_delivered_once_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let (events, received) = mpsc::sync_channel(8);
        let mut notifier = Notifier::new(directory.path().to_owned(), events);
        let started = notifier.spawn;
        notifier.spawn = |_| Err(io::Error::other("test"));
        let annotations = [("podcreds.io/db.secret", "db"), ("podcreds.io/db.on-change", "touch reload")];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        let credentials = annotations::parse(&annotations, "podcreds.io", &scope).unwrap();
        let outcome = || match received.recv().unwrap() {
            Event::Notification { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        };
        let reason = "cannot start a thread: test".to_owned();
        notifier.apply(&credentials);
        notifier.retry();
        assert!(received.try_recv().is_err(), "nothing is pending");
        notifier.notify(&credentials, &notification("db", "1"));
        assert_eq!(outcome(), NotifyOutcome::Failure { reason: reason.clone() });
        notifier.retry();
        assert_eq!(outcome(), NotifyOutcome::Failure { reason: reason.clone() });
        notifier.apply(&[]);
        assert_eq!(outcome(), NotifyOutcome::Cancelled, "it does not stay a failure");
        notifier.apply(&credentials);
        notifier.notify(&credentials, &notification("db", "2"));
        assert_eq!(outcome(), NotifyOutcome::Failure { reason: reason.clone() });
        notifier.spawn = started;
        notifier.retry();
        assert_eq!(outcome(), NotifyOutcome::Success { version: "2".to_owned() });
        assert!(directory.path().join("reload").exists());
    }

    #[test]
    fn a_notification_is_small_json_without_values() {
        let json = serde_json::to_string(&Notification {
            pod: Some("app-0".into()),
            ..notification("db", "..2026")
        })
        .unwrap();
        assert_eq!(json, r#"{"credentials":["db"],"pod":"app-0","namespace":"prod","version":"..2026"}"#);
    }
}

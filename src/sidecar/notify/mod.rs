//! Notifies applications after a rotation (`.on-change`). Each application has a thread that retries until the notification
//! succeeds, so a dead application delays nothing else. Rotations during the retries are merged into one notification.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use log::{Level, info, log, warn};
use rustix::io::Errno;
use serde::Serialize;
use ureq::Agent;

use crate::credential::{Credential, OnChange};
use crate::kube::Backoff;
use crate::telemetry::Health;
use crate::text::Quoted;
use crate::thread::{lock, spawn};
use crate::volume::{self, Volume};

/// Maximum delay between attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// For one attempt over HTTP.
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// The content of a notification. It contains no value of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Notification {
    /// The names of the changed credentials.
    pub(crate) credentials: BTreeSet<String>,
    /// `None` with an annotations file, as the pod's name is then unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    pub(crate) namespace: String,
    /// The version of the volume that has the change.
    pub(crate) version: String,
}

/// The applications to notify.
pub(crate) struct Notifier {
    mailboxes: BTreeMap<OnChange, Arc<Mailbox>>,
    health: Arc<Health>,
}

/// The pending notification of one application.
#[derive(Default)]
struct Mailbox {
    message: Mutex<Message>,
    changed: Condvar,
}

#[derive(Default)]
struct Message {
    pending: Option<Notification>,
    /// Set when edited annotations do not name this application any more.
    cancelled: bool,
}

impl Notifier {
    /// Starts a thread for each application that the credentials name. `volume` has the files for `touch`.
    pub(crate) fn start(credentials: &[Credential], volume: &Path, health: Arc<Health>) -> Self {
        let mut notifier = Self { mailboxes: BTreeMap::new(), health };
        notifier.apply(credentials, volume);
        notifier
    }

    /// Starts a thread for each application that is newly named, and cancels the thread of each that no credential names any
    /// more.
    pub(crate) fn apply(&mut self, credentials: &[Credential], volume: &Path) {
        self.mailboxes.retain(|target, mailbox| {
            let keep = credentials.iter().any(|credential| credential.on_change.as_ref() == Some(target));
            if !keep {
                mailbox.lock().cancelled = true;
                mailbox.changed.notify_one();
            }
            keep
        });
        for target in credentials.iter().filter_map(|credential| credential.on_change.as_ref()) {
            if !self.mailboxes.contains_key(target) {
                let mailbox = start(target.clone(), volume.to_owned(), Arc::clone(&self.health));
                self.mailboxes.insert(target.clone(), mailbox);
            }
        }
    }

    /// Queues a notification of changed credentials. It is merged with one that is still pending.
    pub(crate) fn notify<'a>(
        &self,
        changed: impl Iterator<Item = &'a Credential>,
        notification: &Notification,
    ) {
        let mut targets = BTreeMap::<&OnChange, BTreeSet<String>>::new();
        for credential in changed {
            if let Some(target) = &credential.on_change {
                targets.entry(target).or_default().insert(credential.name.to_string());
            }
        }
        for (target, credentials) in targets {
            if let Some(mailbox) = self.mailboxes.get(target) {
                let notification = mailbox.merge(Notification { credentials, ..notification.clone() }, false);
                mailbox.lock().pending = Some(notification);
                mailbox.changed.notify_one();
            }
        }
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Message> {
        lock(&self.message)
    }

    /// Waits for a notification. Returns `None` when it was cancelled.
    fn take(&self) -> Option<Notification> {
        let mut message = self.lock();
        loop {
            if message.cancelled {
                return None;
            }
            match message.pending.take() {
                Some(notification) => return Some(notification),
                None => message = self.changed.wait(message).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Merges a notification with the pending one. The newer one decides the version.
    fn merge(&self, notification: Notification, pending_is_newer: bool) -> Notification {
        match self.lock().pending.take() {
            None => notification,
            Some(pending) => {
                let (mut newer, older) =
                    if pending_is_newer { (pending, notification) } else { (notification, pending) };
                newer.credentials.extend(older.credentials);
                newer
            }
        }
    }
}

fn start(target: OnChange, volume: PathBuf, health: Arc<Health>) -> Arc<Mailbox> {
    let mailbox = Arc::new(Mailbox::default());
    let shared = Arc::clone(&mailbox);
    let name = target.to_string();
    if let Err(error) = spawn("notify", move || run(&shared, &target, &volume, &health)) {
        warn!("{name}: cannot start a thread: {error}; this application is not notified");
    }
    mailbox
}

/// Notifies one application of all rotations, until it is cancelled.
fn run(mailbox: &Mailbox, target: &OnChange, volume: &Path, health: &Health) {
    let name = target.to_string();
    let mut backoff = Backoff::up_to(MAX_DELAY);
    while let Some(mut notification) = mailbox.take() {
        let mut last_reason = String::new();
        while let Err(error) = attempt(target, &notification, volume) {
            let reason = error.to_string();
            health.notify_failed(&name);
            let level = if last_reason == reason { Level::Debug } else { Level::Warn };
            log!(level, bundle = notification.version.as_str(); "{target}: {reason}; retrying until it succeeds");
            last_reason = reason;
            sleep(backoff.delay());
            if mailbox.lock().cancelled {
                health.notify_cancelled(&name);
                return;
            }
            notification = mailbox.merge(notification, true);
        }
        backoff.reset();
        health.notified(&name);
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
    Http(#[from] ureq::Error),
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
        "process {} not found: set shareProcessNamespace: true in the pod, so that podcreds sees the processes of other containers",
        Quoted(process)
    )]
    NotShared { process: String },
    #[error("process {} not found; running: {running}", Quoted(process))]
    NotFound { process: String, running: String },
}

fn attempt(target: &OnChange, notification: &Notification, volume: &Path) -> Result<(), NotifyError> {
    match target {
        OnChange::Post(url) => post(url, notification),
        OnChange::Get(url) => get(url),
        OnChange::Signal { signal, process } => process::signal(*signal, process),
        OnChange::Touch(path) => Ok(Volume::open(volume, Duration::ZERO)?.touch(path)?),
    }
}

fn post(url: &str, notification: &Notification) -> Result<(), NotifyError> {
    let body = serde_json::to_string(notification)?;
    check_status(http_agent().post(url).header("content-type", "application/json").send(body))
}

fn get(url: &str) -> Result<(), NotifyError> {
    check_status(http_agent().get(url).call())
}

fn http_agent() -> Agent {
    Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(HTTP_TIMEOUT))
        // Only the status of the response is read.
        .input_buffer_size(4096)
        .output_buffer_size(4096)
        .user_agent(concat!("podcreds/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Any 2xx status is a success.
fn check_status(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(), NotifyError> {
    match result {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(NotifyError::Status(response.status())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(credential: &str, version: &str) -> Notification {
        let credentials = BTreeSet::from([credential.to_owned()]);
        Notification { credentials, pod: None, namespace: "prod".into(), version: version.into() }
    }

    #[test]
    fn rotations_during_a_notification_are_merged_into_one_of_the_newest_version() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.merge(notification("a", "1"), true), notification("a", "1"));
        mailbox.lock().pending = Some(notification("b", "2"));
        let merged = mailbox.merge(notification("a", "1"), true);
        assert_eq!(merged.version, "2");
        assert_eq!(merged.credentials, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert!(mailbox.lock().pending.is_none());
        mailbox.lock().cancelled = true;
        assert!(mailbox.take().is_none());
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

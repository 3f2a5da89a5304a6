//! Notifies applications after a rotation (`.on-change`). Each application has a thread that retries until the notification
//! succeeds, so a dead application delays nothing else. Rotations during the retries are merged into one notification.

mod http;
mod pod;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use log::{Level, info, log, warn};
use rustix::io::Errno;
use serde::Serialize;
use ureq::http::StatusCode;

use crate::credential::{Application, Credential, CredentialName, Header, OnChange};
use crate::kube::{Backoff, FileError, NoThread};
use crate::sidecar::controller::{Event, NotifyOutcome};
use crate::sidecar::notify::http::Extra;
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

/// What all applications share.
#[derive(Clone)]
struct Shared {
    /// The directory of the files for `touch`.
    volume: PathBuf,
    /// The file of certificate authorities for `https`. `None` means those of the system alone.
    ca: Option<PathBuf>,
    events: SyncSender<Event>,
}

/// The applications to notify.
pub(crate) struct Notifier {
    mailboxes: BTreeMap<Application, Arc<Mailbox>>,
    shared: Shared,
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
    /// The header of the requests. `None` means that there is none, or that it was not rendered yet.
    header: Option<Header>,
    /// Whether edited annotations no longer name this application.
    cancelled: bool,
    /// Whether the thread is running. If it could not be started, the next notification starts it.
    has_thread: bool,
}

impl Notifier {
    pub(crate) fn new(volume: PathBuf, ca: Option<PathBuf>, events: SyncSender<Event>) -> Self {
        let shared = Shared { volume, ca, events };
        Self { mailboxes: BTreeMap::new(), shared, spawn: |run| spawn("notify", run).map(drop) }
    }

    /// Replaces the headers of these credentials' applications, also for notifications that are pending.
    pub(crate) fn set_headers(&self, headers: Vec<(CredentialName, Header)>) {
        for (credential, header) in headers {
            let mut mailboxes = self.mailboxes.iter();
            if let Some((_, mailbox)) = mailboxes.find(|(it, _)| it.header_of.as_ref() == Some(&credential)) {
                mailbox.lock().header = Some(header);
                mailbox.changed.notify_one();
            }
        }
    }

    /// Starts the threads of applications with pending notifications that could not be started before.
    pub(crate) fn retry(&self) {
        for (target, mailbox) in &self.mailboxes {
            if mailbox.lock().pending.is_some() {
                start(target, mailbox, &self.shared, self.spawn);
            }
        }
    }

    /// Starts a thread for each new application, and cancels the thread of each application that no credential names any more.
    /// Undelivered notifications of such an application go to the applications that its credentials name now.
    pub(crate) fn apply(&mut self, credentials: &[Credential]) {
        let is_named = |target: &Application| {
            credentials.iter().any(|credential| Application::of(credential).as_ref() == Some(target))
        };
        let (kept, dropped) =
            std::mem::take(&mut self.mailboxes).into_iter().partition(|(it, _)| is_named(it));
        self.mailboxes = kept;
        let mut are_authorities_checked = false;
        for target in credentials.iter().filter_map(Application::of) {
            if !self.mailboxes.contains_key(&target) {
                self.check(&target, &mut are_authorities_checked);
            }
            let mailbox = self.mailboxes.entry(target.clone()).or_default();
            start(&target, mailbox, &self.shared, self.spawn);
        }
        let dropped: BTreeMap<Application, Arc<Mailbox>> = dropped;
        for (target, mailbox) in dropped {
            if !mailbox.lock().has_thread {
                // Its thread would report this.
                report_without_thread(&target, NotifyOutcome::Cancelled, &self.shared.events);
            }
            if let Some(undelivered) = mailbox.cancel() {
                let moved =
                    credentials.iter().filter(|it| undelivered.credentials.contains(&it.name.to_string()));
                self.notify(&moved.cloned().collect::<Vec<_>>(), &undelivered);
            }
        }
    }

    /// Warns at the start of a notification that cannot arrive, or that reveals its header.
    fn check(&self, target: &Application, are_authorities_checked: &mut bool) {
        let checked = match &target.action {
            OnChange::Signal { process, .. } => process::check(process),
            // One warning is enough for all URLs.
            action if action.is_https() && !std::mem::replace(are_authorities_checked, true) => {
                http::roots(self.shared.ca.as_deref()).map(drop)
            }
            _ => Ok(()),
        };
        if let Err(error) = checked {
            warn!("{target}: {error}; until this is fixed, its notifications fail");
        }
        if target.header_of.is_some() && target.action.is_exposed() {
            warn!(
                "{target}: the header travels unencrypted over the network: use https, or an address of this pod"
            );
        }
    }

    /// Queues a notification of changed credentials. It is merged with one that is still pending.
    pub(crate) fn notify(&self, changed: &[Credential], notification: &Notification) {
        let mut targets = BTreeMap::<Application, BTreeSet<String>>::new();
        for credential in changed {
            if let Some(target) = Application::of(credential) {
                targets.entry(target).or_default().insert(credential.name.to_string());
            }
        }
        for (target, credentials) in targets {
            if let Some(mailbox) = self.mailboxes.get(&target) {
                let notification = Notification { credentials, ..notification.clone() };
                let mut message = mailbox.lock();
                message.pending = Some(notification.merged(message.pending.take()));
                drop(message);
                mailbox.changed.notify_one();
                start(&target, mailbox, &self.shared, self.spawn);
            }
        }
    }
}

impl Notification {
    /// Merges with another notification, of the application that credentials had before an edit or of an earlier rotation. The result
    /// has the newer version.
    fn merged(mut self, other: Option<Self>) -> Self {
        if let Some(other) = other {
            self.credentials.extend(other.credentials);
            self.version = self.version.max(other.version);
        }
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

    /// Waits for a notification, and for its header if it has one. `None` means that the application was cancelled.
    fn take(&self, has_header: bool) -> Option<Notification> {
        let mut message = self.lock();
        loop {
            if message.cancelled {
                return None;
            }
            if let Some(next) = message.next(has_header) {
                return Some(next);
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
    /// Starts to deliver the pending notification. `None` means that there is none, or that its header was not rendered yet.
    fn next(&mut self, has_header: bool) -> Option<Notification> {
        if self.pending.is_none() || (has_header && self.header.is_none()) {
            return None;
        }
        self.current = self.undelivered();
        self.current.clone()
    }

    /// Takes the undelivered notifications, merged into one with the version of the newer one.
    fn undelivered(&mut self) -> Option<Notification> {
        let current = self.current.take();
        match self.pending.take() {
            Some(pending) => Some(pending.merged(current)),
            None => current,
        }
    }
}

/// Starts the thread of an application, unless it has one.
fn start(target: &Application, mailbox: &Arc<Mailbox>, shared: &Shared, spawn: fn(Job) -> io::Result<()>) {
    if std::mem::replace(&mut mailbox.lock().has_thread, true) {
        return;
    }
    let (own, application, with) = (Arc::clone(mailbox), target.clone(), shared.clone());
    if let Err(error) = spawn(Box::new(move || run(&own, &application, &with))) {
        let mut message = mailbox.lock();
        message.has_thread = false;
        warn!("{target}: cannot start a thread: {error}; trying again within a minute");
        if message.pending.is_some() {
            // If the queue is full, the failure is counted with the next attempt.
            let reason = format!("cannot start a thread: {error}");
            report_without_thread(target, NotifyOutcome::Failure { reason }, &shared.events);
        }
    }
}

/// Reports an outcome from the thread that also receives the events, so it must not wait for room in the queue.
fn report_without_thread(target: &Application, outcome: NotifyOutcome, events: &SyncSender<Event>) {
    let _ = events.try_send(Event::Notification { application: target.to_string(), outcome });
}

/// Notifies one application of all rotations, until it is cancelled.
fn run(mailbox: &Mailbox, target: &Application, shared: &Shared) {
    let report = |outcome| {
        // Fails only when the sidecar is about to exit.
        let _ = shared.events.send(Event::Notification { application: target.to_string(), outcome });
    };
    let mut backoff = Backoff::up_to(MAX_DELAY);
    while let Some(mut notification) = mailbox.take(target.header_of.is_some()) {
        let mut last_reason = String::new();
        while let Err(error) = attempt(&target.action, &notification, mailbox, shared) {
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
        let Notification { credentials, version, .. } = notification;
        report(NotifyOutcome::Success { credentials, version: version.clone() });
        info!(bundle = version.as_str(); "{target}: notified of version {version}");
    }
}

/// Why an application could not be notified.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error("HTTP status {status}{}", advice(*status, *has_header))]
    Status { status: StatusCode, has_header: bool },
    #[error(transparent)]
    Http(ureq::Error),
    #[error(transparent)]
    Request(#[from] ureq::http::Error),
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    #[error("--on-change-ca: {0}")]
    Authorities(#[from] FileError),
    #[error(
        "no certificate authority to verify the server with, as podcreds' image has none: mount the certificate of the server's authority and name the file in --on-change-ca"
    )]
    NoAuthority,
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

/// What to do about a status that concerns the request rather than the application.
fn advice(status: StatusCode, has_header: bool) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if has_header => {
            ": check the header in .on-change-header and the field that it takes its value from"
        }
        StatusCode::UNAUTHORIZED => ": set the header that the URL requires with .on-change-header",
        status if status.is_redirection() => {
            ": podcreds follows no redirect; write the final URL in .on-change"
        }
        _ => "",
    }
}

fn attempt(
    action: &OnChange,
    notification: &Notification,
    mailbox: &Mailbox,
    Shared { volume, ca, .. }: &Shared,
) -> Result<(), NotifyError> {
    // Also during retries, so that a new token replaces one that is refused.
    let header = mailbox.lock().header.clone();
    let extra = Extra { header: header.as_ref(), ca: ca.as_deref() };
    match action {
        OnChange::Post(url) => http::post(url, notification, extra),
        OnChange::Get(url) => http::get(url, extra),
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
        assert_eq!(mailbox(Some(notification("b", "2")), None).take(false), Some(notification("b", "2")));
    }

    #[test]
    fn a_merged_notification_has_the_newer_version_in_either_order() {
        let both = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        for (one, other) in [("1", "2"), ("2", "1")] {
            let merged = notification("a", one).merged(Some(notification("b", other)));
            assert_eq!((merged.version.as_str(), &merged.credentials), ("2", &both));
        }
    }

    #[test]
    fn a_cancelled_notification_is_returned_and_not_delivered() {
        let mailbox = mailbox(None, Some(notification("a", "1")));
        assert_eq!(mailbox.cancel(), Some(notification("a", "1")));
        assert_eq!((mailbox.take(false), mailbox.retry()), (None, None));
    }

    #[test]
    fn a_notification_without_a_thread_counts_as_failed_and_is_delivered_once_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let (events, received) = mpsc::sync_channel(8);
        let mut notifier = Notifier::new(directory.path().to_owned(), None, events);
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
        let credentials = BTreeSet::from(["db".to_owned()]);
        assert_eq!(outcome(), NotifyOutcome::Success { credentials, version: "2".to_owned() });
        assert!(directory.path().join("reload").exists());
    }

    fn application(on_change: &str, header_of: Option<&str>) -> Application {
        let header_of = header_of.map(|name| CredentialName::parse(name).unwrap());
        Application { action: OnChange::parse(on_change).unwrap(), header_of }
    }

    #[test]
    fn a_notification_waits_for_its_header() {
        let mailbox = mailbox(Some(notification("a", "1")), None);
        let next = || mailbox.lock().next(true);
        assert_eq!(next(), None);
        mailbox.lock().header = Some(Header { name: "X-Key".to_owned(), value: "test-key".into() });
        assert_eq!((next(), next()), (Some(notification("a", "1")), None));
    }

    #[test]
    fn credentials_with_headers_do_not_share_an_application() {
        let url = "POST https://app/reload?token=test-token";
        let all = [None, Some("a"), Some("b")].map(|header_of| application(url, header_of));
        let shown: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown.into_iter().collect::<Vec<_>>(),
            [
                "POST \"https://app/reload\"",
                "POST \"https://app/reload\" with the header of credential a",
                "POST \"https://app/reload\" with the header of credential b",
            ]
        );
    }

    #[test]
    fn a_refused_request_says_what_to_correct() {
        for (status, has_header, part) in [
            (401, true, "check the header in .on-change-header"),
            (403, true, "check the header in .on-change-header"),
            (401, false, "set the header that the URL requires with .on-change-header"),
            (308, false, "podcreds follows no redirect"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let message = NotifyError::Status { status, has_header }.to_string();
            assert!(message.contains(part), "{message}");
        }
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let message = NotifyError::Status { status, has_header: true }.to_string();
        assert_eq!(message, "HTTP status 503 Service Unavailable");
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

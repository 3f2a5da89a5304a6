//! The long-running mode: keeps the files current while their sources change.
//!
//! [`controller`] decides, as a pure state machine. [`shell`] executes: it has the queue of events, the clock, the [`sink`], and
//! the threads that read ([`fetch`]), watch ([`watcher`]) and notify ([`notify`]), and the one that follows changes of [`kubeconfigs`].

mod controller;
mod earlier;
mod fetch;
mod kubeconfigs;
pub(crate) mod notify;
mod placement;
mod shell;
mod sink;
mod watcher;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use log::warn;

use crate::credential::Credential;
use crate::kube::config::registry::Clusters;
use crate::kube::{self, Backoff, Deadline};
use crate::sidecar::controller::{MAX_DELAY, MAX_RETRY_AFTER};
use crate::sidecar::shell::Shell;
use crate::sync::{self, Error};
use crate::telemetry::events::{EventTarget, Events};
use crate::telemetry::{Component, Health, Heartbeat, Moment, Reason};

pub(crate) use sink::{Memory, Rotation, Sink};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) sync: Arc<sync::Settings>,
    pub(crate) watch: WatchSettings,
    /// What to do with the files of a deleted source.
    pub(crate) on_delete: OnDelete,
    /// Whether to apply annotations that are edited after the start.
    pub(crate) follow_annotations: bool,
    /// How long a failure may last before it is reported as staleness.
    pub(crate) stale_after: Duration,
    /// How long before a certificate expires the log and an Event report it.
    pub(crate) expiry_warning: Duration,
    /// `None` disables Events.
    pub(crate) events: Option<EventTarget>,
    /// A PEM file of certificate authorities for `.on-change` with an `https` URL, beside those of the system.
    pub(crate) on_change_ca: Option<PathBuf>,
    /// The exit code after a rotation; `None` means that the sidecar keeps running.
    pub(crate) exit_on_change: Option<u8>,
    /// The longest delay before applications react to a rotation, unless a credential has its own.
    pub(crate) splay: Duration,
}

/// How a sidecar with [`Settings::exit_on_change`] ends.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    /// The credentials that have rotated.
    pub(crate) reason: String,
}

/// How changes are detected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchSettings {
    /// Whether to watch objects; otherwise all are polled.
    pub(crate) is_enabled: bool,
    /// How often to read objects that are not watched.
    pub(crate) poll_interval: Duration,
    /// How often to read watched objects in addition to the events of their watches; `None` means never.
    pub(crate) resync: Option<Duration>,
    /// The requested duration of a watch. A watch that is silent for 2.5 minutes, or for longer than this duration plus a tenth,
    /// is dead.
    pub(crate) timeout: Duration,
}

/// What to do with the files of a deleted source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDelete {
    Keep,
    Clear,
}

/// Publishes all credentials to the sink and keeps them current. Returns only if it cannot start, or after a rotation if
/// [`Settings::exit_on_change`] is set.
///
/// # Errors
/// Wrong annotations. All other failures are retried.
pub(crate) fn run(
    settings: Settings,
    mut sink: Sink,
    clusters: Arc<Clusters>,
    health: &Arc<Health>,
) -> Result<Exit, Error> {
    let recorder = match settings.events.clone() {
        Some(target) => {
            Events::start(Arc::clone(&clusters), target, settings.sync.timeout, Arc::clone(health))
        }
        None => Events::off(Arc::clone(health)),
    };
    let heartbeat = health.heartbeat("main loop");
    let (credentials, pod) = first_credentials(&settings.sync, &clusters, health, &recorder, &heartbeat)?;
    if settings.exit_on_change.is_some()
        && let Some(credential) = credentials.iter().find(|credential| credential.on_change.is_some())
    {
        let name = &credential.name;
        warn!(credential:% = name; "credential {name}: ignoring .on-change, because --exit-on-change ends podcreds after a rotation");
    }
    let own = settings.sync.annotations.pod().cloned();
    let credentials = sink.select(credentials);
    let shell = Shell::new(settings, &clusters, Arc::clone(health), heartbeat, recorder, sink);
    if let Some(own) = own {
        placement::check(&pod, own, &clusters, shell.events());
    }
    drop(pod);
    shell.run(credentials)
}

/// Reads the pod at the start: the credentials that its annotations describe, and the other fields that podcreds uses. Retries until it succeeds.
fn first_credentials(
    settings: &sync::Settings,
    clusters: &Clusters,
    health: &Health,
    recorder: &Events,
    heartbeat: &Heartbeat,
) -> Result<(Vec<Credential>, kube::PartialJson), Error> {
    let mut backoff = Backoff::up_to(MAX_DELAY);
    loop {
        heartbeat.beat(settings.timeout.saturating_add(clusters.own().plugin_timeout()));
        let found = sync::credentials(settings, clusters, false, Deadline::after(settings.timeout));
        let Err(Error::Unread { errors, hint, .. }) = &found else {
            health.status().healthy(&Component::Annotations);
            return found;
        };
        let reason = errors.first().map_or(Reason::ApiUnreachable, Reason::from);
        let message = format!("{}; retrying", sync::unread::sidecar_message(errors, hint.as_deref()));
        health.status().failing(Moment::now(), Component::Annotations, reason, &message);
        // The recorder may need the status itself.
        let reports = health.status().take_reports();
        shell::report_all(&reports, recorder);
        let retry_after = errors.iter().filter_map(kube::Error::retry_after).max().unwrap_or_default();
        let delay = backoff.delay().max(retry_after.min(MAX_RETRY_AFTER));
        heartbeat.beat(delay);
        sleep(delay);
    }
}

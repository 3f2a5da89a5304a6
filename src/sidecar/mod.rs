//! The long-running mode: keeps the files current while their sources change.
//!
//! A watch thread per source reports changes. The main loop (`controller`) reads the changed objects, renders and publishes with the
//! code of `init`. With several clusters, each cluster's objects are read in the background (`fetch`). `source_store` has the last
//! content of each source: a source that cannot be read keeps it, and delays no other source.

mod controller;
mod event;
mod fetch;
pub(crate) mod notify;
mod source_store;
mod status;
mod watcher;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use log::warn;

use crate::credential::Credential;
use crate::kube::config::registry::Clusters;
use crate::kube::{self, Deadline};
use crate::object::ObjectRef;
use crate::sidecar::controller::Controller;
use crate::sidecar::event::RetryTimer;
use crate::sidecar::fetch::Fetcher;
use crate::sidecar::status::StatusReporter;
use crate::sync::{self, Error};
use crate::telemetry::events::Events;
use crate::telemetry::{Component, Health, Heartbeat, Reason};
use crate::volume::Volume;

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) sync: sync::Settings,
    /// The directory to write.
    pub(crate) volume: PathBuf,
    /// How long to keep a superseded version.
    pub(crate) grace: Duration,
    pub(crate) watch: WatchSettings,
    /// What to do with the files of a deleted source.
    pub(crate) on_delete: OnDelete,
    /// Whether to apply annotations that are edited after the start.
    pub(crate) follow_annotations: bool,
    /// How long a failure may last before it is reported as staleness.
    pub(crate) stale_after: Duration,
    /// `None` disables Events.
    pub(crate) events: Option<EventTarget>,
    /// The exit code after a rotation; `None` means that the sidecar keeps running.
    pub(crate) exit_on_change: Option<u8>,
}

/// How a sidecar with [`Settings::exit_on_change`] ends.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    /// The credentials that have rotated.
    pub(crate) reason: String,
}

/// The pod that Events are about.
#[derive(Clone, Debug)]
pub(crate) struct EventTarget {
    pub(crate) pod: ObjectRef,
    /// `None` means that it is read from the pod.
    pub(crate) uid: Option<String>,
}

/// How changes are detected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchSettings {
    /// Whether to watch objects; otherwise all are polled.
    pub(crate) is_enabled: bool,
    /// How often to read objects that are not watched.
    pub(crate) poll_interval: Duration,
    /// How often to read watched objects; `None` means only after a change.
    pub(crate) resync: Option<Duration>,
    /// The requested duration of a watch. A connection that is silent for longer is dead.
    pub(crate) timeout: Duration,
}

/// What to do with the files of a deleted source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDelete {
    Keep,
    Clear,
}

/// Writes all credentials and keeps them current. Returns only if it cannot start, or after a rotation if
/// [`Settings::exit_on_change`] is set.
///
/// # Errors
/// A volume that cannot be opened, or wrong annotations. All other failures are retried.
pub(crate) fn run(settings: Settings, clusters: Clusters, health: &Arc<Health>) -> Result<Exit, Error> {
    let volume = Volume::open(&settings.volume, settings.grace)?;
    let (settings, clusters) = (Arc::new(settings), Arc::new(clusters));
    let events = match settings.events.clone() {
        Some(EventTarget { pod, uid }) => {
            Events::start(clusters.own(), pod, uid, settings.sync.timeout, Arc::clone(health))
        }
        None => Events::off(Arc::clone(health)),
    };
    let (sender, queue) = event::queue();
    let status =
        Arc::new(StatusReporter::new(Arc::clone(health), events, settings.stale_after, sender.clone()));
    let heartbeat = health.heartbeat("main loop");
    let credentials = credentials(&settings.sync, &clusters, &status, &heartbeat)?;
    if settings.exit_on_change.is_some()
        && let Some(credential) = credentials.iter().find(|credential| credential.on_change.is_some())
    {
        let name = &credential.name;
        warn!(credential:% = name; "credential {name}: ignoring .on-change, because --exit-on-change ends podcreds after a rotation");
    }
    let fetcher =
        Fetcher { clusters, timeout: settings.sync.timeout, health: Arc::clone(health), events: sender };
    let mut controller = Controller::start(settings, fetcher, status, heartbeat, queue, volume, credentials);
    loop {
        if let Some(exit) = controller.run_once() {
            return Ok(exit);
        }
    }
}

/// Reads the pod's annotations. Retries until it succeeds.
fn credentials(
    settings: &sync::Settings,
    clusters: &Clusters,
    status: &StatusReporter,
    heartbeat: &Heartbeat,
) -> Result<Vec<Credential>, Error> {
    let mut timer = RetryTimer::due();
    loop {
        heartbeat.beat(settings.timeout.saturating_add(clusters.own().plugin_timeout()));
        match sync::credentials(settings, clusters, Deadline::after(settings.timeout)) {
            Err(Error::Unread { errors, .. }) => {
                let message = format!("{}; retrying", join(&errors));
                status.failing(Component::Annotations, reason(&errors), &message);
                let retry_after = errors.iter().filter_map(kube::Error::retry_after).max();
                let delay = timer.failed(retry_after.unwrap_or_default());
                heartbeat.beat(delay);
                sleep(delay);
            }
            result => {
                status.healthy(&Component::Annotations);
                return result;
            }
        }
    }
}

fn reason(errors: &[kube::Error]) -> Reason {
    errors.first().map_or(Reason::ApiUnreachable, Reason::from)
}

fn join(errors: &[kube::Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

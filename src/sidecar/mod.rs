//! The long-running mode: credentials that follow their sources.
//!
//! One thread for each source says that it has changed (`watcher`); this one has it read in the background (`reading`), renders
//! and publishes, through the same code as `init`. What it holds of each source is in `held`: a source that cannot be read
//! keeps what it last held, and holds up no other; nor does a cluster that does not answer.

mod edits;
mod follower;
mod held;
mod kept;
pub(crate) mod notify;
mod reading;
mod report;
mod rotation;
mod timing;
mod told;
mod watcher;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use log::warn;

use crate::credential::Credential;
use crate::kube::config::registry::Clusters;
use crate::kube::{self, Deadline};
use crate::object::ObjectRef;
use crate::sidecar::follower::Follower;
use crate::sidecar::reading::Reader;
use crate::sidecar::report::Report;
use crate::sidecar::timing::{Attempt, pause};
use crate::sync::{self, Error};
use crate::telemetry::events::Events;
use crate::telemetry::{Health, Part, Pulse, Reason};
use crate::volume::Volume;

/// What the sidecar needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What a pass needs to know.
    pub(crate) sync: sync::Settings,
    /// The folder to write.
    pub(crate) volume: PathBuf,
    /// How long a version that was swapped out is kept.
    pub(crate) grace: Duration,
    /// How changes are noticed.
    pub(crate) follow: Follow,
    /// What becomes of the files of a Secret that was deleted.
    pub(crate) on_delete: OnDelete,
    /// Whether annotations that are edited after the start are applied.
    pub(crate) follow_annotations: bool,
    /// How long something must fail until the files are called stale.
    pub(crate) stale_after: Duration,
    /// The pod that Events are recorded for; none for no Events.
    pub(crate) events: Option<EventsFor>,
    /// The exit code after a rotation; `None` means that the sidecar follows the next one.
    pub(crate) exit_on_change: Option<u8>,
}

/// How a sidecar with [`Settings::exit_on_change`] ends.
#[derive(Debug)]
pub(crate) struct Exit {
    /// The exit code.
    pub(crate) code: u8,
    /// Which credentials have rotated.
    pub(crate) reason: String,
}

/// Whom Events are recorded for.
#[derive(Clone, Debug)]
pub(crate) struct EventsFor {
    /// The pod.
    pub(crate) pod: ObjectRef,
    /// Its uid, where it need not be asked for.
    pub(crate) uid: Option<String>,
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follow {
    /// Whether the API server is asked to tell; otherwise sources are only read now and then.
    pub(crate) watch: bool,
    /// How often sources are read that are not watched.
    pub(crate) poll_interval: Duration,
    /// How often everything is read besides, where it is watched.
    pub(crate) resync: Option<Duration>,
    /// How long one watch lasts before the next; a line that is silent for longer is dead.
    pub(crate) watch_timeout: Duration,
}

/// What becomes of the files of a source that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDelete {
    /// They stay as they are.
    Keep,
    /// They are cleared away.
    Clear,
}

/// Writes every credential and keeps them current, and reports to `health`. Returns only if it cannot begin, or after a rotation
/// if [`Settings::exit_on_change`] is set.
///
/// # Errors
/// A volume that is not there, or annotations that are wrong. All that may pass is waited out.
pub(crate) fn run(settings: Settings, clusters: Clusters, health: &Arc<Health>) -> Result<Exit, Error> {
    let volume = Volume::open(&settings.volume, settings.grace)?;
    let (settings, clusters) = (Arc::new(settings), Arc::new(clusters));
    let events = match settings.events.clone() {
        Some(EventsFor { pod, uid }) => {
            Events::start(clusters.own(), pod, uid, settings.sync.timeout, Arc::clone(health))
        }
        None => Events::off(Arc::clone(health)),
    };
    let (sender, told) = mpsc::channel();
    let report = Arc::new(Report::new(Arc::clone(health), events, settings.stale_after, sender.clone()));
    let pulse = health.pulse("follower");
    let credentials = credentials(&settings.sync, &clusters, &report, &pulse)?;
    if settings.exit_on_change.is_some()
        && let Some(credential) = credentials.iter().find(|credential| credential.on_change.is_some())
    {
        let name = &credential.name;
        warn!(
            "credential {name}: .on-change has no effect with --exit-on-change, which ends podcreds after a rotation"
        );
    }
    let reader =
        Reader { clusters, timeout: settings.sync.timeout, health: Arc::clone(health), told: sender };
    let mut follower = Follower::start(settings, reader, report, pulse, told, volume, credentials);
    loop {
        if let Some(exit) = follower.turn() {
            return Ok(exit);
        }
    }
}

/// Reads the pod's annotations, however long it takes until they can be read.
fn credentials(
    settings: &sync::Settings,
    clusters: &Clusters,
    report: &Report,
    pulse: &Pulse,
) -> Result<Vec<Credential>, Error> {
    let mut attempt = Attempt::now();
    loop {
        pulse.beat(settings.timeout.saturating_add(clusters.own().plugin_timeout()));
        match sync::credentials(settings, clusters, Deadline::after(settings.timeout)) {
            Err(Error::Unread { errors, .. }) => {
                let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
                let message = format!("{}; going on", said.join("\n  "));
                report.fails(Part::Annotations, reason(&errors), &message);
                let wait = attempt
                    .failed(errors.iter().filter_map(kube::Error::retry_after).max().unwrap_or_default());
                pulse.beat(wait);
                pause(wait);
            }
            result => {
                report.works(&Part::Annotations);
                return result;
            }
        }
    }
}

fn reason(errors: &[kube::Error]) -> Reason {
    errors.first().map_or(Reason::ApiUnreachable, Reason::from)
}

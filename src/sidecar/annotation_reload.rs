//! Reads edited annotations and the objects that they newly name. This happens in the background, so that an object that cannot be
//! read does not delay a rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::credential::Credential;
use crate::kube::Deadline;
use crate::object::ObjectRef;
use crate::sidecar::event::{AnnotationsUpdate, Event, NewSpec};
use crate::sidecar::fetch::Fetcher;
use crate::sidecar::{self, Settings};
use crate::sync::{self, Error, Need};
use crate::telemetry::{Heartbeat, Reason};
use crate::thread::spawn;

/// For reading the annotations once.
const ANNOTATIONS_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the annotations in the background and sends an [`AnnotationsUpdate`]. `current` are the credentials before the edit;
/// `held` are the objects that need not be read again.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start(
    fetcher: &Fetcher,
    settings: &Arc<Settings>,
    current: &Arc<Vec<Credential>>,
    held: BTreeSet<ObjectRef>,
) -> io::Result<()> {
    let (fetcher, settings, current) = (fetcher.clone(), Arc::clone(settings), Arc::clone(current));
    let heartbeat = fetcher.health.heartbeat("annotations");
    let run = move || {
        heartbeat.beat(ANNOTATIONS_TIMEOUT.saturating_add(fetcher.clusters.own().plugin_timeout()));
        let deadline = Deadline::after(ANNOTATIONS_TIMEOUT);
        let update = match sync::credentials(&settings.sync, &fetcher.clusters, deadline) {
            Ok(credentials) if credentials == *current => AnnotationsUpdate::Unchanged,
            Ok(credentials) => fetch_new(&fetcher, credentials, &held, &heartbeat),
            Err(Error::Unread { errors, .. }) => AnnotationsUpdate::Failed {
                reason: sidecar::reason(&errors),
                message: sidecar::join(&errors),
                is_final: false,
            },
            Err(error) => AnnotationsUpdate::Failed {
                reason: Reason::Annotations,
                message: error.to_string(),
                is_final: true,
            },
        };
        // As in `Fetcher::start`.
        drop(heartbeat);
        let _ = fetcher.events.send(Event::Reloaded(Box::new(update)));
    };
    spawn("annotations", run).map(drop)
}

fn fetch_new(
    fetcher: &Fetcher,
    credentials: Vec<Credential>,
    held: &BTreeSet<ObjectRef>,
    heartbeat: &Heartbeat,
) -> AnnotationsUpdate {
    let mut fetched = BTreeMap::new();
    for (object, need) in sync::objects(&credentials) {
        if held.contains(object) {
            continue;
        }
        let found = match fetcher.object(object, heartbeat) {
            Ok(found) => Some(found),
            Err(error) if need == Need::Optional && error.is_not_found() => None,
            Err(error) => {
                let reason = Reason::from(&error);
                return AnnotationsUpdate::Failed { reason, message: error.to_string(), is_final: false };
            }
        };
        fetched.insert(object.clone(), found);
    }
    AnnotationsUpdate::Edited(NewSpec { credentials, fetched })
}

//! Annotations that are edited after the start: they are read in the background, and with them what they name anew, so that an
//! edit which names something that cannot be read holds up no rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::credential::Credential;
use crate::kube::Deadline;
use crate::object::ObjectRef;
use crate::sidecar::reading::{Reader, STACK};
use crate::sidecar::told::{Edit, Look, Told};
use crate::sidecar::{self, Settings};
use crate::sync::{self, Error};
use crate::telemetry::{Pulse, Reason};

/// The bound on reading annotations again.
const ANNOTATIONS_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the annotations, and tells what they say. `known` are the credentials as they are, `held` the objects that need not be
/// read.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn look(
    reader: &Reader,
    settings: &Arc<Settings>,
    known: &Arc<Vec<Credential>>,
    held: BTreeSet<ObjectRef>,
) -> io::Result<()> {
    let (reader, settings, known) = (reader.clone(), Arc::clone(settings), Arc::clone(known));
    let pulse = reader.health.pulse("annotations");
    let thread = thread::Builder::new().name("annotations".into()).stack_size(STACK);
    let read = move || {
        pulse.beat(ANNOTATIONS_TIMEOUT.saturating_add(reader.clusters.own().plugin_timeout()));
        let deadline = Deadline::after(ANNOTATIONS_TIMEOUT);
        let look = match sync::credentials(&settings.sync, &reader.clusters, deadline) {
            Ok(credentials) if credentials == *known => Look::Unchanged,
            Ok(credentials) => read_new(&reader, credentials, &held, &pulse),
            Err(Error::Unread { errors, .. }) => {
                let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
                Look::Failed { reason: sidecar::reason(&errors), said: said.join("\n  "), is_final: false }
            }
            Err(error) => {
                Look::Failed { reason: Reason::Annotations, said: error.to_string(), is_final: true }
            }
        };
        // Without a receiver the process is about to end.
        let _ = reader.told.send(Told::Looked(Box::new(look)));
    };
    thread.spawn(read).map(drop)
}

fn read_new(
    reader: &Reader,
    credentials: Vec<Credential>,
    held: &BTreeSet<ObjectRef>,
    pulse: &Pulse,
) -> Look {
    // An object is optional if it is for all that name it.
    let mut wanted = BTreeMap::new();
    for credential in &credentials {
        for object in credential.objects().filter(|object| !held.contains(object)) {
            *wanted.entry(object.clone()).or_insert(true) &= credential.optional;
        }
    }
    let mut read = BTreeMap::new();
    for (object, optional) in wanted {
        let found = match reader.object(&object, pulse) {
            Ok(found) => Some(found),
            Err(error) if optional && error.is_not_found() => None,
            Err(error) => {
                let reason = Reason::from(&error);
                return Look::Failed { reason, said: error.to_string(), is_final: false };
            }
        };
        read.insert(object, found);
    }
    Look::Edited(Edit { credentials, read })
}

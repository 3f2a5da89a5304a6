//! What is done after a rotation: each application is told in the background, by a thread of its own, until it has
//! taken the notice. A dead application holds nothing up. Rotations that come while it is told become one more notice.

mod http;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use log::{debug, info, warn};
use serde::Serialize;

use crate::credential::{Credential, OnChange};
use crate::kube::Backoff;
use crate::telemetry::Health;
use crate::volume::Volume;

/// The most that is waited between attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Enough for an HTTP request.
const STACK: usize = 256 * 1024;

/// What an application is told. No value is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    /// The credentials that have changed, in order of name.
    pub(crate) credentials: BTreeSet<String>,
    /// The pod, where its name is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The version that holds the change.
    pub(crate) version: String,
}

/// All applications that are told.
pub(crate) struct Notifier {
    slots: BTreeMap<OnChange, Arc<Slot>>,
    health: Arc<Health>,
}

/// The notice that an application has not taken yet.
#[derive(Default)]
struct Slot {
    content: Mutex<Content>,
    filled: Condvar,
}

#[derive(Default)]
struct Content {
    pending: Option<Notice>,
    /// Nobody wants this any more.
    gone: bool,
}

impl Notifier {
    /// Starts a thread for each thing that the credentials want done. `volume` is where files are touched.
    pub(crate) fn start(credentials: &[Credential], volume: &Path, health: Arc<Health>) -> Self {
        let mut notifier = Self { slots: BTreeMap::new(), health };
        notifier.adopt(credentials, volume);
        notifier
    }

    /// Starts what other credentials want done, and ends what none wants any more.
    pub(crate) fn adopt(&mut self, credentials: &[Credential], volume: &Path) {
        self.slots.retain(|target, slot| {
            let keep = credentials.iter().any(|credential| credential.on_change.as_ref() == Some(target));
            if !keep {
                slot.lock().gone = true;
                slot.filled.notify_one();
            }
            keep
        });
        for target in credentials.iter().filter_map(|credential| credential.on_change.as_ref()) {
            if !self.slots.contains_key(target) {
                let slot = start(target.clone(), volume.to_owned(), Arc::clone(&self.health));
                self.slots.insert(target.clone(), slot);
            }
        }
    }

    /// Notes that these credentials have changed. What was noted before and is not told yet becomes part of it.
    pub(crate) fn notify<'a>(&self, changed: impl Iterator<Item = &'a Credential>, notice: &Notice) {
        let mut named = BTreeMap::<&OnChange, BTreeSet<String>>::new();
        for credential in changed {
            if let Some(target) = &credential.on_change {
                named.entry(target).or_default().insert(credential.name.to_string());
            }
        }
        for (target, credentials) in named {
            if let Some(slot) = self.slots.get(target) {
                let notice = slot.merge(Notice { credentials, ..notice.clone() }, false);
                slot.lock().pending = Some(notice);
                slot.filled.notify_one();
            }
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a notice; none when there will be no more.
    fn take(&self) -> Option<Notice> {
        let mut content = self.lock();
        loop {
            if content.gone {
                return None;
            }
            match content.pending.take() {
                Some(notice) => return Some(notice),
                None => content = self.filled.wait(content).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// This notice together with the one that waits. Which of them is the newer says whose version it has.
    fn merge(&self, notice: Notice, waiting_is_newer: bool) -> Notice {
        match self.lock().pending.take() {
            None => notice,
            Some(waiting) => {
                let (mut newer, older) = if waiting_is_newer { (waiting, notice) } else { (notice, waiting) };
                newer.credentials.extend(older.credentials);
                newer
            }
        }
    }
}

fn start(target: OnChange, volume: PathBuf, health: Arc<Health>) -> Arc<Slot> {
    let slot = Arc::new(Slot::default());
    let taken = Arc::clone(&slot);
    let name = target.to_string();
    let started = thread::Builder::new()
        .name("notify".into())
        .stack_size(STACK)
        .spawn(move || tell(&taken, &target, &volume, &health));
    if let Err(error) = started {
        warn!("{name} will not be done: no thread can be started: {error}");
    }
    slot
}

/// Tells one application, until nobody wants that any more.
fn tell(slot: &Slot, target: &OnChange, volume: &Path, health: &Health) {
    let name = target.to_string();
    let mut backoff = Backoff::up_to(LONGEST_DELAY);
    while let Some(mut notice) = slot.take() {
        let mut said = String::new();
        while let Err(reason) = attempt(target, &notice, volume) {
            health.not_told(&name);
            let delay = backoff.delay();
            if said == reason {
                debug!("{target}: {reason}");
            } else {
                warn!("{target}: {reason}; trying again until it works");
                said = reason;
            }
            thread::sleep(delay);
            if slot.lock().gone {
                health.need_not_be_told(&name);
                return;
            }
            notice = slot.merge(notice, true);
        }
        backoff.reset();
        health.told(&name);
        info!("{target}: done for version {}", notice.version);
    }
}

fn attempt(target: &OnChange, notice: &Notice, volume: &Path) -> Result<(), String> {
    match target {
        OnChange::Post(url) => http::post(url, notice),
        OnChange::Get(url) => http::get(url),
        OnChange::Signal { signal, process } => process::signal(*signal, process),
        OnChange::Touch(path) => {
            let volume = Volume::open(volume, Duration::ZERO).map_err(|error| error.to_string())?;
            volume.touch(path).map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(credential: &str, version: &str) -> Notice {
        let credentials = BTreeSet::from([credential.to_owned()]);
        Notice { credentials, pod: None, namespace: "prod".into(), version: version.into() }
    }

    #[test]
    fn what_comes_while_something_is_untold_becomes_one_notice_of_the_newest_version() {
        let slot = Slot::default();
        assert_eq!(slot.merge(notice("a", "1"), true), notice("a", "1"));
        slot.lock().pending = Some(notice("b", "2"));
        let merged = slot.merge(notice("a", "1"), true);
        assert_eq!(merged.version, "2");
        assert_eq!(merged.credentials, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert!(slot.lock().pending.is_none());
        slot.lock().gone = true;
        assert!(slot.take().is_none());
    }

    #[test]
    fn a_notice_is_small_json_without_values() {
        let json =
            serde_json::to_string(&Notice { pod: Some("app-0".into()), ..notice("db", "..2026") }).unwrap();
        assert_eq!(json, r#"{"credentials":["db"],"pod":"app-0","namespace":"prod","version":"..2026"}"#);
    }
}

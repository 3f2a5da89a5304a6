//! What the sidecar holds of each source, and when it is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::info;

use crate::credential::Credential;
use crate::health::{Part, Pulse, Reason};
use crate::kube::{Client, Deadline, Error, Object};
use crate::object::ObjectRef;
use crate::render::Sources;
use crate::sidecar::OnDelete;
use crate::sidecar::report::Report;
use crate::sidecar::timing::Attempt;
use crate::sidecar::told::Noticed;
use crate::sync;

/// The sources of all credentials. What was read once is held until something newer is read.
pub(super) struct Held {
    sources: Sources,
    states: BTreeMap<ObjectRef, State>,
    on_delete: OnDelete,
    /// The bound on one attempt to read an object.
    timeout: Duration,
    report: Arc<Report>,
    pulse: Pulse,
}

struct State {
    /// Whether all credentials that name it can do without.
    optional: bool,
    version: Option<String>,
    attempt: Attempt,
    /// Since when it may be another than what was read.
    noticed: Option<Instant>,
}

impl Held {
    /// Nothing yet of all that the credentials name; all is due to be read.
    pub(super) fn new(
        credentials: &[Credential],
        on_delete: OnDelete,
        timeout: Duration,
        report: Arc<Report>,
        pulse: Pulse,
    ) -> Self {
        let states = Self::states(credentials, |_| State::new());
        Self { sources: Sources::new(), states, on_delete, timeout, report, pulse }
    }

    fn states(
        credentials: &[Credential],
        mut state: impl FnMut(&ObjectRef) -> State,
    ) -> BTreeMap<ObjectRef, State> {
        let mut states = BTreeMap::<_, State>::new();
        for credential in credentials {
            for object in credential.objects() {
                let state =
                    states.entry(object.clone()).or_insert_with(|| State { optional: true, ..state(object) });
                state.optional &= credential.optional;
            }
        }
        states
    }

    /// Goes over to other credentials. What they still name stays held, and what is new is read first: as long as that
    /// fails, nothing changes.
    ///
    /// # Errors
    /// Why a new object cannot be read, or why nothing can be made of them all.
    pub(super) fn adopt(
        &mut self,
        credentials: &[Credential],
        client: &Client,
    ) -> Result<(), (Reason, String)> {
        let mut read = BTreeMap::new();
        for (object, state) in Self::states(credentials, |_| State::new()) {
            if self.sources.contains_key(&object) {
                continue;
            }
            self.pulse.beat(self.timeout);
            let found = match client.object(&object, Deadline::after(self.timeout)) {
                Err(error) if state.optional && error.is_not_found() => None,
                found => Some(found.map_err(|error| (Reason::from(&error), error.to_string()))?),
            };
            read.insert(object, found);
        }
        self.check(credentials, &read).map_err(|error| (Reason::Annotations, error.to_string()))?;
        let mut before = std::mem::take(&mut self.states);
        let was_optional: BTreeMap<_, _> =
            before.iter().map(|(object, state)| (object.clone(), state.optional)).collect();
        self.states = Self::states(credentials, |object| before.remove(object).unwrap_or_else(State::new));
        // What no credential names any more cannot be stale.
        for object in before.keys() {
            self.report.works(&Part::Source(object.clone()));
        }
        self.sources.retain(|object, _| self.states.contains_key(object));
        for (object, state) in &mut self.states {
            if was_optional.get(object).is_some_and(|was| *was != state.optional) {
                state.attempt.at = Some(Instant::now());
            }
        }
        for (object, found) in read {
            if let Some(state) = self.states.get_mut(&object) {
                state.attempt.succeeded();
                state.noticed = None;
                self.report.works(&Part::Source(object.clone()));
                state.version = found.as_ref().map(|found| found.version.clone());
            }
            self.sources.insert(object, found.map(|found| found.data));
        }
        Ok(())
    }

    /// Makes sure that the credentials can be rendered from what is held and what was read for them.
    fn check(
        &self,
        credentials: &[Credential],
        read: &BTreeMap<ObjectRef, Option<Object>>,
    ) -> Result<(), sync::Error> {
        let mut sources = self.sources.clone();
        let data = |found: &Object| found.data.clone();
        sources.extend(read.iter().map(|(object, found)| (object.clone(), found.as_ref().map(data))));
        sync::render(credentials, &sources).map(drop)
    }

    /// Whether a source of this credential is known to be missing.
    pub(super) fn lacks_a_source(&self, credential: &Credential) -> bool {
        credential.objects().any(|object| matches!(self.sources.get(object), Some(None)))
    }

    /// The objects, each with the version that was read.
    pub(super) fn versions(&self) -> impl Iterator<Item = (ObjectRef, Option<String>)> {
        self.states.iter().map(|(object, state)| (object.clone(), state.version.clone()))
    }

    /// All sources, once each was read or found to be missing where it may be.
    pub(super) fn sources(&self) -> Option<&Sources> {
        (self.sources.len() == self.states.len()).then_some(&self.sources)
    }

    /// This object may have changed.
    pub(super) fn expect(&mut self, change: &Noticed) {
        if let Some(state) = self.states.get_mut(&change.object) {
            state.attempt.expect();
            state.noticed.get_or_insert(change.at);
        }
    }

    /// Everything may have changed.
    pub(super) fn expect_all(&mut self) {
        self.states.values_mut().for_each(|state| state.attempt.expect());
    }

    /// When the next object is due to be read.
    pub(super) fn next_attempt(&self) -> Option<Instant> {
        self.states.values().filter_map(|state| state.attempt.at).min()
    }

    /// Reads what is due; if anything has changed, returns since when the first of it was expected.
    pub(super) fn read_due(&mut self, client: &Client) -> Option<Instant> {
        let due: BTreeSet<_> = self
            .states
            .iter()
            .filter(|(_, state)| state.attempt.is_due())
            .map(|(object, _)| object.clone())
            .collect();
        let mut first = None;
        for object in due {
            self.pulse.beat(self.timeout);
            let started = Instant::now();
            let read = client.object(&object, Deadline::after(self.timeout));
            first = [first, self.take(&object, read, started)].into_iter().flatten().min();
        }
        first
    }

    /// Holds what was read; if that is new, returns since when it was expected.
    fn take(&mut self, object: &ObjectRef, read: Result<Object, Error>, started: Instant) -> Option<Instant> {
        let state = self.states.get_mut(object)?;
        let source = Part::Source(object.clone());
        let noticed = state.noticed.unwrap_or(started);
        match read {
            Ok(Object { version, data }) => {
                state.attempt.succeeded();
                state.noticed = None;
                if self.report.works(&source) {
                    info!("{object} can be read again");
                }
                state.version = Some(version);
                let changed = self.sources.get(object).and_then(Option::as_ref) != Some(&data);
                self.sources.insert(object.clone(), Some(data));
                changed.then_some(noticed)
            }
            Err(error) if error.is_not_found() => {
                state.version = None;
                let had = self.sources.get(object).is_some_and(Option::is_some);
                let known = self.sources.contains_key(object);
                let clear = had && self.on_delete == OnDelete::Clear;
                if known || state.optional {
                    // Its watch tells when it is made again; where there is none, it is asked for in turn.
                    state.attempt.succeeded();
                    state.noticed = None;
                } else {
                    state.attempt.failed(Duration::ZERO);
                }
                // What was cleared stays cleared, and is no failure.
                let cleared = known && !had && self.on_delete == OnDelete::Clear;
                if clear {
                    let message = format!("{error}; its files are cleared away (--on-delete clear)");
                    self.report.cleared(&source, &message);
                } else if cleared || (state.optional && !had) {
                    self.report.makes_do(&source, &error.to_string());
                }
                if clear || cleared || (state.optional && !had) {
                    self.sources.insert(object.clone(), None);
                    return (clear || !known).then_some(noticed);
                }
                let stay =
                    if had { "; its files stay as they are (--on-delete keep)" } else { "; waiting for it" };
                self.report.fails(source, Reason::from(&error), &format!("{error}{stay}"));
                None
            }
            Err(error) => {
                state.attempt.failed(error.retry_after().unwrap_or_default());
                let message = format!("{error}; the files stay as they are");
                self.report.fails(source, Reason::from(&error), &message);
                None
            }
        }
    }
}

impl State {
    fn new() -> Self {
        Self { optional: true, version: None, attempt: Attempt::now(), noticed: None }
    }
}

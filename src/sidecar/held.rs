//! What the sidecar holds of each source, and when it is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::info;

use crate::credential::Credential;
use crate::kube::Object;
use crate::object::{ClusterRef, ObjectRef};
use crate::render::Sources;
use crate::sidecar::OnDelete;
use crate::sidecar::reading::Wanted;
use crate::sidecar::report::Report;
use crate::sidecar::timing::Attempt;
use crate::sidecar::told::{Batch, Edit, Noticed, Read};
use crate::sync;
use crate::telemetry::{Part, Reason};

/// The sources of all credentials. What was read once is held until something newer is read.
pub(crate) struct Held {
    sources: Sources,
    states: BTreeMap<ObjectRef, State>,
    /// The clusters whose objects are being read.
    reading: BTreeSet<ClusterRef>,
    on_delete: OnDelete,
    /// Whether an earlier run has published in this volume.
    restarted: bool,
    report: Arc<Report>,
}

struct State {
    /// Whether all credentials that name it can do without.
    optional: bool,
    version: Option<String>,
    attempt: Attempt,
    /// Whether an attempt to read it has come to an end.
    attempted: bool,
    /// Since when it may be another than what was read.
    noticed: Option<Instant>,
}

impl Held {
    /// Nothing yet of all that the credentials name; all is due to be read.
    pub(crate) fn new(
        credentials: &[Credential],
        on_delete: OnDelete,
        restarted: bool,
        report: Arc<Report>,
    ) -> Self {
        let states = Self::states(credentials, |_| State::new());
        Self { sources: Sources::new(), states, reading: BTreeSet::new(), on_delete, restarted, report }
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

    /// Goes over to other credentials. What they still name stays held, and what is new was read: otherwise nothing changes.
    ///
    /// # Errors
    /// Why nothing can be made of them all.
    pub(crate) fn adopt(&mut self, edit: Edit) -> Result<Vec<Credential>, sync::Error> {
        let Edit { credentials, mut read } = edit;
        // What was read for itself meanwhile is newer, or will be read again.
        read.retain(|object, _| !self.sources.contains_key(object));
        self.check(&credentials, &read)?;
        let mut before = std::mem::take(&mut self.states);
        let was_optional =
            before.iter().map(|(object, state)| (object.clone(), state.optional)).collect::<BTreeMap<_, _>>();
        self.states = Self::states(&credentials, |object| before.remove(object).unwrap_or_else(State::new));
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
                // What was due before is still to be read: it may have been told of a change since then.
                if !was_optional.contains_key(&object) {
                    state.attempt.begin();
                }
                state.attempt.succeeded();
                state.attempted = true;
                self.report.works(&Part::Source(object.clone()));
                state.version = found.as_ref().map(|found| found.version.clone());
            }
            self.sources.insert(object, found.map(|found| found.data));
        }
        Ok(credentials)
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
    pub(crate) fn lacks_a_source(&self, credential: &Credential) -> bool {
        credential.objects().any(|object| matches!(self.sources.get(object), Some(None)))
    }

    /// The objects of which it is known whether they can be read, each with the version that was read.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (ObjectRef, Option<String>)> {
        let attempted = self.states.iter().filter(|(_, state)| state.attempted);
        attempted.map(|(object, state)| (object.clone(), state.version.clone()))
    }

    /// Whether all that the credentials name was read, or found to be missing where it may be.
    pub(crate) fn is_complete(&self) -> bool {
        self.sources.len() == self.states.len()
    }

    /// What was read, or found to be missing where it may be.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether a source of this credential was never read.
    pub(crate) fn lacks(&self, credential: &Credential) -> bool {
        credential.objects().any(|object| !self.sources.contains_key(object))
    }

    /// What is held, by name.
    pub(crate) fn objects(&self) -> BTreeSet<ObjectRef> {
        self.sources.keys().cloned().collect::<BTreeSet<_>>()
    }

    /// This object may have changed.
    pub(crate) fn expect(&mut self, change: &Noticed) {
        if let Some(state) = self.states.get_mut(&change.object) {
            state.attempt.expect();
            state.noticed.get_or_insert(change.at);
        }
    }

    /// Everything may have changed.
    pub(crate) fn expect_all(&mut self) {
        self.states.values_mut().for_each(|state| state.attempt.expect());
    }

    /// When the next object is due to be read, of a cluster where nothing is being read.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        let free = self.states.iter().filter(|(object, _)| !self.reading.contains(&object.cluster));
        free.filter_map(|(_, state)| state.attempt.at).min()
    }

    /// What is due to be read, by cluster. It is being read from now on.
    pub(crate) fn begin_reads(&mut self) -> BTreeMap<ClusterRef, Vec<Wanted>> {
        let mut due = BTreeMap::<_, Vec<_>>::new();
        for (object, state) in &mut self.states {
            if state.attempt.is_due() && !self.reading.contains(&object.cluster) {
                state.attempt.begin();
                let wanted = Wanted { object: object.clone(), noticed: state.noticed.take() };
                due.entry(object.cluster.clone()).or_default().push(wanted);
            }
        }
        self.reading.extend(due.keys().cloned());
        due
    }

    /// Holds what was read; if anything has changed, returns since when the first of it was expected.
    pub(crate) fn take(&mut self, Batch { cluster, reads }: Batch) -> Option<Instant> {
        self.reading.remove(&cluster);
        reads.into_iter().filter_map(|read| self.take_one(read)).min()
    }

    /// Nothing could be read, for want of a thread.
    pub(crate) fn cannot_read(&mut self, cluster: &ClusterRef, wanted: &[Wanted], cause: &io::Error) {
        self.reading.remove(cluster);
        for Wanted { object, noticed } in wanted {
            let Some(state) = self.states.get_mut(object) else { continue };
            state.attempt.failed(Duration::ZERO);
            state.noticed = state.noticed.or(*noticed);
            let message = format!("{object} cannot be read: no thread can be started: {cause}");
            self.report.fails(Part::Source(object.clone()), Reason::ApiUnreachable, &message);
        }
    }

    /// Holds one object; if it is new, returns since when it was expected.
    fn take_one(&mut self, Read { object, since, started, result }: Read) -> Option<Instant> {
        let object = &object;
        let state = self.states.get_mut(object)?;
        state.attempted = true;
        let source = Part::Source(object.clone());
        let noticed = since.unwrap_or(started);
        match result {
            Ok(Object { version, data }) => {
                state.attempt.succeeded();
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
                // After a restart, an object that is gone was deleted or cleared before.
                let gone = !known && self.restarted;
                let clear = (had || gone) && self.on_delete == OnDelete::Clear;
                if known || clear || state.optional {
                    // Its watch tells when it is made again; where there is none, it is asked for in turn.
                    state.attempt.succeeded();
                } else {
                    state.attempt.failed(Duration::ZERO);
                    state.noticed = since.or(state.noticed);
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
                state.noticed = since.or(state.noticed);
                let message = format!("{error}; the files stay as they are");
                self.report.fails(source, Reason::from(&error), &message);
                None
            }
        }
    }
}

impl State {
    fn new() -> Self {
        Self { optional: true, version: None, attempt: Attempt::now(), attempted: false, noticed: None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::annotations::{self, ReferenceScope};
    use crate::object::Namespace;
    use crate::secret::SecretBytes;
    use crate::telemetry::Health;
    use crate::telemetry::events::Events;

    fn credentials() -> Vec<Credential> {
        let named = BTreeMap::from([("podcreds.io/db.secret".to_owned(), "db".to_owned())]);
        annotations::parse(&named, "podcreds.io", &ReferenceScope::local(Namespace::parse("prod").unwrap()))
            .unwrap()
    }

    fn held(credentials: &[Credential]) -> Held {
        let health = Arc::new(Health::new(Vec::new()));
        let events = Events::off(Arc::clone(&health));
        let report = Report::new(health, events, Duration::ZERO, mpsc::channel().0);
        Held::new(credentials, OnDelete::Keep, false, Arc::new(report))
    }

    fn version(version: &str) -> Object {
        let data = [("password".to_owned(), SecretBytes::from(version))].into_iter().collect();
        Object { version: version.to_owned(), data }
    }

    fn edit(credentials: &[Credential], object: &ObjectRef, read: &str) -> Edit {
        Edit {
            credentials: credentials.to_vec(),
            read: BTreeMap::from([(object.clone(), Some(version(read)))]),
        }
    }

    #[test]
    fn an_edit_brings_back_nothing_older_than_what_was_read_while_it_was_looked_at() {
        let credentials = credentials();
        let object = credentials[0].objects().next().unwrap().clone();
        let mut held = held(&credentials);
        let [wanted] = &held.begin_reads().remove(&ClusterRef::Local).unwrap()[..] else {
            panic!("one object is due")
        };
        let edit = edit(&credentials, &wanted.object, "1");
        let read =
            Read { object: object.clone(), since: None, started: Instant::now(), result: Ok(version("2")) };
        assert!(held.take(Batch { cluster: ClusterRef::Local, reads: vec![read] }).is_some());
        held.adopt(edit).unwrap();
        assert_eq!(held.sources()[&object].as_ref().unwrap().keys().unwrap()["password"].expose(), b"2");
        assert_eq!(held.versions().next().unwrap().1.as_deref(), Some("2"));
    }

    #[test]
    fn a_change_that_is_told_while_an_edit_is_looked_at_is_read() {
        let credentials = credentials();
        let object = credentials[0].objects().next().unwrap().clone();
        let mut held = held(&credentials);
        let due = held.begin_reads();
        held.cannot_read(&ClusterRef::Local, &due[&ClusterRef::Local], &io::Error::other("test"));
        let edit = edit(&credentials, &object, "1");
        held.expect(&Noticed { object, at: Instant::now() });
        held.adopt(edit).unwrap();
        assert_eq!(held.begin_reads()[&ClusterRef::Local].len(), 1);
    }
}

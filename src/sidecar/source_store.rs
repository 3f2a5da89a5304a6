//! The last known content of each source, and when to read it again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use crate::credential::Credential;
use crate::kube::{Object, log_object};
use crate::object::{ClusterRef, ObjectRef};
use crate::render::Sources;
use crate::sidecar::OnDelete;
use crate::sidecar::event::{Change, FetchBatch, Fetched, NewSpec, RetryTimer};
use crate::sidecar::fetch::FetchRequest;
use crate::sidecar::status::StatusReporter;
use crate::sync::{self, Need};
use crate::telemetry::{Component, Reason};

/// The sources of all credentials. A source keeps its content until newer content is read.
pub(crate) struct SourceStore {
    /// A source that was never read has no entry; one that may be missing and is has `None`.
    sources: Sources,
    states: BTreeMap<ObjectRef, SourceState>,
    /// The clusters whose objects are being read.
    fetching: BTreeSet<ClusterRef>,
    on_delete: OnDelete,
    /// Whether an earlier run has published in this volume.
    restarted: bool,
    status: Arc<StatusReporter>,
}

struct SourceState {
    need: Need,
    /// The resourceVersion that was read last; `None` before, and while the object is missing.
    version: Option<String>,
    timer: RetryTimer,
    /// Whether a read has succeeded or failed.
    attempted: bool,
    /// When the first change was noticed that has not been read yet.
    noticed: Option<Instant>,
}

impl SourceStore {
    /// A store without content: all objects that the credentials name are due to be read.
    pub(crate) fn new(
        credentials: &[Credential],
        on_delete: OnDelete,
        restarted: bool,
        status: Arc<StatusReporter>,
    ) -> Self {
        let states = Self::states(credentials, |_| SourceState::new());
        Self { sources: Sources::new(), states, fetching: BTreeSet::new(), on_delete, restarted, status }
    }

    fn states(
        credentials: &[Credential],
        mut state: impl FnMut(&ObjectRef) -> SourceState,
    ) -> BTreeMap<ObjectRef, SourceState> {
        let objects = sync::objects(credentials).into_iter();
        objects.map(|(object, need)| (object.clone(), SourceState { need, ..state(object) })).collect()
    }

    /// Replaces the credentials, and keeps the content of sources that are still named. The spec has the objects that are newly
    /// named.
    ///
    /// # Errors
    /// If a credential cannot be rendered. Then nothing changes.
    pub(crate) fn apply_spec(&mut self, spec: NewSpec) -> Result<Vec<Credential>, sync::Error> {
        let NewSpec { credentials, mut fetched } = spec;
        // Content that was read by another fetch meanwhile is at least as new, or will be read again.
        fetched.retain(|object, _| !self.sources.contains_key(object));
        self.check(&credentials, &fetched)?;
        let mut before = std::mem::take(&mut self.states);
        let needs_before =
            before.iter().map(|(object, state)| (object.clone(), state.need)).collect::<BTreeMap<_, _>>();
        self.states =
            Self::states(&credentials, |object| before.remove(object).unwrap_or_else(SourceState::new));
        // An object that no credential names any more cannot make the files stale.
        for object in before.keys() {
            self.status.healthy(&Component::Source(object.clone()));
        }
        self.sources.retain(|object, _| self.states.contains_key(object));
        for (object, state) in &mut self.states {
            if needs_before.get(object).is_some_and(|need| *need != state.need) {
                state.timer.at = Some(Instant::now());
            }
        }
        for (object, found) in fetched {
            if let Some(state) = self.states.get_mut(&object) {
                // A read that was due before stays due: it may be for a change that came after this fetch.
                if !needs_before.contains_key(&object) {
                    state.timer.begin();
                }
                state.timer.succeeded();
                state.attempted = true;
                self.status.healthy(&Component::Source(object.clone()));
                state.version = found.as_ref().map(|found| found.version.clone());
            }
            self.sources.insert(object, found.map(|found| found.data));
        }
        Ok(credentials)
    }

    /// Checks that the credentials can be rendered.
    fn check(
        &self,
        credentials: &[Credential],
        fetched: &BTreeMap<ObjectRef, Option<Object>>,
    ) -> Result<(), sync::Error> {
        let mut sources = self.sources.clone();
        let data = |found: &Object| found.data.clone();
        sources.extend(fetched.iter().map(|(object, found)| (object.clone(), found.as_ref().map(data))));
        sync::render(credentials, &sources).map(drop)
    }

    /// Whether a source of this credential is known to be missing.
    pub(crate) fn has_missing_source(&self, credential: &Credential) -> bool {
        credential.objects().any(|object| matches!(self.sources.get(object), Some(None)))
    }

    /// The objects that a read has succeeded or failed for, each with the resourceVersion that was read.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (ObjectRef, Option<String>)> {
        let attempted = self.states.iter().filter(|(_, state)| state.attempted);
        attempted.map(|(object, state)| (object.clone(), state.version.clone()))
    }

    /// Whether each source was read, or is missing and may be.
    pub(crate) fn is_complete(&self) -> bool {
        self.sources.len() == self.states.len()
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether a source of this credential was never read.
    pub(crate) fn is_incomplete(&self, credential: &Credential) -> bool {
        credential.objects().any(|object| !self.sources.contains_key(object))
    }

    /// The objects whose content is known.
    pub(crate) fn objects(&self) -> BTreeSet<ObjectRef> {
        self.sources.keys().cloned().collect::<BTreeSet<_>>()
    }

    /// Schedules a read of an object that may have changed.
    pub(crate) fn mark_stale(&mut self, change: &Change) {
        if let Some(state) = self.states.get_mut(&change.object) {
            state.timer.schedule();
            state.noticed.get_or_insert(change.at);
        }
    }

    /// Schedules a read of all objects.
    pub(crate) fn mark_all_stale(&mut self) {
        self.states.values_mut().for_each(|state| state.timer.schedule());
    }

    /// When the next read is due, among the clusters that are not being read.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        let idle = self.states.iter().filter(|(object, _)| !self.fetching.contains(&object.cluster));
        idle.filter_map(|(_, state)| state.timer.at).min()
    }

    /// Takes the reads that are due, by cluster. Such a cluster has no further ones until its batch is applied.
    pub(crate) fn start_fetches(&mut self) -> BTreeMap<ClusterRef, Vec<FetchRequest>> {
        let mut due = BTreeMap::<_, Vec<_>>::new();
        for (object, state) in &mut self.states {
            if state.timer.is_due() && !self.fetching.contains(&object.cluster) {
                state.timer.begin();
                let request = FetchRequest { object: object.clone(), noticed: state.noticed.take() };
                due.entry(object.cluster.clone()).or_default().push(request);
            }
        }
        self.fetching.extend(due.keys().cloned());
        due
    }

    /// Applies a batch. If content has changed, returns when the first of these changes was noticed.
    pub(crate) fn apply(&mut self, FetchBatch { cluster, results }: FetchBatch) -> Option<Instant> {
        self.fetching.remove(&cluster);
        results.into_iter().filter_map(|fetched| self.apply_one(fetched)).min()
    }

    /// The thread that should have read these objects could not be started.
    pub(crate) fn on_spawn_failure(
        &mut self,
        cluster: &ClusterRef,
        requests: &[FetchRequest],
        cause: &io::Error,
    ) {
        self.fetching.remove(cluster);
        for FetchRequest { object, noticed } in requests {
            let Some(state) = self.states.get_mut(object) else { continue };
            state.timer.failed(Duration::ZERO);
            state.noticed = state.noticed.or(*noticed);
            let message = format!("cannot read {object}: cannot start a thread: {cause}");
            self.status.failing(Component::Source(object.clone()), Reason::ApiUnreachable, &message);
        }
    }

    /// Applies one result. If the content has changed, returns when that was noticed.
    fn apply_one(&mut self, Fetched { object, noticed, started, result }: Fetched) -> Option<Instant> {
        let object = &object;
        let state = self.states.get_mut(object)?;
        state.attempted = true;
        let source = Component::Source(object.clone());
        let changed_at = noticed.unwrap_or(started);
        match result {
            Ok(Object { version, data }) => {
                state.timer.succeeded();
                if self.status.healthy(&source) {
                    log_object!(Level::Info, object, "{object} can be read again");
                }
                state.version = Some(version);
                let changed = self.sources.get(object).and_then(Option::as_ref) != Some(&data);
                self.sources.insert(object.clone(), Some(data));
                changed.then_some(changed_at)
            }
            Err(error) if error.is_not_found() => {
                state.version = None;
                let was_present = self.sources.get(object).is_some_and(Option::is_some);
                let was_read = self.sources.contains_key(object);
                // An object that is missing after a restart was deleted, or its files cleared, in the meantime.
                let deleted_before = !was_read && self.restarted;
                let clear = (was_present || deleted_before) && self.on_delete == OnDelete::Clear;
                let is_optional = state.need == Need::Optional;
                if was_read || clear || is_optional {
                    // The watch reports when it is created again; without a watch, the next poll finds it.
                    state.timer.succeeded();
                } else {
                    state.timer.failed(Duration::ZERO);
                    state.noticed = noticed.or(state.noticed);
                }
                // A source that was cleared already is not reported again.
                let was_cleared = was_read && !was_present && self.on_delete == OnDelete::Clear;
                let may_be_missing = was_cleared || (is_optional && !was_present);
                if clear {
                    self.status.cleared(&source, &format!("{error}; removing its files (--on-delete clear)"));
                } else if may_be_missing {
                    self.status.degraded(&source, &error.to_string());
                }
                if clear || may_be_missing {
                    self.sources.insert(object.clone(), None);
                    return (clear || !was_read).then_some(changed_at);
                }
                let next =
                    if was_present { "keeping its files (--on-delete keep)" } else { "waiting for it" };
                self.status.failing(source, Reason::from(&error), &format!("{error}; {next}"));
                None
            }
            Err(error) => {
                state.timer.failed(error.retry_after().unwrap_or_default());
                state.noticed = noticed.or(state.noticed);
                let message = format!("{error}; keeping the current files");
                self.status.failing(source, Reason::from(&error), &message);
                None
            }
        }
    }
}

impl SourceState {
    fn new() -> Self {
        let timer = RetryTimer::due();
        Self { need: Need::Optional, version: None, timer, attempted: false, noticed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::{self, ReferenceScope};
    use crate::object::Namespace;
    use crate::secret::SecretBytes;
    use crate::sidecar::event;
    use crate::telemetry::Health;
    use crate::telemetry::events::Events;

    fn credentials() -> Vec<Credential> {
        let named = BTreeMap::from([("podcreds.io/db.secret".to_owned(), "db".to_owned())]);
        annotations::parse(&named, "podcreds.io", &ReferenceScope::local(Namespace::parse("prod").unwrap()))
            .unwrap()
    }

    fn store(credentials: &[Credential]) -> SourceStore {
        let health = Arc::new(Health::new(Vec::new()));
        let events = Events::off(Arc::clone(&health));
        let status = StatusReporter::new(health, events, Duration::ZERO, event::queue().0);
        SourceStore::new(credentials, OnDelete::Keep, false, Arc::new(status))
    }

    fn version(version: &str) -> Object {
        let data = [("password".to_owned(), SecretBytes::from(version))].into_iter().collect();
        Object { version: version.to_owned(), data }
    }

    fn spec(credentials: &[Credential], object: &ObjectRef, read: &str) -> NewSpec {
        let fetched = BTreeMap::from([(object.clone(), Some(version(read)))]);
        NewSpec { credentials: credentials.to_vec(), fetched }
    }

    #[test]
    fn an_edit_does_not_replace_content_that_was_read_later() {
        let credentials = credentials();
        let object = credentials[0].objects().next().unwrap().clone();
        let mut store = store(&credentials);
        let [due] = &store.start_fetches().remove(&ClusterRef::Local).unwrap()[..] else {
            panic!("one object is due")
        };
        let spec = spec(&credentials, &due.object, "1");
        let (started, result) = (Instant::now(), Ok(version("2")));
        let fetched = Fetched { object: object.clone(), noticed: None, started, result };
        assert!(store.apply(FetchBatch { cluster: ClusterRef::Local, results: vec![fetched] }).is_some());
        store.apply_spec(spec).unwrap();
        assert_eq!(store.sources()[&object].as_ref().unwrap().keys().unwrap()["password"].expose(), b"2");
        assert_eq!(store.versions().next().unwrap().1.as_deref(), Some("2"));
    }

    #[test]
    fn a_change_during_a_reload_is_read() {
        let credentials = credentials();
        let object = credentials[0].objects().next().unwrap().clone();
        let mut store = store(&credentials);
        let due = store.start_fetches();
        store.on_spawn_failure(&ClusterRef::Local, &due[&ClusterRef::Local], &io::Error::other("test"));
        let spec = spec(&credentials, &object, "1");
        store.mark_stale(&Change { object, at: Instant::now() });
        store.apply_spec(spec).unwrap();
        assert_eq!(store.start_fetches()[&ClusterRef::Local].len(), 1);
    }
}

//! Random sequences of changes, answers, faults and edits, against a model of an API server. What must hold is checked after
//! each of them; in the end all faults are over, and everything must become current.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;

use super::*;
use crate::telemetry::Component;

const NAMES: [&str; 3] = ["a", "b", "c"];
const CASES: u32 = 40;
/// Everything is current after this number of rounds: longer than the longest Retry-After and a few intervals of polling.
const SETTLE: usize = 24;
const SETTLE_TIME: Duration = Duration::from_secs(20);

/// Annotations that edits choose from. All need the key `password`, so that a Secret without it cannot be rendered.
const SPECS: [&[(&str, &str)]; 4] = [
    &[("a.secret", "a"), ("a.keys", "password"), ("b.secret", "b"), ("b.keys", "password")],
    &[("a.secret", "a"), ("a.keys", "password"), ("c.secret", "c"), ("c.keys", "password")],
    &[
        ("a.secret", "a"),
        ("a.keys", "password"),
        ("b.secret", "a"),
        ("b.keys", "password"),
        ("b.format", "env"),
        ("b.path", "shared/b.env"),
        ("c.secret", "c"),
        ("c.keys", "user=password"),
        ("c.format", "env"),
        ("c.path", "shared/c.env"),
    ],
    &[
        ("c.secret", "c"),
        ("c.keys", "password"),
        ("c.optional", "true"),
        ("a.secret", "a"),
        ("a.keys", "password"),
    ],
];

/// Something that happens. Numbers choose among what is possible at that time.
#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    /// The Secret loses the key that every credential needs.
    Break(usize),
    Delete(usize),
    /// A read is answered: with the state when it began, or with the present one.
    Answer {
        which: usize,
        with_old_state: bool,
    },
    FailRead {
        which: usize,
        how: usize,
    },
    /// A watch is opened, or brings its next event.
    Deliver(usize),
    Bookmark(usize),
    EndWatch {
        which: usize,
        how: usize,
    },
    Edit(usize),
    WrongEdit,
    VolumeFails(bool),
    Advance(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Put),
        2 => (0..3_usize).prop_map(Step::Break),
        1 => (0..3_usize).prop_map(Step::Delete),
        6 => (0..8_usize, any::<bool>()).prop_map(|(which, with_old_state)| Step::Answer { which, with_old_state }),
        2 => (0..8_usize, 0..3_usize).prop_map(|(which, how)| Step::FailRead { which, how }),
        8 => (0..8_usize).prop_map(Step::Deliver),
        1 => (0..8_usize).prop_map(Step::Bookmark),
        2 => (0..8_usize, 0..5_usize).prop_map(|(which, how)| Step::EndWatch { which, how }),
        1 => (0..SPECS.len()).prop_map(Step::Edit),
        1 => Just(Step::WrongEdit),
        1 => any::<bool>().prop_map(Step::VolumeFails),
        3 => (0..200_u16).prop_map(Step::Advance),
        3 => any::<u16>().prop_map(Step::Advance),
    ]
}

/// The state of a Secret: its version, and its password, unless it is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    version: u64,
    password: Option<String>,
}

impl Stored {
    fn data(&self) -> ObjectData {
        match &self.password {
            Some(password) => data(&[("password", password)]),
            None => data(&[("other", "x")]),
        }
    }
}

struct World {
    harness: Harness,
    revision: u64,
    objects: BTreeMap<&'static str, Stored>,
    /// Every change: its version and the object after it.
    history: Vec<(u64, &'static str, Option<Stored>)>,
    /// What a read would have answered when it began.
    answers: BTreeMap<u64, Option<Stored>>,
    /// The version up to which each watch has brought its events; `None` before it is open.
    positions: BTreeMap<u64, Option<u64>>,
    spec: usize,
    /// Paths that were written and not removed by an edit or deletion.
    written: BTreeSet<String>,
    /// The Secret of each file that was written, with the newest version.
    newest: BTreeMap<String, (&'static str, u64)>,
    on_delete: OnDelete,
}

impl World {
    fn new(on_delete: OnDelete, is_watched: bool, has_earlier: bool) -> Self {
        let watch = WatchSettings { is_enabled: is_watched, resync: Some(30 * SECOND), ..policy().watch };
        let earlier: &[_] =
            if has_earlier { &[("a/password", "earlier"), ("b/password", "earlier")] } else { &[] };
        let harness = Harness::start(Policy { on_delete, watch, ..following() }, SPECS[0], earlier);
        let mut world = Self {
            harness,
            revision: 1,
            objects: BTreeMap::new(),
            history: Vec::new(),
            answers: BTreeMap::new(),
            positions: BTreeMap::new(),
            spec: 0,
            written: earlier.iter().map(|(path, _)| (*path).to_owned()).collect(),
            newest: BTreeMap::new(),
            on_delete,
        };
        for name in NAMES {
            world.put(name, true);
        }
        world.note();
        world
    }

    fn put(&mut self, name: &'static str, is_whole: bool) {
        self.revision += 1;
        let password = is_whole.then(|| format!("{name}{}", self.revision));
        let stored = Stored { version: self.revision, password };
        self.objects.insert(name, stored.clone());
        self.history.push((self.revision, name, Some(stored)));
    }

    fn delete(&mut self, name: &'static str) {
        if self.objects.remove(name).is_some() {
            self.revision += 1;
            self.history.push((self.revision, name, None));
        }
    }

    /// Remembers what new reads and watches begin with.
    fn note(&mut self) {
        for (read, target) in &self.harness.reads {
            let state = name_of(target).and_then(|name| self.objects.get(name).cloned());
            self.answers.entry(*read).or_insert(state);
        }
        for (id, _) in self.harness.watches.values() {
            self.positions.entry(*id).or_insert(None);
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put(which) => self.put(NAMES[*which], true),
            Step::Break(which) => self.put(NAMES[*which], false),
            Step::Delete(which) => self.delete(NAMES[*which]),
            Step::Answer { which, with_old_state } => self.answer(*which, *with_old_state),
            Step::FailRead { which, how } => self.fail_read(*which, *how),
            Step::Deliver(which) => {
                self.deliver(*which);
            }
            Step::Bookmark(which) => self.bookmark(*which),
            Step::EndWatch { which, how } => self.end_watch(*which, *how),
            Step::Edit(spec) => {
                self.edit(*spec);
            }
            Step::WrongEdit => self.wrong_edit(),
            Step::VolumeFails(fails) => self.harness.volume_fails = *fails,
            Step::Advance(milliseconds) => {
                self.harness.advance(Duration::from_millis((*milliseconds).into()))
            }
        }
        self.note();
    }

    fn nth_read(&self, which: usize) -> Option<(Target, u64)> {
        let reads: Vec<_> = self.harness.reads.iter().collect();
        let (read, target) = *reads.get(which % reads.len().max(1))?;
        Some((target.clone(), *read))
    }

    fn nth_watch(&self, which: usize) -> Option<(Target, u64, Position)> {
        let watches: Vec<_> = self.harness.watches.iter().collect();
        let (target, (id, from)) = *watches.get(which % watches.len().max(1))?;
        Some((target.clone(), *id, from.clone()))
    }

    fn answer(&mut self, which: usize, with_old_state: bool) {
        let Some((target, read)) = self.nth_read(which) else { return };
        let Some(name) = name_of(&target) else {
            self.edit(self.spec);
            return;
        };
        let before = self.answers[&read].clone();
        let state = if with_old_state { before } else { self.objects.get(name).cloned() };
        let result = match state {
            Some(stored) => Ok(Object { version: stored.version.to_string(), data: stored.data() }),
            None => Err(error(name, not_found())),
        };
        self.harness.answer(name, read, result);
    }

    fn fail_read(&mut self, which: usize, how: usize) {
        let Some((target, read)) = self.nth_read(which) else { return };
        let cause = match how {
            0 => forbidden(),
            1 => unavailable(None),
            _ => unavailable(Some(7 * SECOND)),
        };
        match name_of(&target) {
            Some(name) => self.harness.answer(name, read, Err(error(name, cause))),
            None => {
                self.harness.reads.remove(&read);
                let failure = crate::sidecar::controller::AnnotationsFailure {
                    reason: crate::telemetry::Reason::ApiUnreachable,
                    message: "test".to_owned(),
                    retry_after: None,
                };
                self.harness.step(Event::AnnotationsRead { read, result: Err(failure) });
            }
        }
    }

    /// Returns whether the watch had anything to bring.
    fn deliver(&mut self, which: usize) -> bool {
        let Some((target, id, from)) = self.nth_watch(which) else { return false };
        let Some(name) = name_of(&target) else {
            let is_new = self.positions.insert(id, Some(0)) == Some(None);
            if is_new {
                self.harness.step(Event::AnnotationsWatch { watch: id, update: Update::Opened });
                // Such a watch begins with the pod, whatever a read that is in progress will answer.
                if from == Position::Any {
                    let data = Ok(credentials(SPECS[self.spec]));
                    let update = Update::Event(WatchEvent::Applied { version: "1".to_owned(), data });
                    self.harness.step(Event::AnnotationsWatch { watch: id, update });
                }
            }
            return is_new;
        };
        let Some(position) = self.positions[&id] else {
            let start = match &from {
                Position::At(version) => version.parse().unwrap(),
                // A cache of the API server may be behind.
                Position::Any => self.revision.saturating_sub(which as u64 / 2),
            };
            self.positions.insert(id, Some(start));
            self.harness.opens(name);
            let mut before =
                self.history.iter().filter(|(version, other, _)| *version <= start && *other == name);
            if from == Position::Any
                && let Some((_, _, Some(stored))) = before.next_back().cloned()
            {
                self.send(name, Some(stored), 0);
            }
            return true;
        };
        let next = self.history.iter().find(|(version, other, _)| *version > position && *other == name);
        let Some((version, _, state)) = next.cloned() else { return false };
        self.positions.insert(id, Some(version));
        self.send(name, state, version);
        true
    }

    fn send(&mut self, name: &str, state: Option<Stored>, version: u64) {
        let update = match state {
            Some(stored) => Update::Event(WatchEvent::Applied {
                version: stored.version.to_string(),
                data: stored.data(),
            }),
            None => Update::Event(WatchEvent::Deleted { version: version.to_string() }),
        };
        self.harness.update(name, update);
    }

    /// A bookmark comes after all events before it.
    fn bookmark(&mut self, which: usize) {
        let Some((target, id, _)) = self.nth_watch(which) else { return };
        let (Some(name), Some(position)) = (name_of(&target), self.positions[&id]) else { return };
        let is_current =
            !self.history.iter().any(|(version, other, _)| *version > position && *other == name);
        if is_current {
            self.positions.insert(id, Some(self.revision));
            self.harness
                .update(name, Update::Event(WatchEvent::Bookmark { version: self.revision.to_string() }));
        }
    }

    fn end_watch(&mut self, which: usize, how: usize) {
        let Some((target, id, _)) = self.nth_watch(which) else { return };
        let cause = match how {
            0 => None,
            1 => Some(gone()),
            2 => Some(forbidden()),
            3 => Some(unavailable(Some(100 * SECOND))),
            _ => Some(Cause::unreadable("broken")),
        };
        match name_of(&target) {
            Some(name) => self.harness.ends(name, cause),
            None => {
                self.harness.watches.remove(&target);
                let update = Update::Ended(cause.map(|cause| error("app-0", cause)));
                self.harness.step(Event::AnnotationsWatch { watch: id, update });
            }
        }
    }

    /// The annotations are edited, if they are watched or being read. Returns whether they are.
    fn edit(&mut self, spec: usize) -> bool {
        let can_tell = self.harness.last_read(&Target::Annotations).is_some()
            || self.harness.watches.contains_key(&Target::Annotations);
        if can_tell {
            self.spec = spec;
            self.harness.edits("1", SPECS[spec]);
        }
        can_tell
    }

    fn wrong_edit(&mut self) {
        let Some((watch, _)) = self.harness.watches.get(&Target::Annotations).cloned() else { return };
        let wrong =
            crate::sync::Error::NoAnnotations { from: String::new(), prefix: String::new(), similar: None };
        let update = Update::Event(WatchEvent::Applied { version: "1".to_owned(), data: Err(wrong) });
        self.harness.step(Event::AnnotationsWatch { watch, update });
    }

    fn check(&mut self) {
        self.published_files_stay();
        self.files_never_go_back();
        self.nothing_unnamed_is_fetched();
        self.failures_are_retried();
        self.staleness_is_true();
        self.served_versions_are_those_of_the_files();
    }

    /// A published credential stays readable until its policy clears it.
    fn published_files_stay(&mut self) {
        let entries: BTreeSet<_> =
            self.harness.controller.entries.iter().map(|(name, _)| name.clone()).collect();
        let mut removed = self.written.clone();
        removed.retain(|path| !self.harness.volume.contains_key(path));
        for path in removed {
            let entry = top(&path).to_owned();
            let was_cleared = self.on_delete == OnDelete::Clear
                || self
                    .harness
                    .controller
                    .credentials
                    .iter()
                    .any(|it| it.optional && top(&it.path.to_string()) == entry);
            assert!(!entries.contains(&entry) || was_cleared, "{path} was removed");
            self.written.remove(&path);
        }
        self.written.extend(self.harness.volume.keys().cloned());
    }

    /// A file never returns to an older state of its Secret.
    fn files_never_go_back(&mut self) {
        for (path, content) in &self.harness.volume {
            let found = NAMES.into_iter().find_map(|name| {
                let (_, rest) = content.rsplit_once(name)?;
                let revision = rest.trim_end_matches(['\'', '\n']).parse::<u64>().ok()?;
                Some((name, revision))
            });
            let Some((name, revision)) = found else { continue };
            if let Some((before, newest)) = self.newest.insert(path.clone(), (name, revision)) {
                assert!(
                    before != name || newest <= revision,
                    "{path}: {name}{newest}, and then {name}{revision}"
                );
            }
        }
    }

    /// Only objects that a credential names are fetched.
    fn nothing_unnamed_is_fetched(&self) {
        let controller = &self.harness.controller;
        let candidate = controller.annotations.candidate.iter().flatten();
        let named: BTreeSet<_> =
            controller.credentials.iter().chain(candidate).flat_map(Credential::objects).collect();
        for target in self.harness.watches.keys() {
            let Target::Source(object) = target else { continue };
            assert!(named.contains(object), "{object} is watched");
        }
        assert!(controller.sources.keys().all(|object| named.contains(object)));
        assert!(controller.contents.keys().all(|object| named.contains(object)));
    }

    /// Every source is being read, watched, or has a timer; a failing one is being read or has a timer.
    fn failures_are_retried(&self) {
        for object in self.harness.controller.sources.keys() {
            let target = Target::Source(object.clone());
            let is_read = self.harness.last_read(&target).is_some();
            let has_timer = self.harness.controller.timers.at(&Timer::Read(target.clone())).is_some();
            let is_watched = self.harness.watches.contains_key(&target);
            let is_failing = self.harness.status.is_failing(&Component::Source(object.clone()));
            assert!(is_read || has_timer || is_watched, "{object} is forgotten");
            assert!(!is_failing || is_read || has_timer, "{object} fails and is not retried");
        }
        let controller = &self.harness.controller;
        let is_dirty = controller.has_published
            && controller
                .entries
                .iter()
                .any(|(_, entry)| entry.is_dirty && entry.is_known(&controller.contents));
        let is_scheduled = controller.timers.at(&Timer::Publish).is_some();
        assert!(!is_dirty || is_scheduled, "a change is not going to be published");
    }

    /// Staleness is reported while, and only while, something fails or the first files are not written.
    fn staleness_is_true(&self) {
        let status = &self.harness.status;
        let fails = NAMES.iter().any(|name| {
            let object = secret(name);
            status.is_failing(&Component::Source(object.clone()))
                || status.is_failing(&Component::Watch(object))
        });
        let pod = ObjectRef::new(Kind::Pod, Namespace::parse("prod").unwrap(), "app-0").unwrap();
        let others = [Component::Annotations, Component::Volume, Component::Watch(pod)];
        let fails = fails
            || others.iter().any(|component| status.is_failing(component))
            || NAMES.iter().any(|name| status.is_failing(&Component::Credential((*name).to_owned())));
        assert_eq!(status.stale_since().is_some(), !status.ready || fails);
    }

    /// The status shows the resourceVersions that the files come from, not those that were read last.
    fn served_versions_are_those_of_the_files(&self) {
        let Harness { status, controller, .. } = &self.harness;
        for credential in status.credentials() {
            for source in &credential.sources {
                let Some(served) = source.served else { continue };
                let is_change = |(version, name, _): &&(u64, &str, Option<Stored>)| {
                    *name == source.object.name() && version.to_string() == served
                };
                let stored = self.history.iter().find(is_change).and_then(|(.., stored)| stored.as_ref());
                let Some(password) = stored.and_then(|stored| stored.password.as_ref()) else { continue };
                let content = self.content(&path_of(&controller.credentials, credential.name));
                // An edit has moved the files, and the volume cannot be written: they are still at their earlier path.
                assert!(
                    content.contains(password) || content.is_empty(),
                    "{}: {served} of {}, and {content:?}",
                    credential.name,
                    source.object
                );
            }
        }
    }

    /// All files of a credential.
    fn content(&self, path: &str) -> String {
        let files = self.harness.volume.iter().filter(|(file, _)| file.starts_with(path));
        files.map(|(_, content)| content.as_str()).collect()
    }

    /// Ends all faults, and lets everything become current. Secrets that are whole do not change any more, so that a state that
    /// was missed stays missed.
    fn settle(&mut self) {
        self.harness.volume_fails = false;
        for name in NAMES {
            if self.objects.get(name).is_none_or(|stored| stored.password.is_none()) {
                self.put(name, true);
            }
        }
        let mut is_edited = false;
        for _ in 0..SETTLE {
            is_edited = is_edited || self.edit(self.spec);
            self.note();
            let reads = self.harness.reads.len();
            (0..reads).for_each(|_| self.answer(0, false));
            self.note();
            for which in 0..self.harness.watches.len() {
                while self.deliver(which) {}
                self.note();
            }
            self.check();
            self.harness.advance(SETTLE_TIME);
        }
        let spec = credentials(SPECS[self.spec]);
        assert_eq!(self.harness.controller.credentials, spec, "the last edit is applied");
        for credential in &spec {
            let password = |object: &ObjectRef| self.objects[object.name()].password.clone().unwrap();
            let expected: Vec<_> = credential.objects().map(password).collect();
            let path = credential.path.to_string();
            let content = self.content(&path);
            assert!(
                expected.iter().all(|value| content.contains(value)),
                "{path}: {content:?}, not {expected:?}"
            );
        }
        for credential in self.harness.status.credentials() {
            for source in &credential.sources {
                let version = self.objects[source.object.name()].version.to_string();
                assert_eq!((source.served, source.read), (Some(version.as_str()), None), "{}", source.object);
            }
        }
        assert!(
            self.harness.status.ready && !self.harness.is_stale(),
            "{:?} {:?}",
            self.harness.status,
            self.harness.log.last()
        );
    }
}

fn path_of(credentials: &[Credential], name: &str) -> String {
    let found = credentials.iter().find(|credential| credential.name.as_str() == name);
    found.map(|credential| credential.path.to_string()).unwrap_or_default()
}

fn name_of(target: &Target) -> Option<&'static str> {
    let Target::Source(object) = target else { return None };
    NAMES.into_iter().find(|name| *name == object.name())
}

/// The variable of proptest wins, to search for longer.
fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { CASES }
}

proptest! {
    // ChaCha takes a quarter of the time of a debug build.
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_must_hold_holds_whatever_happens(
        steps in proptest::collection::vec(step(), 1..100),
        clears in any::<bool>(),
        is_watched in proptest::bool::weighted(0.8),
        has_earlier in any::<bool>(),
        seed in any::<u64>(),
    ) {
        fastrand::seed(seed);
        let on_delete = if clears { OnDelete::Clear } else { OnDelete::Keep };
        let mut world = World::new(on_delete, is_watched, has_earlier);
        world.check();
        for step in &steps {
            world.apply(step);
            world.check();
        }
        world.settle();
    }
}

/// The watch of the pod begins while a read of it is in progress, after an earlier watch broke.
#[test]
fn a_watch_that_begins_during_a_read_ends_the_failure_of_the_one_before() {
    fastrand::seed(16_211_539_010_262_523_924);
    let mut world = World::new(OnDelete::Keep, true, false);
    for step in [
        Step::Edit(0),
        Step::EndWatch { which: 0, how: 1 },
        Step::FailRead { which: 0, how: 0 },
        Step::Advance(272),
        Step::Answer { which: 2, with_old_state: false },
        Step::FailRead { which: 0, how: 0 },
        Step::Answer { which: 0, with_old_state: false },
        Step::EndWatch { which: 2, how: 4 },
        Step::Put(0),
        Step::Put(0),
        Step::Advance(18),
        Step::Answer { which: 0, with_old_state: false },
        Step::Answer { which: 0, with_old_state: false },
        Step::Put(0),
        Step::Put(0),
        Step::Advance(28_894),
        Step::Deliver(3),
        Step::Advance(30_283),
    ] {
        world.apply(&step);
        world.check();
    }
    world.settle();
}

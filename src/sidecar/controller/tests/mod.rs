//! Tests of the state machine: tables of states and results, and random sequences of events.

mod annotations;
mod certificates;
mod entries;
mod kubeconfigs;
mod properties;
mod publish;
mod reactions;
mod sources;
mod tracker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use log::Level;

use crate::annotations::{self as annotation, ReferenceScope};
use crate::credential::Credential;
use crate::kube::{Cause, Error, Object, WatchEvent};
use crate::object::{Kind, Namespace, ObjectData, ObjectRef};
use crate::secret::SecretBytes;
use crate::sidecar::controller::timers::Timer;
use crate::sidecar::controller::{
    Action, Controller, Event, Follow, Policy, Position, ReadAnnotations, Target, Update,
};
use crate::sidecar::{Exit, OnDelete, WatchSettings};
use crate::telemetry::events::EventReason;
use crate::telemetry::{Moment, Report, Status};
use crate::volume::{Error as VolumeError, Problem, Published};

const SECOND: Duration = Duration::from_secs(1);
const STALE_AFTER: Duration = Duration::from_secs(60);

/// Executes the actions of a controller in memory, under a clock that only [`Harness::advance`] moves.
struct Harness {
    controller: Controller,
    status: Status,
    now: Moment,
    /// The reads that are under way, also of objects that are not tracked any more.
    reads: BTreeMap<u64, Target>,
    /// The watches that are open or being opened.
    watches: BTreeMap<Target, (u64, Position)>,
    /// The files, by path.
    volume: BTreeMap<String, String>,
    /// Whether writing to the volume fails.
    volume_fails: bool,
    publications: u64,
    log: Vec<(Level, String)>,
    events: Vec<(EventReason, String)>,
    notified: Vec<Vec<String>>,
    exit: Option<Exit>,
}

fn policy() -> Policy {
    Policy {
        watch: WatchSettings {
            is_enabled: true,
            poll_interval: 60 * SECOND,
            resync: None,
            timeout: 300 * SECOND,
        },
        on_delete: OnDelete::Keep,
        grace: 10 * SECOND,
        exit_on_change: None,
        sources_limit: 4 * 1024 * 1024,
        follow: None,
        splay: Duration::ZERO,
        replica: "app-0".to_owned(),
        place: "/podcreds".to_owned(),
    }
}

/// Follows the annotations of a pod.
fn following() -> Policy {
    let pod = ObjectRef::new(Kind::Pod, Namespace::parse("prod").unwrap(), "app-0").unwrap();
    Policy { follow: Some(Follow { pod: Some(pod), interval: 60 * SECOND }), ..policy() }
}

fn credentials(annotations: &[(&str, &str)]) -> Vec<Credential> {
    let named = annotations.iter().map(|(key, value)| (format!("podcreds.io/{key}"), (*value).to_owned()));
    let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
    annotation::parse(&named.collect(), "podcreds.io", &scope).unwrap()
}

fn secret(name: &str) -> ObjectRef {
    ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), name).unwrap()
}

fn source(name: &str) -> Target {
    Target::Source(secret(name))
}

fn data(entries: &[(&str, &str)]) -> ObjectData {
    entries.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::from(*value))).collect()
}

fn error(name: &str, cause: Cause) -> Error {
    Error::new(&secret(name), cause)
}

fn not_found() -> Cause {
    Cause::NotFound { message: "not found".to_owned() }
}

fn forbidden() -> Cause {
    Cause::Forbidden { message: "forbidden".to_owned(), hint: None }
}

fn unavailable(retry_after: Option<Duration>) -> Cause {
    Cause::Unavailable { status: 503, message: "test".to_owned(), retry_after }
}

fn gone() -> Cause {
    Cause::Gone { message: "too old resource version".to_owned() }
}

impl Harness {
    fn new(annotations: &[(&str, &str)]) -> Self {
        Self::start(policy(), annotations, &[])
    }

    /// `earlier` are files that an earlier run has written.
    fn start(policy: Policy, annotations: &[(&str, &str)], earlier: &[(&str, &str)]) -> Self {
        let now = Moment::now();
        let mut status = Status::new(now, STALE_AFTER);
        let entries = earlier.iter().map(|(path, _)| top(path).to_owned()).collect::<BTreeSet<_>>();
        let (controller, actions) =
            Controller::start(policy, credentials(annotations), &entries, now, &mut status);
        let volume = earlier.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let mut harness = Self {
            controller,
            status,
            now,
            reads: BTreeMap::new(),
            watches: BTreeMap::new(),
            volume,
            volume_fails: false,
            publications: 0,
            log: Vec::new(),
            events: Vec::new(),
            notified: Vec::new(),
            exit: None,
        };
        harness.execute(actions);
        harness
    }

    fn step(&mut self, event: Event) {
        let actions = self.controller.step(self.now, event, &mut self.status);
        self.execute(actions);
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Read { target, read, .. } => {
                    self.reads.insert(read, target);
                }
                Action::Watch { target, watch, from } => {
                    assert_eq!(self.watches.insert(target, (watch, from)), None, "one watch at a time");
                }
                Action::StopWatch { watch } => {
                    let before = self.watches.len();
                    self.watches.retain(|_, (id, _)| *id != watch);
                    assert_eq!(self.watches.len(), before - 1, "only an open watch is stopped");
                }
                Action::Publish { bundle, kept } => {
                    let result = self.publish(&bundle, &kept);
                    self.step(Event::Published { result, took: Duration::ZERO });
                }
                Action::Prune | Action::SetNotified { .. } => {}
                Action::SetHeaders { headers } => {
                    let text = |value: &SecretBytes| value.expose_text().unwrap().to_owned();
                    self.notified.extend(headers.iter().map(|(_, header)| vec![text(&header.value)]));
                }
                Action::Notify { credentials, .. } => {
                    self.notified.push(credentials.iter().map(|it| it.name.to_string()).collect());
                }
                Action::Report(Report::Log { level, message, .. }) => self.log.push((level, message)),
                Action::Report(Report::Event { reason, message }) => self.events.push((reason, message)),
                Action::Exit(exit) => self.exit = Some(exit),
            }
        }
    }

    /// What `Volume::publish_keeping` does.
    fn publish(
        &mut self,
        bundle: &crate::credential::Bundle,
        kept: &BTreeSet<String>,
    ) -> Result<Published, VolumeError> {
        if self.volume_fails {
            return Err(VolumeError::new(&PathBuf::from("/podcreds"), Problem::Full(None)));
        }
        let mut after = self.volume.clone();
        after.retain(|path, _| kept.contains(top(path)));
        for (path, file) in bundle {
            assert!(!kept.contains(top(&path.to_string())), "{path} is in a kept entry");
            let text = String::from_utf8(file.content.expose().to_vec()).unwrap();
            after.insert(path.to_string(), text);
        }
        let before = std::mem::replace(&mut self.volume, after);
        let paths = before.keys().chain(self.volume.keys());
        let changed: BTreeSet<_> =
            paths.filter(|path| before.get(*path) != self.volume.get(*path)).cloned().collect();
        if changed.is_empty() && self.publications > 0 {
            return Ok(Published::Unchanged);
        }
        self.publications += 1;
        let changed = (!before.is_empty()).then_some(changed);
        Ok(Published::Swapped { version: format!("..{}", self.publications), changed })
    }

    /// Lets time pass, and fires the timers on the way.
    fn advance(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.controller.next_timer().filter(|at| *at <= end) {
            self.set_clock(at);
            self.step(Event::Tick);
        }
        self.set_clock(end);
        self.step(Event::Tick);
    }

    fn set_clock(&mut self, at: Instant) {
        let passed = at.saturating_duration_since(self.now.instant);
        self.now = Moment { instant: self.now.instant + passed, time: self.now.time + passed };
    }

    fn read(&mut self, name: &str, result: Result<Object, Error>) {
        let read = self.last_read(&source(name)).unwrap_or_else(|| panic!("{name} is not being read"));
        self.answer(name, read, result);
    }

    /// The last read of this target that is under way.
    fn last_read(&self, target: &Target) -> Option<u64> {
        let reads = self.reads.iter().filter(|(_, other)| *other == target);
        reads.map(|(read, _)| *read).next_back()
    }

    fn answer(&mut self, name: &str, read: u64, result: Result<Object, Error>) {
        self.reads.remove(&read);
        self.step(Event::Read { object: secret(name), read, result });
    }

    /// A read succeeds, and what was waiting to be published is.
    fn reads(&mut self, name: &str, version: &str, entries: &[(&str, &str)]) {
        self.read(name, Ok(Object { version: version.to_owned(), data: data(entries) }));
        self.advance(Duration::from_millis(50));
    }

    fn read_fails(&mut self, name: &str, cause: Cause) {
        self.read(name, Err(error(name, cause)));
    }

    fn update(&mut self, name: &str, update: Update<ObjectData>) {
        let (watch, _) = self.watches[&source(name)];
        if matches!(update, Update::Ended(_)) {
            self.watches.remove(&source(name));
        }
        self.step(Event::Watch { object: secret(name), watch, update });
    }

    fn opens(&mut self, name: &str) {
        self.update(name, Update::Opened);
    }

    fn applies(&mut self, name: &str, version: &str, entries: &[(&str, &str)]) {
        self.update(
            name,
            Update::Event(WatchEvent::Applied { version: version.to_owned(), data: data(entries) }),
        );
        self.advance(Duration::from_millis(50));
    }

    fn deletes(&mut self, name: &str, version: &str) {
        self.update(name, Update::Event(WatchEvent::Deleted { version: version.to_owned() }));
        self.advance(Duration::from_millis(50));
    }

    fn ends(&mut self, name: &str, cause: Option<Cause>) {
        self.update(name, Update::Ended(cause.map(|cause| error(name, cause))));
    }

    /// The annotations are read, or reported by their watch.
    fn edits(&mut self, version: &str, annotations: &[(&str, &str)]) {
        let result = Ok(credentials(annotations));
        match self.last_read(&Target::Annotations) {
            Some(read) => {
                self.reads.remove(&read);
                let result = Ok(ReadAnnotations { version: version.to_owned(), result });
                self.step(Event::AnnotationsRead { read, result });
            }
            None => {
                let (watch, _) = self.watches[&Target::Annotations];
                let update = Update::Event(WatchEvent::Applied { version: version.to_owned(), data: result });
                self.step(Event::AnnotationsWatch { watch, update });
            }
        }
        self.advance(Duration::from_millis(50));
    }

    fn file(&self, path: &str) -> Option<&str> {
        self.volume.get(path).map(String::as_str)
    }

    /// Time until the object is read again.
    fn next_read(&self, name: &str) -> Option<Duration> {
        let at = self.controller.timers.at(&Timer::Read(source(name)))?;
        Some(at.saturating_duration_since(self.now.instant))
    }

    fn watches_from(&self, name: &str) -> Option<&Position> {
        self.watches.get(&source(name)).map(|(_, from)| from)
    }

    fn is_logged(&self, text: &str) -> bool {
        self.log.iter().any(|(_, message)| message.contains(text))
    }

    fn is_stale(&self) -> bool {
        self.status.stale_since().is_some()
    }
}

/// The entry of a path.
fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

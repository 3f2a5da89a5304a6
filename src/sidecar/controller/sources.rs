//! The state of each source, and the decisions after each result of a read and each update of a watch.

use std::collections::BTreeMap;

use log::Level;

use crate::kube::{self, Cause, Object, WatchEvent};
use crate::object::{ObjectData, ObjectRef};
use crate::sidecar::OnDelete;
use crate::sidecar::controller::{Context, Controller, MAX_DELAY, Target, Tracker, Update};
use crate::sync::unread::optional_hint;
use crate::sync::{self, Need};
use crate::telemetry::{Component, Content, Moment, Reason, Status, Subject};

/// A Secret, ConfigMap or Service that credentials name.
pub(crate) struct Source {
    pub(crate) tracker: Tracker,
    pub(crate) need: Need,
    /// Whether a read has succeeded or failed.
    pub(crate) attempted: bool,
    seen: Seen,
    /// Whether this run has ever seen it.
    was_present: bool,
    /// Why it is missing, as first reported. A deletion that a watch reports and a read confirms is one failure, so it keeps one
    /// message. `None` means that it is not missing.
    missing: Option<String>,
    /// The last id of a read or watch when a watch last reported a change. Reads up to this id may have older results.
    watched_up_to: u64,
}

impl Source {
    /// Whether the object is known not to exist.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.seen, Seen::Absent(_))
    }
}

/// The last known state of the object.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Not known yet. The first result of a read leads to `Present` or `Absent`.
    Nothing,
    /// It has this resourceVersion.
    Present(String),
    /// It does not exist. A watch has reported the deletion at this resourceVersion; `None` means that a read has not found it.
    Absent(Option<String>),
}

impl Seen {
    fn version(&self) -> Option<&str> {
        match self {
            Self::Present(version) | Self::Absent(Some(version)) => Some(version),
            Self::Nothing | Self::Absent(None) => None,
        }
    }
}

impl Controller {
    /// Starts to read the objects that the current or edited annotations name and that are not tracked yet. Drops the sources
    /// that neither names.
    pub(crate) fn track_sources(&mut self, now: Moment, status: &mut Status) {
        let mut needs = BTreeMap::new();
        for credentials in [self.annotations.candidate.as_deref().unwrap_or_default(), &self.credentials] {
            needs.extend(sync::objects(credentials).into_iter().map(|(object, need)| (object.clone(), need)));
        }
        let dropped: Vec<_> =
            self.sources.keys().filter(|object| !needs.contains_key(*object)).cloned().collect();
        for object in dropped {
            self.contents.remove(&object);
            status.forget(&Component::Source(object.clone()));
            if let Some(source) = self.sources.remove(&object) {
                source.tracker.stop(&mut self.context(now, status));
            }
        }
        for (object, need) in needs {
            if let Some((source, mut context)) = self.source_context(&object, now, status) {
                // It may be missing, which was not a failure while it was optional.
                if source.need == Need::Optional && need == Need::Required {
                    source.tracker.read(&mut context);
                }
                source.need = need;
                continue;
            }
            let (can_watch, interval) = (self.policy.watch.is_enabled, self.policy.watch.poll_interval);
            let (target, component) = (Target::Source(object.clone()), Component::Watch(object.clone()));
            let mut context = self.context(now, status);
            let tracker = Tracker::start(target, component, can_watch, interval, &mut context);
            let source = Source {
                tracker,
                need,
                attempted: false,
                seen: Seen::Nothing,
                was_present: false,
                missing: None,
                watched_up_to: 0,
            };
            self.sources.insert(object, source);
        }
    }

    /// The source, and the context for the transitions of its tracker. `None` means that no annotation names the object any more.
    pub(crate) fn source_context<'a>(
        &'a mut self,
        object: &ObjectRef,
        now: Moment,
        status: &'a mut Status,
    ) -> Option<(&'a mut Source, Context<'a>)> {
        let source = self.sources.get_mut(object)?;
        let (watch, timers, actions) = (self.policy.watch, &mut self.timers, &mut self.actions);
        Some((source, Context { now, watch, timers, status, actions, last_id: &mut self.last_id }))
    }

    pub(crate) fn on_read(
        &mut self,
        object: &ObjectRef,
        read: u64,
        result: Result<Object, kube::Error>,
        now: Moment,
        status: &mut Status,
    ) {
        let Some((source, mut context)) = self.source_context(object, now, status) else { return };
        if !source.tracker.awaits(read) {
            return;
        }
        source.attempted = true;
        let is_overtaken = source.watched_up_to >= read;
        match result {
            Ok(Object { version, data }) => {
                source.tracker.on_read(Some(version.clone()), &mut context);
                let seen = source.seen.version();
                let is_older = seen.is_some_and(|seen| !is_newer(&version, seen));
                // Without a known resourceVersion, the states that the watch has reported were not applied, and the response may
                // be older than those.
                if is_overtaken && seen.is_none() {
                    source.tracker.read(&mut context);
                }
                if !(is_overtaken && is_older) {
                    self.on_present(object, version, data, now, status);
                }
            }
            // The watch has reported the object since the read began: the response may be older than that.
            Err(error) if error.is_not_found() && is_overtaken => {
                source.tracker.on_read(None, &mut context);
                source.tracker.read(&mut context);
            }
            Err(error) if error.is_not_found() => {
                source.tracker.on_read(None, &mut context);
                source.seen = Seen::Absent(None);
                self.on_absent(object, &error.to_string(), Reason::from(&error), now, status);
            }
            Err(error) => {
                source.tracker.on_read_failure(error.retry_after(), &mut context);
                let next = if self.has_published { "keeping the current files" } else { "retrying" };
                let message = format!("{error}; {next}");
                self.source_failing(object, Reason::from(&error), &message, now, status);
            }
        }
    }

    pub(crate) fn on_update(
        &mut self,
        object: &ObjectRef,
        watch: u64,
        update: Update<ObjectData>,
        now: Moment,
        status: &mut Status,
    ) {
        let Some((source, mut context)) = self.source_context(object, now, status) else { return };
        if !source.tracker.on_update(watch, &update, &mut context) {
            return;
        }
        let Update::Event(event) = update else { return };
        if matches!(event, WatchEvent::Bookmark { .. }) {
            return;
        }
        source.watched_up_to = *context.last_id;
        let Some(seen) = source.seen.version() else {
            // The read did not find the object, but the state that begins a watch may be older than that read: read it again.
            return source.tracker.read(&mut context);
        };
        if !is_newer(event.version(), seen) {
            return;
        }
        match event {
            WatchEvent::Applied { version, data } => {
                source.tracker.found(&mut context);
                self.on_present(object, version, data, now, status);
            }
            WatchEvent::Deleted { version } => {
                source.seen = Seen::Absent(Some(version));
                self.on_absent(object, &format!("{object} was deleted"), Reason::ApiRefused, now, status);
            }
            WatchEvent::Bookmark { .. } => {}
        }
    }

    fn on_present(
        &mut self,
        object: &ObjectRef,
        version: String,
        data: ObjectData,
        now: Moment,
        status: &mut Status,
    ) {
        let others = self.contents.iter().filter(|(other, _)| *other != object);
        let others = others.filter_map(|(_, data)| data.as_ref()).map(ObjectData::size).sum::<usize>();
        let limit = self.policy.sources_limit;
        let Some((source, mut context)) = self.source_context(object, now, status) else { return };
        source.missing = None;
        source.seen = Seen::Present(version.clone());
        if others.saturating_add(data.size()) > limit {
            // The others may become smaller.
            source.tracker.read_again_after(MAX_DELAY, &mut context);
            status.served.read(object, Some(&version), Content::Rejected);
            let error = kube::Error::new(object, Cause::TooMuch { limit });
            return self.source_failing(object, Reason::from(&error), &error.to_string(), now, status);
        }
        let was_present = std::mem::replace(&mut source.was_present, true);
        if status.healthy(&Component::Source(object.clone())) {
            let message = if was_present { "is available again" } else { "is available now" };
            status.log(Level::Info, Subject::Object(object.clone()), format!("{object} {message}"));
        }
        if self.contents.get(object).and_then(Option::as_ref) == Some(&data) {
            return status.served.read(object, Some(&version), Content::Same);
        }
        status.served.read(object, Some(&version), Content::New);
        self.contents.insert(object.clone(), Some(data));
        self.on_content(object, now, status);
    }

    fn on_absent(
        &mut self,
        object: &ObjectRef,
        cause: &str,
        reason: Reason,
        now: Moment,
        status: &mut Status,
    ) {
        let Some(source) = self.sources.get_mut(object) else { return };
        let cause = source.missing.get_or_insert_with(|| cause.to_owned()).clone();
        let need = source.need;
        let content = self.contents.get(object);
        let clears = self.policy.on_delete == OnDelete::Clear;
        let was_known = content.is_some();
        // What an earlier run wrote stays, as it would have without the restart.
        let was_written = !clears && !was_known && self.entries.is_only_earlier(object);
        let was_present = content.is_some_and(Option::is_some) || was_written;
        // An object that is missing after a restart was deleted while podcreds did not run, or its files were cleared before.
        let clear = clears && (was_present || (!was_known && self.has_published && self.is_current(object)));
        let was_cleared = clears && was_known && !was_present;
        let component = Component::Source(object.clone());
        if clear {
            let message = format!("{cause}; removing its files (--on-delete clear)");
            status.cleared(&component, &self.for_credentials(object, &message));
        } else if was_cleared || (need == Need::Optional && !was_present) {
            // The omission of an optional credential is logged when the files are written.
            let level = if was_cleared { Level::Warn } else { Level::Debug };
            status.degraded(&component, level, &self.for_credentials(object, &cause));
        } else {
            let next = match optional_hint(&self.credentials, object) {
                _ if was_present => "keeping its files (--on-delete keep)".to_owned(),
                Some(hint) => format!("waiting for it: {hint}"),
                None => "waiting for it".to_owned(),
            };
            if let Some((source, mut context)) = self.source_context(object, now, status) {
                source.tracker.read_again_later(&mut context);
            }
            self.source_failing(object, reason, &format!("{cause}; {next}"), now, status);
            // In edited annotations it may be optional.
            return self.try_candidate(now, status);
        }
        self.contents.insert(object.clone(), None);
        status.served.read(
            object,
            None,
            if was_present || !was_known { Content::New } else { Content::Same },
        );
        if clear || !was_known {
            self.on_content(object, now, status);
        }
    }

    /// The content of a source has changed.
    fn on_content(&mut self, object: &ObjectRef, now: Moment, status: &mut Status) {
        if self.is_current(object) {
            self.entries.mark_dirty(object);
            self.publish_soon(now);
        }
        self.try_candidate(now, status);
    }

    /// Reports a failing source. If only edited annotations name it, the failure keeps them from being applied.
    fn source_failing(
        &mut self,
        object: &ObjectRef,
        reason: Reason,
        message: &str,
        now: Moment,
        status: &mut Status,
    ) {
        if self.is_current(object) {
            let message = self.for_credentials(object, message);
            status.failing(now, Component::Source(object.clone()), reason, &message);
        } else {
            self.reject_candidate(message, reason, now, status);
        }
    }

    /// Whether a current credential uses the object, and not only edited annotations.
    fn is_current(&self, object: &ObjectRef) -> bool {
        self.credentials.iter().any(|credential| credential.objects().any(|named| named == object))
    }

    /// Prefixes a message with the credentials that use the object.
    fn for_credentials(&self, object: &ObjectRef, message: &str) -> String {
        let mut named = self.credentials.iter().filter(|it| it.objects().any(|named| named == object));
        match (named.next(), named.count()) {
            (None, _) => message.to_owned(),
            (Some(first), 0) => format!("credential {}: {message}", first.name),
            (Some(first), more) => format!("credential {} and {more} more: {message}", first.name),
        }
    }
}

/// Whether a resourceVersion is newer than another one of the same object. They are numbers that grow.
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
fn is_newer(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version > than,
        _ => version != than,
    }
}

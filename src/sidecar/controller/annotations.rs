//! Edited annotations. Their credentials are a candidate until each of their objects was read and each changed entry can be
//! rendered; then they replace the current credentials.

use std::collections::BTreeSet;
use std::time::Duration;

use log::Level;

use crate::credential::Credential;
use crate::kube::WatchEvent;
use crate::object::ObjectRef;
use crate::render;
use crate::render::Size;
use crate::sidecar::controller::entries::Entries;
use crate::sidecar::controller::sources::Source;
use crate::sidecar::controller::{
    Action, AnnotationsFailure, AnnotationsResult, Context, Controller, ReadAnnotations, Target, Tracker,
    Update,
};
use crate::sync::unread::optional_hint;
use crate::telemetry::{Component, Moment, Reason, Status, Subject};

/// The state of the annotations.
#[derive(Default)]
pub(crate) struct State {
    /// `None` means that edits are ignored.
    pub(crate) tracker: Option<Tracker>,
    /// The credentials of edited annotations that are not applied yet. `None` means that no edit is pending.
    pub(crate) candidate: Option<Vec<Credential>>,
}

impl Controller {
    pub(crate) fn follow_annotations(&mut self, now: Moment, status: &mut Status) {
        let Some(follow) = self.policy.follow.clone() else { return };
        let component = follow.pod.clone().map_or(Component::Annotations, Component::Watch);
        let can_watch = follow.pod.is_some() && self.policy.watch.is_enabled;
        let mut context = self.context(now, status);
        let tracker =
            Tracker::start(Target::Annotations, component, can_watch, follow.interval, &mut context);
        self.annotations.tracker = Some(tracker);
    }

    /// The tracker of the annotations, and the context for its transitions. `None` means that edits are ignored.
    pub(crate) fn annotations_context<'a>(
        &'a mut self,
        now: Moment,
        status: &'a mut Status,
    ) -> Option<(&'a mut Tracker, Context<'a>)> {
        let tracker = self.annotations.tracker.as_mut()?;
        let (watch, timers, actions) = (self.policy.watch, &mut self.timers, &mut self.actions);
        Some((tracker, Context { now, watch, timers, status, actions, last_id: &mut self.last_id }))
    }

    pub(crate) fn on_annotations_read(
        &mut self,
        read: u64,
        result: Result<ReadAnnotations, AnnotationsFailure>,
        now: Moment,
        status: &mut Status,
    ) {
        let Some((tracker, mut context)) = self.annotations_context(now, status) else { return };
        if !tracker.awaits(read) {
            return;
        }
        match result {
            Ok(ReadAnnotations { version, result }) => {
                tracker.on_read(Some(version), &mut context);
                self.on_edit(result, now, status);
            }
            Err(AnnotationsFailure { reason, message, retry_after }) => {
                tracker.on_read_failure(retry_after, &mut context);
                self.reject_candidate(&message, reason, now, status);
            }
        }
    }

    pub(crate) fn on_annotations_update(
        &mut self,
        watch: u64,
        update: Update<AnnotationsResult>,
        now: Moment,
        status: &mut Status,
    ) {
        let Some((tracker, mut context)) = self.annotations_context(now, status) else { return };
        let is_current = tracker.on_update(watch, &update, &mut context);
        if let Update::Event(WatchEvent::Applied { data, .. }) = update
            && is_current
        {
            self.on_edit(data, now, status);
        }
    }

    fn on_edit(&mut self, result: AnnotationsResult, now: Moment, status: &mut Status) {
        match result {
            Ok(credentials) if credentials == self.credentials => {
                self.annotations.candidate = None;
                self.track_sources(now, status);
                status.healthy(&Component::Annotations);
            }
            Ok(credentials) if self.annotations.candidate.as_ref() == Some(&credentials) => {}
            Ok(credentials) => {
                self.annotations.candidate = Some(credentials);
                self.track_sources(now, status);
                self.try_candidate(now, status);
            }
            Err(error) => {
                self.annotations.candidate = None;
                self.track_sources(now, status);
                self.reject_candidate(&error.to_string(), Reason::Annotations, now, status);
            }
        }
    }

    /// Reports why edited annotations are not applied.
    pub(crate) fn reject_candidate(&self, message: &str, reason: Reason, now: Moment, status: &mut Status) {
        let message = format!("{message}; keeping the current credentials");
        status.failing(now, Component::Annotations, reason, &message);
    }

    /// Applies edited annotations if each object that they name was read and each entry that they change can be rendered.
    pub(crate) fn try_candidate(&mut self, now: Moment, status: &mut Status) {
        let Some(candidate) = self.annotations.candidate.take() else { return };
        let is_known = |credential: &Credential| {
            credential.objects().all(|object| self.is_known_for(credential, object))
        };
        if !candidate.iter().all(is_known) {
            self.annotations.candidate = Some(candidate);
            return;
        }
        if let Some(message) = self.missing_object(&candidate) {
            self.annotations.candidate = Some(candidate);
            return self.reject_candidate(&message, Reason::ApiRefused, now, status);
        }
        if let Err(errors) = self.check(&candidate) {
            self.annotations.candidate = Some(candidate);
            return self.reject_candidate(&errors.to_string(), Reason::Annotations, now, status);
        }
        status.log(Level::Info, Subject::None, "applied the edited annotations");
        status.healthy(&Component::Annotations);
        self.entries.replace(&candidate);
        self.has_removals = true;
        self.credentials = candidate;
        let credentials = &self.credentials;
        self.notices.retain(|(name, ..)| credentials.iter().any(|credential| credential.name == *name));
        self.name_credentials(status);
        self.track_sources(now, status);
        self.actions.push(Action::SetNotified { credentials: self.credentials.clone() });
        self.publish_at(now.instant);
    }

    /// Whether the object was read, or is missing and may be.
    fn is_known_for(&self, credential: &Credential, object: &ObjectRef) -> bool {
        self.contents.contains_key(object)
            || (self.sources.get(object).is_some_and(Source::is_absent)
                && (credential.optional || !credential.needed_objects().any(|needed| needed == object)))
    }

    /// An object that does not exist and that a required credential of the edit needs, unless the credential needs it already.
    fn missing_object(&self, candidate: &[Credential]) -> Option<String> {
        let needs_it_already = |edited: &&Credential| {
            let current = self.credentials.iter().find(|current| current.name == edited.name);
            current.is_some_and(|current| current.needed_objects().eq(edited.needed_objects()))
        };
        let required = candidate.iter().filter(|it| !it.optional && !needs_it_already(it));
        let mut objects = required.flat_map(Credential::needed_objects);
        let missing = objects.find(|object| matches!(self.contents.get(*object), Some(None)))?;
        let hint = optional_hint(candidate, missing).map(|hint| format!("; {hint}")).unwrap_or_default();
        Some(format!("{missing} not found{hint}"))
    }

    /// Checks that the entries that differ from the current ones can be rendered. An unchanged entry that cannot be rendered is
    /// not a reason to reject an edit.
    fn check(&self, candidate: &[Credential]) -> Result<(), render::Errors> {
        let work = render::work_share(candidate);
        let current = |name: &String| self.entries.iter().find(|(other, _)| *other == name);
        for (name, entry) in Entries::new(candidate, &BTreeSet::new()).iter() {
            if current(name).is_none_or(|(_, current)| current.credentials != entry.credentials) {
                render::render_beside(Size::default(), work, &entry.credentials, &self.contents)?;
            }
        }
        Ok(())
    }
}

/// How often to check an annotations file for edits.
pub(crate) const FILE_INTERVAL: Duration = Duration::from_secs(2);

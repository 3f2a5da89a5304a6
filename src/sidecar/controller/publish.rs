//! Renders and publishes the entries that have changed. An entry that cannot be rendered keeps its current files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use log::Level;

use crate::credential::{Application, Credential};
use crate::object::ObjectRef;
use crate::sidecar::controller::changes::ChangeSet;
use crate::sidecar::controller::entries::{Batch, Files};
use crate::sidecar::controller::timers::Timer;
use crate::sidecar::controller::{Action, Controller, entries};
use crate::telemetry::{Component, Moment, Reason, Status, Subject};
use crate::volume::{self, Published};

/// Debounce window: changes that follow each other within it are published together. The first one after a while is not delayed.
const DEBOUNCE: Duration = Duration::from_millis(1);
/// Maximum time to wait for further changes before publishing.
const MAX_DEBOUNCE: Duration = Duration::from_millis(50);

impl Controller {
    /// Schedules a publication after a change of content.
    pub(crate) fn publish_soon(&mut self, now: Moment) {
        let first = *self.noticed.get_or_insert(now.instant);
        let at = match self.may_publish_at_once(now) {
            true => now.instant,
            false => (now.instant + DEBOUNCE).min(first + MAX_DEBOUNCE).max(now.instant),
        };
        self.publish_at(at);
    }

    /// Schedules a publication, which must not shorten the back-off of a volume that cannot be written.
    pub(crate) fn publish_at(&mut self, at: Instant) {
        self.timers.set(Timer::Publish, self.publish_from.map_or(at, |from| from.max(at)));
    }

    /// Whether a change needs no debounce, because nothing was published for a while: a further change is then published on its
    /// own. Not at the start, when many sources are read, and not if a publication ends the sidecar.
    fn may_publish_at_once(&self, now: Moment) -> bool {
        let is_quiet = self.published_at.is_some_and(|at| now.instant.duration_since(at) > MAX_DEBOUNCE);
        is_quiet && self.policy.exit_on_change.is_none()
    }

    /// Renders the entries that have changed, and publishes those that could be rendered.
    pub(crate) fn publish(&mut self, now: Moment, status: &mut Status) {
        if self.publishing.is_some() {
            // The end of that publication schedules the next one.
            return;
        }
        // An application starts with all of its credentials or not at all, so the first files wait for all sources, and large ones
        // are not rendered again after each read.
        if !self.has_published && !self.entries.iter().all(|(_, entry)| entry.is_known(&self.contents)) {
            return;
        }
        let (mut batch, failures) = self.entries.render(&self.contents);
        for (entry, errors) in failures {
            let broken = errors.by_credential();
            let keeping = if self.entries.has_files(&entry) { "; keeping its current files" } else { "" };
            for (credential, errors) in &broken {
                let message = format!("{errors}{keeping}");
                let component = Component::Credential(credential.clone());
                status.publish_failed(now, component, Reason::Render, &message);
            }
            // The other credentials of the entry are not updated either.
            for credential in self.credentials.iter().filter(|it| entries::name(it) == entry) {
                let name = credential.name.to_string();
                if !broken.contains_key(&name) {
                    let broken = broken.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let message = format!("credential {name}: shares {entry} with {broken}{keeping}");
                    status.failing(now, Component::Credential(name), Reason::Render, &message);
                }
            }
        }
        if !self.has_published && !self.is_complete(&batch) {
            return;
        }
        if batch.names.is_empty() && !self.has_removals {
            // The duration of the next rotation must not include the time since a change that could not be rendered.
            self.noticed = None;
            return;
        }
        let mut kept = self.entries.names();
        kept.retain(|name| !batch.names.contains(name));
        self.entries.publishing(&batch);
        for credential in self.published_by(&batch) {
            status.served.rendered(credential.name.as_str(), credential.objects());
        }
        let bundle = std::mem::take(&mut batch.bundle);
        self.actions.push(Action::Publish { bundle, kept });
        self.publishing = Some(batch);
    }

    fn published_by<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a Credential> {
        self.credentials.iter().filter(|credential| batch.names.contains(&entries::name(credential)))
    }

    /// Whether the batch has all entries.
    fn is_complete(&self, batch: &Batch) -> bool {
        self.entries.iter().all(|(name, _)| batch.names.contains(name))
    }

    pub(crate) fn on_published(
        &mut self,
        result: Result<Published, volume::Error>,
        took: Duration,
        now: Moment,
        status: &mut Status,
    ) {
        let Some(mut batch) = self.publishing.take() else { return };
        match result {
            Ok(published) => {
                self.publish_backoff.reset();
                self.publish_from = None;
                self.published_at = Some(now.instant);
                let is_first = !self.entries.are_current(&batch);
                self.report_rendered(&batch, status);
                self.entries.published(&batch);
                self.has_removals = false;
                if !batch.headers.is_empty() {
                    let headers = std::mem::take(&mut batch.headers);
                    self.actions.push(Action::SetHeaders { headers });
                }
                for credential in self.published_by(&batch) {
                    let changed = match &published {
                        Published::Swapped { version, changed }
                            if has_changed(credential, changed.as_ref()) =>
                        {
                            Some((version.as_str(), now.time))
                        }
                        _ => None,
                    };
                    let name = credential.name.as_str();
                    status.served.published(name, changed);
                    let expiries = batch.expiries.iter().filter(|(owner, ..)| owner.as_str() == name);
                    status
                        .served
                        .set_certificates(name, expiries.map(|(_, field, at)| (field.as_str(), *at)));
                }
                match published {
                    Published::Swapped { version, changed } => {
                        let ends = now.instant + self.policy.grace;
                        self.prune_from = Some(ends);
                        // A version that was superseded earlier is not kept longer because of this one.
                        if self.timers.at(&Timer::Prune).is_none() {
                            self.timers.set(Timer::Prune, ends);
                        }
                        self.on_swapped(&batch, version, changed.as_ref(), took, now, status);
                    }
                    Published::Unchanged => {
                        if is_first {
                            let (path, files) = (&self.policy.place, batch.summary());
                            let message = format!("{path} is up to date, with {files}: nothing written");
                            status.log(Level::Info, Subject::None, message);
                        }
                        status.succeeded(now);
                    }
                }
                self.has_published = true;
                self.noticed = None;
                if self.entries.iter().any(|(_, entry)| entry.is_dirty) {
                    self.publish_soon(now);
                }
            }
            Err(error) => {
                self.entries.not_published(&batch);
                let message = format!("{error}; keeping the current files");
                status.publish_failed(now, Component::Volume, Reason::Volume, &message);
                let from = now.instant + self.publish_backoff.delay();
                self.publish_from = Some(from);
                self.timers.set(Timer::Publish, from);
            }
        }
    }

    /// Logs new notices, and ends the failures of the credentials that were rendered.
    fn report_rendered(&mut self, batch: &Batch, status: &mut Status) {
        let published = |credential: &&Credential| batch.names.contains(&entries::name(credential));
        for credential in self.credentials.iter().filter(published) {
            let name = credential.name.to_string();
            if status.healthy(&Component::Credential(name.clone())) {
                let was_rendered = self.entries.has_files(&entries::name(credential));
                let since = if was_rendered { "again" } else { "now" };
                let message = format!("credential {name} can be rendered {since}");
                status.log(Level::Info, Subject::Credential(name), message);
            }
        }
        for (credential, level, notice) in batch.notices.difference(&self.notices) {
            status.log(*level, Subject::Credential(credential.to_string()), notice.clone());
        }
        let rendered = self.credentials.iter().filter(published).map(|credential| &credential.name);
        self.notices.retain(|(credential, ..)| !rendered.clone().any(|name| name == credential));
        self.notices.extend(batch.notices.iter().cloned());
    }

    /// Reports new files. Applications whose files have changed are then notified, or, with `--exit-on-change`, the sidecar ends. The
    /// first publication leads to neither, because no application has read earlier files.
    fn on_swapped(
        &mut self,
        batch: &Batch,
        version: String,
        changed: Option<&BTreeSet<String>>,
        took: Duration,
        now: Moment,
        status: &mut Status,
    ) {
        let (path, took) = (&self.policy.place, took.as_millis());
        let written = format!("wrote {} to {path}", batch.summary());
        let bundle = Subject::Bundle(version.clone());
        // Directories that were repaired, with unchanged files, are not a rotation.
        let Some(changed) = changed.filter(|changed| !changed.is_empty()) else {
            status.log(Level::Info, bundle, format!("{written} in {took} ms, as version {version}"));
            return status.published(now, None, &written);
        };
        let has_changed = |credential: &&Credential| changed.iter().any(|path| credential.overlaps(path));
        let changes = ChangeSet::new(self.credentials.iter().filter(has_changed), &self.contents);
        status.log(Level::Info, bundle, format!("{changes}: {written} in {took} ms, as version {version}"));
        let latency = self.noticed.map_or(Duration::ZERO, |noticed| now.instant.duration_since(noticed));
        status.published(now, Some(latency), &changes.to_string());
        for credential in changes.credentials() {
            if let Some(application) = Application::of(credential) {
                let application = application.to_string();
                status.served.notifying(credential.name.as_str(), application, &version, now.time);
            }
        }
        let changed: Vec<_> = changes.credentials().map(|credential| credential.name.clone()).collect();
        if self.policy.exit_on_change.is_none() || changes.has_new_files() {
            self.react_later(&changed, &version, now, status);
        }
    }

    /// Finds the credentials that have no files yet. The sidecar is ready once there are none.
    pub(crate) fn update_readiness(&mut self, status: &mut Status) {
        if status.ready {
            return;
        }
        let mut waiting = BTreeMap::new();
        let (mut attempted, mut failing) = (true, false);
        let being_written =
            |name: &String| self.publishing.as_ref().is_some_and(|batch| batch.names.contains(name));
        let cannot_write = status.message(&Component::Volume).is_some();
        for (name, entry) in self.entries.iter() {
            let unread: Vec<_> =
                entry.objects().filter(|object| !self.contents.contains_key(object)).collect();
            let is_attempted =
                |object: &&ObjectRef| self.sources.get(*object).is_some_and(|source| source.attempted);
            let all_attempted = unread.iter().all(is_attempted);
            attempted &= all_attempted;
            let has_files = match entry.files {
                Files::None => false,
                // Files of an earlier run count once this run knows that it cannot replace them now.
                Files::Earlier if unread.is_empty() => {
                    cannot_write || !(entry.is_dirty || being_written(name))
                }
                Files::Earlier => all_attempted,
                Files::Current => true,
            };
            if has_files {
                continue;
            }
            for credential in &entry.credentials {
                let name = credential.name.to_string();
                let unread: Vec<_> = credential.objects().filter(|object| unread.contains(object)).collect();
                let is_broken = status.message(&Component::Credential(name.clone())).is_some();
                failing |= is_broken || !unread.is_empty();
                let reason = match unread.as_slice() {
                    // The log has the reason, with names of keys, which `/readyz` does not show.
                    [] if is_broken => "it cannot be rendered".to_owned(),
                    [] => "its files are not written yet".to_owned(),
                    unread => unread.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                };
                waiting.insert(name, reason);
            }
        }
        // Objects that are being read for the first time are not missing yet.
        if attempted && failing && !self.has_published && self.reported_waiting != waiting {
            let list: Vec<_> = waiting.iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
            let message = format!("no files are written yet: waiting for {}", list.join(", "));
            status.log(Level::Warn, Subject::None, message);
            self.reported_waiting.clone_from(&waiting);
        }
        status.set_waiting(waiting);
    }
}

/// Whether a publication has changed files of the credential. `None` means that there were no files before.
fn has_changed(credential: &Credential, changed: Option<&BTreeSet<String>>) -> bool {
    changed.is_none_or(|changed| changed.iter().any(|path| credential.overlaps(path)))
}

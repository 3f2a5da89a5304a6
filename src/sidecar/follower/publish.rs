//! What the loop does with what it holds: renders and publishes it, and has the applications told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use log::info;

use crate::credential::Credential;
use crate::sidecar::follower::Follower;
use crate::sidecar::kept::{self, Kept};
use crate::sidecar::notify::Notice;
use crate::sidecar::rotation::Rotation;
use crate::sidecar::{self, Exit};
use crate::sync::{self, AnnotationsFrom, Error, Outcome};
use crate::telemetry::Reason;
use crate::volume::Published;

impl Follower {
    /// Tells the applications whose credentials have changed.
    fn notify(&self, rotation: &Rotation<'_>, version: String) {
        let pod = match &self.settings.sync.annotations {
            AnnotationsFrom::Pod { pod, .. } => Some(pod.name().to_owned()),
            AnnotationsFrom::File(_) => None,
        };
        let namespace = self.settings.sync.scope.namespace.to_string();
        let notice = Notice { credentials: BTreeSet::new(), pod, namespace, version };
        self.notifier.notify(rotation.credentials(), &notice);
    }

    pub(crate) fn publish_if_due(&mut self) {
        if !self.publish.is_due() {
            return;
        }
        self.publish.begin();
        // No bound of the files' own: a slow disk may take as long as a slow network.
        self.pulse.beat(self.settings.sync.timeout);
        let started = Instant::now();
        let sources = self.held.sources();
        let published = if self.held.is_complete() {
            sync::publish(&self.credentials, sources, &self.volume)
        } else {
            let lacks = |credential: &Credential| self.held.lacks(credential);
            match kept::keep(&self.credentials, lacks, &self.settings.volume) {
                Ok(Some(Kept { others, files, kept })) => {
                    let published = sync::publish_with(&others, sources, files, &self.volume);
                    published.map(|outcome| Outcome { credentials: outcome.credentials + kept, ..outcome })
                }
                // An application starts with all of its credentials or not at all. What is read next makes publishing due again.
                Ok(None) => return,
                Err(error) => Err(error.into()),
            }
        };
        match published {
            Ok(outcome) => {
                self.publish.succeeded();
                if self.omitted != outcome.omissions {
                    outcome.omissions.difference(&self.omitted).for_each(|omission| info!("{omission}"));
                    self.omitted.clone_from(&outcome.omissions);
                }
                match &outcome.published {
                    Published::Swapped { version, changed } => {
                        self.clear_at = Some(Instant::now() + self.settings.grace);
                        self.exit = self.swapped(&outcome, version, changed.as_ref(), started);
                    }
                    Published::Unchanged => {
                        if !self.report.health.is_ready() {
                            let path = self.settings.volume.display();
                            info!("{path} is current, with {outcome}: nothing was written");
                        }
                        self.report.unchanged();
                    }
                }
                self.noticed = None;
            }
            Err(error) => {
                self.report.not_published(
                    reason(&error),
                    &format!("{error}; until this is mended the files stay as they are, those of other credentials too"),
                );
                match error {
                    // Only a change of a source can help, and that makes publishing due again.
                    Error::Render(_) => self.publish.succeeded(),
                    _ => {
                        self.publish.failed(Duration::ZERO);
                    }
                }
            }
        }
    }

    /// Reports that a bundle is out, and notifies the applications whose files have changed, or returns how the sidecar ends in
    /// place of that. No application has read anything before the first bundle, so neither happens after it.
    fn swapped(
        &self,
        outcome: &Outcome,
        version: &str,
        changed: Option<&BTreeSet<String>>,
        started: Instant,
    ) -> Option<Exit> {
        let (path, took) = (self.settings.volume.display(), started.elapsed().as_millis());
        let written = format!("wrote {outcome} to {path}");
        let latency = self.noticed.unwrap_or(started).elapsed();
        // Directories whose layout or mode was mended, with the files of before, are not a rotation.
        let Some(changed) = changed.filter(|changed| !changed.is_empty()) else {
            info!("{written} in {took} ms, as version {version}");
            self.report.swapped(latency, false, &written);
            return None;
        };
        let is_cleared = |credential: &Credential| self.held.lacks_a_source(credential);
        let rotation = Rotation::of(&self.credentials, changed, is_cleared);
        info!("{rotation}: {written} in {took} ms, as version {version}");
        self.report.swapped(latency, true, &rotation.to_string());
        match self.settings.exit_on_change {
            Some(code) if rotation.has_new_files() => Some(Exit { code, reason: rotation.to_string() }),
            _ => {
                self.notify(&rotation, version.to_owned());
                None
            }
        }
    }
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::Unread { errors, .. } => sidecar::reason(errors),
        Error::Volume(_) | Error::Output(_) => Reason::Volume,
        _ => Reason::Render,
    }
}

//! Renders and publishes the sources, carries the files of an earlier run over where a source is not read yet, and notifies the
//! applications of what changed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use log::info;

use crate::credential::{Bundle, BundleFile, Credential};
use crate::sidecar::controller::Controller;
use crate::sidecar::notify::Notification;
use crate::sidecar::{self, Exit};
use crate::sync::{self, AnnotationSource, Error, PublishOutcome};
use crate::telemetry::Reason;
use crate::volume::{self, Published, Reader};

impl Controller {
    /// Notifies the applications whose credentials have changed.
    fn notify(&self, changes: &ChangeSet<'_>, version: String) {
        let pod = match &self.settings.sync.annotations {
            AnnotationSource::Pod { pod, .. } => Some(pod.name().to_owned()),
            AnnotationSource::File(_) | AnnotationSource::Template { .. } => None,
        };
        let namespace = self.settings.sync.scope.namespace.to_string();
        let notification = Notification { credentials: BTreeSet::new(), pod, namespace, version };
        self.notifier.notify(changes.credentials(), &notification);
    }

    pub(crate) fn publish_if_due(&mut self) {
        if !self.publish.is_due() {
            return;
        }
        self.publish.begin();
        // Writing files has no timeout of its own: a slow disk may take as long as a slow network.
        self.heartbeat.beat(self.settings.sync.timeout);
        let started = Instant::now();
        let sources = self.store.sources();
        let published = if self.store.is_complete() {
            sync::publish(&self.credentials, sources, &self.volume)
        } else {
            let is_incomplete = |credential: &Credential| self.store.is_incomplete(credential);
            match carry_over(&self.credentials, is_incomplete, &self.settings.volume) {
                Ok(Some(CarryOver { ready, files, count })) => {
                    let published = sync::publish_with(&ready, sources, files, &self.volume);
                    published
                        .map(|outcome| PublishOutcome { credentials: outcome.credentials + count, ..outcome })
                }
                // An application starts with all of its credentials or not at all. The next read makes publishing due again.
                Ok(None) => return,
                Err(error) => Err(error.into()),
            }
        };
        match published {
            Ok(outcome) => {
                self.publish.succeeded();
                self.log_omissions(&outcome);
                match &outcome.published {
                    Published::Swapped { version, changed } => {
                        self.prune_at = Some(Instant::now() + self.settings.grace);
                        self.exit = self.on_published(&outcome, version, changed.as_ref(), started);
                    }
                    Published::Unchanged => {
                        if !self.status.health.is_ready() {
                            let path = self.settings.volume.display();
                            info!("{path} is up to date, with {outcome}: nothing written");
                        }
                        self.status.unchanged();
                    }
                }
                self.noticed = None;
            }
            Err(error) => {
                let message = format!("{error}; keeping all current files, also those of other credentials");
                self.status.publish_failed(reason(&error), &message);
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

    /// Logs omissions that the last bundle did not have.
    fn log_omissions(&mut self, outcome: &PublishOutcome) {
        for (credential, omission) in outcome.omissions.difference(&self.omitted) {
            info!(credential:% = credential; "{omission}");
        }
        self.omitted.clone_from(&outcome.omissions);
    }

    /// Reports a new bundle. Notifies the applications whose files have changed, or returns the exit that replaces the
    /// notification. After the first bundle neither happens, as no application has read any files before it.
    fn on_published(
        &self,
        outcome: &PublishOutcome,
        version: &str,
        changed: Option<&BTreeSet<String>>,
        started: Instant,
    ) -> Option<Exit> {
        let (path, took) = (self.settings.volume.display(), started.elapsed().as_millis());
        let written = format!("wrote {outcome} to {path}");
        let latency = self.noticed.unwrap_or(started).elapsed();
        // Directories that were repaired, with unchanged files, are not a rotation.
        let Some(changed) = changed.filter(|changed| !changed.is_empty()) else {
            info!(bundle = version; "{written} in {took} ms, as version {version}");
            self.status.published(latency, false, &written);
            return None;
        };
        let is_cleared = |credential: &Credential| self.store.has_missing_source(credential);
        let changes = ChangeSet::new(&self.credentials, changed, is_cleared);
        info!(bundle = version; "{changes}: {written} in {took} ms, as version {version}");
        self.status.published(latency, true, &changes.to_string());
        match self.settings.exit_on_change {
            Some(code) if changes.has_new_files() => Some(Exit { code, reason: changes.to_string() }),
            _ => {
                self.notify(&changes, version.to_owned());
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

/// The files of an earlier run, for credentials whose sources have not been read since a restart. The other credentials stay
/// current meanwhile.
struct CarryOver {
    /// The credentials that can be rendered.
    ready: Vec<Credential>,
    /// The current files of the other credentials.
    files: Bundle,
    /// Number of credentials with carried files.
    count: usize,
}

/// Reads the files of incomplete credentials from the volume at `path`. Returns `None` if a required credential among them has no
/// files from an earlier run, or if no credential is left to render.
///
/// # Errors
/// If the volume cannot be read.
fn carry_over(
    credentials: &[Credential],
    is_incomplete: impl Fn(&Credential) -> bool,
    path: &Path,
) -> Result<Option<CarryOver>, volume::Error> {
    let Some(reader) = Reader::open(path)? else { return Ok(None) };
    // A credential that adds to a file of an incomplete credential is carried over too: the file is rendered whole or not at all.
    let shares_file = |credential: &Credential| {
        credentials.iter().any(|other| other.path == credential.path && is_incomplete(other))
    };
    let (incomplete, ready): (Vec<_>, Vec<_>) =
        credentials.iter().partition(|credential| shares_file(credential));
    if ready.is_empty() {
        return Ok(None);
    }
    let mut files = Bundle::new();
    let count = incomplete.len();
    for credential in incomplete {
        for (path, content) in reader.read(|path| credential.may_contain(path))? {
            files.insert(path, BundleFile { content, mode: credential.mode });
        }
        if !credential.optional && !files.keys().any(|path| credential.may_contain(path)) {
            return Ok(None);
        }
    }
    Ok(Some(CarryOver { ready: ready.into_iter().cloned().collect(), files, count }))
}

/// The credentials whose files differ between two bundles.
struct ChangeSet<'a> {
    rotated: Vec<&'a Credential>,
    /// Credentials whose files were removed, because a source was deleted.
    cleared: Vec<&'a Credential>,
}

impl<'a> ChangeSet<'a> {
    /// Finds the credentials of the changed paths. `is_cleared` returns whether a source of a credential was deleted.
    fn new(
        credentials: &'a [Credential],
        changed: &BTreeSet<String>,
        is_cleared: impl Fn(&Credential) -> bool,
    ) -> Self {
        let has_changed = |credential: &&Credential| changed.iter().any(|path| credential.overlaps(path));
        let (cleared, rotated) =
            credentials.iter().filter(has_changed).partition(|credential| is_cleared(credential));
        Self { rotated, cleared }
    }

    /// Whether an application has new files to read. After files were only removed, a restarted application could not start.
    fn has_new_files(&self) -> bool {
        !self.rotated.is_empty()
    }

    fn credentials(&self) -> impl Iterator<Item = &'a Credential> {
        self.rotated.iter().chain(&self.cleared).copied()
    }
}

impl fmt::Display for ChangeSet<'_> {
    /// `rotated a, b; cleared c`. Both are empty if edited annotations only dropped credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (verb, credentials) in [("rotated", &self.rotated), ("cleared", &self.cleared)] {
            let names: Vec<_> = credentials.iter().map(|credential| credential.name.to_string()).collect();
            if !names.is_empty() {
                write!(f, "{separator}{verb} {}", names.join(", "))?;
                separator = "; ";
            }
        }
        f.write_str(if separator.is_empty() { "removed files that no annotation names" } else { "" })
    }
}

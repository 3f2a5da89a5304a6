//! `podcreds probe`: exec probes for images without a shell. As a probe of the sidecar, it asks whether the sidecar is ready. With
//! `--changed-since-start`, as the liveness probe of an application that reads its credentials once, it fails after a rotation, so
//! that the kubelet restarts the application's container. It keeps no state: it compares the times of the published files with the
//! start of its container.

use std::path::Path;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use log::warn;

use crate::credential::RelativePath;
use crate::proc::container_age;
use crate::splay;
use crate::telemetry::probe;
use crate::telemetry::server::Listen;
use crate::text::formattable;
use crate::volume::{self, Reader, Times};

/// A file that was written this long before the start of the container counts as changed since. Publishing takes a few
/// milliseconds from writing a file to putting it into place, and the clocks of files and processes have a resolution of up to
/// 10 ms. The kubelet takes longer to start a container after the first files.
const MARGIN: Duration = Duration::from_millis(100);

/// The longest time from the beginning to the end of the first publication, which usually takes milliseconds. A later publication that
/// adds or removes names hides its end ([`Times::named`]), and must not hide the rotations before it.
const FIRST_PUBLICATION: Duration = Duration::from_secs(10);

/// Which changes make the probe fail, and when.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    pub(crate) volume: &'a Path,
    /// Files and directories in the volume. Empty means all that podcreds publishes.
    pub(crate) files: &'a [RelativePath],
    pub(crate) splay: Duration,
    /// The name of the pod, which differs between replicas.
    pub(crate) pod: &'a str,
}

/// Queries the sidecar that listens on `listen` in this pod, for `timeout` at most.
///
/// # Errors
/// If the sidecar is not ready, or does not respond in time.
pub(crate) fn check_ready(listen: Listen, timeout: Duration) -> Result<(), Error> {
    Ok(probe::check_ready(listen, timeout)?)
}

/// Checks whether files have changed since the start of this container.
///
/// # Errors
/// If they have, or the volume cannot be read. A volume without files is not an error: the application is waiting for them.
pub(crate) fn check_unchanged(changes: &Changes<'_>) -> Result<(), Error> {
    let reader = Reader::open(changes.volume)?.filter(Reader::is_complete);
    let Some(times) = reader.and_then(|reader| reader.times()) else { return Ok(()) };
    for file in changes.files {
        if !times.entries.iter().any(|(entry, _)| contains(file, entry)) {
            warn!("--file {file}: podcreds does not publish it in volume {}", changes.volume.display());
        }
    }
    let age = container_age().ok_or(Error::NoProcesses)?;
    match decide(changes, &times, SystemTime::now(), age) {
        Some(changed) => Err(changed),
        None => Ok(()),
    }
}

/// Whether a published file or directory is a selected file, contains it, or is in a selected directory.
fn contains(selected: &RelativePath, entry: &str) -> bool {
    let (selected, entry) = (selected.to_string(), entry.trim_end_matches('/'));
    let is_parent = |of: &str, parent: &str| of.rsplit_once('/').is_some_and(|(above, _)| above == parent);
    let is_below = entry.strip_prefix(&selected).is_some_and(|rest| rest.starts_with('/'));
    entry == selected || is_parent(&selected, entry) || is_below
}

/// The error of a change that is due; `None` means that the container may keep running.
///
/// Ages are compared, not times: the age of the container comes from the clock since the boot, which cannot be set. A file from the
/// future was written before the clock was set back. Its age is unknown, and the container must not restart again and again until
/// the clock has caught up.
fn decide(changes: &Changes<'_>, times: &Times, now: SystemTime, container: Duration) -> Option<Error> {
    let age = |time: SystemTime| now.duration_since(time).ok();
    let is_since_start = |time: SystemTime| age(time).is_some_and(|age| age < container + MARGIN);
    let has_waited = is_since_start(times.begun);
    // An application that has waited for the first files has read these.
    let is_first = |time: SystemTime| time <= times.named.min(formattable(times.begun) + FIRST_PUBLICATION);
    let is_since = |time: SystemTime| is_since_start(time) && !(has_waited && is_first(time));
    let is_selected =
        |entry: &str| changes.files.is_empty() || changes.files.iter().any(|file| contains(file, entry));
    let is_due = |time: SystemTime| {
        let delay =
            splay::delay(changes.splay, changes.pod, &format_rfc3339_seconds(formattable(time)).to_string());
        age(time).is_some_and(|age| age >= delay)
    };
    let changed = || times.entries.iter().filter(|(entry, time)| is_selected(entry) && is_since(*time));
    let (file, at) = changed().find(|(_, time)| is_due(*time))?;
    Some(Error::Changed {
        file: file.clone(),
        at: *at,
        started: now.checked_sub(container).unwrap_or(SystemTime::UNIX_EPOCH),
        more: changed().count() - 1,
    })
}

/// Why a probe fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    NotReady(#[from] probe::Error),
    #[error(transparent)]
    Volume(#[from] volume::Error),
    #[error(
        "restart needed: {file}{} changed at {}, after the start of this container at {}",
        Others(*more),
        format_rfc3339_seconds(formattable(*at)),
        format_rfc3339_seconds(formattable(*started))
    )]
    Changed {
        file: String,
        at: SystemTime,
        started: SystemTime,
        /// The number of other files and directories that have changed.
        more: usize,
    },
    #[error("--changed-since-start: cannot determine when this container started: /proc is not mounted")]
    NoProcesses,
}

struct Others(usize);

impl std::fmt::Display for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " (and {} more)", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000 + seconds)
    }

    fn paths(paths: &[&str]) -> Vec<RelativePath> {
        paths.iter().map(|path| RelativePath::parse(path).unwrap()).collect()
    }

    /// Published completely at second 0, then changed at these seconds.
    fn times(entries: &[(&str, u64)]) -> Times {
        let entries = entries.iter().map(|(path, seconds)| ((*path).to_owned(), at(*seconds))).collect();
        Times { begun: at(0), named: at(0), entries }
    }

    /// The message of a probe at second `now` in a container that started at second `started`.
    fn probe_with(files: &[&str], splay: u64, times: &Times, started: u64, now: u64) -> Option<String> {
        let (volume, files) = (Path::new("/podcreds"), &paths(files));
        let changes = Changes { volume, files, splay: Duration::from_secs(splay), pod: "app-0" };
        let container = Duration::from_secs(now - started);
        decide(&changes, times, at(now), container).map(|error| error.to_string())
    }

    fn fails(times: &Times, started: u64, now: u64) -> bool {
        probe_with(&[], 0, times, started, now).is_some()
    }

    #[test]
    fn a_change_after_the_start_fails_the_probe_until_the_container_restarts() {
        let rotated = times(&[("db.env", 60), ("tls/", 0)]);
        assert!(!fails(&times(&[("db.env", 0), ("tls/", 0)]), 2, 60));
        assert_eq!(
            probe_with(&[], 0, &rotated, 2, 65).as_deref(),
            Some(
                "restart needed: db.env changed at 2026-11-18T11:07:40Z, after the start of this container at 2026-11-18T11:06:42Z"
            )
        );
        assert!(!fails(&rotated, 70, 71) && !fails(&rotated, 70, 70 + HOUR));
        let both = times(&[("db.env", 60), ("tls/", 61)]);
        assert!(probe_with(&[], 0, &both, 2, 65).unwrap().contains("db.env (and 1 more) changed at"));
    }

    #[test]
    fn a_file_that_was_written_just_before_the_start_may_have_appeared_after_it() {
        let mut rotated = times(&[("db.env", 0)]);
        for (before, expected) in [(10, true), (99, true), (101, false)] {
            rotated.entries[0].1 = at(60) - Duration::from_millis(before);
            assert_eq!(fails(&rotated, 60, 61), expected, "{before} ms");
        }
    }

    #[test]
    fn an_application_that_waited_for_the_first_files_is_not_restarted() {
        let mut first = times(&[("a.env", 100), ("b/", 101)]);
        (first.begun, first.named) = (at(100), at(101));
        assert!(!fails(&first, 2, 100) && !fails(&first, 2, 101) && !fails(&first, 2, 101 + HOUR));
        first.entries[0].1 = at(160);
        assert!(fails(&first, 2, 161), "a rotation after the first files");
        assert!(!fails(&first, 162, 170), "it has restarted");
        // A later publication that adds or removes names hides no rotation before it.
        let mut renamed = times(&[("a.env", 160), ("b/", 101), ("c.env", 170)]);
        (renamed.begun, renamed.named) = (at(100), at(170));
        assert!(fails(&renamed, 2, 171), "a rotation before a credential was added");
        renamed.entries[0].1 = at(101);
        assert!(fails(&renamed, 2, 171), "the credential that was added");
        // A credential that is added to a volume with files is a change.
        let mut added = times(&[("a.env", 0), ("b/", 60)]);
        added.named = at(60);
        assert!(fails(&added, 2, 61));
    }

    #[test]
    fn only_selected_files_count() {
        let rotated = times(&[("a.env", 60), ("db/", 60), ("bindings/", 60), ("bindings/db/", 60)]);
        for (files, expected) in [
            (&["a.env"][..], true),
            (&["b.env"], false),
            (&["a"], false),
            (&["db"], true),
            (&["db/password"], true),
            (&["b.env", "db/password"], true),
            (&["bindings/db"], true),
            (&["bindings/db/password"], true),
        ] {
            assert_eq!(probe_with(files, 0, &rotated, 2, 65).is_some(), expected, "{files:?}");
        }
        let nested = times(&[("bindings/", 0), ("bindings/db/", 60)]);
        for (file, expected) in
            [("bindings", true), ("bindings/other", false), ("bindings/other/password", false)]
        {
            assert_eq!(probe_with(&[file], 0, &nested, 2, 65).is_some(), expected, "{file}");
        }
    }

    #[test]
    fn the_splay_delays_the_failure() {
        let rotated = times(&[("db.env", 60)]);
        let due = (60..160).find(|now| probe_with(&[], 100, &rotated, 2, *now).is_some()).unwrap();
        assert!((61..160).contains(&due), "{due}");
        assert!((due..200).all(|now| probe_with(&[], 100, &rotated, 2, now).is_some()));
    }

    #[test]
    fn a_clock_that_jumps_restarts_a_container_once_at_most() {
        let published = times(&[("db.env", HOUR)]);
        // Started at second 3602; then the clock was set back by half an hour.
        let probe = |now: u64, age: u64| {
            let changes = Changes { volume: Path::new("/"), files: &[], splay: Duration::ZERO, pod: "" };
            decide(&changes, &published, at(now), Duration::from_secs(age)).is_some()
        };
        assert!(!probe(HOUR / 2 + 10, 8) && !probe(HOUR - 1, HOUR / 2 - 3), "from the future");
        assert!(probe(HOUR + 1, HOUR / 2 - 1), "it seems to be newer than the container");
        assert!(!probe(HOUR + 5, 2), "the container has restarted");
        // Set forward by an hour.
        assert!(!probe(2 * HOUR + 10, 8));
    }
}

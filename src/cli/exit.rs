//! How a failed run ends: its exit code, its message with what the user can do (the flags and manifest fields that the other layers
//! do not know of), and the termination message that `kubectl describe pod` shows.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::commands::{check, exec, inject, inspect, install, probe, rbac, render, sidecar};
use crate::kube::config::{clusters_file, in_cluster, kubeconfig};
use crate::kube::{self, Class};
use crate::manifest;
use crate::object::ObjectRef;
use crate::supervisor;
use crate::sync;
use crate::telemetry::probe::Error as NotReady;
use crate::text::Printable;
use crate::volume;

/// The size in bytes above which the kubelet truncates a termination message.
/// Source: <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
const TERMINATION_MESSAGE_LIMIT: usize = 4096;

pub(crate) const BUG: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
const VOLUME: u8 = 5;
/// As POSIX defines it for `sh` and `env`.
/// Source: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/env.html#tag_20_38_14>
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

const LISTEN_REMEDY: &str = "pass another address with --listen, or off";

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An invalid flag or variable.
    #[error("{0}")]
    Setting(String),
    #[error(transparent)]
    InCluster(#[from] in_cluster::Error),
    #[error("{0}")]
    Kubeconfig(Box<kubeconfig::Error>),
    /// The local cluster cannot be configured.
    #[error("{0}")]
    Connect(String),
    /// The clusters file.
    #[error(transparent)]
    Clusters(#[from] clusters_file::Error),
    /// The manifests that a command reads.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// `init` and `render`.
    #[error(transparent)]
    Sync(#[from] sync::Error),
    #[error(transparent)]
    Sidecar(#[from] sidecar::Error),
    #[error(transparent)]
    Probe(#[from] probe::Error),
    #[error(transparent)]
    Status(#[from] NotReady),
    #[error(transparent)]
    Exec(#[from] exec::Error),
    #[error(transparent)]
    Install(#[from] install::Error),
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
    #[error(transparent)]
    Inject(#[from] inject::Error),
    #[error(transparent)]
    Rbac(#[from] rbac::Error),
    #[error("cannot install signal handlers: {0}")]
    Signals(io::Error),
}

impl From<kubeconfig::Error> for Error {
    fn from(error: kubeconfig::Error) -> Self {
        Self::Kubeconfig(Box::new(error))
    }
}

impl From<check::Error> for Error {
    fn from(error: check::Error) -> Self {
        match error {
            check::Error::Manifest(error) => Self::Manifest(error),
            check::Error::Inspect(error) => Self::Inspect(error),
        }
    }
}

impl From<render::Error> for Error {
    fn from(error: render::Error) -> Self {
        match error {
            render::Error::NoCluster => Self::Setting(error.to_string()),
            render::Error::Sync(error) => Self::Sync(error),
            render::Error::Workload(error) => Self::Inspect(inspect::Error::Object(error)),
            render::Error::Manifest(error) => Self::Manifest(error),
            render::Error::Object(error) => Self::Setting(error.to_string()),
        }
    }
}

impl Error {
    /// The object that the failure is about; `None` if there are several, or none.
    pub(crate) fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Sync(error) | Self::Exec(exec::Error::Sync(error)) => error.object(),
            _ => None,
        }
    }

    /// The exit code, as documented in `docs/commands.md`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(_)
            | Self::InCluster(_)
            | Self::Kubeconfig(_)
            | Self::Connect(_)
            | Self::Clusters(_)
            | Self::Manifest(_)
            | Self::Sidecar(sidecar::Error::Listen(_))
            | Self::Status(NotReady::Off)
            | Self::Probe(probe::Error::NotReady(NotReady::Off) | probe::Error::NoProcesses) => USAGE,
            Self::Status(_) | Self::Probe(probe::Error::NotReady(_) | probe::Error::Changed { .. }) => {
                UNREACHABLE
            }
            Self::Probe(probe::Error::Volume(_)) => VOLUME,
            Self::Signals(_) => BUG,
            Self::Sync(error) | Self::Sidecar(sidecar::Error::Sync(error)) => for_sync(error),
            Self::Exec(error) => match error {
                exec::Error::Sync(error) => for_sync(error),
                exec::Error::Listen(_)
                | exec::Error::NoFiles { .. }
                | exec::Error::NoFile { .. }
                | exec::Error::EnvFile(_)
                | exec::Error::NoCommand => USAGE,
                exec::Error::Unpublished { .. } => UNREACHABLE,
                exec::Error::Volume(_) | exec::Error::Emptied { .. } => VOLUME,
                exec::Error::Supervisor(_) | exec::Error::NotExecutable { .. } => NOT_EXECUTABLE,
                exec::Error::NotFound { .. } => NOT_FOUND,
            },
            Self::Install(install::Error::Program(_)) => USAGE,
            Self::Install(install::Error::Volume(_)) => VOLUME,
            Self::Rbac(error) => match error {
                rbac::Error::Missing { .. } => REFUSED,
                rbac::Error::Inspect(error) => for_class(error.cause.class()),
                rbac::Error::Output(_) => VOLUME,
                _ => USAGE,
            },
            Self::Inspect(inspect::Error::Object(error)) => for_class(error.cause.class()),
            Self::Inspect(inspect::Error::AccessDenied) => REFUSED,
            Self::Inspect(inspect::Error::Unreachable) => UNREACHABLE,
            Self::Inspect(inspect::Error::Output(_)) | Self::Inject(inject::Error::Output(_)) => VOLUME,
            Self::Inject(_) => USAGE,
        }
    }
}

fn for_sync(error: &sync::Error) -> u8 {
    match error {
        sync::Error::Annotations(_)
        | sync::Error::NoAnnotations { .. }
        | sync::Error::AnnotationsFile { .. }
        | sync::Error::Downward { .. }
        | sync::Error::Render(_) => USAGE,
        // Of several errors, the one that the user has to act on decides.
        sync::Error::Unread { errors, .. } => {
            errors.iter().map(kube::Error::class).min().map_or(UNREACHABLE, for_class)
        }
        sync::Error::Incomplete { .. } => REFUSED,
        sync::Error::Volume(_) | sync::Error::Output(_) => VOLUME,
    }
}

fn for_class(class: Class) -> u8 {
    match class {
        Class::Configuration => USAGE,
        // A refusal (401, 403, 404) needs action; an unreachable server may recover by itself.
        Class::Refused => REFUSED,
        Class::Unreachable => UNREACHABLE,
    }
}

/// Writes the termination message, which `kubectl describe pod` prints on a terminal. Outside a pod the file does not exist, and
/// is not created.
pub(crate) fn write_termination_log(path: Option<&Path>, message: &str) {
    let Some(path) = path else { return };
    let message = Printable(message).to_string();
    let mut end = message.len().min(TERMINATION_MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path) {
        let _ = file.write_all(&message.as_bytes()[..end]);
    }
}

/// The error with its remedy, as one sentence.
pub(crate) fn message(error: &Error) -> String {
    match remedy(error) {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}

fn remedy(error: &Error) -> Option<&'static str> {
    match error {
        Error::Sync(error) | Error::Sidecar(sidecar::Error::Sync(error)) => sync_remedy(error),
        Error::Sidecar(sidecar::Error::Listen(_)) => Some(LISTEN_REMEDY),
        Error::Status(NotReady::Off) | Error::Probe(probe::Error::NotReady(NotReady::Off)) => {
            Some("pass the address that the sidecar listens on with --listen")
        }
        Error::Probe(probe::Error::Volume(error)) => reader_remedy(error),
        Error::Exec(error) => exec_remedy(error),
        Error::Manifest(manifest::Error::Syntax { .. })
        | Error::Inject(inject::Error::Read(manifest::Error::Syntax { .. }))
        | Error::Rbac(rbac::Error::Manifest(manifest::Error::Syntax { .. })) => {
            Some("if it is a template, of Helm for example, render it first")
        }
        Error::Install(install::Error::Program(_)) => {
            Some("the binary in the image needs a mode such as 0555, and /proc must be mounted")
        }
        _ => None,
    }
}

fn sync_remedy(error: &sync::Error) -> Option<&'static str> {
    match error {
        sync::Error::NoAnnotations { .. } => Some("pass --allow-none to start without credentials"),
        sync::Error::Incomplete { waited: Some(_), .. } => Some(
            "check what fills the object, such as an operator, or correct the annotations; if it only takes longer, raise --timeout",
        ),
        sync::Error::Incomplete { waited: None, .. } => {
            Some("podcreds init waits for it until its --timeout")
        }
        sync::Error::Volume(error) => volume_remedy(error),
        _ => None,
    }
}

/// The sidecar logs other volume errors too, which therefore carry their remedies themselves; these two end every command
/// at its start.
fn volume_remedy(error: &volume::Error) -> Option<&'static str> {
    error
        .is_not_a_volume()
        .then_some("mount an emptyDir volume at this path, or pass another one with --volume")
}

/// The same for the commands that only read the volume.
fn reader_remedy(error: &volume::Error) -> Option<&'static str> {
    error.is_not_a_volume().then_some(
        "mount the volume that podcreds init or sidecar writes at this path, or pass another path with --volume",
    )
}

fn exec_remedy(error: &exec::Error) -> Option<&'static str> {
    match error {
        exec::Error::Sync(error) => sync_remedy(error),
        exec::Error::Volume(error) => reader_remedy(error),
        exec::Error::Listen(_) => Some(LISTEN_REMEDY),
        exec::Error::Supervisor(supervisor::Error::Start { .. }) => {
            Some("/proc must be mounted, and the container's limits must allow another process")
        }
        exec::Error::Supervisor(supervisor::Error::Setup(_)) => {
            Some("the container's limits must allow another thread, and 30 open files")
        }
        exec::Error::Unpublished { .. } => Some(
            "see the log of the container that runs podcreds init or sidecar with this volume, or pass --render to work without a volume",
        ),
        exec::Error::NoFiles { .. } => Some(
            "give a credential .format env, or .variable with a connection string such as uri; if its .path does not end in .env, name the file with --env-file; pass --allow-none to start without variables",
        ),
        exec::Error::NoFile { .. } => Some(
            "correct --env-file, or give a credential .format env and this .path; pass --allow-none to start without it",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_termination_log_is_written_only_if_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        write_termination_log(Some(&path), "test");
        assert!(!path.exists());
        std::fs::write(&path, "an older and longer message").unwrap();
        write_termination_log(Some(&path), "test");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "test");
    }

    #[test]
    fn the_termination_message_has_no_control_characters() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_termination_log(Some(file.path()), "a\u{1b}[2K\nb");
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "a\\u{1b}[2K\nb");
    }

    #[test]
    fn a_long_termination_message_is_cut_between_characters() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_termination_log(Some(file.path()), &"é".repeat(3000).replacen('é', "e", 1));
        assert_eq!(std::fs::read_to_string(file.path()).unwrap().len(), 4095);
    }
}

#[cfg(test)]
mod remedy_tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::volume::Volume;

    #[test]
    fn a_missing_volume_gets_a_remedy_that_names_the_flag() {
        let error = Volume::open(Path::new("/missing/volume"), Duration::ZERO).unwrap_err();
        assert_eq!(
            message(&Error::Sync(error.into())),
            "volume /missing/volume: does not exist; mount an emptyDir volume at this path, or pass another one with --volume"
        );
    }

    #[test]
    fn a_command_that_only_reads_asks_for_the_volume_that_podcreds_writes() {
        let missing = || Volume::open(Path::new("/missing/volume"), Duration::ZERO).unwrap_err();
        for error in [Error::Probe(missing().into()), Error::Exec(missing().into())] {
            assert_eq!(
                message(&error),
                "volume /missing/volume: does not exist; mount the volume that podcreds init or sidecar writes at this path, or pass another path with --volume"
            );
        }
    }
}

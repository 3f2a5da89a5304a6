//! How a failed run ends: its exit code, and its last words for `kubectl describe pod`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::cli::{DEFECT, USAGE};
use crate::commands::{exec, inspect, install};
use crate::kube::config::clusters;
use crate::kube::config::in_cluster;
use crate::kube::config::kubeconfig;
use crate::object::ObjectRef;
use crate::sync;
use crate::telemetry::{probe, server};

/// The most that the kubelet takes from a termination message, in bytes.
/// Source: <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
const TERMINATION_MESSAGE_LIMIT: usize = 4096;

const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
const VOLUME: u8 = 5;
/// As POSIX has it for `sh` and `env`.
/// Source: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/env.html#tag_20_38_14>
const NOT_STARTED: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A flag or variable.
    #[error("{0}")]
    Setting(String),
    /// The service account.
    #[error(transparent)]
    InCluster(#[from] in_cluster::Error),
    /// A kubeconfig.
    #[error("{0}")]
    Kubeconfig(Box<kubeconfig::Error>),
    /// What describes the own cluster.
    #[error("{0}")]
    Open(String),
    /// The clusters file.
    #[error(transparent)]
    Clusters(#[from] clusters::file::Error),
    /// A pass.
    #[error(transparent)]
    Sync(#[from] sync::Error),
    /// The address for probes and scrapes.
    #[error(transparent)]
    Listen(#[from] server::Error),
    /// The sidecar's answer to a probe.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// Another program did not take our place.
    #[error(transparent)]
    Exec(#[from] exec::Error),
    /// The program was not copied.
    #[error(transparent)]
    Install(#[from] install::Error),
    /// What was asked about cannot be read.
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
    /// Signal handlers.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
}

impl From<kubeconfig::Error> for Failure {
    fn from(error: kubeconfig::Error) -> Self {
        Self::Kubeconfig(Box::new(error))
    }
}

impl Failure {
    /// The object that the failure is about; `None` if there are several, or none.
    pub(crate) fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Sync(error) | Self::Exec(exec::Error::Sync(error)) => error.object(),
            _ => None,
        }
    }

    /// The exit code that the documentation promises.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(_)
            | Self::InCluster(_)
            | Self::Kubeconfig(_)
            | Self::Open(_)
            | Self::Clusters(_)
            | Self::Listen(_)
            | Self::Probe(probe::Error::Off) => USAGE,
            Self::Probe(probe::Error::NoResponse { .. } | probe::Error::NotReady { .. }) => UNREACHABLE,
            Self::Signals(_) => DEFECT,
            Self::Sync(error) => of_sync(error),
            Self::Exec(error) => match error {
                exec::Error::Sync(error) => of_sync(error),
                exec::Error::NoFiles { .. }
                | exec::Error::NoFile { .. }
                | exec::Error::Environment(_)
                | exec::Error::NoCommand => USAGE,
                exec::Error::Nothing { .. } => UNREACHABLE,
                exec::Error::Volume(_) => VOLUME,
                exec::Error::NotStarted { .. } => NOT_STARTED,
                exec::Error::NotFound { .. } => NOT_FOUND,
            },
            Self::Install(install::Error::Program(_)) => USAGE,
            Self::Install(install::Error::Volume(_)) => VOLUME,
            Self::Inspect(inspect::Error::Object(error)) if error.is_configuration() => USAGE,
            Self::Inspect(inspect::Error::Object(error)) if error.is_refusal() => REFUSED,
            Self::Inspect(inspect::Error::NotLetIn) => REFUSED,
            Self::Inspect(inspect::Error::Object(_) | inspect::Error::NoCluster) => UNREACHABLE,
            Self::Inspect(inspect::Error::Output(_)) => VOLUME,
        }
    }
}

fn of_sync(error: &sync::Error) -> u8 {
    match error {
        sync::Error::Annotations(_)
        | sync::Error::NoAnnotations { .. }
        | sync::Error::AnnotationsFile { .. }
        | sync::Error::Downward { .. }
        | sync::Error::Render(_) => USAGE,
        sync::Error::Unread { errors, .. } if errors.iter().any(crate::kube::Error::is_configuration) => {
            USAGE
        }
        // A clear no needs a person; what could not be reached may come back by itself.
        sync::Error::Unread { errors, .. } if errors.iter().any(crate::kube::Error::is_refusal) => REFUSED,
        sync::Error::Unread { .. } => UNREACHABLE,
        sync::Error::Volume(_) | sync::Error::Output(_) => VOLUME,
    }
}

/// Writes the last words where the kubelet looks for them. The file is not made where it is not: outside a pod.
pub(crate) fn write_termination_log(path: &Path, message: &str) {
    let mut end = message.len().min(TERMINATION_MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    if let Ok(mut file) = OpenOptions::new().write(true).truncate(true).open(path) {
        let _ = file.write_all(&message.as_bytes()[..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_cut_between_characters_and_only_an_existing_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        write_termination_log(&path, "test");
        assert!(!path.exists());
        std::fs::write(&path, "old words that are longer").unwrap();
        write_termination_log(&path, "test");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "test");
        write_termination_log(&path, &"é".repeat(3000).replacen('é', "e", 1));
        assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 4095);
    }
}

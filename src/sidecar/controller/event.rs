//! The events that the controller handles.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::credential::Credential;
use crate::kube::{self, Object, WatchEvent};
use crate::object::{ClusterRef, ObjectData, ObjectRef};
use crate::sync;
use crate::telemetry::Reason;
use crate::volume::{self, Published};

/// An input of the controller.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time has passed, and nothing else happened.
    Tick,
    Read {
        object: ObjectRef,
        read: u64,
        result: Result<Object, kube::Error>,
    },
    Watch {
        object: ObjectRef,
        watch: u64,
        update: Update<ObjectData>,
    },
    AnnotationsRead {
        read: u64,
        result: Result<ReadAnnotations, AnnotationsFailure>,
    },
    AnnotationsWatch {
        watch: u64,
        update: Update<AnnotationsResult>,
    },
    /// A changed kubeconfig is in use, or cannot be used.
    Kubeconfig {
        cluster: ClusterRef,
        /// Whether its content has changed, so that it may name another API server.
        is_changed: bool,
        /// Why it cannot be used; the previous configuration stays in use. `None` means that it is in use.
        failure: Option<String>,
    },
    Published {
        result: Result<Published, volume::Error>,
        took: Duration,
    },
    Notification {
        application: String,
        outcome: NotifyOutcome,
    },
    /// This sidecar blocks its pod.
    Misplaced {
        message: String,
    },
}

/// What a watch reports.
#[derive(Debug)]
pub(crate) enum Update<T> {
    /// The API server has accepted the watch.
    Opened,
    Event(WatchEvent<T>),
    /// The API server closed the watch (`None`), or the watch was refused or broke.
    Ended(Option<kube::Error>),
}

/// The credentials that annotations describe, or what is wrong with them.
pub(crate) type AnnotationsResult = Result<Vec<Credential>, sync::Error>;

/// Annotations that were read.
#[derive(Debug)]
pub(crate) struct ReadAnnotations {
    /// The pod's resourceVersion; empty for a file.
    pub(crate) version: String,
    pub(crate) result: AnnotationsResult,
}

/// Why the annotations could not be read.
#[derive(Debug)]
pub(crate) struct AnnotationsFailure {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl<T> Update<T> {
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Update<U> {
        match self {
            Self::Opened => Update::Opened,
            Self::Event(event) => Update::Event(match event {
                WatchEvent::Applied { version, data } => WatchEvent::Applied { version, data: convert(data) },
                WatchEvent::Deleted { version } => WatchEvent::Deleted { version },
                WatchEvent::Bookmark { version } => WatchEvent::Bookmark { version },
            }),
            Self::Ended(error) => Update::Ended(error),
        }
    }
}

/// The result of an attempt to notify an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotifyOutcome {
    Success {
        /// The names of the credentials that the notification was about.
        credentials: BTreeSet<String>,
        version: String,
    },
    Failure {
        reason: String,
    },
    /// Edited annotations no longer name the application.
    Cancelled,
}

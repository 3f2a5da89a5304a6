//! The actions that the controller decides on and the shell executes.

use std::collections::BTreeSet;

use crate::credential::{Bundle, Credential, CredentialName, Header};
use crate::object::ObjectRef;
use crate::sidecar::Exit;
use crate::telemetry::Report;

/// The target of a read or a watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// The pod's annotations.
    Annotations,
    Source(ObjectRef),
}

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// After this resourceVersion.
    At(String),
    /// At any state that the API server already has, which it sends first (`resourceVersion=0`).
    Any,
}

/// A decision of the controller. The shell executes actions in their order.
#[derive(Debug)]
pub(crate) enum Action {
    /// Reads the target, which leads to an `Event::Read` or `Event::AnnotationsRead`. `is_retry` means that the last read of the
    /// target failed.
    Read {
        target: Target,
        read: u64,
        is_retry: bool,
    },
    /// Watches the target. Each update leads to an `Event::Watch` or `Event::AnnotationsWatch`. The last update is
    /// `Update::Ended`, unless the watch is stopped.
    Watch {
        target: Target,
        watch: u64,
        from: Position,
    },
    StopWatch {
        watch: u64,
    },
    /// Publishes the bundle, and leaves the entries in `kept` as they are. Leads to an `Event::Published`.
    Publish {
        bundle: Bundle,
        kept: BTreeSet<String>,
    },
    /// Removes versions whose grace period has ended.
    Prune,
    /// Replaces the headers of the notifications of these credentials, also of those that are being retried.
    SetHeaders {
        headers: Vec<(CredentialName, Header)>,
    },
    /// Notifies the applications of these changed credentials.
    Notify {
        credentials: Vec<Credential>,
        version: String,
    },
    /// Replaces the credentials whose applications are notified.
    SetNotified {
        credentials: Vec<Credential>,
    },
    Report(Report),
    Exit(Exit),
}

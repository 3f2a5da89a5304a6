//! What the controller wants to be done.

use std::collections::BTreeSet;

use crate::credential::{Bundle, Credential};
use crate::object::ObjectRef;
use crate::sidecar::Exit;
use crate::telemetry::Report;

/// What is read and watched.
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
    /// At any state that the API server has at hand, which it sends first.
    Any,
}

/// What is to be done. Actions are executed in their order.
#[derive(Debug)]
pub(crate) enum Action {
    /// Leads to an [`Event::Read`](super::Event::Read) or `AnnotationsRead`. `is_retry` means that the last read failed.
    Read {
        target: Target,
        read: u64,
        is_retry: bool,
    },
    /// Leads to [`Event::Watch`] or [`Event::AnnotationsWatch`]; the last one is [`Update::Ended`], unless it is stopped.
    Watch {
        target: Target,
        watch: u64,
        from: Position,
    },
    StopWatch {
        watch: u64,
    },
    /// Publishes the bundle, and leaves the entries in `kept` as they are. Leads to [`Event::Published`].
    Publish {
        bundle: Bundle,
        kept: BTreeSet<String>,
    },
    /// Removes versions whose grace period has ended.
    Prune,
    /// Notifies the applications of these credentials, which have changed.
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

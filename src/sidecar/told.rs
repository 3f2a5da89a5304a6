//! What wakes the follower.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::credential::Credential;
use crate::kube::{Error, Object};
use crate::object::{ClusterRef, ObjectRef};
use crate::telemetry::Reason;

/// What the follower is told.
pub(crate) enum Told {
    /// Something may have changed.
    Changed(Noticed),
    /// Objects of one cluster were read.
    Read(Batch),
    /// The pod's annotations were read again.
    Looked(Box<Look>),
    /// A watch has begun to fail or no longer does.
    Health,
}

/// An object that may have changed, and since when that is known.
pub(crate) struct Noticed {
    pub(crate) object: ObjectRef,
    pub(crate) at: Instant,
}

/// What was read of one cluster.
pub(crate) struct Batch {
    pub(crate) cluster: ClusterRef,
    pub(crate) reads: Vec<Read>,
}

/// One object, since when it was expected, and what came of reading it.
pub(crate) struct Read {
    pub(crate) object: ObjectRef,
    pub(crate) since: Option<Instant>,
    pub(crate) started: Instant,
    pub(crate) result: Result<Object, Error>,
}

/// What came of a look at the annotations.
pub(crate) enum Look {
    /// They say what they said before.
    Unchanged,
    /// They say something else, and all that they name anew could be read.
    Edited(Edit),
    /// They, or something that they name, could not be read: why, and whether only another edit can help.
    Failed {
        /// For the metrics.
        reason: Reason,
        /// For people.
        said: String,
        /// Whether trying again is of no use.
        is_final: bool,
    },
}

/// Other credentials, and the objects among theirs that were not held; none where an optional one is missing.
pub(crate) struct Edit {
    pub(crate) credentials: Vec<Credential>,
    pub(crate) read: BTreeMap<ObjectRef, Option<Object>>,
}

//! What wakes the follower.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::credential::Credential;
use crate::health::Reason;
use crate::kube::{Error, Object};
use crate::object::{ClusterId, ObjectRef};

/// What the follower is told.
pub(super) enum Told {
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
pub(super) struct Noticed {
    pub(super) object: ObjectRef,
    pub(super) at: Instant,
}

/// What was read of one cluster, none for the pod's own.
pub(super) struct Batch {
    pub(super) cluster: Option<ClusterId>,
    pub(super) reads: Vec<Read>,
}

/// One object, since when it was expected, and what came of reading it.
pub(super) struct Read {
    pub(super) object: ObjectRef,
    pub(super) since: Option<Instant>,
    pub(super) started: Instant,
    pub(super) result: Result<Object, Error>,
}

/// What came of a look at the annotations.
pub(super) enum Look {
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
pub(super) struct Edit {
    pub(super) credentials: Vec<Credential>,
    pub(super) read: BTreeMap<ObjectRef, Option<Object>>,
}

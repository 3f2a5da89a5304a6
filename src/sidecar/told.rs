//! What wakes the follower.

use std::time::Instant;

use crate::object::ObjectRef;
use crate::sidecar::edits::Look;
use crate::sidecar::reading::Batch;

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

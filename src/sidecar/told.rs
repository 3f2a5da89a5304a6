//! What wakes the follower.

use std::time::Instant;

use crate::object::ObjectRef;

/// What the follower is told.
pub(super) enum Told {
    /// Something may have changed.
    Changed(Noticed),
    /// A watch has begun to fail or no longer does.
    Health,
}

/// An object that may have changed, and since when that is known.
pub(super) struct Noticed {
    pub(super) object: ObjectRef,
    pub(super) at: Instant,
}

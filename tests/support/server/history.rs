//! Changes in order of the resource version, which counts for the whole cluster like etcd's revision.

use std::collections::VecDeque;

use serde_json::Value;

use super::objects::ObjectRef;

/// Beyond this number the oldest change is dropped, as in the watch cache.
const MAX_CHANGES: usize = 1024;

/// The last changes, and the oldest one that a new watch may ask for.
#[derive(Default)]
pub(super) struct History {
    version: u64,
    /// A watch cannot start from an older version.
    compacted: u64,
    /// The version of the last change that was dropped.
    dropped: u64,
    changes: VecDeque<Change>,
}

/// One change of one object.
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) object: ObjectRef,
    pub(super) event: Event,
    /// The object after the change; for a deletion the last state, with the version of the deletion.
    pub(super) state: Value,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Added,
    Modified,
    Deleted,
}

impl Event {
    /// The `type` of a watch event.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl History {
    /// The version of the last change; 0 before the first.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The oldest version from which a watch can start.
    pub(super) fn oldest(&self) -> u64 {
        self.compacted.max(self.dropped)
    }

    /// Records a change; `state` gets the next version.
    pub(super) fn record(&mut self, object: ObjectRef, event: Event, state: &mut Value) {
        self.version += 1;
        state["metadata"]["resourceVersion"] = self.version.to_string().into();
        if self.changes.len() == MAX_CHANGES {
            self.dropped = self.changes.pop_front().map_or(self.dropped, |change| change.version);
        }
        self.changes.push_back(Change { version: self.version, object, event, state: state.clone() });
    }

    /// New watches can no longer start from a version before the current one. Open watches still receive their pending
    /// changes.
    pub(super) fn compact(&mut self) {
        self.compacted = self.version;
    }

    /// The first change of `object` after `version`.
    ///
    /// # Errors
    /// If a change after `version` was dropped.
    pub(super) fn after(&self, version: u64, object: &ObjectRef) -> Result<Option<&Change>, FellBehind> {
        if version < self.dropped {
            return Err(FellBehind);
        }
        let start = self.changes.partition_point(|change| change.version <= version);
        Ok(self.changes.range(start..).find(|change| change.object == *object))
    }
}

/// A watch fell behind the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FellBehind;

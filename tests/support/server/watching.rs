//! Controls and observes watches, for tests.

use super::objects::ObjectRef;
use super::routes::Verb;
use super::{ApiServer, Kind, Request, WatchFault};

impl ApiServer {
    /// The number of open watches. This call drops watches whose peer has left.
    pub(crate) fn open_watches(&self) -> usize {
        self.shared.dismiss_departed();
        self.cluster().watches.connections().len()
    }

    /// Whether an open watch has changes to send.
    pub(crate) fn watches_are_behind(&self) -> bool {
        let cluster = self.cluster();
        cluster.watches.are_behind(&cluster.objects)
    }

    /// Every request with `watch=true`, oldest first, including refused ones and those with a fault.
    pub(crate) fn watch_requests(&self) -> Vec<Request> {
        self.shared.requests().iter().filter(|request| request.is_watch()).cloned().collect()
    }

    /// Responds with 403 to a watch of this object, whether it exists or not. Gets and open watches are not affected.
    pub(crate) fn forbid_watch(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.forbid(Verb::Watch, ObjectRef::new(kind, namespace, name));
    }

    /// Reverts [`forbid_watch`](Self::forbid_watch).
    pub(crate) fn allow_watch(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.allow(Verb::Watch, &ObjectRef::new(kind, namespace, name));
    }

    /// New watches can no longer start from a version before the current one: they get 200 with an `ERROR` event that
    /// holds a `Status` 410, then the last chunk, as from the watch cache. Open watches continue.
    pub(crate) fn compact(&self) {
        self.cluster().objects.compact();
    }

    /// Whether a [compacted](Self::compact) version is answered by HTTP 410 instead of 200.
    pub(crate) fn gone_as_status(&self, as_status: bool) {
        self.cluster().gone_as_status = as_status;
    }

    /// Sends a bookmark with the current version on all open watches that allow bookmarks.
    pub(crate) fn bookmark(&self) {
        self.shared.change(|cluster| cluster.watches.bookmark(cluster.objects.history().version()));
    }

    /// Applies the fault to every open watch. Faults queue up; those that send something send it at once, except
    /// [`WatchFault::DripLine`] and [`WatchFault::StallLine`].
    pub(crate) fn break_watches(&self, fault: WatchFault) {
        self.shared.change(|cluster| cluster.watches.spoil(&fault, |_| true));
    }

    /// Like [`break_watches`](Self::break_watches), for the watches of one object.
    pub(crate) fn break_watches_of(&self, kind: Kind, namespace: &str, name: &str, fault: WatchFault) {
        let object = ObjectRef::new(kind, namespace, name);
        self.shared.change(|cluster| cluster.watches.spoil(&fault, |watched| *watched == object));
    }

    /// Silences watches: connections stay open, and no watch sends anything, new ones not even the head. Changes,
    /// faults and timeouts wait until the peer leaves, the server stops or [`unmute_watches`](Self::unmute_watches).
    pub(crate) fn mute_watches(&self) {
        self.shared.change(|cluster| cluster.watches.mute(true));
    }

    /// Sends everything that has waited, as TCP does when the network is back.
    pub(crate) fn unmute_watches(&self) {
        self.shared.change(|cluster| cluster.watches.mute(false));
    }
}

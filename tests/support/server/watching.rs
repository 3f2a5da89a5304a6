//! What a test does to watches and learns of them.

use super::objects::ObjectRef;
use super::routes::Verb;
use super::{ApiServer, Kind, Request, WatchFault};

impl ApiServer {
    /// How many watches are being served. Those that a peer has left count no more from the call on that finds it gone.
    pub(crate) fn open_watches(&self) -> usize {
        self.shared.dismiss_departed();
        self.cluster().watches.connections().len()
    }

    /// Every request with `watch=true`, oldest first, refused and spoiled ones too.
    pub(crate) fn watch_requests(&self) -> Vec<Request> {
        self.shared.requests().iter().filter(|request| request.is_watch()).cloned().collect()
    }

    /// Answers 403 to a watch of this object, there or not. A get is another right, and a watch that is open goes on.
    pub(crate) fn forbid_watch(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.forbid(Verb::Watch, ObjectRef::new(kind, namespace, name));
    }

    /// Takes [`forbid_watch`](Self::forbid_watch) back.
    pub(crate) fn allow_watch(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.allow(Verb::Watch, &ObjectRef::new(kind, namespace, name));
    }

    /// From now on a watch cannot start from a version before the present one: 200 with an `ERROR` event of a `Status`
    /// 410, then the last chunk, as the watch cache answers. Watches that are open go on.
    pub(crate) fn compact(&self) {
        self.cluster().objects.compact();
    }

    /// Whether a version that is [compacted](Self::compact) is answered by HTTP 410 in place of 200.
    pub(crate) fn gone_as_status(&self, as_status: bool) {
        self.cluster().gone_as_status = as_status;
    }

    /// Sends a bookmark with the present version on all open watches that allow bookmarks.
    pub(crate) fn bookmark(&self) {
        self.shared.change(|cluster| cluster.watches.bookmark(cluster.objects.history().version()));
    }

    /// Spoils every watch that is open now. Faults queue up; those that send something send it at once, except
    /// [`WatchFault::DripLine`].
    pub(crate) fn break_watches(&self, fault: WatchFault) {
        self.shared.change(|cluster| cluster.watches.spoil(&fault));
    }

    /// A black hole for watches: connections stay open, and nothing is sent on any watch, of those that come meanwhile
    /// not even the head. What happens waits, faults and timeouts too, until the peer leaves, the server stops or
    /// [`unmute_watches`](Self::unmute_watches).
    pub(crate) fn mute_watches(&self) {
        self.shared.change(|cluster| cluster.watches.mute(true));
    }

    /// Sends what has waited, as TCP does where the network is back.
    pub(crate) fn unmute_watches(&self) {
        self.shared.change(|cluster| cluster.watches.mute(false));
    }
}

//! From an object to what owns it, and on to what owns that.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/>

use crate::inspect::api::{OwnerReference, Partial};
use crate::inspect::graph::{Index, ObjectId, Relation, State};
use crate::inspect::kind::Kind;
use crate::inspect::walk::Walk;
use crate::object::ClusterRef;

/// How far it is climbed: from a pod to its Job and CronJob it is 2.
const DEPTH_LIMIT: usize = 5;
/// The most owners of one object that are looked at; nearly all have one.
const OWNER_LIMIT: usize = 16;

impl Walk<'_> {
    pub(crate) fn climb(&mut self, from: Index, owners: &[OwnerReference], depth: usize) {
        for owner in owners.iter().take(OWNER_LIMIT) {
            match Kind::of_owner(&owner.api_version, &owner.kind) {
                Some(kind) => self.climb_to(from, kind, owner, depth),
                // Argo's Rollout, the Node of a static pod: what they hang on is theirs.
                None => {
                    let to = self.graph.put(foreign(owner));
                    self.graph.connect(from, Relation::OwnedBy, to);
                }
            }
        }
    }

    fn climb_to(&mut self, from: Index, kind: Kind, owner: &OwnerReference, depth: usize) {
        // An owner is in the namespace of what it owns.
        let id = ObjectId::new(kind, Some(&self.namespace), &owner.name);
        let (to, object) = self.look::<Partial>(id, kind, Some(&owner.api_version));
        self.graph.connect(from, Relation::OwnedBy, to);
        let Some(object) = object else { return };
        if object.metadata.uid != owner.uid {
            // Another object of that name: the owner itself is gone.
            self.graph.nodes[to].state = State::Missing;
            return;
        }
        self.set(to, &object);
        if depth + 1 < DEPTH_LIMIT {
            self.climb(to, object.metadata.owners(), depth + 1);
        }
    }
}

/// An owner of a kind that is not looked at; whether it is in a namespace is not known.
fn foreign(owner: &OwnerReference) -> ObjectId {
    ObjectId {
        cluster: ClusterRef::Local,
        group: owner.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned(),
        kind: owner.kind.clone(),
        namespace: None,
        name: owner.name.clone(),
    }
}

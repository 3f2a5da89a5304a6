//! Follows ownerReferences: up to an object's owners, and down from a workload to its pods.
//!
//! Label selectors shorten the lists of pods; ownership is decided by UID.

use std::collections::BTreeMap;

use crate::escape::percent_encode;
use crate::inspect::api::{self, Claim, OwnerReference, Page, PartialObjectMetadata, Workload};
use crate::inspect::graph::{Index, ObjectId, Relation, State, Truncated};
use crate::inspect::resource::{Kind, any_of, label_selector};
use crate::inspect::walk::{CURRENT_USER, Walk};
use crate::kube::Cause;
use crate::object::ClusterRef;

/// The longest chain of owners that is followed. From a pod to its Job and CronJob it is 2.
const DEPTH_LIMIT: usize = 5;
/// The number of owners of one object that are followed; nearly all objects have one.
const OWNER_LIMIT: usize = 16;
/// The `limit` of a list request. An object's `managedFields` and annotations take some KiB, and the size of a response is
/// limited.
const PAGE_SIZE: usize = 100;
/// The number of pages of one list that are read.
const PAGE_LIMIT: usize = 5;
/// The number of Jobs of a CronJob whose pods one request lists. Their names are part of the URL.
const JOBS_PER_REQUEST: usize = 10;
/// The label that the Job controller sets on a Job's pods.
/// Source: <https://kubernetes.io/docs/reference/labels-annotations-taints/#job-name>
const JOB_NAME: &str = "job-name";

pub(super) struct PartialList {
    pub(super) objects: Vec<PartialObjectMetadata>,
    /// Whether the API server has more pages.
    pub(super) truncated: bool,
}

impl Walk<'_> {
    pub(crate) fn climb(&mut self, from: Index, owners: &[OwnerReference], depth: usize) {
        for owner in owners.iter().take(OWNER_LIMIT) {
            match Kind::from_owner(&owner.api_version, &owner.kind) {
                Some(kind) => self.climb_to(from, kind, owner, depth),
                // For example Argo's Rollout, or the Node of a static pod.
                None => {
                    let to = self.graph.add(unknown_owner(owner));
                    self.graph.connect(from, Relation::OwnedBy, to);
                }
            }
        }
    }

    fn climb_to(&mut self, from: Index, kind: Kind, owner: &OwnerReference, depth: usize) {
        // Owners are in the same namespace as their dependents.
        let id = ObjectId::new(kind, Some(&self.namespace), &owner.name);
        let (to, object) = self.get_node::<PartialObjectMetadata>(id, kind, Some(&owner.api_version));
        self.graph.connect(from, Relation::OwnedBy, to);
        let Some(object) = object else { return };
        if object.metadata.uid != owner.uid {
            // A new object with the same name: the owner itself was deleted.
            self.graph.nodes[to].state = State::Missing;
            return;
        }
        self.update(to, &object);
        if depth + 1 < DEPTH_LIMIT {
            self.climb(to, object.metadata.owners(), depth + 1);
        }
    }

    pub(crate) fn descend(&mut self, root: Index, kind: Kind, workload: &Workload) {
        let selector = workload.spec.selector.as_ref().map(label_selector).unwrap_or_default();
        let uid = workload.metadata.uid.as_str();
        let pods = match kind {
            Kind::Deployment => {
                let sets = self.children(root, uid, Kind::ReplicaSet, &selector);
                // One list for the pods of all ReplicaSets, old and new.
                if sets.is_empty() { Vec::new() } else { self.grandchildren(&sets, &selector) }
            }
            Kind::CronJob => {
                let jobs: Vec<_> = self.children(root, uid, Kind::Job, "").into_iter().collect();
                let mut pods = Vec::new();
                for jobs in jobs.chunks(JOBS_PER_REQUEST) {
                    let names: Vec<_> =
                        jobs.iter().map(|(_, job)| self.graph.nodes[*job].id.name.as_str()).collect();
                    let selector = any_of(JOB_NAME, &names);
                    pods.extend(
                        self.grandchildren(&jobs.iter().cloned().collect::<BTreeMap<_, _>>(), &selector),
                    );
                }
                pods
            }
            _ => self.children(root, uid, Kind::Pod, &selector).into_values().collect(),
        };
        self.claims(workload, &pods);
    }

    /// Adds the claims that a StatefulSet's `volumeClaimTemplates` create for its pods.
    /// Source: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage>
    fn claims(&mut self, workload: &Workload, pods: &[Index]) {
        for pod in pods {
            for template in workload.spec.claim_templates() {
                let name = format!("{template}-{}", self.graph.nodes[*pod].id.name);
                let namespace = self.namespace.clone();
                let claim = ObjectId::new(Kind::PersistentVolumeClaim, Some(&namespace), &name);
                let claim = self.add_node::<Claim>(Kind::PersistentVolumeClaim, claim);
                let edge = self.graph.connect(*pod, Relation::Uses, claim);
                edge.by.push(format!("volume {template} (volumeClaimTemplates)"));
            }
        }
    }

    /// The objects of a kind that an owner owns, by UID.
    fn children(&mut self, owner: Index, uid: &str, kind: Kind, selector: &str) -> BTreeMap<String, Index> {
        let Some(list) = self.list(kind, selector) else { return BTreeMap::new() };
        if list.truncated {
            self.graph.truncated.push(Truncated { owner, kind });
        }
        let owned = list.objects.into_iter().filter(|object| object.metadata.is_owned_by(uid));
        owned
            .map(|object| (object.metadata.uid.clone(), self.add_owned(owner, kind, object)))
            .collect::<BTreeMap<_, _>>()
    }

    /// The pods that any of these owners own.
    fn grandchildren(&mut self, owners: &BTreeMap<String, Index>, selector: &str) -> Vec<Index> {
        let Some(list) = self.list(Kind::Pod, selector) else { return Vec::new() };
        let truncated = owners
            .values()
            .filter(|_| list.truncated)
            .map(|owner| Truncated { owner: *owner, kind: Kind::Pod });
        self.graph.truncated.extend(truncated);
        let owner_of = |object: &PartialObjectMetadata| {
            object.metadata.owners().iter().find_map(|owner| owners.get(&owner.uid)).copied()
        };
        let owned: Vec<_> =
            list.objects.into_iter().filter_map(|object| Some((owner_of(&object)?, object))).collect();
        owned.into_iter().map(|(owner, object)| self.add_owned(owner, Kind::Pod, object)).collect()
    }

    fn add_owned(&mut self, owner: Index, kind: Kind, object: PartialObjectMetadata) -> Index {
        let id = ObjectId::new(kind, Some(&self.namespace), &object.metadata.name);
        let child = self.graph.add(id);
        self.update(child, &object);
        self.graph.connect(owner, Relation::Owns, child);
        child
    }

    /// Lists the metadata of the objects that a selector matches. `None` means that the request failed, which is recorded.
    pub(super) fn list(&mut self, kind: Kind, selector: &str) -> Option<PartialList> {
        match self.try_list(kind, selector) {
            Ok(list) => Some(list),
            Err(cause) => {
                let namespace = self.namespace.clone();
                let what = format!("list {} in namespace {namespace}", kind.plural());
                self.record(what, cause, || kind.rule(None, "list").grant(Some(&namespace), CURRENT_USER));
                None
            }
        }
    }

    pub(super) fn try_list(&mut self, kind: Kind, selector: &str) -> Result<PartialList, Cause> {
        let version = kind.versions(None).swap_remove(0);
        let mut path = format!("{}?limit={PAGE_SIZE}", kind.collection(&version, Some(&self.namespace)));
        if !selector.is_empty() {
            path.push_str("&labelSelector=");
            path.push_str(selector);
        }
        let mut list = PartialList { objects: Vec::new(), truncated: false };
        let mut next = String::new();
        for _ in 0..PAGE_LIMIT {
            self.count_request()?;
            let page: Page =
                api::parse(&self.client.list_metadata(&format!("{path}{next}"), self.deadline)?)?;
            list.objects.extend(page.items.unwrap_or_default());
            let Some(token) = page.metadata.r#continue.filter(|token| !token.is_empty()) else {
                list.truncated = false;
                break;
            };
            list.truncated = true;
            next = format!("&continue={}", percent_encode(&token));
        }
        Ok(list)
    }
}

/// An owner of an unknown kind, which may be namespaced or not.
fn unknown_owner(owner: &OwnerReference) -> ObjectId {
    ObjectId {
        cluster: ClusterRef::Local,
        group: owner.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned(),
        kind: owner.kind.clone(),
        namespace: None,
        name: owner.name.clone(),
    }
}

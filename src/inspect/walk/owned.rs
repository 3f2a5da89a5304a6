//! From an owner to what it owns. Label selectors make the lists short; who owns what is decided by uid.

use std::collections::BTreeMap;

use crate::inspect::api::{self, Claim, Page, Partial, Workload};
use crate::inspect::graph::{Index, More, ObjectId, Relation};
use crate::inspect::kind::Kind;
use crate::inspect::selector;
use crate::inspect::walk::{ASKER, Walk, remedy};
use crate::kube::Cause;

/// How many objects one answer has. Metadata with its `managedFields` and annotations takes some KiB, and an answer is
/// bounded.
const PAGE: usize = 100;
/// How many answers of one list are read.
const PAGE_LIMIT: usize = 5;
/// The Jobs of a CronJob whose pods are asked for at once: their names go into an address.
const JOBS_AT_ONCE: usize = 10;
/// The label with which the Job controller marks a Job's pods.
/// Source: <https://kubernetes.io/docs/reference/labels-annotations-taints/#job-name>
const JOB_NAME: &str = "job-name";

/// What a list had, and whether it goes on.
struct Listed {
    objects: Vec<Partial>,
    goes_on: bool,
}

impl Walk<'_> {
    pub(crate) fn descend(&mut self, root: Index, kind: Kind, workload: &Workload) {
        let selector = workload.spec.selector.as_ref().map(selector::query).unwrap_or_default();
        let uid = workload.metadata.uid.as_str();
        let pods = match kind {
            Kind::Deployment => {
                let sets = self.children(root, uid, Kind::ReplicaSet, &selector);
                // All of them at once, old and new.
                if sets.is_empty() { Vec::new() } else { self.grandchildren(&sets, &selector) }
            }
            Kind::CronJob => {
                let jobs: Vec<_> = self.children(root, uid, Kind::Job, "").into_iter().collect();
                let mut pods = Vec::new();
                for jobs in jobs.chunks(JOBS_AT_ONCE) {
                    let names: Vec<_> =
                        jobs.iter().map(|(_, job)| self.graph.nodes[*job].id.name.as_str()).collect();
                    let selector = selector::any_of(JOB_NAME, &names);
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

    /// The claims that the pods of a StatefulSet have from its templates.
    /// Source: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-storage>
    fn claims(&mut self, workload: &Workload, pods: &[Index]) {
        for pod in pods {
            for template in workload.spec.claims() {
                let name = format!("{template}-{}", self.graph.nodes[*pod].id.name);
                let namespace = self.namespace.clone();
                let claim = ObjectId::new(Kind::PersistentVolumeClaim, Some(&namespace), &name);
                let claim = self.note::<Claim>(Kind::PersistentVolumeClaim, claim);
                let edge = self.graph.connect(*pod, Relation::Uses, claim);
                edge.by.push(format!("volume {template} (volumeClaimTemplates)"));
            }
        }
    }

    /// What this owner owns of a kind, by uid.
    fn children(&mut self, owner: Index, uid: &str, kind: Kind, selector: &str) -> BTreeMap<String, Index> {
        let Some(listed) = self.list(kind, selector) else { return BTreeMap::new() };
        if listed.goes_on {
            self.graph.more.push(More { of: owner, kind });
        }
        let owned = listed.objects.into_iter().filter(|object| object.metadata.is_owned_by(uid));
        owned
            .map(|object| (object.metadata.uid.clone(), self.own(owner, kind, object)))
            .collect::<BTreeMap<_, _>>()
    }

    /// The pods that any of these own.
    fn grandchildren(&mut self, owners: &BTreeMap<String, Index>, selector: &str) -> Vec<Index> {
        let Some(listed) = self.list(Kind::Pod, selector) else { return Vec::new() };
        let more = owners.values().filter(|_| listed.goes_on).map(|of| More { of: *of, kind: Kind::Pod });
        self.graph.more.extend(more);
        let owner_of = |object: &Partial| {
            object.metadata.owners().iter().find_map(|owner| owners.get(&owner.uid)).copied()
        };
        let owned: Vec<_> =
            listed.objects.into_iter().filter_map(|object| Some((owner_of(&object)?, object))).collect();
        owned.into_iter().map(|(owner, object)| self.own(owner, Kind::Pod, object)).collect()
    }

    fn own(&mut self, owner: Index, kind: Kind, object: Partial) -> Index {
        let id = ObjectId::new(kind, Some(&self.namespace), &object.metadata.name);
        let child = self.graph.put(id);
        self.set(child, &object);
        self.graph.connect(owner, Relation::Owns, child);
        child
    }

    /// The metadata of the objects that a selector finds; none if it is refused, which is written down.
    fn list(&mut self, kind: Kind, selector: &str) -> Option<Listed> {
        match self.try_list(kind, selector) {
            Ok(listed) => Some(listed),
            Err(cause) => {
                let namespace = self.namespace.clone();
                let what = format!("list {} of namespace {namespace}", kind.resource());
                self.push_refusal(what, cause, || remedy(kind, Some(&namespace), None, "list", ASKER));
                None
            }
        }
    }

    fn try_list(&mut self, kind: Kind, selector: &str) -> Result<Listed, Cause> {
        let version = kind.versions(None).swap_remove(0);
        let mut path = format!("{}?limit={PAGE}", kind.collection(&version, Some(&self.namespace)));
        if !selector.is_empty() {
            path.push_str("&labelSelector=");
            path.push_str(selector);
        }
        let mut listed = Listed { objects: Vec::new(), goes_on: false };
        let mut next = String::new();
        for _ in 0..PAGE_LIMIT {
            self.count()?;
            let page: Page =
                api::parse(&self.client.list_metadata(&format!("{path}{next}"), self.deadline)?)?;
            listed.objects.extend(page.items.unwrap_or_default());
            let Some(token) = page.metadata.r#continue.filter(|token| !token.is_empty()) else {
                listed.goes_on = false;
                break;
            };
            listed.goes_on = true;
            next = format!("&continue={}", selector::encode(&token));
        }
        Ok(listed)
    }
}

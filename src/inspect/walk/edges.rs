//! What leads from one object to others: ownerReferences, up to an object's owners and down from a workload to its pods, and the
//! references in a pod's spec and podcreds' annotations, to its node, service account (with its permissions), Secrets, ConfigMaps,
//! Services and claims.
//!
//! Label selectors shorten the lists of pods; ownership is decided by UID.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::annotations;
use crate::credential::Credential;
use crate::escape::percent_encode;
use crate::inspect::api::{
    self, AccessReview, Claim, NodeObject, OwnerReference, Page, PartialObjectMetadata, Workload,
};
use crate::inspect::graph::{Access, Index, ObjectId, Relation, State, Truncated};
use crate::inspect::references::{PodSpec, Reference};
use crate::inspect::resource::{Kind, any_of, label_selector};
use crate::inspect::walk::{CURRENT_USER, Walk};
use crate::kube::{Cause, Rule, refuses_user};
use crate::object::{self, ClusterRef, ObjectRef};

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

struct PartialList {
    objects: Vec<PartialObjectMetadata>,
    /// Whether the API server has more pages.
    truncated: bool,
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
    fn list(&mut self, kind: Kind, selector: &str) -> Option<PartialList> {
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

    fn try_list(&mut self, kind: Kind, selector: &str) -> Result<PartialList, Cause> {
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

const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
/// The verbs that the sidecar needs; init needs `get` only.
const VERBS: [&str; 2] = ["get", "watch"];
/// The permission to review the access of others.
const REVIEW_RULE: Rule<'_> =
    Rule { group: "authorization.k8s.io", resource: "subjectaccessreviews", name: None, verbs: "create" };

/// Whose access is reviewed.
enum Subject {
    /// A service account, by its user name and groups.
    Account { user: String, groups: Vec<String> },
    /// The current user, who is that service account.
    CurrentUser,
}

/// The referenced objects, in output order.
type References = BTreeMap<(Kind, ObjectId), UsedBy>;

struct UsedBy {
    places: Vec<String>,
    /// Whether the object is optional at all places.
    optional: bool,
}

impl Walk<'_> {
    /// Adds the objects that a pod's spec and annotations reference. `from` is the pod, or the owner of the pod template.
    pub(crate) fn pod_spec(
        &mut self,
        from: Index,
        pod: Option<&str>,
        spec: &PodSpec,
        annotations: &BTreeMap<String, String>,
    ) {
        if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            let node = self.add_node::<NodeObject>(Kind::Node, ObjectId::new(Kind::Node, None, node));
            self.graph.connect(from, Relation::RunsOn, node);
        }
        let namespace = self.namespace.clone();
        let account = ObjectId::new(Kind::ServiceAccount, Some(&namespace), spec.service_account());
        let account = self.add_node::<PartialObjectMetadata>(Kind::ServiceAccount, account);
        self.graph.connect(from, Relation::RunsAs, account);

        let mut references = References::new();
        for Reference { kind, name, by, optional } in spec.references(pod) {
            add(&mut references, kind, ObjectId::new(kind, Some(&namespace), &name), by, optional);
        }
        let needed = self.annotations(annotations, &mut references);
        for ((kind, id), UsedBy { places, optional }) in references {
            let to = self.add_referenced(kind, id);
            let edge = self.graph.connect(from, Relation::Uses, to);
            edge.by = places;
            edge.optional = optional;
        }
        self.review_access(account, spec.service_account(), &needed);
    }

    /// Adds the objects that podcreds' annotations reference, or the annotations' errors. Returns the objects that the
    /// service account must be able to read.
    fn annotations(
        &mut self,
        annotations: &BTreeMap<String, String>,
        references: &mut References,
    ) -> Vec<(Kind, ObjectId)> {
        let prefix = &self.query.prefix;
        let credentials = match annotations::parse(annotations, prefix, &self.query.scope) {
            Ok(credentials) => credentials,
            Err(errors) => {
                self.graph.annotation_errors.extend(errors.0.iter().map(ToString::to_string));
                let note =
                    "the objects that the annotations reference are not shown until these are corrected";
                self.graph.annotation_errors.push(note.to_owned());
                return Vec::new();
            }
        };
        let mut needed = Vec::new();
        for credential in &credentials {
            for object in credential.objects() {
                let Some((kind, id)) = identify(object) else { continue };
                let by =
                    format!("annotation {prefix}/{}.{}", credential.name, annotation_key(credential, object));
                add(references, kind, id.clone(), by, credential.optional);
                // Only the other cluster can review permissions in it.
                if id.cluster.id().is_none() && !needed.contains(&(kind, id.clone())) {
                    needed.push((kind, id));
                }
            }
        }
        needed
    }

    fn add_referenced(&mut self, kind: Kind, id: ObjectId) -> Index {
        match kind {
            Kind::PersistentVolumeClaim => self.add_node::<Claim>(kind, id),
            _ => self.add_node::<PartialObjectMetadata>(kind, id),
        }
    }

    /// Reviews the access of a service account to these objects: as an administrator (SubjectAccessReview) or, if that is
    /// forbidden and podcreds runs as that service account, as itself (SelfSubjectAccessReview).
    /// Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>
    fn review_access(&mut self, account: Index, name: &str, needed: &[(Kind, ObjectId)]) {
        let mut subject = self.account(name);
        for (kind, id) in needed {
            let mut access = Access::default();
            for verb in VERBS {
                match self.can(&mut subject, verb, *kind, id) {
                    Ok(true) => access.allowed.push(verb),
                    Ok(false) => access.denied.push(verb),
                    Err(cause) => {
                        let what = format!("review access of ServiceAccount {}/{name}", self.namespace);
                        self.record(what, cause, || REVIEW_RULE.grant(None, CURRENT_USER));
                        return;
                    }
                }
            }
            if !access.denied.is_empty() {
                // The whole rule that a Role should have, although another Role may already grant one of the verbs.
                let verbs = VERBS.join(", ");
                let rule = kind.rule(Some(&id.name), &verbs);
                access.remedy = Some(rule.grant(id.namespace.as_deref(), "the pod's service account"));
            }
            let to = self.graph.add(id.clone());
            self.graph.connect(account, Relation::MayRead, to).access = Some(access);
        }
    }

    /// The user name and groups of a service account.
    /// Source: <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
    fn account(&self, name: &str) -> Subject {
        let namespace = &self.namespace;
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        Subject::Account { user: format!("system:serviceaccount:{namespace}:{name}"), groups: groups.into() }
    }

    fn can(&mut self, subject: &mut Subject, verb: &str, kind: Kind, id: &ObjectId) -> Result<bool, Cause> {
        let attributes = json!({
            "namespace": id.namespace, "verb": verb, "group": kind.group(), "resource": kind.plural(), "name": id.name,
        });
        if let Subject::Account { user, groups } = subject {
            let spec = json!({"user": user, "groups": groups, "resourceAttributes": attributes});
            match self.create_review("SubjectAccessReview", spec) {
                // The message names the user who sent the request. If that is the service account itself, a
                // SelfSubjectAccessReview needs no permission.
                Err(Cause::Forbidden { message, .. }) if refuses_user(&message, user) => {
                    *subject = Subject::CurrentUser;
                }
                result => return result,
            }
        }
        self.create_review("SelfSubjectAccessReview", json!({"resourceAttributes": attributes}))
    }

    fn create_review(&mut self, kind: &str, spec: Value) -> Result<bool, Cause> {
        self.count_request()?;
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}).to_string();
        let path = format!("{REVIEWS}/{}s", kind.to_ascii_lowercase());
        let review: AccessReview = api::parse(&self.client.post(&path, &review, self.deadline)?)?;
        Ok(review.status.allowed)
    }
}

fn add(references: &mut References, kind: Kind, id: ObjectId, place: String, optional: bool) {
    let by = references.entry((kind, id)).or_insert(UsedBy { places: Vec::new(), optional: true });
    by.optional &= optional;
    if !by.places.contains(&place) {
        by.places.push(place);
    }
}

/// The key of the annotation that references this object.
fn annotation_key(credential: &Credential, object: &ObjectRef) -> &'static str {
    match object.kind {
        object::Kind::Secret => "secret",
        object::Kind::Service => "service",
        _ if credential.sources.contains(object) => "configmap",
        _ => "template-from",
    }
}

fn identify(object: &ObjectRef) -> Option<(Kind, ObjectId)> {
    let kind = match object.kind {
        object::Kind::Secret => Kind::Secret,
        object::Kind::ConfigMap => Kind::ConfigMap,
        object::Kind::Service => Kind::Service,
        object::Kind::Pod | object::Kind::Event => return None,
    };
    let id = ObjectId::new(kind, Some(&object.namespace.to_string()), object.name());
    Some((kind, ObjectId { cluster: object.cluster.clone(), ..id }))
}

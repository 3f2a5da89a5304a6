//! The objects that a pod's spec and podcreds' annotations reference: the node, the service account and its permissions,
//! Secrets, ConfigMaps, Services and claims.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::annotations;
use crate::credential::Credential;
use crate::inspect::api::{self, AccessReview, Claim, NodeObject, PartialObjectMetadata};
use crate::inspect::graph::{Access, Index, ObjectId, Relation};
use crate::inspect::references::{PodSpec, Reference};
use crate::inspect::resource::Kind;
use crate::inspect::walk::{CURRENT_USER, Walk};
use crate::kube::{Cause, Rule, refuses_user};
use crate::object::{self, ObjectRef};

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

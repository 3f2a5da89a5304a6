//! Whether a pod's service account has the permissions that podcreds needs.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>

use serde_json::{Value, json};

use crate::inspect::api::{self, AccessReview};
use crate::inspect::graph::{Access, Index, ObjectId, Relation};
use crate::inspect::resource::Kind;
use crate::inspect::walk::{CURRENT_USER, Walk};
use crate::kube::{Cause, Rule, refuses_user};
use crate::rbac::Need;
use crate::text::and_more;

/// How a pod does without the permission to read itself.
const ANNOTATIONS_FILE: &str =
    "; or mount the annotations with a downward API volume and pass --annotations-file, which needs no rule";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
/// The name of a node for all objects of a kind: a Role cannot name pods that do not exist yet, or their Events.
const ALL: &str = "*";
/// The number of objects that a note names.
const OBJECTS_SHOWN: usize = 4;
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

impl Walk<'_> {
    /// Reviews whether a service account has these permissions: as an administrator (SubjectAccessReview) or, if that is
    /// forbidden and podcreds runs as that service account, as itself (SelfSubjectAccessReview).
    pub(crate) fn review_access(&mut self, account: Index, name: &str, needs: &[Need]) {
        let mut subject = self.account(name);
        let mut unwatched = Vec::new();
        for Need { kind, namespace, name: object, verbs, sidecar_verbs, .. } in needs {
            let kind = Kind::from(*kind);
            let object = &ObjectId::new(kind, Some(&namespace.to_string()), object.as_deref().unwrap_or(ALL));
            let mut access = Access::default();
            for verb in verbs.iter().chain(*sidecar_verbs) {
                match self.can(&mut subject, verb, kind, object) {
                    Ok(true) => access.allowed.push(verb),
                    Ok(false) if verbs.contains(verb) => access.denied.push(verb),
                    Ok(false) => unwatched.push(object.to_string()),
                    Err(cause) => {
                        let what = format!("review access of ServiceAccount {}/{name}", self.namespace);
                        self.record(what, cause, || REVIEW_RULE.grant(None, CURRENT_USER));
                        return;
                    }
                }
            }
            if !access.denied.is_empty() {
                // The whole rule that a Role should have, although another Role may already grant one of the verbs.
                let verbs = verbs.join(", ");
                let rule = kind.rule(Some(&object.name), &verbs);
                let grant = rule.grant(object.namespace.as_deref(), "the pod's service account");
                let other = match (&subject, kind) {
                    (_, Kind::Pod) => ANNOTATIONS_FILE.to_owned(),
                    // The rules of another account are not known.
                    (Subject::CurrentUser, _) if access.denied.contains(&"get") => self.advice(object, kind),
                    _ => String::new(),
                };
                access.remedy = Some(format!("{grant}{other}"));
            }
            let to = self.graph.add(object.clone());
            self.graph.connect(account, Relation::MayRead, to).access = Some(access);
        }
        if !unwatched.is_empty() {
            let shown = &unwatched[..unwatched.len().min(OBJECTS_SHOWN)];
            let objects = and_more(shown, unwatched.len() - shown.len());
            self.graph.notes.push(format!(
                "ServiceAccount {}/{name} may not watch {objects}; podcreds sidecar needs that, but init does not, and no container's command or args show which of them the pod runs",
                self.namespace
            ));
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
        // An empty name asks for all objects.
        let name = Some(&id.name).filter(|name| *name != ALL).map_or("", String::as_str);
        let attributes = json!({
            "namespace": id.namespace, "verb": verb, "group": kind.group(), "resource": kind.plural(), "name": name,
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

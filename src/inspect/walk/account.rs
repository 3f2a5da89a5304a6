//! What a service account may read of that which our annotations need: the API server is asked, as an administrator
//! (SubjectAccessReview) or, where that is forbidden, as the account itself (SelfSubjectAccessReview).
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>

use serde_json::{Value, json};

use crate::inspect::api::{self, Review};
use crate::inspect::graph::{Access, Index, ObjectId, Relation};
use crate::inspect::kind::Kind;
use crate::inspect::walk::{ASKER, Walk, cluster_remedy, remedy};
use crate::kube::{Cause, refuses_user};

/// Where reviews are made.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
/// What a sidecar does with what its annotations name; init needs the first alone.
const VERBS: [&str; 2] = ["get", "watch"];
/// What the right to ask about others is.
const REVIEW_RULE: &str =
    "{apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}";

/// About whom is asked.
enum Subject {
    /// The account with this name of a user, and its groups.
    Account { user: String, groups: Vec<String> },
    /// Whoever asks, who is that account.
    Own,
}

impl Walk<'_> {
    /// Asks for each of the objects whether the account may read it.
    pub(crate) fn review(&mut self, account: Index, name: &str, needed: &[(Kind, ObjectId)]) {
        let mut subject = self.account(name);
        for (kind, id) in needed {
            let mut access = Access::default();
            for verb in VERBS {
                match self.may(&mut subject, verb, *kind, id) {
                    Ok(true) => access.allowed.push(verb),
                    Ok(false) => access.denied.push(verb),
                    Err(cause) => {
                        let what = format!("review the rights of ServiceAccount {}/{name}", self.namespace);
                        self.push_refusal(what, cause, || cluster_remedy(REVIEW_RULE, ASKER));
                        return;
                    }
                }
            }
            if !access.denied.is_empty() {
                // The rule as a Role should have it: what is allowed already may be so by another one.
                let verbs = VERBS.join(", ");
                let whom = "the pod's service account";
                access.remedy = Some(remedy(*kind, id.namespace.as_deref(), Some(&id.name), &verbs, whom));
            }
            let to = self.graph.put(id.clone());
            self.graph.connect(account, Relation::MayRead, to).access = Some(access);
        }
    }

    /// The user and the groups that the API server knows a service account by.
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

    fn may(&mut self, subject: &mut Subject, verb: &str, kind: Kind, id: &ObjectId) -> Result<bool, Cause> {
        let attributes = json!({
            "namespace": id.namespace, "verb": verb, "group": kind.group(), "resource": kind.resource(), "name": id.name,
        });
        if let Subject::Account { user, groups } = subject {
            let spec = json!({"user": user, "groups": groups, "resourceAttributes": attributes});
            match self.ask("SubjectAccessReview", spec) {
                // The refusal names the user that sent the request: a review of one's own rights needs none.
                Err(Cause::Forbidden { message, .. }) if refuses_user(&message, user) => {
                    *subject = Subject::Own;
                }
                answer => return answer,
            }
        }
        self.ask("SelfSubjectAccessReview", json!({"resourceAttributes": attributes}))
    }

    fn ask(&mut self, kind: &str, spec: Value) -> Result<bool, Cause> {
        self.count()?;
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}).to_string();
        let path = format!("{REVIEWS}/{}s", kind.to_ascii_lowercase());
        let answer: Review = api::parse(&self.client.post(&path, &review, self.deadline)?)?;
        Ok(answer.status.allowed)
    }
}

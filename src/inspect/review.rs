//! Asks the API server whether an account has a permission.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>

use serde_json::{Value, json};

use crate::inspect::api::{self, AccessReview};
use crate::kube::{Cause, Client, Deadline, Rule, refuses_user};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
/// The permission to review the access of others.
pub(crate) const REVIEW_RULE: Rule<'_> =
    Rule { group: "authorization.k8s.io", resource: "subjectaccessreviews", name: None, verbs: "create" };

/// Whose access is reviewed.
pub(crate) enum Subject {
    /// A service account, by its user name and groups.
    Account { user: String, groups: Vec<String> },
    /// The current user.
    CurrentUser,
}

impl Subject {
    /// The user name and groups of a service account.
    /// Source: <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
    pub(crate) fn account(namespace: &str, name: &str) -> Self {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        Self::Account { user: format!("system:serviceaccount:{namespace}:{name}"), groups: groups.into() }
    }
}

/// A request that an account may make or not.
pub(crate) struct ResourceAttributes<'a> {
    pub(crate) namespace: Option<&'a str>,
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    /// Empty means all objects.
    pub(crate) name: &'a str,
}

/// Reviews the access as an administrator (SubjectAccessReview) or, if that is forbidden and podcreds runs as that account, as itself
/// (SelfSubjectAccessReview): `subject` is then the current user.
pub(crate) fn can(
    client: &Client,
    deadline: Deadline,
    subject: &mut Subject,
    access: &ResourceAttributes<'_>,
) -> Result<bool, Cause> {
    let ResourceAttributes { namespace, verb, group, resource, name } = access;
    let attributes =
        json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name});
    let create = |kind: &str, spec: Value| {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}).to_string();
        let path = format!("{REVIEWS}/{}s", kind.to_ascii_lowercase());
        let review: AccessReview = api::parse(&client.post(&path, &review, deadline)?)?;
        Ok(review.status.allowed)
    };
    if let Subject::Account { user, groups } = subject {
        let spec = json!({"user": user, "groups": groups, "resourceAttributes": attributes});
        match create("SubjectAccessReview", spec) {
            // The message names the user who sent the request. If that is the service account itself, a
            // SelfSubjectAccessReview needs no permission.
            Err(Cause::Forbidden { message, .. }) if refuses_user(&message, user) => {
                *subject = Subject::CurrentUser;
            }
            result => return result,
        }
    }
    create("SelfSubjectAccessReview", json!({"resourceAttributes": attributes}))
}

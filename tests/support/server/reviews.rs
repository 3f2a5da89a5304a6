//! Access reviews, answered from the test's access rules regardless of the user in the request.

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::objects::{ObjectRef, parse_collection};
use super::routes::{Access, Verb};

const REVIEWS: [&str; 2] = [
    "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
];

const RULES_REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

/// The response to a review; `None` if the request is not a review or is refused.
pub(super) fn answer(access: &Access, request: &Request) -> Option<Answer> {
    let is_rules_review = request.path == RULES_REVIEW;
    let is_review = request.method == "POST" && (is_rules_review || REVIEWS.contains(&request.path.as_str()));
    if !is_review || access.refuses(request) || !access.knows(request.bearer()) {
        return None;
    }
    let mut review: Value = serde_json::from_slice(&request.body).ok()?;
    if is_rules_review {
        let rules = access.rules(review["spec"]["namespace"].as_str()?);
        // The API server returns an empty spec.
        review["spec"] = json!({});
        review["status"] = json!({ "resourceRules": rules, "nonResourceRules": [], "incomplete": false });
        return Some(Answer::json(201, &review));
    }
    let attributes = &review["spec"]["resourceAttributes"];
    let text = |field: &str| attributes[field].as_str();
    let collection = format!("/api/v1/namespaces/{}/{}", text("namespace")?, text("resource")?);
    let (kind, namespace) = parse_collection(&collection)?;
    let verb = if text("verb")? == "watch" { Verb::Watch } else { Verb::Get };
    let allowed = access.check(verb, &ObjectRef::new(kind, namespace, text("name")?)).is_ok();
    review["status"] = json!({ "allowed": allowed });
    Some(Answer::json(201, &review))
}

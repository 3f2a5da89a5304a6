//! What an account may read, to explain a 403. RBAC decides by the name in the request, before the API server looks for the object:
//! a rule with `resourceNames` forbids a misspelt name, so a 403 alone does not show whether a right is missing or the name is wrong.
//! A SelfSubjectRulesReview, which every account may create, lists the names of the rules.
//! Sources: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>,
//! <https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-rules-review-v1/>

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::debug;
use serde_json::json;

use crate::kube::client::Client;
use crate::kube::error::Cause;
use crate::kube::partial_json::PartialJson;
use crate::kube::retry::Deadline;
use crate::object::Namespace;
use crate::secret::SecretBytes;
use crate::text::{and_more, nearest, one_line};
use crate::thread::lock;

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
/// Maximum time for a review: a message waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a review is reused, so that the retries of a forbidden request share one.
const LIFETIME: Duration = Duration::from_secs(300);
/// Maximum number of reviews that are kept.
const KEPT: usize = 64;
/// The number of names that a message lists, and the longest name in it, in characters.
const NAMES_SHOWN: usize = 5;
const NAME_LIMIT: usize = 253;

/// The rules of an account in a namespace. Some authorizers cannot list theirs: the account may have more rights than these.
#[derive(Debug)]
pub(crate) struct AccessRules(PartialJson);

/// Which objects of a resource an account may read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Readable<'a> {
    All,
    /// Only these names; empty if no rule is known.
    Named(Vec<&'a str>),
}

impl AccessRules {
    fn parse(body: &SecretBytes) -> Result<Self, Cause> {
        PartialJson::parse(body.expose()).map(Self)
    }

    /// The objects of a resource, such as `secrets` in the core group, that the account may get.
    pub(crate) fn readable(&self, group: &str, resource: &str) -> Readable<'_> {
        let mut names = Vec::new();
        for rule in self.0.get("status").get("resourceRules").items() {
            let applies = rule.get("verbs").has_any(["get", "*"])
                && rule.get("apiGroups").has_any([group, "*"])
                && rule.get("resources").has_any([resource, "*"]);
            if applies {
                let named = rule.get("resourceNames").items();
                if named.is_empty() {
                    return Readable::All;
                }
                names.extend(named.iter().map(PartialJson::text));
            }
        }
        Readable::Named(names)
    }

    /// What to do about a forbidden name other than to grant the right. `None` means that the rules do not forbid it: they have
    /// changed since, or another authorizer denies it.
    pub(crate) fn advice(&self, group: &str, resource: &str, name: &str) -> Option<String> {
        let Readable::Named(mut names) = self.readable(group, resource) else { return None };
        if names.contains(&name) {
            return None;
        }
        // The API server lists the rules of several roles in a random order, and a message that changes is logged and recorded again.
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Some("or correct the name, if it is wrong".to_owned());
        }
        let shown: Vec<_> = names.iter().take(NAMES_SHOWN).map(|name| one_line(name, NAME_LIMIT)).collect();
        let listed = and_more(&shown, names.len() - shown.len());
        let similar = nearest(name, names.iter().copied());
        let similar = similar.map(|name| format!(" (did you mean {}?)", one_line(name, NAME_LIMIT)));
        Some(format!("or correct the name: this account may read {listed}{}", similar.unwrap_or_default()))
    }
}

impl Client {
    /// Requests the rules of the account that the requests are authenticated as.
    fn access_rules(&self, namespace: &Namespace) -> Result<AccessRules, Cause> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace.to_string()},
        });
        AccessRules::parse(&self.post(PATH, &review.to_string(), Deadline::after(TIMEOUT))?)
    }
}

/// The reviews that a cluster made, each of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Reviews(Mutex<Vec<Review>>);

#[derive(Debug)]
struct Review {
    namespace: Namespace,
    at: Instant,
    /// `None` means that the API server did not list them.
    rules: Option<Arc<AccessRules>>,
}

impl Reviews {
    /// The rules of the account in a namespace, from an earlier review if it is recent. `None` means that they are unknown; the
    /// cause is only logged, because a message about another failure does not need it. Other callers wait, so that each namespace
    /// is reviewed once.
    pub(crate) fn rules(&self, client: &Client, namespace: &Namespace) -> Option<Arc<AccessRules>> {
        let mut reviews = lock(&self.0);
        let known = reviews.iter().position(|review| review.namespace == *namespace);
        if let Some(known) = known.filter(|known| reviews[*known].at.elapsed() < LIFETIME) {
            return reviews[known].rules.clone();
        }
        // If the review fails, keep the earlier rules: a message that changes would be logged and recorded as an Event again.
        let earlier = known.and_then(|known| reviews.remove(known).rules);
        let rules = match client.access_rules(namespace) {
            Ok(rules) => Some(Arc::new(rules)),
            Err(cause) => {
                debug!("cannot review the access rules in namespace {namespace}: {cause}");
                earlier
            }
        };
        if reviews.len() == KEPT {
            reviews.remove(0);
        }
        reviews.push(Review { namespace: namespace.clone(), at: Instant::now(), rules: rules.clone() });
        rules
    }

    /// Makes the next caller review each namespace again.
    pub(crate) fn forget(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
impl Reviews {
    /// As while a review is made.
    pub(crate) fn hold(&self) -> impl Sized {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn rules(rules: &Value) -> AccessRules {
        let status = json!({"resourceRules": rules, "nonResourceRules": [], "incomplete": true});
        let body = json!({"kind": "SelfSubjectRulesReview", "spec": {}, "status": status}).to_string();
        AccessRules::parse(&body.as_str().into()).unwrap()
    }

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
    }

    #[test]
    fn the_readable_names_are_those_of_all_rules_that_grant_get() {
        let named = rules(&json!([
            rule(&["get", "watch"], &[""], &["secrets", "configmaps"], &["orders-db"]),
            rule(&["*"], &["*"], &["secrets"], &["cache"]),
            rule(&["list", "watch"], &[""], &["secrets"], &[]),
            rule(&["get"], &["apps"], &["secrets"], &[]),
            rule(&["get"], &[""], &["secrets/status", "pods"], &[]),
        ]));
        assert_eq!(named.readable("", "secrets"), Readable::Named(vec!["orders-db", "cache"]));
        assert_eq!(named.readable("", "configmaps"), Readable::Named(vec!["orders-db"]));
        assert_eq!(named.readable("", "pods"), Readable::All);
        assert_eq!(named.readable("", "services"), Readable::Named(vec![]));
        let all = rules(&json!([rule(&["*"], &["*"], &["*"], &[])]));
        assert_eq!(all.readable("", "secrets"), Readable::All);
    }

    #[test]
    fn a_forbidden_name_gets_the_nearest_name_that_the_account_may_read() {
        let named = rules(&json!([rule(&["get"], &[""], &["secrets"], &["orders-db", "cache"])]));
        let advice = |name| named.advice("", "secrets", name);
        assert_eq!(
            advice("order-db").unwrap(),
            "or correct the name: this account may read cache, orders-db (did you mean orders-db?)"
        );
        assert_eq!(advice("other").unwrap(), "or correct the name: this account may read cache, orders-db");
        assert_eq!(advice("cache"), None);
        assert_eq!(named.advice("", "services", "db").unwrap(), "or correct the name, if it is wrong");
        assert_eq!(rules(&json!([rule(&["*"], &["*"], &["*"], &[])])).advice("", "secrets", "db"), None);
    }

    #[test]
    fn the_order_of_the_rules_and_repeated_names_do_not_change_a_message() {
        let [one, two] = [&["orders-db"][..], &["cache", "orders-db"]]
            .map(|names| rule(&["get"], &[""], &["secrets"], names));
        let advice = |all: &Value| rules(all).advice("", "secrets", "other").unwrap();
        let expected = "or correct the name: this account may read cache, orders-db";
        assert_eq!([advice(&json!([one, two])), advice(&json!([two, one]))], [expected, expected]);
    }

    #[test]
    fn many_names_and_names_of_any_text_stay_a_short_line() {
        let many: Vec<_> = (0..20).map(|number| format!("db-{number}")).collect();
        let mut many: Vec<_> = many.iter().map(String::as_str).collect();
        many[0] = "a\nb";
        let advice = rules(&json!([rule(&["get"], &[""], &["secrets"], &many)])).advice("", "secrets", "x");
        let shown = "or correct the name: this account may read a b, db-1, db-10, db-11, db-12 and 15 more";
        assert_eq!(advice.unwrap(), shown);
    }

    #[test]
    fn a_review_of_another_shape_names_nothing() {
        for body in ["{}", "[]", r#"{"status":{"resourceRules":null,"incomplete":true}}"#] {
            let rules = AccessRules::parse(&body.into()).unwrap();
            assert_eq!(rules.readable("", "secrets"), Readable::Named(vec![]), "{body}");
        }
        assert!(AccessRules::parse(&"<html>".into()).is_err());
    }
}

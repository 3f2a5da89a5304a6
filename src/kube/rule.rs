//! RBAC rules in messages: what a forbidden request needs, in a form that can be pasted into a Role.

use std::fmt;

use crate::object::{Kind, ObjectRef};

/// The subject of the binding: the account that the request is authenticated as.
const CURRENT_USER: &str = "that user or service account";

/// The rule that every version of Kubernetes understands. Constrained impersonation (KEP-5284) is a narrower alternative.
pub(crate) fn impersonation_rule(resource: &str, mode: Option<&str>) -> String {
    let group = if matches!(resource, "uids" | "userextras") { "authentication.k8s.io" } else { "" };
    let resource = if resource == "userextras" { "userextras/KEY" } else { resource };
    let rule = Rule { group, resource, name: None, verbs: "impersonate" };
    let mut rule = format!(
        "the kubeconfig impersonates another user (as): {}; as-groups needs the same rule for groups; as-uid needs it for uids, and as-user-extra for userextras/KEY, both in apiGroup authentication.k8s.io",
        rule.grant(None, CURRENT_USER)
    );
    if let Some(mode) = mode {
        rule.push_str(&format!(
            "; a narrower alternative is to grant the verbs impersonate:{mode} in apiGroup authentication.k8s.io and impersonate-on:{mode}:VERB on the object"
        ));
    }
    rule
}

/// The text with the verb `watch` added to its rule to read an object.
pub(crate) fn with_watch(text: &str) -> String {
    text.replacen("verbs: [get]}", "verbs: [get, watch]}", 1)
}

pub(crate) fn object_rule(object: &ObjectRef, verb: &str) -> String {
    let grant = object_grant(object, verb);
    match rule_name(object) {
        // An object that is watched was read before, so its name is right.
        Some(_) if verb == "get" => format!("{grant}; {MISSPELT}"),
        _ => grant,
    }
}

pub(crate) fn object_grant(object: &ObjectRef, verb: &str) -> String {
    // The account that creates Events also updates their count.
    let verbs = if object.kind == Kind::Event { "create, patch" } else { verb };
    let rule = Rule { group: "", resource: object.kind.resource(), name: rule_name(object), verbs };
    rule.grant(Some(&object.namespace.to_string()), CURRENT_USER)
}

/// The name of the object in a rule. `None` means that the name is not known when the Role is written, as for a Deployment's pods
/// and their Events.
pub(crate) fn rule_name(object: &ObjectRef) -> Option<&str> {
    match object.kind {
        Kind::Pod | Kind::Event => None,
        Kind::Secret | Kind::ConfigMap | Kind::Service => Some(object.name()),
    }
}

/// RBAC decides by the name in the request, before the API server looks for the object: with `resourceNames`, a name that does
/// not exist is forbidden, not missing.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>
const MISSPELT: &str = "if a Role already grants this for another name, the name may be misspelt: any name that resourceNames does not list is forbidden";

/// A rule of a Role or ClusterRole, in YAML's flow style.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule<'a> {
    /// Empty for the core group.
    pub(crate) group: &'a str,
    /// The plural.
    pub(crate) resource: &'a str,
    /// The only object that the rule applies to; `None` means all.
    pub(crate) name: Option<&'a str>,
    /// Separated by commas.
    pub(crate) verbs: &'a str,
}

impl Rule<'_> {
    /// Where the rule belongs, and how `subject` gets it. `None` means a cluster-wide rule.
    pub(crate) fn grant(&self, namespace: Option<&str>, subject: &str) -> String {
        match namespace {
            Some(namespace) => format!(
                "a Role in namespace {namespace}, bound to {subject} by a RoleBinding there, needs the rule {self}"
            ),
            None => {
                format!("a ClusterRole, bound to {subject} by a ClusterRoleBinding, needs the rule {self}")
            }
        }
    }
}

impl fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, name, verbs } = self;
        let group = if group.is_empty() { "\"\"" } else { group };
        write!(f, "{{apiGroups: [{group}], resources: [{resource}]")?;
        name.iter().try_for_each(|name| write!(f, ", resourceNames: [{name}]"))?;
        write!(f, ", verbs: [{verbs}]}}")
    }
}

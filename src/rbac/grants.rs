//! What the Roles and bindings of manifests grant.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use crate::manifest::Object;
use crate::object::Namespace;
use crate::rbac::needs::Need;
use crate::rbac::workload::Account;
use crate::yaml::Node;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The Roles and bindings of manifests.
#[derive(Debug)]
pub(crate) struct Grants<'a> {
    objects: Vec<Object<'a>>,
    /// The namespace of objects without one.
    namespace: &'a Namespace,
}

impl<'a> Grants<'a> {
    pub(crate) fn new(objects: impl Iterator<Item = Object<'a>>, namespace: &'a Namespace) -> Self {
        let mut own = Vec::new();
        own.extend(objects.filter(|object| object.group() == GROUP));
        Self { objects: own, namespace }
    }

    /// Whether the service account has a verb of a need. `None` means that the manifests do not show it: no binding names the account
    /// in that namespace, or a Role that one refers to is not in the manifests.
    pub(crate) fn allow(&self, account: &Account, need: &Need, verb: &str) -> Option<bool> {
        let mut known = None;
        for binding in &self.objects {
            let namespace = self.namespace_of(binding);
            let is_here = match binding.kind {
                "RoleBinding" => is_name(&need.namespace, namespace.as_deref()),
                "ClusterRoleBinding" => true,
                _ => false,
            };
            let mut subjects = items(binding.node, &["subjects"]);
            if !is_here || !subjects.any(|subject| is_subject(subject, account, namespace.as_deref())) {
                continue;
            }
            match self.role(binding) {
                Some(role) if items(role.node, &["rules"]).any(|rule| grants(rule, need, verb)) => {
                    return Some(true);
                }
                Some(_) => known = known.or(Some(false)),
                None => return None,
            }
        }
        known
    }

    /// A binding that gives a verb of a need, by name, to other service accounts only, with the name of one of them.
    pub(crate) fn given_to_others(
        &self,
        account: &Account,
        need: &Need,
        verb: &str,
    ) -> Option<(&Object<'a>, &'a str)> {
        let by_name =
            |rule: &Node| items(rule, &["resourceNames"]).next().is_some() && grants(rule, need, verb);
        self.objects.iter().find_map(|binding| {
            let namespace = self.namespace_of(binding);
            let mut subjects = items(binding.node, &["subjects"]);
            let is_here = binding.kind == "RoleBinding" && is_name(&need.namespace, namespace.as_deref());
            if !is_here || subjects.clone().any(|subject| is_subject(subject, account, namespace.as_deref()))
            {
                return None;
            }
            let role = self.role(binding)?;
            let other =
                subjects.find(|other| other.get("kind").and_then(Node::text) == Some("ServiceAccount"))?;
            let name = other.get("name").and_then(Node::text)?;
            items(role.node, &["rules"]).any(by_name).then_some((binding, name))
        })
    }

    fn namespace_of(&self, object: &Object<'a>) -> Option<String> {
        (!object.kind.starts_with("Cluster"))
            .then(|| object.namespace().map_or_else(|| self.namespace.to_string(), str::to_owned))
    }

    /// The Role or ClusterRole that a binding refers to. One that the control plane fills from others is not known.
    fn role(&self, binding: &Object<'a>) -> Option<&Object<'a>> {
        let reference = |key| binding.node.find(&["roleRef", key]).and_then(Node::text);
        let (kind, name) = (reference("kind")?, reference("name")?);
        let mut known = self.objects.iter().filter(|object| object.node.get("aggregationRule").is_none());
        known.find(|object| {
            object.kind == kind
                && object.name() == Some(name)
                && (kind == "ClusterRole" || self.namespace_of(object) == self.namespace_of(binding))
        })
    }
}

fn items<'a>(node: &'a Node, path: &[&str]) -> impl Iterator<Item = &'a Node> + Clone + use<'a> {
    node.find(path).map(Node::items).unwrap_or_default().iter()
}

fn has(rule: &Node, list: &str, text: &str) -> bool {
    items(rule, &[list]).filter_map(Node::text).any(|item| item == text || item == "*")
}

fn grants(rule: &Node, need: &Need, verb: &str) -> bool {
    let mut names = items(rule, &["resourceNames"]).filter_map(Node::text).peekable();
    let names_it = names.peek().is_none() || names.any(|name| need.name.as_deref() == Some(name));
    has(rule, "apiGroups", "")
        && has(rule, "resources", need.kind.resource())
        && has(rule, "verbs", verb)
        && names_it
}

/// Whether a subject of a binding in this namespace is the account, or a group that it is in.
fn is_subject(subject: &Node, account: &Account, namespace: Option<&str>) -> bool {
    let text = |key| subject.get(key).and_then(Node::text);
    let Account { namespace: own, name } = account;
    match (text("kind"), text("name")) {
        (Some("ServiceAccount"), Some(other)) => {
            other == name && is_name(own, text("namespace").or(namespace))
        }
        (Some("User"), Some(user)) => user == format!("system:serviceaccount:{own}:{name}"),
        (Some("Group"), Some(group)) => {
            group == "system:authenticated"
                || group.strip_prefix("system:serviceaccounts").is_some_and(|rest| {
                    rest.is_empty() || rest.strip_prefix(':').is_some_and(|rest| is_name(own, Some(rest)))
                })
        }
        _ => false,
    }
}

fn is_name(namespace: &Namespace, name: Option<&str>) -> bool {
    name.is_some_and(|name| namespace.to_string() == name)
}

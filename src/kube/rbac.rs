//! RBAC rules, as messages about a missing permission quote them.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>

use std::fmt;

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

//! Writes Roles and RoleBindings as YAML, in the style of deploy/rbac.yaml: names in block style, each with a comment that says which
//! annotation needs it.

use std::fmt::Write;

use crate::object::Kind;
use crate::rbac::roles::{Role, Rule};
use crate::text::and_more;

/// The number of workloads, and of annotations, that a comment names.
const SHOWN: usize = 3;
/// Words that YAML 1.1 does not read as text.
const NOT_TEXT: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// The documents, each ending with a newline.
pub(crate) fn documents(roles: &[Role]) -> String {
    let mut out = String::new();
    for role in roles {
        // Writing to a String does not fail.
        let _ = document(role, &mut out);
    }
    out
}

fn document(role: &Role, out: &mut String) -> std::fmt::Result {
    let name = role.name();
    let separator = if out.is_empty() { "" } else { "---\n" };
    let workloads = shown(&role.workloads);
    writeln!(out, "{separator}# Permissions of ServiceAccount {} for {workloads}", role.account)?;
    if role.account.name == "default" {
        out.push_str(
            "# Every pod of that namespace has this account, unless it names another one: give these pods an account of their own.\n",
        );
    }
    head("Role", &name, role, out)?;
    out.push_str("rules:\n");
    for Rule { kind, verbs, objects } in role.rules() {
        let comment = match (kind, objects.is_empty()) {
            (Kind::Pod, true) => {
                "  # To read the pod's own annotations. Without resourceNames, because the names of the pods are generated.\n"
            }
            (Kind::Pod, false) => "  # To read the pod's own annotations.\n",
            (Kind::Event, _) => "  # For --events.\n",
            _ => "",
        };
        writeln!(out, "{comment}  - apiGroups: [\"\"]\n    resources: [{}]", kind.resource())?;
        if !objects.is_empty() {
            out.push_str("    resourceNames:\n");
        }
        for object in objects {
            let name = scalar(object.name.as_deref().unwrap_or_default());
            let reasons = if kind == Kind::Pod { String::new() } else { shown(&object.reasons) };
            writeln!(out, "      - {name}{}{reasons}", if reasons.is_empty() { "" } else { " # " })?;
        }
        writeln!(out, "    verbs: [{}]", verbs.join(", "))?;
    }
    out.push_str("---\n");
    head("RoleBinding", &name, role, out)?;
    writeln!(
        out,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: {}",
        scalar(&name)
    )?;
    out.push_str("subjects:\n");
    if let Some(cluster) = role.cluster.id() {
        writeln!(
            out,
            "  # The account of the pods. If the clusters file authenticates to {cluster} as another one, replace it."
        )?;
    }
    writeln!(out, "  - kind: ServiceAccount\n    name: {}", scalar(&role.account.name))?;
    // Without a namespace, this is the account in the namespace of the binding.
    if !role.account.namespace.is_unspecified() {
        writeln!(out, "    namespace: {}", scalar(&role.account.namespace.to_string()))?;
    }
    Ok(())
}

fn head(kind: &str, name: &str, role: &Role, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {}",
        scalar(name)
    )?;
    if !role.namespace.is_unspecified() {
        writeln!(out, "  namespace: {}", scalar(&role.namespace.to_string()))?;
    }
    out.push_str("  labels:\n    app.kubernetes.io/name: podcreds\n    app.kubernetes.io/component: rbac\n");
    Ok(())
}

impl Role {
    /// The name of the Role and of its RoleBinding. An account of another namespace cannot have the name of a local one: neither
    /// namespaces nor accounts have a colon in their names, Roles may.
    fn name(&self) -> String {
        let account = &self.account.name;
        match self.is_elsewhere() {
            false => format!("{account}-podcreds"),
            true => format!("{}:{account}-podcreds", self.account.namespace),
        }
    }
}

fn shown(all: &[String]) -> String {
    let shown = &all[..all.len().min(SHOWN)];
    and_more(shown, all.len() - shown.len())
}

/// Quotes a name of lower-case letters, digits, `-`, `.` and `:` that YAML would not read as text.
fn scalar(name: &str) -> String {
    match name.starts_with(|c: char| c.is_ascii_lowercase()) && !NOT_TEXT.contains(&name) {
        true => name.to_owned(),
        false => format!("\"{name}\""),
    }
}

//! The rights that a rendered example grants its pod, and the rights that the pod's annotations need: a verb, a resource and a
//! name, where `*` means any name.

use std::collections::BTreeSet;

use serde_json::Value;

/// A verb, a resource, and the name of the object, or `*`.
pub(crate) type Right = (String, String, String);

/// The rights that the pod needs: `get` on the sources in its annotations, `watch` if a sidecar follows them, and `get` on the pod
/// itself unless the annotations come from a file. Only a StatefulSet's pods have known names.
pub(crate) fn needed_in(workload: &Value, pod: &Value) -> BTreeSet<Right> {
    let sources =
        pod["metadata"]["annotations"].as_object().into_iter().flatten().filter_map(|(key, value)| {
            let resource = match key.strip_prefix("podcreds.io/")?.rsplit_once('.')?.1 {
                "secret" => "secrets",
                "configmap" => "configmaps",
                _ => return None,
            };
            Some((resource, value.as_str()?))
        });
    let follows =
        crate::pod_security::containers(pod).iter().any(|(_, container)| container["args"][0] == "sidecar");
    let verbs: &[&str] = if follows { &["get", "watch"] } else { &["get"] };
    let mut needed: BTreeSet<Right> = sources
        .flat_map(|(resource, name)| verbs.iter().map(move |verb| right(verb, resource, name)))
        .collect();
    if !pod["spec"].to_string().contains("--annotations-file") {
        match workload["spec"]["replicas"].as_u64().filter(|_| workload["kind"] == "StatefulSet") {
            Some(replicas) => needed.extend((0..replicas).map(|number| {
                right("get", "pods", &format!("{}-{number}", text(&workload["metadata"]["name"])))
            })),
            None => drop(needed.insert(right("get", "pods", "*"))),
        }
    }
    needed
}

/// The rights that the Role grants. A rule outside of the core API group becomes a separate right, so that it never equals a
/// needed right. A name in another namespace than `namespace` has that namespace as a prefix, as in annotations.
pub(crate) fn granted_in(role: &Value, namespace: &Value) -> BTreeSet<Right> {
    let in_namespace = &role["metadata"]["namespace"];
    let prefix = match in_namespace == namespace {
        true => String::new(),
        false => format!("{}/", text(in_namespace)),
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let core = rule["apiGroups"] == serde_json::json!([""]);
        let any = vec![Value::from("*")];
        for verb in rule["verbs"].as_array().unwrap_or(&any) {
            for resource in rule["resources"].as_array().unwrap_or(&any) {
                for name in rule["resourceNames"].as_array().filter(|names| !names.is_empty()).unwrap_or(&any)
                {
                    let resource = if core { text(resource).to_owned() } else { rule.to_string() };
                    granted.insert(right(text(verb), &resource, &format!("{prefix}{}", text(name))));
                }
            }
        }
    }
    granted
}

/// The rights that the pod of a workload needs whose pods have no known names.
pub(crate) fn needed(pod: &Value) -> BTreeSet<Right> {
    needed_in(&Value::Null, pod)
}

/// The rights that the Role grants in its own namespace.
pub(crate) fn granted(role: &Value) -> BTreeSet<Right> {
    granted_in(role, &role["metadata"]["namespace"])
}

fn right(verb: &str, resource: &str, name: &str) -> Right {
    (verb.to_owned(), resource.to_owned(), name.to_owned())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

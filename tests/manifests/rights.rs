//! What a rendered example lets its pod read, and what the annotations of that pod need: `(resource, name)` pairs, the
//! name being `*` for any.

use std::collections::BTreeSet;

use serde_json::Value;

/// A resource and the name of the object, or `*`.
pub(crate) type Right = (String, String);

/// The objects that the pod asks for: the sources that its annotations name, and the pod itself where it has to be
/// asked for them.
pub(crate) fn needed(pod: &Value) -> BTreeSet<Right> {
    let sources =
        pod["metadata"]["annotations"].as_object().into_iter().flatten().filter_map(|(key, value)| {
            let resource = match key.strip_prefix("podcreds.io/")?.rsplit_once('.')?.1 {
                "secret" => "secrets",
                "configmap" => "configmaps",
                _ => return None,
            };
            Some((resource.to_owned(), value.as_str()?.to_owned()))
        });
    let mut needed: BTreeSet<Right> = sources.collect();
    if !pod["spec"].to_string().contains("--annotations-file") {
        needed.insert(("pods".to_owned(), "*".to_owned()));
    }
    needed
}

/// What the Role grants. Everything beyond `get` in the core API group shows as a right of its own, so that it is
/// never equal to what is needed.
pub(crate) fn granted(role: &Value) -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let plain =
            rule["verbs"] == serde_json::json!(["get"]) && rule["apiGroups"] == serde_json::json!([""]);
        let any = vec![Value::from("*")];
        for resource in rule["resources"].as_array().unwrap_or(&any) {
            for name in rule["resourceNames"].as_array().filter(|names| !names.is_empty()).unwrap_or(&any) {
                let resource = if plain { text(resource) } else { rule.to_string() };
                granted.insert((resource, text(name)));
            }
        }
    }
    granted
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

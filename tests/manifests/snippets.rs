//! The manifests in the documentation. tests/cluster/snippets.rs applies them to an API server.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{documented, only, pod, pod_security, python, rights, validate, workload};

#[test]
fn every_deployment_of_the_documentation_passes_the_restricted_pod_security_standard() {
    let blocks = documented::deployments_with_podcreds();
    assert!(!blocks.is_empty(), "the documentation shows what a pod needs");
    for block in blocks {
        assert_eq!(pod_security::violations(pod(&block.objects)), [""; 0], "{}", block.page.display());
    }
}

#[test]
fn every_deployment_of_the_documentation_has_the_least_role() {
    for block in documented::deployments_with_podcreds() {
        let (page, objects) = (block.page.display(), &block.objects);
        let (workload, role) = (workload(objects), only(objects, "Role"));
        let needed: BTreeSet<_> = rights::needed_in(workload, pod(objects));
        assert_eq!(rights::granted(role), needed, "{page}");
        let account = &pod(objects)["spec"]["serviceAccountName"];
        let binding = only(objects, "RoleBinding");
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"], "{page}");
        assert_eq!(binding["subjects"][0]["name"], *account, "{page}");
        assert_eq!(only(objects, "ServiceAccount")["metadata"]["name"], *account, "{page}");
    }
}

#[test]
fn every_field_of_the_documentation_is_known_to_the_kubernetes_schema() {
    let Some(python) = python() else { return };
    for block in documented::deployments_with_podcreds() {
        // JSON is YAML.
        let text: Vec<_> = block.objects.iter().map(Value::to_string).collect();
        let output = validate(&python, &text.join("\n---\n"), &["newest", "oldest"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", block.page.display());
    }
}

//! `deploy/injection`: the objects that an administrator installs. tests/cluster/injection.rs applies them to a cluster.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{INJECTION, documents, only, python, render, root, validate};

/// The first Kubernetes version with `MutatingAdmissionPolicy` in `admissionregistration.k8s.io/v1`.
/// <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>
const FIRST_WITH_POLICIES: &str = "1.36";

const PAGE: &str = include_str!("../../docs/injection.md");

fn objects() -> Option<Vec<Value>> {
    render(INJECTION).map(|rendered| documents(&rendered))
}

#[test]
fn every_field_of_the_injection_is_known_to_the_kubernetes_schema() {
    let Some(python) = python() else { return };
    let Some(rendered) = render(INJECTION) else { return };
    let output = validate(&python, &rendered, &["newest", FIRST_WITH_POLICIES]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let passed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(passed.lines().count(), 2 * documents(&rendered).len(), "two schemas each\n{passed}");
}

#[test]
fn bindings_exclude_the_namespaces_of_the_system_and_of_the_parameters() {
    let Some(objects) = objects() else { return };
    let namespace = &only(&objects, "Namespace")["metadata"]["name"];
    assert_eq!(only(&objects, "ConfigMap")["metadata"]["namespace"], *namespace);
    let bindings: Vec<_> =
        objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding")).collect();
    assert_eq!(bindings.len(), 3);
    let excluded = json!({
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["kube-system", "kube-public", "kube-node-lease", namespace],
    });
    for binding in bindings {
        let spec = &binding["spec"];
        assert_eq!(
            spec["matchResources"]["namespaceSelector"]["matchExpressions"][0], excluded,
            "{binding:#}"
        );
        if !spec["paramRef"].is_null() {
            assert_eq!(spec["paramRef"]["namespace"], *namespace);
            assert_eq!(spec["paramRef"]["name"], only(&objects, "ConfigMap")["metadata"]["name"]);
        }
    }
}

#[test]
fn every_object_of_the_injection_has_the_recommended_labels() {
    let Some(objects) = objects() else { return };
    let labels = json!({"app.kubernetes.io/name": "podcreds", "app.kubernetes.io/component": "injection"});
    for object in objects {
        assert_eq!(object["metadata"]["labels"], labels, "{}", object["kind"]);
    }
}

#[test]
fn the_injected_image_has_the_version_of_the_crate() {
    let Some(objects) = objects() else { return };
    let image = &only(&objects, "ConfigMap")["data"]["image"];
    assert_eq!(image, concat!("podcreds:", env!("CARGO_PKG_VERSION")));
}

#[test]
fn images_in_a_kustomization_replace_the_image_of_the_parameters() {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(root().join(INJECTION)).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("newName: podcreds\n", "newName: registry.example.com/podcreds\n");
        std::fs::write(directory.path().join(path.file_name().unwrap()), text).unwrap();
    }
    let Some(rendered) = render(directory.path().to_str().unwrap()) else { return };
    let image = &only(&documents(&rendered), "ConfigMap")["data"]["image"].clone();
    assert_eq!(image, "registry.example.com/podcreds:0.1.0");
}

/// The words in backquotes in the first column of the table with this heading.
fn first_column(heading: &str) -> BTreeSet<&'static str> {
    let (_, table) = PAGE.split_once(heading).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_page_describes_every_parameter_and_annotation() {
    let Some(objects) = objects() else { return };
    let parameters = only(&objects, "ConfigMap")["data"].as_object().unwrap();
    assert_eq!(first_column("| key | meaning | default |"), parameters.keys().map(String::as_str).collect());
    let policy = only(&objects, "MutatingAdmissionPolicy").to_string();
    let used: BTreeSet<_> = policy.split("inject.podcreds.io/").skip(1).map(word).collect();
    let described = first_column("| annotation | value | default |");
    assert_eq!(
        described.iter().map(|key| key.strip_prefix("inject.podcreds.io/").unwrap()).collect::<BTreeSet<_>>(),
        used
    );
}

/// The letters at the start of a text.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_lowercase()).next().unwrap()
}

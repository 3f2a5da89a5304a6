//! The manifests in the README and in docs/getting-started.md, and the overlay of docs/platforms/openshift.md.

use serde_json::{Value, json};

use super::{documents, only, pod, pod_security, python, render, rights, validate};

/// The example without users and groups.
pub(crate) const OPENSHIFT: &str = "deploy/openshift";

const README: &str = include_str!("../../README.md");
const RBAC: &str = include_str!("../../docs/rbac.md");
const GETTING_STARTED: &str = include_str!("../../docs/getting-started.md");

/// The first YAML block of the page that contains complete objects.
fn manifest(page: &str) -> &str {
    let mut blocks = page.split("\n```yaml\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    blocks.find(|block| block.starts_with("apiVersion: ")).unwrap()
}

#[test]
fn the_manifests_of_the_pages_are_valid_and_pass_the_restricted_pod_security_standard() {
    let python = python();
    for (page, objects) in [(README, 3), (GETTING_STARTED, 4)] {
        let documents = documents(manifest(page));
        assert_eq!(documents.len(), objects);
        assert_eq!(pod_security::violations(pod(&documents)), [""; 0]);
        let account = &pod(&documents)["spec"]["serviceAccountName"];
        assert_eq!(&only(&documents, "ServiceAccount")["metadata"]["name"], account);
        let Some(python) = &python else { continue };
        let output = validate(python, manifest(page), &["newest"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_role_of_the_page_grants_exactly_the_rights_that_its_annotations_need() {
    let documents = documents(manifest(GETTING_STARTED));
    let (role, binding) = (only(&documents, "Role"), only(&documents, "RoleBinding"));
    assert_eq!(rights::granted(role), rights::needed(pod(&documents)));
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = &pod(&documents)["spec"]["serviceAccountName"];
    assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": account}]));
}

#[test]
fn a_binding_in_the_namespace_of_the_secret_names_the_pods_namespace() {
    let documents = documents(manifest(RBAC));
    let (role, binding) = (only(&documents, "Role"), only(&documents, "RoleBinding"));
    let secrets: Vec<_> =
        rights::granted(role).into_iter().map(|(verb, resource, name)| [verb, resource, name]).collect();
    assert_eq!(secrets, [["get", "secrets", "orders-db"], ["watch", "secrets", "orders-db"]]);
    assert_eq!(binding["metadata"]["namespace"], role["metadata"]["namespace"]);
    assert_ne!(binding["subjects"][0]["namespace"], role["metadata"]["namespace"]);
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
}

/// `podcreds inject` adds the container, so the manifest must not have one.
#[test]
fn the_readme_shows_a_deployment_without_podcreds() {
    let documents = documents(manifest(README));
    let spec = &pod(&documents)["spec"];
    assert!(spec["initContainers"].is_null() && spec["volumes"].is_null());
    let annotations = pod(&documents)["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations["podcreds.io/db.secret"], only(&documents, "Secret")["metadata"]["name"]);
}

/// The security context constraint `restricted-v2` rejects pods with users and groups of their own.
#[test]
fn the_openshift_overlay_is_the_native_sidecar_without_users_and_groups() {
    let Some(overlay) = render(OPENSHIFT) else { return };
    let Some(base) = render("deploy/native-sidecar") else { return };
    let (overlay, mut base) = (documents(&overlay), documents(&base));
    for document in &mut base {
        if document["kind"] == "Deployment" {
            let context = document["spec"]["template"]["spec"]["securityContext"].as_object_mut().unwrap();
            for field in ["runAsUser", "runAsGroup", "fsGroup"] {
                assert!(context.remove(field).is_some_and(|id| id.is_u64()), "{field}");
            }
        }
    }
    assert_eq!(overlay, base);
    for (place, container) in pod_security::containers(pod(&overlay)) {
        assert_eq!(container["securityContext"]["runAsUser"], Value::Null, "{place}");
    }
    assert_eq!(pod_security::violations(pod(&overlay)), [""; 0]);
}

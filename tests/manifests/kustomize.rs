//! docs/kustomize.md: kustomize replaces the name of a generated Secret in the annotations of the example in `deploy/`.

use std::fs;

use serde_json::Value;

use super::{documents, only, pod, render, root};

const PAGE: &str = include_str!("../../docs/kustomize.md");

/// The YAML blocks of the page's last section: the configuration, the kustomization, and the options of its generators.
fn blocks() -> [&'static str; 3] {
    let (_, section) = PAGE.split_once("\n## Names of generated Secrets\n").unwrap();
    let blocks: Vec<_> =
        section.split("\n```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    blocks.try_into().unwrap()
}

/// The objects of the example with this kustomization. `None` means that kubectl is missing.
fn kustomized(kustomization: &str, change: impl Fn(String) -> String) -> Option<Vec<Value>> {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    for name in ["rbac.yaml", "init-container.yaml"] {
        write(name, &change(fs::read_to_string(root().join("deploy").join(name)).unwrap()));
    }
    write("podcreds.yaml", blocks()[0]);
    write("kustomization.yaml", kustomization);
    write("shop-db.env", PAGE.split("\n```properties\n").nth(1).unwrap().split("```").next().unwrap());
    render(directory.path().to_str().unwrap()).map(|rendered| documents(&rendered))
}

/// The name of the Secret, the one in the Deployment's annotation, and the one in the Role.
fn names(objects: &[Value]) -> [&str; 3] {
    let names = [
        &only(objects, "Secret")["metadata"]["name"],
        &pod(objects)["metadata"]["annotations"]["podcreds.io/shop.secret"],
        &only(objects, "Role")["rules"][0]["resourceNames"][0],
    ];
    names.map(|name| name.as_str().unwrap())
}

#[test]
fn kustomize_replaces_the_name_of_a_generated_secret_in_annotations() {
    let Some(objects) = kustomized(blocks()[1], |text| text) else { return };
    let [secret, annotation, role] = names(&objects);
    assert!(secret.starts_with("shop-db-"), "{secret}");
    assert_eq!([annotation, role], [secret; 2]);
    let values = only(&objects, "Secret")["data"].as_object().unwrap();
    let keys: Vec<_> = values.keys().map(String::as_str).collect();
    assert_eq!(keys, ["database", "host", "password", "port", "username"]);
    let image = &pod(&objects)["spec"]["initContainers"][0]["image"];
    assert_eq!(image, "registry.example.com/podcreds:0.1.0");
}

/// If kustomize replaces it one day, the page is wrong.
#[test]
fn kustomize_does_not_replace_a_name_after_an_alias() {
    let alias = |text: String| text.replace(".secret: shop-db", ".secret: db=shop-db");
    let Some(objects) = kustomized(blocks()[1], alias) else { return };
    assert_eq!(names(&objects)[1], "db=shop-db");
}

#[test]
fn kustomize_keeps_a_constant_name() {
    let kustomization = format!("{}{}", blocks()[1], blocks()[2]);
    let Some(objects) = kustomized(&kustomization, |text| text) else { return };
    assert_eq!(names(&objects), ["shop-db"; 3]);
}

//! The examples can be applied to one namespace, one after the other, and deleted one by one: no two have an object in common. The
//! header of each kustomization has the commands to try it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::{EXAMPLES, documents, only, pod, podcreds_containers, render, root, workload};

/// The comment at the beginning of an example's kustomization.
fn header(example: &str) -> String {
    let text = fs::read_to_string(root().join(example).join("kustomization.yaml")).unwrap();
    text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

#[test]
fn no_two_examples_have_an_object_in_common() {
    let mut owners = BTreeMap::new();
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        for object in documents(&rendered) {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let id = (object["kind"].as_str().unwrap().to_owned(), namespace, name(&object).to_owned());
            if let Some(other) = owners.insert(id.clone(), example) {
                panic!("{id:?} is in {other} and in {example}");
            }
        }
    }
}

/// kustomize moves a Namespace too: with `namespace: prod`, `kubectl delete -k` would delete prod.
#[test]
fn only_the_example_with_two_namespaces_creates_namespaces() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let namespaces: Vec<_> = documents.iter().filter(|object| object["kind"] == "Namespace").collect();
        assert_eq!(namespaces.len(), if example == super::ANOTHER_NAMESPACE { 2 } else { 0 }, "{example}");
        for namespace in namespaces {
            let level = &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
            assert_eq!(level, "restricted", "{example}");
        }
    }
}

#[test]
fn every_object_has_the_recommended_labels_and_selectors_match_one_example_only() {
    let mut names = BTreeSet::new();
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let workload = workload(&documents);
        for object in documents.iter().chain([pod(&documents)]) {
            let label =
                |key: &str| object["metadata"]["labels"][&*format!("app.kubernetes.io/{key}")].clone();
            assert_eq!(label("name"), name(workload), "{example}: {object:#}");
            assert_eq!(
                (label("component"), label("part-of")),
                ("application".into(), "podcreds-examples".into())
            );
        }
        assert!(names.insert(name(workload).to_owned()), "{example}");
        let selector = &workload["spec"]["selector"]["matchLabels"];
        if ["Deployment", "StatefulSet"].contains(&workload["kind"].as_str().unwrap()) {
            let expected = serde_json::json!({"app.kubernetes.io/name": name(workload)});
            assert_eq!(*selector, expected, "{example}");
        } else {
            assert!(selector.is_null(), "{example}: the controller adds the selector of a Job");
        }
    }
}

#[test]
fn every_header_has_the_commands_that_apply_the_example_and_rotate_its_secret() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let (header, workload) = (header(example), workload(&documents));
        let (name, kind) = (name(workload), workload["kind"].as_str().unwrap().to_lowercase());
        assert!(header.contains(&format!("#     kubectl apply -k {example}\n")), "{header}");
        let logs = [format!("logs {kind}/{name}"), format!("logs {name}-0"), format!("logs job/{name}-1")];
        assert!(logs.iter().any(|logs| header.contains(logs)), "{header}");
        let follows = podcreds_containers(pod(&documents)).iter().any(|(_, one)| one["args"][0] == "sidecar");
        let secret = only(&documents, "Secret")["metadata"]["name"].as_str().unwrap();
        let patch = format!(
            "patch secret {secret} -p '{{\"stringData\":{{\"password\":\"another-test-password\"}}}}'\n"
        );
        assert_eq!(header.contains(&patch), follows, "{header}");
        // Names of another example.
        let is_own = |word: &&str| {
            let word = word.trim_end_matches(|c: char| !c.is_alphanumeric());
            !(word.starts_with("app-") || word.contains("/app-")) || word.contains(name)
        };
        assert_eq!(header.split_whitespace().find(|word| !is_own(word)), None, "{example}");
    }
}

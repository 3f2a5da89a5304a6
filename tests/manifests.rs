//! The manifests in `deploy/`, as `kubectl apply -k` would send them: known to the Kubernetes schema, admitted by the
//! restricted Pod Security Standard, with the least rights. No cluster is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "manifests/pod_security.rs"]
mod pod_security;
#[path = "manifests/rights.rs"]
mod rights;

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

/// The folders that hold a `kustomization.yaml`.
const EXAMPLES: [&str; 2] = ["deploy", "deploy/annotations-file"];

/// Where the image holds the binary.
const BINARY: &str = "/bin/podcreds";

#[test]
fn every_kustomization_is_an_example_under_test() {
    let mut found = Vec::new();
    let mut folders = vec![root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("kustomization.yaml") {
                found.push(folder.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    assert_eq!(found, EXAMPLES);
}

#[test]
fn every_field_is_known_to_the_kubernetes_schema() {
    let Some(python) = python() else { return };
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let mut validator = Command::new(&python)
            .arg(root().join("tests/manifests/validate.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        validator.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
        let output = validator.wait_with_output().unwrap();
        assert!(output.status.success(), "{example}:\n{}", String::from_utf8_lossy(&output.stderr));
        let passed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            passed.lines().count(),
            2 * documents(&rendered).len(),
            "{example}: two schemas each\n{passed}"
        );
    }
}

#[test]
fn every_pod_passes_the_restricted_pod_security_standard() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        assert_eq!(pod_security::violations(pod(&documents(&rendered))), [""; 0], "{example}");
    }
}

#[test]
fn every_container_is_bounded_and_cannot_write_to_its_image() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let pod = pod(&documents);
        assert_eq!(pod["spec"]["automountServiceAccountToken"], true, "{example}");
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(pod["spec"]["securityContext"][id].as_u64().is_some_and(|id| id > 0), "{example}: {id}");
        }
        let volume =
            pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "podcreds");
        assert_eq!(volume.unwrap()["emptyDir"], json!({"medium": "Memory", "sizeLimit": "1Mi"}), "{example}");
        for (place, container) in pod_security::containers(pod) {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{example}: {place}");
            for bound in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    let bound = &container["resources"][bound][resource];
                    assert!(bound.is_string(), "{example}: {place} bounds its {resource}");
                }
            }
        }
    }
}

#[test]
fn the_role_grants_what_the_annotations_need_and_no_more() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let pod = pod(&documents);
        let needed = rights::needed(pod);
        assert!(needed.iter().any(|(resource, _)| resource == "secrets"), "{example} names a Secret");
        let role = the(&documents, "Role");
        assert_eq!(rights::granted(role), needed, "{example}");

        let binding = the(&documents, "RoleBinding");
        assert_eq!(binding["roleRef"]["kind"], "Role", "{example}");
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"], "{example}");
        let account = &pod["spec"]["serviceAccountName"];
        assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": account}]), "{example}");
        assert_eq!(&the(&documents, "ServiceAccount")["metadata"]["name"], account, "{example}");
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            assert!(documents.iter().all(|document| document["kind"] != kind), "{example} has a {kind}");
        }
    }
}

#[test]
fn a_role_that_grants_more_does_not_equal_what_is_needed() {
    let least =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["shop-db"], "verbs": ["get"]});
    let role = |rule: Value| rights::granted(&json!({"rules": [rule]}));
    let with = |field: &str, value: Value| {
        let mut rule = least.clone();
        rule[field] = value;
        role(rule)
    };
    for more in [
        with("verbs", json!(["get", "list"])),
        with("verbs", json!(["*"])),
        with("apiGroups", json!(["*"])),
        with("resources", json!(["secrets", "configmaps"])),
        with("resources", json!(["*"])),
        with("resourceNames", json!(["shop-db", "admin-db"])),
        with("resourceNames", json!([])),
        with("resourceNames", json!(null)),
    ] {
        assert_ne!(more, role(least.clone()));
    }
}

#[test]
fn every_annotated_source_and_key_is_part_of_the_example() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let annotations = &pod(&documents)["metadata"]["annotations"];
        let secret = the(&documents, "Secret");
        assert_eq!(annotations["podcreds.io/shop.secret"], secret["metadata"]["name"], "{example}");
        for entry in annotations["podcreds.io/shop.keys"].as_str().unwrap().split(',') {
            let (_, key) = entry.trim().split_once('=').unwrap();
            assert!(secret["stringData"][key].is_string(), "{example}: the Secret has no {key}");
        }
    }
}

#[test]
fn the_variant_differs_only_in_where_the_annotations_come_from() {
    let Some(asked) = render(EXAMPLES[0]) else { return };
    let Some(mounted) = render(EXAMPLES[1]) else { return };
    let (mut asked, mut mounted) = (documents(&asked), documents(&mounted));
    for documents in [&mut asked, &mut mounted] {
        for document in documents.iter_mut() {
            match document["kind"].as_str().unwrap() {
                "Role" => without(&mut document["rules"], |rule| rule["resources"] == json!(["pods"])),
                "Deployment" => {
                    let spec = &mut document["spec"]["template"]["spec"];
                    without(&mut spec["volumes"], |volume| volume["name"] == "podinfo");
                    let init = &mut spec["initContainers"][0];
                    without(&mut init["volumeMounts"], |mount| mount["name"] == "podinfo");
                    without(&mut init["args"], |arg| arg == "--annotations-file=/etc/podinfo/annotations");
                    init["env"] = Value::Null;
                }
                _ => {}
            }
        }
    }
    assert_eq!(asked, mounted);
}

#[test]
fn image_and_manifests_carry_the_version_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let label = format!("org.opencontainers.image.version=\"{version}\"");
    assert!(dockerfile.contains(&label), "the Dockerfile has no {label}");
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let image = &pod(&documents)["spec"]["initContainers"][0]["image"];
        assert_eq!(image, &json!(format!("podcreds:{version}")), "{example}");
        let manifest = fs::read_to_string(root().join(example).join("init-container.yaml")).unwrap();
        assert!(
            manifest.contains(&format!("image: podcreds:{version}\n")),
            "{example}: also without kustomize"
        );
    }
}

#[test]
fn the_image_is_empty_but_for_the_binary_and_its_user_is_a_number() {
    assert_eq!(image_instructions("COPY "), [format!("--from=build /podcreds {BINARY}")]);
    assert_eq!(image_instructions("USER "), ["65532:65532"]);
    assert_eq!(image_instructions("ENTRYPOINT "), [format!("[\"{BINARY}\"]")]);
}

/// A runtime cannot mount a volume over a file, and a folder above it would hide the file.
#[test]
fn no_volume_covers_the_binary() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let init = &pod(&documents)["spec"]["initContainers"][0];
        assert_eq!(init["command"], Value::Null, "{example}: the image's entrypoint runs");
        for mount in init["volumeMounts"].as_array().unwrap() {
            let path = mount["mountPath"].as_str().unwrap();
            assert!(!Path::new(BINARY).starts_with(path), "{example}: {path} covers {BINARY}");
        }
    }
}

/// The arguments of each such instruction in the last stage of the Dockerfile, which starts from scratch.
fn image_instructions(name: &str) -> Vec<String> {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let (_, image) = dockerfile.split_once("\nFROM scratch\n").expect("a last stage from scratch");
    assert!(!image.contains("\nFROM "), "scratch is the last stage");
    image.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `kubectl apply -k` would send. `None` without kubectl; the test is skipped then.
fn render(example: &str) -> Option<String> {
    let output = match Command::new("kubectl").arg("kustomize").arg(root().join(example)).output() {
        Ok(output) => output,
        Err(_) => {
            return missing("kubectl, to render the kustomizations; https://kubernetes.io/docs/tasks/tools/");
        }
    };
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A Python that has kubernetes-validate: `PODCREDS_TEST_PYTHON`, or `python3`.
fn python() -> Option<String> {
    let python = env::var("PODCREDS_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import kubernetes_validate"]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    missing(&format!("{python} with kubernetes-validate; pip install -r tests/manifests/requirements.txt"))
}

/// Says why a test is skipped; fails it where `PODCREDS_TEST_REQUIRE=all` forbids that.
#[allow(clippy::print_stderr, reason = "whoever runs the tests must see what they did not do")]
fn missing<T>(what: &str) -> Option<T> {
    let required = env::var("PODCREDS_TEST_REQUIRE").is_ok_and(|required| required == "all");
    assert!(!required, "missing: {what}");
    eprintln!("skipped: this needs {what}");
    None
}

fn documents(rendered: &str) -> Vec<Value> {
    yaml_serde::Deserializer::from_str(rendered)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The only document of this kind.
fn the<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = documents.iter().filter(|document| document["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "one {kind}");
    found[0]
}

/// The pod template of the only workload; like a Pod, it has `metadata` and `spec`.
fn pod(documents: &[Value]) -> &Value {
    &the(documents, "Deployment")["spec"]["template"]
}

fn without(list: &mut Value, unwanted: impl Fn(&Value) -> bool) {
    list.as_array_mut().expect("a list").retain(|item| !unwanted(item));
}

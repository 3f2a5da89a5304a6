//! `deploy/chart`: the library chart, and the example that depends on it, rendered by Helm 3 and Helm 4. tests/cluster/packaging.rs
//! installs the example.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use super::charts::{self, Charts, HELMS};
use super::{container_of, documents, missing, only, pod, pod_security, python, rights, root, validate};

const PAGE: &str = include_str!("../../docs/helm.md");
const README: &str = include_str!("../../deploy/chart/README.md");
const VALUES: &str = include_str!("../../deploy/chart/values.yaml");

/// The charts, once for each Helm. `None` means that one is missing.
fn charts() -> Option<Vec<Charts>> {
    HELMS.iter().map(|variable| charts_of(variable)).collect()
}

fn charts_of(variable: &str) -> Option<Charts> {
    match charts::helm(variable) {
        Some(helm) => Some(Charts::new(&helm)),
        None => missing(&format!("{variable}; {}", charts::INSTALL)),
    }
}

/// The charts with the newer Helm, for what does not depend on Helm's version.
fn newest() -> Option<Charts> {
    charts_of(HELMS[1])
}

/// The objects of the example with these arguments.
fn example(charts: &Charts, arguments: &[&str]) -> (String, Vec<Value>) {
    let output = charts.template(&charts.example(), arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = String::from_utf8(output.stdout).unwrap();
    let documents = documents(&rendered);
    (rendered, documents)
}

/// The objects of the example with these values.
fn with_values(charts: &Charts, values: &Value) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    example(charts, &["--values", file.path().to_str().unwrap()]).1
}

#[test]
fn both_charts_pass_lint() {
    let Some(charts) = charts() else { return };
    for charts in charts {
        for chart in [charts.library(), charts.example()] {
            let output = charts.command().args(["lint", "--strict"]).arg(&chart).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

#[test]
fn the_containers_are_those_of_the_examples_in_deploy() {
    let Some(charts) = charts() else { return };
    let Some(sidecar) = container_of("deploy/native-sidecar") else { return };
    let Some(init) = container_of("deploy") else { return };
    for charts in charts {
        for (mode, expected) in [("native-sidecar", &sidecar), ("init", &init)] {
            let (_, documents) = example(&charts, &["--set", &format!("podcreds.mode={mode}")]);
            let spec = &pod(&documents)["spec"];
            assert_eq!(spec["initContainers"][0], *expected, "{mode}");
            assert_eq!(
                spec["volumes"],
                json!([{"name": "podcreds", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
            );
            assert_eq!(
                spec["containers"][0]["volumeMounts"],
                json!([{"name": "podcreds", "mountPath": "/podcreds", "readOnly": true}])
            );
        }
    }
}

#[test]
fn the_rendered_example_is_valid_restricted_and_grants_exactly_the_rights_that_it_needs() {
    let Some(charts) = charts() else { return };
    let Some(python) = python() else { return };
    for charts in charts {
        for (mode, schema) in [("native-sidecar", super::FIRST_WITH_NATIVE_SIDECARS), ("init", "oldest")] {
            let (rendered, documents) = example(&charts, &["--set", &format!("podcreds.mode={mode}")]);
            let output = validate(&python, &rendered, &["newest", schema]);
            assert!(output.status.success(), "{mode}:\n{}", String::from_utf8_lossy(&output.stderr));
            let pod = pod(&documents);
            assert_eq!(pod_security::violations(pod), [""; 0], "{mode}");
            assert_eq!(rights::granted(only(&documents, "Role")), rights::needed(pod), "{mode}");
            assert_eq!(
                only(&documents, "RoleBinding")["subjects"][0]["name"],
                pod["spec"]["serviceAccountName"]
            );
        }
    }
}

#[test]
fn every_object_has_the_recommended_labels() {
    let Some(charts) = newest() else { return };
    for object in example(&charts, &[]).1 {
        let labels = &object["metadata"]["labels"];
        for (label, value) in [("name", "shop"), ("instance", "shop"), ("managed-by", "Helm")] {
            assert_eq!(labels[format!("app.kubernetes.io/{label}")], value, "{}", object["kind"]);
        }
    }
}

#[test]
fn a_wrong_value_is_rejected_with_its_path() {
    let Some(charts) = charts() else { return };
    for charts in charts {
        for (value, message) in [
            ("mode=sidecar", "at '/mode': value must be one of 'native-sidecar', 'init'"),
            ("port=http", "at '/port': got string, want integer"),
            ("port=70000", "at '/port': maximum"),
            ("image.tag=1", "at '/image/tag': got number, want string"),
            ("image.digest=0123", "at '/image/digest'"),
            ("imagee.tag=1", "additional properties 'imagee' not allowed"),
            ("volumeSize=big", "at '/volumeSize': 'big' does not match pattern"),
            ("mountPath=podcreds", "at '/mountPath'"),
            (
                "credentials.shop.secert=shop-db",
                "at '/credentials/shop': additional properties 'secert' not allowed",
            ),
            (
                "credentials.Shop.secret=shop-db",
                "at '/credentials': additional properties 'Shop' not allowed",
            ),
            ("rbac.secrets=shop-db", "at '/rbac/secrets': got string, want array"),
        ] {
            let output = charts.template(&charts.example(), &["--set", &format!("podcreds.{value}")]);
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && errors.contains(message), "{value}: {errors}");
        }
    }
}

#[test]
fn a_native_sidecar_is_refused_below_kubernetes_1_29() {
    let Some(charts) = charts() else { return };
    for charts in charts {
        let old = |arguments: &[&str]| {
            let arguments = [&["--kube-version", "1.28.9"], arguments].concat();
            charts.template(&charts.example(), &arguments)
        };
        let output = old(&[]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(errors.contains("needs Kubernetes 1.29 or newer, and this is v1.28.9"), "{errors}");
        assert!(errors.contains("set podcreds.mode to init"), "{errors}");
        assert!(old(&["--set", "podcreds.mode=init"]).status.success());
        // Managed clusters append to the version.
        for version in ["v1.29.0-gke.100", "v1.29.1-eks-0123abc", "v1.31.2+k3s1"] {
            let output = charts.template(&charts.example(), &["--kube-version", version]);
            assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn helm_renders_annotations_except_for_templates_of_podcreds() {
    let Some(charts) = charts() else { return };
    let credential = json!({
        "secret": "{{ .Release.Name }}-db",
        "set": "title={{ .Values.image.repository }}",
        "optional": true,
        "template": "url={{ username }} 'é\"\n",
        "on-change": "POST http://localhost:8080/{{ .Release.Name }}",
        "on-change-header": "Authorization: Bearer {{ token }}",
        "format": null,
    });
    let values = json!({"podcreds": {"credentials": {"shop": null, "app": credential}}});
    let expected = json!({
        "podcreds.io/app.secret": "shop-db",
        "podcreds.io/app.set": "title=busybox",
        "podcreds.io/app.optional": "true",
        "podcreds.io/app.template": "url={{ username }} 'é\"\n",
        "podcreds.io/app.on-change": "POST http://localhost:8080/shop",
        "podcreds.io/app.on-change-header": "Authorization: Bearer {{ token }}",
    });
    for charts in charts {
        let documents = with_values(&charts, &values);
        assert_eq!(pod(&documents)["metadata"]["annotations"], expected);
    }
}

#[test]
fn the_role_follows_from_the_sources_of_each_credential() {
    let Some(charts) = newest() else { return };
    let documents = with_values(
        &charts,
        &json!({"podcreds": {
            "credentials": {
                "shop": {
                    "secret": "a = {{ .Release.Name }}-db, b=other/db,c=shop-db",
                    "service": "p=other/pooler:5432",
                    "configmap": "settings",
                },
                "text": {"secret": "shop-db", "template-from": "texts/app/key"},
                // Only the template comes from this cluster.
                "remote": {"cluster": "hub", "secret": "far/away", "template-from": "remote-texts/key"},
            },
            "rbac": {
                "secrets": ["by-hand"],
                "extraRules": [{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}],
            },
        }}),
    );
    let mut granted = BTreeMap::new();
    for role in documents.iter().filter(|object| object["kind"] == "Role") {
        let metadata = &role["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap();
        let name = if namespace == "prod" { "shop-podcreds" } else { "shop-podcreds-prod" };
        assert_eq!(metadata["name"], name);
        let binding = documents.iter().find(|object| {
            object["kind"] == "RoleBinding" && object["metadata"]["namespace"] == metadata["namespace"]
        });
        assert_eq!(binding.unwrap()["roleRef"]["name"], name);
        assert_eq!(
            binding.unwrap()["subjects"],
            json!([{"kind": "ServiceAccount", "name": "shop", "namespace": "prod"}])
        );
        let rules = role["rules"].as_array().unwrap().iter();
        let rules: BTreeSet<_> = rules
            .map(|rule| {
                let names = rule["resourceNames"].as_array().into_iter().flatten();
                let names: Vec<_> = names.map(|name| name.as_str().unwrap()).collect();
                (rule["resources"][0].as_str().unwrap(), names, rule["verbs"][0].as_str().unwrap())
            })
            .collect();
        granted.insert(namespace, rules);
    }
    let expected = BTreeMap::from([
        (
            "prod",
            BTreeSet::from([
                ("configmaps", vec!["remote-texts", "settings"], "get"),
                ("secrets", vec!["by-hand", "shop-db"], "get"),
                ("pods", vec![], "get"),
                ("events", vec![], "create"),
            ]),
        ),
        ("other", BTreeSet::from([("secrets", vec!["db"], "get"), ("services", vec!["pooler"], "get")])),
        ("texts", BTreeSet::from([("configmaps", vec!["app"], "get")])),
    ]);
    assert_eq!(granted, expected);
}

/// Without quotes, YAML reads a number.
#[test]
fn names_of_digits_stay_text() {
    let Some(charts) = newest() else { return };
    let arguments = ["--namespace", "123", "--set-string", "serviceAccount.name=456"];
    let (_, documents) = example(&charts, &arguments);
    for kind in ["Role", "RoleBinding"] {
        assert_eq!(only(&documents, kind)["metadata"]["namespace"], "123", "{kind}");
    }
    let subjects = &only(&documents, "RoleBinding")["subjects"];
    assert_eq!(*subjects, json!([{"kind": "ServiceAccount", "name": "456", "namespace": "123"}]));
    assert_eq!(only(&documents, "ServiceAccount")["metadata"]["name"], "456");
    assert_eq!(pod(&documents)["spec"]["serviceAccountName"], "456");
}

#[test]
fn no_role_is_created_if_rbac_create_is_false() {
    let Some(charts) = newest() else { return };
    let (_, documents) = example(&charts, &["--set", "podcreds.rbac.create=false"]);
    let kinds: Vec<_> = documents.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "Deployment"]);
}

#[test]
fn path_port_flags_and_image_follow_the_values() {
    let Some(charts) = newest() else { return };
    let digest = format!("sha256:{}", "0".repeat(64));
    let values = json!({
        "mountPath": "/credentials",
        "port": 9000,
        "args": ["--log-format=json"],
        "sidecarArgs": ["--exit-on-change=88"],
        "volumeSize": "8Mi",
        "resources": null,
        "image": {"repository": "registry.example.com/podcreds", "digest": digest, "pullPolicy": "Never"},
    });
    let documents = with_values(&charts, &json!({ "podcreds": values }));
    let spec = &pod(&documents)["spec"];
    let container = &spec["initContainers"][0];
    assert_eq!(container["args"], json!(["sidecar", "--log-format=json", "--exit-on-change=88"]));
    assert_eq!(container["env"][1], json!({"name": "PODCREDS_VOLUME", "value": "/credentials"}));
    assert_eq!(container["env"][2], json!({"name": "PODCREDS_LISTEN", "value": ":9000"}));
    assert_eq!(container["ports"][0]["containerPort"], 9000);
    assert_eq!(container["volumeMounts"][0]["mountPath"], "/credentials");
    assert_eq!(container["image"], format!("registry.example.com/podcreds@{digest}"));
    assert_eq!(container["imagePullPolicy"], "Never");
    assert_eq!(container["resources"], Value::Null);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], "/credentials");
    assert_eq!(spec["volumes"][0]["emptyDir"]["sizeLimit"], "8Mi");
}

/// The page shows the lines of a chart that depends on the library chart, which here replace those of the example.
#[test]
fn the_chart_on_the_page_renders() {
    let Some(charts) = charts() else { return };
    for charts in charts {
        let example = charts.example();
        let blocks: Vec<_> =
            PAGE.split("\n```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
        let [_dependency, values, deployment, rbac, by_hand] = blocks[..] else {
            panic!("the page has {} blocks of YAML", blocks.len())
        };
        fs::write(example.join("values.yaml"), values).unwrap();
        let helpers = fs::read_to_string(example.join("templates/_helpers.tpl")).unwrap();
        fs::write(example.join("templates/_helpers.tpl"), helpers.replace("shop.", "orders.")).unwrap();
        let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: orders}\n---\n";
        fs::write(example.join("templates/rbac.yaml"), format!("{account}{rbac}")).unwrap();
        fs::write(example.join("templates/deployment.yaml"), deployment).unwrap();
        let output = charts.template(&example, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let objects = documents(&String::from_utf8(output.stdout).unwrap());
        let template = pod(&objects);
        assert_eq!(template["metadata"]["annotations"]["podcreds.io/db.secret"], "shop-postgresql");
        let text = template["metadata"]["annotations"]["podcreds.io/db.template"].as_str().unwrap();
        assert!(text.contains("{{ username | urlencode }}"), "{text}");
        assert_eq!(rights::granted(only(&objects, "Role")), rights::needed(template));

        // Annotations in a template of the chart, with other delimiters.
        let file = example.join("templates/by-hand.yaml");
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: by-hand\n  annotations:\n    ";
        fs::write(&file, format!("{object}{}", by_hand.replace('\n', "\n    "))).unwrap();
        let output = charts.template(&example, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let objects = documents(&String::from_utf8(output.stdout).unwrap());
        let annotations = &only(&objects, "ConfigMap")["metadata"]["annotations"];
        assert_eq!(annotations["podcreds.io/db.delimiters"], "[[ ]]");
        let text = annotations["podcreds.io/db.template"].as_str().unwrap();
        assert!(text.contains("[[ username | urlencode ]]") && text.contains("shop-postgresql"), "{text}");
    }
}

/// Every message that the page quotes.
#[test]
fn helm_does_not_know_the_fields_of_a_template_of_podcreds() {
    let Some(charts) = charts() else { return };
    for charts in charts {
        let chart = charts.example();
        fs::write(chart.join("templates/by-hand.yaml"), "url: {{ username | urlencode }}\n").unwrap();
        let output = charts.template(&chart, &[]);
        let errors = String::from_utf8(output.stderr).unwrap();
        let message = "function \"username\" not defined";
        assert!(PAGE.contains(message) && errors.contains(message), "{errors}");
    }
}

#[test]
fn an_alias_of_the_dependency_is_refused_with_a_reason() {
    let Some(charts) = newest() else { return };
    let chart = charts.example();
    let file = chart.join("Chart.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("- name: podcreds\n", "- name: podcreds\n    alias: credentials\n"))
        .unwrap();
    let output = charts.template(&chart, &[]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("do not set an alias for the dependency in Chart.yaml"), "{errors}");
}

#[test]
fn the_package_contains_only_the_library_chart() {
    let Some(charts) = newest() else { return };
    let library = charts.library();
    let output = charts.command().arg("package").arg(&library).arg("-d").arg(&library).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let package = library.join(concat!("podcreds-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let listed = Command::new("tar").arg("-tzf").arg(package).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("podcreds/values.schema.json") && !listed.contains("example"), "{listed}");
}

/// The paths of all values, such as `image.tag`.
fn paths(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                paths(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, value, found);
            }
        }
        _ => _ = found.insert(prefix.to_owned()),
    }
}

#[test]
fn the_readme_describes_every_value() {
    let values = Value::deserialize(yaml_serde::Deserializer::from_str(VALUES)).unwrap();
    let mut found = BTreeSet::new();
    paths("", &values, &mut found);
    // The README describes these as a whole.
    for whole in ["resources", "securityContext"] {
        found.retain(|path| !path.starts_with(whole));
        found.insert(whole.to_owned());
    }
    let (_, table) = README.split_once("| value | meaning | default |\n| --- | --- | --- |\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with("| `"));
    let described: BTreeSet<_> = rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    assert_eq!(described, found);
    let (_, table) = README.split_once("| template | renders |\n| --- | --- |\n").unwrap();
    for template in ["container", "sidecar", "initContainer", "volume", "volumeMount", "annotations", "role"]
    {
        assert!(table.contains(&format!("| `podcreds.{template}` |")), "{template}");
    }
}

#[test]
fn the_chart_and_its_image_have_the_version_of_the_crate() {
    let read = |path: &str| -> Value {
        let text = fs::read_to_string(root().join("deploy/chart").join(path)).unwrap();
        Value::deserialize(yaml_serde::Deserializer::from_str(&text)).unwrap()
    };
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("Chart.yaml");
    assert_eq!(chart["version"], version);
    assert_eq!(chart["appVersion"], version);
    assert_eq!(read("values.yaml")["image"]["tag"], version);
    assert_eq!(read("example/Chart.yaml")["dependencies"][0]["version"], format!("~{version}"));
}

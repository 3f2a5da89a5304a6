//! `podcreds check -f`: broken manifests, each with the expected report beside it, and manifests in which nothing is wrong. These
//! tests need no cluster. After a change of a message, `PODCREDS_TEST_UPDATE=1` writes the reports again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "support/skip.rs"]
mod skip;

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::Value;
use skip::require;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs podcreds in a directory, without a kubeconfig and without any variable of this process.
fn check(directory: &Path, args: &[&str], stdin: &str) -> Output {
    podcreds("check", directory, args, stdin)
}

fn podcreds(subcommand: &str, directory: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
    command.arg(subcommand).args(args).current_dir(directory).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The files of a directory with this ending, sorted.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|other| other == ending)).collect();
    files.sort();
    files
}

#[test]
fn each_broken_manifest_gets_the_report_beside_it() {
    let directory = root().join("tests/check/broken");
    let manifests = files(&directory, "yaml");
    assert!(manifests.len() >= 30, "{}", manifests.len());
    let mut differences = Vec::new();
    for manifest in manifests {
        let name = manifest.file_name().unwrap().to_str().unwrap();
        let source = fs::read_to_string(&manifest).unwrap();
        let mut comments = source.lines().take_while(|line| line.starts_with('#'));
        assert!(
            comments.any(|line| line.starts_with("# https://github.com/")),
            "{name} has no public report"
        );
        let output = check(&directory, &["-f", name], "");
        let report = text(&output.stdout);
        let code = if report.contains(": error: ") { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{name}: {report}{}", text(&output.stderr));
        assert!(!report.starts_with("no problems"), "{name}: {report}");
        let golden = manifest.with_extension("txt");
        if env::var_os("PODCREDS_TEST_UPDATE").is_some() {
            fs::write(&golden, &report).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != report {
            differences.push(format!("{name}:\n{report}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// The manifests of `deploy/` as kubectl renders them.
fn rendered(directory: &Path) -> Option<String> {
    let output = Command::new("kubectl").arg("kustomize").arg(directory).output().ok();
    let output = require("kubectl, to render the kustomizations", output)?;
    // A component has no resources of its own.
    output.status.success().then(|| text(&output.stdout))
}

#[test]
fn nothing_is_wrong_with_the_examples() {
    let mut directories = vec![root().join("deploy")];
    let mut checked = 0;
    while let Some(directory) = directories.pop() {
        let kustomization = fs::read_to_string(directory.join("kustomization.yaml"));
        if kustomization.is_ok_and(|text| text.contains("kind: Kustomization")) {
            let Some(manifests) = rendered(&directory) else { return };
            let output = check(root(), &["--strict", "-f", "-"], &manifests);
            let report = text(&output.stdout);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{}: {report}{}",
                directory.display(),
                text(&output.stderr)
            );
            checked += usize::from(!report.contains(", 0 with podcreds\n"));
        }
        let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        directories.extend(entries.filter(|path| path.is_dir()));
    }
    assert!(checked >= 13, "only {checked} examples use podcreds");
}

#[test]
fn nothing_is_wrong_with_manifests_that_look_like_a_mistake() {
    let directory = root().join("tests/check/clean");
    let manifests = files(&directory, "yaml");
    assert!(manifests.len() >= 10, "{}", manifests.len());
    for manifest in manifests {
        let output = check(root(), &["--strict", "-f", manifest.to_str().unwrap()], "");
        let report = text(&output.stdout);
        assert!(
            report.starts_with("no problems; "),
            "{}: {report}{}",
            manifest.display(),
            text(&output.stderr)
        );
    }
}

/// What other projects publish for `kubectl apply`: their Go modules have the manifests that their charts or kustomizations render.
const PROJECTS: [(&str, &[&str]); 6] = [
    (
        "github.com/argoproj/argo-cd/v2@v2.9.3",
        &["manifests/install.yaml", "manifests/ha/install.yaml", "manifests/namespace-install.yaml"],
    ),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.70.0",
        &["bundle.yaml", "example/thanos/query-deployment.yaml"],
    ),
    (
        "k8s.io/ingress-nginx@v0.0.0-20240708192948-52c50467d67d",
        &["deploy/static/provider/aws/deploy.yaml", "deploy/static/provider/kind/deploy.yaml"],
    ),
    (
        "go.universe.tf/metallb@v0.16.2",
        &["config/manifests/metallb-frr-k8s.yaml", "config/manifests/metallb-native-prometheus.yaml"],
    ),
    (
        "knative.dev/serving@v0.51.0",
        &["config/core/deployments/activator.yaml", "config/core/deployments/controller.yaml"],
    ),
    ("sigs.k8s.io/metrics-server@v0.9.0", &["manifests/base/deployment.yaml"]),
];

/// The directory of a Go module, downloaded if it is not there yet.
fn module(name: &str) -> Option<PathBuf> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", name])
        .current_dir(env::temp_dir())
        .output()
        .ok();
    let output = require("go, to download manifests of other projects", output)?;
    let described: Value = serde_json::from_slice(&output.stdout).unwrap();
    let directory = described["Dir"].as_str().map(PathBuf::from);
    require(&format!("{name} ({})", described["Error"]), directory)
}

/// The objects of a manifest.
fn objects(manifest: &str) -> Vec<Value> {
    let documents = yaml_serde::Deserializer::from_str(manifest);
    let documents = documents.map(|document| Value::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

/// Adds podcreds to a pod template: annotations, the label, and if `with_container`, also what the injection would add.
fn add_podcreds(object: &mut Value, with_container: bool) {
    let pod = match object["kind"].as_str().unwrap_or_default() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &mut object["spec"]["template"],
        _ => return,
    };
    pod["metadata"]["annotations"]["podcreds.io/db.secret"] = "orders-db".into();
    pod["metadata"]["labels"]["podcreds.io/inject"] = "true".into();
    if !with_container {
        return;
    }
    let mount = serde_json::json!({"name": "podcreds", "mountPath": "/podcreds"});
    let container = serde_json::json!({
        "name": "podcreds",
        "image": "podcreds:0.1.0",
        "args": ["sidecar", "--listen=:19081"],
        "restartPolicy": "Always",
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 19081}],
        "startupProbe": {"httpGet": {"path": "/readyz", "port": 19081}},
        "volumeMounts": [mount.clone()],
    });
    let volume =
        serde_json::json!({"name": "podcreds", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
    let mut add = |key: &str, item: Value| {
        let list = &mut pod["spec"][key];
        if list.is_null() {
            *list = serde_json::json!([]);
        }
        list.as_array_mut().unwrap().insert(0, item);
    };
    add("initContainers", container);
    add("volumes", volume);
    for application in pod["spec"]["containers"].as_array_mut().unwrap() {
        let mounts = &mut application["volumeMounts"];
        if mounts.is_null() {
            *mounts = serde_json::json!([]);
        }
        mounts.as_array_mut().unwrap().push(mount.clone());
    }
}

/// What listens on podcreds' default port, 8081.
const LISTENERS: [&str; 2] = ["Deployment/argocd-repo-server", "Deployment/test-sealed-secrets"];

/// Nothing is wrong with a manifest of another project, as it is and with podcreds added.
fn assert_clean(name: &str, manifest: &str) {
    let output = check(root(), &["--strict", "-f", "-"], manifest);
    let report = text(&output.stdout);
    let is_clean = report.starts_with("no problems; ") && !report.contains("; 0 pod template");
    assert!(is_clean, "{name}: {report}{}", text(&output.stderr));
    for with_container in [false, true] {
        let mut objects = objects(manifest);
        objects.iter_mut().for_each(|object| add_podcreds(object, with_container));
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let output = check(root(), &["--strict", "-o", "json", "-f", "-"], &list);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        for finding in found.as_array().unwrap() {
            // Some of these pods forbid the token, their Roles grant the right to Secrets but not to pods, and two programs listen on
            // port 8081.
            let is_right = finding["id"] == "no-token"
                || finding["id"] == "role"
                || finding["id"] == "port-taken"
                    && LISTENERS.iter().any(|object| finding["object"] == *object)
                    && !with_container;
            assert!(is_right, "{name}: {finding}");
        }
    }
}

#[test]
fn nothing_is_wrong_with_manifests_of_other_projects() {
    for (project, manifests) in PROJECTS {
        let Some(directory) = module(project) else { return };
        for manifest in manifests {
            let path = directory.join(manifest);
            assert_clean(&path.display().to_string(), &fs::read_to_string(&path).unwrap());
        }
    }
}

/// The charts in the Go modules of other projects.
const CHARTS: [(&str, &[&str]); 8] = [
    ("github.com/bitnami-labs/sealed-secrets@v0.40.0", &["helm/sealed-secrets"]),
    (
        "github.com/kubernetes-sigs/aws-load-balancer-controller@v0.0.0-20260423195125-93ff3b5fdaad",
        &["helm/aws-load-balancer-controller"],
    ),
    ("github.com/open-policy-agent/gatekeeper/v3@v3.23.1", &["charts/gatekeeper"]),
    (
        "istio.io/istio@v0.0.0-20260827124520-eed52ebb66ad",
        &[
            "manifests/charts/istio-control/istio-discovery",
            "manifests/charts/istio-cni",
            "manifests/charts/ztunnel",
        ],
    ),
    ("k8s.io/ingress-nginx@v0.0.0-20240708192948-52c50467d67d", &["charts/ingress-nginx"]),
    ("sigs.k8s.io/descheduler@v0.36.0", &["charts/descheduler"]),
    ("sigs.k8s.io/kueue@v0.17.0", &["charts/kueue"]),
    ("sigs.k8s.io/metrics-server@v0.9.0", &["charts/metrics-server"]),
];

#[test]
fn nothing_is_wrong_with_the_output_of_ten_charts() {
    let variable = "PODCREDS_TEST_HELM_4";
    let Some(helm) = require(variable, env::var_os(variable)) else { return };
    let mut rendered = 0;
    for (project, charts) in CHARTS {
        let Some(directory) = module(project) else { return };
        for chart in charts {
            let chart = directory.join(chart);
            let output = Command::new(&helm)
                .args(["template", "test", "--kube-version", "1.37.0", "--set", "clusterName=test"])
                .arg(&chart)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}: {}", chart.display(), text(&output.stderr));
            assert_clean(&chart.display().to_string(), &text(&output.stdout));
            rendered += 1;
        }
    }
    assert_eq!(rendered, 10);
}

#[test]
fn a_report_has_a_form_for_programs_and_one_for_pull_requests() {
    let directory = root().join("tests/check/broken");
    let output = check(&directory, &["-o", "json", "-f", "read-only-mount.yaml"], "");
    assert_eq!(output.status.code(), Some(2));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [finding] = findings.as_array().unwrap().as_slice() else { panic!("{findings}") };
    for (key, value) in [
        ("file", "read-only-mount.yaml"),
        ("object", "Deployment/orders"),
        ("level", "error"),
        ("id", "read-only-mount"),
    ] {
        assert_eq!(finding[key], value, "{finding}");
    }
    assert!(finding["line"].as_u64() > Some(20) && finding["column"].as_u64() > Some(1), "{finding}");
    assert!(finding["message"].is_string() && finding["remedy"].is_string(), "{finding}");
    let output = check(&directory, &["-o", "github", "-f", "read-only-mount.yaml"], "");
    let line = text(&output.stdout);
    assert!(line.starts_with("::error file=read-only-mount.yaml,line="), "{line}");
    assert!(line.contains(",title=read-only-mount::Deployment/orders: "), "{line}");
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn warnings_fail_only_a_strict_check() {
    let directory = root().join("tests/check/broken");
    let code = |args: &[&str]| check(&directory, args, "").status.code();
    assert_eq!(code(&["-f", "memory-limit.yaml"]), Some(0));
    assert_eq!(code(&["--strict", "-f", "memory-limit.yaml"]), Some(2));
}

#[test]
fn what_cannot_be_read_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    for (args, stdin, message) in [
        (&["-f", "missing.yaml"][..], "", "cannot read missing.yaml"),
        (&["-f", "."], "", "has no .yaml, .yml or .json file"),
        (&["-f", "-"], "a: [", "standard input: "),
        (&["-f", "-", "deploy/app"], "", "--filename: cannot be combined with KIND/NAME"),
        (&["-f", "-", "--connect"], "", "--connect: cannot be combined with --filename"),
        (&[], "", "pass manifests, as in podcreds check -f app.yaml"),
    ] {
        let output = check(directory.path(), args, stdin);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
}

#[test]
fn no_value_of_a_secret_is_printed() {
    let password = "hunter2-\u{1F511}-never-shown";
    let secrets = format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: db}}
stringData: {{host: db, username: orders, password: \"{password}\\n\", uri: \"{password}\", port: {password}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: plain}}
data: {{password: {password}}}
"
    );
    let valid = "
    podcreds.io/db.secret: db
    podcreds.io/db.format: uri
    podcreds.io/db.engine: postgresql
    podcreds.io/other.secret: db
    podcreds.io/other.keys: X=nothing
    podcreds.io/plain.secret: plain";
    let invalid = format!(
        "\n    podcreds.io/db.set: \"a={password}, a={password}\"\n    podcreds.io/db.format: {password}"
    );
    for (annotations, part) in [
        (valid, "not base64"),
        (valid, "key nothing not found"),
        (valid, "which no credential writes"),
        (&invalid, "[annotation]"),
    ] {
        let manifests = format!(
            "{secrets}---
apiVersion: v1
kind: Pod
metadata:
  name: app
  annotations:{annotations}
spec:
  containers:
  - name: app
    image: app
    env: [{{name: A, value: \"{password} /podcreds/other.txt {password}\"}}]
"
        );
        for output in ["text", "json", "github"] {
            let finished = check(root(), &["--injected", "-o", output, "-f", "-"], &manifests);
            assert_eq!(finished.status.code(), Some(2));
            let all = text(&finished.stdout) + &text(&finished.stderr);
            assert!(
                !all.contains("never-shown") && (all.contains(part) || output != "text"),
                "{part}: {all}"
            );
        }
    }
}

/// The pipe before it may have broken, or the chart may have rendered nothing.
#[test]
fn input_without_any_object_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("values.yaml"), "a: 1\n").unwrap();
    for command in ["check", "inject", "rbac"] {
        for (file, stdin) in [("-", ""), ("-", "# nothing\n---\n"), ("values.yaml", "")] {
            let mut args = vec!["-f", file];
            if command == "inject" {
                args.push("--image=podcreds:1");
            }
            let output = podcreds(command, directory.path(), &args, stdin);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} {file}: {stderr}");
            assert!(stderr.contains("no Kubernetes object"), "{command} {file}: {stderr}");
            assert_eq!(text(&output.stdout), "", "{command}");
        }
    }
    // One of several files may be empty.
    fs::write(directory.path().join("empty.yaml"), "").unwrap();
    fs::write(directory.path().join("app.yaml"), "{apiVersion: v1, kind: Pod, metadata: {name: a}}").unwrap();
    let output = check(directory.path(), &["--strict", "-f", "empty.yaml", "-f", "app.yaml"], "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "no problems; 1 pod template, 0 with podcreds\n    no pod template has podcreds' annotations or container, so there was nothing to check\n"
    );
}

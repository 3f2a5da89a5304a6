//! The commands that read manifests.

use std::fs;
use std::process::Command;

use crate::support::run::{Finished, run};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  template:
    metadata:
      annotations:
        podcreds.io/db.secret: db
        podcreds.io/db.configmap: settings
        podcreds.io/db.set: sslmode=require
        podcreds.io/db.format: uri
        podcreds.io/db.engine: postgresql
    spec:
      serviceAccountName: app
      initContainers:
        - {name: podcreds, args: [init]}
";
const SETTINGS: &str = "
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {host: db.example.com, database: orders}
";

/// Runs podcreds with a directory of manifests, without any way to reach a cluster.
fn offline(manifests: &[(&str, &str)], args: &[&str]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in manifests {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
    command.env_clear().current_dir(directory.path()).args(args);
    run(command, HANGS)
}

#[test]
fn rbac_needs_no_cluster() {
    let manifests = [("app.yaml", DEPLOYMENT), ("settings.yml", SETTINGS), ("README.md", "{")];
    let finished = offline(&manifests, &["rbac", "-f", "."]);
    assert_code(&finished, 0);
    assert_has(
        &finished.stdout_text(),
        &[
            "kind: Role\nmetadata:\n  name: app-podcreds\n  labels:",
            "      - db # podcreds.io/db.secret of Deployment/app\n    verbs: [get]\n",
            "      - settings # podcreds.io/db.configmap of Deployment/app\n    verbs: [get]\n",
            "kind: RoleBinding\n",
        ],
    );
    assert_eq!(finished.stderr, "");
    let with_namespace = offline(&manifests, &["rbac", "-f", "app.yaml", "-n", "shop"]);
    assert_has(&with_namespace.stdout_text(), &["  name: app-podcreds\n  namespace: shop\n"]);
}

#[test]
fn rbac_says_what_to_pass_or_to_correct() {
    let other = DEPLOYMENT.replace("secret: db", "secret: infra/db");
    let elsewhere = DEPLOYMENT.replace("db.set:", "db.cluster: hub\n        podcreds.io/db.set:");
    let wrong = DEPLOYMENT.replace("db.secret", "db.secert");
    let misplaced = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, annotations: {podcreds.io/db.secret: db}}
spec: {template: {spec: {containers: []}}}
";
    let rbac = &["rbac", "-f", "app.yaml"][..];
    for (manifest, args, parts) in [
        (
            other.as_str(),
            rbac,
            &[
                "Deployment/app has no metadata.namespace, and its ServiceAccount app reads from namespace infra",
                "pass --namespace",
            ][..],
        ),
        (
            &wrong,
            rbac,
            &["app.yaml:9:9: invalid annotation: podcreds.io/db.secert: ", "did you mean \"secret\"?"],
        ),
        ("a: [", rbac, &["app.yaml: line 2, column 1: invalid YAML"]),
        (
            "{apiVersion: v1, kind: Pod, spec: {}}",
            rbac,
            &["app.yaml: no pod template has an annotation that begins with podcreds.io/"],
        ),
        ("replicas: 2", rbac, &["app.yaml: contains no Kubernetes object"]),
        (
            misplaced,
            rbac,
            &[
                "app.yaml:2:1: annotations podcreds.io/… of Deployment/app itself have no effect",
                "spec.template.metadata.annotations",
            ],
        ),
        (DEPLOYMENT, &["rbac", "-f", "none.yaml"], &["cannot read none.yaml: No such file or directory"]),
        (
            DEPLOYMENT,
            &["rbac", "-f", "app.yaml", "--cluster-id", "hub"],
            &["--cluster-id: no annotation reads from cluster hub"],
        ),
        (&elsewhere, &["rbac", "-f", "app.yaml", "--cluster-id", "hub"], &["pass --namespace"]),
        (DEPLOYMENT, &["rbac"], &["<KIND/NAME|--filename <FILE>>"]),
        (DEPLOYMENT, &["rbac", "deploy/app", "-f", "app.yaml"], &["cannot be used with"]),
    ] {
        let finished = offline(&[("app.yaml", manifest)], args);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, parts);
        assert_eq!(finished.stdout_text(), "", "{args:?}");
    }
    let pod = "{apiVersion: v1, kind: Pod, spec: {}}";
    let finished = offline(&[("app.yaml", pod)], &["rbac", "-f", "app.yaml", "--allow-none"]);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), "");
}

#[test]
fn rbac_keeps_the_roles_of_clusters_apart() {
    let elsewhere = DEPLOYMENT.replace("db.set:", "db.cluster: hub\n        podcreds.io/db.set:");
    let manifests = [("app.yaml", elsewhere.as_str())];
    let finished = offline(&manifests, &["rbac", "-f", "app.yaml", "-n", "shop"]);
    assert_code(&finished, 0);
    assert_has(&finished.stdout_text(), &["resources: [pods]"]);
    assert!(!finished.stdout_text().contains("secrets"), "{}", finished.stdout_text());
    assert_has(&finished.stderr, &["also read from cluster hub: print its Roles with --cluster-id hub"]);
    let finished = offline(&manifests, &["rbac", "-f", "app.yaml", "-n", "shop", "--cluster-id", "hub"]);
    assert_code(&finished, 0);
    assert_has(&finished.stdout_text(), &["resources: [secrets]", "namespace: shop"]);
    assert!(!finished.stdout_text().contains("pods]"), "{}", finished.stdout_text());
}

/// Runs `render -f` with these manifests as the pod's service account.
fn render(scene: &Scene, manifests: &str, args: &[&str]) -> Finished {
    let path = scene.pod.root().join("app.yaml");
    fs::write(&path, manifests).unwrap();
    let mut command = scene.command(&[&["render", "-f", path.to_str().unwrap()], args].concat());
    command.env_remove("POD_NAME");
    run(command, HANGS)
}

#[test]
fn render_reads_the_annotations_of_manifests_and_objects_that_the_cluster_lacks() {
    let scene = Scene::plain();
    let finished = render(&scene, &format!("{DEPLOYMENT}{SETTINGS}"), &[]);
    assert_code(&finished, 0);
    assert_has(
        &finished.stdout_text(),
        &["# db.uri (mode ", "\npostgresql://hidden:hidden@db.example.com:5432/orders?sslmode=require\n"],
    );
    let requests = scene.server.request_lines();
    assert_eq!(requests, ["GET /api/v1/namespaces/prod/secrets/db"]);

    // The Secret of the manifests counts, not that of the cluster.
    let secret = "---\n{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {username: app, password: test-other}}\n";
    let all = format!("{DEPLOYMENT}{SETTINGS}{secret}");
    let finished = render(&scene, &all, &[]);
    assert_code(&finished, 0);
    assert!(!finished.stdout_text().contains("test-other"), "{}", finished.stdout_text());
    let finished = render(&scene, &all, &["--reveal"]);
    assert_has(&finished.stdout_text(), &["postgresql://app:test-other@db.example.com:5432/orders"]);
    assert_eq!(scene.server.request_lines().len(), 1);
}

#[test]
fn render_needs_no_cluster_if_the_manifests_have_all_objects() {
    let secret = "---\n{apiVersion: v1, kind: Secret, metadata: {name: db}, stringData: {username: app, password: test-other}}\n";
    let all = format!("{DEPLOYMENT}{SETTINGS}{secret}");
    let finished = offline(&[("app.yaml", &all)], &["render", "-f", "app.yaml"]);
    assert_code(&finished, 0);
    assert_has(&finished.stdout_text(), &["\npostgresql://hidden:hidden@db.example.com:5432/orders"]);
    let finished = offline(&[("app.yaml", DEPLOYMENT)], &["render", "-n", "shop", "-f", "app.yaml"]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["no manifest has ", " shop/", "kubeconfig"]);
}

#[test]
fn every_command_reports_invalid_annotations_with_their_positions() {
    let wrong = DEPLOYMENT.replace("format: uri", "format: urn").replace("set: ", "sett: ");
    for command in ["check", "inject", "rbac", "render"] {
        let finished = offline(&[("app.yaml", &wrong)], &[command, "-f", "app.yaml"]);
        assert_code(&finished, 2);
        let output = format!("{}{}", finished.stdout_text(), finished.stderr);
        assert_has(
            &output,
            &["app.yaml:11:9: ", "unknown annotation key", "app.yaml:12:9: ", "unknown format"],
        );
    }
}

#[test]
fn text_of_a_manifest_does_not_begin_a_line_of_the_report() {
    let named = DEPLOYMENT.replace("name: app}", "name: \"a\\n::error::b\"}");
    let finished = offline(&[("app.yaml", &named)], &["check", "-f", "app.yaml"]);
    assert_has(&finished.stdout_text(), &["Deployment/a ::error::b: "]);
}

#[test]
fn a_template_that_is_not_rendered_yet_is_recognized() {
    for command in ["check", "inject", "rbac", "render"] {
        let finished = offline(&[("app.yaml", "name: {{ .Release.Name }}x\n")], &[command, "-f", "app.yaml"]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["app.yaml: line 1", "of Helm for example, render it first"]);
    }
}

#[test]
fn render_prints_a_heading_for_each_of_several_templates() {
    let scene = Scene::plain();
    let pod = "---\n{apiVersion: v1, kind: Pod, metadata: {name: app-0, namespace: other, annotations: {podcreds.io/web.secret: prod/db}}}\n";
    let finished = render(&scene, &format!("{DEPLOYMENT}{SETTINGS}{pod}"), &["--reveal"]);
    assert_code(&finished, 0);
    assert_has(
        &finished.stdout_text(),
        &[
            "## Deployment/app in namespace prod\n\n# db.uri",
            "## Pod/app-0 in namespace other\n\n# web/password",
            PASSWORD,
        ],
    );
    let wrong = "---\n{apiVersion: v1, kind: Pod, metadata: {annotations: {podcreds.io/web.secret: 1}}}\n";
    let finished = render(&scene, wrong, &[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &[
            "app.yaml:2:",
            "annotation podcreds.io/web.secret is a number, and the API server accepts only text",
        ],
    );
    let finished = render(&scene, SETTINGS, &[]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["app.yaml has no annotation that begins with podcreds.io/"]);
}

#[test]
fn rbac_reads_the_prefix_that_the_container_has() {
    let own = DEPLOYMENT.replace("podcreds.io/", "x.io/");
    for args in [
        "args: [init, --annotation-prefix, x.io]",
        "args: [init], env: [{name: PODCREDS_ANNOTATION_PREFIX, value: x.io}]",
    ] {
        let manifest = own.replace("args: [init]", args);
        let finished = offline(&[("app.yaml", &manifest)], &["rbac", "-f", "app.yaml"]);
        assert_code(&finished, 0);
        assert_has(&finished.stdout_text(), &["      - db # x.io/db.secret of Deployment/app\n"]);
    }
    let finished = offline(&[("app.yaml", &own)], &["rbac", "-f", "app.yaml"]);
    assert_code(&finished, 2);
}

#[test]
fn the_prefix_that_the_container_has_cannot_add_lines_to_a_role() {
    let key = "\"x\\nrules: y/db.secret\"";
    let own = DEPLOYMENT.replace("podcreds.io/db.secret", key).replace("podcreds.io/db.", "x.io/");
    let manifest = own.replace("args: [init]", "args: [init, \"--annotation-prefix=x\\nrules: y\"]");
    let finished = offline(&[("app.yaml", &manifest)], &["rbac", "-f", "app.yaml"]);
    assert_code(&finished, 2);
    assert_eq!(finished.stdout_text(), "");
}

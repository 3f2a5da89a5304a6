//! `deploy/chart` and `deploy/component` in a real cluster: installed by Helm 3 and Helm 4, and by `kubectl apply -k`.

use std::ffi::OsStr;
use std::fs;

use serde_json::{Value, json};

use crate::examples;
use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::support::charts::{self, Charts, HELMS};
use crate::support::run::{poll_until, run};
use crate::support::skip::require;

/// A namespace that enforces the restricted Pod Security Standard, with the Secret of the examples.
fn namespace() -> Option<Namespace> {
    since(29, "native sidecars")?;
    pods::image()?;
    let namespace = Namespace::new()?;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    namespace.kubectl(&["label", "namespace", namespace.name(), restricted]);
    namespace.put_secret("shop-db", &SECRET);
    Some(namespace)
}

const SECRET: [(&str, &str); 5] = [
    ("host", "shop-db.example.internal"),
    ("port", "5432"),
    ("database", "shop"),
    ("username", "shop-test"),
    ("password", "test-only-not-a-real-password"),
];

const PRINTED: &str =
    "app: user shop-test at shop-db.example.internal:5432/shop, a password of 29 characters\n";

/// An image as repository and tag.
fn split(image: &str) -> (&str, &str) {
    image.rsplit_once(':').expect("the images of the tests have a tag")
}

/// Runs Helm in the namespace and returns what it printed.
fn helm(namespace: &Namespace, charts: &Charts, arguments: &[&OsStr]) -> String {
    let mut command = charts.command();
    namespace.connect(&mut command);
    command.args(arguments).args(["--namespace", namespace.name(), "--wait", "--timeout", "110s"]);
    let finished = run(command, PATIENCE);
    assert_eq!(finished.code, Some(0), "helm {arguments:?}: {}", finished.stderr);
    finished.stdout_text()
}

fn test_a_release(variable: &str) {
    let Some(program) = require(&format!("{variable} ({})", charts::INSTALL), charts::helm(variable)) else {
        return;
    };
    let Some(namespace) = namespace() else { return };
    let charts = Charts::new(&program);
    let (image, application) = (pods::image_name(), pods::app_image());
    let values = json!({
        "image": {"repository": split(&application).0, "tag": split(&application).1},
        "podcreds": {"image": {"repository": split(&image).0, "tag": split(&image).1}},
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    let chart = charts.example();
    let release = |command: &str, more: &[&str]| {
        let arguments = [command, "shop"].map(OsStr::new).into_iter();
        let arguments = arguments.chain([chart.as_os_str(), OsStr::new("--values"), file.path().as_os_str()]);
        helm(&namespace, &charts, &arguments.chain(more.iter().map(OsStr::new)).collect::<Vec<_>>())
    };

    release("install", &[]);
    assert_eq!(namespace.kubectl(&["logs", "deployment/shop", "-c", "app"]), PRINTED);
    let verbs = |namespace: &Namespace| namespace.get("role/shop-podcreds")["rules"][0]["verbs"].clone();
    assert_eq!(verbs(&namespace), json!(["get", "watch"]));

    // The sidecar follows the Secret, with the rights of the Role.
    let mut rotated = SECRET;
    rotated[4].1 = "test-only-rotated";
    namespace.put_secret("shop-db", &rotated);
    poll_until(PATIENCE, "the application sees the new password", || {
        let read = ["exec", "deployment/shop", "-c", "app", "--", "cat", "/podcreds/shop.env"];
        namespace.kubectl(&read).contains("test-only-rotated")
    });

    release("upgrade", &["--set", "podcreds.mode=init"]);
    let deployment = namespace.get("deployment/shop");
    let container = &deployment["spec"]["template"]["spec"]["initContainers"][0];
    assert_eq!((&container["args"], &container["restartPolicy"]), (&json!(["init"]), &Value::Null));
    assert_eq!(deployment["status"]["updatedReplicas"], 1);
    assert_eq!(deployment["status"]["readyReplicas"], 1);
    assert_eq!(verbs(&namespace), json!(["get"]));

    helm(&namespace, &charts, &["uninstall", "shop"].map(OsStr::new));
    for kind in ["deployments", "roles", "rolebindings"] {
        assert_eq!(namespace.kubectl(&["get", kind, "-o", "name"]), "", "{kind} of the release are gone");
    }
}

#[test]
fn helm_3_installs_upgrades_and_uninstalls_the_example() {
    test_a_release(HELMS[0]);
}

#[test]
fn helm_4_installs_upgrades_and_uninstalls_the_example() {
    test_a_release(HELMS[1]);
}

/// The objects of an example without podcreds, with the label for the component. Returns also the name of its workload.
fn labeled(directory: &str, kind: &str) -> Option<(Vec<Value>, String)> {
    let mut objects = examples::render(directory)?;
    let workload = examples::find(&mut objects, kind);
    workload["metadata"]["labels"]["podcreds.io/inject"] = "true".into();
    let name = workload["metadata"]["name"].as_str().unwrap().to_owned();
    let spec = &mut workload["spec"]["template"]["spec"];
    for field in ["initContainers", "volumes"] {
        spec.as_object_mut().unwrap().remove(field).expect(field);
    }
    spec["containers"][0].as_object_mut().unwrap().remove("volumeMounts").unwrap();
    // `kubectl apply -n` sets the namespace.
    objects.retain(|object| object["kind"] != "Namespace");
    for object in &mut objects {
        object["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    Some((objects, name))
}

#[test]
fn kubectl_applies_a_deployment_and_a_job_with_the_component() {
    let Some(namespace) = namespace() else { return };
    let Some((deployment, deployment_name)) = labeled("deploy/native-sidecar", "Deployment") else { return };
    let Some((mut job, job_name)) = labeled("deploy/job-init", "Job") else { return };
    examples::find(&mut job, "Job")["metadata"]["annotations"]["inject.podcreds.io/mode"] = "init".into();
    let directory = tempfile::tempdir().unwrap();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/component");
    charts::copy(&source, &directory.path().join("component"));
    let image = pods::image_name();
    let (repository, tag) = split(&image);
    for (name, objects) in [("deployment", deployment), ("job", job)] {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        fs::write(path.join("objects.yaml"), list.to_string()).unwrap();
        let kustomization = json!({
            "resources": ["objects.yaml"],
            "components": ["../component"],
            "images": [{"name": "podcreds", "newName": repository, "newTag": tag}],
        });
        fs::write(path.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        namespace.kubectl(&["apply", "-k", path.to_str().unwrap()]);
    }
    let deployment = format!("deployment/{deployment_name}");
    namespace.kubectl(&["rollout", "status", &deployment, "--timeout", "110s"]);
    assert_eq!(namespace.kubectl(&["logs", &deployment, "-c", "app"]), PRINTED);
    let job = format!("job/{job_name}");
    namespace.kubectl(&["wait", "--for=condition=Complete", &job, "--timeout", "110s"]);
    assert_eq!(namespace.kubectl(&["logs", &job, "-c", "app"]), PRINTED);
}

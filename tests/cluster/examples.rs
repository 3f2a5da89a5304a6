//! The examples of `deploy/` on a real cluster, with the images of the tests.

use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::native::{container_status, is_running, log};
use crate::pods;
use crate::requirements::since;
use crate::support::run::poll_until;

/// The output of every example's application after it has read its credentials.
pub(crate) const PRINTED: &str =
    "app: user shop-test at shop-db.example.internal:5432/shop, a password of 29 characters\n";

/// Renders an example and substitutes the images of the tests; `None` means that the test is skipped.
pub(crate) fn render(directory: &str) -> Option<Vec<Value>> {
    pods::image()?;
    let mut objects = kustomize(directory);
    objects.iter_mut().for_each(replace_images);
    Some(objects)
}

/// The objects of an example, with the images that it names.
pub(crate) fn kustomize(directory: &str) -> Vec<Value> {
    let root = env!("CARGO_MANIFEST_DIR");
    let rendered =
        Command::new("kubectl").args(["kustomize", &format!("{root}/{directory}")]).output().unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let documents = yaml_serde::Deserializer::from_slice(&rendered.stdout);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Replaces each `image` of a container and each `reference` of an image volume.
fn replace_images(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(image) if key == "image" || key == "reference" => {
                        let is_ours = image.starts_with("podcreds:");
                        *image = if is_ours { pods::image_name() } else { pods::app_image() };
                    }
                    other => replace_images(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_images),
        _ => {}
    }
}

/// The only object of this kind.
pub(crate) fn find<'a>(objects: &'a mut [Value], kind: &str) -> &'a mut Value {
    objects.iter_mut().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

pub(crate) fn apply(namespace: &Namespace, objects: &[Value]) {
    let mut list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    for object in list["items"].as_array_mut().unwrap() {
        object["metadata"]["namespace"] = namespace.name().into();
    }
    namespace.apply(&list);
}

/// The workload of an example, as kubectl names it: `deployment/app-exec`.
pub(crate) fn workload(objects: &[Value]) -> String {
    let kinds = ["Deployment", "StatefulSet", "Job", "CronJob"];
    let workload = objects.iter().find(|object| kinds.iter().any(|kind| object["kind"] == *kind)).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!("{}/{}", text(&workload["kind"]).to_lowercase(), text(&workload["metadata"]["name"]))
}

/// Waits until the Deployment of an example has rolled out, and returns its name as kubectl takes it.
pub(crate) fn rolled_out(namespace: &Namespace, objects: &[Value]) -> String {
    let deployment = workload(objects);
    let status = ["rollout", "status", &deployment, "--timeout", "110s"];
    assert!(namespace.kubectl(&status).contains("successfully rolled out"));
    deployment
}

/// The only pod of an example.
pub(crate) fn pod_of_example(namespace: &Namespace, objects: &[Value]) -> Value {
    let workload = workload(objects);
    let name = workload.split('/').next_back().unwrap();
    pod_of(namespace, &format!("app.kubernetes.io/name={name}")).expect("the Deployment keeps its pod")
}

/// The only pod with this label.
pub(crate) fn pod_of(namespace: &Namespace, label: &str) -> Option<Value> {
    let list = namespace.kubectl(&["get", "pods", "-l", label, "-o", "json"]);
    let mut list: Value = serde_json::from_str(&list).unwrap();
    let pods = list["items"].as_array_mut().unwrap();
    assert!(pods.len() < 2, "{label}: {} pods", pods.len());
    pods.pop()
}

#[test]
fn the_native_sidecar_example_runs_and_its_resource_requests_add_to_the_applications() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(objects) = render("deploy/native-sidecar") else { return };
    let Some(namespace) = Namespace::new() else { return };
    let hard = json!({"requests.cpu": "1", "requests.memory": "1Gi"});
    namespace.put("v1", "ResourceQuota", "requests", json!({"spec": {"hard": hard}}));
    let quota = || namespace.get("resourcequota/requests")["status"].take();
    poll_until(PATIENCE, "the quota counts", || quota()["used"]["requests.cpu"] == "0");
    apply(&namespace, &objects);
    let deployment = rolled_out(&namespace, &objects);
    assert_eq!(namespace.kubectl(&["logs", &deployment, "-c", "app"]), PRINTED);
    // Each container requests 10m and 16Mi. For an ordinary init container, the scheduler would count only the larger request.
    poll_until(PATIENCE, "the quota counts both containers", || {
        let used = &quota()["used"];
        used["requests.cpu"] == "20m" && used["requests.memory"] == "32Mi"
    });
}

/// The pod of an example's Job, after the Job has this condition, which it gets when the pod has ended.
fn ended_pod(namespace: &Namespace, job: &str, condition: &str) -> Value {
    poll_until(PATIENCE, &format!("{} {job} is {condition}", namespace.name()), || {
        let status = &namespace.get(&format!("job/{job}"))["status"];
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let has =
            |wanted: &str| conditions.iter().any(|one| one["type"] == wanted && one["status"] == "True");
        let other = if condition == "Failed" { "Complete" } else { "Failed" };
        assert!(!has(other), "{job}: {status:#}");
        has(condition)
    });
    pod_of(namespace, &format!("batch.kubernetes.io/job-name={job}")).expect("the Job keeps its pod")
}

fn exit_code(pod: &Value, container: &str) -> Option<i64> {
    container_status(&pod["status"], container)["state"]["terminated"]["exitCode"].as_i64()
}

#[test]
fn the_job_examples_complete_or_fail_as_their_applications_do() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(mut with_sidecar) = render("deploy/job") else { return };
    let Some(mut with_init) = render("deploy/job-init") else { return };
    let Some(namespace) = Namespace::new() else { return };
    let renamed = |objects: &mut [Value], name: &str| {
        let job = find(objects, "Job");
        job["metadata"]["name"] = name.into();
        // One batch instead of a minute's.
        let args = &mut job["spec"]["template"]["spec"]["containers"][0]["args"][0];
        *args = args.as_str().unwrap().replace("seq 12", "seq 1").into();
        job.clone()
    };
    let failing = |mut job: Value, name: &str| {
        job["metadata"]["name"] = name.into();
        job["spec"]["backoffLimit"] = 0.into();
        let args = &mut job["spec"]["template"]["spec"]["containers"][0]["args"][0];
        *args = format!("{}\nexit 42", args.as_str().unwrap()).into();
        job
    };
    let job = renamed(&mut with_sidecar, "sidecar");
    let jobs = [
        failing(job.clone(), "sidecar-failing"),
        renamed(&mut with_init, "init"),
        failing(find(&mut with_init, "Job").clone(), "init-failing"),
    ];
    apply(&namespace, &with_sidecar);
    // The account, the Role and the Secret of the second example.
    with_init.retain(|object| object["kind"] != "Job");
    apply(&namespace, &with_init);
    apply(&namespace, &jobs);
    for (job, condition, phase, code) in [
        ("sidecar", "Complete", "Succeeded", 0),
        ("sidecar-failing", "Failed", "Failed", 42),
        ("init", "Complete", "Succeeded", 0),
        ("init-failing", "Failed", "Failed", 42),
    ] {
        let pod = ended_pod(&namespace, job, condition);
        assert_eq!(pod["status"]["phase"], phase, "{job}");
        assert_eq!(exit_code(&pod, "app"), Some(code), "{job}");
        assert_eq!(exit_code(&pod, "podcreds"), Some(0), "{job}: podcreds has ended as well, by SIGTERM");
        assert!(!is_running(&pod["status"], "podcreds"), "{job}");
        let name = pod["metadata"]["name"].as_str().unwrap();
        assert_eq!(log(&namespace, name, "app"), PRINTED, "{job}");
    }
}

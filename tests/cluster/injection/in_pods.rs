//! Injected pods that run.

use serde_json::{Value, json};

use super::policies::{self, Policies};
use super::{has_token, init_container};
use crate::examples::{self, PRINTED, pod_of};
use crate::kubectl::PATIENCE;
use crate::native::{container_run, log};
use crate::pods;
use crate::requirements::since;
use crate::support::run::poll_until;

/// The policies with the images of the tests, for a namespace whose service account may watch the Secret `db`.
fn policies() -> Option<Policies> {
    since(36, "MutatingAdmissionPolicies")?;
    let objects = examples::render("deploy/injection")?;
    let namespace = pods::namespace()?;
    namespace.grant_watch(&["db"]);
    Some(Policies::install_for(namespace, &objects, &[]))
}

/// An example without the parts that the policy injects, but with the label.
fn without_podcreds(directory: &str, kind: &str) -> Option<Vec<Value>> {
    let mut example = examples::render(directory)?;
    let template = &mut examples::find(&mut example, kind)["spec"]["template"];
    template["metadata"]["labels"]["podcreds.io/inject"] = "true".into();
    let spec = &mut template["spec"];
    let mut remove = |parent: &str, field: &str| {
        spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).expect(field);
    };
    remove("", "initContainers");
    remove("", "volumes");
    remove("/containers/0", "volumeMounts");
    Some(example)
}

#[test]
fn an_injected_deployment_reads_its_credentials_and_follows_a_rotation() {
    let Some(policies) = policies() else { return };
    let namespace = &policies.namespace;
    let Some(mut example) = without_podcreds("deploy/native-sidecar", "Deployment") else { return };
    examples::apply(namespace, &example);
    let deployment = examples::rolled_out(namespace, &example);
    assert_eq!(namespace.kubectl(&["logs", &deployment, "-c", "app"]), PRINTED);
    let pod = pod_of(namespace, "podcreds.io/inject=true").expect("the ReplicaSet has a pod");
    assert!(has_token(init_container(&pod, "podcreds")));

    let secret = examples::find(&mut example, "Secret").clone();
    let mut rotated = secret;
    rotated["stringData"]["password"] = "test-only-rotated".into();
    examples::apply(namespace, &[rotated]);
    poll_until(PATIENCE, "the application sees the new password", || {
        let read = ["exec", &deployment, "-c", "app", "--", "cat", "/podcreds/shop.env"];
        namespace.kubectl(&read).contains("test-only-rotated")
    });
    let name = pod["metadata"]["name"].as_str().unwrap();
    let status = namespace.get(&format!("pod/{name}"))["status"].take();
    assert_eq!(container_run(&status, "podcreds").1, 0, "the liveness probe succeeds");
}

#[test]
fn an_injected_job_completes_with_an_ordinary_init_container() {
    let Some(policies) = policies() else { return };
    let namespace = &policies.namespace;
    let Some(mut example) = without_podcreds("deploy/job-init", "Job") else { return };
    let template = &mut examples::find(&mut example, "Job")["spec"]["template"];
    template["metadata"]["annotations"]["inject.podcreds.io/mode"] = "init".into();
    examples::apply(namespace, &example);
    namespace.kubectl(&[
        "wait",
        &examples::workload(&example),
        "--for",
        "condition=Complete",
        "--timeout",
        "110s",
    ]);
    let pod = pod_of(namespace, "podcreds.io/inject=true").expect("the Job keeps its pod");
    assert_eq!(init_container(&pod, "podcreds")["args"], json!(["init"]));
    assert_eq!(log(namespace, pod["metadata"]["name"].as_str().unwrap(), "app"), PRINTED);
}

#[test]
fn the_init_containers_of_an_injected_pod_of_root_find_their_files() {
    let Some(policies) = policies() else { return };
    let mut pod = policies::pod();
    pod["metadata"].as_object_mut().unwrap().remove("generateName");
    let reads = |name: &str| {
        let command =
            json!(["sh", "-c", "stat -c '%u %n' -L /podcreds/db/username; cat /podcreds/db/username"]);
        json!({"name": name, "image": pods::app_image(), "imagePullPolicy": "Never", "command": command})
    };
    pod["spec"]["securityContext"] = json!({"runAsUser": 0});
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["initContainers"] = json!([reads("setup")]);
    pod["spec"]["containers"] = json!([reads("app")]);
    let namespace = &policies.namespace;
    assert_eq!(pods::output(namespace, "root", pod), "65532 /podcreds/db/username\napp");
    assert_eq!(log(namespace, "root", "setup"), "65532 /podcreds/db/username\napp");
}

//! Real pods on a real kubelet, with an image that contains only the binary.

use std::env;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::requirements::node;
use crate::support::run::poll_until;
use crate::support::skip::require;

/// The image of the binary on the nodes, named by `PODCREDS_TEST_IMAGE`.
pub(crate) fn image_name() -> String {
    env::var("PODCREDS_TEST_IMAGE").unwrap_or_else(|_| "docker.io/local/podcreds:test".to_owned())
}

/// Loads the image onto the nodes once and returns its name; `None` means the test is skipped.
pub(crate) fn image() -> Option<String> {
    static LOADED: OnceLock<()> = OnceLock::new();
    node()?;
    let load = env::var_os("PODCREDS_TEST_LOAD_IMAGE");
    let load = require("PODCREDS_TEST_LOAD_IMAGE, which loads an image onto the nodes,", load)?;
    let binary = require("PODCREDS_TEST_BINARY, the static binary,", env::var_os("PODCREDS_TEST_BINARY"))?;
    LOADED.get_or_init(|| {
        let image = image_name();
        let status =
            Command::new(&load).arg(&binary).arg(&image).status().expect("the loading command starts");
        assert!(status.success(), "{load:?} {binary:?} {image}: {status}");
    });
    Some(image_name())
}

pub(crate) fn app_image() -> String {
    env::var("PODCREDS_TEST_APP_IMAGE").unwrap_or_else(|_| "docker.io/local/busybox:test".to_owned())
}

/// A namespace with the Secret `db` that its service account may read, in a cluster that can run pods of the image; `None`
/// means that the test is skipped.
pub(crate) fn namespace() -> Option<Namespace> {
    image()?;
    let namespace = Namespace::new()?;
    namespace.put_secret("db", &[("username", "app"), ("password", "it's a \"test\" $password")]);
    namespace.grant_least(&["db"]);
    Some(namespace)
}

/// A pod with podcreds as its init container and an application that runs a script.
pub(crate) fn pod(annotations: Value, init_user: u32, app_user: u32, script: &str) -> Value {
    let mount = |read_only| json!([{"name": "credentials", "mountPath": "/podcreds", "readOnly": read_only}]);
    let hardened = |user: u32| {
        json!({
            "runAsUser": user,
            "runAsNonRoot": user != 0,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    };
    json!({
        "metadata": {"annotations": annotations},
        "spec": {
            "serviceAccountName": "app",
            "restartPolicy": "Never",
            "volumes": [{"name": "credentials", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}],
            "initContainers": [{
                "name": "podcreds",
                "image": image_name(),
                "imagePullPolicy": "Never",
                "args": ["init"],
                "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "securityContext": hardened(init_user),
                "volumeMounts": mount(false),
            }],
            "containers": [{
                "name": "app",
                "image": app_image(),
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", script],
                "securityContext": hardened(app_user),
                "volumeMounts": mount(true),
            }],
        },
    })
}

/// Like [`pod`], with podcreds also as an ordinary sidecar container that keeps the files current.
pub(crate) fn pod_with_sidecar(annotations: Value, user: u32, app_user: u32, script: &str) -> Value {
    let mut pod = pod(annotations, user, app_user, script);
    let mut sidecar = pod["spec"]["initContainers"][0].clone();
    sidecar["name"] = "sidecar".into();
    sidecar["args"] = json!(["sidecar"]);
    push(&mut pod["spec"]["containers"], sidecar);
    pod
}

/// Starts the pod and waits until all its containers run.
pub(crate) fn start(namespace: &Namespace, name: &str, pod: Value) {
    namespace.put("v1", "Pod", name, pod);
    running(namespace, name);
}

/// Waits until all containers of the pod run.
pub(crate) fn running(namespace: &Namespace, name: &str) {
    namespace.pod_status(name, "runs", |status| {
        let statuses = status["containerStatuses"].as_array();
        statuses.is_some_and(|all| all.iter().all(|container| container["ready"] == true))
    });
}

pub(crate) fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}

pub(crate) fn ended(status: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&status["phase"].as_str().unwrap_or_default())
}

/// Runs the pod to its end and returns what its application printed.
pub(crate) fn output(namespace: &Namespace, name: &str, pod: Value) -> String {
    namespace.put("v1", "Pod", name, pod);
    let status = namespace.pod_status(name, "ends", ended);
    assert_eq!(status["phase"], "Succeeded", "{status:#}");
    namespace.kubectl(&["logs", name, "-c", "app"])
}

/// Runs a pod whose init container fails, and returns podcreds' exit code and termination message.
fn failure(namespace: &Namespace, name: &str, pod: Value) -> (i64, String) {
    namespace.put("v1", "Pod", name, pod);
    let status = namespace.pod_status(name, "fails", ended);
    termination(&status, "podcreds").expect("podcreds has terminated")
}

/// The exit code and the termination message of a container; `None` means that it has not terminated.
pub(crate) fn termination(status: &Value, container: &str) -> Option<(i64, String)> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| status[list].as_array());
    let found = lists.into_iter().flatten().flatten().find(|one| one["name"] == container)?;
    let terminated = &found["state"]["terminated"];
    Some((terminated["exitCode"].as_i64()?, terminated["message"].as_str().unwrap_or_default().to_owned()))
}

const READ_FILES: &str = "cat /podcreds/db/username; echo; . /podcreds/app.env; echo \"$PASSWORD\"; stat -c '%a %g %n' -L /podcreds/db/password";

fn annotations() -> Value {
    json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/app.secret": "db",
        "podcreds.io/app.format": "env",
        "podcreds.io/app.keys": "PASSWORD=password",
    })
}

#[test]
fn a_pod_of_any_user_can_read_its_files() {
    let Some(namespace) = namespace() else { return };
    let printed = output(&namespace, "plain", pod(annotations(), 12_345, 23_456, READ_FILES));
    assert_eq!(printed, "app\nit's a \"test\" $password\n444 0 /podcreds/db/password\n");
}

#[test]
fn with_fs_group_only_that_group_can_read_the_files() {
    let Some(namespace) = namespace() else { return };
    let mut grouped = pod(annotations(), 12_345, 23_456, READ_FILES);
    grouped["spec"]["securityContext"] = json!({"fsGroup": 2000});
    let printed = output(&namespace, "grouped", grouped);
    assert_eq!(printed, "app\nit's a \"test\" $password\n440 2000 /podcreds/db/password\n");
}

#[test]
fn a_volume_on_disk_works_like_a_memory_volume() {
    let Some(namespace) = namespace() else { return };
    let mut on_disk = pod(annotations(), 12_345, 12_345, READ_FILES);
    on_disk["spec"]["volumes"][0]["emptyDir"] = json!({});
    assert!(output(&namespace, "disk", on_disk).starts_with("app\nit's a \"test\" $password\n"));
}

#[test]
fn the_termination_message_names_a_missing_right() {
    let Some(namespace) = namespace() else { return };
    namespace.grant_least(&["another"]);
    let mut refused = pod(annotations(), 12_345, 12_345, READ_FILES);
    refused["spec"]["initContainers"][0]["args"] = json!(["init", "--timeout", "2s"]);
    let (code, message) = failure(&namespace, "refused", refused);
    assert_eq!(code, 3, "{message}");
    for part in ["Secret ", "/db: forbidden: ", "resourceNames: [db], verbs: [get]}"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_termination_message_suggests_the_correct_annotation_key() {
    let Some(namespace) = namespace() else { return };
    let (code, message) =
        failure(&namespace, "wrong", pod(json!({"podcreds.io/db.secert": "db"}), 12_345, 12_345, READ_FILES));
    assert_eq!(code, 2, "{message}");
    assert!(
        message.contains("podcreds.io/db.secert: ") && message.contains("did you mean \"secret\"?"),
        "{message}"
    );
}

#[test]
fn annotations_from_the_downward_api_need_no_rights_on_pods() {
    let Some(namespace) = namespace() else { return };
    let rule =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get"]});
    namespace.grant(&json!([rule]));
    let mut annotations = annotations();
    annotations["example.com/hostile"] = "tab\t\"quotes\" \\ new\nline é \u{7f}".into();
    let mut from_file = pod(annotations, 12_345, 12_345, READ_FILES);
    let items = json!([{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]);
    push(&mut from_file["spec"]["volumes"], json!({"name": "podinfo", "downwardAPI": {"items": items}}));
    let init = &mut from_file["spec"]["initContainers"][0];
    init["args"] = json!(["init", "--annotations-file", "/etc/podinfo/annotations"]);
    push(
        &mut init["volumeMounts"],
        json!({"name": "podinfo", "mountPath": "/etc/podinfo", "readOnly": true}),
    );
    assert!(output(&namespace, "downward", from_file).starts_with("app\nit's a \"test\" $password\n"));
}

/// A pod whose application is started by `podcreds exec` from the volume, because its image does not contain podcreds.
fn pod_with_exec(command: &Value) -> Value {
    let annotations = json!({
        "podcreds.io/app.secret": "db",
        "podcreds.io/app.format": "env",
        "podcreds.io/app.keys": "APP_USER=username, APP_PASSWORD=password",
    });
    let mut pod = pod(annotations, 12_345, 23_456, "");
    let mut install = pod["spec"]["initContainers"][0].clone();
    install["name"] = "install".into();
    install["args"] = json!(["install", "/podcreds/bin/podcreds"]);
    push(&mut pod["spec"]["initContainers"], install);
    pod["spec"]["containers"][0]["command"] = command.clone();
    pod
}

/// The exit code and the output of a pod's application.
fn end_of_app(namespace: &Namespace, name: &str) -> (i64, String) {
    let status = namespace.pod_status(name, "ends", ended);
    let terminated = &status["containerStatuses"][0]["state"]["terminated"];
    let code = terminated["exitCode"].as_i64().unwrap_or_else(|| panic!("no exit code: {status:#}"));
    (code, namespace.kubectl(&["logs", name, "-c", "app"]))
}

#[test]
fn exec_from_the_volume_replaces_itself_with_the_application() {
    let Some(namespace) = namespace() else { return };
    // The application runs as a different user than podcreds, with the volume read-only.
    let script = "echo $APP_USER \"$APP_PASSWORD\"; tr '\\0' ' ' < /proc/1/cmdline; exit 42";
    let exec = json!(["/podcreds/bin/podcreds", "exec", "--", "sh", "-c", script]);
    namespace.put("v1", "Pod", "exec", pod_with_exec(&exec));
    let (code, printed) = end_of_app(&namespace, "exec");
    assert_eq!(printed, format!("app it's a \"test\" $password\nsh -c {script} "));
    assert_eq!(code, 42, "the container's exit code is the program's");
}

#[test]
fn a_signal_to_the_container_reaches_the_program() {
    let Some(namespace) = namespace() else { return };
    let script = "trap 'echo $APP_USER ends; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let exec = json!(["/podcreds/bin/podcreds", "exec", "--", "sh", "-c", script]);
    start(&namespace, "signals", pod_with_exec(&exec));
    poll_until(PATIENCE, "the trap is set", || {
        namespace.kubectl(&["logs", "signals", "-c", "app"]).contains("ready")
    });
    // The kubelet also sends signals to the first process of the container.
    namespace.exec_to_the_end("signals", "app", &["kill", "-TERM", "1"]);
    assert_eq!(end_of_app(&namespace, "signals"), (7, "ready\napp ends\n".to_owned()));
}

#[test]
fn exec_with_render_needs_no_files_in_the_volume() {
    let Some(namespace) = namespace() else { return };
    let exec = json!([
        "/podcreds/bin/podcreds",
        "exec",
        "--render",
        "--",
        "sh",
        "-c",
        "echo $APP_USER; ls /podcreds"
    ]);
    let mut pod = pod_with_exec(&exec);
    let spec = &mut pod["spec"];
    spec["initContainers"][0] = spec["initContainers"][1].take();
    spec["initContainers"].as_array_mut().unwrap().truncate(1);
    spec["containers"][0]["env"] = spec["initContainers"][0]["env"].clone();
    assert_eq!(output(&namespace, "render", pod), "app\nbin\n");
}

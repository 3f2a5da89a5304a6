//! `check` of a workload in the cluster: the manifest, the objects and rights that it needs, and its files.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::run::{Finished, run};
use crate::support::server::{Kind, Verb};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const CORE: &str = "/api/v1/namespaces/prod";

/// The pod template of an application with a native sidecar. `annotations` are added to those that name the Secret.
fn template(annotations: &Value) -> Value {
    let mut all = json!({"podcreds.io/db.secret": "db"});
    for (key, value) in annotations.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({
        "metadata": {"annotations": all},
        "spec": {
            "serviceAccountName": "app",
            "initContainers": [{
                "name": "podcreds",
                "image": "podcreds:test",
                "args": ["sidecar"],
                "restartPolicy": "Always",
                "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "startupProbe": {"exec": {"command": ["/bin/podcreds", "probe"]}},
                "volumeMounts": [{"name": "podcreds", "mountPath": "/podcreds"}],
            }],
            "containers": [{
                "name": "app",
                "image": "app:test",
                "volumeMounts": [{"name": "podcreds", "mountPath": "/podcreds", "readOnly": true}],
            }],
            "volumes": [{"name": "podcreds", "emptyDir": {"medium": "Memory"}}],
        },
    })
}

/// A Deployment with this template, and the objects that it names. The Secret has the keys `username` and `password`.
fn scene(template: &Value) -> Scene {
    let scene = Scene::plain();
    let metadata = |name: &str| json!({"name": name, "namespace": "prod"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("app"), "spec": {"template": template},
    });
    let path = "/apis/apps/v1/namespaces/prod/deployments/app";
    scene.server.put_raw(path, &deployment.to_string());
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("app")});
    scene.server.put_raw(&format!("{CORE}/serviceaccounts/app"), &account.to_string());
    scene
}

fn check(scene: &Scene, args: &[&str]) -> Finished {
    run(scene.command(&[&["check"], args].concat()), HANGS)
}

#[track_caller]
fn report(scene: &Scene, args: &[&str], code: i32) -> String {
    let finished = check(scene, args);
    assert_code(&finished, code);
    let text = finished.stdout_text();
    assert!(!text.contains(PASSWORD) && !finished.stderr.contains(PASSWORD), "{text}");
    text
}

#[test]
fn a_workload_that_has_everything_has_no_findings() {
    let scene = scene(&template(&json!({})));
    assert_eq!(
        report(&scene, &["--strict", "deploy/app"], 0),
        "no problems; 1 pod template, 1 with podcreds\n"
    );
}

#[test]
fn what_the_template_shows_has_the_code_of_a_wrong_manifest() {
    let mut template = template(&json!({}));
    template["spec"]["automountServiceAccountToken"] = false.into();
    template["spec"]["initContainers"][0]["volumeMounts"][0]["readOnly"] = true.into();
    let scene = scene(&template);
    scene.server.forbid_kind(Verb::Watch, Kind::Secret);
    let report = report(&scene, &["deploy/app"], 2);
    assert_has(
        &report,
        &[
            "error: Deployment/app: automountServiceAccountToken is false",
            "error: Deployment/app: init container podcreds mounts the volume podcreds read-only",
            "error: Deployment/app: ServiceAccount prod/app may not watch Secret prod/db [cluster]",
            "\n3 errors; 1 pod template, 1 with podcreds\n",
        ],
    );
}

#[test]
fn missing_objects_and_rights_have_a_code_of_their_own() {
    let annotations = json!({"podcreds.io/ca.configmap": "ca", "podcreds.io/old.secret": "old", "podcreds.io/old.optional": "true"});
    let scene = scene(&template(&annotations));
    scene.server.forbid_kind(Verb::Watch, Kind::Secret);
    let report = report(&scene, &["deploy/app"], 3);
    assert_has(
        &report,
        &[
            "ConfigMap prod/ca does not exist (annotation podcreds.io/ca.configmap) [cluster]\n",
            "may not watch Secret prod/db [cluster]\n    a Role in namespace prod",
            "{apiGroups: [\"\"], resources: [secrets], resourceNames: [db], verbs: [get, watch]}\n",
        ],
    );
    assert!(!report.contains("Secret prod/old does not exist"), "{report}");
}

#[test]
fn files_that_cannot_be_rendered_are_reported_as_render_does() {
    let scene = scene(&template(&json!({"podcreds.io/db.keys": "user=usrname, password"})));
    let report = report(&scene, &["deploy/app"], 3);
    assert_has(&report, &["credential db: key usrname not found in Secret prod/db", "[cluster]\n"]);
}

#[test]
fn what_the_user_may_not_read_is_a_warning() {
    let scene = scene(&template(&json!({})));
    scene.server.forbid(Kind::Secret, "prod", "db");
    let report = report(&scene, &["deploy/app"], 3);
    assert_has(&report, &["warning: Deployment/app: get Secret prod/db: forbidden", "[cluster-note]\n"]);
}

#[test]
fn servers_are_connected_to_only_on_request() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let set = format!("host=127.0.0.1, port={port}, database=shop");
    let annotations = json!({"podcreds.io/db.format": "uri", "podcreds.io/db.engine": "postgresql", "podcreds.io/db.set": set});
    let scene = scene(&template(&annotations));
    report(&scene, &["--connect", "deploy/app"], 0);
    drop(server);
    report(&scene, &["deploy/app"], 0);
    let report = report(&scene, &["--connect", "deploy/app"], 4);
    assert_has(
        &report,
        &[&format!("credential db: cannot connect to its server, port {port}: Connection refused")],
    );
}

#[test]
fn without_arguments_it_checks_its_own_pod() {
    let scene = scene(&template(&json!({})));
    let mut pod = template(&json!({}));
    (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
    pod["spec"]["containers"][0]["volumeMounts"] = json!([]);
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    let report = report(&scene, &[], 2);
    assert_has(&report, &["error: Pod/app-0: no container of the application mounts the volume podcreds"]);
}

#[test]
fn a_workload_that_cannot_be_read_fails_the_check() {
    let scene = scene(&template(&json!({})));
    let missing = check(&scene, &["deploy/other"]);
    assert_code(&missing, 3);
    assert!(missing.stderr.contains("Deployment prod/other: "), "{}", missing.stderr);
    scene.server.stop();
    assert_code(&check(&scene, &["--timeout=1s", "deploy/app"]), 4);
}

/// The account of a pod may read what podcreds needs, and nothing else.
#[test]
fn in_its_own_pod_only_what_podcreds_needs_is_missed() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    drop(server);
    let set = format!("host=127.0.0.1, port={port}, database=shop");
    let annotations = json!({"podcreds.io/db.format": "uri", "podcreds.io/db.engine": "postgresql", "podcreds.io/db.set": set});
    let scene = scene(&template(&annotations));
    let mut pod = template(&annotations);
    (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
    let config_map = json!({"name": "root", "configMap": {"name": "kube-root-ca.crt"}});
    pod["spec"]["volumes"].as_array_mut().unwrap().push(config_map);
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    scene.server.forbid(Kind::ConfigMap, "prod", "kube-root-ca.crt");
    let own = report(&scene, &["--strict"], 0);
    assert_eq!(own, "no problems; 1 pod template, 1 with podcreds\n");
    let other = report(&scene, &["pod/app-0"], 0);
    assert_has(&other, &["warning: Pod/app-0: get ConfigMap prod/kube-root-ca.crt: forbidden"]);
    let own = report(&scene, &["--connect"], 4);
    assert_has(&own, &["Connection refused", "    check the server, its name and port"]);
    assert!(!own.contains("run it in the pod"), "{own}");
}

#[test]
fn a_pod_that_cannot_start_is_a_finding() {
    let scene = scene(&template(&json!({})));
    let mut pod = template(&json!({}));
    (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
    let waiting =
        json!({"reason": "ImagePullBackOff", "message": "Back-off pulling image \"podcreds:test\""});
    pod["status"] = json!({"initContainerStatuses": [{"name": "podcreds", "state": {"waiting": waiting}}]});
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    let report = report(&scene, &["pod/app-0"], 3);
    assert_has(
        &report,
        &[
            "error: Pod/app-0: init container podcreds does not start: ImagePullBackOff; Back-off pulling image \"podcreds:test\" [not-starting]\n",
        ],
    );
}

#[test]
fn a_workload_whose_newest_pods_cannot_start_has_a_finding() {
    let scene = scene(&template(&json!({})));
    let metadata = json!({"name": "app", "namespace": "prod", "uid": "u1"});
    let spec = json!({"selector": {"matchLabels": {"app": "app"}}, "template": template(&json!({}))});
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
    scene.server.put_raw("/apis/apps/v1/namespaces/prod/deployments/app", &deployment.to_string());
    let pod = |name: &str, time: &str, owner: &str, reason: &str| {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner});
        let mut pod = template(&json!({}));
        (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["namespace"] = "prod".into();
        pod["metadata"]["creationTimestamp"] = time.into();
        pod["metadata"]["ownerReferences"] = json!([owner]);
        let status = json!({"name": "podcreds", "state": {"waiting": {"reason": reason}}});
        pod["status"] = json!({"initContainerStatuses": [status]});
        scene.server.put_raw(&format!("{CORE}/pods/{name}"), &pod.to_string());
        pod
    };
    let list = |pods: &[Value]| {
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods});
        scene.server.put_raw(&format!("{CORE}/pods"), &list.to_string());
    };
    let newest = pod("app-2-b", "2026-01-02T00:00:00Z", "app-2", "CrashLoopBackOff");
    let old = pod("app-1-a", "2026-01-01T00:00:00Z", "app-1", "ErrImagePull");
    let foreign = pod("other-1-a", "2026-01-03T00:00:00Z", "app-x-1", "ErrImagePull");
    list(&[old, newest, foreign]);
    let report = report(&scene, &["deploy/app"], 3);
    let first =
        "error: Pod/app-2-b: init container podcreds does not start: CrashLoopBackOff [not-starting]\n";
    assert_has(&report, &[first, "kubectl -n prod logs app-2-b -c podcreds --previous"]);
    assert_eq!(report.matches("[not-starting]").count(), 1, "{report}");
}

/// An Argo Rollout that takes over from a Deployment of the same name has ReplicaSets with such names, too.
#[test]
fn pods_of_another_owner_of_the_same_name_are_not_the_deployments() {
    let scene = scene(&template(&json!({})));
    let metadata = json!({"name": "app", "namespace": "prod", "uid": "u1"});
    let spec = json!({"selector": {"matchLabels": {"app": "app"}}, "template": template(&json!({}))});
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
    scene.server.put_raw("/apis/apps/v1/namespaces/prod/deployments/app", &deployment.to_string());
    let owned = |name: &str, kind: &str, owner: &str, uid: &str| {
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": uid});
        json!({"name": name, "namespace": "prod", "uid": name, "ownerReferences": [owner]})
    };
    let list = |path: &str, metadata: &[Value]| {
        let items: Vec<_> = metadata.iter().map(|metadata| json!({ "metadata": metadata })).collect();
        scene.server.put_raw(path, &json!({"metadata": {}, "items": items}).to_string());
    };
    let own = owned("app-1", "Deployment", "app", "u1");
    let foreign = owned("app-2", "Rollout", "app", "u2");
    list("/apis/apps/v1/namespaces/prod/replicasets", &[own, foreign]);
    let mut pods =
        [owned("app-1-a", "ReplicaSet", "app-1", "app-1"), owned("app-2-b", "ReplicaSet", "app-2", "app-2")];
    pods[1]["creationTimestamp"] = "2026-01-03T00:00:00Z".into();
    list(&format!("{CORE}/pods"), &pods);
    for metadata in pods {
        let mut pod = template(&json!({}));
        (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
        let status = json!({"name": "podcreds", "state": {"waiting": {"reason": "ErrImagePull"}}});
        pod["status"] = json!({"initContainerStatuses": [status]});
        let name = metadata["name"].as_str().unwrap().to_owned();
        pod["metadata"] = metadata;
        scene.server.put_raw(&format!("{CORE}/pods/{name}"), &pod.to_string());
    }
    let found = report(&scene, &["deploy/app"], 3);
    assert_has(&found, &["error: Pod/app-1-a: init container podcreds does not start: ErrImagePull"]);
    assert!(!found.contains("app-2-b"), "{found}");
    // A pod that is gone when it is read says nothing, and one that is unreadable does not hide the rest.
    let pod = format!("{CORE}/pods/app-1-a");
    scene.server.put_raw(&pod, "null");
    assert_has(&report(&scene, &["deploy/app"], 0), &["no problems"]);
    scene.server.put_raw(&pod, "{\"kind\": [");
    assert_has(
        &report(&scene, &["deploy/app"], 0),
        &["warning: Deployment/app: the response of the API server"],
    );
    scene.server.delete(Kind::Pod, "prod", "app-1-a");
    assert_has(&report(&scene, &["deploy/app"], 0), &["no problems"]);
}

#[test]
fn the_prefix_that_the_container_has_is_read_in_the_cluster_too() {
    let mut own = template(&json!({}));
    own["metadata"]["annotations"] = json!({"x.io/db.secret": "gone"});
    own["spec"]["initContainers"][0]["args"] = json!(["sidecar", "--annotation-prefix=x.io"]);
    let scene = scene(&own);
    let found = report(&scene, &["deploy/app"], 3);
    assert_has(&found, &["error: Deployment/app: Secret prod/gone does not exist"]);
    let finished = run(scene.command(&["rbac", "deploy/app"]), HANGS);
    assert_code(&finished, 0);
    assert_has(&finished.stdout_text(), &["      - gone # x.io/db.secret of Deployment/app\n"]);
}

#[test]
fn a_failed_pod_that_a_newer_one_has_replaced_is_not_reported() {
    let scene = scene(&template(&json!({})));
    let metadata = json!({"name": "load", "namespace": "prod", "uid": "u1"});
    let mut own = template(&json!({}));
    own["spec"]["initContainers"][0]["args"] = json!(["init"]);
    for key in ["restartPolicy", "startupProbe"] {
        own["spec"]["initContainers"][0].as_object_mut().unwrap().remove(key);
    }
    own["spec"]["restartPolicy"] = "Never".into();
    let spec = json!({"selector": {"matchLabels": {"job": "u1"}}, "template": own});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec});
    scene.server.put_raw("/apis/batch/v1/namespaces/prod/jobs/load", &job.to_string());
    let put = |codes: [u8; 2]| {
        let mut pods = Vec::new();
        for (index, code) in codes.into_iter().enumerate() {
            let name = format!("load-{index}");
            let mut pod = own.clone();
            (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
            let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "load", "uid": "u1"});
            let time = format!("2026-01-0{}T00:00:00Z", index + 1);
            pod["metadata"] = json!({"name": name, "namespace": "prod", "creationTimestamp": time, "ownerReferences": [owner]});
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let status = json!({"name": "podcreds", "state": {"terminated": {"exitCode": code}}});
            pod["status"] = json!({"phase": phase, "initContainerStatuses": [status]});
            scene.server.put_raw(&format!("{CORE}/pods/{name}"), &pod.to_string());
            pods.push(pod);
        }
        scene.server.put_raw(&format!("{CORE}/pods"), &json!({"metadata": {}, "items": pods}).to_string());
    };
    put([3, 0]);
    assert_has(&report(&scene, &["job/load"], 0), &["1 pod template, 1 with podcreds"]);
    put([0, 3]);
    let failed = "error: Pod/load-1: init container podcreds does not start: it ended with exit code 3";
    assert_has(&report(&scene, &["job/load"], 3), &[failed]);
}

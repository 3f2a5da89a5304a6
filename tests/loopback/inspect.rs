//! What `inspect` reads and shows, limited by RBAC, and what it never shows.

use std::sync::Arc;
use std::time::Duration;

use podcreds::inspect::clusters::{NamedClient, survey};
use podcreds::kube::Client;
use podcreds::kube::config::clusters_file::Labels;
use podcreds::kube::config::in_cluster;
use serde_json::{Value, json};

use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};
use crate::support::server::{ApiServer, BlackHole, Fault, Kind, TOKEN, Times, Verb};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// The value of an environment variable in the pod's spec.
const VARIABLE: &str = "test-variable-5c1d";
/// The value of an annotation that is not podcreds'.
const FOREIGN: &str = "test-annotation-e0b8";

const APPS: &str = "/apis/apps/v1/namespaces/prod";
const CORE: &str = "/api/v1/namespaces/prod";
const REVIEW: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const OWN_REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

fn owner(api_version: &str, kind: &str, name: &str) -> Value {
    json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}])
}

/// Object metadata with a predictable uid.
fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": "prod", "uid": format!("uid-{name}")})
}

fn put(server: &ApiServer, path: &str, metadata: Value, rest: Value) {
    let mut object = rest;
    object["metadata"] = metadata;
    server.put_raw(path, &object.to_string());
}

fn pod_spec() -> Value {
    json!({
        "serviceAccountName": "app",
        "nodeName": "node-1",
        "volumes": [
            {"name": "certs", "secret": {"secretName": "tls"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        ],
        "containers": [{
            "name": "app",
            "env": [
                {"name": "PLAIN", "value": VARIABLE},
                {"name": "USER", "valueFrom": {"secretKeyRef": {"name": "db", "key": "username"}}},
                {"name": "EXTRA", "valueFrom": {"secretKeyRef": {"name": "extra", "key": "x", "optional": true}}},
            ],
        }],
    })
}

/// The same with an init container that has these `args`.
fn pod_spec_with(args: &[&str]) -> Value {
    let mut spec = pod_spec();
    spec["initContainers"] = json!([{"name": "podcreds", "image": "podcreds:test", "args": args}]);
    spec
}

fn annotations() -> Value {
    json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/db.configmap": "settings",
        "podcreds.io/db.set": "options=test-literal",
        "example.com/note": FOREIGN,
    })
}

/// A pod of a Deployment on a node, with everything it uses except the Secret `tls`. Its containers do not show how they run
/// podcreds.
fn scene() -> Scene {
    scene_with(&[])
}

/// The same with an init container that has these `args`.
fn scene_with(args: &[&str]) -> Scene {
    let scene = Scene::plain();
    let server = &scene.server;
    server.put_object(
        Kind::Pod,
        "prod",
        "app-0",
        json!({
            "metadata": {"annotations": annotations(), "ownerReferences": owner("apps/v1", "ReplicaSet", "app-1")},
            "spec": pod_spec_with(args),
            "status": {"phase": "Running"},
        }),
    );
    let mut set = metadata("app-1");
    set["ownerReferences"] = owner("apps/v1", "Deployment", "app");
    put(server, &format!("{APPS}/replicasets/app-1"), set, json!({}));
    put(server, &format!("{APPS}/deployments/app"), metadata("app"), json!({}));
    let status = json!({
        "conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"kubeletVersion": "v1.34.1"},
    });
    put(server, "/api/v1/nodes/node-1", json!({"name": "node-1"}), json!({ "status": status }));
    put(server, &format!("{CORE}/serviceaccounts/app"), metadata("app"), json!({}));
    let claim = json!({"spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}});
    put(server, &format!("{CORE}/persistentvolumeclaims/data"), metadata("data"), claim);
    server.put_configmap("prod", "settings", &[("host", "db")], &[]);
    scene
}

fn inspect(scene: &Scene, args: &[&str]) -> Finished {
    run(scene.command(&[&["inspect"], args].concat()), HANGS)
}

/// The standard output of a successful run.
#[track_caller]
fn tree(scene: &Scene, args: &[&str]) -> String {
    let finished = inspect(scene, args);
    assert_code(&finished, 0);
    finished.stdout_text()
}

#[test]
fn a_pod_shows_its_owners_node_service_account_and_sources() {
    let scene = scene();
    let expected = "\
Pod prod/app-0 (Running)
├── owned by ReplicaSet app-1
│   └── owned by Deployment app
├── runs on Node node-1 (ready, kubelet v1.34.1)
├── runs as ServiceAccount app
│   ├── may get Pod app-0
│   ├── may get and watch Secret db
│   └── may get and watch ConfigMap settings
├── uses Secret db: env USER of container app, annotation podcreds.io/db.secret
├── uses Secret extra (missing, optional): env EXTRA of container app
├── uses Secret tls (missing): volume certs
├── uses ConfigMap settings: annotation podcreds.io/db.configmap
└── uses PersistentVolumeClaim data (Bound, volume pv-1): volume data
";
    assert_eq!(tree(&scene, &[]), expected);
}

#[test]
fn each_object_is_read_once_and_secrets_only_as_metadata() {
    let scene = scene();
    tree(&scene, &[]);
    let expected = [
        "GET /api/v1/namespaces/prod/pods/app-0",
        "GET /apis/apps/v1/namespaces/prod/replicasets/app-1",
        "GET /apis/apps/v1/namespaces/prod/deployments/app",
        "GET /api/v1/nodes/node-1",
        "GET /api/v1/namespaces/prod/serviceaccounts/app",
        "GET /api/v1/namespaces/prod/secrets/db",
        "GET /api/v1/namespaces/prod/secrets/extra",
        "GET /api/v1/namespaces/prod/secrets/tls",
        "GET /api/v1/namespaces/prod/configmaps/settings",
        "GET /api/v1/namespaces/prod/persistentvolumeclaims/data",
        "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
        "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
        "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
        "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
        "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
    ];
    assert_eq!(scene.server.request_lines(), expected);
    let requests = scene.server.requests();
    for request in requests.iter().filter(|r| r.path.contains("/secrets/") || r.path.contains("/configmaps/"))
    {
        assert!(request.header("accept").unwrap().starts_with("application/json;as=PartialObjectMetadata;"));
    }
    let review: Value = serde_json::from_slice(&requests[12].body).unwrap();
    assert_eq!(
        review["spec"],
        json!({
            "user": "system:serviceaccount:prod:app",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated"],
            "resourceAttributes":
                {"namespace": "prod", "verb": "watch", "group": "", "resource": "secrets", "name": "db"},
        })
    );
}

#[test]
fn each_refusal_is_shown_with_the_rule_that_grants_it() {
    let scene = scene_with(&["sidecar"]);
    scene.server.forbid_kind(Verb::Get, Kind::Secret);
    scene.server.forbid_kind(Verb::Watch, Kind::ConfigMap);
    for path in [
        &format!("{APPS}/replicasets/app-1"),
        "/api/v1/nodes/node-1",
        &format!("{CORE}/serviceaccounts/app"),
        &format!("{CORE}/persistentvolumeclaims/data"),
    ] {
        scene.server.refuse(path);
    }
    let tree = tree(&scene, &[]);
    let role = "a Role in namespace prod, bound to the current user by a RoleBinding there, needs the rule";
    let account =
        "a Role in namespace prod, bound to the pod's service account by a RoleBinding there, needs the rule";
    assert_has(
        &tree,
        &[
            "owned by ReplicaSet app-1 (could not be read)\n",
            "runs on Node node-1 (could not be read)\n",
            &format!(
                "may watch, may not get Secret db: {account} {{apiGroups: [\"\"], resources: [secrets], resourceNames: [db], verbs: [get, watch]}}\n"
            ),
            "may get, may not watch ConfigMap settings: ",
            "uses Secret tls (could not be read): volume certs\n",
            "\ncould not be read:\n  get ReplicaSet prod/app-1: forbidden: ",
            &format!("; {role} {{apiGroups: [apps], resources: [replicasets], verbs: [get]}}\n"),
            "; a ClusterRole, bound to the current user by a ClusterRoleBinding, needs the rule {apiGroups: [\"\"], resources: [nodes], verbs: [get]}\n",
            &format!(
                "; {role} {{apiGroups: [\"\"], resources: [serviceaccounts], resourceNames: [app], verbs: [get]}}\n"
            ),
            &format!(
                "; {role} {{apiGroups: [\"\"], resources: [secrets], resourceNames: [tls], verbs: [get]}}; or correct the name, if it is wrong\n"
            ),
            "  get PersistentVolumeClaim prod/data: forbidden: ",
        ],
    );
    assert_eq!(tree.lines().filter(|line| line.starts_with("  get ")).count(), 7, "{tree}");
}

#[test]
fn a_pod_that_runs_only_init_needs_no_watch() {
    let scene = scene_with(&["init"]);
    scene.server.forbid_kind(Verb::Watch, Kind::Secret);
    let shown = tree(&scene, &[]);
    assert_has(&shown, &["│   ├── may get Secret db\n", "│   └── may get ConfigMap settings\n"]);
    assert!(!shown.contains("watch"), "{shown}");
}

#[test]
fn a_pod_that_may_run_a_sidecar_gets_a_note_about_watch() {
    let scene = scene();
    scene.server.forbid_kind(Verb::Watch, Kind::Secret);
    let shown = tree(&scene, &[]);
    let note = "\nnotes:\n  ServiceAccount prod/app may not watch Secret prod/db; podcreds sidecar needs that, but init does not, and no container's";
    assert_has(&shown, &["│   ├── may get Secret db\n", "may get and watch ConfigMap settings\n", note]);
    assert!(!shown.contains("needs the rule"), "{shown}");
    let document: Value = serde_json::from_str(&tree(&scene, &["-o", "json"])).unwrap();
    let edges = document["edges"].as_array().unwrap();
    let edge = edges.iter().find(|e| e["to"] == "Secret/prod/db" && e["relation"] == "may_read").unwrap();
    assert_eq!((&edge["denied"], &edge["remedy"]), (&json!([]), &Value::Null));
    assert_eq!(document["notes"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_right_to_read_the_pod_is_needed_without_an_annotations_file() {
    let rule = "may not get Pod *: a Role in namespace prod, bound to the pod's service account by a RoleBinding there, needs the rule {apiGroups: [\"\"], resources: [pods], verbs: [get]}; or mount the annotations with a downward API volume and pass --annotations-file";
    let scene = scene();
    // The account that inspects reads the Deployment, not a pod.
    scene.server.forbid_kind(Verb::Get, Kind::Pod);
    for (args, is_needed) in
        [(&["init"][..], true), (&[], true), (&["init", "--annotations-file=/podinfo/annotations"], false)]
    {
        let template = json!({"metadata": {"annotations": annotations()}, "spec": pod_spec_with(args)});
        let spec = json!({"spec": {"template": template}});
        put(&scene.server, &format!("{APPS}/deployments/app"), metadata("app"), spec);
        let shown = tree(&scene, &["deploy/app"]);
        assert_eq!((shown.contains(rule), shown.contains("Pod *")), (is_needed, is_needed), "{shown}");
    }
}

#[test]
fn a_sidecars_flags_add_the_rights_that_they_need() {
    let scene = scene_with(&["sidecar", "--follow-annotations", "--events"]);
    assert_has(
        &tree(&scene, &[]),
        &["│   ├── may get and watch Pod app-0\n", "│   └── may create and patch Event *\n"],
    );
    let bodies: Vec<Value> =
        scene.server.requests().iter().filter_map(|r| serde_json::from_slice(&r.body).ok()).collect();
    let last = &bodies.last().unwrap()["spec"]["resourceAttributes"];
    assert_eq!(
        *last,
        json!({"namespace": "prod", "verb": "patch", "group": "", "resource": "events", "name": ""})
    );
}

#[test]
fn annotations_in_the_wrong_place_are_reported() {
    let scene = scene_with(&["init"]);
    let put_deployment = |own: Value, template: Value| {
        let mut metadata = metadata("app");
        metadata["annotations"] = own;
        let template = json!({"metadata": {"annotations": template}, "spec": pod_spec_with(&["init"])});
        put(
            &scene.server,
            &format!("{APPS}/deployments/app"),
            metadata,
            json!({"spec": {"template": template}}),
        );
    };
    put_deployment(annotations(), json!(null));
    let shown = tree(&scene, &["deployment.apps/app"]);
    let note = "\nnotes:\n  annotations of the Deployment itself have no effect: podcreds.io/db.configmap, podcreds.io/db.secret, podcreds.io/db.set; podcreds reads those of the pod: set them in spec.template.metadata.annotations\n";
    assert_has(&shown, &[note]);
    assert!(!shown.contains("Secret db: annotation") && !shown.contains(FOREIGN), "{shown}");

    put_deployment(json!({"example.com/note": FOREIGN}), json!(null));
    let note = "\nnotes:\n  the pod template runs podcreds but has no annotation that begins with podcreds.io/; in a workload, set annotations in spec.template.metadata.annotations, not in metadata.annotations\n";
    assert_has(&tree(&scene, &["deploy/app"]), &[note]);

    put_deployment(json!(null), annotations());
    let shown = tree(&scene, &["deploy/app"]);
    assert!(!shown.contains("notes:"), "{shown}");

    let pod = json!({"metadata": {}, "spec": pod_spec_with(&["init"])});
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    assert_has(
        &tree(&scene, &[]),
        &["\nnotes:\n  the pod runs podcreds but has no annotation that begins with"],
    );
    let pod = json!({"metadata": {}, "spec": pod_spec()});
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    let shown = tree(&scene, &[]);
    assert!(
        !shown.contains("notes:") && !shown.contains("may get"),
        "the pod does not use podcreds: {shown}"
    );
}

#[test]
fn the_annotations_of_a_cron_job_belong_in_the_template_of_its_jobs() {
    let scene = scene();
    let mut metadata = metadata("tidy");
    metadata["annotations"] = annotations();
    let spec = json!({"jobTemplate": {"spec": {"template": {"spec": pod_spec()}}}});
    put(&scene.server, "/apis/batch/v1/namespaces/prod/cronjobs/tidy", metadata, json!({ "spec": spec }));
    assert_has(
        &tree(&scene, &["cronjob.batch/tidy"]),
        &["set them in spec.jobTemplate.spec.template.metadata.annotations\n"],
    );
}

#[test]
fn without_access_to_subject_reviews_it_uses_self_reviews() {
    let scene = scene();
    scene.server.refuse(REVIEW);
    assert_has(
        &tree(&scene, &[]),
        &["may get and watch Secret db\n", "may get and watch ConfigMap settings\n"],
    );
    let lines = scene.server.request_lines();
    let count = |path: &str| lines.iter().filter(|line| **line == format!("POST {path}")).count();
    assert_eq!((count(REVIEW), count(OWN_REVIEW)), (1, 5));
}

#[test]
fn its_own_permissions_are_not_reported_for_another_account() {
    let scene = scene();
    let mut spec = pod_spec();
    spec["serviceAccountName"] = "other".into();
    let pod = json!({"metadata": {"annotations": annotations()}, "spec": spec});
    scene.server.put_object(Kind::Pod, "prod", "other-0", pod);
    scene.server.refuse(REVIEW);
    let tree = tree(&scene, &["other-0"]);
    assert_has(
        &tree,
        &[
            "runs as ServiceAccount other (missing)\n",
            "  review access of ServiceAccount prod/other: forbidden: ",
            "needs the rule {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}\n",
        ],
    );
    assert!(
        !tree.contains("may get") && !scene.server.request_lines().iter().any(|l| l.ends_with(OWN_REVIEW))
    );
}

#[test]
fn an_unreadable_subject_is_an_error() {
    let scene = scene();
    scene.server.refuse(&format!("{APPS}/deployments/app"));
    let finished = inspect(&scene, &["deploy/app"]);
    assert_code(&finished, 3);
    let rule = "{apiGroups: [apps], resources: [deployments], resourceNames: [app], verbs: [get]}";
    assert_has(&finished.stderr, &["Deployment prod/app: forbidden: ", rule]);
    assert_has(&scene.pod.termination_message(), &[rule]);
    assert_eq!(finished.stdout_text(), "");

    let finished = inspect(&scene, &["none"]);
    assert_code(&finished, 3);
    let hint = "not found; for a workload write KIND/NAME, such as deploy/none; podcreds looked in namespace prod of https://";
    assert_has(&finished.stderr, &["Pod prod/none: pods \"none\" not found", hint]);
    assert!(!finished.stderr.contains("hostname"), "{}", finished.stderr);

    let mut command = scene.command(&["inspect"]);
    command.env_remove("POD_NAME");
    let finished = run(command, HANGS);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["not found; the pod name was guessed from the hostname"]);

    scene.server.stop();
    let finished = inspect(&scene, &[]);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["Pod prod/app-0: https://127.0.0.1:", "cannot be reached"]);
}

#[test]
fn failures_other_than_refusals_are_shown_too() {
    let scene = scene();
    let fault = Fault::Status { code: 500, retry_after: None, message: "test".into() };
    scene.server.fail_on("/nodes/", fault, Times::Always);
    scene.server.fail_on("/serviceaccounts/", Fault::Body("[]".into()), Times::Always);
    let other = json!({"metadata": {"name": "other", "namespace": "prod"}}).to_string();
    scene.server.fail_on("/secrets/tls", Fault::Body(other), Times::Always);
    assert_has(
        &tree(&scene, &[]),
        &[
            "  get Node node-1: the API server answered 500: test\n",
            "  get ServiceAccount prod/app: unexpected response: unexpected JSON",
            "  get Secret prod/tls: unexpected response: it describes another object\n",
        ],
    );
}

#[test]
fn an_owner_with_a_different_uid_is_missing() {
    let scene = scene();
    let put_pod = |owner: Value| {
        let pod =
            json!({"metadata": {"ownerReferences": owner}, "spec": {"nodeName": "node-1", "containers": []}});
        scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    };
    put_pod(owner("argoproj.io/v1alpha1", "Rollout", "app"));
    assert_has(&tree(&scene, &[]), &["├── owned by Rollout app\n├── runs on Node node-1 (ready"]);
    // A static pod, owned by its node.
    put_pod(owner("v1", "Node", "node-1"));
    assert_has(
        &tree(&scene, &[]),
        &["├── owned by Node node-1 (ready, kubelet v1.34.1)\n├── runs on Node node-1 (ready"],
    );
    let mut old = owner("apps/v1", "ReplicaSet", "app-1");
    old[0]["uid"] = "uid-before".into();
    put_pod(old);
    assert_has(&tree(&scene, &[]), &["├── owned by ReplicaSet app-1 (missing)\n├── runs on"]);
    // A name with path segments must not reach another path.
    put_pod(owner("apps/v1", "ReplicaSet", "../../nodes"));
    assert_has(&tree(&scene, &[]), &["├── owned by ReplicaSet ../../nodes (missing)\n"]);
    assert!(!scene.server.request_lines().iter().any(|line| line.contains("..")));
}

#[test]
fn a_common_owner_of_two_objects_is_read_once() {
    let scene = scene();
    let mut set = metadata("app-2");
    set["ownerReferences"] = owner("apps/v1", "Deployment", "app");
    put(&scene.server, &format!("{APPS}/replicasets/app-2"), set, json!({}));
    let both: Vec<_> =
        ["app-1", "app-2"].iter().map(|name| owner("apps/v1", "ReplicaSet", name)[0].take()).collect();
    let pod = json!({"metadata": {"ownerReferences": both}, "spec": {"containers": []}});
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    assert_has(
        &tree(&scene, &[]),
        &[
            "├── owned by ReplicaSet app-1\n│   └── owned by Deployment app\n├── owned by ReplicaSet app-2\n│   └── owned by Deployment app\n",
        ],
    );
    let asked = format!("GET {APPS}/deployments/app");
    assert_eq!(scene.server.request_lines().iter().filter(|line| **line == asked).count(), 1);
}

#[test]
fn a_deployment_shows_its_objects_and_its_templates_sources() {
    let scene = scene();
    let server = &scene.server;
    let labels = json!({"matchLabels": {"app": "app"}});
    let template = json!({"metadata": {"annotations": annotations()}, "spec": pod_spec()});
    let spec = json!({"spec": {"selector": labels, "template": template}});
    put(server, &format!("{APPS}/deployments/app"), metadata("app"), spec);
    let owned = |name: &str, owner: Value| {
        let mut metadata = metadata(name);
        metadata["ownerReferences"] = owner;
        json!({ "metadata": metadata })
    };
    let sets = json!({"items": [
        owned("app-1", owner("apps/v1", "Deployment", "app")),
        owned("app-2", owner("apps/v1", "Deployment", "app")),
        owned("stranger", owner("apps/v1", "Deployment", "stranger")),
    ]});
    server.put_raw(&format!("{APPS}/replicasets"), &sets.to_string());
    let mut going = owned("app-1-b", owner("apps/v1", "ReplicaSet", "app-1"));
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let pods = json!({"items": [
        owned("app-1-a", owner("apps/v1", "ReplicaSet", "app-1")),
        going,
        owned("stranger-a", owner("apps/v1", "ReplicaSet", "stranger")),
        owned("orphan", json!(null)),
    ], "metadata": {"continue": "abc/+="}});
    server.put_raw(&format!("{CORE}/pods"), &pods.to_string());
    let expected = "\
Deployment prod/app
├── owns ReplicaSet app-1
│   ├── owns Pod app-1-a
│   ├── owns Pod app-1-b (being deleted)
│   └── list truncated: more pods may exist
├── owns ReplicaSet app-2
│   └── list truncated: more pods may exist
├── runs on Node node-1 (ready, kubelet v1.34.1)
├── runs as ServiceAccount app
│   ├── may get Pod *
│   ├── may get and watch Secret db
";
    let tree = tree(&scene, &["deployment/app"]);
    assert!(tree.starts_with(expected), "{tree}");
    assert_has(&tree, &["├── uses Secret db: env USER of container app, annotation podcreds.io/db.secret\n"]);
    let lists: Vec<_> = server.request_lines().into_iter().filter(|line| line.contains("limit=")).collect();
    let pods = format!("GET {CORE}/pods?limit=100&labelSelector=app%3Dapp");
    let mut expected =
        vec![format!("GET {APPS}/replicasets?limit=100&labelSelector=app%3Dapp"), pods.clone()];
    expected.extend(vec![format!("{pods}&continue=abc%2F%2B%3D"); 4]);
    assert_eq!(lists, expected);
}

#[test]
fn a_refused_list_is_shown_with_the_rule_that_grants_it() {
    let scene = scene();
    put(&scene.server, &format!("{APPS}/deployments/app"), metadata("app"), json!({"spec": {}}));
    scene.server.refuse(&format!("{APPS}/replicasets"));
    assert_has(
        &tree(&scene, &["deploy/app"]),
        &[
            "  list replicasets in namespace prod: forbidden: ",
            "{apiGroups: [apps], resources: [replicasets], verbs: [list]}\n",
        ],
    );
}

#[test]
fn a_cron_job_of_either_api_version_shows_its_jobs_and_pods() {
    for version in ["v1", "v1beta1"] {
        let scene = scene();
        let server = &scene.server;
        let spec = json!({"jobTemplate": {"spec": {"template": {"spec": pod_spec()}}}});
        let path = format!("/apis/batch/{version}/namespaces/prod/cronjobs/tidy");
        put(server, &path, metadata("tidy"), json!({ "spec": spec }));
        let mut job = metadata("tidy-1");
        job["ownerReferences"] = owner(&format!("batch/{version}"), "CronJob", "tidy");
        let jobs = json!({"items": [{"metadata": job}, {"metadata": metadata("other")}]});
        server.put_raw("/apis/batch/v1/namespaces/prod/jobs", &jobs.to_string());
        put(server, "/apis/batch/v1/namespaces/prod/jobs/tidy-1", job, json!({"spec": {}}));
        let mut pod = metadata("tidy-1-a");
        pod["ownerReferences"] = owner("batch/v1", "Job", "tidy-1");
        server.put_raw(&format!("{CORE}/pods"), &json!({"items": [{"metadata": pod}]}).to_string());
        let down = tree(&scene, &["cj/tidy"]);
        let expected = "CronJob prod/tidy\n├── owns Job tidy-1\n│   └── owns Pod tidy-1-a\n├── runs on";
        assert!(down.starts_with(expected), "{down}");
        assert_has(&down, &["uses Secret tls (missing): volume certs\n"]);
        let pods = format!("GET {CORE}/pods?limit=100&labelSelector=job-name%20in%20%28tidy-1%29");
        assert!(server.request_lines().contains(&pods), "{:?}", server.request_lines());
        assert_has(&tree(&scene, &["job/tidy-1"]), &["├── owned by CronJob tidy\n"]);
    }
}

#[test]
fn the_pods_of_a_stateful_set_show_their_volume_claims() {
    let scene = scene();
    let server = &scene.server;
    let spec = json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": []}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
    });
    put(server, &format!("{APPS}/statefulsets/web"), metadata("web"), json!({ "spec": spec }));
    let mut pod = metadata("web-0");
    pod["ownerReferences"] = owner("apps/v1", "StatefulSet", "web");
    server.put_raw(&format!("{CORE}/pods"), &json!({"items": [{"metadata": pod}]}).to_string());
    let claim = json!({"status": {"phase": "Pending"}});
    put(server, &format!("{CORE}/persistentvolumeclaims/data-web-0"), metadata("data-web-0"), claim);
    assert_has(
        &tree(&scene, &["sts/web"]),
        &[
            "├── owns Pod web-0\n│   └── uses PersistentVolumeClaim data-web-0 (Pending): volume data (volumeClaimTemplates)\n",
        ],
    );
}

#[test]
fn wrong_annotations_are_shown_beside_the_rest() {
    let scene = scene();
    let annotations = json!({"podcreds.io/db.secert": "db", "podcreds.io/web.format": "files"});
    let pod = json!({"metadata": {"annotations": annotations}, "spec": pod_spec()});
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    assert_has(
        &tree(&scene, &[]),
        &[
            "uses Secret db: env USER",
            "\ninvalid annotations:\n  podcreds.io/db.secert: unknown annotation key \"secert\"",
            "\n  podcreds.io/web: no source",
        ],
    );
}

#[test]
fn no_output_format_and_no_log_shows_a_secret() {
    let scene = scene();
    let mut template = json!({"metadata": {"annotations": annotations()}, "spec": pod_spec()});
    template["spec"]["containers"][0]["command"] = json!([VARIABLE]);
    let spec = json!({"spec": {"selector": {}, "template": template}});
    put(&scene.server, &format!("{APPS}/deployments/app"), metadata("app"), spec);
    // The server returns more than requested, or malformed objects.
    let data = json!({"password": PASSWORD});
    let annotated = |name: &str| json!({"name": name, "namespace": "prod", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": PASSWORD}});
    put(&scene.server, &format!("{CORE}/secrets/tls"), annotated("tls"), json!({ "data": data }));
    put(&scene.server, &format!("{CORE}/secrets/extra"), json!(PASSWORD), json!({ "data": data }));
    for subject in ["app-0", "deploy/app", "clusters"] {
        for output in ["tree", "json", "mermaid", "table"] {
            let mut command = scene.command(&["inspect", subject, "-o", output]);
            command.env("RUST_LOG", "trace,ureq=trace,rustls=trace");
            let finished = run(command, HANGS);
            let said =
                format!("{}{}{}", finished.stdout_text(), finished.stderr, scene.pod.termination_message());
            for secret in [PASSWORD, TOKEN, VARIABLE, FOREIGN, "test-literal"] {
                assert!(!said.contains(secret), "{subject} {output}: {secret} in {said}");
            }
            assert!(
                finished.code == Some(2)
                    || said.contains("prod/db")
                    || said.contains("Secret db")
                    || subject == "clusters",
                "{said}"
            );
        }
    }
}

#[test]
fn each_subject_has_its_own_output_formats() {
    let scene = scene();
    for (args, part) in [
        (&["-o", "table"][..], "--output: table is not supported for objects: use tree, json or mermaid"),
        (
            &["clusters", "-o", "mermaid"],
            "--output: mermaid is not supported for clusters: use table or json",
        ),
        (&["secret/db"], "unsupported kind \"secret\": use pod, deployment"),
        (&["pod/A"], "invalid object name \"A\""),
    ] {
        let finished = inspect(&scene, args);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part]);
    }
    let document: Value = serde_json::from_str(&tree(&scene, &["pod/app-0", "-o", "json"])).unwrap();
    assert_eq!(document["root"], "Pod/prod/app-0");
    assert!(tree(&scene, &["-o", "mermaid"]).starts_with("flowchart LR\n  n0[\"Pod prod/app-0"));
    // Inspecting another object does not need a valid pod name.
    let mut command = scene.command(&["inspect", "deploy/app"]);
    command.env("POD_NAME", "No_Pod");
    put(&scene.server, &format!("{APPS}/deployments/app"), metadata("app"), json!({"spec": {}}));
    assert_code(&run(command, HANGS), 0);
}

#[test]
fn clusters_shows_counts_and_why_others_are_unknown() {
    let scene = scene();
    let server = &scene.server;
    server.put_raw("/version", r#"{"major": "1", "minor": "34", "gitVersion": "v1.34.1"}"#);
    server.put_raw("/api/v1/nodes", r#"{"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "x", "remainingItemCount": 41}}"#);
    server.put_raw("/api/v1/namespaces", r#"{"items": [], "metadata": {}}"#);
    let table = tree(&scene, &["clusters"]);
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SERVER", "VERSION", "LATENCY", "NODES", "NAMESPACES"]);
    assert_eq!(rows[1][..3], ["in-cluster", server.url().as_str(), "v1.34.1"]);
    assert_eq!((rows[1][4..].to_vec(), rows.len()), (vec!["ms", "42", "0"], 2));
    let lines = server.request_lines();
    assert_eq!(lines, ["GET /version", "GET /api/v1/nodes?limit=1", "GET /api/v1/namespaces?limit=1"]);

    server.refuse("/api/v1/nodes");
    server.put_raw(
        "/api/v1/namespaces",
        r#"{"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "x"}}"#,
    );
    let document: Value = serde_json::from_str(&tree(&scene, &["clusters", "-o", "json"])).unwrap();
    let cluster = &document["clusters"][0];
    assert_eq!(cluster["reachable"], true);
    assert_eq!((&cluster["nodes"], &cluster["namespaces"]), (&Value::Null, &Value::Null));
    assert!(cluster["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(cluster["refusals"][0]["what"], "nodes");
    let rule = "needs the rule {apiGroups: [\"\"], resources: [nodes], verbs: [list]}";
    assert_has(cluster["refusals"][0]["reason"].as_str().unwrap(), &["forbidden: ", rule]);
    assert_has(
        &tree(&scene, &["clusters"]),
        &[
            "\n\nin-cluster: nodes: forbidden: ",
            "\nin-cluster: namespaces: the API server does not report the number",
        ],
    );
}

#[test]
fn an_unreachable_cluster_is_shown_with_the_reason() {
    let scene = scene();
    scene.server.stop();
    let finished = inspect(&scene, &["clusters"]);
    assert_code(&finished, 4);
    assert_has(&finished.stdout_text(), &["unreachable", "\nin-cluster: unreachable: https://127.0.0.1:"]);
    assert_has(&finished.stderr, &["no cluster can be reached"]);
}

#[test]
fn an_unreachable_cluster_does_not_delay_others() {
    let server = ApiServer::start();
    server.put_raw("/version", r#"{"gitVersion": "v1.34.1"}"#);
    let pod = PodFolder::new(&server);
    let hole = BlackHole::start();
    let client = |host: &str, port: u16| {
        let (host, port) = (Some(host), port.to_string());
        let config =
            in_cluster::load(&pod.service_account(), host, Some(&port), Duration::from_secs(60)).unwrap();
        Ok(Arc::new(Client::new(config)))
    };
    // Each unreachable cluster takes nine tenths of the remaining time; one after another, no time would be left for
    // the last.
    let named = |id: &str, port| NamedClient {
        id: id.to_owned(),
        labels: Labels::default(),
        client: client("127.0.0.1", port),
    };
    let dead = ["a", "b", "c", "d"].map(|id| named(id, hole.address().port()));
    let alive = named("alive", server.address().port());
    let clusters: Vec<_> = dead.into_iter().chain([alive]).collect();
    let reports = survey(clusters, Duration::from_secs(1));
    let names: Vec<_> = reports.iter().map(|report| report.id.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "alive"]);
    assert_has(&reports[0].result.as_ref().unwrap_err().to_string(), &["did not answer"]);
    assert_eq!(reports[4].result.as_ref().unwrap().version.as_deref().unwrap(), "v1.34.1");
}

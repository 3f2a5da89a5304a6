//! `inspect` against a real API server: with all rights, with the rights of an ordinary pod, and for other accounts.

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::scene::Scene;
use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};

/// The value of an environment variable in the pod's spec.
const VARIABLE: &str = "test-variable-5c1d";

/// Binds a ClusterRole to the service account `app` of a namespace until it is dropped.
struct TemporaryBinding<'a> {
    namespace: &'a Namespace,
}

impl<'a> TemporaryBinding<'a> {
    fn new(namespace: &'a Namespace, role: &str) -> Self {
        let api = "rbac.authorization.k8s.io";
        namespace.apply(&json!({
            "apiVersion": format!("{api}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": {"name": namespace.name()},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": namespace.name()}],
        }));
        Self { namespace }
    }
}

impl Drop for TemporaryBinding<'_> {
    fn drop(&mut self) {
        let _ =
            self.namespace.command().args(["delete", "clusterrolebinding", self.namespace.name()]).output();
    }
}

fn owner(namespace: &Namespace, api_version: &str, kind: &str, name: &str) -> Value {
    let uid = namespace.get(&format!("{kind}/{name}"))["metadata"]["uid"].take();
    json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn pod_spec(account: &str) -> Value {
    json!({
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
    // The pod is never scheduled, so its status does not change.
            "nodeSelector": {"podcreds.io/no-such-node": "true"},
            "volumes": [
                {"name": "certs", "secret": {"secretName": "tls"}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            ],
            "initContainers": [{"name": "podcreds", "image": "docker.io/local/none:none", "args": ["sidecar"]}],
            "containers": [{
                "name": "app",
                "image": "docker.io/local/none:none",
                "env": [
                    {"name": "PLAIN", "value": VARIABLE},
                    {"name": "HOST", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "host"}}},
                    {"name": "EXTRA", "valueFrom": {"secretKeyRef": {"name": "extra", "key": "x", "optional": true}}},
                ],
            }],
        })
}

/// A Deployment with a ReplicaSet and the pod `app-0`, which runs as this account, and the objects that they use.
fn scene(account: &str) -> Option<Scene> {
    let namespace = Namespace::new()?;
    namespace.put_secret("db", &[("username", "app"), ("password", "test-password")]);
    namespace.put("v1", "ConfigMap", "settings", json!({"data": {"host": "db"}}));
    let storage = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    namespace.put("v1", "PersistentVolumeClaim", "data", json!({ "spec": storage }));
    if account != "app" {
        namespace.put("v1", "ServiceAccount", account, json!({}));
    }
    let metadata = json!({
        "labels": {"app": "app"},
        "annotations": {"podcreds.io/db.secret": "db", "podcreds.io/db.configmap": "settings"},
    });
    let selector = json!({"matchLabels": {"app": "app"}});
    let template = json!({"metadata": metadata, "spec": pod_spec(account)});
    // If the cluster runs controllers, they have nothing to do.
    let spec = json!({"replicas": 1, "paused": true, "selector": selector, "template": template});
    namespace.put("apps/v1", "Deployment", "app", json!({ "spec": spec }));
    let metadata_of_set = json!({"labels": {"app": "app"}, "ownerReferences": owner(&namespace, "apps/v1", "Deployment", "app")});
    let spec = json!({"replicas": 1, "selector": selector, "template": template});
    let pod = |owner: Value| {
        let mut metadata = metadata.clone();
        metadata["ownerReferences"] = owner;
        json!({"metadata": metadata, "spec": pod_spec(account)})
    };
    // The pod is created first, so that the ReplicaSet adopts it.
    namespace.put("v1", "Pod", "app-0", pod(json!([])));
    namespace.put("apps/v1", "ReplicaSet", "app-1", json!({"metadata": metadata_of_set, "spec": spec}));
    namespace.put("v1", "Pod", "app-0", pod(owner(&namespace, "apps/v1", "ReplicaSet", "app-1")));

    let (host, port, ca) = namespace.server();
    let directory = PodFolder::with(&ca, &namespace.token(), namespace.name());
    Some(Scene { namespace, directory, server: (host, port) })
}

/// The rules of the Role in `docs/inspect.md`.
fn documented_rules() -> Value {
    let page = include_str!("../../docs/inspect.md");
    let role = page.split("kind: Role\n").nth(1).and_then(|role| role.split("---").next()).expect("a Role");
    let rules = role.split_once("rules:\n").expect("its rules").1;
    let rules: Value = yaml_serde::from_str(rules).expect("they are YAML");
    assert_eq!(rules.as_array().map(Vec::len), Some(6));
    rules
}

fn inspect(scene: &Scene, args: &[&str]) -> Finished {
    run(scene.command("inspect", args), PATIENCE)
}

#[track_caller]
fn text(scene: &Scene, args: &[&str]) -> String {
    let finished = inspect(scene, args);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let text = finished.stdout_text();
    assert!(!text.contains(VARIABLE) && !text.contains("test-password"), "{text}");
    text
}

#[test]
fn with_all_rights_inspect_shows_every_object_and_the_rights_of_another_account() {
    let Some(scene) = scene("worker") else { return };
    let Scene { namespace, .. } = &scene;
    let name = namespace.name();
    // This account may read everything and query the rights of others; the pod's account has fewer rights.
    namespace.grant(&documented_rules());
    let _bound = TemporaryBinding::new(namespace, "system:auth-delegator");
    let api = "rbac.authorization.k8s.io";
    let rules =
        json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get"]}]);
    namespace.put(&format!("{api}/v1"), "Role", "worker", json!({ "rules": rules }));
    let binding = json!({
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "worker"},
        "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": name}],
    });
    namespace.put(&format!("{api}/v1"), "RoleBinding", "worker", binding);

    let remedy = format!(
        "a Role in namespace {name}, bound to the pod's service account by a RoleBinding there, needs the rule"
    );
    let file =
        "mount the annotations with a downward API volume and pass --annotations-file, which needs no rule";
    let used = |pod: &str| {
        format!(
        "\
├── runs as ServiceAccount worker
│   ├── may not get Pod {pod}: {remedy} {{apiGroups: [\"\"], resources: [pods], verbs: [get]}}; or {file}
│   ├── may get, may not watch Secret db: {remedy} {{apiGroups: [\"\"], resources: [secrets], resourceNames: [db], verbs: [get, watch]}}
│   └── may not get or watch ConfigMap settings: {remedy} {{apiGroups: [\"\"], resources: [configmaps], resourceNames: [settings], verbs: [get, watch]}}
├── uses Secret db: annotation podcreds.io/db.secret
├── uses Secret extra (missing, optional): env EXTRA of container app
├── uses Secret tls (missing): volume certs
├── uses ConfigMap settings: env HOST of container app, annotation podcreds.io/db.configmap
└── uses PersistentVolumeClaim data (Pending): volume data
"
    )
    };
    let (of_pod, of_template) = (used("app-0"), used("*"));
    assert_eq!(
        text(&scene, &[]),
        format!(
            "Pod {name}/app-0 (Pending)\n├── owned by ReplicaSet app-1\n│   └── owned by Deployment app\n{of_pod}"
        )
    );
    assert_eq!(
        text(&scene, &["deploy/app"]),
        format!("Deployment {name}/app\n├── owns ReplicaSet app-1\n│   └── owns Pod app-0\n{of_template}")
    );
}

#[test]
fn with_the_rights_of_an_ordinary_pod_inspect_lists_each_missing_rule() {
    let Some(scene) = scene("app") else { return };
    scene.namespace.grant_least(&["db"]);
    let text = text(&scene, &[]);
    for part in [
        "├── owned by ReplicaSet app-1 (could not be read)\n",
        "├── runs as ServiceAccount app (could not be read)\n",
        "│   ├── may get Pod app-0\n",
        "│   ├── may get, may not watch Secret db: ",
        "│   └── may not get or watch ConfigMap settings: ",
        "├── uses Secret db: annotation podcreds.io/db.secret\n",
        "└── uses PersistentVolumeClaim data (could not be read): volume data\n",
        "needs the rule {apiGroups: [apps], resources: [replicasets], verbs: [get]}\n",
        "needs the rule {apiGroups: [\"\"], resources: [serviceaccounts], resourceNames: [app], verbs: [get]}\n",
        "needs the rule {apiGroups: [\"\"], resources: [secrets], resourceNames: [extra], verbs: [get]}; or correct the name: this account may read db\n",
        "needs the rule {apiGroups: [\"\"], resources: [secrets], resourceNames: [tls], verbs: [get]}; or correct the name: this account may read db\n",
        "needs the rule {apiGroups: [\"\"], resources: [configmaps], resourceNames: [settings], verbs: [get]}; or correct the name, if it is wrong\n",
        "needs the rule {apiGroups: [\"\"], resources: [persistentvolumeclaims], resourceNames: [data], verbs: [get]}\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("  get ")).count(), 6, "{text}");

    let finished = inspect(&scene, &["deploy/app"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    let rule = "{apiGroups: [apps], resources: [deployments], resourceNames: [app], verbs: [get]}";
    assert!(finished.stderr.contains(rule), "{}", finished.stderr);
}

#[test]
fn inspect_finds_a_cron_job_and_its_jobs_in_every_kubernetes_version() {
    let Some(scene) = scene("app") else { return };
    let Scene { namespace, .. } = &scene;
    namespace.grant(&documented_rules());
    let is_v1 = namespace.kubectl(&["get", "--raw", "/apis/batch/v1"]).contains("\"cronjobs\"");
    let api = if is_v1 { "batch/v1" } else { "batch/v1beta1" };
    let mut template = json!({"spec": pod_spec("app")});
    template["spec"]["restartPolicy"] = "Never".into();
    let job = json!({"parallelism": 0, "template": template});
    let spec = json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": job}});
    namespace.put(api, "CronJob", "tidy", json!({ "spec": spec }));
    let metadata = json!({"ownerReferences": owner(namespace, api, "CronJob", "tidy")});
    namespace.put("batch/v1", "Job", "tidy-1", json!({"metadata": metadata, "spec": job}));
    let down = text(&scene, &["cj/tidy"]);
    assert!(
        down.starts_with(&format!("CronJob {}/tidy\n├── owns Job tidy-1\n├── runs as", namespace.name())),
        "{down}"
    );
    let up = text(&scene, &["job/tidy-1"]);
    assert!(up.contains("├── owned by CronJob tidy\n"), "{up}");
    let finished = inspect(&scene, &["cj/none"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("cronjobs.batch \"none\" not found"), "{}", finished.stderr);
}

#[test]
fn inspect_clusters_agrees_with_kubectl() {
    let Some(scene) = scene("app") else { return };
    let refused = text(&scene, &["clusters"]);
    assert!(
        refused.contains("needs the rule {apiGroups: [\"\"], resources: [nodes], verbs: [list]}"),
        "{refused}"
    );
    let Scene { namespace, .. } = &scene;
    let _bound = TemporaryBinding::new(namespace, "cluster-admin");
    let survey: Value = serde_json::from_str(&text(&scene, &["clusters", "-o", "json"])).unwrap();
    let cluster = &survey["clusters"][0];
    let read = |path| serde_json::from_str::<Value>(&namespace.kubectl(&["get", "--raw", path])).unwrap();
    assert_eq!(cluster["version"], read("/version")["gitVersion"]);
    let nodes = read("/api/v1/nodes")["items"].as_array().map(Vec::len);
    assert_eq!(cluster["nodes"].as_u64(), nodes.map(|nodes| nodes as u64));
    // Other tests create and delete namespaces meanwhile; the four standard ones and this test's always exist.
    assert!(cluster["namespaces"].as_u64().is_some_and(|count| count >= 5), "{survey}");
    assert_eq!(cluster["refusals"], json!([]));
}

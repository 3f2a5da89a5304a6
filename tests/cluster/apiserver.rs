//! `init` as a process outside of any pod, against a real API server: required rights, responses and requests.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::scene::Scene;
use crate::support::run::{Running, poll_until};
use crate::support::skip::require;

/// The requests of a user, from the API server's audit log.
fn audited_requests(log: &Path, user: &str) -> Vec<String> {
    let lines = fs::read_to_string(log).unwrap();
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_user = events.filter(|event| event["user"]["username"] == user);
    of_user
        .map(|event| format!("{} {}", event["verb"].as_str().unwrap(), event["requestURI"].as_str().unwrap()))
        .collect()
}

#[test]
fn init_sends_one_request_for_the_pod_and_one_for_each_object() {
    let annotations = json!({
        "podcreds.io/a.secret": "a", "podcreds.io/b.secret": "b", "podcreds.io/c.secret": "c",
        "podcreds.io/again.secret": "a", "podcreds.io/again.format": "json",
    });
    let Some(scene) = Scene::new(&annotations) else { return };
    for name in ["a", "b", "c"] {
        scene.namespace.put_secret(name, &[("username", name), ("password", "test-password-%$'\"\n")]);
    }
    scene.namespace.grant_least(&["a", "b", "c"]);
    let finished = scene.init(&["--log-level", "debug"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(scene.read("c/username"), "c");
    assert_eq!(scene.read("b/password"), "test-password-%$'\"\n");
    assert!(scene.read("again.json").contains("\"username\": \"a\""));

    let log =
        require("PODCREDS_TEST_AUDIT_LOG, to count the requests,", env::var_os("PODCREDS_TEST_AUDIT_LOG"));
    let Some(log) = log.map(PathBuf::from) else { return };
    let (user, base) = (scene.namespace.user(), format!("/api/v1/namespaces/{}", scene.namespace.name()));
    let expected =
        ["pods/app-0", "secrets/a", "secrets/b", "secrets/c"].map(|path| format!("get {base}/{path}"));
    poll_until(PATIENCE, "the audit log is written", || {
        audited_requests(&log, &user).len() >= expected.len()
    });
    assert_eq!(audited_requests(&log, &user), expected);
}

#[test]
fn init_reads_config_maps_and_other_namespaces() {
    let Some(other) = Namespace::new() else { return };
    other.put_secret("shared", &[("password", "test-password")]);
    let annotations = json!({
        "podcreds.io/db.secret": format!("{}/shared", other.name()),
        "podcreds.io/db.configmap": "settings",
        "podcreds.io/db.format": "env",
        "podcreds.io/db.keys": "PASSWORD=password,HOST=host",
        "podcreds.io/ca.configmap": "settings",
        "podcreds.io/ca.keys": "ca.der",
    });
    let Some(scene) = Scene::new(&annotations) else { return };
    scene.namespace.put(
        "v1",
        "ConfigMap",
        "settings",
        json!({"data": {"host": "db"}, "binaryData": {"ca.der": "AP8="}}),
    );
    scene.namespace.grant(&json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["settings"], "verbs": ["get"]},
    ]));
    let user = json!([{"kind": "ServiceAccount", "name": "app", "namespace": scene.namespace.name()}]);
    let rule =
        json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["shared"], "verbs": ["get"]}]);
    other.grant(&rule);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "app"});
    other.put(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "guest",
        json!({"roleRef": role, "subjects": user}),
    );
    let finished = scene.init(&[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(scene.read("db.env"), "export HOST='db'\nexport PASSWORD='test-password'\n");
    assert_eq!(fs::read(scene.directory.volume().join("ca/ca.der")).unwrap(), [0, 255]);
}

#[test]
fn a_service_provides_host_and_port_and_is_watched() {
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/db.service": "orders:postgres",
        "podcreds.io/db.format": "uri",
        "podcreds.io/db.engine": "postgresql",
        "podcreds.io/db.set": "database=orders",
        "podcreds.io/headless.service": "headless",
        "podcreds.io/external.service": "external",
    });
    let Some(scene) = Scene::new(&annotations) else { return };
    scene.namespace.put_secret("db", &[("username", "app"), ("password", "test-password")]);
    let put = |name: &str, spec: Value| scene.namespace.put("v1", "Service", name, json!({"spec": spec}));
    let ports = |postgres: u16| json!({"ports": [{"name": "postgres", "port": postgres}, {"name": "metrics", "port": 9187, "targetPort": "m"}]});
    put("orders", ports(5432));
    put("headless", json!({"clusterIP": "None", "ports": [{"port": 6379}]}));
    put("external", json!({"type": "ExternalName", "externalName": "db.example.com"}));
    let grant = |verbs: &[&str]| {
        let services = ["orders", "headless", "external"];
        scene.namespace.grant(&json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": verbs},
            {"apiGroups": [""], "resources": ["services"], "resourceNames": services, "verbs": verbs},
        ]));
    };
    let uri = |port: u16| {
        format!("postgresql://app:test-password@orders.{}.svc:{port}/orders", scene.namespace.name())
    };

    scene.namespace.grant_least(&["db"]);
    let finished = scene.init(&["--timeout", "1s"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    let rule = "{apiGroups: [\"\"], resources: [services], resourceNames: [orders], verbs: [get]}";
    assert!(finished.stderr.contains(rule), "{}", finished.stderr);

    grant(&["get", "watch"]);
    let running = Running::start(scene.command("sidecar", &[]));
    let wait_until = |what: &str, condition: &mut dyn FnMut() -> bool| {
        poll_until(PATIENCE, &format!("{what}; standard error:\n{}", running.stderr()), condition);
    };
    wait_until("the first bundle is published", &mut || scene.read("db.uri") == uri(5432));
    assert_eq!(scene.read("headless/host"), format!("headless.{}.svc", scene.namespace.name()));
    assert_eq!(
        (scene.read("headless/port"), scene.read("external/host")),
        ("6379".into(), "db.example.com".into())
    );
    assert!(!scene.directory.volume().join("external/port").exists());
    put("orders", ports(6432));
    wait_until("the new port is published", &mut || scene.read("db.uri") == uri(6432));
}

#[test]
fn init_reports_a_missing_right_and_waits_for_it() {
    let Some(scene) = Scene::new(&json!({"podcreds.io/db.secret": "db"})) else { return };
    scene.namespace.put_secret("db", &[("password", "test-password")]);
    let finished = scene.init(&["--timeout", "1s"]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    let message = scene.directory.termination_message();
    for part in [
        &format!("User \"{}\" cannot get resource \"pods\"", scene.namespace.user()),
        "needs the rule {apiGroups: [\"\"], resources: [pods], verbs: [get]}",
    ] {
        assert!(message.contains(part), "{message}");
    }

    scene.namespace.grant_least(&["other"]);
    let running = Running::start(scene.command("init", &[]));
    poll_until(PATIENCE, "the API server forbids the Secret", || {
        running.stderr().contains("resourceNames: [db]")
    });
    scene.namespace.grant_least(&["db"]);
    let finished = running.wait(PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(scene.read("db/password"), "test-password");
}

#[test]
fn init_waits_for_a_missing_secret() {
    let Some(scene) = Scene::new(&json!({"podcreds.io/db.secret": "db"})) else { return };
    scene.namespace.grant_least(&["db"]);
    let running = Running::start(scene.command("init", &[]));
    poll_until(PATIENCE, "the missing Secret is reported", || {
        running.stderr().contains("secrets \"db\" not found")
    });
    scene.namespace.put_secret("db", &[("password", "test-password")]);
    let finished = running.wait(PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn init_waits_for_a_key_that_is_added_later() {
    let annotations =
        json!({"podcreds.io/db.secret": "db", "podcreds.io/db.keys": "password, host=endpoint"});
    let Some(scene) = Scene::new(&annotations) else { return };
    scene.namespace.put_secret("db", &[("password", "test-password")]);
    scene.namespace.grant_least(&["db"]);
    let running = Running::start(scene.command("init", &[]));
    poll_until(PATIENCE, "the missing key is reported", || {
        running.stderr().contains("available: password; waiting for it, for up to ")
    });
    scene.namespace.put_secret("db", &[("password", "test-password"), ("endpoint", "db.example.com")]);
    let finished = running.wait(PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(scene.read("db/host"), "db.example.com");
}

#[test]
fn init_reads_a_rejected_token_again() {
    let Some(scene) = Scene::new(&json!({"podcreds.io/db.secret": "db"})) else { return };
    scene.namespace.put_secret("db", &[("password", "test-password")]);
    scene.namespace.grant_least(&["db"]);
    scene.directory.rotate_token("test-token-that-is-none");
    let running = Running::start(scene.command("init", &[]));
    poll_until(PATIENCE, "the API server rejects the token", || {
        running.stderr().contains("does not accept the token: Unauthorized")
    });
    scene.directory.rotate_token(&scene.namespace.token());
    let finished = running.wait(PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

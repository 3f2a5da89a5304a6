//! `envfile` in a real pod: the kubelet sets the variables of an application that has neither podcreds nor the volume.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::support::run::poll_until;

/// A value that a shell, a dotenv library and the kubelet's `$(NAME)` would change. Only the kubelet's parser reads it.
const SPECIAL: &str =
    "  a \"b\"  \\ \\n $HOME ${HOME} $(PGUSER) `id` #c =d %e é 😀\r.\nOTHER=x\n# line\n\ttab \n";

/// A namespace with the Secret `db`, which its service account may read and watch.
fn namespace() -> Option<Namespace> {
    since(35, "variables from files")?;
    let namespace = pods::namespace()?;
    namespace.grant_watch(&["db"]);
    Some(namespace)
}

fn put(namespace: &Namespace, password: &str) {
    let rest = [("username", "app"), ("quoted", "it's"), ("tls.crt", SPECIAL)];
    namespace.put_secret("db", &[&rest[..], &[("password", password)]].concat());
}

fn variable(name: &str, path: &str, key: &str) -> Value {
    let file = json!({"volumeName": "credentials", "path": path, "key": key});
    json!({"name": name, "valueFrom": {"fileKeyRef": file}})
}

/// A native sidecar, and an application that is one program and exits when a client closes its connection. The container
/// `reader` gives the test access to the volume.
fn pod(volume: &Value) -> Value {
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/db.format": "envfile",
        "podcreds.io/db.keys": "PGUSER=username, PGPASSWORD=password, tls.crt",
        "podcreds.io/url.secret": "db",
        "podcreds.io/url.format": "uri",
        "podcreds.io/url.engine": "postgresql",
        "podcreds.io/url.keys": "username, password=quoted",
        "podcreds.io/url.set": "host=db.prod.svc, database=orders",
        "podcreds.io/url.variable": "DATABASE_URL",
        "podcreds.io/url.variable-format": "envfile",
        "podcreds.io/url.path": "app/url.envfile",
    });
    let mut pod = pods::pod(annotations, 12_345, 23_456, "");
    let spec = &mut pod["spec"];
    spec["restartPolicy"] = "Always".into();
    spec["securityContext"] = json!({"fsGroup": 2000});
    spec["volumes"][0]["emptyDir"] = volume.clone();
    let sidecar = &mut spec["initContainers"][0];
    sidecar["args"] = json!(["sidecar"]);
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({
        "exec": {"command": ["/bin/podcreds", "probe"]},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 300,
    });
    let mut reader = spec["containers"][0].clone();
    reader["name"] = "reader".into();
    reader["securityContext"]["runAsUser"] = 12_345.into();
    reader["command"] = json!(["sleep", "3600"]);
    pods::push(&mut spec["containers"], reader);
    let app = &mut spec["containers"][0];
    app["command"] = json!(["nc", "-l", "-p", "9000"]);
    app.as_object_mut().unwrap().remove("volumeMounts");
    let mut missing = variable("MISSING", "db.envfile", "MISSING");
    missing["valueFrom"]["fileKeyRef"]["optional"] = true.into();
    app["env"] = json!([
        variable("PGUSER", "db.envfile", "PGUSER"),
        variable("PGPASSWORD", "db.envfile", "PGPASSWORD"),
        variable("TLS_CRT", "db.envfile", "tls.crt"),
        variable("DATABASE_URL", "app/url.envfile", "DATABASE_URL"),
        missing,
    ]);
    pod
}

/// The initial variables of the application's first process.
fn variables(namespace: &Namespace, pod: &str) -> BTreeMap<String, String> {
    let environment = namespace.kubectl(&["exec", pod, "-c", "app", "--", "cat", "/proc/1/environ"]);
    let pairs = environment.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Ends the application and waits until the kubelet has restarted it.
fn restart(namespace: &Namespace, pod: &str) {
    namespace.exec_to_the_end(pod, "app", &["sh", "-c", "nc 127.0.0.1 9000 </dev/null"]);
    namespace.pod_status(pod, "runs again", |status| {
        let containers = status["containerStatuses"].as_array();
        let app = containers.and_then(|all| all.iter().find(|container| container["name"] == "app"));
        app.is_some_and(|app| app["restartCount"] == 1 && app["ready"] == true)
    });
}

fn an_application_without_volume_gets_its_variables(volume: &Value) {
    let Some(namespace) = namespace() else { return };
    put(&namespace, SPECIAL);
    pods::start(&namespace, "app", pod(volume));
    let first = variables(&namespace, "app");
    assert_eq!(first["PGUSER"], "app");
    assert_eq!(first["PGPASSWORD"], SPECIAL);
    assert_eq!(first["TLS_CRT"], SPECIAL);
    assert_eq!(first["DATABASE_URL"], "postgresql://app:it%27s@db.prod.svc:5432/orders");
    assert!(!first.contains_key("MISSING"), "{first:?}");

    put(&namespace, "second");
    poll_until(PATIENCE, "the file has the second password", || {
        let cat = ["exec", "app", "-c", "reader", "--", "cat", "/podcreds/db.envfile"];
        namespace.kubectl(&cat).contains("PGPASSWORD='second'\n")
    });
    assert_eq!(variables(&namespace, "app"), first, "variables are fixed when a process starts");
    restart(&namespace, "app");
    let second = variables(&namespace, "app");
    assert_eq!((second["PGPASSWORD"].as_str(), &second["TLS_CRT"]), ("second", &first["TLS_CRT"]));
}

#[test]
fn an_application_without_volume_gets_its_variables_from_a_volume_in_memory() {
    an_application_without_volume_gets_its_variables(&json!({"medium": "Memory", "sizeLimit": "1Mi"}));
}

#[test]
fn an_application_without_volume_gets_its_variables_from_a_volume_on_disk() {
    an_application_without_volume_gets_its_variables(&json!({}));
}

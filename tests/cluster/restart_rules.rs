//! `sidecar --exit-on-change` with a kubelet restart rule: a rotation restarts all containers of the pod in place.

use serde_json::{Value, json};

use crate::examples::{self, PRINTED};
use crate::kubectl::{Namespace, PATIENCE};
use crate::native::{container_run, container_status, is_running, log};
use crate::pods;
use crate::requirements::since;
use crate::support::run::poll_until;

/// The application's output for a password of this length.
fn printed(length: usize) -> String {
    PRINTED.replace("29", &length.to_string())
}

#[test]
fn the_restart_rule_example_restarts_all_containers_once_per_rotation() {
    if since(36, "RestartAllContainers rules").is_none() {
        return;
    }
    let Some(mut objects) = examples::render("deploy/restart-all-containers") else { return };
    let Some(namespace) = Namespace::new() else { return };
    let spec = &mut examples::find(&mut objects, "Deployment")["spec"]["template"]["spec"];
    // An init container of the user, which is restarted as well.
    let mut setup = spec["containers"][0].clone();
    setup["name"] = "setup".into();
    setup["args"] = json!(["cat /podcreds/shop.env"]);
    pods::push(&mut spec["initContainers"], setup);
    let mut secret = examples::find(&mut objects, "Secret").clone();
    examples::apply(&namespace, &objects);
    let pod = || examples::pod_of_example(&namespace, &objects);
    examples::rolled_out(&namespace, &objects);
    let first = pod();
    let name = first["metadata"]["name"].as_str().unwrap();
    assert_eq!(log(&namespace, name, "app"), PRINTED);

    for rotation in 1..=2 {
        let password = "p".repeat(30 + rotation);
        secret["stringData"]["password"] = password.as_str().into();
        examples::apply(&namespace, std::slice::from_ref(&secret));
        let mut last = Value::Null;
        poll_until(PATIENCE, "all containers run again", || {
            last = pod();
            let status = &last["status"];
            let restarted =
                |container| container_run(status, container).1 == i64::try_from(rotation).unwrap();
            ["podcreds", "setup", "app"].iter().all(|container| restarted(container))
                && is_running(status, "app")
                && log(&namespace, name, "app") == printed(password.len())
        });
        for kept in ["/metadata/uid", "/status/podIP", "/spec/nodeName"] {
            assert_eq!(last.pointer(kept), first.pointer(kept), "{kept}");
        }
        // The kubelet keeps no exit code, message or log of replaced containers.
        for container in ["podcreds", "setup", "app"] {
            let ended = &container_status(&last["status"], container)["lastState"]["terminated"];
            assert_eq!(ended["reason"], "RestartingAllContainers", "{container}: {ended}");
        }
    }
}

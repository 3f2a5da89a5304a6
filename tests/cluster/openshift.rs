//! The example for OpenShift, with the users and groups that its security context constraint `restricted-v2` assigns.

use serde_json::{Value, json};

use crate::examples::{PRINTED, apply, find, render};
use crate::kubectl::{Namespace, PATIENCE};
use crate::requirements::since;
use crate::support::run::poll_until;

/// A user from the range of a namespace, which is also the group of the volumes.
const ASSIGNED: u32 = 1_000_740_000;

#[test]
fn the_openshift_example_runs_as_the_user_that_openshift_assigns() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(mut objects) = render("deploy/openshift") else { return };
    let Some(namespace) = Namespace::new() else { return };
    namespace.kubectl(&[
        "label",
        "namespace",
        namespace.name(),
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    let deployment = find(&mut objects, "Deployment");
    let name = format!("deployment/{}", deployment["metadata"]["name"].as_str().unwrap());
    let spec = &mut deployment["spec"]["template"]["spec"];
    spec["securityContext"]["fsGroup"] = ASSIGNED.into();
    for kind in ["initContainers", "containers"] {
        for container in spec[kind].as_array_mut().unwrap() {
            container["securityContext"]["runAsUser"] = ASSIGNED.into();
        }
    }
    apply(&namespace, &objects);
    let status = ["rollout", "status", &name, "--timeout", "110s"];
    assert!(namespace.kubectl(&status).contains("successfully rolled out"));
    assert_eq!(namespace.kubectl(&["logs", &name, "-c", "app"]), PRINTED);

    let shell = |script: &str| namespace.kubectl(&["exec", &name, "-c", "app", "--", "sh", "-c", script]);
    let files = shell("id -g; stat -c '%u %g %a' /podcreds/shop.env");
    assert_eq!(files, format!("0\n{ASSIGNED} {ASSIGNED} 440\n"));
    let secret = find(&mut objects, "Secret")["metadata"]["name"].take();
    let patch = json!({"stringData": {"password": "rotated"}}).to_string();
    let secret = Value::as_str(&secret).unwrap();
    namespace.kubectl(&["patch", "secret", secret, "--patch", &patch]);
    poll_until(PATIENCE, "the file has the new password", || {
        shell("cat /podcreds/shop.env").contains("'rotated'")
    });
}

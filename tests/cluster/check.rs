//! `check` of an example's Deployment in a real cluster.

use serde_json::{Value, json};

use crate::examples::{apply, find, kustomize};
use crate::kubectl::{Namespace, PATIENCE};
use crate::requirements::since;
use crate::support::run::run;

/// The report on the Deployment, and the exit code.
fn check(namespace: &Namespace, deployment: &str) -> (Option<i32>, String) {
    let mut command = namespace.command_of(env!("CARGO_BIN_EXE_podcreds"));
    let target = format!("deploy/{deployment}");
    command.args(["check", "--strict", "-n", namespace.name(), &target]);
    let finished = run(command, PATIENCE);
    (finished.code, finished.stdout_text() + &finished.stderr)
}

#[test]
fn an_example_has_no_findings_until_something_is_taken_away() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let mut objects = kustomize("deploy/native-sidecar");
    // Nothing has to run.
    find(&mut objects, "Deployment")["spec"]["replicas"] = 0.into();
    apply(&namespace, &objects);
    let name = |objects: &mut [Value], kind: &str| {
        find(objects, kind)["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let [deployment, secret, role] = ["Deployment", "Secret", "Role"].map(|kind| name(&mut objects, kind));
    let (code, report) = check(&namespace, &deployment);
    assert_eq!((code, report.as_str()), (Some(0), "no problems; 1 pod template, 1 with podcreds\n"));

    let mut narrow = find(&mut objects, "Role").clone();
    let rules = narrow["rules"].as_array_mut().unwrap();
    rules.iter_mut().find(|rule| rule["resources"][0] == "secrets").unwrap()["verbs"] = json!(["get"]);
    apply(&namespace, &[narrow]);
    let (code, report) = check(&namespace, &deployment);
    assert_eq!(code, Some(3), "{report}");
    let rule = format!("resourceNames: [{secret}], verbs: [get, watch]}}");
    assert!(
        report.contains(&format!("may not watch Secret {}/{secret} [cluster]", namespace.name())),
        "{report}"
    );
    assert!(report.contains(&rule) && report.contains("\n1 error; "), "{report}");
    apply(&namespace, &[find(&mut objects, "Role").clone()]);

    let mut incomplete = find(&mut objects, "Secret").clone();
    incomplete["stringData"].as_object_mut().unwrap().remove("password");
    namespace.kubectl(&["delete", "secret", &secret]);
    apply(&namespace, &[incomplete]);
    let (code, report) = check(&namespace, &deployment);
    assert_eq!(code, Some(3), "{report}");
    assert!(
        report.contains(&format!("key password not found in Secret {}/{secret}", namespace.name())),
        "{report}"
    );

    namespace.kubectl(&["delete", "secret", &secret]);
    namespace.kubectl(&["delete", "role", &role]);
    let (code, report) = check(&namespace, &deployment);
    assert_eq!(code, Some(3), "{report}");
    for part in [
        format!("Secret {}/{secret} does not exist", namespace.name()),
        format!("may not get Pods in namespace {}", namespace.name()),
    ] {
        assert!(report.contains(&part), "{part}\n{report}");
    }
}

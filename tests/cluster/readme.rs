//! The first pod of the README: an annotated Deployment, `podcreds rbac`, `podcreds inject`, and a rotation.

use std::io::Write;
use std::process::Stdio;

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::support::run::poll_until;

const README: &str = include_str!("../../README.md");

#[test]
fn the_first_pod_of_the_readme_runs_and_follows_a_rotation() {
    if since(29, "native sidecars").is_none() || pods::image().is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let app = README.split("\n```yaml\n").find(|block| block.starts_with("apiVersion: ")).unwrap();
    let app = app.split_once("\n```").unwrap().0.replace("busybox:1.37", &pods::app_image());
    // `podcreds COMMAND -f - | kubectl apply -f -`
    let apply = |command: &str| {
        let podcreds =
            piped(namespace.command_of(env!("CARGO_BIN_EXE_podcreds")).args([command, "-f", "-"]), &app);
        let objects = podcreds.replace("podcreds:0.1.0", &pods::image_name());
        piped(namespace.command().args(["-n", namespace.name(), "apply", "-f", "-"]), &objects);
    };
    apply("rbac");
    apply("inject");
    let log = || namespace.kubectl(&["logs", "deployment/orders", "-c", "app", "--ignore-errors"]);
    // The commands of the page, in their order.
    let commands: Vec<_> = README.lines().filter_map(|line| line.strip_prefix("kubectl ")).collect();
    let [rollout, first_log, rotation, log_of_rotation] = commands[..] else { panic!("{commands:?}") };
    assert!(first_log.starts_with("logs deployment/orders -c app "), "{first_log}");
    assert!(log_of_rotation.starts_with("logs -f deployment/orders -c app "), "{log_of_rotation}");
    let rollout: Vec<_> = rollout.split(' ').collect();
    namespace.kubectl(&[&rollout[..], &["--timeout", "110s"]].concat());
    poll_until(PATIENCE, "the first password", || log().contains("orders, a password of 9 characters"));
    let words: Vec<_> = rotation.split(' ').map(|word| word.trim_matches('\'')).collect();
    namespace.kubectl(&words);
    poll_until(PATIENCE, "the rotated password", || log().contains("orders, a password of 7 characters"));
    let pod = namespace.get("pod");
    for status in pod["items"][0]["status"]["containerStatuses"].as_array().unwrap() {
        assert_eq!(status["restartCount"], 0, "{status:#}");
    }
}

/// The standard output of the command for this input.
fn piped(command: &mut std::process::Command, input: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

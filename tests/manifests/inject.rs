//! docs/inject.md: the manifest of the page, injected by the command and by kustomize, which runs the command as a function.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use super::{documents, missing};

const PAGE: &str = include_str!("../../docs/inject.md");
const KUSTOMIZE: &str = "PODCREDS_TEST_KUSTOMIZE";
const PODCREDS: &str = env!("CARGO_BIN_EXE_podcreds");

/// The YAML blocks of the page.
fn blocks() -> Vec<&'static str> {
    PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The output of a program that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kustomize_runs_the_command_as_a_function() {
    let [manifest, function, kustomization] = blocks()[..] else { panic!("{:?}", blocks()) };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, text) in
        [("orders.yaml", manifest), ("inject.yaml", function), ("kustomization.yaml", kustomization)]
    {
        fs::write(path(name), text).unwrap();
    }
    let image = "registry.example.com/podcreds:0.1.0";
    let mut command = Command::new(PODCREDS);
    let injected = output(command.args(["inject", "--image", image, "-f"]).arg(path("orders.yaml")));
    let expected: Vec<Value> = documents(&injected);
    assert_eq!(expected[0]["spec"]["template"]["spec"]["initContainers"][0]["image"], image);

    let Some(kustomize) = env::var_os(KUSTOMIZE) else {
        let _: Option<()> = missing(&format!("{KUSTOMIZE}; {}", super::charts::INSTALL));
        return;
    };
    symlink(PODCREDS, path("podcreds")).unwrap();
    let mut command = Command::new(kustomize);
    command.args(["build", "--enable-alpha-plugins", "--enable-exec"]).arg(directory.path());
    assert_eq!(documents(&output(&mut command)), expected);
}

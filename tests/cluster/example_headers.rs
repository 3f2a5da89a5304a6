//! Applies every example to one namespace that enforces the restricted Pod Security Standard, and runs the commands in the header of
//! its kustomization: it starts beside all others, and the application logs the rotation.

use std::fs;
use std::process::Output;
use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::examples::{self, PRINTED};
use crate::kubectl::{KUBELET, Namespace, PATIENCE};
use crate::pods;
use crate::requirements;
use crate::support::run::poll_until;

/// In the order in which a reader may try them. The Job is the last one that is applied and the first one that is rotated, because
/// it ends after a minute.
const EXAMPLES: [&str; 17] = [
    "deploy",
    "deploy/annotations-file",
    "deploy/native-sidecar",
    "deploy/sidecar",
    "deploy/statefulset",
    "deploy/verify-full",
    ANOTHER_NAMESPACE,
    CRONJOB,
    "deploy/job-init",
    "deploy/exec",
    "deploy/exec-image-volume",
    "deploy/env",
    "deploy/restart-exec",
    "deploy/restart-probe",
    "deploy/restart-sentinel",
    "deploy/restart-all-containers",
    "deploy/job",
];
const ANOTHER_NAMESPACE: &str = "deploy/another-namespace";
const CRONJOB: &str = "deploy/cronjob";
/// The prefix of the namespaces in that example.
const NAMESPACES: &str = "podcreds-example-";
const SECOND_PASSWORD: &str = "another-test-password";

/// The minor version that an example needs, as its header says.
fn needs(example: &str) -> u32 {
    match example {
        "deploy/restart-all-containers" => 36,
        "deploy/env" | "deploy/exec-image-volume" | "deploy/restart-exec" => 35,
        "deploy"
        | "deploy/annotations-file"
        | "deploy/exec"
        | "deploy/job-init"
        | "deploy/sidecar"
        | CRONJOB => 21,
        _ => 29,
    }
}

/// The commands of an example's header, without those that delete it, watch it, or need the reader's own database.
fn commands(example: &str) -> Vec<String> {
    let path = format!("{}/{example}/kustomization.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("#     kubectl "));
    let is_tried =
        |line: &&str| !["apply ", "delete ", "--watch", "ca.crt"].iter().any(|part| line.contains(part));
    commands.filter(is_tried).map(|line| line.replace(" --follow", "")).collect()
}

struct Example<'a> {
    directory: &'static str,
    namespace: &'a Namespace,
    objects: Vec<Value>,
    commands: Vec<String>,
}

impl<'a> Example<'a> {
    fn new(directory: &'static str, namespace: &'a Namespace) -> Self {
        let mut example = Self {
            directory,
            namespace,
            objects: examples::render(directory).expect("the cluster runs pods"),
            commands: commands(directory),
        };
        if directory == ANOTHER_NAMESPACE {
            // Namespaces of this test.
            let own = |text: &str| text.replace(NAMESPACES, &format!("{}-", namespace.name()));
            example.commands.iter_mut().for_each(|command| *command = own(command));
            example.objects = serde_json::from_str(&own(&json!(example.objects).to_string())).unwrap();
        }
        if directory == CRONJOB {
            // The image of the tests has no pg_dump.
            let app = examples::find(&mut example.objects, "CronJob");
            let args = app.pointer_mut("/spec/jobTemplate/spec/template/spec/containers/0/args/0").unwrap();
            let stub = "pg_dump() { cat \"$PGSERVICEFILE\" /podcreds/*.pgpass /podcreds/ca/ca.crt >/backup/shop.dump; }\n";
            *args = format!("{stub}{}", args.as_str().unwrap()).into();
        }
        example
    }

    fn apply(&self) {
        let mut list = json!({"apiVersion": "v1", "kind": "List", "items": self.objects});
        for object in list["items"].as_array_mut().unwrap() {
            if object["kind"] != "Namespace" && object["metadata"]["namespace"].is_null() {
                object["metadata"]["namespace"] = self.namespace.name().into();
            }
        }
        self.namespace.apply(&list);
    }

    /// Runs a command of the header in the namespace of the test.
    fn output(&self, command: &str) -> Output {
        let _kubelet = KUBELET.read().unwrap_or_else(PoisonError::into_inner);
        let mut shell = self.namespace.command_of("sh");
        shell.args(["-c", &format!("kubectl --namespace \"$NAMESPACE\" {command}")]);
        shell.env("NAMESPACE", self.namespace.name()).output().expect("sh starts")
    }

    fn run(&self, command: &str) {
        let output = self.output(command);
        // The container may end before this command, which is then killed with it.
        let is_killed = command.ends_with(" -- kill 1") && output.status.code() == Some(137);
        assert!(
            output.status.success() || is_killed,
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn logs(&self, command: &str, expected: &str) {
        let mut last = String::new();
        poll_until(PATIENCE, &format!("{command} shows {expected:?}"), || {
            let output = self.output(command);
            last = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            last.contains(expected)
        });
    }

    fn is_rotation(command: &str) -> bool {
        command.contains("patch secret ")
    }

    /// Runs the commands up to the one that changes the Secret, and those after it that cause a restart.
    fn start_and_rotate(&self) {
        let mut is_rotated = false;
        for command in &self.commands {
            if command.contains("logs ") {
                let expected = if self.directory == CRONJOB { "app: dumped shop: " } else { PRINTED };
                if !is_rotated {
                    self.logs(command, expected);
                }
                continue;
            }
            if is_rotated {
                // A reader is slower than podcreds, which writes the files first.
                let log = format!("logs {} --container podcreds", examples::workload(&self.objects));
                self.logs(&log, "rotated shop");
            }
            self.run(command);
            is_rotated |= Self::is_rotation(command);
        }
    }

    /// Waits until the application has logged the rotation, if there was one.
    fn shows_the_rotation(&self) {
        if self.commands.iter().any(|command| Self::is_rotation(command)) {
            let logs = self.commands.iter().rev().find(|command| command.contains("logs ")).unwrap();
            let length = SECOND_PASSWORD.len().to_string();
            self.logs(logs, &PRINTED.replace("29", &length));
        }
    }
}

impl Drop for Example<'_> {
    fn drop(&mut self) {
        for namespace in self.objects.iter().filter(|object| object["kind"] == "Namespace") {
            let name = namespace["metadata"]["name"].as_str().unwrap();
            self.output(&format!("delete namespace {name} --wait=false"));
        }
    }
}

#[test]
fn every_example_runs_beside_all_others_and_its_application_logs_a_rotation() {
    if pods::image().is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    namespace.kubectl(&["label", "namespace", namespace.name(), restricted]);
    let version = requirements::version().unwrap();
    let supported = EXAMPLES.into_iter().filter(|example| needs(example) <= version);
    let mut examples: Vec<_> = supported.map(|example| Example::new(example, &namespace)).collect();
    examples.iter().for_each(Example::apply);
    examples.reverse();
    examples.iter().for_each(Example::start_and_rotate);
    examples.iter().for_each(Example::shows_the_rotation);
}

#[test]
fn every_example_is_tried() {
    let directories = fs::read_dir(format!("{}/deploy", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut found: Vec<_> = directories
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::read_to_string(path.join("secret.yaml")).is_ok())
        .map(|path| format!("deploy/{}", path.file_name().unwrap().to_str().unwrap()))
        .chain(["deploy".to_owned()])
        .collect();
    found.sort();
    let mut tried = EXAMPLES.to_vec();
    tried.sort_unstable();
    assert_eq!(found, tried);
}

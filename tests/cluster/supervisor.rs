//! `exec --restart-on-change` in real pods: the program gets new values by a restart inside of its container.

mod death;
mod init;
mod rotation;
mod spread;

use std::io::{Write, stderr};
use std::thread;

use serde_json::{Value, json};

use crate::requirements::version;
use crate::{native, pods};

/// The binary in the volume, because the application's image does not contain podcreds.
const BINARY: &str = "/podcreds/bin/podcreds";
/// Kubernetes 1.`NATIVE` has native sidecars; on an older version, an ordinary sidecar follows an init container.
const NATIVE: u32 = 29;

/// The command of a container that supervises a program.
fn supervised(flags: &[&str], program: &[&str]) -> Value {
    json!([&[BINARY, "exec", "--restart-on-change"], flags, &["--"], program].concat())
}

/// A pod with a sidecar that writes the files of these annotations, and with the binary in its volume.
fn pod(annotations: Value) -> Value {
    let mut pod = match version() {
        Some(version) if version < NATIVE => pods::pod_with_sidecar(json!({}), 65_532, 65_532, ""),
        _ => native::pod(""),
    };
    pod["metadata"]["annotations"] = annotations;
    pod["spec"]["restartPolicy"] = "Always".into();
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    install(&mut pod);
    pod
}

/// Adds an init container that copies the binary into the volume.
fn install(pod: &mut Value) {
    let containers = &mut pod["spec"]["initContainers"];
    let mut install = containers[0].clone();
    for of_a_sidecar in ["restartPolicy", "startupProbe"] {
        install.as_object_mut().unwrap().remove(of_a_sidecar);
    }
    install["name"] = "install".into();
    install["args"] = json!(["install", BINARY]);
    pods::push(containers, install);
}

/// Adds a container like the first one, with another name and command.
fn add_container(pod: &mut Value, name: &str, command: Value) {
    let mut container = pod["spec"]["containers"][0].clone();
    container["name"] = name.into();
    container["command"] = command;
    pods::push(&mut pod["spec"]["containers"], container);
}

/// Prints a table also if the test passes.
fn report(table: &str) {
    let test = thread::current();
    // In one write, because other tests write too.
    let _ = stderr().write_all(format!("{}:\n{table}\n", test.name().unwrap_or_default()).as_bytes());
}

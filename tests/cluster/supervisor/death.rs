//! What the supervisor costs beside its program, and that the program ends if the supervisor is killed.
//!
//! The test reads the processes of containers from this machine, so the node must be this machine.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{add_container, pod, report, supervised};
use crate::kubectl::{Namespace, PATIENCE};
use crate::native::{container_run, is_running, log};
use crate::sidecar::{FIRST, put_password};
use crate::support::run::{poll_every, poll_until};
use crate::{kubelet, pods};

const RESTARTS: usize = 3;
/// The most memory of the supervisor, in KiB.
const LIMIT: u64 = 4096;
const INTERVAL: Duration = Duration::from_millis(100);

const PROGRAM: [&str; 2] = ["sleep", "3600"];
/// A program that does not end when the supervisor stops it.
const STUBBORN: &str = "trap 'echo TERM' TERM; while :; do sleep 1; done";
/// Starts its arguments as a child, and outlives it.
const SHELL: &str = r#""$@" & wait; sleep 3600"#;

/// A process of a container, as this machine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// Distinguishes it from a later process with the same id.
    started: u64,
    parent: u32,
    name: String,
    is_podcreds: bool,
}

impl Process {
    /// `None` means that the process is not of this container, or has ended.
    fn read(pid: u32, container: &str) -> Option<Self> {
        if !fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?.contains(container) {
            return None;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        // proc_pid_stat(5): these are the fields from the third one, state, on.
        let fields: Vec<_> = after.split_whitespace().collect();
        let is_zombie = fields[0] == "Z";
        let name = before.split_once('(')?.1.to_owned();
        let (parent, started) = (fields[4 - 3].parse().ok()?, fields[22 - 3].parse().ok()?);
        // The name of a process that was started by /proc/self/exe is "exe".
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let is_podcreds = executable.file_name() == Some("podcreds".as_ref());
        (!is_zombie).then_some(Self { pid, started, parent, name, is_podcreds })
    }

    fn is_running(&self) -> bool {
        Self::read(self.pid, "").is_some_and(|now| now.started == self.started)
    }

    /// A figure of `smaps_rollup` or `status`, in KiB.
    fn memory(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("the process runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect(name).trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A container of a pod.
struct Container<'a> {
    namespace: &'a Namespace,
    pod: &'a str,
    name: &'a str,
}

impl Container<'_> {
    fn run(&self) -> (String, i64) {
        container_run(&self.namespace.get(&format!("pod/{}", self.pod))["status"], self.name)
    }

    /// Waits until the supervisor's program runs, and is not this one. Returns both.
    fn supervised(&self, previous: Option<&Process>) -> (Process, Process) {
        let mut found = None;
        poll_every(INTERVAL, PATIENCE, &format!("{} {} runs its program", self.pod, self.name), || {
            let (id, _) = self.run();
            let all = processes(id.rsplit_once('/').expect("a scheme").1);
            let is_child =
                |process: &Process| all.iter().any(|other| other.is_podcreds && other.pid == process.parent);
            let supervisor = all.iter().find(|process| process.is_podcreds && !is_child(process));
            found = supervisor.and_then(|supervisor| {
                // Until the program is executed, its process is podcreds as well.
                let program = all.iter().find(|one| one.parent == supervisor.pid && !one.is_podcreds)?;
                (Some(program) != previous).then(|| (supervisor.clone(), program.clone()))
            });
            found.is_some()
        });
        found.unwrap()
    }
}

/// The processes of the container with this id.
fn processes(container: &str) -> Vec<Process> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter_map(|pid| Process::read(pid, container)).collect()
}

/// A pod whose application is supervised as the first process of its container.
fn application() -> Value {
    let mut pod = pod(json!({
        "podcreds.io/app.secret": "db",
        "podcreds.io/app.format": "env",
        "podcreds.io/app.keys": "PASSWORD=password",
    }));
    pod["spec"]["containers"][0]["command"] = supervised(&[], &PROGRAM);
    pod
}

/// The same in a shared process namespace, and two containers whose first process is a shell.
fn shared() -> Value {
    let mut pod = application();
    pod["spec"]["shareProcessNamespace"] = true.into();
    let below_a_shell = |supervised: Value| {
        let mut command = json!(["sh", "-c", SHELL, "sh"]);
        command.as_array_mut().unwrap().extend(supervised.as_array().unwrap().iter().cloned());
        command
    };
    add_container(&mut pod, "child", below_a_shell(supervised(&[], &PROGRAM)));
    let stubborn = supervised(&["--stop-timeout", "10m"], &["sh", "-c", STUBBORN]);
    add_container(&mut pod, "stubborn", below_a_shell(stubborn));
    pod
}

fn kill(process: &Process) {
    kill_process(Pid::from_raw(process.pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn the_supervisor_needs_less_than_4_mib_and_leaves_no_program_behind_if_it_is_killed() {
    if kubelet::node_of_this_machine().is_none() {
        return;
    }
    let Some(namespace) = pods::namespace() else { return };
    let namespace = &namespace;
    put_password(namespace, FIRST);
    namespace.grant_watch(&["db"]);
    namespace.put("v1", "Pod", "own", application());
    namespace.put("v1", "Pod", "shared", shared());
    ["own", "shared"].iter().for_each(|pod| pods::running(namespace, pod));

    let container = |pod, name| Container { namespace, pod, name };
    let restarted = [container("own", "app"), container("shared", "app"), container("shared", "child")];
    let mut running: Vec<_> = restarted.iter().map(|container| container.supervised(None)).collect();
    let stubborn = container("shared", "stubborn");
    let of_stubborn = stubborn.supervised(None);
    let mut table =
        format!("{:<8}{:<8}{:>9}{:>12}{:>13}\n", "pod", "app", "restarts", "VmRSS, KiB", "private, KiB");
    for restarts in 0..=RESTARTS {
        if restarts > 0 {
            put_password(namespace, &format!("test-password-{restarts}"));
        }
        for (container, (supervisor, program)) in restarted.iter().zip(&mut running) {
            if restarts > 0 {
                let (same, next) = container.supervised(Some(program));
                assert_eq!(same, *supervisor, "the supervisor stays");
                *program = next;
            }
            let resident = supervisor.memory("status", "VmRSS");
            let private = supervisor.memory("smaps_rollup", "Anonymous");
            writeln!(
                table,
                "{:<8}{:<8}{restarts:>9}{resident:>12}{private:>13}",
                container.pod, container.name
            )
            .unwrap();
            assert!(resident < LIMIT, "{} {}: {resident} KiB", container.pod, container.name);
        }
    }
    report(&table);

    poll_until(PATIENCE, "the stubborn program is stopped", || {
        log(namespace, "shared", "stubborn").contains("TERM")
    });
    let stays = [container("shared", "child"), stubborn];
    let runs = |containers: &[Container]| containers.iter().map(Container::run).collect::<Vec<_>>();
    let before = runs(&stays);
    running.push(of_stubborn);
    running.iter().for_each(|(supervisor, _)| kill(supervisor));
    // Below a shell, the container keeps running, so only the parent-death signal can end the program.
    for (_, program) in &running {
        poll_every(INTERVAL, PATIENCE, &format!("{program:?} has ended"), || !program.is_running());
    }
    for container in &restarted[..2] {
        namespace.pod_status(container.pod, "runs again", |status| {
            container_run(status, container.name).1 == 1 && is_running(status, container.name)
        });
    }
    assert_eq!(runs(&stays), before, "the shells have not restarted");
}

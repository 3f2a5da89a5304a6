//! The program as a process among others: what the kernel keeps of it, what a limit on threads does, and what it does as PID 1.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Signal, getrlimit};
use serde_json::json;

use crate::notify::application;
use crate::support::health::Health;
use crate::support::home::{Home, base64, kubeconfig, text};
use crate::support::program;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::server::{ApiServer, NAMESPACE};
use crate::support::skip::require;
use crate::volume::root;
use crate::{HANGS, PASSWORD, PODCREDS, Scene};

/// A command without a limit on the size of cores.
fn with_cores(command: &Command) -> Command {
    limited(command, "-c unlimited")
}

/// A command with these arguments of `ulimit`.
pub(crate) fn limited(command: &Command, limit: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap());
    shell
}

/// Whether the kernel wrote a core of the process that this signal ended.
fn dumped_core(finished: &Finished, scene: &Scene, signal: Signal) -> bool {
    assert_eq!(finished.signal, Some(signal.as_raw()), "{}", finished.stderr);
    finished.core_dumped
        || fs::read_dir(scene.pod.root())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("core"))
}

#[test]
fn the_program_is_not_dumped_and_the_program_that_exec_starts_is() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.format", "env"), ("db.keys", "A=password")]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -QUIT $$"]).current_dir(scene.pod.root());
    let is_possible = dumped_core(&run(with_cores(&shell), HANGS), &scene, Signal::QUIT).then_some(());
    let Some(()) = require("a kernel that writes cores", is_possible) else { return };
    fs::remove_file(scene.pod.root().join("core")).unwrap_or_default();

    let mut running = Running::start(with_cores(&scene.command(&["sidecar"])));
    poll_until(HANGS, "a watch is open", || scene.server.open_watches() == 1);
    running.send(Signal::QUIT);
    assert!(!dumped_core(&running.wait(HANGS), &scene, Signal::QUIT));

    let exec = scene.command(&["exec", "--", "/bin/sh", "-c", "kill -QUIT $$"]);
    assert!(
        dumped_core(&run(with_cores(&exec), HANGS), &scene, Signal::QUIT),
        "limit and flag are as before"
    );
}

/// A sidecar that runs as a user of its own, from a copy of the program that this user can reach.
fn start_as(user: u32, scene: &Scene, mut command: Command) -> Running {
    fs::set_permissions(scene.pod.root(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(scene.pod.volume(), Some(user), Some(user)).unwrap();
    let program = scene.pod.root().join("podcreds");
    program::copy(PODCREDS, &program);
    let mut own = Command::new(program);
    own.args(command.get_args()).env_clear().uid(user).gid(user);
    own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command = own;
    Running::start(command)
}

/// A user id that no other test has.
fn user(number: u32) -> u32 {
    100_000_000 + 10 * std::process::id() + number
}

#[test]
fn a_process_of_the_same_user_can_signal_it_but_not_read_its_memory_environment_and_files() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    let user = user(0);
    let mut running = start_as(user, &scene, scene.command(&["sidecar", "--listen", "127.0.0.1:0"]));
    poll_until(HANGS, "a watch is open", || scene.server.open_watches() == 1);
    let metrics = Health::of(&running, HANGS).metrics();
    for own in ["process_open_fds", "process_threads", "process_resident_memory_bytes"] {
        assert!(metrics.get(own) > 0.0, "{own}");
    }
    let as_user = |script: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh", &running.id().to_string()]).uid(user).gid(user);
        run(shell, HANGS).code
    };
    for open in
        ["ls /proc/$1/root/", "ls /proc/$1/cwd/", "ls /proc/$1/fd/", ": </proc/$1/environ", ": </proc/$1/mem"]
    {
        assert_ne!(as_user(open), Some(0), "{open}");
        assert_eq!(as_user(&open.replace("$1", "$$")), Some(0), "{open}");
    }
    // Applications and sidecars find each other by this.
    assert_eq!(as_user("read -r line < /proc/$1/comm && kill -0 $1"), Some(0));
    assert!(running.is_alive());
}

#[test]
fn without_another_thread_everything_is_retried_until_there_is_one() {
    let Some(()) = root() else { return };
    let (port, received) = application(0, "204 No Content");
    let url = format!("POST http://localhost:{port}/reload");
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", &url)]);
    let mut command = scene.command(&["sidecar"]);
    command.env("KUBERNETES_SERVICE_HOST", "localhost");
    let running = start_as(user(1), &scene, command);
    running.poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    running.poll_until(HANGS, "a watch is open", || scene.server.open_watches() == 1);
    // By the user itself: in a container, root may not be allowed to.
    let limit_threads = |soft: Option<u64>| {
        let soft = soft.map_or("unlimited".to_owned(), |soft| soft.to_string());
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={soft}:")).args(["--pid", &running.id().to_string()]);
        let limited = run(
            {
                command.uid(user(1)).gid(user(1));
                command
            },
            HANGS,
        );
        assert_eq!(limited.code, Some(0), "{}", limited.stderr);
    };

    limit_threads(Some(0));
    scene.put_password("test-password-1");
    let no_thread = "cannot start a thread to resolve the host name";
    running.poll_until(HANGS, "the notification is refused", || running.stderr().contains(no_thread));
    scene.server.drop_connections();
    scene.put_password("test-password-2");
    running.poll_until(HANGS, "the Secret cannot be read", || {
        let log = running.stderr();
        log.lines().any(|line| line.contains("prod/db") && line.contains("cannot start a thread"))
    });
    assert!(received.try_recv().is_err());

    limit_threads(getrlimit(Resource::Nproc).maximum);
    running.poll_until(HANGS, "the rotation arrives", || scene.read("db/password") == "test-password-2");
    assert_eq!(received.recv_timeout(HANGS).unwrap().0, "POST /reload HTTP/1.1");
}

/// Runs a command as the first process of a new namespace, as in a container.
fn start_as_pid_1(command: &Command) -> Running {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child"]).arg(command.get_program()).args(command.get_args());
    unshare.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    unshare.env("PATH", "/usr/bin:/bin").current_dir(command.get_current_dir().unwrap());
    Running::start(unshare)
}

/// The process ids of a process's children.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    lists
        .flat_map(|pids| pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_signal_that_can_never_arrive_is_reported_at_the_start() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", "signal HUP nginx")]);
    let running = start_as_pid_1(&scene.command(&["sidecar"]));
    running.poll_until(HANGS, "a watch is open", || scene.server.open_watches() == 1);
    let log = running.stderr();
    let message =
        "signal HUP to nginx: process \"nginx\" is not visible: set shareProcessNamespace: true in the pod";
    assert_eq!(log.matches(message).count(), 1, "{log}");
}

/// A home directory with a kubeconfig whose plugin runs this script for each request, because its credentials are expired. There is a
/// credential of each of the names, from a Secret of that name.
fn home_with_plugin(server: &ApiServer, names: &[&str], script: &str) -> Home {
    let annotations: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
    let home = Home::new(&annotations);
    for name in names {
        server.put_secret(NAMESPACE, name, &[("password", PASSWORD.as_bytes())]);
    }
    let version = "client.authentication.k8s.io/v1";
    let status = json!({"token": "test-token-1", "expirationTimestamp": "2020-01-01T00:00:00Z"});
    let credential = json!({"apiVersion": version, "kind": "ExecCredential", "status": status});
    let plugin = home.put_script("plugin", &format!("{script}\necho '{credential}'"));
    let user = json!({"exec": {"apiVersion": version, "command": text(&plugin), "interactiveMode": "Never"}});
    let authority = base64(server.authority().pem());
    let cluster = json!({"server": server.url(), "certificate-authority-data": authority});
    home.put_kubeconfig("config", &kubeconfig(&cluster, &user, NAMESPACE));
    home
}

#[test]
fn an_exec_plugin_has_the_limit_of_open_files_that_podcreds_was_started_with() {
    let server = ApiServer::start();
    // The limit is set just after the start.
    let home = home_with_plugin(&server, &["db"], "until [ \"$(ulimit -Sn)\" = 64 ]; do :; done");
    let command = home.command(PODCREDS, "init", &["--kubeconfig", "config", "--timeout", "20s"]);
    let finished = run(limited(&command, "-Sn 64"), HANGS);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn as_pid_1_it_reaps_what_exec_plugins_leave_behind() {
    const SECRETS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let Some(()) = root() else { return };
    let server = ApiServer::start();
    let home = home_with_plugin(&server, &SECRETS, "echo >>runs\n(true &)");
    let running = start_as_pid_1(&home.command(PODCREDS, "sidecar", &["--kubeconfig", "config"]));
    running.poll_until(HANGS, "all watches are open", || server.open_watches() == SECRETS.len());
    let runs = fs::read_to_string(home.path("runs")).unwrap().lines().count();
    assert!(runs >= SECRETS.len(), "{runs}");
    let podcreds = children(running.id())[0];
    running.poll_until(HANGS, "at most the last run has left a zombie", || children(podcreds).len() <= 1);
}

//! A node whose kubelet restarts. Containers keep running, so other tests notice at most a pause. This needs a cluster of the
//! cluster script, whose kubelet is a process of this machine, and root.

use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;
use std::{env, ffi::OsStr, thread};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::certificates::PodWithCertificate;
use crate::kubectl::{KUBELET, Namespace, PATIENCE};
use crate::native::{self, READER, Reader, container_run};
use crate::requirements::node;
use crate::sidecar::{FIRST, put_password};
use crate::support::run::poll_until;
use crate::support::skip::require;

/// The kubelet has nothing to finish and exits within milliseconds; the node should not be without it for long.
const ENDS: Duration = Duration::from_secs(10);

/// Skips the test unless the node is this machine, so that pods can mount its programs.
pub(crate) fn node_of_this_machine() -> Option<()> {
    node()?;
    let found = Kubelet::next_to_kubeconfig().map(drop);
    require("a kubelet that runs as a process of this machine, seen by root,", found)
}

/// The kubelet of the cluster script.
struct Kubelet {
    home: PathBuf,
    pid: Pid,
}

impl Kubelet {
    /// Finds the kubelet's process id next to the kubeconfig, for one test at a time, even if suites share the node;
    /// `None` means that the test is skipped.
    fn find() -> Option<(Self, File)> {
        node()?;
        let lock = Self::next_to_kubeconfig()
            .map(|found| File::create(found.home.join("pids/.kubelet-test")).unwrap());
        let lock =
            require("a kubelet that runs as a process of this machine and that root may restart", lock)?;
        lock.lock().unwrap();
        // The previous test may have started a new kubelet.
        Some((Self::next_to_kubeconfig().expect("the kubelet is still there"), lock))
    }

    fn next_to_kubeconfig() -> Option<Self> {
        let home = env::var_os("KUBECONFIG").and_then(|path| Some(Path::new(&path).parent()?.to_owned()));
        let home = home.filter(|_| getuid().is_root())?;
        let pid = fs::read_to_string(home.join("pids/kubelet")).ok()?;
        let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
        let name = fs::read_to_string(proc(pid, "comm")).ok()?;
        (name.trim() == "kubelet").then_some(Self { home, pid })
    }

    /// Stops the kubelet, calls `meanwhile`, and starts it again with the same arguments and environment.
    fn restart(self, meanwhile: impl FnOnce()) {
        let parts = |file: &str| -> Vec<Vec<u8>> {
            let content = fs::read(proc(self.pid, file)).unwrap();
            content.split(|byte| *byte == 0).filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
        };
        let (arguments, environment) = (parts("cmdline"), parts("environ"));
        let binary = fs::read_link(proc(self.pid, "exe")).unwrap();
        let mut command = Command::new("setsid");
        command.current_dir(fs::read_link(proc(self.pid, "cwd")).unwrap());
        command
            .arg(binary)
            .args(arguments[1..].iter().map(|argument| OsStr::from_bytes(argument)))
            .env_clear();
        for variable in &environment {
            let equals = variable.iter().position(|byte| *byte == b'=').expect("NAME=value");
            let (name, value) = variable.split_at(equals);
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(&value[1..]));
        }
        let log = OpenOptions::new().append(true).open(self.home.join("log/kubelet")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = Started { command, pid_file: self.home.join("pids/kubelet") };

        kill_process(self.pid, Signal::TERM).unwrap();
        // A zombie has no executable.
        poll_until(ENDS, "the kubelet has ended", || fs::read_link(proc(self.pid, "exe")).is_err());
        meanwhile();
        drop(started);
    }
}

/// Starts the kubelet when dropped, also by a panic: the node is not the test's own.
struct Started {
    command: Command,
    pid_file: PathBuf,
}

impl Drop for Started {
    fn drop(&mut self) {
        // It is to outlive this process; if another test ends it before that, it must not stay as a zombie.
        let mut child = self.command.spawn().expect("the kubelet starts");
        fs::write(&self.pid_file, format!("{}\n", child.id())).expect("the cluster script finds it");
        thread::spawn(move || child.wait());
    }
}

fn proc(pid: Pid, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{file}", pid.as_raw_nonzero()))
}

/// Restarts the kubelet, calls `meanwhile` while it is down, and waits until kubectl can read this pod's logs again. Other tests
/// of the suite wait in the meantime.
fn restart(kubelet: Kubelet, namespace: &Namespace, pod: &str, meanwhile: impl FnOnce()) {
    let pause = KUBELET.write().unwrap_or_else(PoisonError::into_inner);
    kubelet.restart(meanwhile);
    // The kubelet listens before it has loaded its pods.
    poll_until(PATIENCE, "the kubelet knows its pods again", || {
        let logs = ["logs", pod, "-c", "app", "-n", namespace.name()];
        namespace.command().args(logs).output().unwrap().status.success()
    });
    drop(pause);
}

/// <https://github.com/kubernetes/kubernetes/pull/137146>: after a kubelet restart, 1.35.0 did not start a crashed application again.
#[test]
fn a_kubelet_restart_affects_neither_container_and_a_crashed_application_still_restarts() {
    let Some((kubelet, _lock)) = Kubelet::find() else { return };
    let Some(namespace) = native::namespace() else { return };
    let mut reader = Reader::start(namespace, "kubelet", native::pod(READER));
    let status = reader.status();
    let (app, sidecar) = (container_run(&status, "app"), container_run(&status, "podcreds"));

    // The sidecar does not need the kubelet for a rotation.
    restart(kubelet, &reader.namespace, reader.pod, || put_password(&reader.namespace, "test-password-1"));
    reader.wait_for("test-password-1");
    reader.rotate_to("test-password-2");
    let status = reader.status();
    assert_eq!(
        (container_run(&status, "app"), container_run(&status, "podcreds")),
        (app.clone(), sidecar.clone())
    );

    reader.namespace.exec_to_the_end(reader.pod, "app", &["kill", "-TERM", "1"]);
    let status = reader.wait_for_restart("app", &app);
    assert_eq!(container_run(&status, "podcreds"), sidecar, "the sidecar has not restarted");
}

/// A restarted kubelet has lost the keys of pod certificates and requests new ones at once. Otherwise the shortest time
/// until a renewal is ten minutes.
#[test]
fn the_sidecar_reloads_a_renewed_pod_certificate() {
    let Some((kubelet, _lock)) = Kubelet::find() else { return };
    let Some(mut certified) = PodWithCertificate::start() else { return };
    certified.wait_until_seen(FIRST, "first");
    let sidecar = |certified: &PodWithCertificate| {
        container_run(&certified.namespace.get("pod/app")["status"], "podcreds")
    };
    let before = sidecar(&certified);

    restart(kubelet, &certified.namespace, "app", || {});
    certified.sign_for("second");
    put_password(&certified.namespace, "test-password-1");
    certified.wait_until_seen("test-password-1", "second");
    assert_eq!(sidecar(&certified), before, "the sidecar has not restarted");
}

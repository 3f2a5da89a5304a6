//! A cluster of the test's own: etcd and an API server that may be killed. For the cluster script only, as root.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, iter};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kubectl::{Namespace, PATIENCE};
use crate::support::run::{poll_until, run};
use crate::support::skip::require;

pub(crate) fn script() -> Option<PathBuf> {
    let script = env::var_os("PODCREDS_TEST_CLUSTER").map(PathBuf::from);
    require("PODCREDS_TEST_CLUSTER, the script that starts a cluster,", script)
}

/// Runs a command that must succeed.
pub(crate) fn succeed(mut command: Command, args: &[&str]) -> String {
    command.args(args);
    let said = format!("{command:?}");
    let finished = run(command, PATIENCE);
    assert_eq!(finished.code, Some(0), "{said}: {}", finished.stderr);
    finished.stdout_text()
}

/// etcd and an API server that the test may kill. Gone when dropped.
pub(crate) struct Cluster {
    script: PathBuf,
    home: TempDir,
    pub(crate) port: u16,
}

impl Cluster {
    /// What the script starts without a node, the last first.
    const PARTS: [&str; 2] = ["kube-apiserver", "etcd"];

    pub(crate) fn start() -> Option<Self> {
        let script = script()?;
        let home = tempfile::Builder::new().prefix("podcreds-cluster-").tempdir().unwrap();
        let cluster = Self { script, home, port: free_ports() };
        cluster.up();
        Some(cluster)
    }

    /// Starts what is not running.
    pub(crate) fn up(&self) {
        let mut command = Command::new(&self.script);
        command.env("CLUSTER_HOME", self.home.path()).env("CLUSTER_PORT", self.port.to_string());
        succeed(command, &["up"]);
    }

    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::of(self.home.path().join("kubeconfig").as_os_str())
    }

    pub(crate) fn kill(&self, part: &str) {
        let Ok(pid) = fs::read_to_string(self.home.path().join("pids").join(part)) else { return };
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
        poll_until(PATIENCE, &format!("{part} is gone"), || test_kill_process(pid).is_err());
    }

    /// Forgets all versions before the present one.
    pub(crate) fn compact(&self) {
        let ask = |what: &str, request: Value| {
            let url = format!("http://127.0.0.1:{}/v3/kv/{what}", self.port + 1);
            let mut answer = ureq::post(&url).send(request.to_string()).unwrap();
            serde_json::from_str::<Value>(&answer.body_mut().read_to_string().unwrap()).unwrap()
        };
        let present = ask("range", json!({"key": STANDARD.encode("any")}));
        ask("compaction", json!({"revision": present["header"]["revision"], "physical": true}));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Not by `cluster down`, which takes away the pod network that a cluster beside this one may have.
        Self::PARTS.iter().for_each(|part| self.kill(part));
    }
}

/// The first of some ports that follow each other and are free. Each is given once: what is to listen there may be slow.
fn free_ports() -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(27_443);
    let mut next = NEXT.lock().unwrap();
    let bases = iter::successors(Some(*next), |base| base.checked_add(10));
    let is_free = |base: &u16| (*base..base + 4).all(|port| TcpListener::bind(("0.0.0.0", port)).is_ok());
    let base = bases.take(100).find(is_free).expect("four free ports");
    *next = base + 10;
    base
}

//! A separate cluster for one test: etcd and an API server that the test may kill. It needs the cluster script, and root.

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
pub(crate) fn run_successfully(mut command: Command, args: &[&str]) -> String {
    command.args(args);
    let description = format!("{command:?}");
    let finished = run(command, PATIENCE);
    assert_eq!(finished.code, Some(0), "{description}: {}", finished.stderr);
    finished.stdout_text()
}

/// etcd and an API server that the test may kill. Dropping it stops both.
pub(crate) struct Cluster {
    script: PathBuf,
    home: TempDir,
    pub(crate) port: u16,
    /// The etcd to use instead of the version's own.
    etcd: Option<PathBuf>,
}

impl Cluster {
    /// The processes that the script starts for a cluster without a node, the last one first.
    const PROCESSES: [&str; 2] = ["kube-apiserver", "etcd"];

    pub(crate) fn start() -> Option<Self> {
        Self::start_on(None)
    }

    /// Debian's etcd 3.4, which API servers since 1.36 support only in part.
    pub(crate) fn start_on_old_etcd() -> Option<Self> {
        let etcd = PathBuf::from("/usr/bin/etcd");
        let etcd = require("etcd 3.4 (etcd-server of Debian)", etcd.exists().then_some(etcd))?;
        Self::start_on(Some(etcd))
    }

    fn start_on(etcd: Option<PathBuf>) -> Option<Self> {
        let script = script()?;
        let home = tempfile::Builder::new().prefix("podcreds-cluster-").tempdir().unwrap();
        let cluster = Self { script, home, port: free_ports(), etcd };
        cluster.up();
        Some(cluster)
    }

    /// Starts the processes that are not running.
    pub(crate) fn up(&self) {
        let mut command = Command::new(&self.script);
        command.env("CLUSTER_HOME", self.home.path()).env("CLUSTER_PORT", self.port.to_string());
        if let Some(etcd) = &self.etcd {
            command.env("CLUSTER_ETCD", etcd);
        }
        run_successfully(command, &["up"]);
    }

    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::in_cluster(self.home.path().join("kubeconfig").as_os_str())
    }

    pub(crate) fn kill(&self, part: &str) {
        let Ok(pid) = fs::read_to_string(self.home.path().join("pids").join(part)) else { return };
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let _ = kill_process(pid, Signal::KILL);
        poll_until(PATIENCE, &format!("{part} is gone"), || test_kill_process(pid).is_err());
    }

    /// Compacts etcd up to the current revision.
    pub(crate) fn compact(&self) {
        let post = |path: &str, request: Value| {
            let url = format!("http://127.0.0.1:{}/v3/kv/{path}", self.port + 1);
            let mut response = ureq::post(&url).send(request.to_string()).unwrap();
            serde_json::from_str::<Value>(&response.body_mut().read_to_string().unwrap()).unwrap()
        };
        let current = post("range", json!({"key": STANDARD.encode("any")}));
        post("compaction", json!({"revision": current["header"]["revision"], "physical": true}));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // `cluster down` would also remove the pod network, which another cluster on this machine may use.
        Self::PROCESSES.iter().for_each(|part| self.kill(part));
    }
}

/// The first of four consecutive free ports. Each call returns other ports, because a server may be slow to listen.
fn free_ports() -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(27_443);
    let mut next = NEXT.lock().unwrap();
    let bases = iter::successors(Some(*next), |base| base.checked_add(10));
    let is_free = |base: &u16| (*base..base + 4).all(|port| TcpListener::bind(("0.0.0.0", port)).is_ok());
    let base = bases.take(100).find(is_free).expect("four free ports");
    *next = base + 10;
    base
}

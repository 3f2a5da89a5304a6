//! `sidecar` while the API server is killed, restarted, compacted or unreachable. Outages that would affect other tests run in
//! a separate cluster. These tests need the cluster script, and root.

use std::env;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::killable::{Cluster, run_successfully, script};
use crate::kubectl::Namespace;
use crate::scene::Scene;
use crate::sidecar::{FAULT_DURATION, FIRST, Sidecar};
use crate::support::run::Running;
use crate::support::witness::{STALE_SINCE, UNREACHABLE, WATCH_RESTARTS, Witness, answered, names};

fn scene_in(namespace: Namespace) -> Scene {
    let scene = Scene::in_namespace(namespace, &json!({"podcreds.io/db.secret": "db"}));
    scene.namespace.grant_watch(&["db"]);
    scene.namespace.put_secret("db", &[("username", "app"), ("password", FIRST)]);
    scene
}

#[test]
fn the_sidecar_recovers_from_a_killed_api_server() {
    let Some(cluster) = Cluster::start() else { return };
    let scene = scene_in(cluster.namespace());
    // An API server that has just started may forbid requests that it allows a moment later.
    let mut sidecar = Sidecar::start(scene, &["--poll-interval", "500ms", "--log-level", "debug"]);
    let cadence = Duration::from_millis(250);
    let witness = Witness::new(&sidecar.health, cadence);
    sidecar.rotate_to("test-password-1");

    cluster.kill("kube-apiserver");
    sidecar.wait_for_stderr("cannot be reached");
    witness.tells(&[UNREACHABLE, WATCH_RESTARTS, answered!("error")], FAULT_DURATION);
    assert_eq!(sidecar.scene.read("db/password"), "test-password-1");
    cluster.up();
    sidecar.rotate_to("test-password-2");
    sidecar.wait_for_stderr("is watched again");
    witness.ends(2);

    // The sidecar's resourceVersion is compacted away before it can watch again.
    let witness = Witness::new(&sidecar.health, cadence);
    let before = sidecar.running.stderr().len();
    sidecar.running.send(Signal::STOP);
    cluster.kill("kube-apiserver");
    cluster.up();
    for password in ["test-password-3", "test-password-4"] {
        sidecar.put_password(password);
    }
    // A new API server is needed, because this one has cached the changes.
    cluster.kill("kube-apiserver");
    cluster.compact();
    cluster.up();
    sidecar.running.send(Signal::CONT);
    sidecar.wait_for_password("test-password-4");
    // After a broken connection the sidecar does not resume from its old resourceVersion, but from the current state.
    assert!(!sidecar.running.stderr()[before..].contains("too old resource version"));
    sidecar.wait_until("the sidecar watches again", || {
        sidecar.running.stderr()[before..].contains("is watched again")
    });
    sidecar.rotate_to("test-password-5");
    // The new API server may cause other counters to change too.
    let counters = witness.ends(2);
    assert!(counters.is_superset(&names(&[UNREACHABLE, WATCH_RESTARTS])), "{counters:?}");
}

/// Such an API server refuses a watch that does not begin at a resourceVersion of the object.
#[test]
fn an_api_server_in_front_of_an_old_etcd_is_watched_where_it_can_be_and_polled_elsewhere() {
    let Some(cluster) = Cluster::start_on_old_etcd() else { return };
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/late.secret": "late",
        "podcreds.io/late.optional": "true",
    });
    let scene = Scene::in_namespace(cluster.namespace(), &annotations);
    scene.namespace.grant_watch(&["db", "late"]);
    scene.namespace.put_secret("db", &[("username", "app"), ("password", FIRST)]);
    let sidecar = Sidecar::start(scene, &["--poll-interval", "500ms"]);
    sidecar.rotate_to("test-password-1");
    sidecar.scene.namespace.put_secret("late", &[("a", "1")]);
    sidecar.wait_until("the new Secret is found", || sidecar.scene.read("late/a") == "1");
    sidecar.scene.namespace.kubectl(&["delete", "secret", "db"]);
    sidecar.wait_for_stderr("keeping its files");
    sidecar.rotate_to("test-password-2");
    sidecar.wait_until("nothing is stale", || sidecar.health.metrics().get(STALE_SINCE) == 0.0);
}

/// A network namespace that is connected only to this host, and in which the Service `kubernetes` leads to the API
/// server. Dropping it removes the namespace.
struct IsolatedNetwork {
    name: String,
}

impl IsolatedNetwork {
    /// Documentation addresses (RFC 5737). The test checks that this machine does not use them.
    const BLOCK: &str = "198.51.100.";
    const HOST: &str = "198.51.100.1";
    const OWN: &str = "198.51.100.2";

    fn new(service: &str, port: &str) -> Self {
        let name = format!("podcreds{}", std::process::id());
        let network = Self { name };
        let (ours, theirs) = (&network.host_interface(), "eth0");
        let ip = |args: &str| run_successfully(Command::new("ip"), &args.split(' ').collect::<Vec<_>>());
        let name = &network.name;
        assert!(!ip("addr").contains(Self::BLOCK), "this machine has an address in {}0 itself", Self::BLOCK);
        ip(&format!("netns add {name}"));
        ip(&format!("link add {ours} type veth peer name {theirs} netns {name}"));
        ip(&format!("addr add {}/30 dev {ours}", Self::HOST));
        ip(&format!("link set {ours} up"));
        ip(&format!("-n {name} addr add {}/30 dev {theirs}", Self::OWN));
        ip(&format!("-n {name} link set {theirs} up"));
        ip(&format!("-n {name} route add default via {}", Self::HOST));
        let to = format!("{}:{port}", Self::HOST);
        network.iptables(&format!(
            "-t nat -A OUTPUT -d {service} -p tcp --dport 443 -j DNAT --to-destination {to}"
        ));
        network
    }

    /// This host's network interface. Names of interfaces must be short.
    fn host_interface(&self) -> String {
        format!("pc{}", std::process::id())
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    fn iptables(&self, rule: &str) {
        let mut command = self.enter();
        command.arg("iptables");
        run_successfully(command, &rule.split(' ').collect::<Vec<_>>());
    }

    /// Silently drops every packet in both directions, except for connections to the port `spared`.
    fn cut(&self, spared: u16) {
        self.iptables(&format!("-A INPUT -p tcp --dport {spared} -j ACCEPT"));
        self.iptables(&format!("-A OUTPUT -p tcp --sport {spared} -j ACCEPT"));
        self.iptables("-A INPUT -j DROP");
        self.iptables("-A OUTPUT -j DROP");
    }

    fn reconnect(&self) {
        self.iptables("-F INPUT");
        self.iptables("-F OUTPUT");
    }
}

impl Drop for IsolatedNetwork {
    fn drop(&mut self) {
        // The namespace itself exists until its last process ends; the interface is removed at once.
        let _ = Command::new("ip").args(["link", "del", &self.host_interface()]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

#[test]
fn the_sidecar_recovers_from_a_network_that_drops_every_packet() {
    if script().is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let mut scene = scene_in(namespace);
    let service = scene.namespace.kubectl(&[
        "-n",
        "default",
        "get",
        "service/kubernetes",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ]);
    let network = IsolatedNetwork::new(&service, &scene.server.1);
    scene.server = (service, "443".into());
    let mut command = network.enter();
    command.args([
        env!("CARGO_BIN_EXE_podcreds"),
        "sidecar",
        "--listen",
        &format!("{}:0", IsolatedNetwork::OWN),
        "--watch-timeout",
        "2s",
        "--request-timeout",
        "2s",
    ]);
    scene.set_environment(&mut command);
    // `ip` needs a PATH, which the environment of a pod does not contain.
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    let running = Running::start(command);
    let sidecar = Sidecar::from_running(scene, running);
    let witness = Witness::new(&sidecar.health, Duration::from_secs(1));
    sidecar.rotate_to("test-password-1");

    network.cut(sidecar.health.address.port());
    sidecar.put_password("test-password-2");
    sidecar.wait_for_stderr("did not answer in time");
    let counters = [UNREACHABLE, WATCH_RESTARTS, answered!("error")];
    witness.tells(&counters, FAULT_DURATION);
    assert_eq!(sidecar.scene.read("db/password"), "test-password-1");
    network.reconnect();
    sidecar.wait_for_password("test-password-2");
    sidecar.wait_for_stderr("is watched again");
    sidecar.rotate_to("test-password-3");
    assert_eq!(witness.ends(3), names(&counters));
}

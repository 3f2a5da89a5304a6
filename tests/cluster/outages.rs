//! `sidecar` while the API server is killed, restarted, compacted or cut off: a cluster of the test's own is made for
//! what the others would suffer from. For the cluster script only, as root.

use std::env;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::killable::{Cluster, script, succeed};
use crate::kubectl::Namespace;
use crate::scene::Scene;
use crate::sidecar::{FIRST, LASTS, Sidecar};
use crate::support::run::Running;
use crate::support::witness::{UNREACHABLE, WATCH_RESTARTS, Witness, answered, names};

fn follower(namespace: Namespace) -> Scene {
    let scene = Scene::of(namespace, &json!({"podcreds.io/db.secret": "db"}));
    scene.namespace.grant_watch(&["db"]);
    scene.namespace.put_secret("db", &[("username", "app"), ("password", FIRST)]);
    scene
}

#[test]
fn an_api_server_that_is_killed_and_restarted_is_followed_on() {
    let Some(cluster) = Cluster::start() else { return };
    let scene = follower(cluster.namespace());
    // An API server that has just started may refuse what it will allow a moment later.
    let mut sidecar = Sidecar::start(scene, &["--poll-interval", "500ms", "--log-level", "debug"]);
    let cadence = Duration::from_millis(250);
    let witness = Witness::new(&sidecar.health, cadence);
    sidecar.follows("test-password-1");

    cluster.kill("kube-apiserver");
    sidecar.says("cannot be reached");
    witness.tells(&[UNREACHABLE, WATCH_RESTARTS, answered!("error")], LASTS);
    assert_eq!(sidecar.scene.read("db/password"), "test-password-1");
    cluster.up();
    sidecar.follows("test-password-2");
    sidecar.says("is watched again");
    witness.ends(2);

    // What it watched from is compacted away before it can ask again.
    let witness = Witness::new(&sidecar.health, cadence);
    let before = sidecar.running.stderr().len();
    sidecar.running.send(Signal::STOP);
    cluster.kill("kube-apiserver");
    cluster.up();
    for password in ["test-password-3", "test-password-4"] {
        sidecar.put_password(password);
    }
    // Another one, because this one remembers the changes that it made itself.
    cluster.kill("kube-apiserver");
    cluster.compact();
    cluster.up();
    sidecar.running.send(Signal::CONT);
    sidecar.arrives("test-password-4");
    // A line that broke says nothing of what was missed: it is not watched on from where it was, but from what there is.
    assert!(!sidecar.running.stderr()[before..].contains("too old resource version"));
    sidecar.waits("it watches on", || sidecar.running.stderr()[before..].contains("is watched again"));
    sidecar.follows("test-password-5");
    // The line that broke; a new API server may have more to say.
    let told = witness.ends(2);
    assert!(told.is_superset(&names(&[UNREACHABLE, WATCH_RESTARTS])), "{told:?}");
}

/// A network namespace whose only way out is a line to this host, and on which the Service `kubernetes` leads to the API
/// server. Gone when dropped.
struct Island {
    name: String,
}

impl Island {
    /// Addresses for documentation (RFC 5737), from a block that the test makes sure is not in use here.
    const BLOCK: &str = "198.51.100.";
    const HOST: &str = "198.51.100.1";
    const OWN: &str = "198.51.100.2";

    fn new(service: &str, port: &str) -> Self {
        let name = format!("podcreds{}", std::process::id());
        let island = Self { name };
        let (ours, theirs) = (&island.line(), "eth0");
        let ip = |args: &str| succeed(Command::new("ip"), &args.split(' ').collect::<Vec<_>>());
        let name = &island.name;
        assert!(!ip("addr").contains(Self::BLOCK), "this machine has an address in {}0 itself", Self::BLOCK);
        ip(&format!("netns add {name}"));
        ip(&format!("link add {ours} type veth peer name {theirs} netns {name}"));
        ip(&format!("addr add {}/30 dev {ours}", Self::HOST));
        ip(&format!("link set {ours} up"));
        ip(&format!("-n {name} addr add {}/30 dev {theirs}", Self::OWN));
        ip(&format!("-n {name} link set {theirs} up"));
        ip(&format!("-n {name} route add default via {}", Self::HOST));
        let to = format!("{}:{port}", Self::HOST);
        island.iptables(&format!(
            "-t nat -A OUTPUT -d {service} -p tcp --dport 443 -j DNAT --to-destination {to}"
        ));
        island
    }

    /// This host's end of the line. Names of interfaces are short.
    fn line(&self) -> String {
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
        succeed(command, &rule.split(' ').collect::<Vec<_>>());
    }

    /// From now on every packet vanishes, in both directions, and nobody is told; but who asks at this port gets through.
    fn cut(&self, spared: u16) {
        self.iptables(&format!("-A INPUT -p tcp --dport {spared} -j ACCEPT"));
        self.iptables(&format!("-A OUTPUT -p tcp --sport {spared} -j ACCEPT"));
        self.iptables("-A INPUT -j DROP");
        self.iptables("-A OUTPUT -j DROP");
    }

    fn mend(&self) {
        self.iptables("-F INPUT");
        self.iptables("-F OUTPUT");
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // The name ends here, the rest with the last process in it; the line goes at once.
        let _ = Command::new("ip").args(["link", "del", &self.line()]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

#[test]
fn a_line_on_which_every_packet_vanishes_is_given_up_and_the_change_arrives_afterwards() {
    if script().is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let mut scene = follower(namespace);
    let service = scene.namespace.kubectl(&[
        "-n",
        "default",
        "get",
        "service/kubernetes",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ]);
    let island = Island::new(&service, &scene.server.1);
    scene.server = (service, "443".into());
    let mut command = island.enter();
    command.args([
        env!("CARGO_BIN_EXE_podcreds"),
        "sidecar",
        "--listen",
        &format!("{}:0", Island::OWN),
        "--watch-timeout",
        "2s",
        "--request-timeout",
        "2s",
    ]);
    scene.pass(&mut command);
    // For `ip`, which the environment of a pod does not lead to.
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    let running = Running::start(command);
    let sidecar = Sidecar::started(scene, running);
    let witness = Witness::new(&sidecar.health, Duration::from_secs(1));
    sidecar.follows("test-password-1");

    island.cut(sidecar.health.address.port());
    sidecar.put_password("test-password-2");
    sidecar.says("did not answer in time");
    let counters = [UNREACHABLE, WATCH_RESTARTS, answered!("error")];
    witness.tells(&counters, LASTS);
    assert_eq!(sidecar.scene.read("db/password"), "test-password-1");
    island.mend();
    sidecar.arrives("test-password-2");
    sidecar.says("is watched again");
    sidecar.follows("test-password-3");
    assert_eq!(witness.ends(3), names(&counters));
}

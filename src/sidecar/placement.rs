//! Finds out whether this sidecar blocks its own pod. A sidecar runs until the pod ends. If it is an init container without
//! `restartPolicy: Always`, the kubelet waits for its end and never starts the containers after it, without an error.
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::sleep;
use std::time::Duration;

use log::debug;

use crate::kube::config::registry::Clusters;
use crate::kube::{Deadline, Error, PartialJson};
use crate::object::ObjectRef;
use crate::sidecar::controller::Event;
use crate::thread::spawn;

/// The delay before the first further check of a pod whose init containers have not ended; it doubles before each later check. The
/// pod's status shows only after a while which container has ended and which one has started.
const FIRST_DELAY: Duration = Duration::from_secs(5);
const CHECKS: u32 = 4;
/// Maximum time for one check.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum length of a host name. The kubelet truncates the names of pods to it.
const HOST_NAME_LIMIT: usize = 63;

/// How the pod runs this sidecar, as far as the pod's state shows it.
#[derive(Debug, PartialEq, Eq)]
enum Placement {
    /// It blocks no container, or nothing shows that it does.
    Settled,
    /// The status does not show yet which init container runs.
    Unknown,
    /// It runs as this init container.
    Blocking(String),
}

/// Checks the pod again in the background if its init containers may not have ended. Sends an [`Event::Misplaced`] if this sidecar
/// blocks the pod.
pub(crate) fn check(pod: &PartialJson, own: ObjectRef, clusters: &Arc<Clusters>, events: SyncSender<Event>) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_own = host_name(own.name()) == host;
    if placement(pod, is_own) == Placement::Settled {
        return;
    }
    let clusters = Arc::clone(clusters);
    let run = move || {
        for attempt in 0..CHECKS {
            sleep(FIRST_DELAY * 2_u32.pow(attempt));
            match read(&clusters, &own).map(|pod| placement(&pod, is_own)) {
                Ok(Placement::Settled) => return,
                Ok(Placement::Blocking(container)) => {
                    let message = format!(
                        "this sidecar runs as init container {container} without restartPolicy: Always, so the containers after it never start: add restartPolicy: Always to it (Kubernetes 1.29 or later), or run podcreds init instead"
                    );
                    // Fails only when the sidecar is about to exit.
                    return drop(events.send(Event::Misplaced { message }));
                }
                Ok(Placement::Unknown) => {}
                Err(error) => debug!("cannot check how the pod runs this sidecar: {error}"),
            }
        }
    };
    if let Err(error) = spawn("placement", run) {
        debug!("cannot check how the pod runs this sidecar: {error}");
    }
}

/// The host name that the kubelet gives to the pod of this name, unless its spec sets another.
/// Source: `truncatePodHostnameIfNeeded` in
/// <https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_pods.go>
fn host_name(pod: &str) -> &str {
    pod.get(..HOST_NAME_LIMIT).unwrap_or(pod).trim_end_matches(['-', '.'])
}

fn read(clusters: &Clusters, pod: &ObjectRef) -> Result<PartialJson, Error> {
    let client = clusters.own();
    let read = client.pod(pod, false, Deadline::after(TIMEOUT));
    client.close_idle();
    Ok(read?.1)
}

/// `is_own` means that this process certainly runs in the pod. Init containers run one after the other. Those with `restartPolicy:
/// Always` keep running beside the later ones, and the other containers start after all of them.
fn placement(pod: &PartialJson, is_own: bool) -> Placement {
    let (spec, status) = (pod.get("spec"), pod.get("status"));
    let is_native = |container: &&PartialJson| container.get("restartPolicy").text() == "Always";
    let init = spec.get("initContainers").items();
    let has_state = |container: &PartialJson, state: &str| {
        let name = container.get("name").text();
        let mut statuses = status.get("initContainerStatuses").items().iter();
        let found = statuses.find(|status| status.get("name").text() == name);
        found.is_some_and(|status| matches!(status.get("state").get(state), PartialJson::Object(_)))
    };
    let mut others = init.iter().filter(|container| !is_native(container));
    if status.get("phase").text() != "Pending" || others.clone().all(|it| has_state(it, "terminated")) {
        return Placement::Settled;
    }
    let Some(running) = others.find(|container| has_state(container, "running")) else {
        return Placement::Unknown;
    };
    let (mut natives, mut others) = (init.iter().filter(is_native), spec.get("containers").items().iter());
    let is_this = match runs_sidecar(running) {
        true => !natives.any(runs_sidecar),
        // The command may be that of the image.
        false => is_own && natives.next().is_none() && !others.any(runs_sidecar),
    };
    match is_this {
        true => Placement::Blocking(running.get("name").text().to_owned()),
        false => Placement::Settled,
    }
}

/// Whether a container's command and arguments contain `podcreds sidecar`, possibly in a shell script. A container without a command
/// may run an image whose own command is podcreds.
fn runs_sidecar(container: &PartialJson) -> bool {
    let (command, args) = (container.get("command").items(), container.get("args").items());
    let words = command.iter().chain(args).flat_map(|words| words.text().split_whitespace());
    let mut before = if command.is_empty() { "podcreds" } else { "" };
    for word in words {
        if word == "sidecar" && before.rsplit('/').next() == Some("podcreds") {
            return true;
        }
        before = word;
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ALWAYS: &str = "Always";

    /// An init container.
    fn init(name: &str, args: &[&str], restart_policy: &str) -> Value {
        json!({"name": name, "args": args, "restartPolicy": restart_policy})
    }

    /// The pod, of which one init container runs.
    fn pod(phase: &str, init: &[Value], containers: Value, running: &str) -> PartialJson {
        let state = |container: &Value| match container["name"] == running {
            true => json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
            false => json!({"waiting": {"reason": "PodInitializing"}}),
        };
        let statuses: Vec<_> =
            init.iter().map(|it| json!({"name": it["name"], "state": state(it)})).collect();
        let pod = json!({
            "metadata": {"annotations": {"name": "x"}},
            "spec": {"initContainers": init, "containers": containers},
            "status": {"phase": phase, "initContainerStatuses": statuses},
        });
        PartialJson::parse(pod.to_string().as_bytes()).unwrap()
    }

    fn app() -> Value {
        json!([{"name": "app"}])
    }

    fn blocking(name: &str) -> Placement {
        Placement::Blocking(name.to_owned())
    }

    #[test]
    fn a_long_name_of_a_pod_is_cut_as_the_kubelet_cuts_it() {
        assert_eq!(host_name("db-0"), "db-0");
        let start = "a".repeat(61);
        assert_eq!(host_name(&format!("{start}b-7c9f5-x2x4z")), format!("{start}b"));
        assert_eq!(host_name(&format!("{start}.-7c9f5-x2x4z")), start);
        assert_eq!(host_name(&format!("{start}bcdef")), format!("{start}bc"));
    }

    #[test]
    fn a_sidecar_that_is_a_running_init_container_blocks_its_pod_unless_it_is_a_native_sidecar() {
        let (proxy, sidecar) =
            (init("proxy", &["proxy", "sidecar"], ALWAYS), |policy| init("creds", &["sidecar"], policy));
        let find = |phase, all: &[Value], running| placement(&pod(phase, all, app(), running), false);
        assert_eq!(find("Pending", &[sidecar("")], "creds"), blocking("creds"));
        assert_eq!(find("Pending", &[sidecar("OnFailure")], "creds"), blocking("creds"));
        assert_eq!(find("Pending", &[proxy, sidecar("")], "creds"), blocking("creds"));
        assert_eq!(find("Pending", &[sidecar(ALWAYS)], "creds"), Placement::Settled);
        assert_eq!(find("Running", &[sidecar("")], "creds"), Placement::Settled);
        assert_eq!(find("Pending", &[], ""), Placement::Settled);
    }

    #[test]
    fn a_status_that_shows_no_running_init_container_is_checked_again_unless_all_have_ended() {
        let found = placement(&pod("Pending", &[init("creds", &["sidecar"], "")], app(), ""), true);
        assert_eq!(found, Placement::Unknown);
        let ended = json!({"name": "setup", "state": {"terminated": {"exitCode": 0}}});
        let spec = json!({"initContainers": [init("setup", &[], "")]});
        let pod = json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": [ended]}});
        let pod = PartialJson::parse(pod.to_string().as_bytes()).unwrap();
        assert_eq!(placement(&pod, true), Placement::Settled);
        assert_eq!(placement(&PartialJson::default(), true), Placement::Settled);
    }

    #[test]
    fn another_init_container_that_runs_beside_a_native_sidecar_is_not_blamed() {
        let migrate = init("migrate", &["up"], "");
        for args in [&["sidecar"][..], &[]] {
            let native = init("creds", args, ALWAYS);
            let pod = pod("Pending", &[native, migrate.clone()], app(), "migrate");
            assert_eq!(placement(&pod, true), Placement::Settled, "{args:?}");
        }
        // It could be either of them.
        let two = [init("creds", &["sidecar"], ALWAYS), init("again", &["sidecar"], "")];
        assert_eq!(placement(&pod("Pending", &two, app(), "again"), true), Placement::Settled);
    }

    #[test]
    fn a_command_of_the_image_is_recognized_only_in_its_own_pod_and_if_no_other_container_fits() {
        let hidden = [init("creds", &[], "")];
        assert_eq!(placement(&pod("Pending", &hidden, app(), "creds"), true), blocking("creds"));
        assert_eq!(placement(&pod("Pending", &hidden, app(), "creds"), false), Placement::Settled);
        let shown = json!([{"name": "app"}, {"name": "creds-2", "args": ["sidecar"]}]);
        assert_eq!(placement(&pod("Pending", &hidden, shown, "creds"), true), Placement::Settled);
    }

    #[test]
    fn a_command_shows_the_sidecar_as_words_of_its_own() {
        let shows =
            |container: Value| runs_sidecar(&PartialJson::parse(container.to_string().as_bytes()).unwrap());
        for container in [
            json!({"args": ["sidecar", "--events"]}),
            json!({"command": ["/usr/bin/podcreds", "sidecar"]}),
            json!({"command": ["podcreds"], "args": ["sidecar"]}),
            json!({"command": ["sh", "-c"], "args": ["umask 7; exec /podcreds sidecar --grace 1h"]}),
        ] {
            assert!(shows(container.clone()), "{container}");
        }
        for container in [
            json!({}),
            json!({"args": ["init"]}),
            json!({"args": ["proxy", "sidecar"]}),
            json!({"command": ["other"], "args": ["sidecar"]}),
            json!({"command": ["podcreds", "init", "--volume", "sidecar"]}),
        ] {
            assert!(!shows(container.clone()), "{container}");
        }
    }
}

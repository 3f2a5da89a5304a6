//! Applications that read their credentials once, with the examples of docs/restarts.md: after a rotation the kubelet restarts the
//! application's container, once, and nothing else.

use serde_json::Value;

use crate::examples::{self, PRINTED};
use crate::kubectl::{Namespace, PATIENCE};
use crate::native::{container_run, container_status, is_running, log};
use crate::requirements::since;
use crate::support::run::poll_until;

/// The application's output for a password of this length.
fn printed(length: usize) -> String {
    PRINTED.replace("29", &length.to_string())
}

/// A running example.
struct Example {
    namespace: Namespace,
    objects: Vec<Value>,
    secret: Value,
    /// The pod after its start.
    first: Value,
}

impl Example {
    /// `None` means that the test is skipped.
    fn start(directory: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        let mut objects = examples::render(directory)?;
        let namespace = Namespace::new()?;
        change(&mut examples::find(&mut objects, "Deployment")["spec"]["template"]["spec"]);
        let secret = examples::find(&mut objects, "Secret").clone();
        examples::apply(&namespace, &objects);
        examples::rolled_out(&namespace, &objects);
        let mut example = Self { namespace, objects, secret, first: Value::Null };
        example.first = example.pod();
        poll_until(PATIENCE, "the application reads its password", || example.log() == PRINTED);
        Some(example)
    }

    fn pod(&self) -> Value {
        examples::pod_of_example(&self.namespace, &self.objects)
    }

    fn log(&self) -> String {
        log(&self.namespace, self.first["metadata"]["name"].as_str().unwrap(), "app")
    }

    fn rotate_to(&mut self, length: usize) {
        self.secret["stringData"]["password"] = "p".repeat(length).into();
        examples::apply(&self.namespace, std::slice::from_ref(&self.secret));
    }

    /// The messages of failed probes, oldest first.
    fn failures(&self) -> Vec<String> {
        let events = ["get", "events", "--field-selector", "reason=Unhealthy", "-o", "json"];
        let events: Value = serde_json::from_str(&self.namespace.kubectl(&events)).unwrap();
        let messages =
            events["items"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap());
        messages.filter(|message| message.starts_with("Liveness")).map(str::to_owned).collect()
    }

    /// Rotates twice; each time exactly the application's container must restart.
    fn restarts_once_per_rotation(mut self) -> Self {
        for rotation in 1..=2 {
            self.rotate_to(30 + rotation);
            poll_until(PATIENCE, "the application reads the new password", || {
                is_running(&self.pod()["status"], "app") && self.log() == printed(30 + rotation)
            });
            let pod = self.pod();
            let restarts = |container| container_run(&pod["status"], container).1;
            assert_eq!(restarts("app"), i64::try_from(rotation).unwrap(), "{:#}", pod["status"]);
            assert_eq!(restarts("podcreds"), 0, "the sidecar keeps running");
            for kept in ["/metadata/uid", "/status/podIP", "/spec/nodeName"] {
                assert_eq!(pod.pointer(kept), self.first.pointer(kept), "{kept}");
            }
            // The application's trap has run.
            let last = &container_status(&pod["status"], "app")["lastState"]["terminated"];
            assert_eq!((&last["exitCode"], &last["reason"]), (&0.into(), &"Completed".into()), "{last}");
        }
        self
    }

    /// Waits until the kubelet has probed the current container several times, and checks that it has not restarted.
    fn keeps_running(&self) {
        let name = self.first["metadata"]["name"].as_str().unwrap();
        let before = container_run(&self.pod()["status"], "app");
        let probes = || self.probes(name);
        let first = probes();
        poll_until(PATIENCE, "the kubelet probes the container", || probes() >= first + 3);
        assert_eq!(container_run(&self.pod()["status"], "app"), before, "{:?}", self.failures());
    }

    /// How many liveness probes of the application have succeeded, as the kubelet counts them.
    fn probes(&self, pod: &str) -> u64 {
        let node = self.first["spec"]["nodeName"].as_str().unwrap();
        let path = format!("/api/v1/nodes/{node}/proxy/metrics/probes");
        let metrics = self.namespace.kubectl(&["get", "--raw", &path]);
        let is_wanted = |line: &&str| {
            line.starts_with("prober_probe_total{")
                && [r#"container="app""#, r#"probe_type="Liveness""#, r#"result="successful""#]
                    .iter()
                    .all(|label| line.contains(label))
                && line.contains(pod)
        };
        let line = metrics.lines().find(is_wanted);
        line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0)
    }
}

#[test]
fn a_liveness_probe_restarts_the_application_once_per_rotation() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(example) = Example::start("deploy/restart-probe", |_| {}) else { return };
    example.keeps_running();
    assert_eq!(example.failures(), [""; 0]);
    let example = example.restarts_once_per_rotation();
    let failures = example.failures();
    assert!(
        failures.iter().all(|failure| failure.contains("restart needed: shop.env changed at 20")),
        "{failures:?}"
    );
    example.keeps_running();
}

/// Process 1 is then the pause container, which is older than the application.
#[test]
fn a_liveness_probe_restarts_the_application_in_a_shared_process_namespace() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(example) = Example::start("deploy/restart-probe", |spec| {
        spec["shareProcessNamespace"] = true.into();
        spec["containers"][0]["securityContext"]["runAsUser"] = 65531.into();
    }) else {
        return;
    };
    example.restarts_once_per_rotation().keeps_running();
}

#[test]
fn a_shell_restarts_the_application_once_per_rotation() {
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(example) = Example::start("deploy/restart-sentinel", |_| {}) else { return };
    example.keeps_running();
    assert_eq!(example.failures(), [""; 0]);
    example.restarts_once_per_rotation().keeps_running();
}

#[test]
fn the_supervisor_restarts_the_application_and_the_kubelet_restarts_no_container() {
    if since(35, "image volumes").is_none() {
        return;
    }
    let Some(mut example) = Example::start("deploy/restart-exec", |_| {}) else { return };
    for length in [31, 32] {
        example.rotate_to(length);
        poll_until(PATIENCE, "the application has the new password", || {
            example.log().contains(&printed(length))
        });
    }
    let pod = example.pod();
    assert_eq!(pod["metadata"]["uid"], example.first["metadata"]["uid"]);
    for container in ["app", "podcreds"] {
        assert_eq!(
            container_run(&pod["status"], container),
            container_run(&example.first["status"], container)
        );
    }
    let started = example.log().lines().filter(|line| line.starts_with("app: user")).count();
    assert_eq!(started, 3, "one start and two restarts:\n{}", example.log());
    assert!(!example.log().contains(" WARN "), "{}", example.log());
}

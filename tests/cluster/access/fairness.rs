//! API Priority and Fairness: an API server that rejects requests with `Retry-After`.
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use serde_json::{Value, json};

use super::{Laptop, PODCREDS, wait_for_stderr, wait_until};
use crate::kubectl::PATIENCE;
use crate::requirements::served;
use crate::sidecar::FIRST;
use crate::support::run::Running;
use crate::support::server::BlackHole;

/// The API group versions of these objects, newest first: v1beta1 was added in 1.20 and removed in 1.26, v1 was added in
/// 1.29. Source: <https://kubernetes.io/docs/reference/using-api/deprecation-guide/>
const FLOW: [&str; 4] = [
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta1",
];
/// The API server's response, with `Retry-After: 1`.
const REFUSAL: &str = "the API server answered 429: ";

/// Requests that hold every seat of a user's priority level until a webhook responds.
struct SeatHolders {
    webhook: BlackHole,
    requests: Vec<Running>,
}

impl SeatHolders {
    /// A value from the API server's metrics for the priority level.
    fn metric(laptop: &Laptop, metric: &str) -> Option<usize> {
        let metrics = laptop.namespace.kubectl(&["get", "--raw", "/metrics"]);
        let label = format!("priority_level=\"{}\"", laptop.namespace.name());
        let is_ours = |line: &&str| {
            line.starts_with(&format!("apiserver_flowcontrol_{metric}{{")) && line.contains(&label)
        };
        metrics.lines().find(is_ours)?.rsplit_once(' ')?.1.parse().ok()
    }

    /// Sends as many requests as there are seats, and two more, which the API server rejects and kubectl retries.
    fn fill_seats(laptop: &Laptop, webhook: BlackHole) -> Self {
        let mut seats = None;
        wait_until("the API server reports the priority level", || {
            // The second metric exists since 1.26, the first until 1.30.
            seats = Self::metric(laptop, "request_concurrency_limit")
                .or_else(|| Self::metric(laptop, "nominal_limit_seats"));
            seats.is_some()
        });
        let request = |number: usize| {
            let mut command = laptop.namespace.command();
            command.env("KUBECONFIG", laptop.home.path(".kube/config"));
            Running::start({
                command.args(["create", "configmap", &format!("request-{number}")]);
                command
            })
        };
        let seats = seats.unwrap();
        let holders = Self { webhook, requests: (0..seats + 2).map(request).collect() };
        wait_until("every seat is taken", || {
            Self::metric(laptop, "current_executing_requests") == Some(seats)
        });
        holders
    }

    /// Ends all requests, those that hold a seat and those that come later.
    fn release(self) {
        drop(self.webhook);
        for request in self.requests {
            let finished = request.wait(PATIENCE);
            assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        }
    }
}

/// One share of the server's seats, in the fields of this API version, without borrowing seats of other levels.
fn limited(flow: &str) -> Value {
    let reject = json!({"type": "Reject"});
    if flow.ends_with("v1beta1") || flow.ends_with("v1beta2") {
        json!({"assuredConcurrencyShares": 1, "limitResponse": reject})
    } else {
        json!({"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": reject})
    }
}

#[test]
fn requests_that_the_server_rejects_are_retried_after_the_delay_that_it_sends() {
    let Some(flow) = served(&FLOW) else { return };
    let Some(laptop) = Laptop::new() else { return };
    let (name, webhook) = (laptop.namespace.name(), BlackHole::start());
    laptop.grant_only("ServiceAccount", "app");
    laptop.namespace.grant(&json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]));
    laptop.namespace.kubectl(&["label", "namespace", name, &format!("podcreds-test={name}")]);
    laptop.use_credentials(&json!({"token": laptop.namespace.token()}));
    let metadata = json!({"name": name});
    let subject = json!({"kind": "ServiceAccount", "serviceAccount": {"name": "app", "namespace": name}});
    let _temporary_objects = laptop.create_temporarily(&[
        json!({"apiVersion": flow, "kind": "PriorityLevelConfiguration", "metadata": metadata,
            "spec": {"type": "Limited", "limited": limited(flow)}}),
        json!({"apiVersion": flow, "kind": "FlowSchema", "metadata": metadata, "spec": {
            "matchingPrecedence": 50, "priorityLevelConfiguration": {"name": name},
            "rules": [{"subjects": [subject], "resourceRules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": [name]},
            ]}],
        }}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": metadata,
            "webhooks": [{
                "name": "hang.podcreds.io", "clientConfig": {"url": format!("https://{}/", webhook.address())},
                "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 30, "failurePolicy": "Ignore",
                "namespaceSelector": {"matchLabels": {"podcreds-test": name}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            }],
        }),
    ]);
    let sidecar = laptop.start_sidecar();
    let holders = SeatHolders::fill_seats(&laptop, webhook);

    let finished = laptop.init_fails(&["--timeout", "3s"], 4, &[REFUSAL]);
    let delay = finished.stderr.split_once("retrying in ").and_then(|(_, rest)| rest.split_once(" s"));
    let delay: f64 = delay.unwrap_or_else(|| panic!("{}", finished.stderr)).0.parse().unwrap();
    assert!(delay >= 1.0, "{}", finished.stderr);

    let patient = Running::start(laptop.home.command(PODCREDS, "render", &[]));
    wait_for_stderr(&patient, REFUSAL);
    wait_for_stderr(&sidecar, REFUSAL);
    assert_eq!(laptop.home.read("db/password"), FIRST);
    holders.release();
    let finished = patient.wait(PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    laptop.put_password("test-password-1");
    laptop.wait_for_password("test-password-1");
}

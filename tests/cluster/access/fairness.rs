//! Priority and fairness: an API server that turns requests away, and says when to come again.
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>

use serde_json::{Value, json};

use super::{PODCREDS, Person, says, waits};
use crate::kubectl::PATIENCE;
use crate::requirements::served;
use crate::sidecar::FIRST;
use crate::support::run::Running;
use crate::support::server::BlackHole;

/// The API that these objects belong to, the newest version first: v1beta1 came with 1.20 and went with 1.26, v1 came with
/// 1.29. Source: <https://kubernetes.io/docs/reference/using-api/deprecation-guide/>
const FLOW: [&str; 4] = [
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta1",
];
/// What the API server answers, with `Retry-After: 1`.
const REFUSAL: &str = "the API server answered 429: ";

/// Requests that hold every seat of a user's priority level, for as long as a webhook does not answer.
struct Crowd {
    webhook: BlackHole,
    requests: Vec<Running>,
}

impl Crowd {
    /// A value of the API server's own metrics on a priority level.
    fn metric(person: &Person, metric: &str) -> Option<usize> {
        let metrics = person.namespace.kubectl(&["get", "--raw", "/metrics"]);
        let label = format!("priority_level=\"{}\"", person.namespace.name());
        let is_ours = |line: &&str| {
            line.starts_with(&format!("apiserver_flowcontrol_{metric}{{")) && line.contains(&label)
        };
        metrics.lines().find(is_ours)?.rsplit_once(' ')?.1.parse().ok()
    }

    /// Comes with as many as there are seats, and some more, who are turned away and come again.
    fn gather(person: &Person, webhook: BlackHole) -> Self {
        let mut seats = None;
        waits("the priority level is known", || {
            // The second name since 1.26, the first until 1.30.
            seats = Self::metric(person, "request_concurrency_limit")
                .or_else(|| Self::metric(person, "nominal_limit_seats"));
            seats.is_some()
        });
        let request = |number: usize| {
            let mut command = person.namespace.command();
            command.env("KUBECONFIG", person.home.path(".kube/config"));
            Running::start({
                command.args(["create", "configmap", &format!("request-{number}")]);
                command
            })
        };
        let seats = seats.unwrap();
        let crowd = Self { webhook, requests: (0..seats + 2).map(request).collect() };
        waits("every seat is taken", || Self::metric(person, "current_executing_requests") == Some(seats));
        crowd
    }

    /// Whoever has a seat gives it up, and so do those who come later.
    fn goes(self) {
        drop(self.webhook);
        for request in self.requests {
            let finished = request.wait(PATIENCE);
            assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        }
    }
}

/// One share of the server's seats, in the words of this API version. The level borrows no seats of others where it could.
fn limited(flow: &str) -> Value {
    let reject = json!({"type": "Reject"});
    if flow.ends_with("v1beta1") || flow.ends_with("v1beta2") {
        json!({"assuredConcurrencyShares": 1, "limitResponse": reject})
    } else {
        json!({"nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": reject})
    }
}

#[test]
fn a_server_that_turns_requests_away_is_asked_again_when_it_says() {
    let Some(flow) = served(&FLOW) else { return };
    let Some(person) = Person::new() else { return };
    let (name, webhook) = (person.namespace.name(), BlackHole::start());
    person.lets("ServiceAccount", "app");
    person.namespace.grant(&json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]));
    person.namespace.kubectl(&["label", "namespace", name, &format!("podcreds-test={name}")]);
    person.is(&json!({"token": person.namespace.token()}));
    let metadata = json!({"name": name});
    let subject = json!({"kind": "ServiceAccount", "serviceAccount": {"name": "app", "namespace": name}});
    let _for_a_while = person.for_a_while(&[
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
    let sidecar = person.follows();
    let crowd = Crowd::gather(&person, webhook);

    let finished = person.fails(&["--timeout", "3s"], 4, &[REFUSAL]);
    let delay = finished.stderr.split_once("retrying in ").and_then(|(_, rest)| rest.split_once(" s "));
    let delay: f64 = delay.unwrap_or_else(|| panic!("{}", finished.stderr)).0.parse().unwrap();
    assert!(delay >= 1.0, "{}", finished.stderr);

    let patient = Running::start(person.home.command(PODCREDS, "render", &[]));
    says(&patient, REFUSAL);
    says(&sidecar, REFUSAL);
    assert_eq!(person.home.read("db/password"), FIRST);
    crowd.goes();
    let finished = patient.wait(PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    person.put_password("test-password-1");
    person.arrives("test-password-1");
}

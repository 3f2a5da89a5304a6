//! `init --events` in a real pod, against a real API server.

use serde_json::{Value, json};

use crate::kubectl::PATIENCE;
use crate::pods;
use crate::support::run::poll_until;

#[test]
fn kubectl_describe_shows_what_init_waits_for() {
    let Some(namespace) = pods::namespace() else { return };
    namespace.kubectl(&["delete", "secret", "db"]);
    namespace.grant(&json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]));
    let mut pod =
        pods::pod(json!({"podcreds.io/db.secret": "db"}), 12_345, 12_345, "cat /podcreds/db/username");
    pod["spec"]["initContainers"][0]["args"] = json!(["init", "--events"]);
    namespace.put("v1", "Pod", "app", pod);
    let events = || {
        let ours =
            ["get", "events", "--field-selector", "involvedObject.name=app,source=podcreds", "-o", "json"];
        let events: Value = serde_json::from_str(&namespace.kubectl(&ours)).unwrap();
        let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
        let events = events["items"].as_array().unwrap().iter();
        let mut events: Vec<_> = events
            .map(|event| (text(event, "type"), text(event, "reason"), text(event, "message")))
            .collect();
        events.sort();
        events
    };
    poll_until(PATIENCE, "the Event is recorded", || !events().is_empty());
    let message = format!("credential db: Secret {}/db: secrets \"db\" not found", namespace.name());
    let failed = ("Warning".to_owned(), "CredentialsFailed".to_owned(), message.clone());
    assert_eq!(events(), std::slice::from_ref(&failed));
    assert!(namespace.kubectl(&["describe", "pod", "app"]).contains(&message));
    namespace.put_secret("db", &[("username", "app"), ("password", "test-password-0")]);
    namespace.pod_status("app", "ends", pods::ended);
    let written = "wrote 2 files of 1 credential to /podcreds".to_owned();
    assert_eq!(events(), [("Normal".to_owned(), "CredentialsWritten".to_owned(), written), failed]);
}

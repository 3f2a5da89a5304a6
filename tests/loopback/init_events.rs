//! `init --events`: a Warning for each thing that `init` waits for, and nothing otherwise.

use serde_json::Value;

use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::server::{Fault, Kind, Times, Verb};
use crate::{HANGS, Scene, assert_code, assert_has};

/// Type, reason, message and count of each Event, in order of their names, which end with the time.
fn recorded(scene: &Scene) -> Vec<(String, String, String, u64)> {
    let mut events = scene.server.objects(Kind::Event);
    events.sort_by_key(|event| event["metadata"]["name"].as_str().unwrap().to_owned());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let fields = |event: &Value| {
        let count = event["count"].as_u64().unwrap();
        (text(&event["type"]), text(&event["reason"]), text(&event["message"]), count)
    };
    events.iter().map(fields).collect()
}

fn event(kind: &str, reason: &str, message: &str) -> (String, String, String, u64) {
    (kind.to_owned(), reason.to_owned(), message.to_owned(), 1)
}

/// Starts `init --events`, and waits until it has recorded an Event. Then changes something, after which it must succeed.
fn waits(scene: &Scene, change: impl FnOnce()) -> Finished {
    let running = Running::start(scene.command(&["init", "--events"]));
    running.poll_until(HANGS, "an Event is recorded", || !recorded(scene).is_empty());
    change();
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    finished
}

fn written(scene: &Scene) -> (String, String, String, u64) {
    let message = format!("wrote 2 files of 1 credential to {}", scene.pod.volume().display());
    event("Normal", "CredentialsWritten", &message)
}

#[test]
fn a_missing_secret_is_recorded_once_and_then_that_the_files_are_written() {
    let scene = Scene::plain();
    scene.server.delete(Kind::Secret, "prod", "db");
    let reads = || scene.server.request_lines().iter().filter(|line| line.ends_with("/secrets/db")).count();
    waits(&scene, || {
        poll_until(HANGS, "it is read again", || reads() >= 3);
        scene.put_password("test-password-1");
    });
    let events = recorded(&scene);
    assert_eq!(events.len(), 2, "{events:?}");
    let (kind, reason, message, count) = &events[0];
    assert_eq!((&**kind, &**reason, *count), ("Warning", "CredentialsFailed", 1));
    assert_eq!(message, "credential db: Secret prod/db: secrets \"db\" not found");
    assert_eq!(events[1], written(&scene));
    let of = &scene.server.objects(Kind::Event)[0]["involvedObject"];
    assert_eq!((&of["kind"], &of["name"]), (&"Pod".into(), &"app-0".into()));
    assert_eq!(of["uid"], scene.server.objects(Kind::Pod)[0]["metadata"]["uid"]);
}

#[test]
fn a_missing_right_is_recorded_with_the_rule_that_grants_it() {
    let scene = Scene::plain();
    let forbidden = Fault::Status { code: 403, retry_after: None, message: "test".into() };
    scene.server.fail_on("/secrets/db", forbidden, Times::Always);
    waits(&scene, || scene.server.clear_faults());
    let events = recorded(&scene);
    assert_has(
        &events[0].2,
        &["credential db: Secret prod/db: forbidden", "resourceNames: [db], verbs: [get]}"],
    );
    assert_eq!((&*events[0].0, &*events[0].1), ("Warning", "CredentialsFailed"));
}

#[test]
fn an_incomplete_secret_is_recorded_once() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.keys", "password, endpoint")]);
    waits(&scene, || {
        scene.server.put_secret("prod", "db", &[("password", b"test-password-1"), ("endpoint", b"db")]);
    });
    let message = "credential db: key endpoint not found in Secret prod/db; available: password, username";
    assert_eq!(recorded(&scene), [event("Warning", "CredentialsFailed", message), written(&scene)]);
}

#[test]
fn a_failed_init_leaves_its_events() {
    let scene = Scene::plain();
    scene.server.delete(Kind::Secret, "prod", "db");
    assert_code(&scene.init(&["--events", "--timeout", "300ms"]), 3);
    let reasons: Vec<_> = recorded(&scene).into_iter().map(|(_, reason, ..)| reason).collect();
    assert_eq!(reasons, ["CredentialsFailed"]);
}

#[test]
fn many_missing_secrets_cause_few_events() {
    let names: Vec<_> = (0..40).map(|number| format!("s{number}")).collect();
    let annotations: Vec<_> = names.iter().map(|name| (format!("{name}.secret"), name.as_str())).collect();
    let annotations: Vec<_> = annotations.iter().map(|(key, name)| (key.as_str(), *name)).collect();
    let scene = Scene::new(&annotations);
    assert_code(&scene.init(&["--events", "--timeout", "500ms"]), 3);
    let events = recorded(&scene);
    assert!((9..=25).contains(&events.len()), "{}", events.len());
    let combined =
        events.iter().filter(|(.., message, _)| message.starts_with("(combined from similar events)"));
    assert_eq!(combined.count(), 1, "{events:?}");
}

#[test]
fn nothing_is_recorded_without_a_wait_or_without_the_flag() {
    let scene = Scene::plain();
    assert_code(&scene.init(&["--events"]), 0);
    let missing = Scene::plain();
    missing.server.delete(Kind::Secret, "prod", "db");
    assert_code(&missing.init(&["--timeout", "300ms"]), 3);
    for scene in [&scene, &missing] {
        assert!(scene.server.request_lines().iter().all(|line| line.starts_with("GET ")));
    }
}

#[test]
fn events_that_cannot_be_recorded_do_not_fail_init() {
    let scene = Scene::plain();
    scene.server.forbid_kind(Verb::Create, Kind::Event);
    scene.server.fail_on(
        "/secrets/db",
        Fault::Status { code: 404, retry_after: None, message: "test".into() },
        Times::Once,
    );
    let finished = scene.init(&["--events"]);
    assert_code(&finished, 0);
    let rule = "{apiGroups: [\"\"], resources: [events], verbs: [create, patch]}; dropping the Event";
    assert_eq!(finished.stderr.matches(rule).count(), 1, "{}", finished.stderr);
}

/// Events are of no use to a pod that does not start.
#[test]
fn events_that_hang_delay_the_end_by_seconds_at_most() {
    let scene = Scene::plain();
    scene.server.fail_on("/events", Fault::Hold, Times::Always);
    scene.server.fail_on(
        "/secrets/db",
        Fault::Status { code: 404, retry_after: None, message: "test".into() },
        Times::Once,
    );
    assert_code(&scene.init(&["--events"]), 0);
}

#[test]
fn with_a_given_pod_uid_a_missing_right_to_get_the_pod_is_recorded() {
    let scene = Scene::plain();
    let forbidden = Fault::Status { code: 403, retry_after: None, message: "test".into() };
    scene.server.fail_on("/pods/app-0", forbidden, Times::Always);
    let mut command = scene.command(&["init", "--events", "--timeout", "300ms"]);
    command.env("POD_UID", "test-uid-1");
    assert_code(&run(command, HANGS), 3);
    let events = recorded(&scene);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_has(&events[0].2, &["Pod prod/app-0: forbidden", "resources: [pods], verbs: [get]}"]);
    assert_eq!(scene.server.objects(Kind::Event)[0]["involvedObject"]["uid"], "test-uid-1");
}

#[test]
fn events_take_no_place_of_a_read_in_the_rate_limit() {
    let scene = Scene::plain();
    scene.server.fail_on(
        "/secrets/db",
        Fault::Status { code: 404, retry_after: None, message: "test".into() },
        Times::Once,
    );
    // For the pod, and for the Secret twice: a fourth read would wait for longer than the timeout.
    assert_code(&scene.init(&["--events", "--qps", "0.1", "--burst", "3", "--timeout", "8s"]), 0);
    assert_eq!(recorded(&scene).len(), 2);
}

//! Events on the pod: they report what happened, are few, and nothing depends on them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::prometheus::scrape::certificate;
use crate::support::health::Health;
use crate::support::run::{Running, poll_until, run};
use crate::support::server::{Fault, Kind, Times, Verb};
use crate::{HANGS, PASSWORD, Scene};

/// Starts a sidecar with `--events` and waits for its first bundle.
fn sidecar(scene: &Scene, args: &[&str]) -> Running {
    let running = Running::start(scene.command(&[&["sidecar", "--events"], args].concat()));
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    running
}

fn change(scene: &Scene, password: &str) {
    scene.put_password(password);
    poll_until(HANGS, password, || scene.read("db/password") == password);
}

fn recorded(scene: &Scene) -> Vec<Value> {
    scene.server.objects(Kind::Event)
}

/// The counts of recorded Events by reason and message.
fn counts(scene: &Scene) -> BTreeMap<(String, String), u64> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let counted = recorded(scene)
        .into_iter()
        .map(|event| ((text(&event["reason"]), text(&event["message"])), event["count"].as_u64().unwrap()));
    counted.collect()
}

#[track_caller]
fn expect_events(scene: &Scene, running: &Running, expected: &[(&str, &str, u64)]) {
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(reason, message, count)| (((*reason).to_owned(), (*message).to_owned()), *count))
        .collect();
    let has_them = || counts(scene) == expected;
    running.poll_until(HANGS, &format!("{expected:?} are recorded"), has_them);
}

fn written(scene: &Scene) -> String {
    format!("wrote 2 files of 1 credential to {}", scene.pod.volume().display())
}

#[test]
fn repeated_occurrences_raise_the_count_of_one_event() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &[]);
    let written = written(&scene);
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        change(&scene, password);
    }
    let expected = [("CredentialsRotated", "rotated db", 3), ("CredentialsWritten", written.as_str(), 1)];
    expect_events(&scene, &running, &expected);
    let events = recorded(&scene);
    for event in &events {
        let pod = &event["involvedObject"];
        assert_eq!((&pod["kind"], &pod["apiVersion"]), (&"Pod".into(), &"v1".into()));
        assert_eq!((&pod["namespace"], &pod["name"]), (&"prod".into(), &"app-0".into()));
        assert_eq!(pod["uid"], scene.server.objects(Kind::Pod)[0]["metadata"]["uid"]);
        assert_eq!((&event["type"], &event["source"]["component"]), (&"Normal".into(), &"podcreds".into()));
        assert!(event["metadata"]["name"].as_str().unwrap().starts_with("app-0."));
    }
    let rotated = events.iter().find(|event| event["count"] == 3).unwrap();
    assert!(rotated["firstTimestamp"].as_str() <= rotated["lastTimestamp"].as_str());
    assert!(!serde_json::to_string(&events).unwrap().contains("test-password"));
}

#[test]
fn after_init_the_sidecars_start_is_not_recorded() {
    let scene = Scene::plain();
    scene.init(&[]);
    let running = sidecar(&scene, &[]);
    change(&scene, "test-password-1");
    expect_events(&scene, &running, &[("CredentialsRotated", "rotated db", 1)]);
}

#[test]
fn a_failure_is_recorded_as_a_warning_with_its_reason() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &[]);
    scene.server.delete(Kind::Secret, "prod", "db");
    let message = "credential db: Secret prod/db was deleted; keeping its files (--on-delete keep)";
    let written = written(&scene);
    let expected = [("CredentialsFailed", message, 1), ("CredentialsWritten", written.as_str(), 1)];
    expect_events(&scene, &running, &expected);
    // Reads that confirm it are not reported again.
    let reads = || scene.server.request_lines().iter().filter(|line| line.ends_with("/secrets/db")).count();
    running.poll_until(HANGS, "it is read three times more", || reads() >= 4);
    assert_eq!(running.stderr().matches("keeping its files").count(), 1, "{}", running.stderr());
    expect_events(&scene, &running, &expected);
    let failed = recorded(&scene).into_iter().find(|event| event["reason"] == "CredentialsFailed").unwrap();
    assert_eq!(failed["type"], "Warning");
}

#[test]
fn stale_files_are_recorded_with_the_reason_until_current_again() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &["--stale-after", "100ms"]);
    scene.server.delete(Kind::Secret, "prod", "db");
    let of = |reason: &str| recorded(&scene).into_iter().find(|event| event["reason"] == reason);
    poll_until(HANGS, "CredentialsStale is recorded", || of("CredentialsStale").is_some());
    let stale = of("CredentialsStale").unwrap();
    let message = stale["message"].as_str().unwrap();
    assert!(message.starts_with("the files may have been out of date since 20"), "{message}");
    assert!(message.contains(": credential db: Secret prod/db was deleted; "), "{message}");
    assert_eq!(stale["type"], "Warning");
    assert!(of("CredentialsCurrent").is_none(), "{}", running.stderr());
    change(&scene, "test-password-1");
    poll_until(HANGS, "CredentialsCurrent is recorded", || of("CredentialsCurrent").is_some());
    change(&scene, "test-password-2");
    poll_until(HANGS, "both rotations are recorded", || {
        of("CredentialsRotated").is_some_and(|rotated| rotated["count"] == 2)
    });
    assert_eq!(of("CredentialsCurrent").unwrap()["count"], 1);
    assert_eq!(running.stderr().matches("out of date since").count(), 1, "{}", running.stderr());
}

#[test]
fn the_end_of_a_short_failure_is_recorded() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &[]);
    scene.server.delete(Kind::Secret, "prod", "db");
    let has = |reason: &str| recorded(&scene).iter().any(|event| event["reason"] == reason);
    poll_until(HANGS, "the Event is recorded", || has("CredentialsFailed"));
    change(&scene, "test-password-1");
    poll_until(HANGS, &format!("the end is recorded: {}", running.stderr()), || has("CredentialsCurrent"));
}

#[test]
fn an_outage_causes_few_events_however_many_secrets_there_are() {
    const SECRETS: usize = 40;
    let names: Vec<_> = (0..SECRETS).map(|number| format!("s{number}")).collect();
    let annotations: Vec<_> = names.iter().map(|name| (format!("{name}.secret"), name.as_str())).collect();
    let annotations: Vec<_> = annotations.iter().map(|(word, name)| (word.as_str(), *name)).collect();
    let scene = Scene::new(&[&annotations[..], &[("db.secret", "db")]].concat());
    for name in &names {
        scene.server.put_secret("prod", name, &[("a", b"1")]);
    }
    let running = sidecar(&scene, &["--stale-after", "1s", "--poll-interval", "500ms"]);
    poll_until(HANGS, "all are watched", || scene.server.open_watches() == SECRETS + 1);
    let fault = Fault::Status { code: 503, retry_after: None, message: "test".into() };
    scene.server.fail_on("/", fault, Times::Always);
    scene.server.drop_connections();
    poll_until(HANGS, "CredentialsStale is recorded", || running.stderr().contains("out of date since"));
    scene.server.clear_faults();
    let count = |reason: &str| recorded(&scene).iter().filter(|event| event["reason"] == reason).count();
    let over = || count("CredentialsStale") == 1 && count("CredentialsCurrent") >= 1;
    poll_until(2 * HANGS, &format!("both are recorded: {}", running.stderr()), over);
    assert!(count("CredentialsFailed") <= 3, "{:?}", counts(&scene));
}

#[test]
fn staleness_is_recorded_at_once_when_only_a_watch_fails() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &["--stale-after", "100ms", "--grace", "0s"]);
    poll_until(HANGS, "the Secret is watched", || scene.server.open_watches() == 1);
    let fault = Fault::Status { code: 503, retry_after: None, message: "test".into() };
    scene.server.fail_on("watch=true", fault, Times::Always);
    scene.server.drop_connections();
    poll_until(HANGS, "CredentialsStale is recorded", || running.stderr().contains("out of date since"));
    scene.server.clear_faults();
    let again = "Secret prod/db is watched again";
    running.poll_until(HANGS, "the Secret is watched again", || running.stderr().contains(again));
    poll_until(HANGS, "CredentialsCurrent is recorded", || running.stderr().contains("are current again"));
}

#[test]
fn cleared_files_are_not_recorded_as_a_rotation() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let running = sidecar(&scene, &["--on-delete", "clear"]);
    scene.server.delete(Kind::Secret, "prod", "more");
    let written = format!("wrote 3 files of 2 credentials to {}", scene.pod.volume().display());
    let gone = "credential more: Secret prod/more was deleted; removing its files (--on-delete clear)";
    let expected = [
        ("CredentialsFailed", gone, 1),
        ("CredentialsRotated", "cleared more", 1),
        ("CredentialsWritten", written.as_str(), 1),
    ];
    expect_events(&scene, &running, &expected);
}

#[test]
fn a_notification_that_fails_for_longer_than_stale_after_is_a_warning() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", &format!("GET http://{address}/"))]);
    let running = sidecar(&scene, &["--stale-after", "100ms", "--grace", "200ms"]);
    poll_until(HANGS, "the Secret is watched", || scene.server.open_watches() == 1);
    change(&scene, "test-password-1");
    let of = |reason: &str| recorded(&scene).into_iter().find(|event| event["reason"] == reason);
    poll_until(HANGS, &format!("it is recorded: {}", running.stderr()), || of("NotifyFailed").is_some());
    let event = of("NotifyFailed").unwrap();
    let message = event["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("GET \"http://{address}/\": notification failing since 20")),
        "{message}"
    );
    assert_eq!(event["type"], "Warning");
}

#[test]
fn a_certificate_that_expires_within_the_warning_is_an_event_and_in_the_status() {
    let scene = Scene::new(&[("tls.secret", "tls")]);
    let data = [("ca.crt", certificate(20)), ("tls.crt", certificate(2))];
    let data = data.each_ref().map(|(key, pem)| (*key, pem.as_bytes()));
    scene.server.put_secret("prod", "tls", &data);
    let args = ["sidecar", "--events", "--listen", "127.0.0.1:0", "--expiry-warning", "10d"];
    let running = Running::start(scene.command(&args));
    let health = Health::of(&running, HANGS);
    let of = |reason: &str| recorded(&scene).into_iter().find(|event| event["reason"] == reason);
    running.poll_until(HANGS, "it is recorded", || of("CertificateExpires").is_some());
    let event = of("CertificateExpires").unwrap();
    let message = event["message"].as_str().unwrap();
    assert!(
        message.starts_with("credential tls: the certificate in field tls.crt expires at 20"),
        "{message}"
    );
    assert_eq!(event["type"], "Warning");
    assert!(running.stderr().contains(message), "{}", running.stderr());
    let address = health.address.to_string();
    let table = run(scene.command(&["status", "--listen", &address]), HANGS).stdout_text();
    assert!(table.ends_with(&format!("\n\n{message}\n")), "{table}");
    let json = run(scene.command(&["status", "--listen", &address, "-o", "json"]), HANGS).stdout_text();
    assert!(json.contains("\"certificates\":[{\"field\":\"ca.crt\",\"expires\":\"20"), "{json}");
}

#[test]
fn an_obsolete_watch_fails_silently() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let running = sidecar(&scene, &["--follow-annotations"]);
    poll_until(HANGS, "all are watched", || scene.server.open_watches() == 3);
    scene.annotate(&[("more.secret", "more")]);
    poll_until(HANGS, "the edit is applied", || !scene.pod.volume().join("db").exists());
    scene.server.drop_connections();
    poll_until(HANGS, "the others are watched again", || {
        ["Secret prod/more", "Pod prod/app-0"]
            .iter()
            .all(|object| running.stderr().contains(&format!("{object} is watched again")))
    });
    let is_about_db = |line: &&str| line.contains("WARN") && line.contains("Secret prod/db");
    assert_eq!(running.stderr().lines().find(is_about_db), None, "{}", running.stderr());
}

#[test]
fn an_outage_is_recorded_after_it_ends() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &[]);
    poll_until(HANGS, "the first Event is recorded", || recorded(&scene).len() == 1);
    let fault = Fault::Status { code: 503, retry_after: None, message: "test".into() };
    scene.server.fail_on("/", fault, Times::Always);
    scene.server.drop_connections();
    poll_until(HANGS, "the message is logged", || running.stderr().contains("answered 503"));
    scene.server.clear_faults();
    poll_until(HANGS, "the Event is recorded", || {
        recorded(&scene).iter().any(|event| event["reason"] == "CredentialsFailed")
    });
}

#[test]
fn without_the_patch_permission_each_occurrence_is_a_new_event() {
    let scene = Scene::plain();
    scene.server.forbid_kind(Verb::Patch, Kind::Event);
    let running = sidecar(&scene, &[]);
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        change(&scene, password);
        let rotations =
            || recorded(&scene).into_iter().filter(|event| event["reason"] == "CredentialsRotated");
        let number: usize = password.trim_start_matches("test-password-").parse().unwrap();
        poll_until(HANGS, &running.stderr(), || rotations().count() == number);
        assert!(rotations().all(|event| event["count"] == 1));
    }
    let patches = scene.server.request_lines().iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!(patches, 1, "a forbidden patch is not repeated");
}

#[test]
fn an_event_that_has_expired_is_created_again() {
    let scene = Scene::plain();
    let running = sidecar(&scene, &[]);
    change(&scene, "test-password-1");
    poll_until(HANGS, "both changes arrive", || recorded(&scene).len() == 2);
    for event in recorded(&scene) {
        scene.server.delete(Kind::Event, "prod", event["metadata"]["name"].as_str().unwrap());
    }
    change(&scene, "test-password-2");
    expect_events(&scene, &running, &[("CredentialsRotated", "rotated db", 2)]);
}

#[test]
fn missing_permission_for_events_is_logged_once() {
    let scene = Scene::plain();
    scene.server.forbid_kind(Verb::Create, Kind::Event);
    let running = sidecar(&scene, &[]);
    for password in ["test-password-1", "test-password-2"] {
        change(&scene, password);
    }
    let asked = || scene.server.requests().into_iter().filter(|request| request.method == "POST");
    let said = || {
        let event = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).unwrap();
        asked().map(|request| event(request.body)["reason"].to_string()).collect::<Vec<_>>()
    };
    let expected = ["\"CredentialsWritten\"", "\"CredentialsRotated\"", "\"CredentialsRotated\""];
    poll_until(HANGS, "each is tried once", || said() == expected);
    let rule = "{apiGroups: [\"\"], resources: [events], verbs: [create, patch]}; dropping the Event";
    poll_until(HANGS, "the message is logged", || running.stderr().contains(rule));
    assert_eq!(running.stderr().matches(rule).count(), 1, "{}", running.stderr());
    assert!(recorded(&scene).is_empty());
}

#[test]
fn a_lost_response_does_not_create_a_second_event() {
    let scene = Scene::plain();
    // The API server stores the Event, but its response is cut off.
    scene.server.fail_on("/events", Fault::TruncateBody, Times::Once);
    let running = sidecar(&scene, &[]);
    change(&scene, "test-password-1");
    let written = written(&scene);
    let expected = [("CredentialsRotated", "rotated db", 1), ("CredentialsWritten", written.as_str(), 1)];
    expect_events(&scene, &running, &expected);
    let asked = scene.server.request_lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(asked, 3, "one request is repeated");
    assert!(!running.stderr().contains("dropping the Event"), "{}", running.stderr());
}

#[test]
fn with_a_given_pod_uid_the_pod_is_not_read() {
    let scene = Scene::plain();
    let directory = tempfile::tempdir().unwrap();
    let annotations = directory.path().join("annotations");
    std::fs::write(&annotations, "podcreds.io/db.secret=\"db\"\n").unwrap();
    let mut command = scene.command(&["sidecar", "--events", "--annotations-file"]);
    command.arg(&annotations).env("POD_UID", "test-uid-1");
    let running = Running::start(command);
    poll_until(HANGS, "the Event is recorded", || recorded(&scene).len() == 1);
    assert_eq!(recorded(&scene)[0]["involvedObject"]["uid"], "test-uid-1", "{}", running.stderr());
    assert!(scene.server.request_lines().iter().all(|line| !line.contains("/pods/")));
}

#[test]
fn events_are_recorded_only_with_the_flag() {
    let scene = Scene::plain();
    let running = Running::start(scene.command(&["sidecar"]));
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    change(&scene, "test-password-1");
    assert!(recorded(&scene).is_empty(), "{}", running.stderr());
}

//! No message contains a value or a token, at the most verbose level, on success and on every failure.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use podcreds::annotations::keys;

use crate::health::Asked;
use crate::notify::application;
use crate::support::health::get;
use crate::support::run::run;
use crate::support::server::{Fault, Kind, TOKEN, Times};
use crate::{HANGS, PASSWORD, Scene};

const LITERAL: &str = "test-literal-91c2";

/// A password that a user puts into a wrong annotation. Messages may show the first four characters of a value.
const MISPLACED: &str = "Zq7wK9xT2mB5vR8n";

/// Annotations that fail after the Secret was read, each for another reason, and valid ones.
const CREDENTIALS: [&[(&str, &str)]; 10] = [
    &[("db.format", "env")],
    &[("db.keys", "none")],
    &[("db.set", "password=test-literal-91c2")],
    &[("db.format", "dotenv"), ("db.set", "x='test-literal-91c2${'")],
    &[("db.format", "envfile"), ("db.set", "x=\"test-literal-91c2'\"")],
    &[("db.set", "x=\"test-literal-91c2")],
    &[("db.path", "mine/x")],
    &[("db.template", "{{ password | b64decode }}")],
    &[("db.template", "{% set a = password ~ username %}{{ fields[a] }}")],
    &[("db.template", "{{ password }}{{ passwd }}")],
];

fn faults() -> Vec<Option<Fault>> {
    let body = format!(r#"{{"kind":"Secret","data":{{"password":"{PASSWORD}"}},"broken":"#);
    let metadata = r#""metadata":{"name":"db","namespace":"prod"}"#;
    let typed = format!(r#"{{"kind":"Secret",{metadata},"data":{{"password":["{PASSWORD}"]}}}}"#);
    let whole = format!(r#"{{"kind":"Secret",{metadata},"data":{{"password":"{PASSWORD}!"}}}}"#);
    let raw = format!("HTTP/1.1 200 OK\r\nx-{PASSWORD}: {PASSWORD}\r\nbroken {PASSWORD}\r\n\r\n{PASSWORD}");
    let status = |code| Fault::Status { code, retry_after: None, message: "test".into() };
    let mut faults = vec![
        Fault::Reset,
        Fault::TruncateBody,
        Fault::Drip { interval: Duration::from_millis(20) },
        Fault::HugeBody { bytes: 8 * 1024 * 1024 },
        Fault::Body(body),
        Fault::Body(typed),
        Fault::Body(whole),
        Fault::Raw(raw.into_bytes()),
        Fault::Redirect(format!("https://127.0.0.1/{PASSWORD}")),
    ];
    faults.extend([400, 401, 403, 404, 429, 500].map(status));
    faults.into_iter().map(Some).chain([None]).collect()
}

#[track_caller]
fn assert_silent(scene: &Scene, args: &[&str], what: &str) -> String {
    let mut all = String::new();
    for format in ["text", "json"] {
        let mut command = scene.command(args);
        command
            .args(["--timeout", "150ms", "--log-format", format])
            .env("RUST_LOG", "trace,ureq=trace,rustls=trace");
        let finished = run(command, HANGS);
        let said =
            format!("{}{}{}", finished.stdout_text(), finished.stderr, scene.pod.termination_message());
        let password = STANDARD.encode(PASSWORD);
        for secret in [PASSWORD, TOKEN, LITERAL, &MISPLACED[..5], password.trim_end_matches('=')] {
            assert!(!said.contains(secret), "{what}: {secret} in {said}");
        }
        // On a busy machine, the time may be over before the first request.
        let spoke = ["podcreds", "GET /api", "deadline"].iter().any(|word| said.contains(word));
        assert!(spoke || finished.code == Some(0), "{what}: {said}");
        all.push_str(&said);
    }
    all
}

#[test]
fn the_loudest_log_shows_no_value_and_no_token() {
    let scene = Scene::plain();
    for fault in faults() {
        scene.server.clear_faults();
        let what = format!("{fault:?}");
        if let Some(fault) = fault {
            scene.server.fail_on("/secrets/", fault, Times::Always);
        }
        assert_silent(&scene, &["init"], &what);
    }
}

#[test]
fn no_failure_of_a_credential_shows_its_values() {
    for annotations in CREDENTIALS {
        let scene = Scene::new(&[&[("db.secret", "db")], annotations].concat());
        std::fs::write(scene.pod.volume().join("mine"), "").unwrap();
        assert_silent(&scene, &["init"], &format!("{annotations:?}"));
        assert_silent(&scene, &["render"], &format!("{annotations:?}"));
    }
}

#[test]
fn no_status_and_no_metric_shows_a_value() {
    let broken: Vec<&[(&str, &str)]> = CREDENTIALS.into_iter().chain([&[][..]]).collect();
    for annotations in broken {
        let scene = Scene::new(&[&[("db.secret", "db")], annotations].concat());
        std::fs::write(scene.pod.volume().join("mine"), "").unwrap();
        if run(scene.command(&["render"]), HANGS).stderr.contains("invalid annotation") {
            // They end the sidecar.
            continue;
        }
        let asked = Asked::start(scene, &[]);
        let address = asked.health.address;
        // Its files are written, or the reason why they are not is known.
        asked.waits("the state is known", || {
            let text = get(address, "/status");
            text.contains("\"state\":\"current\"")
                || text.contains("\"lastError\"")
                || text.contains("volume")
        });
        let mut said: String = ["/status", "/status?output=table", "/metrics", "/readyz"]
            .map(|path| get(address, path))
            .concat();
        for output in ["table", "json"] {
            let shown =
                run(asked.scene.command(&["status", "--listen", &address.to_string(), "-o", output]), HANGS);
            said += &(shown.stdout_text() + &shown.stderr);
        }
        let password = STANDARD.encode(PASSWORD);
        for secret in [PASSWORD, TOKEN, LITERAL, password.trim_end_matches('=')] {
            assert!(!said.contains(secret), "{annotations:?}: {secret} in {said}");
        }
        assert!(said.contains("CREDENTIAL") && said.contains("podcreds_source_info"), "{said}");
    }
}

#[test]
fn a_password_in_a_wrong_annotation_is_in_no_output() {
    let scene = Scene::plain();
    // A template is any text. The unit tests of the annotations have more shapes.
    let keys: Vec<_> = keys().filter(|key| *key != "template").collect();
    for shape in [
        format!("postgresql://app:{MISPLACED}@h/d"),
        format!("DATABASE_URL=postgresql://app:{MISPLACED}@h/d"),
        format!("app:{MISPLACED}/x"),
        format!("password={MISPLACED}!"),
        format!("{MISPLACED}!"),
        format!("POST http://app:{MISPLACED}@h/"),
    ] {
        let named: Vec<_> = keys.iter().map(|key| (format!("{key}.{key}"), shape.as_str())).collect();
        let mut annotations: Vec<_> = named.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let sources: Vec<_> = keys[3..].iter().map(|key| format!("{key}.secret")).collect();
        annotations.extend(sources.iter().map(|key| (key.as_str(), "db")));
        scene.annotate(&annotations);
        for command in ["init", "render", "sidecar"] {
            let said = assert_silent(&scene, &[command], &shape);
            assert!(
                said.contains("invalid annotations:") && said.contains("podcreds.io/engine.engine"),
                "{said}"
            );
        }
    }
}

#[test]
fn the_header_of_a_notification_is_in_no_output() {
    const KEY: &str = "test-reload-key-5c2e";
    let put = |scene: &Scene, password: &str, key: &str| {
        scene.server.put_secret("prod", "db", &[("password", password.as_bytes()), ("key", key.as_bytes())]);
    };
    let (port, received) = application(0, "401 Unauthorized");
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("db.on-change", &format!("POST http://127.0.0.1:{port}/reload")),
        ("db.on-change-header", "X-Reload-Key: {{ key }}"),
    ]);
    put(&scene, "test-password-1", KEY);
    let mut command =
        scene.command(&["sidecar", "--listen", "127.0.0.1:0", "--events", "--stale-after", "0s"]);
    command.env("RUST_LOG", "trace,ureq=trace,rustls=trace");
    let asked = Asked::of(scene, command);
    asked.watches(1);
    let scene = &asked.scene;
    put(scene, "test-password-2", KEY);
    received.recv_timeout(HANGS).unwrap();
    let events = || serde_json::to_string(&scene.server.objects(Kind::Event)).unwrap();
    asked.waits("an Event about the refusal", || events().contains("NotifyFailed"));
    put(scene, "test-password-3", &format!("{KEY}\n"));
    asked.waits("the value is rejected", || asked.running.stderr().contains("field key has a line break"));
    asked.waits("an Event about the value", || events().contains("CredentialsFailed"));
    let pages: String = ["/healthz", "/livez", "/readyz", "/metrics"]
        .iter()
        .map(|path| get(asked.health.address, path))
        .collect();
    let all = format!("{}{}{pages}", asked.running.stderr(), events());
    assert!(all.contains("HTTP status 401") && all.contains("DEBUG"), "{all}");
    assert!(!all.contains("test-reload-key") && !all.contains("test-password"), "{all}");
}

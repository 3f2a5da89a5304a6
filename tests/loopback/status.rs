//! `/status` and `podcreds status`: what the files of each credential come from.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::health::Asked;
use crate::notify::application;
use crate::support::health::{Health, exchange, get, status};
use crate::support::run::{Finished, Running, run};
use crate::support::server::{Fault, Kind, Times};
use crate::support::skip::require;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const KEYS: &[(&str, &str)] = &[("db.secret", "db"), ("db.keys", "username,password")];

impl Asked {
    /// The body of `/status`.
    fn overview(&self) -> Value {
        let response = get(self.health.address, "/status");
        assert_has(&response, &["HTTP/1.1 200 ", "Content-Type: application/json"]);
        serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Null until the annotations are read.
    fn credential(&self, name: &str) -> Value {
        let overview = self.overview();
        let credentials = overview["credentials"].as_array().unwrap();
        credentials.iter().find(|it| it["name"] == name).cloned().unwrap_or_default()
    }

    fn is_in_state(&self, name: &str, state: &str) -> Value {
        self.waits(&format!("{name} is {state}"), || self.credential(name)["state"] == state);
        self.credential(name)
    }

    fn status_command(&self, args: &[&str]) -> Finished {
        let address = self.health.address.to_string();
        run(self.scene.command(&[&["status", "--listen", &address], args].concat()), HANGS)
    }

    fn secret_version(&self) -> String {
        self.scene.server.resource_version(Kind::Secret, "prod", "db").unwrap()
    }
}

#[test]
fn a_rotated_credential_has_the_version_of_its_source() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let before = asked.is_in_state("db", "current");
    let source = |version: &str| json!([{"kind": "Secret", "namespace": "prod", "name": "db", "resourceVersion": version}]);
    let first = asked.secret_version();
    assert_eq!(before["sources"], source(&first));
    let link = std::fs::read_link(asked.scene.pod.volume().join("db/..data")).unwrap();
    assert_eq!(before["version"], link.to_str().unwrap());
    asked.scene.put_password("test-password-1");
    asked.arrives("db/password", "test-password-1");
    let second = asked.secret_version();
    assert_ne!(first, second);
    asked.waits("the new version is served", || asked.credential("db")["sources"] == source(&second));
    let after = asked.credential("db");
    assert_ne!(after["version"], before["version"]);
    let overview = asked.overview();
    assert_eq!((&overview["pod"], &overview["namespace"]), (&json!("app-0"), &json!("prod")));
    assert_eq!((&overview["ready"], &overview["errors"]), (&json!(true), &json!([])));
    for time in [&overview["startTime"], &after["since"]] {
        let time = humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
        assert!(SystemTime::now().duration_since(time).unwrap() < HANGS * 4);
    }
    // The metrics show the same.
    let metrics = asked.health.metrics();
    let sources: Vec<_> = metrics.all("podcreds_source_info").collect();
    let expected = format!(
        "podcreds_source_info{{kind=\"Secret\",namespace=\"prod\",name=\"db\",resource_version=\"{second}\"}}"
    );
    assert_eq!(sources, [(expected.as_str(), 1.0)]);
    assert!(metrics.get("podcreds_credential_last_rotation_timestamp_seconds{credential=\"db\"}") > 1.7e9);
}

#[test]
fn a_version_that_cannot_be_rendered_is_read_and_not_served() {
    let asked = Asked::ready(Scene::new(KEYS), &[]);
    let served = asked.secret_version();
    asked.scene.server.put_secret("prod", "db", &[("username", b"app")]);
    let read = asked.secret_version();
    let stale = asked.is_in_state("db", "stale");
    let source = &stale["sources"][0];
    assert_eq!((&source["resourceVersion"], &source["readResourceVersion"]), (&json!(served), &json!(read)));
    assert_has(stale["errors"][0]["message"].as_str().unwrap(), &["credential db", "password"]);
    let shown = asked.status_command(&[]);
    assert_code(&shown, 0);
    let message = format!("Secret prod/db has resourceVersion {read}, and the files are still from {served}");
    assert_has(
        &shown.stdout_text(),
        &["db          stale  Secret/db", &message, "credential db: key password not found"],
    );

    asked.scene.put_password("test-password-1");
    let current = asked.is_in_state("db", "current");
    assert_eq!(current["errors"], json!([]));
    assert_eq!(current["lastError"]["message"], stale["errors"][0]["message"]);
    asked.waits("the new version is served", || {
        let source = &asked.credential("db")["sources"][0];
        source["resourceVersion"] == asked.secret_version() && source.get("readResourceVersion").is_none()
    });
}

#[test]
fn a_version_that_cannot_be_written_is_read_and_not_served() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let asked = Asked::ready(scene, &[]);
    asked.watches(2);
    let served = asked.secret_version();
    let lock = File::open(asked.scene.pod.volume().join("..podcreds/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    asked.scene.put_password("test-password-1");
    let read = asked.secret_version();
    let stale = asked.is_in_state("db", "stale");
    let source = &stale["sources"][0];
    assert_eq!((&source["resourceVersion"], &source["readResourceVersion"]), (&json!(served), &json!(read)));
    let message = asked.overview()["errors"][0]["message"].clone();
    assert_eq!(stale["errors"][0]["message"], message);
    assert_eq!(asked.credential("more")["state"], "current", "it has nothing to write");
    flock(&lock, FlockOperation::Unlock).unwrap();
    asked.is_in_state("db", "current");
    assert_eq!(asked.credential("db")["sources"][0]["resourceVersion"], read);
}

#[test]
fn edited_annotations_change_the_credentials_and_their_sources() {
    let scene = Scene::new(&[("db.secret", "db"), ("gone.secret", "db")]);
    scene.server.put_secret("prod", "other", &[("a", b"1")]);
    let asked = Asked::ready(scene, &["--follow-annotations"]);
    asked.watches(2);
    asked.is_in_state("gone", "current");
    asked.scene.annotate(&[("db.secret", "other")]);
    asked.waits("the other Secret is served", || {
        let source = &asked.credential("db")["sources"][0];
        source["name"] == "other" && source.get("resourceVersion").is_some()
    });
    assert_eq!(asked.credential("gone"), Value::Null);
    let metrics = asked.health.metrics();
    let sources: Vec<_> = metrics.all("podcreds_source_info").collect();
    assert!(sources.len() == 1 && sources[0].0.contains("name=\"other\""), "{sources:?}");
}

#[test]
fn a_change_of_the_metadata_alone_is_served_at_once() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let before = asked.is_in_state("db", "current");
    let first = asked.secret_version();
    asked.scene.put_password(PASSWORD);
    let second = asked.secret_version();
    assert_ne!(first, second);
    asked.waits("the new version is served", || {
        asked.credential("db")["sources"][0]["resourceVersion"] == second
    });
    let after = asked.credential("db");
    assert_eq!((&after["version"], &after["since"]), (&before["version"], &before["since"]));
}

#[test]
fn a_deleted_secret_whose_files_stay_is_stale_with_the_version_that_they_come_from() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let served = asked.secret_version();
    asked.scene.server.delete(Kind::Secret, "prod", "db");
    let stale = asked.is_in_state("db", "stale");
    assert_eq!(stale["sources"][0]["resourceVersion"], served);
    assert_has(stale["errors"][0]["message"].as_str().unwrap(), &["Secret prod/db", "keeping its files"]);
}

#[test]
fn a_credential_without_files_is_waiting() {
    let asked = Asked::start(Scene::new(&[("db.secret", "late")]), &[]);
    let waiting = asked.is_in_state("db", "waiting");
    assert_eq!(asked.overview()["ready"], json!(false));
    assert_eq!(waiting["sources"], json!([{"kind": "Secret", "namespace": "prod", "name": "late"}]));
    assert_eq!((waiting.get("since"), waiting.get("version")), (None, None));
    asked.waits("the reason is shown", || {
        asked.status_command(&[]).stdout_text().contains("secrets \"late\" not found; waiting for it")
    });
    let shown = asked.status_command(&[]);
    assert_code(&shown, 0);
    assert_has(
        &shown.stdout_text(),
        &["db          waiting  Secret/late  <none>           <none>  <none>\n"],
    );
}

#[test]
fn files_of_an_earlier_run_keep_their_age() {
    let scene = Scene::new(&[("db.secret", "db"), ("env.secret", "db"), ("env.format", "env")]);
    assert_code(&scene.init(&[]), 0);
    let link = std::fs::read_link(scene.pod.volume().join("db/..data")).unwrap();
    let written = SystemTime::now() - HANGS * 200;
    for path in ["db/..data", "env.env"] {
        let file = File::open(scene.pod.volume().join(path)).unwrap();
        file.set_modified(written).unwrap();
    }
    let asked = Asked::ready(scene, &[]);
    for name in ["db", "env"] {
        let credential = asked.is_in_state(name, "current");
        let since = humantime::parse_rfc3339(credential["since"].as_str().unwrap()).unwrap();
        assert_eq!(since, written - written.duration_since(since).unwrap());
        assert!(written.duration_since(since).unwrap().as_secs() < 1, "{credential}");
        assert_eq!(credential["sources"][0]["resourceVersion"], asked.secret_version());
    }
    assert_eq!(asked.credential("db")["version"], link.to_str().unwrap());
    assert_eq!(asked.credential("env").get("version"), None);
    assert_has(&asked.status_command(&[]).stdout_text(), &["  1h40m  <none>\n"]);
}

#[test]
fn a_notification_is_pending_or_failing_until_it_succeeds() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let on_change = format!("POST http://127.0.0.1:{free}/reload?token=test-token-in-query");
    let asked = Asked::ready(Scene::new(&[("db.secret", "db"), ("db.on-change", &on_change)]), &[]);
    assert_eq!(asked.credential("db").get("notification"), None, "no rotation yet");
    asked.scene.put_password("test-password-1");
    asked.waits("it fails", || asked.credential("db")["notification"]["state"] == "failing");
    let credential = asked.credential("db");
    let notification = &credential["notification"];
    assert_eq!(notification["version"], credential["version"]);
    assert!(notification["message"].as_str().unwrap().contains("refused"), "{notification}");
    assert!(!notification.to_string().contains("test-token-in-query"), "{notification}");
    assert_has(
        &asked.status_command(&[]).stdout_text(),
        &["  failing\n", &format!("POST \"http://127.0.0.1:{free}/reload\": notification failing since 2")],
    );
    let (_, received) = application(free, "204 No Content");
    received.recv_timeout(HANGS).unwrap();
    asked.waits("it is notified", || asked.credential("db")["notification"]["state"] == "notified");
    assert_has(&asked.status_command(&[]).stdout_text(), &["  notified\n"]);
}

#[test]
fn a_source_of_another_namespace_is_shown_with_it() {
    let scene = Scene::new(&[("db.secret", "shared/db"), ("more.secret", "db")]);
    scene.server.put_secret("shared", "db", &[("password", b"test-password-1")]);
    let asked = Asked::ready(scene, &[]);
    let shown = asked.status_command(&[]).stdout_text();
    assert_has(&shown, &["  Secret/shared/db  ", "  Secret/db         "]);
    let json = asked.status_command(&["-o", "json"]);
    assert_code(&json, 0);
    let printed: Value = serde_json::from_str(&json.stdout_text()).unwrap();
    assert_eq!(printed, asked.overview());
    assert_code(&asked.status_command(&["-o", "yaml"]), 2);
}

#[test]
fn the_sidecar_answers_before_it_has_read_the_annotations() {
    let scene = Scene::plain();
    let unavailable = Fault::Status { code: 500, retry_after: None, message: "test".into() };
    scene.server.fail_on("/pods/", unavailable, Times::Always);
    let asked = Asked::start(scene, &["--timeout", "100ms"]);
    asked.waits("the error is shown", || asked.overview()["errors"] != json!([]));
    let shown = asked.status_command(&[]);
    assert_code(&shown, 0);
    assert_has(&shown.stdout_text(), &["CREDENTIAL  STATE  SOURCE", "Pod prod/app-0"]);
}

/// An address of this machine that is not a loopback address. Connecting a UDP socket sends nothing.
fn other_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.254:9").ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback() && !address.ip().is_unspecified())
}

#[test]
fn only_clients_on_loopback_get_the_status() {
    let scene = Scene::plain();
    let running = Running::start(scene.command(&["sidecar", "--listen", ":0"]));
    let port = Health::of(&running, HANGS).address.port();
    // A socket for both families shows IPv4 clients as IPv6 ones.
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(status(&get(local, "/status")), 200);
    let head = exchange(local, b"HEAD /status HTTP/1.1\r\n\r\n");
    assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    let Some(mut other) = require("an address that is not loopback", other_address()) else { return };
    other.set_port(port);
    for path in ["/status", "/status?output=table"] {
        let response = get(other, path);
        assert_eq!(status(&response), 403);
        assert_has(&response, &["kubectl exec", "kubectl port-forward"]);
        assert!(!response.contains("\"db\"") && !response.contains("CREDENTIAL"), "{response}");
    }
    assert_eq!(status(&get(other, "/healthz")), 200);
    let shown = run(scene.command(&["status", "--listen", &other.to_string()]), HANGS);
    assert_code(&shown, 4);
    assert_has(&shown.stderr, &["/status returned 403 Forbidden: /status is served only to clients on"]);
}

#[test]
fn a_status_without_a_sidecar_fails_and_leaves_the_termination_log_alone() {
    let scene = Scene::plain();
    std::fs::write(scene.pod.termination_log(), "the sidecar's own message").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shown = run(scene.command(&["status", "--listen", &gone.to_string()]), HANGS);
    assert_code(&shown, 4);
    assert_eq!(shown.stderr.lines().count(), 1, "{}", shown.stderr);
    assert_has(&shown.stderr, &[&format!("http://{gone}/status does not answer: "), "refused"]);
    let off = run(scene.command(&["status"]), HANGS);
    assert_code(&off, 2);
    assert_has(&off.stderr, &["--listen is off"]);
    assert_code(&run(scene.command(&["status", "--wrong"]), HANGS), 2);
    assert_eq!(scene.pod.termination_message(), "the sidecar's own message");
}

#[test]
fn control_characters_and_cut_responses_do_not_reach_the_terminal() {
    let serve = |response: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(response).unwrap();
        });
        address.to_string()
    };
    let scene = Scene::plain();
    let status = |address: &str| run(scene.command(&["status", "--listen", address]), HANGS);
    let shown = status(&serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na\x1b[2J"));
    assert_code(&shown, 0);
    assert_eq!(shown.stdout_text(), "a\\u{1b}[2J");
    let cut = status(&serve(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nCREDENTIAL"));
    assert_code(&cut, 4);
    assert!(cut.stdout.is_empty() && cut.stderr.contains("incomplete response"), "{}", cut.stderr);
}

//! Notifications after a rotation: by HTTP, by a signal or by a file.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::health::Asked;
use crate::support::program;
use crate::support::run::{Running, poll_until, run};
use crate::{HANGS, PASSWORD, Scene};

/// A request line and its body.
pub(crate) type Notification = (String, String);

/// Starts an application that responds with `status` to every request, on this port (0 for a free one).
pub(crate) fn application(port: u16, status: &'static str) -> (u16, Receiver<Notification>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            stream.read_line(&mut line).unwrap();
            loop {
                let mut header = String::new();
                stream.read_line(&mut header).unwrap();
                match header.to_ascii_lowercase().trim().split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(_) => {}
                    None => break,
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if sender.send((line.trim().to_owned(), String::from_utf8(body).unwrap())).is_err() {
                return;
            }
        }
    });
    (port, received)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a sidecar with this `on-change` for the credential `db`, and another credential without one.
fn sidecar(on_change: &str) -> (Scene, Running) {
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", on_change), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "two watches are open", || scene.server.open_watches() == 2);
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    (scene, running)
}

fn change(scene: &Scene, password: &str) {
    scene.put_password(password);
    poll_until(HANGS, password, || scene.read("db/password") == password);
}

#[test]
fn the_application_is_notified_after_a_rotation_only() {
    let (port, received) = application(0, "204 No Content");
    let (scene, running) = sidecar(&format!("POST http://127.0.0.1:{port}/reload"));
    // A rotation of another credential must not notify.
    scene.server.put_secret("prod", "more", &[("a", b"2")]);
    poll_until(HANGS, "the other credential is rotated", || scene.read("more/a") == "2");
    change(&scene, "test-password-1");
    let (line, body) = received.recv_timeout(HANGS).unwrap();
    assert_eq!(line, "POST /reload HTTP/1.1");
    let body: Value = serde_json::from_str(&body).unwrap();
    let version = fs::read_link(scene.pod.volume().join("db/..data")).unwrap();
    assert_eq!(body["credentials"], serde_json::json!(["db"]));
    assert_eq!((&body["pod"], &body["namespace"]), (&"app-0".into(), &"prod".into()));
    assert_eq!(body["version"], version.to_str().unwrap());
    assert!(!body.to_string().contains("test-password"));
    assert!(received.try_recv().is_err(), "one rotation causes one notification: {}", running.stderr());
}

#[test]
fn rotations_during_an_outage_are_one_notification() {
    let port = free_port();
    let (scene, running) = sidecar(&format!("GET http://127.0.0.1:{port}/reload"));
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        change(&scene, password);
    }
    poll_until(HANGS, "it is tried", || running.stderr().contains("retrying until it succeeds"));
    let (_, received) = application(port, "200 OK");
    assert_eq!(received.recv_timeout(HANGS).unwrap().0, "GET /reload HTTP/1.1");
    poll_until(HANGS, "it is done", || running.stderr().contains("notified of version"));
    change(&scene, "test-password-4");
    received.recv_timeout(HANGS).unwrap();
    assert!(received.try_recv().is_err(), "{}", running.stderr());
}

#[test]
fn a_corrected_annotation_gets_the_notification_that_was_pending() {
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("db.on-change", &format!("POST http://127.0.0.1:{}/wrong", free_port())),
    ]);
    let asked = Asked::ready(scene, &["--follow-annotations"]);
    asked.watches(2);
    asked.scene.put_password("test-password-1");
    let pending = || asked.metric("podcreds_notification_pending_since_timestamp_seconds");
    asked.waits("the notification fails", || pending() > 0.0);

    let (port, received) = application(0, "204 No Content");
    let right = format!("POST http://127.0.0.1:{port}/right");
    asked.scene.annotate(&[("db.secret", "db"), ("db.on-change", &right)]);
    let (line, body) = received.recv_timeout(HANGS).unwrap();
    assert_eq!(line, "POST /right HTTP/1.1");
    let body: Value = serde_json::from_str(&body).unwrap();
    let version = fs::read_link(asked.scene.pod.volume().join("db/..data")).unwrap();
    assert_eq!((&body["credentials"], &body["version"]), (&json!(["db"]), &version.to_str().unwrap().into()));
    let delivered = || asked.metric("podcreds_notifications_total{result=\"success\"}");
    asked.waits("it is counted", || pending() == 0.0 && delivered() == 1.0);
    assert!(received.try_recv().is_err(), "{}", asked.running.stderr());
}

#[test]
fn a_failed_notification_is_retried() {
    let (port, received) = application(0, "503 Service Unavailable");
    let (scene, running) = sidecar(&format!("POST http://127.0.0.1:{port}/?token=test-token"));
    change(&scene, "test-password-1");
    for _ in 0..3 {
        received.recv_timeout(HANGS).unwrap();
    }
    assert!(running.stderr().contains("HTTP status 503"), "{}", running.stderr());
    assert_eq!(running.stderr().matches("HTTP status 503").count(), 1, "logged once for all attempts");
    assert!(!running.stderr().contains("test-token"), "{}", running.stderr());
}

#[test]
fn a_response_with_large_headers_counts_by_its_status() {
    let headers: String =
        (0..20).map(|number| format!("set-cookie: c{number}={}\r\n", "x".repeat(2000))).collect();
    let status = format!("200 OK\r\n{}", headers.trim_end()).leak();
    let (port, received) = application(0, status);
    let (scene, running) = sidecar(&format!("POST http://127.0.0.1:{port}/"));
    change(&scene, "test-password-1");
    received.recv_timeout(HANGS).unwrap();
    running.poll_until(HANGS, "it is done", || running.stderr().contains("notified of version"));
    assert!(received.try_recv().is_err() && !running.stderr().contains("retrying"), "{}", running.stderr());
}

#[test]
fn only_applications_with_changed_files_are_notified() {
    let (port, received) = application(0, "204 No Content");
    let user = format!("POST http://127.0.0.1:{port}/user");
    let password = format!("POST http://127.0.0.1:{port}/password");
    let scene = Scene::new(&[
        ("a.secret", "db"),
        ("a.keys", "username"),
        ("a.on-change", &user),
        ("b.secret", "db"),
        ("b.keys", "password"),
        ("b.on-change", &password),
    ]);
    // Changes between `init` and the start of the sidecar are notified, unchanged credentials are not.
    assert_eq!(scene.init(&[]).code, Some(0));
    scene.put_password("test-password-1");
    let running = Running::start(scene.command(&["sidecar"]));
    assert_eq!(received.recv_timeout(HANGS).unwrap().0, "POST /password HTTP/1.1");
    poll_until(HANGS, "the Secret is watched", || scene.server.open_watches() == 1);
    scene.put_password("test-password-2");
    let (line, body) = received.recv_timeout(HANGS).unwrap();
    assert_eq!((line.as_str(), body.contains("\"credentials\":[\"b\"]")), ("POST /password HTTP/1.1", true));
    scene.server.put_secret("prod", "db", &[("username", b"other"), ("password", b"test-password-2")]);
    assert_eq!(received.recv_timeout(HANGS).unwrap().0, "POST /user HTTP/1.1", "{}", running.stderr());
    assert!(received.try_recv().is_err());
}

#[test]
fn a_signal_reaches_the_process_with_the_given_name() {
    let scene = Scene::plain();
    let name = format!("podcreds-t{}", std::process::id() % 10_000);
    let program = scene.pod.root().join(&name);
    program::copy("/bin/sh", &program);
    let mut command = Command::new(&program);
    // Not HUP: under nohup(1) a shell inherits it ignored, and then must not trap it (POSIX, `trap`).
    command.args([
        "-c",
        "trap 'echo received' USR1; echo ready; while :; do read -r line <&3 || :; sleep 0.01; done 3</dev/null",
    ]);
    let application = Running::start(command);
    poll_until(HANGS, "the application is ready", || application.stdout().starts_with(b"ready"));
    let (scene, running) = sidecar(&format!("signal USR1 {name}"));
    assert_eq!(application.stdout(), b"ready\n");
    change(&scene, "test-password-1");
    let received = || String::from_utf8_lossy(&application.stdout()).into_owned();
    assert!(!running.stderr().contains("is not visible"), "no false alarm: {}", running.stderr());
    running.poll_until(HANGS, "a signal arrives", || received() != "ready\n");
    assert_eq!(received(), "ready\nreceived\n", "{}", running.stderr());
}

#[test]
fn a_missing_process_is_reported_with_the_existing_names() {
    let (scene, running) = sidecar("signal HUP no-such-process-here");
    change(&scene, "test-password-1");
    // Outside of a container other processes exist; their names help to correct the annotation.
    let said = "process \"no-such-process-here\" not found in this pod; running: ";
    poll_until(HANGS, "the message is logged", || running.stderr().contains(said));
}

#[test]
fn a_file_is_touched() {
    let (scene, running) = sidecar("touch reload");
    let file = scene.pod.volume().join("reload");
    assert!(!file.exists());
    change(&scene, "test-password-1");
    poll_until(HANGS, &format!("the file is created: {}", running.stderr()), || file.exists());
    fs::File::options().append(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    change(&scene, "test-password-2");
    poll_until(HANGS, "the file is touched", || {
        file.metadata().unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH
    });
}

/// An application whose turn cannot come during the test, and one that is notified at once. Once the second one is notified, the
/// first one would have been too.
#[test]
fn files_change_at_once_and_a_splay_delays_only_the_notification() {
    let (port, received) = application(0, "204 No Content");
    let target = |path: &str| format!("POST http://127.0.0.1:{port}/{path}");
    let (later, now) = (target("later"), target("now"));
    let annotations: [(&str, &str); 5] = [
        ("a.secret", "db"),
        ("a.on-change", &later),
        ("b.secret", "db"),
        ("b.on-change", &now),
        ("b.splay", "0s"),
    ];
    let scene = Scene::new(&annotations);
    let mut command = scene.command(&["sidecar", "--follow-annotations"]);
    command.env("PODCREDS_SPLAY", "1000h");
    let running = Running::start(command);
    poll_until(HANGS, "the Secret and the pod are watched", || scene.server.open_watches() == 2);
    for password in ["test-password-1", "test-password-2"] {
        scene.put_password(password);
        assert_eq!(received.recv_timeout(HANGS).unwrap().0, "POST /now HTTP/1.1", "{}", running.stderr());
        assert_eq!((scene.read("a/password"), scene.read("b/password")), (password.into(), password.into()));
    }
    let announced = format!("notifying POST \"http://127.0.0.1:{port}/later\" in ");
    assert_eq!(running.stderr().matches(&announced).count(), 1, "once: {}", running.stderr());
    assert_eq!(running.stderr().matches("(splay)").count(), 1, "{}", running.stderr());
    // An edit that drops the application cancels its notification.
    scene.annotate(&annotations[2..]);
    poll_until(HANGS, "the edit is applied", || !scene.pod.volume().join("a").exists());
    scene.put_password("test-password-3");
    assert_eq!(received.recv_timeout(HANGS).unwrap().0, "POST /now HTTP/1.1");
    assert!(received.try_recv().is_err(), "{}", running.stderr());
}

#[test]
fn an_invalid_splay_is_rejected() {
    for (args, annotation, message) in [
        (&["sidecar", "--splay", "30"][..], "1s", "invalid value '30' for '--splay <DURATION>'"),
        (&["sidecar"], "30", "podcreds.io/db.splay: invalid duration \"30\""),
    ] {
        let scene = Scene::new(&[("db.secret", "db"), ("db.splay", annotation)]);
        let finished = run(scene.command(args), HANGS);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(message), "{}", finished.stderr);
    }
}

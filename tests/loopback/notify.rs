//! What is done after a rotation: an application is told by HTTP, by a signal or by a file, once it is there to be told.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::SystemTime;

use serde_json::Value;

use crate::support::program;
use crate::support::run::{Running, poll_until};
use crate::{HANGS, PASSWORD, Scene};

/// A request line and its body.
type Told = (String, String);

/// An application that answers `status` to everything, on a port of its own or a given one.
fn application(port: u16, status: &'static str) -> (u16, Receiver<Told>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, told) = mpsc::channel();
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
    (port, told)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A sidecar whose credential `db` does this after a rotation, beside another that does nothing.
fn sidecar(on_change: &str) -> (Scene, Running) {
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", on_change), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "two watches are open", || scene.server.open_watches() == 2);
    poll_until(HANGS, "the first bundle is out", || scene.read("db/password") == PASSWORD);
    (scene, running)
}

fn change(scene: &Scene, password: &str) {
    scene.put_password(password);
    poll_until(HANGS, password, || scene.read("db/password") == password);
}

#[test]
fn an_application_is_told_by_post_after_a_rotation_and_not_after_the_first_bundle() {
    let (port, told) = application(0, "204 No Content");
    let (scene, running) = sidecar(&format!("POST http://127.0.0.1:{port}/reload"));
    // The rotation of another credential is none of this one's.
    scene.server.put_secret("prod", "more", &[("a", b"2")]);
    poll_until(HANGS, "the other is rotated", || scene.read("more/a") == "2");
    change(&scene, "test-password-1");
    let (line, body) = told.recv_timeout(HANGS).unwrap();
    assert_eq!(line, "POST /reload HTTP/1.1");
    let body: Value = serde_json::from_str(&body).unwrap();
    let version = fs::read_link(scene.pod.volume().join("db/..data")).unwrap();
    assert_eq!(body["credentials"], serde_json::json!(["db"]));
    assert_eq!((&body["pod"], &body["namespace"]), (&"app-0".into(), &"prod".into()));
    assert_eq!(body["version"], version.to_str().unwrap());
    assert!(!body.to_string().contains("test-password"));
    assert!(told.try_recv().is_err(), "one rotation is one notice: {}", running.stderr());
}

#[test]
fn a_dead_application_holds_nothing_up_and_is_told_of_all_rotations_in_one_notice() {
    let port = free_port();
    let (scene, running) = sidecar(&format!("GET http://127.0.0.1:{port}/reload"));
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        change(&scene, password);
    }
    poll_until(HANGS, "it is tried", || running.stderr().contains("retrying until it succeeds"));
    let (_, told) = application(port, "200 OK");
    assert_eq!(told.recv_timeout(HANGS).unwrap().0, "GET /reload HTTP/1.1");
    poll_until(HANGS, "it is done", || running.stderr().contains("notified of version"));
    change(&scene, "test-password-4");
    told.recv_timeout(HANGS).unwrap();
    assert!(told.try_recv().is_err(), "{}", running.stderr());
}

#[test]
fn an_application_that_refuses_is_told_again() {
    let (port, told) = application(0, "503 Service Unavailable");
    let (scene, running) = sidecar(&format!("POST http://127.0.0.1:{port}/"));
    change(&scene, "test-password-1");
    for _ in 0..3 {
        told.recv_timeout(HANGS).unwrap();
    }
    assert!(running.stderr().contains("HTTP status 503"), "{}", running.stderr());
    assert_eq!(running.stderr().matches("HTTP status 503").count(), 1, "once for all attempts");
}

#[test]
fn only_the_application_whose_files_have_changed_is_told() {
    let (port, told) = application(0, "204 No Content");
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
    // What `init` wrote and what changed since is told of too, and nothing else.
    assert_eq!(scene.init(&[]).code, Some(0));
    scene.put_password("test-password-1");
    let running = Running::start(scene.command(&["sidecar"]));
    assert_eq!(told.recv_timeout(HANGS).unwrap().0, "POST /password HTTP/1.1");
    poll_until(HANGS, "it is watched", || scene.server.open_watches() == 1);
    scene.put_password("test-password-2");
    let (line, body) = told.recv_timeout(HANGS).unwrap();
    assert_eq!((line.as_str(), body.contains("\"credentials\":[\"b\"]")), ("POST /password HTTP/1.1", true));
    scene.server.put_secret("prod", "db", &[("username", b"other"), ("password", b"test-password-2")]);
    assert_eq!(told.recv_timeout(HANGS).unwrap().0, "POST /user HTTP/1.1", "{}", running.stderr());
    assert!(told.try_recv().is_err());
}

#[test]
fn a_signal_reaches_the_process_of_that_name() {
    let scene = Scene::plain();
    let name = format!("podcreds-t{}", std::process::id() % 10_000);
    let program = scene.pod.root().join(&name);
    program::copy("/bin/sh", &program);
    let mut command = Command::new(&program);
    command.args([
        "-c",
        "trap 'echo told' HUP; echo ready; while :; do read -r line <&3 || :; sleep 0.01; done 3</dev/null",
    ]);
    let application = Running::start(command);
    poll_until(HANGS, "the application is ready", || application.stdout().starts_with(b"ready"));
    let (scene, running) = sidecar(&format!("signal HUP {name}"));
    assert_eq!(application.stdout(), b"ready\n");
    change(&scene, "test-password-1");
    poll_until(HANGS, &format!("it is told: {}", running.stderr()), || {
        application.stdout() == b"ready\ntold\n"
    });
}

#[test]
fn a_process_that_is_not_there_is_said_with_what_to_set() {
    let (scene, running) = sidecar("signal HUP no-such-process-here");
    change(&scene, "test-password-1");
    // Outside of a container there are others, and the names that it sees help to find the right one.
    let said = "process \"no-such-process-here\" not found; running: ";
    poll_until(HANGS, "it is said", || running.stderr().contains(said));
}

#[test]
fn a_file_is_touched() {
    let (scene, running) = sidecar("touch reload");
    let file = scene.pod.volume().join("reload");
    assert!(!file.exists());
    change(&scene, "test-password-1");
    poll_until(HANGS, &format!("it is made: {}", running.stderr()), || file.exists());
    fs::File::options().append(true).open(&file).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    change(&scene, "test-password-2");
    poll_until(HANGS, "it is touched", || {
        file.metadata().unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH
    });
}

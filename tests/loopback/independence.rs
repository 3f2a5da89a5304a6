//! Credentials are independent: whatever is wrong with one of them, the others rotate on, and the files of that one stay as they
//! are, also after a restart.

use std::fs;

use crate::health::{Asked, stale_since};
use crate::support::run::{Running, peak_memory};
use crate::support::server::{ApiServer, Fault, Kind, Times, WatchFault};
use crate::support::witness::ROTATIONS;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// A scene in which each credential has a Secret of the same name with a user name and a password.
fn scene(names: &[&str], annotations: &[(&str, &str)]) -> Scene {
    let secrets: Vec<_> = names.iter().map(|name| (format!("{name}.secret"), *name)).collect();
    let secrets = secrets.iter().map(|(key, name)| (key.as_str(), *name));
    let scene = Scene::new(&secrets.chain(annotations.iter().copied()).collect::<Vec<_>>());
    for name in names {
        put(&scene.server, name, PASSWORD);
    }
    scene
}

fn put(server: &ApiServer, name: &str, password: &str) {
    server.put_secret("prod", name, &[("username", b"app"), ("password", password.as_bytes())]);
}

/// Changes the password of a Secret and waits for it in the credential's file.
#[track_caller]
fn rotates(asked: &Asked, name: &str, password: &str) {
    put(&asked.scene.server, name, password);
    asked.arrives(&format!("{name}/password"), password);
}

#[track_caller]
fn assert_stale(asked: &Asked, stale: &[&str], current: &[&str]) {
    let metrics = asked.health.metrics();
    for name in stale {
        assert!(metrics.get(&stale_since(name)) > 0.0, "{name}: {metrics:?}");
    }
    for name in current {
        assert_eq!(metrics.get(&stale_since(name)), 0.0, "{name}: {metrics:?}");
    }
}

#[test]
fn a_secret_whose_read_hangs_is_stale_and_delays_no_other() {
    const OTHERS: [&str; 4] = ["a", "b", "c", "d"];
    let scene = scene(&[&OTHERS[..], &["hangs"]].concat(), &[]);
    let asked = Asked::ready(scene, &["--request-timeout", "8s", "--stale-after", "1s"]);
    asked.watches(5);
    let server = &asked.scene.server;
    server.fail_on("/secrets/hangs", Fault::SilentHeader, Times::Always);
    let reads = || server.request_lines().iter().filter(|line| line.ends_with("/secrets/hangs")).count();
    server.break_watches(WatchFault::End);
    put(server, "hangs", "test-password-late");
    asked.waits("it is read again", || reads() == 2);
    for round in 1..=10 {
        for other in OTHERS {
            rotates(&asked, other, &format!("test-password-{round}"));
        }
    }
    let said = asked.running.stderr();
    assert!(!said.contains("prod/hangs"), "the others rotated while the response was pending: {said}");

    asked.waits("it is stale", || asked.metric(&stale_since("hangs")) > 0.0);
    assert_stale(&asked, &[], &OTHERS);
    asked.waits("this is logged", || {
        let said = asked.running.stderr();
        said.lines()
            .any(|line| line.contains("may have been out of date since") && line.contains("prod/hangs"))
    });
    for other in OTHERS {
        rotates(&asked, other, "test-password-afterwards");
    }
    assert_eq!(asked.scene.read("hangs/password"), PASSWORD);
    assert_eq!((asked.status("/readyz"), asked.status("/healthz")), (200, 200));
    server.clear_faults();
    asked.arrives("hangs/password", "test-password-late");
    asked.is_current();
}

/// They are more than half of the reads that may be under way. The watches of all objects end together when an API server restarts.
#[test]
fn many_secrets_whose_reads_hang_delay_no_other() {
    let names: Vec<_> = (0..12).map(|n| format!("hangs{n}")).chain(["a".into(), "z".into()]).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let asked = Asked::ready(scene(&names, &[]), &["--request-timeout", "20s"]);
    asked.watches(names.len());
    let server = &asked.scene.server;
    server.fail_on("/secrets/hangs", Fault::SilentHeader, Times::Always);
    server.break_watches(WatchFault::End);
    for other in ["a", "z"] {
        rotates(&asked, other, "test-password-1");
    }
    let said = asked.running.stderr();
    assert!(!said.contains("prod/hangs"), "the others rotated while the responses were pending: {said}");
}

#[test]
fn a_broken_credential_keeps_its_files_while_the_others_rotate_a_hundred_times() {
    let scene = scene(&["a", "b", "c"], &[("b.keys", "username,password")]);
    let asked = Asked::ready(scene, &["--grace", "0s"]);
    asked.watches(3);
    asked.scene.server.put_secret("prod", "b", &[("username", b"other")]);
    asked.waits("it is stale", || asked.metric(&stale_since("b")) > 0.0);
    for round in 1..=100 {
        for name in ["a", "c"] {
            rotates(&asked, name, &format!("test-password-{round}"));
        }
    }
    assert_eq!(
        (asked.scene.read("b/username"), asked.scene.read("b/password")),
        ("app".into(), PASSWORD.into())
    );
    assert_stale(&asked, &["b"], &["a", "c"]);
    assert_eq!(asked.failures("render"), 1.0, "nothing that it is made of has changed since");
    asked.waits("the rotations are counted", || asked.metric(ROTATIONS) >= 200.0);
    assert_eq!(asked.metric(ROTATIONS), 200.0);
    assert_eq!(asked.running.stderr().matches("key password not found").count(), 1);

    rotates(&asked, "b", "test-password-repaired");
    asked.is_current();
    assert_stale(&asked, &[], &["a", "b", "c"]);
    assert_eq!(asked.metric(ROTATIONS), 201.0);
}

#[test]
fn an_entry_of_two_credentials_stays_whole_while_one_of_them_is_broken() {
    let annotations = [
        ("x.format", "env"),
        ("x.path", "all/x.env"),
        ("x.keys", "X_PASSWORD=password"),
        ("y.format", "env"),
        ("y.path", "all/y.env"),
        ("y.keys", "Y_PASSWORD=password"),
    ];
    let asked = Asked::ready(scene(&["x", "y", "z"], &annotations), &[]);
    asked.watches(3);
    let files = || ["all/x.env", "all/y.env"].map(|path| asked.scene.read(path));
    let (server, before) = (&asked.scene.server, files());
    assert!(before.iter().all(|file| file.contains(PASSWORD)), "{before:?}");

    server.put_secret("prod", "y", &[("username", b"app")]);
    asked.waits("it is stale", || asked.metric(&stale_since("y")) > 0.0);
    put(server, "x", "test-password-x");
    rotates(&asked, "z", "test-password-z");
    assert_eq!(files(), before);
    // The file of the other one is out of date too.
    assert_stale(&asked, &["x", "y"], &["z"]);

    put(server, "y", "test-password-y");
    asked.waits("both are written", || {
        let [x, y] = files();
        x.contains("test-password-x") && y.contains("test-password-y")
    });
    asked.is_current();
    assert_stale(&asked, &[], &["x", "y", "z"]);
}

/// Two credentials in one file, whose variables are `X_PASSWORD` and `Y_PASSWORD`, and `z` in an entry of its own.
const ONE_FILE: [(&str, &str); 6] = [
    ("x.format", "env"),
    ("x.path", "app.env"),
    ("x.keys", "X_PASSWORD=password"),
    ("y.format", "env"),
    ("y.path", "app.env"),
    ("y.keys", "Y_PASSWORD=password"),
];

fn one_file(x: &str, y: &str) -> String {
    format!("export X_PASSWORD='{x}'\nexport Y_PASSWORD='{y}'\n")
}

#[test]
fn a_rotation_of_one_of_two_credentials_replaces_their_file_as_a_whole() {
    let asked = Asked::ready(scene(&["x", "y", "z"], &ONE_FILE), &[]);
    asked.watches(3);
    let path = asked.scene.pod.volume().join("app.env");
    let mut before = one_file(PASSWORD, PASSWORD);
    assert_eq!(asked.scene.read("app.env"), before);
    for (x, y) in [("test-password-x", PASSWORD), ("test-password-x", "test-password-y")] {
        let old = fs::File::open(&path).unwrap();
        let (changed, password) = if y == PASSWORD { ("x", x) } else { ("y", y) };
        put(&asked.scene.server, changed, password);
        let after = one_file(x, y);
        asked.waits("the file is new", || {
            let now = asked.scene.read("app.env");
            assert!([&before, &after].contains(&&now), "{now}");
            now == after
        });
        // A reader that opened the file before the rename reads it to its end.
        assert_eq!(std::io::read_to_string(old).unwrap(), before);
        before = after;
    }
    asked.waits("the rotations are counted", || asked.metric(ROTATIONS) >= 2.0);
    asked.is_current();
}

#[test]
fn a_file_of_two_credentials_stays_whole_while_one_of_them_is_broken() {
    let asked = Asked::ready(scene(&["x", "y", "z"], &ONE_FILE), &[]);
    asked.watches(3);
    let server = &asked.scene.server;
    server.put_secret("prod", "y", &[("username", b"app")]);
    asked.waits("it is stale", || asked.metric(&stale_since("y")) > 0.0);
    put(server, "x", "test-password-x");
    rotates(&asked, "z", "test-password-z");
    assert_eq!(asked.scene.read("app.env"), one_file(PASSWORD, PASSWORD));
    assert_stale(&asked, &["x", "y"], &["z"]);
    asked.logs(&["credential x: shares app.env with y; keeping its current files"]);
    put(server, "y", "test-password-y");
    asked.arrives("app.env", &one_file("test-password-x", "test-password-y"));
    asked.is_current();
}

#[test]
fn after_a_restart_without_an_api_server_the_files_of_the_earlier_run_make_it_ready() {
    let scene = Scene::plain();
    let file = scene.pod.root().join("annotations");
    fs::write(&file, "podcreds.io/db.secret=\"db\"\n").unwrap();
    let arguments = ["--annotations-file", file.to_str().unwrap()];
    assert_code(&scene.init(&arguments), 0);
    scene.server.stop();
    let asked = Asked::start(scene, &arguments);
    asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
    asked.is_stale();
    assert_stale(&asked, &["db"], &[]);
    assert_eq!(asked.scene.read("db/password"), PASSWORD);
    asked.scene.put_password("test-password-meanwhile");
    asked.scene.server.start_again();
    asked.arrives("db/password", "test-password-meanwhile");
    asked.is_current();
}

#[test]
fn a_restart_publishes_what_can_be_read() {
    let scene = scene(&["a", "b", "c"], &[]);
    assert_code(&scene.init(&[]), 0);
    for name in ["a", "b", "c"] {
        put(&scene.server, name, "test-password-meanwhile");
    }
    scene.server.forbid(Kind::Secret, "prod", "b");
    let asked = Asked::start(scene, &[]);
    for name in ["a", "c"] {
        asked.arrives(&format!("{name}/password"), "test-password-meanwhile");
    }
    asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
    asked.is_stale();
    assert_stale(&asked, &["b"], &["a", "c"]);
    assert_eq!(asked.scene.read("b/password"), PASSWORD);
    asked.logs(&["credential b: Secret prod/b: forbidden", "keeping the current files"]);
    rotates(&asked, "a", "test-password-1");
    asked.scene.server.allow(Kind::Secret, "prod", "b");
    asked.arrives("b/password", "test-password-meanwhile");
    asked.is_current();
}

/// 128 MiB, of which podcreds keeps at most 24 MiB.
#[test]
fn secrets_that_are_too_large_together_are_refused_by_name() {
    const COUNT: usize = 128;
    let names: Vec<_> = (0..COUNT).map(|number| format!("s{number}")).collect();
    let annotations: Vec<_> = names.iter().map(|name| (format!("{name}.secret"), name.as_str())).collect();
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let scene = Scene::new(&annotations);
    let large = vec![b'x'; 1024 * 1024];
    for name in &names {
        scene.server.put_secret("prod", name, &[("a", &large)]);
    }
    let said = "all Secrets and ConfigMaps of the pod exceed the limit of 25165824 bytes";
    let finished = scene.init(&["--timeout", "30s"]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &[said]);
    let mut command = scene.command(&["sidecar", "--listen", "off"]);
    // glibc keeps large freed memory for each thread. The libc of a release does not.
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "131072");
    let running = Running::start(command);
    running.poll_until(HANGS, "the refusal is logged", || running.stderr().contains(said));
    let peak = peak_memory(running.id());
    assert!(peak < 64 * 1024 * 1024, "{peak} bytes");
    assert_eq!(scene.names(), ["..podcreds"]);
}

//! Watches and reads as the API server sees them, and faults that can lose a change, bring an old one back, or cost memory.

use std::fs;

use rustix::process::Signal;

use crate::health::Asked;
use crate::processes::limited;
use crate::support::health::Health;
use crate::support::run::{Running, peak_memory};
use crate::support::server::{Fault, Kind, Times, WatchFault};
use crate::support::witness::{ROTATIONS, STALE_SINCE, WATCH_RESTARTS};
use crate::{HANGS, PASSWORD, Scene};

fn status(code: u16, retry_after: Option<&str>) -> Fault {
    Fault::Status { code, retry_after: retry_after.map(str::to_owned), message: "test".into() }
}

/// The resourceVersion of each watch request for an object of this name.
fn watched_from(asked: &Asked, name: &str) -> Vec<String> {
    let requests = asked.scene.server.watch_requests();
    let of_object = requests.iter().filter(|it| it.query.contains(&format!("metadata.name%3D{name}&")));
    let version = |query: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")).unwrap_or("(none)").to_owned()
    };
    of_object.map(|request| version(&request.query)).collect()
}

fn reads(asked: &Asked, name: &str) -> usize {
    let path = format!("/secrets/{name}");
    asked.scene.server.request_lines().iter().filter(|line| line.ends_with(&path)).count()
}

/// The credentials `db` and `more`, each with a Secret of that name.
fn two_secrets() -> Scene {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    put_more(&scene, "1");
    scene
}

fn put_more(scene: &Scene, value: &str) {
    scene.server.put_secret("prod", "more", &[("a", value.as_bytes())]);
}

/// An API server in front of an old etcd refuses a watch without a resourceVersion.
#[test]
fn no_watch_begins_without_a_resource_version() {
    for as_status in [false, true] {
        let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more"), ("more.optional", "true")]);
        let asked = Asked::ready(scene, &["--follow-annotations"]);
        asked.watches(3);
        let server = &asked.scene.server;
        // Each of these is older than what the API server still has, or is missing.
        server.gone_as_status(as_status);
        server.put_secret("prod", "other", &[]);
        server.compact();
        server.break_watches(WatchFault::End);
        for name in ["db", "app-0"] {
            asked.waits("410 leads to another watch", || watched_from(&asked, name).len() == 3);
        }
        asked.watches(3);
        server.drop_connections();
        for name in ["db", "more", "app-0"] {
            asked.waits("it is watched again", || watched_from(&asked, name).len() > 3 || name == "more");
        }
        asked.watches(3);
        put_more(&asked.scene, "1");
        asked.arrives("more/a", "1");
        for request in server.watch_requests() {
            let version = request.query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
            assert!(version.is_some_and(|version| version.parse::<u64>().is_ok()), "{}", request.query);
        }
    }
}

#[test]
fn a_version_that_is_too_old_as_soon_as_it_was_read_is_not_tried_again() {
    for as_status in [false, true] {
        let asked = Asked::ready(Scene::plain(), &[]);
        let server = &asked.scene.server;
        let version = server.resource_version(Kind::Secret, "prod", "db").unwrap();
        server.gone_as_status(as_status);
        server.put_secret("prod", "other", &[]);
        server.compact();
        server.break_watches(WatchFault::End);
        asked.waits("it is watched again", || watched_from(&asked, "db").len() >= 3);
        asked.watches(1);
        asked.scene.put_password("test-password-1");
        asked.arrives("db/password", "test-password-1");
        assert_eq!(watched_from(&asked, "db"), [version.as_str(), version.as_str(), "0"]);
        // At the start, after the end of the watch, and after the 410.
        assert_eq!(reads(&asked, "db"), 3);
        assert_eq!((asked.failures("api_refused"), asked.failures("api_unreachable")), (0.0, 0.0));
    }
}

#[test]
fn a_mute_watch_is_given_up_and_the_object_read_again() {
    let asked = Asked::ready(Scene::plain(), &["--watch-timeout", "1s"]);
    asked.scene.server.mute_watches();
    for password in ["test-password-1", "test-password-2"] {
        let restarts = asked.metric(WATCH_RESTARTS);
        asked.scene.put_password(password);
        asked.arrives("db/password", password);
        assert!(asked.metric(WATCH_RESTARTS) > restarts, "nothing but the end of a watch leads to a read");
        assert_eq!(asked.status("/healthz"), 200);
    }
    asked.scene.server.unmute_watches();
    asked.is_current();
    asked.scene.put_password("test-password-3");
    asked.arrives("db/password", "test-password-3");
}

#[test]
fn a_wrong_404_for_a_known_object_is_retried() {
    let asked = Asked::ready(Scene::plain(), &["--request-timeout", "5m"]);
    let server = &asked.scene.server;
    server.fail_on("/secrets/db", status(404, None), Times::Once);
    // No watch can report the object: only another read can find it.
    server.fail_on("watch=true", Fault::SilentHeader, Times::Always);
    server.break_watches(WatchFault::End);
    asked.waits("the 404 is counted", || asked.failures("api_refused") == 1.0);
    asked.waits("it is read again", || reads(&asked, "db") >= 3);
    asked.is_current();
    asked.logs(&["keeping its files", "Secret prod/db is available again"]);
    assert_eq!(asked.scene.read("db/password"), PASSWORD);
    assert_eq!(asked.metric(ROTATIONS), 0.0);
}

/// A watch that begins at any version says nothing of an object that was deleted before it opened.
#[test]
fn a_deletion_between_a_read_and_the_beginning_of_a_watch_is_noticed() {
    let asked = Asked::ready(two_secrets(), &[]);
    asked.watches(2);
    let server = &asked.scene.server;
    server.fail_on("metadata.name%3Dmore&", Fault::Delay, Times::Once);
    server.delete(Kind::Secret, "prod", "more");
    server.break_watches(WatchFault::End);
    asked.waits("the watch is delayed", || server.held() == 1);
    put_more(&asked.scene, "2");
    asked.arrives("more/a", "2");
    asked.is_current();
    server.delete(Kind::Secret, "prod", "more");
    server.release_held();
    asked.watches(2);
    assert_eq!(watched_from(&asked, "more").last().map(String::as_str), Some("0"));
    // The API server sends one each minute.
    server.bookmark();
    asked.is_stale();
    asked.logs(&["credential more: Secret prod/more: secrets \"more\" not found; keeping its files"]);
}

#[test]
fn retry_after_to_a_watch_does_not_stop_polling() {
    let asked = Asked::ready(Scene::plain(), &["--poll-interval", "200ms"]);
    let server = &asked.scene.server;
    server.fail_on("watch=true", status(429, Some("300")), Times::Always);
    server.break_watches(WatchFault::End);
    asked.waits("the watch is refused", || asked.requests("429") == 1.0);
    for password in ["test-password-1", "test-password-2"] {
        asked.scene.put_password(password);
        asked.arrives("db/password", password);
    }
    assert_eq!(asked.requests("429"), 1.0, "Retry-After is obeyed");
}

#[test]
fn watches_of_objects_that_an_edit_drops_are_closed() {
    let asked = Asked::ready(two_secrets(), &["--follow-annotations"]);
    asked.watches(3);
    asked.scene.annotate(&[("db.secret", "db")]);
    // The API server would keep the watch for minutes.
    asked.watches(2);
    asked.scene.put_password("test-password-1");
    asked.arrives("db/password", "test-password-1");
    assert_eq!((asked.metric(WATCH_RESTARTS), asked.metric(STALE_SINCE)), (0.0, 0.0));
    assert!(!asked.running.stderr().contains("WARN"), "{}", asked.running.stderr());
}

/// The threads of a process.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

#[test]
fn edits_that_follow_each_other_leave_no_thread_behind() {
    let four = |edit: usize| (0..4).map(|index| format!("n{edit}-{index}")).collect::<Vec<_>>();
    let asked = Asked::ready(two_secrets(), &["--follow-annotations"]);
    let annotate = |edit| {
        let names = four(edit);
        for name in &names {
            asked.scene.server.put_secret("prod", name, &[("a", b"1")]);
        }
        let keys: Vec<_> = names.iter().map(|name| format!("{name}.secret")).collect();
        let annotations: Vec<_> =
            keys.iter().zip(&names).map(|(key, name)| (key.as_str(), name.as_str())).collect();
        asked.scene.annotate(&annotations);
    };
    annotate(0);
    asked.arrives("n0-3/a", "1");
    asked.watches(5);
    let before = threads(asked.running.id());
    for edit in 1..=40 {
        annotate(edit);
        // The others are replaced while their objects are read.
        if edit % 4 == 0 {
            asked.arrives(&format!("n{edit}-3/a"), "1");
        }
    }
    asked.watches(5);
    asked.waits("the threads of other watches have ended", || threads(asked.running.id()) <= before);
}

#[test]
fn a_failing_watch_is_forgotten_with_the_annotation_that_named_its_object() {
    let asked = Asked::ready(two_secrets(), &["--follow-annotations"]);
    asked.watches(3);
    let server = &asked.scene.server;
    server.fail_on("metadata.name%3Dmore&", status(429, Some("300")), Times::Always);
    server.break_watches(WatchFault::End);
    asked.is_stale();
    asked.watches(2);
    asked.scene.annotate(&[("db.secret", "db")]);
    asked.is_current();
}

#[test]
fn a_read_that_began_before_an_edit_brings_no_old_value_back() {
    let asked = Asked::ready(Scene::plain(), &["--follow-annotations"]);
    asked.watches(2);
    let server = &asked.scene.server;
    put_more(&asked.scene, "old");
    server.fail_on("/secrets/more", Fault::Hold, Times::Once);
    let with = [("db.secret", "db"), ("more.secret", "more")];
    asked.scene.annotate(&with);
    asked.waits("the response is held", || server.held() == 1);
    // An edit that drops the object again, and one that names it once more.
    asked.scene.annotate(&[("db.secret", "db"), ("two.secret", "db")]);
    asked.arrives("two/password", PASSWORD);
    put_more(&asked.scene, "new");
    asked.scene.annotate(&with);
    asked.arrives("more/a", "new");

    let counted = |rotations: f64| {
        asked.waits("the rotations are counted", || asked.metric(ROTATIONS) >= rotations);
        assert_eq!(asked.metric(ROTATIONS), rotations, "{}", asked.running.stderr());
    };
    // `two` was added; it was removed, and `more` added.
    counted(2.0);
    let answers = asked.requests("200");
    server.release_held();
    asked.waits("the old response arrives", || asked.requests("200") > answers);
    asked.scene.put_password("test-password-1");
    asked.arrives("db/password", "test-password-1");
    assert_eq!(asked.scene.read("more/a"), "new");
    counted(3.0);
}

#[test]
fn a_storm_of_changes_ends_at_the_last_value_in_bounded_memory() {
    const CHANGES: usize = 10_000;
    const MORE: u64 = 8 * 1024 * 1024;
    let asked = Asked::ready(Scene::plain(), &["--grace", "0s"]);
    let filler = vec![b'x'; 4096];
    let put = |password: &str| {
        let data: [(&str, &[u8]); 2] = [("password", password.as_bytes()), ("filler", &filler)];
        asked.scene.server.put_secret("prod", "db", &data);
    };
    put("test-password-first");
    asked.arrives("db/password", "test-password-first");
    let before = peak_memory(asked.running.id());
    for change in 1..=CHANGES {
        put(&format!("test-password-{change}"));
        // The API server ends watches that fall far behind. These are to carry every change.
        if change % 500 == 0 {
            asked.waits("the watch has caught up", || !asked.scene.server.watches_are_behind());
        }
    }
    asked.arrives("db/password", &format!("test-password-{CHANGES}"));
    let after = peak_memory(asked.running.id());
    assert!(after <= before + MORE, "{before} bytes before the storm, {after} after it");
    assert_eq!(asked.metric(WATCH_RESTARTS), 0.0);
    asked.is_current();
    assert_eq!(asked.metric("podcreds_syncs_total{result=\"failure\"}"), 0.0);
}

#[test]
fn a_sidecar_that_was_suspended_catches_up() {
    let mut asked = Asked::ready(two_secrets(), &["--watch-timeout", "1s"]);
    asked.watches(2);
    asked.running.send(Signal::STOP);
    // Some changes wait in the connections, others come when the watches are over, and the history is gone by then.
    asked.scene.put_password("test-password-1");
    asked.watches(0);
    asked.scene.put_password("test-password-2");
    asked.scene.server.delete(Kind::Secret, "prod", "more");
    put_more(&asked.scene, "2");
    asked.scene.server.compact();
    asked.running.send(Signal::CONT);
    asked.arrives("db/password", "test-password-2");
    asked.arrives("more/a", "2");
    asked.is_current();
    assert_eq!((asked.status("/readyz"), asked.status("/healthz")), (200, 200));
    asked.scene.put_password("test-password-3");
    asked.arrives("db/password", "test-password-3");
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let scene = Scene::plain();
    let running = Running::start(limited(&scene.command(&["sidecar", "--listen", "127.0.0.1:0"]), "-Sn 64"));
    let limit = Health::of(&running, HANGS).metrics().get("process_max_fds");
    assert!(limit > 64.0, "{limit}");
}

#[test]
fn with_fewer_descriptors_than_secrets_some_are_polled_and_all_are_followed() {
    let names: Vec<_> = (0..40).map(|number| format!("s{number}")).collect();
    // Each credential is one file: a directory would take descriptors while it is published.
    let annotations = names
        .iter()
        .flat_map(|name| [(format!("{name}.secret"), name.as_str()), (format!("{name}.format"), "json")]);
    let annotations: Vec<_> = annotations.collect();
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let scene = Scene::new(&annotations);
    let put = |password: &str| {
        for name in &names {
            scene.server.put_secret("prod", name, &[("password", password.as_bytes())]);
        }
    };
    put("test-1");
    let running = Running::start(limited(&scene.command(&["sidecar", "--poll-interval", "1s"]), "-n 40"));
    for password in ["test-1", "test-2", "test-3"] {
        put(password);
        let all_are = || names.iter().all(|name| scene.read(&format!("{name}.json")).contains(password));
        running.poll_until(HANGS, "all are followed", all_are);
    }
    let watches = scene.server.open_watches();
    assert!((1..=10).contains(&watches), "{watches}");
    assert!(running.stderr().contains("limit of open files: 40"), "{}", running.stderr());
}

//! `sidecar --exit-on-change`: the sidecar exits after a rotation, once the new files are published, and for no other
//! reason.

use rustix::process::Signal;

use crate::support::run::{Running, poll_until, run};
use crate::support::server::Kind;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const CODE: &str = "88";

/// Starts a sidecar with `--exit-on-change` and waits until the password is published.
fn start(scene: &Scene, args: &[&str], password: &str) -> Running {
    let mut command = scene.command(&["sidecar", "--request-timeout", "2s", "--exit-on-change", CODE]);
    command.args(args);
    let running = Running::start(command);
    wait_until_published(&running);
    assert_eq!(scene.read("db/password"), password);
    running
}

#[track_caller]
fn wait_until_published(running: &Running) {
    waits(running, "the files are published", || {
        ["wrote ", "nothing written"].iter().any(|said| running.stderr().contains(said))
    });
}

#[track_caller]
fn waits(running: &Running, what: &str, condition: impl FnMut() -> bool) {
    running.poll_until(HANGS, what, condition);
}

#[test]
fn a_rotation_ends_the_sidecar_with_the_chosen_exit_code() {
    let scene = Scene::plain();
    let mut password = PASSWORD.to_owned();
    // The next sidecar finds the files current and runs until the next rotation.
    for round in 1..=3 {
        let running = start(&scene, &[], &password);
        waits(&running, "a watch is open", || scene.server.open_watches() == 1);
        password = format!("test-password-{round}");
        scene.put_password(&password);
        let finished = running.wait(HANGS);
        assert_code(&finished, 88);
        assert_eq!(scene.read("db/password"), password);
        let message = "rotated db; exiting with code 88 (--exit-on-change)";
        assert_has(&finished.stderr, &[message]);
        assert_eq!(scene.pod.termination_message().trim_end(), message);
        poll_until(HANGS, "the server notices the end", || scene.server.open_watches() == 0);
    }
}

#[test]
fn a_change_found_at_the_start_ends_the_sidecar_once() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    scene.put_password("test-password-1");
    let command = scene.command(&["sidecar", "--exit-on-change", CODE]);
    assert_code(&run(command, HANGS), 88);
    let mut running = start(&scene, &[], "test-password-1");
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn only_a_rotation_ends_the_sidecar() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let command = scene.command(&[
        "sidecar",
        "--exit-on-change",
        CODE,
        "--sync",
        "poll",
        "--poll-interval",
        "50ms",
        "--on-delete",
        "clear",
    ]);
    let mut running = Running::start(command);
    waits(&running, "the first files are published", || scene.read("db/password") == PASSWORD);
    let reads = || scene.server.requests().len();
    let before = reads();
    waits(&running, "everything is read again", || reads() > before + 4);
    scene.server.delete(Kind::Secret, "prod", "more");
    waits(&running, "the files are cleared", || !scene.pod.volume().join("more").exists());
    let before = reads();
    waits(&running, "the Secrets are read again", || reads() > before + 4);
    assert!(running.is_alive(), "{}", running.stderr());
    scene.put_password("test-password-1");
    assert_code(&running.wait(HANGS), 88);
}

#[test]
fn ignored_on_change_annotations_are_logged() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", "touch reload")]);
    let running = start(&scene, &[], PASSWORD);
    waits(&running, "a watch is open", || scene.server.open_watches() == 1);
    scene.put_password("test-password-1");
    let finished = running.wait(HANGS);
    assert_code(&finished, 88);
    assert_has(&finished.stderr, &["credential db: ignoring .on-change, because --exit-on-change"]);
    assert!(!scene.pod.volume().join("reload").exists());
}

#[test]
fn during_the_splay_the_sidecar_keeps_publishing_and_does_not_exit() {
    let scene = Scene::plain();
    let mut running = start(&scene, &["--splay", "1000h"], PASSWORD);
    waits(&running, "a watch is open", || scene.server.open_watches() == 1);
    for password in ["test-password-1", "test-password-2"] {
        scene.put_password(password);
        waits(&running, "the files are published", || scene.read("db/password") == password);
    }
    waits(&running, "the exit is announced", || running.stderr().contains("exiting with code 88 in "));
    assert!(running.is_alive(), "{}", running.stderr());
    assert_eq!(running.stderr().matches("(splay)").count(), 1, "{}", running.stderr());
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 0);
    // A restart during the wait finds the files current, so it has nothing to announce.
    let mut running = start(&scene, &["--splay", "1000h"], "test-password-2");
    running.send(Signal::TERM);
    let finished = running.wait(HANGS);
    assert!(!finished.stderr.contains("exiting with code"), "{}", finished.stderr);
}

#[test]
fn exit_codes_with_another_meaning_are_rejected() {
    let scene = Scene::plain();
    for code in ["0", "1", "5", "126", "137", "255", "256", "-1", "x"] {
        let finished = run(scene.command(&["sidecar", &format!("--exit-on-change={code}")]), HANGS);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["--exit-on-change"]);
        let mut by_variable = scene.command(&["sidecar"]);
        by_variable.env("PODCREDS_EXIT_ON_CHANGE", code);
        assert_code(&run(by_variable, HANGS), 2);
    }
    for code in ["6", "125"] {
        let mut command = scene.command(&["sidecar"]);
        command.env("PODCREDS_EXIT_ON_CHANGE", code);
        let mut running = Running::start(command);
        wait_until_published(&running);
        running.send(Signal::TERM);
        assert_code(&running.wait(HANGS), 0);
    }
}

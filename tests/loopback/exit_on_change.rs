//! `sidecar --exit-on-change`: it ends after a rotation, once the new files are out, and after nothing else.

use rustix::process::Signal;

use crate::support::run::{Running, poll_until, run};
use crate::support::server::Kind;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const CODE: &str = "88";

/// Starts a sidecar that is to exit with [`CODE`], and waits until the password is out.
fn start(scene: &Scene, args: &[&str], password: &str) -> Running {
    let mut command = scene.command(&["sidecar", "--request-timeout", "2s", "--exit-on-change", CODE]);
    command.args(args);
    let running = Running::start(command);
    is_out(&running);
    assert_eq!(scene.read("db/password"), password);
    running
}

#[track_caller]
fn is_out(running: &Running) {
    waits(running, "the files are out", || {
        ["wrote ", "nothing was written"].iter().any(|said| running.stderr().contains(said))
    });
}

#[track_caller]
fn waits(running: &Running, what: &str, condition: impl FnMut() -> bool) {
    poll_until(HANGS, &format!("{what}; it said:\n{}", running.stderr()), condition);
}

#[test]
fn a_rotation_ends_the_sidecar_with_the_chosen_code_when_the_new_files_are_out() {
    let scene = Scene::plain();
    let mut password = PASSWORD.to_owned();
    // The sidecar of the next round finds the files current, and stays until the next rotation.
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
        poll_until(HANGS, "the server has noticed the end", || scene.server.open_watches() == 0);
    }
}

#[test]
fn a_change_that_is_found_at_the_start_ends_the_sidecar_once() {
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
fn neither_the_first_files_nor_another_read_nor_cleared_files_end_the_sidecar() {
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
    waits(&running, "the first files are out", || scene.read("db/password") == PASSWORD);
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
fn on_change_has_no_effect_and_the_log_says_so() {
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
fn a_code_that_means_something_else_is_refused() {
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
        is_out(&running);
        running.send(Signal::TERM);
        assert_code(&running.wait(HANGS), 0);
    }
}

//! `podcreds exec --render --restart-on-change`: the program gets new values from the API server, without a volume.

use rustix::process::Signal;

use crate::support::run::{Running, run};
use crate::support::server::{Fault, Times};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const ANNOTATIONS: &[(&str, &str)] =
    &[("db.secret", "db"), ("db.format", "env"), ("db.keys", "DB_PASSWORD=password"), ("files.secret", "db")];

/// Prints its variable at the start, and ends with code 0 on SIGTERM.
const SERVER: &str = "echo start $DB_PASSWORD; trap 'echo end; exit 0' TERM; while :; do sleep 0.02; done";

fn start(scene: &Scene, flags: &[&str]) -> Running {
    let flags = [&["exec", "--render", "--restart-on-change", "--request-timeout", "2s"], flags].concat();
    let program = ["--", "/bin/sh", "-c", SERVER];
    let running = Running::start(scene.command(&[&flags[..], &program].concat()));
    await_output(&running, &format!("start {PASSWORD}\n"));
    running.poll_until(HANGS, "the Secret is watched", || scene.server.open_watches() == 1);
    running
}

fn await_output(running: &Running, expected: &str) {
    running.poll_until(HANGS, expected, || running.stdout() == expected.as_bytes());
}

fn await_message(running: &Running, message: &str) {
    running.poll_until(HANGS, message, || running.stderr().contains(message));
}

/// Ends the program, and checks that it was never restarted.
#[track_caller]
fn assert_never_restarted(mut running: Running) {
    assert!(running.is_alive(), "{}", running.stderr());
    running.send(Signal::TERM);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), format!("start {PASSWORD}\nend\n"), "{}", finished.stderr);
}

#[test]
fn a_rotation_restarts_the_program_once_and_writes_nothing() {
    let scene = Scene::new(ANNOTATIONS);
    let mut running = start(&scene, &[]);
    // A key that the program does not get.
    scene.server.put_secret("prod", "db", &[("username", b"other"), ("password", PASSWORD.as_bytes())]);
    scene.put_password("test-password-1");
    await_output(&running, &format!("start {PASSWORD}\nend\nstart test-password-1\n"));
    assert_eq!(scene.names(), [""; 0]);
    running.send(Signal::TERM);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), format!("start {PASSWORD}\nend\nstart test-password-1\nend\n"));
    assert_has(&finished.stderr, &["rotated db: wrote 1 file of 1 credential to the memory of exec in "]);
    assert_has(
        &finished.stderr,
        &["restarting the program now, because variables have changed: DB_PASSWORD\n"],
    );
    assert!(!finished.stderr.contains("test-password"), "{}", finished.stderr);
}

#[test]
fn a_rotation_between_the_first_read_and_the_watch_is_noticed() {
    let scene = Scene::new(ANNOTATIONS);
    scene.server.fail_on("/secrets/", Fault::Delay, Times::N(2));
    let flags = ["exec", "--render", "--restart-on-change", "--", "/bin/sh", "-c", SERVER];
    let running = Running::start(scene.command(&flags));
    running.poll_until(HANGS, "the Secret is read", || scene.server.held() == 1);
    scene.server.release_held();
    await_output(&running, &format!("start {PASSWORD}\n"));
    running.poll_until(HANGS, "it is read again", || scene.server.held() == 1);
    scene.put_password("test-password-1");
    scene.server.release_held();
    await_output(&running, &format!("start {PASSWORD}\nend\nstart test-password-1\n"));
}

#[test]
fn without_an_api_server_the_program_keeps_running() {
    let scene = Scene::new(ANNOTATIONS);
    let mut running = start(&scene, &[]);
    scene.server.stop();
    await_message(&running, "Connection refused (os error 111); keeping the current files");
    assert!(running.is_alive(), "{}", running.stderr());
    scene.put_password("test-password-1");
    scene.server.start_again();
    await_output(&running, &format!("start {PASSWORD}\nend\nstart test-password-1\n"));
}

#[test]
fn values_that_cannot_be_rendered_or_contradict_each_other_leave_the_program_alone() {
    let more = [("more.secret", "more"), ("more.format", "env")];
    let scene = Scene::new(&[ANNOTATIONS, &more].concat());
    scene.server.put_secret("prod", "more", &[("A", b"1")]);
    let flags = ["exec", "--render", "--restart-on-change", "--", "/bin/sh", "-c", SERVER];
    let running = Running::start(scene.command(&flags));
    running.poll_until(HANGS, "both Secrets are watched", || scene.server.open_watches() == 2);
    scene.server.put_secret("prod", "db", &[("username", b"app")]);
    await_message(&running, "credential db: key password not found in Secret prod/db");
    scene.server.put_secret("prod", "more", &[("DB_PASSWORD", b"other")]);
    await_message(
        &running,
        "cannot read the new variables, so the program continues with earlier ones: files db.env and more.env set variable DB_PASSWORD to different values",
    );
    scene.server.put_secret("prod", "more", &[("A", b"1")]);
    scene.put_password(PASSWORD);
    await_message(&running, "credential db can be rendered again");
    assert_never_restarted(running);
}

#[test]
fn a_restart_waits_for_its_part_of_the_splay() {
    for (annotation, flag) in [("1000h", "0s"), ("0s", "1000h")] {
        let scene = Scene::new(&[ANNOTATIONS, &[("db.splay", annotation)]].concat());
        let running = start(&scene, &["--splay", flag]);
        scene.put_password("test-password-1");
        await_message(&running, "restarting the program ");
        if annotation == "0s" {
            await_output(&running, &format!("start {PASSWORD}\nend\nstart test-password-1\n"));
        } else {
            assert!(!running.stderr().contains("restarting the program now"), "{}", running.stderr());
            assert_never_restarted(running);
        }
    }
}

#[test]
fn on_change_is_ignored_with_a_warning() {
    let scene = Scene::new(&[ANNOTATIONS, &[("db.on-change", "touch reload")]].concat());
    let running = start(&scene, &[]);
    await_message(&running, "credential db: ignoring .on-change, because exec --restart-on-change");
    scene.put_password("test-password-1");
    await_output(&running, &format!("start {PASSWORD}\nend\nstart test-password-1\n"));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn the_first_start_fails_as_without_a_supervisor() {
    let scene = Scene::new(&[("db.secret", "none"), ("db.format", "env")]);
    let fails = |flags: &[&str]| {
        let first = ["exec", "--render", "--restart-on-change", "--timeout", "200ms"];
        run(scene.command(&[&first, flags, &["--", "/bin/true"]].concat()), HANGS)
    };
    let finished = fails(&[]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["Secret prod/none: secrets \"none\" not found"]);
    scene.annotate(ANNOTATIONS);
    let finished = fails(&["--env-file", "other.env"]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["has no env file other.env"]);
    scene.server.stop();
    assert_code(&fails(&[]), 4);
}

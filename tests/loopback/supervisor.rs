//! `podcreds exec --restart-on-change`: when it restarts the program, and how both end.

mod processes;

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::exec::publish;
use crate::support::health::Health;
use crate::support::run::{Running, run};
use crate::{HANGS, Scene, assert_code, assert_has};

/// Prints its variable at the start, and ends with code 0 on SIGTERM.
const SERVER: &str = "echo start $A; trap 'echo end; exit 0' TERM; while :; do sleep 0.02; done";

/// A volume with one env file, which no sidecar writes.
fn volume(value: &str) -> Scene {
    let scene = Scene::new(&[]);
    put(&scene, value);
    scene
}

fn put(scene: &Scene, value: &str) {
    publish(&scene.pod.volume(), &[("db.env", &format!("export A='{value}'\n"))]);
}

fn command(scene: &Scene, flags: &[&str], program: &[&str]) -> Command {
    // Without a terminal, whose keys would send signals of their own.
    let podcreds = scene.command(&[&["exec", "--restart-on-change"], flags, &["--"], program].concat());
    let mut command = Command::new("setsid");
    command.arg(podcreds.get_program()).args(podcreds.get_args()).env_clear();
    command.envs(podcreds.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin").current_dir(podcreds.get_current_dir().unwrap());
    command
}

fn shell(scene: &Scene, flags: &[&str], script: &str) -> Command {
    command(scene, flags, &["/bin/sh", "-c", script])
}

fn stdout(running: &Running) -> String {
    String::from_utf8(running.stdout()).unwrap()
}

fn await_output(running: &Running, expected: &str) {
    running.poll_until(HANGS, expected, || stdout(running) == expected);
}

#[test]
fn a_rotation_restarts_the_program_once_with_the_new_variables() {
    let scene = volume("1");
    let mut running = Running::start(shell(&scene, &[], SERVER));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    await_output(&running, "start 1\nend\nstart 2\n");
    put(&scene, "2");
    put(&scene, "3");
    await_output(&running, "start 1\nend\nstart 2\nend\nstart 3\n");
    running.send(Signal::TERM);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), "start 1\nend\nstart 2\nend\nstart 3\nend\n");
    assert_has(&finished.stderr, &["restarting the program now, because variables have changed: A\n"]);
    assert_eq!(finished.stderr.matches("restarting the program").count(), 2, "{}", finished.stderr);
}

#[test]
fn the_application_of_the_example_leaves_nothing_behind() {
    let example = include_str!("../../deploy/restart-exec/restart-exec.yaml");
    let (_, rest) = example.split_once("sh, -euc]\n          args:\n            - |\n").unwrap();
    let (script, _) = rest.split_once("          volumeMounts:\n").unwrap();
    let scene = Scene::new(&[]);
    let rotate = |password: &str| {
        let file = format!(
            "export PGDATABASE='d'\nexport PGHOST='h'\nexport PGPASSWORD='{password}'\nexport PGPORT='1'\nexport PGUSER='u'\n"
        );
        publish(&scene.pod.volume(), &[("db.env", &file)]);
    };
    rotate("12");
    let mut running = Running::start(command(&scene, &[], &["/bin/sh", "-euc", script]));
    let first = "app: user u at h:1/d, a password of 2 characters\n";
    await_output(&running, first);
    rotate("123");
    await_output(&running, &format!("{first}{}", first.replace('2', "3")));
    assert!(!running.stderr().contains(" WARN "), "{}", running.stderr());
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 143);
}

#[test]
fn the_program_keeps_its_variables_while_the_new_ones_cannot_be_read() {
    let scene = volume("1");
    let mut running = Running::start(shell(&scene, &[], SERVER));
    await_output(&running, "start 1\n");
    publish(&scene.pod.volume(), &[("db.env", "A=test-password\n")]);
    let kept =
        "cannot read the new variables, so the program continues with earlier ones: file db.env, line 1";
    running.poll_until(HANGS, kept, || running.stderr().contains(kept));
    publish(&scene.pod.volume(), &[("other.txt", "")]);
    let gone = "with earlier ones: volume ";
    running.poll_until(HANGS, gone, || running.stderr().contains(gone));
    put(&scene, "2");
    await_output(&running, "start 1\nend\nstart 2\n");
    running.send(Signal::TERM);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stderr.matches("cannot read the new variables").count(), 2, "{}", finished.stderr);
    assert!(!finished.stderr.contains("test-password"), "{}", finished.stderr);
}

#[test]
fn a_volume_that_disappears_or_loses_its_files_is_reported_each_time() {
    let scene = volume("1");
    let (path, away) = (scene.pod.volume(), scene.pod.root().join("away"));
    let mut running = Running::start(shell(&scene, &["--log-level", "debug"], SERVER));
    await_output(&running, "start 1\n");
    let await_log = |expected: &str, count: usize| {
        running.poll_until(HANGS, expected, || running.stderr().matches(expected).count() == count);
    };
    for count in 1..=2 {
        fs::rename(&path, &away).unwrap();
        await_log("with earlier ones: volume ", 2 * count - 1);
        fs::create_dir(&path).unwrap();
        await_log("nothing is published in it", count);
        // Replaces the empty directory.
        fs::rename(&away, &path).unwrap();
        await_log("the variables of the program have not changed", count);
    }
    put(&scene, "2");
    await_output(&running, "start 1\nend\nstart 2\n");
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn other_files_and_the_same_variables_restart_nothing() {
    let scene = volume("1");
    let mut running = Running::start(shell(&scene, &["--log-level", "debug"], SERVER));
    await_output(&running, "start 1\n");
    publish(&scene.pod.volume(), &[("db.env", "export A='1'\n"), ("x/password", "new"), ("x.json", "{}")]);
    publish(&scene.pod.volume(), &[("moved.env", "export A='1'\n")]);
    let read = "the variables of the program have not changed";
    running.poll_until(HANGS, read, || running.stderr().contains(read));
    running.send(Signal::TERM);
    assert_eq!(running.wait(HANGS).stdout_text(), "start 1\nend\n");
}

#[test]
fn a_program_that_ignores_the_stop_signal_is_killed_after_the_stop_timeout() {
    let scene = volume("1");
    let script = "trap '' USR1; echo start $A; while :; do sleep 0.02; done";
    let flags = ["--stop-signal", "USR1", "--stop-timeout", "100ms"];
    let mut running = Running::start(shell(&scene, &flags, script));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    await_output(&running, "start 1\nstart 2\n");
    assert_has(&running.stderr(), &["it has not ended within 100 ms of SIGUSR1 (--stop-timeout)"]);
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 143);
}

#[test]
fn a_signal_that_ends_the_program_during_the_splay_ends_podcreds() {
    let scene = volume("1");
    let mut running = Running::start(shell(&scene, &["--splay", "100h"], SERVER));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    let pending = "restarting the program in ";
    running.poll_until(HANGS, pending, || running.stderr().contains(pending));
    running.send(Signal::TERM);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), "start 1\nend\n");
}

#[test]
fn a_program_that_fails_after_a_restart_ends_podcreds_with_its_exit_code() {
    let scene = volume("1");
    let script = "echo start $A; [ $A = 1 ] || exit 3; while :; do sleep 0.02; done";
    let running = Running::start(shell(&scene, &[], script));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    let finished = running.wait(HANGS);
    assert_code(&finished, 3);
    assert_eq!(finished.stdout_text(), "start 1\nstart 2\n");
}

#[test]
fn it_is_ready_only_while_the_program_runs() {
    let scene = Scene::new(&[]);
    let script = "echo start $A; trap 'until [ -e go ]; do sleep 0.02; done; exit 0' TERM; while :; do sleep 0.02; done";
    let mut running = Running::start(shell(&scene, &["--listen", "127.0.0.1:0"], script));
    let health = Health::of(&running, HANGS);
    assert_eq!((health.status("/readyz"), health.status("/healthz")), (503, 200), "there are no files yet");
    put(&scene, "1");
    await_output(&running, "start 1\n");
    // The program may run before its supervisor says so.
    let is_ready = || health.status("/readyz") == 200;
    running.poll_until(HANGS, "it is ready", is_ready);
    let probe = || run(scene.command(&["probe", "--listen", &health.address.to_string()]), HANGS);
    assert_code(&probe(), 0);
    assert_eq!(health.metrics().get("podcreds_program_restarts_total"), 0.0);
    put(&scene, "2");
    running.poll_until(HANGS, "the program stops", || health.status("/readyz") == 503);
    let not_ready = probe();
    assert_code(&not_ready, 4);
    assert_has(&not_ready.stderr, &["the program is being restarted"]);
    fs::write(scene.pod.root().join("go"), "").unwrap();
    await_output(&running, "start 1\nstart 2\n");
    running.poll_until(HANGS, "it is ready again", is_ready);
    assert_eq!(health.status("/livez"), 200);
    assert_eq!(health.metrics().get("podcreds_program_restarts_total"), 1.0);
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn its_flags_require_each_other_and_its_variables_do_not() {
    let scene = volume("1");
    let exec = |flags: &[&str]| scene.command(&[&["exec"], flags, &["--", "/bin/true"]].concat());
    for flag in ["--stop-signal=INT", "--stop-timeout=1s", "--splay=1s", "--listen=:0"] {
        let (name, value) = flag.split_once('=').unwrap();
        for flags in [&[flag][..], &[name, value]] {
            let finished = run(exec(flags), HANGS);
            assert_code(&finished, 2);
            assert_has(&finished.stderr, &[&format!("{name} has no effect without --restart-on-change")]);
        }
        assert_code(&run(exec(&["--restart-on-change", flag]), HANGS), 0);
    }
    let mut by_variable = exec(&[]);
    by_variable.env("PODCREDS_SPLAY", "1s").env("PODCREDS_LISTEN", "127.0.0.1:1");
    assert_code(&run(by_variable, HANGS), 0);
    let unknown = run(exec(&["--restart-on-change", "--stop-signal", "KILL"]), HANGS);
    assert_code(&unknown, 2);
    assert_has(&unknown.stderr, &["supported: HUP, INT, QUIT, TERM, USR1, USR2, WINCH"]);
}

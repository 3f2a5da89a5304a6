//! `podcreds exec --restart-on-change`: what the program sees of its supervisor, and what is left of both.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::exec::publish;
use crate::support::health::Health;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::skip::require;
use crate::volume::root;
use crate::{HANGS, PODCREDS, Scene, assert_code, assert_has};

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
    assert_has(&finished.stderr, &["restarting the program now, because of other values: A\n"]);
    assert_eq!(finished.stderr.matches("restarting the program").count(), 2, "{}", finished.stderr);
}

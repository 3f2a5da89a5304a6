//! Forty programs that read one Secret: with `--splay`, they restart at different times.

use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::report;
use crate::kubectl::PATIENCE;
use crate::scene::Scene;
use crate::sidecar::{FIRST, Sidecar, put_password};
use crate::support::run::{Running, poll_until};

const PROGRAMS: usize = 40;
const SPLAY: Duration = Duration::from_secs(10);
/// How long the supervisor waits for further changes, with the interval at which it checks the volume.
const QUIET: Duration = Duration::from_secs(3);
/// For a machine that starts forty programs while other tests run.
const SLACK: Duration = Duration::from_secs(5);
const SECOND: &str = "test-password-1";

/// Prints its password and the time of its start.
const PROGRAM: &str = r#"echo "$PASSWORD $(date +%s.%N)"; exec sleep 3600"#;

/// A supervisor whose pod has this name.
fn supervised(scene: &Scene, pod: &str) -> Running {
    let splay = format!("{}s", SPLAY.as_secs());
    let flags = ["--restart-on-change", "--splay", &splay, "--", "/bin/sh", "-c", PROGRAM];
    let mut command: Command = scene.command("exec", &flags);
    command.env("POD_NAME", pod).env("PATH", "/usr/bin:/bin");
    Running::start(command)
}

/// The passwords and the times of the starts so far.
fn starts(running: &Running) -> Vec<(String, Duration)> {
    let printed = String::from_utf8(running.stdout()).unwrap();
    let complete = printed.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let start = |line: &str| {
        let (password, at) = line.split_once(' ').expect("a password and a time");
        (password.to_owned(), Duration::from_secs_f64(at.parse().unwrap()))
    };
    complete.lines().map(start).collect()
}

/// One line for each second since the change.
fn histogram(delays: &[Duration]) -> String {
    let mut text = String::new();
    let last = delays.iter().map(Duration::as_secs).max().unwrap_or_default();
    for second in 0..=last {
        let count = delays.iter().filter(|delay| delay.as_secs() == second).count();
        writeln!(text, "{second:>3} s {}", "#".repeat(count)).unwrap();
    }
    text
}

#[test]
fn forty_programs_with_one_secret_restart_within_the_splay_and_spread_over_more_than_half_of_it() {
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/app.secret": "db",
        "podcreds.io/app.format": "env",
        "podcreds.io/app.keys": "PASSWORD=password",
    });
    let Some(scene) = Scene::new(&annotations) else { return };
    put_password(&scene.namespace, FIRST);
    scene.namespace.grant_watch(&["db"]);
    let sidecar = Sidecar::start(scene, &[]);
    let programs: Vec<_> =
        (0..PROGRAMS).map(|number| supervised(&sidecar.scene, &format!("app-{number}"))).collect();
    let all_started = |times| programs.iter().all(|program| starts(program).len() >= times);
    poll_until(PATIENCE, "all programs run", || all_started(1));

    let changed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    sidecar.rotate_to(SECOND);
    poll_until(PATIENCE, "all programs have restarted", || all_started(2));
    let delay = |program| {
        let starts = starts(program);
        let passwords: Vec<_> = starts.iter().map(|(password, _)| password.as_str()).collect();
        assert_eq!(passwords, [FIRST, SECOND]);
        assert!(starts[1].1 >= changed, "a restart before the change");
        starts[1].1 - changed
    };
    let delays: Vec<_> = programs.iter().map(delay).collect();
    report(&histogram(&delays));
    let (first, last) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
    assert!(last <= SPLAY + QUIET + SLACK, "the last restart comes after {last:?}");
    assert!(last - first > SPLAY / 2, "all restarts come within {:?}", last - first);
}

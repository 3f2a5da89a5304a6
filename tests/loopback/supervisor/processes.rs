//! The supervisor and its program as processes: what the program inherits, which signals it gets, and that nothing is left behind. What
//! podcreds does as PID 1 is compared with `tini`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};

use super::{SERVER, await_output, command, put, shell, volume};
use crate::exec::{inherited, publish};
use crate::processes::children;
use crate::support::program;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::skip::require;
use crate::volume::{UNPRIVILEGED, root};
use crate::{HANGS, PODCREDS, Scene, assert_code, assert_has};

#[test]
fn the_program_gets_the_variables_that_exec_gives_it() {
    let scene = Scene::new(&[]);
    let variables = [
        ("PODCREDS_LOG_LEVEL", "nonsense"),
        ("PODCREDS_RESTART_ON_CHANGE", "nonsense"),
        ("PODCREDS_TERMINATION_LOG", "/nonsense"),
        ("POD_NAME", "it is\nthe program's"),
        ("RUST_LOG", "debug"),
    ];
    let lines = variables.map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")));
    publish(&scene.pod.volume(), &[("db.env", &lines.concat())]);
    let environment = |flags: &[&str]| {
        let mut command = scene.command(&[&["exec"], flags, &["--", "/usr/bin/env", "-0"]].concat());
        command.env("TWICE", "first").env("TWICE=second", "").env("EMPTY", "");
        let finished = run(command, HANGS);
        assert_code(&finished, 0);
        assert_eq!(finished.stderr, "");
        finished.stdout_text()
    };
    let supervised = environment(&["--restart-on-change"]);
    assert_eq!(supervised, environment(&[]));
    assert_has(&supervised, &["PODCREDS_LOG_LEVEL=nonsense\0", "EMPTY=\0", "TWICE=second=\0"]);
}

#[test]
fn the_program_inherits_everything_else_unchanged() {
    let scene = volume("1");
    let state = |program: &[&str], prelude| inherited(&scene, program, prelude);
    let supervised = [PODCREDS, "exec", "--restart-on-change", "--"];
    assert_has(&state(&[], ":"), &["Umask:\t0027", "/usr\n", "from the standard input"]);
    for prelude in [":", "trap '' HUP INT TERM", "trap '' CHLD"] {
        assert_eq!(state(&supervised, prelude), state(&[PODCREDS, "exec", "--"], prelude), "{prelude}");
    }
}

#[test]
fn a_program_that_cannot_be_started_is_reported_as_without_a_supervisor() {
    let scene = volume("1");
    let plain = scene.pod.root().join("plain");
    fs::write(&plain, "").unwrap();
    for program in ["none-such", "/none/such", plain.to_str().unwrap(), "/"] {
        for format in ["text", "json"] {
            let report = |flags: &[&str]| {
                fs::write(scene.pod.termination_log(), "").unwrap();
                let flags = [&["exec", "--log-format", format], flags, &["--", program]].concat();
                let finished = run(scene.command(&flags), HANGS);
                let message = finished.stderr.split_once("program ").unwrap().1;
                let message = message.split("\",\"time\"").next().unwrap().to_owned();
                (finished.code, message, scene.pod.termination_message())
            };
            assert_eq!(report(&["--restart-on-change"]), report(&[]), "{program}");
        }
    }
}

#[test]
fn too_few_open_files_are_reported_as_a_limit_of_the_container() {
    let scene = volume("1");
    let podcreds = scene.command(&["exec", "--restart-on-change", "--", "/bin/true"]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n 20; exec \"$@\"", "sh"]).arg(podcreds.get_program());
    command.args(podcreds.get_args()).env_clear();
    command.envs(podcreds.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let finished = run(command, HANGS);
    assert_code(&finished, 126);
    assert_has(&finished.stderr, &["Too many open files", "the container's limits must allow"]);
}

#[test]
fn a_variable_that_linux_rejects_is_reported_with_its_name() {
    let scene = volume(&"test-password-1 ".repeat(10_000));
    let finished = run(command(&scene, &[], &["/bin/true"]), HANGS);
    assert_code(&finished, 126);
    assert_has(&finished.stderr, &["program \"/bin/true\" cannot be started", "is A, in file db.env"]);
    assert!(!finished.stderr.contains("test-password"));
}

#[test]
fn the_program_gets_the_signals_that_podcreds_receives() {
    let scene = volume("1");
    let names =
        ["HUP", "QUIT", "USR1", "USR2", "ALRM", "WINCH", "CONT", "URG", "TSTP", "XCPU", "PROF", "PWR"];
    let traps: Vec<_> = names.iter().map(|name| format!("trap 'echo {name}' {name};")).collect();
    let script = format!("{} trap 'exit 5' INT; echo ready; while :; do sleep 0.02; done", traps.concat());
    let mut running = Running::start(shell(&scene, &[], &script));
    let mut expected = "ready\n".to_owned();
    await_output(&running, &expected);
    let signals = [
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::WINCH,
        Signal::CONT,
        Signal::URG,
        Signal::TSTP,
        Signal::XCPU,
        Signal::PROF,
        Signal::POWER,
    ];
    for (name, signal) in names.into_iter().zip(signals) {
        running.send(signal);
        expected = format!("{expected}{name}\n");
        await_output(&running, &expected);
    }
    running.send(Signal::INT);
    assert_code(&running.wait(HANGS), 5);
}

/// Runs a program with a terminal, by way of `launcher`, and presses Ctrl-C and Ctrl-\. Returns what podcreds and the program print.
fn press_keys(launcher: &str) -> String {
    let scene = volume("1");
    let script = "trap 'echo INT' INT; trap 'exit 5' QUIT; echo ready; while :; do sleep 0.02; done";
    fs::write(scene.pod.root().join("script"), script).unwrap();
    // Without an answer, reading from the terminal would not end.
    let mut terminal = Command::new("timeout");
    terminal.args([&HANGS.as_secs().to_string(), "script"]);
    let podcreds =
        format!("exec {PODCREDS} exec --restart-on-change --log-level debug -- {launcher} /bin/sh script");
    terminal.args(["--quiet", "--return", "--command", &podcreds, "/dev/null"]);
    terminal.env("PODCREDS_VOLUME", scene.pod.volume()).env("SHELL", "/bin/sh").current_dir(scene.pod.root());
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = terminal.spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut log = String::new();
    let mut await_line = |expected: &str| {
        while !log.lines().any(|line| line.ends_with(expected)) {
            assert_ne!(printed.read_line(&mut log).unwrap(), 0, "{log}");
        }
    };
    await_line("ready");
    // Ctrl-C and Ctrl-\.
    keys.write_all(b"\x03").unwrap();
    await_line("INT");
    keys.write_all(b"\x1c").unwrap();
    printed.read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    log
}

#[test]
fn a_key_of_the_terminal_is_not_forwarded_because_the_program_receives_it_too() {
    let log = press_keys("");
    assert!(!log.contains("sent signal"), "{log}");
}

#[test]
fn a_key_of_the_terminal_is_forwarded_to_a_program_in_a_session_of_its_own() {
    let log = press_keys("setsid");
    assert_has(&log, &["sent signal 2 to the program", "sent signal 3 to the program"]);
}

/// The processes that have this argument, by pid.
fn processes_with(argument: &str) -> Vec<i32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let has_argument = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|found| found == argument.as_bytes())
    };
    pids.filter(has_argument).collect()
}

#[test]
fn killed_at_any_moment_it_leaves_no_program_behind() {
    const STEP: Duration = Duration::from_micros(400);
    let scene = volume("1");
    for moment in 0..80 {
        // An argument that no other process has, and that sleep(1) understands.
        let argument = format!("600.{:07}{moment:02}", std::process::id());
        let mut running =
            Running::start(scene.command(&["exec", "--restart-on-change", "--", "/bin/sleep", &argument]));
        if moment % 8 == 0 {
            let program = |pid: &i32| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
            };
            poll_until(HANGS, "the program runs", || processes_with(&argument).iter().any(program));
        } else {
            sleep(STEP * moment);
        }
        running.send(Signal::KILL);
        assert_eq!(running.wait(HANGS).signal, Some(9));
        poll_until(HANGS, "no program is left", || processes_with(&argument).is_empty());
    }
}

#[test]
fn a_killed_supervisor_leaves_no_restarted_program_behind_either() {
    let scene = volume("1");
    let argument = format!("601.{:07}", std::process::id());
    let script = format!("echo start $A; exec sleep {argument}");
    let mut running = Running::start(shell(&scene, &[], &script));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    await_output(&running, "start 1\nstart 2\n");
    poll_until(HANGS, "the program runs", || processes_with(&argument).len() == 1);
    running.send(Signal::KILL);
    assert_eq!(running.wait(HANGS).signal, Some(9));
    poll_until(HANGS, "no program is left", || processes_with(&argument).is_empty());
}

#[test]
fn it_works_and_leaves_nothing_behind_as_any_user() {
    let Some(()) = root() else { return };
    let scene = volume("1");
    fs::set_permissions(scene.pod.root(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test binary may be in a directory that only root can enter.
    let podcreds = scene.pod.root().join("podcreds");
    program::copy(PODCREDS, &podcreds);
    let argument = format!("602.{:07}", std::process::id());
    let mut command = Command::new(&podcreds);
    command.args(["exec", "--restart-on-change", "--volume", scene.pod.volume().to_str().unwrap(), "--"]);
    command.args(["/bin/sh", "-c", &format!("echo start $A; exec sleep {argument}")]);
    command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    let mut running = Running::start(command);
    await_output(&running, "start 1\n");
    put(&scene, "2");
    // Another release may be installed meanwhile.
    fs::remove_file(&podcreds).unwrap();
    await_output(&running, "start 1\nstart 2\n");
    running.send(Signal::KILL);
    assert_eq!(running.wait(HANGS).signal, Some(9));
    poll_until(HANGS, "no program is left", || processes_with(&argument).is_empty());
}

#[test]
fn as_pid_1_a_signal_ends_it_while_it_waits_for_the_first_files() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&[]);
    let running = Running::start(as_pid_1(&scene, &[PODCREDS, "exec", "--restart-on-change", "--"], SERVER));
    let waiting = "waiting for the first files in";
    running.poll_until(HANGS, waiting, || running.stderr().contains(waiting));
    let podcreds = Pid::from_raw(children(running.id())[0].try_into().unwrap()).unwrap();
    kill_process(podcreds, Signal::TERM).unwrap();
    assert_code(&running.wait(HANGS), 143);
}

#[test]
fn a_program_that_signals_its_process_group_does_not_end_podcreds() {
    let scene = volume("1");
    let script = "echo start $A; trap 'trap - TERM; kill 0' TERM; while :; do sleep 0.02; done";
    let mut running = Running::start(shell(&scene, &[], script));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    await_output(&running, "start 1\nstart 2\n");
    running.send(Signal::TERM);
    assert_code(&running.wait(HANGS), 143);
}

#[test]
fn a_restart_leaves_no_zombie() {
    let scene = volume("1");
    let running = Running::start(shell(&scene, &[], SERVER));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    await_output(&running, "start 1\nend\nstart 2\n");
    assert_eq!(children(running.id()).len(), 1);
}

/// Runs a supervisor as PID 1 of its own namespace.
fn as_pid_1(scene: &Scene, supervisor: &[&str], script: &str) -> Command {
    let pod = scene.command(&[]);
    let mut command = Command::new("setsid");
    command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(supervisor).args(["/bin/sh", "-c", script]).env_clear();
    command.envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin").current_dir(pod.get_current_dir().unwrap());
    command
}

/// Runs the script, and sends these signals to PID 1 as soon as the script has printed something.
fn outcome(scene: &Scene, supervisor: &[&str], script: &str, signals: &[Signal]) -> Finished {
    let running = Running::start(as_pid_1(scene, supervisor, script));
    if !signals.is_empty() {
        running.poll_until(HANGS, "the script is ready", || !running.stdout().is_empty());
    }
    for signal in signals {
        let pid = Pid::from_raw(children(running.id())[0].try_into().unwrap()).unwrap();
        kill_process(pid, *signal).unwrap();
    }
    running.wait(HANGS)
}

const LOOP: &str = "echo ready; while :; do sleep 0.02; done";

#[test]
fn exit_codes_signals_and_orphans_are_as_under_tini() {
    let Some(()) = root() else { return };
    let tini =
        env::split_paths("/usr/bin:/bin:/sbin").map(|path| path.join("tini")).find(|path| path.exists());
    let Some(tini) = require("tini", tini) else { return };
    let scene = volume("1");
    let trap = |signal: &str| format!("trap 'exit 21' {signal}; {LOOP}");
    // The orphans have ended, and none is a zombie.
    let orphans = "for i in 1 2 3; do (sleep 0.01 &); done; sleep 0.05; while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; exit 6";
    let cases: &[(&str, &str, &[Signal])] = &[
        ("exit 0", "exit 0", &[]),
        ("exit 1", "exit 1", &[]),
        ("exit 77", "exit 77", &[]),
        ("exit 255", "exit 255", &[]),
        ("killed by TERM", "kill -TERM $$", &[]),
        ("killed by KILL", "kill -KILL $$", &[]),
        ("killed by SEGV", "ulimit -c 0; kill -SEGV $$", &[]),
        ("killed by ABRT", "ulimit -c 0; kill -ABRT $$", &[]),
        ("a daemon is left", "setsid sleep 1000 >/dev/null 2>&1 & exit 3", &[]),
        ("orphans", orphans, &[]),
        ("an end by an orphan's code", "(exit 9 &); sleep 0.05; exit 4", &[]),
        ("no standard input", "exec 0<&-; exit 4", &[]),
        ("no standard streams", "exec 0<&- 1>&- 2>&-; exit 4", &[]),
        ("HUP", LOOP, &[Signal::HUP]),
        ("INT", LOOP, &[Signal::INT]),
        ("QUIT", &format!("ulimit -c 0; {LOOP}"), &[Signal::QUIT]),
        ("USR1", LOOP, &[Signal::USR1]),
        ("USR2", LOOP, &[Signal::USR2]),
        ("ALRM", LOOP, &[Signal::ALARM]),
        ("TERM", LOOP, &[Signal::TERM]),
        ("ignored by default", LOOP, &[Signal::WINCH, Signal::URG, Signal::CONT, Signal::TERM]),
        ("trapped TERM", &trap("TERM"), &[Signal::TERM]),
        ("trapped INT", &trap("INT"), &[Signal::INT]),
        ("trapped HUP", &trap("HUP"), &[Signal::HUP]),
        ("trapped WINCH", &trap("WINCH"), &[Signal::WINCH]),
        ("ignored TERM", &format!("trap '' TERM; trap 'exit 9' USR1; {LOOP}"), &[Signal::TERM, Signal::USR1]),
        ("TERM twice", &trap("TERM"), &[Signal::TERM]),
        ("stopped and continued", &trap("USR1"), &[Signal::TSTP, Signal::CONT, Signal::USR1]),
    ];
    for (what, script, signals) in cases {
        let of_tini = outcome(&scene, &[tini.to_str().unwrap(), "--"], script, signals);
        let ours = outcome(&scene, &[PODCREDS, "exec", "--restart-on-change", "--"], script, signals);
        assert_eq!(ours.code, of_tini.code, "{what}: {}", ours.stderr);
        assert_eq!(ours.stdout_text(), of_tini.stdout_text(), "{what}");
        assert_eq!(ours.stderr, of_tini.stderr, "{what}");
    }
}

#[test]
fn as_pid_1_it_restarts_the_program_and_reaps_orphans() {
    let Some(()) = root() else { return };
    let scene = volume("1");
    let script = format!("(true &); (sleep 0.1 &); {SERVER}");
    let running = Running::start(as_pid_1(&scene, &[PODCREDS, "exec", "--restart-on-change", "--"], &script));
    await_output(&running, "start 1\n");
    put(&scene, "2");
    await_output(&running, "start 1\nend\nstart 2\n");
    let podcreds = children(running.id())[0];
    running.poll_until(HANGS, "only the program is left", || children(podcreds).len() == 1);
    kill_process(Pid::from_raw(podcreds.try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_code(&running.wait(HANGS), 0);
}

/// A shell that starts something and does not pass SIGTERM on.
fn leaves_behind(child: &str) -> String {
    format!(
        "echo start $A; for pid in child.*; do [ -e /proc/${{pid#child.}} ] && echo left; done; \
         ({child}; while :; do sleep 0.02; done) & touch child.$!; trap 'exit 0' TERM; while :; do sleep 0.02; done"
    )
}

#[test]
fn what_the_program_leaves_behind_ends_before_the_next_start() {
    let Some(()) = root() else { return };
    let supervisor = [PODCREDS, "exec", "--restart-on-change", "--stop-timeout", "2s", "--"];
    for (child, message) in [("true", "left processes behind"), ("trap '' TERM", "killing the processes")] {
        let scene = volume("1");
        let running = Running::start(as_pid_1(&scene, &supervisor, &leaves_behind(child)));
        await_output(&running, "start 1\n");
        put(&scene, "2");
        await_output(&running, "start 1\nstart 2\n");
        assert_has(&running.stderr(), &[message, "starting the program with the new variables"]);
    }
}

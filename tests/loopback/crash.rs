//! Kills the process at each of its system calls while it publishes. After each kill every directory and top-level file
//! is old or new, and the next run completes the new bundle and removes the remains. An error of a system call leaves no
//! remains.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::run::{Finished, run};
use crate::support::skip::require;
use crate::volume::root;
use crate::{HANGS, Scene, assert_code};

/// The signal that a process cannot catch.
const SIGKILL: i32 = 9;

type Files = BTreeMap<String, Vec<u8>>;

/// An old and a new bundle that differ in every way: a changed, a removed and a new file, and a directory in place of a
/// file.
fn put(scene: &Scene, new: bool) {
    if new {
        scene.annotate(&[("db.secret", "db"), ("new.secret", "db"), ("kind.secret", "db")]);
        scene.put_password("test-password-new");
    } else {
        scene.annotate(&[
            ("db.secret", "db"),
            ("old.secret", "db"),
            ("kind.secret", "db"),
            ("kind.format", "json"),
            ("kind.path", "kind"),
        ]);
        scene.put_password("test-password-old");
    }
}

/// podcreds is not dumpable, so strace needs root to read the arguments of its system calls.
fn strace() -> Option<()> {
    root()?;
    require("strace", Command::new("strace").arg("-V").output().ok()).map(drop)
}

/// Runs `init` under strace with these strace options.
fn traced(scene: &Scene, options: &[&str]) -> Finished {
    let pod = scene.command(&[]);
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "trace"]).args(options).args([crate::PODCREDS, "init", "--grace", "0s"]);
    command.env_clear().envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin").current_dir(scene.pod.root());
    run(command, HANGS)
}

/// The system calls of a whole run from opening the volume on, each with its number among the calls of that name.
fn calls(scene: &Scene) -> Vec<(String, usize)> {
    assert_code(&traced(scene, &[]), 0);
    let trace = fs::read_to_string(scene.pod.root().join("trace")).unwrap();
    let volume = format!("{:?}", scene.pod.volume().to_str().unwrap());
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut calls = Vec::new();
    let mut publishing = false;
    for line in trace.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let count = counts.entry(name).or_default();
        *count += 1;
        // The run opens the volume and looks for `..podcreds` before it writes anything.
        publishing |= line.contains("\"..podcreds\"") && name.starts_with("mkdir") || name == "flock";
        if publishing && name != "exit_group" {
            calls.push((name.to_owned(), *count));
        }
    }
    assert!(trace.contains(&volume) && calls.iter().any(|(name, _)| name.starts_with("rename")), "{trace}");
    calls
}

/// Empties the volume.
fn empty(scene: &Scene) {
    for entry in fs::read_dir(scene.pod.volume()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .unwrap();
    }
}

/// Restores the old bundle in the volume and the new one on the server.
fn restore(scene: &Scene) {
    empty(scene);
    put(scene, false);
    assert_code(&scene.init(&["--grace", "0s"]), 0);
    put(scene, true);
}

/// Names that begin with two dots, without the current versions and the lock and record in `..podcreds`: the remains of
/// a killed run.
fn leftovers(scene: &Scene) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["", "db", "new", "kind", "old", "..podcreds"] {
        let path = scene.pod.volume().join(directory);
        let Ok(entries) = fs::read_dir(&path) else { continue };
        let current = fs::read_link(path.join("..data")).unwrap_or_default();
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known =
                ["..data", "..podcreds", "lock", "record"].contains(&&*name) || Path::new(&name) == current;
            if !known && (name.starts_with("..") || directory == "..podcreds") {
                found.push(format!("{directory}/{name}"));
            }
        }
    }
    found
}

/// The files of one top-level entry.
fn entry(files: &Files, name: &str) -> Files {
    let is_of = |path: &String| path == name || path.starts_with(&format!("{name}/"));
    files
        .iter()
        .filter(|(path, _)| is_of(path))
        .map(|(path, content)| (path.clone(), content.clone()))
        .collect()
}

/// Kills `init` at each of its system calls, each time in the volume that `prepare` creates. Returns how many kills
/// left the old files, a mix of old and new entries, and the new files.
fn kill_at_each_call(scene: &Scene, prepare: fn(&Scene)) -> [usize; 3] {
    prepare(scene);
    let old: Files = scene.files();
    let calls = calls(scene);
    let new: Files = scene.files();
    assert!(old != new && calls.len() > 50, "{calls:?}");
    let mut deaths = [0; 3];
    for (name, count) in calls {
        prepare(scene);
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let died = traced(scene, &["-e", &inject]);
        assert_eq!((died.code, died.signal), (None, Some(SIGKILL)), "{inject}: {}", died.stderr);
        let files = scene.files();
        for top in ["db", "kind", "new", "old"] {
            let found = entry(&files, top);
            assert!(
                found == entry(&old, top) || found == entry(&new, top),
                "{inject}: {top}: {:?}",
                found.keys()
            );
        }
        let outcome = if files == old { 0 } else { 1 + usize::from(files == new) };
        deaths[outcome] += 1;
        assert_code(&scene.init(&["--grace", "0s"]), 0);
        assert_eq!(scene.files(), new, "{inject}: the next run completes it");
        assert_eq!(leftovers(scene), [""; 0], "{inject}");
        let mode = fs::metadata(scene.pod.volume().join("..podcreds")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{inject}: readers can open podcreds' own directory");
    }
    deaths
}

#[test]
fn after_a_kill_at_any_call_the_next_run_completes_the_bundle() {
    let Some(()) = strace() else { return };
    let scene = Scene::new(&[]);
    let deaths = kill_at_each_call(&scene, restore);
    assert!(deaths.iter().all(|count| *count > 0), "before, amid and after the renames: {deaths:?}");
}

#[test]
fn after_a_kill_during_the_first_publication_the_next_run_completes_it() {
    let Some(()) = strace() else { return };
    let scene = Scene::new(&[]);
    let deaths = kill_at_each_call(&scene, |scene| {
        empty(scene);
        put(scene, true);
    });
    assert!(deaths.iter().all(|count| *count > 0), "before, amid and after the renames: {deaths:?}");
}

/// The calls that create something in the volume, or complete it.
const CREATING: [&str; 7] = ["mkdirat", "openat", "fchmod", "write", "fdatasync", "symlinkat", "flock"];

#[test]
fn after_an_error_at_any_call_nothing_half_made_is_left() {
    let strace = Command::new("strace").arg("-V").output().ok();
    let Some(_) = require("strace", strace) else { return };
    let scene = Scene::new(&[]);
    let first: fn(&Scene) = |scene| {
        empty(scene);
        put(scene, true);
    };
    for (prepare, least_failures) in [(restore as fn(&Scene), 20), (first, 15)] {
        prepare(&scene);
        let (old, calls) = (scene.files(), calls(&scene));
        let new = scene.files();
        let mut failures = 0;
        for (name, count) in calls.iter().filter(|(name, _)| CREATING.contains(&name.as_str())) {
            prepare(&scene);
            let inject = format!("inject={name}:error=EIO:when={count}");
            let finished = traced(&scene, &["-e", &inject]);
            let files = scene.files();
            match finished.code {
                Some(5) => {
                    failures += 1;
                    let is_amid = finished.stderr.contains("cannot move files into place");
                    assert!(files == old || is_amid, "{inject}: {}", finished.stderr);
                    assert_eq!(leftovers(&scene), [""; 0], "{inject}: {}", finished.stderr);
                    if let Ok(own) = fs::metadata(scene.pod.volume().join("..podcreds")) {
                        assert_eq!(own.permissions().mode() & 0o777, 0o755, "{inject}: it is complete");
                    }
                }
                // Such as the lock, or the removal of an old version.
                Some(0) => assert!(files == new, "{inject}"),
                _ => panic!("{inject}: {:?} {}", finished.code, finished.stderr),
            }
        }
        assert!(failures >= least_failures, "{failures}");
    }
}

//! The process is killed at every one of its system calls in turn while it publishes. After each death the volume holds
//! the whole old bundle or the whole new one, and the next run completes the new one and clears what is left over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::run::{Finished, run};
use crate::support::skip::require;
use crate::{HANGS, Scene, assert_code};

/// The signal that nothing can catch.
const SIGKILL: i32 = 9;

type Files = BTreeMap<String, Vec<u8>>;

/// An old and a new bundle that differ in every way: a file changed, one more, one less, a folder for a file.
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

/// Runs `init` under strace with these options of its.
fn traced(scene: &Scene, options: &[&str]) -> Finished {
    let pod = scene.command(&[]);
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "trace"]).args(options).args([crate::PODCREDS, "init", "--grace", "0s"]);
    command.env_clear().envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin").current_dir(scene.pod.root());
    run(command, HANGS)
}

/// The system calls of a whole run from the opening of the volume on, each with how often it was called before and how
/// often by the end.
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
        // The lock is the first step of publishing.
        publishing |= name == "flock";
        if publishing && name != "exit_group" {
            calls.push((name.to_owned(), *count));
        }
    }
    assert!(trace.contains(&volume) && calls.iter().any(|(name, _)| name.starts_with("rename")), "{trace}");
    calls
}

fn restore(scene: &Scene) {
    for entry in fs::read_dir(scene.pod.volume()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .unwrap();
    }
    put(scene, false);
    assert_code(&scene.init(&["--grace", "0s"]), 0);
}

fn leftovers(scene: &Scene, current: &Path) -> Vec<String> {
    let other = |name: &String| name.starts_with("..") && name != "..data" && Path::new(name) != current;
    scene.names().into_iter().filter(other).collect()
}

#[test]
fn killed_at_any_system_call_the_volume_holds_the_old_bundle_or_the_new_one() {
    let strace = Command::new("strace").arg("-V").output().ok();
    let Some(_) = require("strace", strace) else { return };
    let scene = Scene::new(&[]);

    restore(&scene);
    let old: Files = scene.files();
    put(&scene, true);
    let calls = calls(&scene);
    let new: Files = scene.files();
    assert!(old != new && calls.len() > 40, "{calls:?}");

    let (mut kept, mut swapped) = (0, 0);
    for (name, count) in calls {
        restore(&scene);
        put(&scene, true);
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let died = traced(&scene, &["-e", &inject]);
        assert_eq!((died.code, died.signal), (None, Some(SIGKILL)), "{inject}: {}", died.stderr);
        let files = scene.files();
        assert!(files == old || files == new, "{inject}: {:?}", files.keys());
        if files == old {
            kept += 1
        } else {
            swapped += 1
        }

        assert_code(&scene.init(&["--grace", "0s"]), 0);
        assert_code(&scene.init(&["--grace", "0s"]), 0);
        assert_eq!(scene.files(), new, "{inject}: the next run completes it");
        let current = fs::read_link(scene.pod.volume().join("..data")).unwrap();
        assert_eq!(leftovers(&scene, &current), [""; 0], "{inject}");
    }
    assert!(kept > 0 && swapped > 0, "{kept} deaths before the swap, {swapped} after it");
}

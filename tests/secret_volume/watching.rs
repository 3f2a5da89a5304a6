//! Watches that see each rotation in a Secret volume also see it in a podcreds volume.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::support::run::{Running, poll_until};
use crate::{Scene, password, tools};

/// After this time a watcher has missed a rotation. The sidecar's grace is longer, so no other event can follow.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);
const ROTATIONS: usize = 3;

#[test]
fn viper_sees_rotations_of_a_file_in_a_credentials_directory() {
    let Some(viper) = tools::go() else { return };
    let viper = |root: PathBuf| with(&viper, &["viper".into(), root.join("db/config.json")]);
    let scene = Scene::plain();
    follow(&scene, [viper(scene.path("")), viper(scene.reference_path(""))]);
}

#[test]
fn viper_sees_rotations_of_a_file_at_the_top() {
    let Some(viper) = tools::go() else { return };
    let scene = file_at_the_top();
    follow(&scene, [with(&viper, &["viper".into(), scene.path("top.json")])]);
}

#[test]
fn node_sees_rotations_in_a_credentials_directory() {
    let Some(node) = tools::node() else { return };
    let watch = |root: PathBuf| with(&node, &[root.join("db"), "..data".into(), root.join("db/password")]);
    let scene = Scene::plain();
    follow(&scene, [watch(scene.path("")), watch(scene.reference_path(""))]);
}

#[test]
fn node_sees_rotations_in_the_directory_of_a_nested_credential() {
    let Some(node) = tools::node() else { return };
    let watch = |root: PathBuf| {
        with(&node, &[root.join("conf/web"), "..data".into(), root.join("conf/web/password")])
    };
    let scene = Scene::nested();
    follow(&scene, [watch(scene.path("")), watch(scene.reference_path(""))]);
}

#[test]
fn node_sees_rotations_of_a_file_at_the_top() {
    let Some(node) = tools::node() else { return };
    let scene = file_at_the_top();
    follow(&scene, [with(&node, &[scene.path(""), "top.json".into(), scene.path("top.json")])]);
}

#[test]
fn a_rotation_is_one_rename_of_data_in_a_credentials_directory() {
    let scene = Scene::plain();
    let watched = [scene.path("db"), scene.reference_path("db")].map(|path| (path, "..data", "password"));
    each_rotation_is_one_rename(&scene, &watched);
}

#[test]
fn a_rotation_is_one_rename_of_data_in_the_directory_of_a_nested_credential() {
    let scene = Scene::nested();
    let watched =
        [scene.path("conf/app"), scene.reference_path("conf/app")].map(|path| (path, "..data", "password"));
    each_rotation_is_one_rename(&scene, &watched);
}

#[test]
fn a_rotation_is_one_rename_of_a_file_at_the_top() {
    let scene = file_at_the_top();
    each_rotation_is_one_rename(&scene, &[(scene.path(""), "top.json", "top.json")]);
}

/// A credential with a file at the top of the volume.
fn file_at_the_top() -> Scene {
    let template = "{{ fields[\"config.json\"] }}";
    Scene::start(&[("top.secret", "db"), ("top.template", template), ("top.path", "top.json")], "top.json")
}

/// The same command with more arguments.
fn with(command: &Command, arguments: &[PathBuf]) -> Command {
    let mut more = Command::new(command.get_program());
    more.args(command.get_args()).args(arguments);
    more
}

/// Starts programs that print the password at the start and after each change, and rotates when all of them have printed
/// the current one.
#[track_caller]
fn follow<const COUNT: usize>(scene: &Scene, programs: [Command; COUNT]) {
    let programs = programs.map(|command| (format!("{command:?}"), Running::start(command)));
    for rotation in 0..=ROTATIONS {
        if rotation > 0 {
            scene.rotate(&password(rotation));
        }
        for (command, running) in &programs {
            let printed = || String::from_utf8_lossy(&running.stdout()).into_owned();
            poll_until(EVENT_TIMEOUT, &format!("{command} sees rotation {rotation}"), || {
                printed().contains(&password(rotation))
            });
        }
    }
}

/// `watched` lists directories, the name that a rotation renames into each, and a file that has the new password afterwards.
#[track_caller]
fn each_rotation_is_one_rename(scene: &Scene, watched: &[(PathBuf, &str, &str)]) {
    let watches: Vec<_> = watched.iter().map(|(directory, ..)| Watch::on(directory)).collect();
    for rotation in 1..=ROTATIONS {
        scene.rotate(&password(rotation));
        for (watch, (directory, name, file)) in watches.iter().zip(watched) {
            let mut renamed = Vec::new();
            let what = format!("rotation {rotation} renames {name} in {}", directory.display());
            poll_until(EVENT_TIMEOUT, &what, || {
                renamed.extend(watch.renamed());
                renamed.iter().any(|seen| seen == name)
            });
            let read = fs::read_to_string(directory.join(file)).unwrap();
            assert!(read.contains(&password(rotation)), "{what}: {file} holds {read}");
            renamed.extend(watch.renamed());
            assert_eq!(renamed, [*name], "{what}");
        }
    }
}

/// An inotify watch for renames into a directory.
struct Watch(OwnedFd);

impl Watch {
    fn on(directory: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, directory, WatchFlags::MOVED_TO).unwrap();
        Self(watch)
    }

    /// The names that were renamed into the directory since the last call.
    fn renamed(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        loop {
            match events.next() {
                Ok(event) => names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned())),
                Err(Errno::AGAIN) => return names,
                Err(error) => panic!("inotify: {error}"),
            }
        }
    }
}

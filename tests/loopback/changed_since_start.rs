//! `podcreds probe --changed-since-start` as the kubelet runs it: a process that joins the container's process namespace.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::support::program;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::volume::{UNPRIVILEGED, root};
use crate::{HANGS, PODCREDS, Scene, assert_code};

const ANNOTATIONS: [(&str, &str); 4] =
    [("db.secret", "db"), ("db.format", "env"), ("db.keys", "DB_PASSWORD=password"), ("raw.secret", "db")];

/// A container: a process namespace in which process 1 sleeps.
struct Container {
    unshare: Running,
    /// Process 1, by its id outside of the namespace.
    init: String,
}

impl Container {
    fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "600"]);
        let unshare = Running::start(command);
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let mut init = String::new();
        poll_until(HANGS, "process 1 runs", || {
            init = fs::read_to_string(&children).unwrap().trim().to_owned();
            fs::read_to_string(format!("/proc/{init}/comm")).is_ok_and(|name| name == "sleep\n")
        });
        Self { unshare, init }
    }

    fn restart(&mut self) {
        *self = Self::start();
    }

    fn probe(&self, scene: &Scene, args: &[&str]) -> Finished {
        assert!(Path::new(&format!("/proc/{}", self.init)).exists(), "{}", self.unshare.stderr());
        let pod = scene.command(&[]);
        let mut command = Command::new("nsenter");
        command.args([
            "--pid",
            "--mount",
            "--target",
            &self.init,
            PODCREDS,
            "probe",
            "--changed-since-start",
        ]);
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(command, HANGS)
    }
}

/// Publishes a minute ago: a container starts after its files.
fn publish(scene: &Scene) {
    assert_code(&scene.init(&[]), 0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let earlier = Timespec { tv_sec: now.tv_sec - 60, ..now };
    let times = Timestamps { last_access: earlier, last_modification: earlier };
    for path in ["db.env", "raw/..data", "..podcreds/lock"] {
        utimensat(CWD, scene.pod.volume().join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

#[test]
fn a_rotation_fails_the_probe_until_the_container_restarts() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&ANNOTATIONS);
    publish(&scene);
    let mut container = Container::start();
    assert_code(&container.probe(&scene, &[]), 0);
    assert_code(&scene.init(&[]), 0);
    assert_code(&container.probe(&scene, &[]), 0);

    scene.put_password("test-password-2");
    assert_code(&scene.init(&[]), 0);
    let failed = container.probe(&scene, &[]);
    assert_code(&failed, 4);
    let message = failed.stderr.as_str();
    assert!(
        message.starts_with("restart needed: db.env (and 1 more) changed at 20")
            && message.contains("Z, after the start of this container at 20"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1);
    assert_eq!(container.probe(&scene, &[]).stderr, message, "repeated failures are one Event");
    assert_eq!(scene.pod.termination_message(), "", "it belongs to the application");
    for (files, code) in [("raw", 4), ("raw/password", 4), ("other.env", 0)] {
        assert_code(&container.probe(&scene, &["--file", files]), code);
    }
    let other = container.probe(&scene, &["--file", "other.env"]);
    assert!(
        other.stderr.contains("--file other.env: podcreds does not publish it in volume"),
        "{}",
        other.stderr
    );

    // As if the rotation were a minute old.
    publish(&scene);
    container.restart();
    assert_code(&container.probe(&scene, &[]), 0);
}

#[test]
fn an_application_that_waits_for_its_first_files_is_not_restarted() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&ANNOTATIONS);
    let container = Container::start();
    assert_code(&container.probe(&scene, &[]), 0);
    assert_code(&scene.init(&[]), 0);
    assert_code(&container.probe(&scene, &[]), 0);
    scene.put_password("test-password-2");
    assert_code(&scene.init(&[]), 0);
    assert_code(&container.probe(&scene, &[]), 4);
}

#[test]
fn the_splay_delays_the_failure() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&ANNOTATIONS);
    publish(&scene);
    let container = Container::start();
    scene.put_password("test-password-2");
    assert_code(&scene.init(&[]), 0);
    assert_code(&container.probe(&scene, &["--splay", "1000h"]), 0);
    assert_code(&container.probe(&scene, &[]), 4);
}

#[test]
fn any_user_can_probe_and_a_missing_volume_is_an_error() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&ANNOTATIONS);
    publish(&scene);
    let container = Container::start();
    scene.put_password("test-password-2");
    assert_code(&scene.init(&[]), 0);
    fs::set_permissions(scene.pod.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = scene.pod.root().join("podcreds");
    program::copy(PODCREDS, &program);
    let mut command = Command::new("nsenter");
    let user = UNPRIVILEGED.to_string();
    command.args(["--pid", "--mount", "--target", &container.init, "setpriv", "--clear-groups"]);
    command.args(["--reuid", &user, "--regid", &user]).arg(program).args(["probe", "--changed-since-start"]);
    command.arg("--volume").arg(scene.pod.volume());
    assert_code(&run(command, HANGS), 4);

    let missing = container.probe(&scene, &["--volume", "/missing"]);
    assert_code(&missing, 5);
    assert!(missing.stderr.contains("volume /missing: does not exist"), "{}", missing.stderr);
}

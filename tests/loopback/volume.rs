//! Volumes that the kernel refuses to write: a full one, a read-only one, and one owned by another user. Each test
//! mounts them in its own mount namespace.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::health::listening;
use crate::support::program;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::skip::require;
use crate::{HANGS, PASSWORD, PODCREDS, Scene, assert_code, assert_has};

/// A user and group that own no files.
pub(crate) const UNPRIVILEGED: u32 = 65_532;

pub(crate) fn root() -> Option<()> {
    require("root, to mount and to change users,", rustix::process::geteuid().is_root().then_some(()))
}

/// Runs a shell script as root in its own mount namespace with `$podcreds` and `$volume`; the script stops at the first
/// failing line.
pub(crate) fn in_own_mounts(scene: &Scene, script: &str) -> Finished {
    let pod = scene.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", script]);
    command.env_clear().envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("podcreds", PODCREDS)
        .env("volume", scene.pod.volume());
    run(command, HANGS)
}

#[test]
fn a_full_volume_keeps_the_old_bundle() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    scene.server.put_secret("prod", "large", &[("value", &vec![b'x'; 300_000])]);
    fs::write(scene.pod.root().join("large"), "podcreds.io/db.secret=\"large\"\n").unwrap();
    let finished = in_own_mounts(
        &scene,
        "mount -t tmpfs -o size=128k,mode=0777 none $volume
         $podcreds init --grace 0s
         before=$(find $volume -print)
         code=0; $podcreds init --annotations-file $volume/../large || code=$?
         test $code = 5
         test \"$before\" = \"$(find $volume -print)\"
         cat $volume/db/password",
    );
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), PASSWORD);
    assert_has(
        &finished.stderr,
        &[
            "is full: raise the sizeLimit of its emptyDir to 1Mi (296Ki needed, ",
            "Ki free); the existing files are",
        ],
    );
}

#[test]
fn versions_in_the_grace_period_are_pruned_when_the_volume_is_full() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    for name in ["one", "two"] {
        scene.server.put_secret("prod", name, &[("value", name.repeat(10_000).as_bytes())]);
        let annotation = format!("podcreds.io/db.secret=\"{name}\"\n");
        fs::write(scene.pod.root().join(name), annotation).unwrap();
    }
    let finished = in_own_mounts(
        &scene,
        "mount -t tmpfs -o size=128k,mode=0777 none $volume
         for name in one two one two one two one two one two; do
           $podcreds init --grace 1h --annotations-file $volume/../$name
           test $(head -c 3 $volume/db/value) = $name
         done",
    );
    assert_code(&finished, 0);
}

#[test]
fn a_volume_without_free_inodes_keeps_the_old_bundle() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    // Eleven inodes: the root, `..podcreds` with lock and record, `db` with `..data`, two links and a version of two
    // files. Writing needs two more, and the rest is room for part of the next publication.
    let finished = in_own_mounts(
        &scene,
        "for spare in 0 1 2 3 4 5; do
           mount -t tmpfs -o nr_inodes=$((13 + spare)),mode=0777 none $volume
           $podcreds init --grace 0s
           echo podcreds.io/db.secret='\"db\"' >$volume/../annotations
           echo podcreds.io/db.path='\"other\"' >>$volume/../annotations
           code=0; $podcreds init --annotations-file $volume/../annotations || code=$?
           test $code = 5
           test $(cat $volume/db/password) = $(cat $volume/db/..data/password)
           test ! -e $volume/other
           test $(find $volume | wc -l) = 11
           umount $volume
         done",
    );
    assert_code(&finished, 0);
}

#[test]
fn a_read_only_volume_is_reported() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    scene.put_password("test-password-2");
    let finished = in_own_mounts(
        &scene,
        "mount --bind $volume $volume; mount -o remount,ro,bind $volume
         code=0; $podcreds init || code=$?; exit $code",
    );
    assert_code(&finished, 5);
    assert_has(
        &scene.pod.termination_message(),
        &["is read-only: remove readOnly from this container's volumeMount"],
    );
    assert_eq!(scene.read("db/password"), PASSWORD);
}

#[test]
fn a_missing_volume_is_reported_before_any_request() {
    let scene = Scene::plain();
    for (path, part) in
        [("/nowhere/volume", "does not exist; mount an emptyDir"), (PODCREDS, "is not a directory")]
    {
        let finished = scene.init(&["--volume", path]);
        assert_code(&finished, 5);
        assert_has(&scene.pod.termination_message(), &["volume ", path, part]);
    }
    assert!(scene.server.requests().is_empty());
}

/// Runs `init` as an unprivileged user on the pod's files.
fn run_unprivileged(scene: &Scene, umask: &str) -> Finished {
    fs::set_permissions(scene.pod.root(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(scene.pod.termination_log(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    // The build directory may be closed to other users, so run a copy.
    let program = scene.pod.root().join("podcreds");
    program::copy(PODCREDS, &program);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\" init"), program.to_str().unwrap()]);
    let pod = scene.command(&[]);
    command.env_clear().envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir("/").uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    run(command, HANGS)
}

#[test]
fn a_volume_written_by_another_user_is_reported_at_the_start() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    scene.put_password("test-password-2");
    let finished = run_unprivileged(&scene, "022");
    assert_code(&finished, 5);
    assert_has(
        &scene.pod.termination_message(),
        &[
            "podcreds wrote its files as uid 0 but now runs as uid 65532, which cannot replace them: set the same runAsUser for both containers",
        ],
    );
    assert_eq!(scene.read("db/password"), PASSWORD);
}

/// Such as the exec plugin of a kubeconfig, which may cache tokens.
#[test]
fn child_processes_get_a_umask_of_077() {
    let scene = Scene::plain();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" sidecar", PODCREDS]);
    // The scene's environment alone: variables that point to a real cluster must not leak in.
    command.env_clear().envs(scene.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let running = Running::start(command);
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    assert_has(&status, &["\nUmask:\t0077\n"]);
    assert_eq!(fs::metadata(scene.pod.volume().join("db/password")).unwrap().mode() & 0o777, 0o444);
}

#[test]
fn files_have_the_right_mode_and_group_under_any_umask() {
    let Some(()) = root() else { return };
    for umask in ["000", "077", "777"] {
        let scene = Scene::new(&[
            ("db.secret", "db"),
            ("x.secret", "db"),
            ("x.format", "env"),
            ("x.file-mode", "0400"),
        ]);
        let volume = scene.pod.volume();
        chown(&volume, Some(0), Some(UNPRIVILEGED)).unwrap();
        fs::set_permissions(&volume, PermissionsExt::from_mode(0o2775)).unwrap();
        assert_code(&run_unprivileged(&scene, umask), 0);
        let mode = |path: &str| fs::metadata(volume.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(
            ["db/password", "x.env", "db", "db/..data"].map(mode),
            [0o440, 0o400, 0o2750, 0o2750],
            "umask {umask}"
        );
        assert_eq!(fs::metadata(volume.join("db/password")).unwrap().gid(), UNPRIVILEGED);
    }
}

#[test]
fn a_sidecar_warns_at_its_first_write_if_a_second_version_would_not_fit() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&[("db.secret", "large")]);
    scene.server.put_secret("prod", "large", &[("value", &vec![b'x'; 300_000])]);
    let finished = in_own_mounts(
        &scene,
        "mount -t tmpfs -o size=512k,mode=0777 none $volume
         $podcreds sidecar 2>$volume/../log & sidecar=$!
         until grep 'a rotation of all files' $volume/../log; do kill -0 $sidecar; sleep 0.02; done
         test $(head -c 1 $volume/db/value) = x
         kill $sidecar",
    );
    assert_code(&finished, 0);
    assert_has(
        &finished.stdout_text(),
        &["needs 296Ki of free space, but only 2", "Ki are free: raise the sizeLimit"],
    );
}

#[test]
fn a_sidecar_that_replaces_files_at_its_first_write_does_not_count_them_as_lasting() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    for name in ["a", "b"] {
        scene.server.put_secret("prod", name, &[("value", &name.repeat(200_000).into_bytes())]);
        fs::write(scene.pod.root().join(name), format!("podcreds.io/db.secret=\"{name}\"\n")).unwrap();
    }
    let finished = in_own_mounts(
        &scene,
        "mount -t tmpfs -o size=512k,mode=0777 none $volume
         $podcreds init --annotations-file $volume/../a
         $podcreds sidecar --annotations-file $volume/../b 2>$volume/../log & sidecar=$!
         until grep 'as version' $volume/../log; do kill -0 $sidecar; sleep 0.02; done
         test $(head -c 1 $volume/db/value) = b
         kill $sidecar
         cat $volume/../log >&2",
    );
    assert_code(&finished, 0);
    assert!(!finished.stderr.contains("rotating all files"), "{}", finished.stderr);
}

/// Without the warning, the kernel kills the container while it writes, and no message says why.
#[test]
fn a_memory_limit_that_the_files_may_exceed_is_reported_before_they_are_written() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&[("a.secret", "large"), ("b.secret", "large")]);
    scene.server.put_secret("prod", "large", &[("value", &vec![b'x'; 900_000])]);
    for (limit, warning) in [
        ("8388608", Some("its container's limit is 8192Ki: raise resources.limits.memory")),
        ("33554432", None),
        ("max", None),
    ] {
        let finished = in_own_mounts(
            &scene,
            &format!(
                "mount -t tmpfs none $volume
                 mount -t tmpfs none /sys/fs/cgroup
                 echo {limit} >/sys/fs/cgroup/memory.max
                 $podcreds init"
            ),
        );
        assert_code(&finished, 0);
        assert_eq!(finished.stderr.contains("OOMKilled"), warning.is_some(), "{limit}: {}", finished.stderr);
        assert_has(&finished.stderr, &[warning.unwrap_or_default()]);
    }
}

#[test]
fn a_process_that_may_only_read_the_volume_cannot_stop_a_publication() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    fs::set_permissions(scene.pod.root(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_code(&scene.init(&[]), 0);
    scene.put_password("test-password-2");
    let finished = in_own_mounts(
        &scene,
        "reader='setpriv --reuid 65532 --regid 65532 --clear-groups'
         for path in $volume $volume/db $volume/db/password $volume/..podcreds $volume/..podcreds/record; do
           $reader flock --no-fork --shared --nonblock $path sh -c 'echo locked; exec sleep 60' >$volume/../locked & held=\"${held-} $!\"
           until grep -q locked $volume/../locked; do sleep 0.01; done
           rm $volume/../locked
         done
         code=0; $reader flock --shared --nonblock $volume/..podcreds/lock true || code=$?
         test $code = 66
         code=0; $podcreds init || code=$?
         kill $held
         exit $code",
    );
    assert_code(&finished, 0);
    assert_eq!(scene.read("db/password"), "test-password-2");
}

#[test]
fn a_second_sidecar_on_one_volume_ends_and_names_the_first() {
    let scene = Scene::plain();
    let first = Running::start(scene.command(&["sidecar", "--listen", "127.0.0.1:0"]));
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    // With the same address too: the message about the volume is the one that helps.
    let address = listening(&first).unwrap().to_string();
    let finished = run(scene.command(&["sidecar", "--listen", &address]), HANGS);
    assert_code(&finished, 5);
    assert_has(
        &scene.pod.termination_message(),
        &[&format!("another podcreds sidecar (\"pid {} since 2", first.id()), "give each its own volume"],
    );
    // `init` is not a sidecar.
    assert_code(&scene.init(&[]), 0);
    scene.put_password("test-password-2");
    poll_until(HANGS, "the first one continues", || scene.read("db/password") == "test-password-2");
}

#[test]
fn a_sidecar_of_another_pod_starts_with_a_warning() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    let _first = Running::start(scene.command(&["sidecar"]));
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    let pod = scene.command(&["sidecar"]);
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", "hostname other-pod; exec \"$0\" \"$@\""]);
    command.arg(pod.get_program()).args(pod.get_args()).env_clear();
    command.envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin");
    let second = Running::start(command);
    second.poll_until(HANGS, "the second one is up to date", || second.stderr().contains("is up to date"));
    assert_has(
        &second.stderr(),
        &["a podcreds sidecar of another pod (\"pid ", "give each pod its own volume"],
    );
    scene.put_password("test-password-2");
    second.poll_until(HANGS, "the files rotate", || scene.read("db/password") == "test-password-2");
}

#[test]
fn a_killed_sidecar_does_not_hold_up_its_successor() {
    let scene = Scene::plain();
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        scene.put_password(password);
        let sidecar = Running::start(scene.command(&["sidecar"]));
        poll_until(HANGS, "the bundle is published", || scene.read("db/password") == password);
        // Dropping it kills it.
        drop(sidecar);
    }
}

#[test]
fn a_volume_that_may_not_be_written_is_reported_before_any_request() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    for (mode, group, part) in [
        (0o755, 0, "with mode 0755: set fsGroup in the pod's securityContext"),
        (
            0o2750,
            UNPRIVILEGED,
            "with mode 2750, so its group cannot write: give the volume's directory mode 2770",
        ),
        (0o2770, 5000, "with mode 2770: set fsGroup: 5000 or supplementalGroups: [5000]"),
    ] {
        chown(scene.pod.volume(), Some(0), Some(group)).unwrap();
        fs::set_permissions(scene.pod.volume(), PermissionsExt::from_mode(mode)).unwrap();
        let finished = run_unprivileged(&scene, "022");
        assert_code(&finished, 5);
        assert_has(&scene.pod.termination_message(), &["permission denied (uid 65532, ", part]);
    }
    assert!(scene.server.requests().is_empty());
}

#[test]
fn files_that_do_not_get_the_volumes_group_are_reported() {
    let Some(()) = root() else { return };
    for (group, warns) in [(5000, true), (UNPRIVILEGED, false)] {
        let scene = Scene::plain();
        chown(scene.pod.volume(), Some(0), Some(group)).unwrap();
        fs::set_permissions(scene.pod.volume(), PermissionsExt::from_mode(0o2777)).unwrap();
        let finished = run_unprivileged(&scene, "022");
        assert_code(&finished, 0);
        let file = fs::metadata(scene.pod.volume().join("db/password")).unwrap();
        assert_eq!((file.mode() & 0o777, file.gid()), (0o440, UNPRIVILEGED), "as the kernel does it");
        let message = "files will belong to podcreds' group 65532 instead of the volume's group 5000";
        assert_eq!(finished.stderr.contains(message), warns, "{}", finished.stderr);
        assert_eq!(finished.stderr.contains("set fsGroup: 5000"), warns, "{}", finished.stderr);
    }
}

/// A node whose clock is not set yet. No certificate is valid then.
#[test]
fn a_clock_before_1970_is_not_a_bug_of_podcreds() {
    let faketime = Command::new("faketime").arg("--version").output().ok();
    let Some(_) = require("faketime", faketime) else { return };
    let scene = Scene::plain();
    for (time, part) in
        [("@1969-12-31 12:00:00", "1970-01-01T00:00:00.000Z ERROR"), ("@1970-01-01 00:00:01", "ERROR")]
    {
        let mut command = Command::new("faketime");
        command.args(["-f", time, PODCREDS, "init", "--timeout", "1s"]);
        command
            .env_clear()
            .envs(scene.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", "/usr/bin:/bin").env("TZ", "UTC").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let finished = run(command, HANGS);
        assert_code(&finished, 4);
        assert_has(&finished.stderr, &[part, "not valid yet"]);
    }
}

//! `podcreds install`: the program in the volume beside the credentials.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::program;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::volume::{UNPRIVILEGED, in_own_mounts, root};
use crate::{HANGS, PASSWORD, PODCREDS, Scene, assert_code, assert_has};

fn install(scene: &Scene, path: &str) -> Finished {
    run(scene.command(&["install", path]), HANGS)
}

/// Installs to a path in the volume.
fn install_in_volume(scene: &Scene, path: &str) -> Finished {
    install(scene, &format!("{}/{path}", scene.pod.volume().display()))
}

#[track_caller]
fn assert_installed(path: &Path) {
    assert!(fs::read(path).unwrap() == fs::read(PODCREDS).unwrap(), "{} differs", path.display());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o555);
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| crate::name_of(&entry.unwrap().path())).collect()
}

#[test]
fn a_container_without_podcreds_starts_with_the_one_in_the_volume() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.format", "env")]);
    assert_code(&scene.init(&[]), 0);
    let finished = install_in_volume(&scene, "bin/podcreds");
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["installed ", "volume/bin/podcreds ("]);
    let installed = scene.pod.volume().join("bin/podcreds");
    assert_installed(&installed);
    let mut command = scene.pod.command(&installed, &scene.server);
    command.args(["exec", "--", "/bin/sh", "-c", "echo $password"]);
    assert_eq!(run(command, HANGS).stdout_text().trim(), PASSWORD);
}

#[test]
fn missing_directories_are_created_with_0755_under_any_umask() {
    let scene = Scene::plain();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 0077; exec \"$0\" install a/b/program", PODCREDS]);
    command.current_dir(scene.pod.root());
    assert_code(&run(command, HANGS), 0);
    assert_installed(&scene.pod.root().join("a/b/program"));
    for directory in ["a", "a/b"] {
        assert_eq!(scene.pod.root().join(directory).metadata().unwrap().permissions().mode() & 0o777, 0o755);
    }
}

#[test]
fn a_directory_as_target_gets_the_program_inside() {
    let scene = Scene::plain();
    let directory = scene.pod.root().join("directory");
    fs::create_dir(&directory).unwrap();
    symlink("directory", scene.pod.root().join("link")).unwrap();
    assert_code(&install(&scene, "directory"), 0);
    assert_installed(&directory.join("podcreds"));
    assert_code(&install(&scene, "new/"), 0);
    assert_installed(&scene.pod.root().join("new/podcreds"));
    fs::remove_file(directory.join("podcreds")).unwrap();
    assert_code(&install(&scene, "link"), 0);
    assert_installed(&directory.join("podcreds"));
}

#[test]
fn a_different_file_is_replaced_by_a_rename() {
    let scene = Scene::plain();
    let path = scene.pod.volume().join("podcreds");
    let inode = || path.metadata().unwrap().ino();
    assert_code(&install_in_volume(&scene, ""), 0);
    let first = inode();
    let finished = install_in_volume(&scene, "podcreds");
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["is up to date: nothing written"]);
    assert_eq!(inode(), first);

    // Processes that run the old program keep their file.
    let old = fs::File::open(&path).unwrap();
    for (content, mode) in [(b"an older one".to_vec(), 0o555), (fs::read(PODCREDS).unwrap(), 0o644)] {
        let before = inode();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_code(&install_in_volume(&scene, "podcreds"), 0);
        assert_installed(&path);
        assert_ne!(inode(), before);
    }
    assert_eq!(old.metadata().unwrap().ino(), first);
    assert_eq!(names(&scene.pod.volume()), ["podcreds"], "no temporary file remains");
}

#[test]
fn concurrent_installs_leave_one_whole_program() {
    let scene = Scene::plain();
    let path = scene.pod.volume().join("bin");
    let running: Vec<_> = (0..4)
        .map(|_| Running::start(scene.command(&["install", path.join("podcreds").to_str().unwrap()])))
        .collect();
    running.into_iter().for_each(|running| assert_code(&running.wait(HANGS), 0));
    assert_installed(&path.join("podcreds"));
    assert_eq!(names(&path), ["podcreds"]);
}

#[test]
fn init_and_sidecar_leave_the_program_alone() {
    let scene = Scene::plain();
    assert_code(&install_in_volume(&scene, "bin/podcreds"), 0);
    let installed = scene.pod.volume().join("bin/podcreds");
    let before = installed.metadata().unwrap();
    for password in ["test-1", "test-2"] {
        scene.put_password(password);
        assert_code(&scene.init(&["--grace", "0s"]), 0);
        assert_eq!(scene.read("db/password"), password);
    }
    let _sidecar = Running::start(scene.command(&["sidecar", "--grace", "0s"]));
    for password in ["test-3", "test-4"] {
        scene.put_password(password);
        poll_until(HANGS, "the files follow", || scene.read("db/password") == password);
    }
    let after = installed.metadata().unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()));
}

#[test]
fn a_credential_with_the_programs_path_is_rejected() {
    for path in ["bin", "bin/db"] {
        let scene = Scene::new(&[("db.secret", "db"), ("db.path", path)]);
        assert_code(&install_in_volume(&scene, "bin/podcreds"), 0);
        let finished = scene.init(&[]);
        assert_code(&finished, 5);
        assert_has(
            &finished.stderr,
            &["\"bin\" exists, belongs to uid 0 and was not written by podcreds", "choose another .path"],
        );
        assert_installed(&scene.pod.volume().join("bin/podcreds"));
        assert_eq!(scene.names(), ["..podcreds", "bin"]);
    }
}

#[test]
fn the_program_is_not_installed_among_the_credentials() {
    let scene = Scene::new(&[
        ("bin.secret", "db"),
        ("nested.secret", "db"),
        ("nested.path", "nested/deep"),
        ("podcreds.secret", "db"),
        ("podcreds.format", "env"),
        ("podcreds.path", "podcreds"),
    ]);
    assert_code(&scene.init(&[]), 0);
    let (names, files) = (scene.names(), scene.files());
    let version = fs::read_link(scene.pod.volume().join("bin/..data")).unwrap().to_str().unwrap().to_owned();
    for path in [
        "bin",
        "bin/podcreds",
        "bin/deeper/podcreds",
        "nested/podcreds",
        "nested/x/podcreds",
        "nested/deep/podcreds",
        "bin/password",
        "podcreds",
        "",
        "bin/..data/podcreds",
        "bin/..data/deeper/",
        "bin/..data_tmp",
        "..data/podcreds",
        "..podcreds",
        "..podcreds/podcreds",
        "..other",
        &format!("bin/{version}"),
        &format!("bin/{version}/x"),
    ] {
        let finished = install_in_volume(&scene, path);
        assert_code(&finished, 5);
        let part = match path.contains("..") {
            true => {
                "in the path of the program, but names that begin with `..` are reserved for podcreds: install the program elsewhere"
            }
            false => "podcreds publishes credentials to this path: install the program elsewhere",
        };
        assert_has(&finished.stderr, &[part]);
        assert_has(&scene.pod.termination_message(), &[part]);
        assert_eq!((scene.names(), scene.files()), (names.clone(), files.clone()), "{path}");
    }
    // A file where the path needs a directory.
    let finished = install_in_volume(&scene, "podcreds/x");
    assert_code(&finished, 5);
    assert_eq!((scene.names(), scene.files()), (names, files));
}

#[test]
fn a_target_that_is_not_a_regular_file_is_an_error() {
    let scene = Scene::plain();
    fs::create_dir_all(scene.pod.volume().join("directory/podcreds")).unwrap();
    fs::write(scene.pod.volume().join("file"), "").unwrap();
    let elsewhere = scene.pod.root().join("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    symlink(&elsewhere, scene.pod.volume().join("link")).unwrap();
    symlink("nowhere", scene.pod.volume().join("dangling")).unwrap();
    let fifo = scene.pod.volume().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(scene.pod.volume().join("socket")).unwrap();
    let before = scene.names();
    for (path, name) in [
        ("directory", "podcreds"),
        ("file/podcreds", "file"),
        ("link", "link"),
        ("dangling", "dangling"),
        ("fifo", "fifo"),
        ("socket", "socket"),
    ] {
        let finished = install_in_volume(&scene, path);
        assert_code(&finished, 5);
        assert_has(
            &finished.stderr,
            &[
                name,
                "\" exists and is not a regular file, or a part of the path is not a directory: remove it",
            ],
        );
        assert_eq!(scene.names(), before, "{path}");
    }
    drop(socket);
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "untouched");
}

#[test]
fn a_device_is_not_replaced() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    let finished = in_own_mounts(
        &scene,
        "mknod $volume/null c 1 3 || exit 0
         code=0; $podcreds install $volume/null || code=$?
         test $code = 5 -a -c $volume/null",
    );
    assert_code(&finished, 0);
}

/// Before the first publication too: a directory `..data` would stop all later ones.
#[test]
fn no_part_of_the_path_may_begin_with_two_dots() {
    let scene = Scene::plain();
    for path in ["..data/x", "..data", "a/..b/c", "bin/..podcreds", "new/../db/x"] {
        let finished = install_in_volume(&scene, path);
        assert_code(&finished, 5);
        assert_has(
            &finished.stderr,
            &["names that begin with `..` are reserved for podcreds: install the program elsewhere"],
        );
        assert_eq!(scene.names(), [""; 0], "{path}");
    }
    assert_code(&scene.init(&[]), 0);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let scene = Scene::plain();
    let volume = scene.pod.volume();
    let (stale, held) =
        (volume.join(".podcreds-0123456789abcdef"), volume.join(".podcreds-fedcba9876543210"));
    let others = [".podcreds-mine", ".podcreds-0123456789abcdef0", "x.podcreds-0123456789abcdef"];
    for mode in [0o600, 0o555] {
        fs::write(&stale, "a part of the program").unwrap();
        fs::set_permissions(&stale, PermissionsExt::from_mode(mode)).unwrap();
        // The file of a run that is still writing.
        fs::write(&held, "").unwrap();
        others.iter().for_each(|name| fs::write(volume.join(name), "").unwrap());
        let running = fs::File::open(&held).unwrap();
        running.try_lock().unwrap();
        assert_code(&install_in_volume(&scene, "podcreds"), 0);
        assert!(!stale.exists() && held.exists() && others.iter().all(|name| volume.join(name).exists()));
        drop(running);
        // Also if the program is up to date.
        assert_code(&install_in_volume(&scene, "podcreds"), 0);
        assert!(!held.exists());
    }
}

/// In a Memory volume, which is sticky, one user cannot replace the file of another.
#[test]
fn the_same_program_that_root_has_installed_before_is_up_to_date_for_every_user() {
    let Some(()) = root() else { return };
    let scene = Scene::plain();
    let volume = scene.pod.volume();
    fs::set_permissions(scene.pod.root(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&volume, PermissionsExt::from_mode(0o1777)).unwrap();
    let program = scene.pod.root().join("podcreds");
    program::copy(PODCREDS, &program);
    let install_as = |user: u32| {
        let mut command = Command::new(&program);
        run(
            {
                command.arg("install").arg(volume.join("podcreds")).uid(user).gid(user).current_dir("/");
                command
            },
            HANGS,
        )
    };
    assert_code(&install_as(0), 0);
    let inode = fs::metadata(volume.join("podcreds")).unwrap().ino();
    assert_code(&install_as(UNPRIVILEGED), 0);
    assert_eq!(fs::metadata(volume.join("podcreds")).unwrap().ino(), inode);
    fs::set_permissions(volume.join("podcreds"), PermissionsExt::from_mode(0o755)).unwrap();
    assert_code(&install_as(UNPRIVILEGED), 5);
}

#[test]
fn a_failed_install_reports_the_reason_and_leaves_nothing() {
    let Some(()) = root() else { return };
    for (options, part) in [
        ("size=1m", "is full: raise the sizeLimit of its emptyDir"),
        ("ro", "is read-only: remove readOnly"),
        ("noexec", "is mounted noexec: install the program"),
    ] {
        let scene = Scene::plain();
        let finished = in_own_mounts(
            &scene,
            &format!(
                "mount -t tmpfs -o {options} none $volume
                 code=0; $podcreds install $volume/podcreds || code=$?
                 test $code = 5
                 ls -A $volume"
            ),
        );
        assert_code(&finished, 0);
        assert_eq!(finished.stdout_text(), "", "{options}");
        assert_has(&finished.stderr, &[part]);
    }
}

#[test]
fn a_path_is_needed() {
    let scene = Scene::plain();
    for args in [&["install"][..], &["install", ""]] {
        assert_code(&run(scene.command(args), HANGS), 2);
    }
}

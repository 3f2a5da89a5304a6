//! `podcreds exec`: what the started program inherits, and the errors when no program is started.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use podcreds::credential::BundleFile;
use podcreds::credential::RelativePath;
use podcreds::volume::Volume;
use rustix::process::Signal;

use crate::support::program;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::volume::{UNPRIVILEGED, root};
use crate::{HANGS, PASSWORD, PODCREDS, Scene, assert_code, assert_has};

/// A credential of format env, and one that exec does not use.
const ANNOTATIONS: [(&str, &str); 4] = [
    ("db.secret", "db"),
    ("db.format", "env"),
    ("db.keys", "DB_USER=username, DB_PASSWORD=password"),
    ("raw.secret", "other"),
];

/// Where the variables come from, as the first arguments.
const SOURCES: [&[&str]; 2] = [&[], &["--render"]];

fn scene() -> Scene {
    let scene = Scene::new(&ANNOTATIONS);
    scene.server.put_secret("prod", "other", &[("token", b"test-token-x")]);
    scene
}

/// A scene after `init`.
fn published() -> Scene {
    let scene = scene();
    assert_code(&scene.init(&[]), 0);
    scene
}

fn exec(scene: &Scene, flags: &[&str], program: &[&str]) -> Finished {
    run(scene.command(&[&["exec"], flags, &["--"], program].concat()), HANGS)
}

/// Publishes files as podcreds does, without keeping an earlier version.
pub(crate) fn publish(volume: &Path, files: &[(&str, &str)]) {
    let file = |(path, content): &(&str, &str)| {
        (RelativePath::parse(path).unwrap(), BundleFile { content: (*content).into(), mode: None })
    };
    Volume::open(volume, Duration::ZERO).unwrap().publish(&files.iter().map(file).collect()).unwrap();
}

#[test]
fn the_text_of_a_template_is_a_variable() {
    let template = "it's {{ username }}:{{ password }}";
    let scene = Scene::new(&[("db.secret", "db"), ("db.template", template), ("db.variable", "TOKEN")]);
    assert_code(&scene.init(&[]), 0);
    for flags in SOURCES {
        let finished = exec(&scene, flags, &["sh", "-c", "printf %s \"$TOKEN\""]);
        assert_code(&finished, 0);
        assert_eq!(finished.stdout_text(), format!("it's app:{PASSWORD}"), "{flags:?}");
    }
}

#[test]
fn the_variables_are_added_to_the_environment_and_win() {
    let scene = scene();
    let password = "it's a \"test\"\n$(touch x) \\ é ";
    scene.put_password(password);
    assert_code(&scene.init(&[]), 0);
    let published = scene.names();
    for source in SOURCES {
        let mut command = scene.command(&[&["exec"], source, &["--", "/usr/bin/env", "-0"]].concat());
        command.env("DB_PASSWORD", "old").env("INHERITED", "yes");
        let before: Vec<_> = command
            .get_envs()
            .filter(|(name, _)| *name != "DB_PASSWORD")
            .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.unwrap().to_str().unwrap()))
            .collect();
        let finished = run(command, HANGS);
        assert_code(&finished, 0);
        assert_eq!(finished.stderr, "", "only the application writes to standard error");
        let mut expected =
            [&before[..], &["DB_USER=app".to_owned(), format!("DB_PASSWORD={password}")]].concat();
        expected.sort();
        let printed = finished.stdout_text();
        let mut found: Vec<_> = printed.split_terminator('\0').collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{source:?}");
        assert_eq!(scene.names(), published, "nothing is written");
    }
}

/// A key with `=` creates a second entry for a name, as a process can that calls execve(2) itself.
#[test]
fn each_inherited_variable_is_passed_on_once_and_sorted() {
    let scene = published();
    let mut command = scene.command(&["exec", "--", "/usr/bin/env", "-0"]);
    command.env("TWICE", "first").env("TWICE=second", "").env("ALSO", "x");
    let finished = run(command, HANGS);
    assert_code(&finished, 0);
    let printed = finished.stdout_text();
    let found: Vec<_> = printed.split_terminator('\0').collect();
    assert!(found.is_sorted(), "{found:?}");
    let of_twice: Vec<_> = found.into_iter().filter(|entry| entry.starts_with("TWICE")).collect();
    assert_eq!(of_twice, ["TWICE=second="]);
}

#[test]
fn a_variable_of_an_interpreter_is_set_if_keys_names_it() {
    let names =
        [("db.secret", "db"), ("db.format", "env"), ("db.keys", "USERNAME=username, NODE_OPTIONS=password")];
    let scene = Scene::new(&names);
    let expected = format!("app {PASSWORD}\n");
    let show = ["/bin/sh", "-c", "echo $USERNAME $NODE_OPTIONS"];
    assert_eq!(exec(&scene, &["--render"], &show).stdout_text(), expected);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(exec(&scene, &[], &show).stdout_text(), expected);
}

#[test]
fn the_volume_needs_neither_an_api_server_nor_a_service_account() {
    let scene = published();
    let before = scene.server.requests().len();
    let mut command = scene.command(&["exec", "--", "/bin/sh", "-c", "echo $DB_PASSWORD"]);
    for name in ["KUBERNETES_SERVICE_HOST", "PODCREDS_SERVICE_ACCOUNT_DIR", "POD_NAME", "POD_NAMESPACE"] {
        command.env_remove(name);
    }
    let finished = run(command, HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text().trim(), PASSWORD);
    assert_eq!(scene.server.requests().len(), before);
}

#[test]
fn with_render_only_the_secrets_of_env_credentials_are_read() {
    let scene = scene();
    let finished = exec(&scene, &["--render"], &["/bin/sh", "-c", "echo $DB_PASSWORD"]);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text().trim(), PASSWORD);
    assert_eq!(
        scene.server.request_lines(),
        ["GET /api/v1/namespaces/prod/pods/app-0", "GET /api/v1/namespaces/prod/secrets/db"]
    );
    assert!(scene.names().is_empty());
}

#[test]
fn a_connection_in_a_variable_works_from_volume_and_render() {
    let words = [
        ("db.secret", "db"),
        ("db.format", "uri"),
        ("db.engine", "postgresql"),
        ("db.set", "host=h"),
        ("db.variable", "DATABASE_URL"),
    ];
    let scene = Scene::new(&words);
    let show = ["/bin/sh", "-c", "echo $DATABASE_URL"];
    let expected = format!("postgresql://app:{PASSWORD}@h:5432\n");
    assert_eq!(exec(&scene, &["--render"], &show).stdout_text(), expected);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(exec(&scene, &[], &show).stdout_text(), expected);
}

#[test]
fn with_render_it_fails_like_init() {
    let scene = Scene::new(&[("db.secret", "none"), ("db.format", "env")]);
    let finished = exec(&scene, &["--render", "--timeout", "200ms"], &["/bin/true"]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["Secret prod/none: secrets \"none\" not found"]);
    scene.annotate(&[("db.secret", "db"), ("db.format", "env"), ("db.keys", "PATH=password")]);
    let finished = exec(&scene, &["--render"], &["/bin/true"]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["field PATH has the name of a variable that shells or the dynamic linker act on"],
    );
    assert_has(&scene.pod.termination_message(), &["field PATH has the name"]);
}

#[test]
fn the_program_replaces_the_process() {
    let scene = published();
    for source in SOURCES {
        let script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done";
        let mut running = Running::start(
            scene.command(&[&["exec"], source, &["--", "/bin/sh", "-c", script, "name"]].concat()),
        );
        poll_until(HANGS, "the program runs", || !running.stdout().is_empty());
        let proc = format!("/proc/{}", running.id());
        assert_eq!(
            fs::read_link(format!("{proc}/exe")).unwrap(),
            fs::canonicalize("/bin/sh").unwrap(),
            "the program replaces the process"
        );
        let arguments = fs::read_to_string(format!("{proc}/cmdline")).unwrap();
        assert_eq!(arguments, format!("/bin/sh\0-c\0{script}\0name\0"));
        running.send(Signal::TERM);
        assert_code(&running.wait(HANGS), 42);

        assert_code(&exec(&scene, source, &["/bin/sh", "-c", "exit 7"]), 7);
        assert_eq!(exec(&scene, source, &["/bin/sh", "-c", "kill -TERM $$"]).signal, Some(15));
    }
}

/// What a program inherits besides its environment, as printed by the program.
const INHERITED: &str = "grep -E '^(Umask|Sig(Blk|Ign)|Uid|Groups|NoNewPrivs)' /proc/self/status; ls /proc/self/fd; pwd; ulimit -a; cat";

/// What a program inherits if a shell runs `prelude` and then starts it by way of `program`.
pub(crate) fn inherited(scene: &Scene, program: &[&str], prelude: &str) -> String {
    let mut command = Command::new("/bin/sh");
    let script = format!("{prelude}; umask 0027; exec \"$@\"");
    command.args(["-c", &script, "sh"]).args(program).args(["/bin/sh", "-c", INHERITED]);
    let pod = scene.command(&[]);
    command.env_clear().envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin").current_dir("/usr");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from the standard input\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_program_inherits_everything_else_unchanged() {
    let scene = published();
    let state = |program: &[&str], prelude| inherited(&scene, program, prelude);
    let alone = state(&[], ":");
    assert_has(&alone, &["Umask:\t0027", "/usr\n", "from the standard input"]);
    for source in SOURCES {
        let program = [&[PODCREDS, "exec"], source, &["--"]].concat();
        assert_eq!(state(&program, ":"), alone, "{source:?}");
        // Signals ignored by the parent stay ignored, except SIGPIPE, which Rust ignores in every program.
        assert_eq!(state(&program, "trap '' HUP INT TERM"), state(&[], "trap '' HUP INT TERM"), "{source:?}");
        assert_eq!(state(&program, "trap '' PIPE"), alone, "{source:?}");
    }
}

#[test]
fn a_name_without_a_slash_is_searched_in_path() {
    let scene = published();
    let program = scene.pod.root().join("my-app");
    program::script(&program, "echo $DB_PASSWORD $*");
    let mut command = scene.command(&["exec", "--", "my-app", "--log-level", "--", "-x"]);
    command.env("PATH", format!("/nowhere:{}", scene.pod.root().display()));
    let finished = run(command, HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text().trim(), format!("{PASSWORD} --log-level -- -x"));
}

#[test]
fn a_program_not_found_exits_127_and_a_failed_start_126() {
    let scene = published();
    let file = |name: &str, content: &[u8], mode| {
        let path = scene.pod.root().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (program, code, part) in [
        ("none-such".to_owned(), 127, "program \"none-such\" not found in PATH: pass its path"),
        ("/none/such".to_owned(), 127, "program \"/none/such\" does not exist: correct the path after --"),
        (file("orphan", b"#!/none/such\n", 0o755), 127, "exists, but its interpreter does not"),
        (file("plain", b"#!/bin/sh\n", 0o644), 126, "permission denied (uid "),
        ("/".to_owned(), 126, "permission denied"),
    ] {
        fs::write(scene.pod.termination_log(), "").unwrap();
        let finished = exec(&scene, &[], &[&program]);
        assert_code(&finished, code);
        assert_has(&finished.stderr, &[part]);
        assert_has(&scene.pod.termination_message(), &[part]);
    }
}

#[test]
fn a_variable_that_linux_rejects_is_reported_without_its_value() {
    let scene = scene();
    scene.put_password(&PASSWORD.repeat(20_000));
    assert_code(&scene.init(&[]), 0);
    for source in SOURCES {
        let finished = exec(&scene, source, &["/bin/true"]);
        assert_code(&finished, 126);
        let parts = ["too large (Linux allows 128 KiB", "is DB_PASSWORD, in file db.env", ".format files"];
        assert_has(&finished.stderr, &parts);
        assert!(!finished.stderr.contains(PASSWORD));
    }
}

#[test]
fn an_invalid_env_file_is_rejected_with_file_and_line() {
    let scene = Scene::new(&[]);
    for (content, line) in [
        (format!("password='{PASSWORD}'\n"), 1),
        (format!("export A='a\nb'\nexport B={PASSWORD}\n"), 3),
        (format!("export A='{PASSWORD}"), 1),
        (format!("export A='a'\nexport B='{PASSWORD}'; touch x\n"), 2),
        (format!("{{\"password\": \"{PASSWORD}\"}}"), 1),
    ] {
        publish(&scene.pod.volume(), &[("app/db.env", &content)]);
        let finished = exec(&scene, &["--log-level", "debug"], &["/bin/sh", "-c", "echo started"]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[&format!("file app/db.env, line {line}: not in format env")]);
        let said = finished.stderr + &scene.pod.termination_message();
        assert!(!said.contains(PASSWORD) && finished.stdout.is_empty(), "{said}");
    }
}

#[test]
fn all_env_files_are_read_unless_some_are_named() {
    let scene = Scene::new(&[
        ("a.secret", "db"),
        ("a.format", "env"),
        ("a.keys", "A=username"),
        ("b.secret", "db"),
        ("b.format", "env"),
        ("b.keys", "B=username"),
        ("b.path", "app/b.env"),
        ("c.secret", "db"),
        ("c.format", "env"),
        ("c.keys", "A=password"),
        ("c.path", "c"),
        ("d.secret", "db"),
        ("d.format", "json"),
    ]);
    assert_code(&scene.init(&[]), 0);
    let show = ["/bin/sh", "-c", "echo $A $B"];
    assert_eq!(exec(&scene, &[], &show).stdout_text(), "app app\n");
    for source in SOURCES {
        for (flags, printed) in [
            (&["--env-file", "app/b.env"][..], "app\n".to_owned()),
            (&["--env-file", "c"], format!("{PASSWORD}\n")),
            (&["--env-file", "c, app/b.env"], format!("{PASSWORD} app\n")),
            (&["--env-file", "a.env", "--env-file", "app/b.env"], "app app\n".to_owned()),
        ] {
            let finished = exec(&scene, &[source, flags].concat(), &show);
            assert_code(&finished, 0);
            assert_eq!(finished.stdout_text(), printed, "{source:?} {flags:?}");
        }
        let mut by_variable = scene.command(&[&["exec"], source, &["--"], &show[..]].concat());
        by_variable.env("PODCREDS_ENV_FILES", "a.env,app/b.env");
        assert_eq!(run(by_variable, HANGS).stdout_text(), "app app\n");

        let finished = exec(&scene, &[source, &["--env-file", "a.env,c"]].concat(), &show);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["files a.env and c set variable A to different values: rename one"]);
        assert!(!finished.stderr.contains(PASSWORD));

        for missing in ["none.env", "app", "a.env/x"] {
            let flags = [source, &["--env-file", missing]].concat();
            let finished = exec(&scene, &flags, &show);
            assert_code(&finished, 2);
            assert_has(&finished.stderr, &[&format!("has no env file {missing}; correct --env-file")]);
            assert_code(&exec(&scene, &[&flags[..], &["--allow-none"]].concat(), &show), 0);
        }
    }
    // Only the annotations show that it is an env file.
    assert_has(
        &exec(&scene, &["--render"], &show).stderr,
        &["files a.env and c set variable A to different values"],
    );
}

#[test]
fn without_env_files_it_starts_only_if_allowed() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    for source in SOURCES {
        let finished = exec(&scene, source, &["/bin/echo", "started"]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["has no env file; give a credential .format env", "--allow-none"]);
        let finished = exec(&scene, &[source, &["--allow-none"]].concat(), &["/bin/echo", "started"]);
        assert_code(&finished, 0);
        assert_eq!(finished.stdout_text(), "started\n");
    }
}

#[test]
fn it_waits_for_the_first_files_up_to_the_timeout() {
    let scene = scene();
    let finished = exec(&scene, &["--timeout", "200ms"], &["/bin/true"]);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["no files published within 2", "--render"]);
    assert_has(&scene.pod.termination_message(), &["no files published"]);

    let running = Running::start(scene.command(&["exec", "--", "/bin/sh", "-c", "echo $DB_PASSWORD"]));
    poll_until(HANGS, "it waits", || running.stderr().contains("waiting for the first files in"));
    assert_code(&scene.init(&[]), 0);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text().trim(), PASSWORD);

    let mut waiting = Running::start(scene.command(&[
        "exec",
        "--volume",
        scene.pod.root().to_str().unwrap(),
        "--",
        "/bin/true",
    ]));
    poll_until(HANGS, "it waits", || waiting.stderr().contains("waiting for the first files in"));
    waiting.send(Signal::TERM);
    assert_eq!(waiting.wait(HANGS).signal, Some(15));
}

#[test]
fn a_signal_ends_it_as_pid_1_while_it_waits() {
    let Some(()) = root() else { return };
    let scene = scene();
    for source in SOURCES {
        scene.server.pause_accept();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", PODCREDS, "exec", "--log-level", "debug"]);
        command.args(source).args(["--", "/bin/true"]);
        let pod = scene.command(&[]);
        command.env_clear().envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", "/usr/bin:/bin");
        let running = Running::start(command);
        let children = format!("/proc/{0}/task/{0}/children", running.id());
        let mut child = None;
        poll_until(HANGS, "it catches the signal", || {
            child = fs::read_to_string(&children).ok().and_then(|pids| pids.trim().parse().ok());
            child.is_some_and(|pid: i32| catches_term(pid))
        });
        let pid = rustix::process::Pid::from_raw(child.unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_code(&running.wait(HANGS), 143);
    }
}

fn catches_term(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (15 - 1)) != 0
}

#[test]
fn an_unreadable_volume_fails_at_once() {
    let scene = published();
    let missing = exec(&scene, &["--volume", "/none/such"], &["/bin/true"]);
    assert_code(&missing, 5);
    assert_has(&missing.stderr, &["volume /none/such: does not exist; mount"]);
    let record = scene.pod.volume().join("..podcreds/record");
    fs::remove_file(&record).unwrap();
    fs::write(&record, "other").unwrap();
    let damaged = exec(&scene, &[], &["/bin/true"]);
    assert_code(&damaged, 5);
    assert_has(&damaged.stderr, &["\"..podcreds/record\" is damaged"]);
}

#[test]
fn the_variables_of_a_directory_come_from_one_version() {
    let scene = Scene::new(&[]);
    let volume = scene.pod.volume();
    let over = AtomicBool::new(false);
    let version = |number: u32| {
        let files: Vec<_> = (0..8)
            .map(|index| (format!("app/{index}.env"), format!("export V{index}='{number}'\n")))
            .collect();
        let mut files: Vec<_> =
            files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
        let file = format!("export V8='{}'\n", number.to_string().repeat(5000));
        files.push(("top.env", &file));
        publish(&volume, &files);
    };
    version(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            (1..).take_while(|_| !over.load(Ordering::Relaxed)).for_each(version);
        });
        let results: Vec<_> = (0..40)
            .map(|_| exec(&scene, &[], &["/bin/sh", "-c", "echo $V0 $V1 $V2 $V3 $V4 $V5 $V6 $V7 $V8"]))
            .collect();
        over.store(true, Ordering::Relaxed);
        for finished in results {
            assert_code(&finished, 0);
            let printed = finished.stdout_text();
            let numbers: Vec<_> = printed.split_whitespace().collect();
            let (in_directory, at_top) = (&numbers[..8], numbers[8]);
            assert!(in_directory.iter().all(|number| number == &numbers[0]), "{printed}");
            assert_eq!(at_top.len() % 5000, 0, "a top-level file is whole");
        }
    });
}

#[test]
fn an_unreadable_env_file_is_an_error_an_unreadable_directory_is_not() {
    let Some(()) = root() else { return };
    let scene = Scene::new(&[&ANNOTATIONS[..], &[("raw.file-mode", "0400"), ("raw.path", "raw/x")]].concat());
    scene.server.put_secret("prod", "other", &[("token.env", b"test-token-x")]);
    assert_code(&scene.init(&[]), 0);
    fs::set_permissions(scene.pod.root(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test binary may be in a directory that only root can enter.
    let program = scene.pod.root().join("podcreds");
    program::copy(PODCREDS, &program);
    let run_unprivileged = || {
        let mut command = Command::new(&program);
        command.args([
            "exec",
            "--volume",
            scene.pod.volume().to_str().unwrap(),
            "--",
            "/bin/sh",
            "-c",
            "echo $DB_USER",
        ]);
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        run(command, HANGS)
    };
    let finished = run_unprivileged();
    assert_code(&finished, 0);
    assert_eq!(finished.stdout_text(), "app\n");

    scene.annotate(&[&ANNOTATIONS[..], &[("db.file-mode", "0400")]].concat());
    scene.server.put_secret("prod", "other", &[("token", b"test-token-x")]);
    assert_code(&scene.init(&[]), 0);
    let finished = run_unprivileged();
    assert_code(&finished, 5);
    assert_has(&finished.stderr, &["permission denied (uid 65532, read files): set fsGroup"]);
}

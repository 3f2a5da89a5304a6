//! Plugins that are real processes. Each is a script that the shell runs: a file that was just written cannot be executed itself
//! while the child of another test still holds it open for writing (ETXTBSY).

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use super::*;

/// A run that takes longer hangs.
const HANGS: Duration = Duration::from_secs(30);
/// Must not appear in any message.
const TOKEN: &str = "test-token-7f3a";

/// A script in a directory of its own, which it knows as `$OUT`.
struct Fixture {
    directory: TempDir,
    plugin: Plugin,
}

impl Fixture {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugin");
        fs::write(&path, script).unwrap();
        let out = directory.path().to_str().unwrap().into();
        let plugin = Plugin {
            command: "sh".into(),
            args: vec![path.to_str().unwrap().to_owned(), "get-token".to_owned()],
            env: vec![("OUT".to_owned(), out), ("TOKEN".to_owned(), TOKEN.into())],
            version: PluginVersion::V1,
            interactive: Interactive::Never,
            install_hint: None,
            cluster: None,
        };
        Self { directory, plugin }
    }

    /// The content of a file that the script wrote.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }

    /// The process whose id the script wrote to a file.
    fn process(&self, name: &str) -> Pid {
        Pid::from_raw(self.read(name).trim().parse().unwrap()).unwrap()
    }

    fn run(&self) -> PluginCredential {
        self.plugin.run(HANGS).unwrap()
    }

    /// The message of a failed run. It must not contain the token.
    fn fails(&self, timeout: Duration) -> String {
        let error = self.plugin.run(timeout).unwrap_err();
        let message = error.to_string();
        assert!(!format!("{message} {error:?}").contains(TOKEN), "{message}");
        assert!(message.starts_with("exec plugin \"sh\" "), "{message}");
        message
    }
}

/// A script that ends by printing a valid credential.
fn printing(before: &str, version: &str) -> String {
    format!(
        r#"{before}
printf '{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"ExecCredential","status":{{"token":"%s"}}}}\n' "$TOKEN"
"#
    )
}

#[test]
fn a_plugin_provides_its_token() {
    let fixture = Fixture::new(&printing("test \"$1\" = get-token || exit 9", "v1"));
    let credential = fixture.run();
    assert_eq!(credential.token.as_ref().unwrap().as_str(), TOKEN);
    assert!(!format!("{credential:?}{:?}", fixture.plugin).contains("token"), "not even an argument");
}

#[test]
fn the_plugin_receives_its_input_in_the_environment() {
    for (version, name) in [(PluginVersion::V1, "v1"), (PluginVersion::V1Beta1, "v1beta1")] {
        let mut fixture = Fixture::new(&printing("printf %s \"$KUBERNETES_EXEC_INFO\" >\"$OUT/info\"", name));
        fixture.plugin.version = version;
        fixture.plugin.env.push((INFO.to_owned(), "another".into()));
        fixture.run();
        let input = format!(
            r#"{{"apiVersion":"client.authentication.k8s.io/{name}","kind":"ExecCredential","spec":{{"interactive":false}}}}"#
        );
        assert_eq!(fixture.read("info"), input);

        let cluster = json!({"server": "https://db.example.com", "config": {"audience": "x"}});
        fixture.plugin.cluster = Some(cluster.clone());
        fixture.run();
        let input: Value = serde_json::from_str(&fixture.read("info")).unwrap();
        assert_eq!(input["spec"], json!({"interactive": false, "cluster": cluster}));
    }
}

#[test]
fn the_plugin_inherits_the_environment_and_has_its_own() {
    let mut fixture = Fixture::new(&printing("printf '%s\\n' \"$HOME\" \"$OWN\" >\"$OUT/env\"", "v1"));
    fixture.plugin.env.extend([("OWN".to_owned(), "a=b c".into()), ("HOME".to_owned(), "/own".into())]);
    fixture.run();
    assert_eq!(fixture.read("env"), "/own\na=b c\n");
    fixture.plugin.env.retain(|(name, _)| name != "HOME");
    fixture.run();
    assert_eq!(fixture.read("env").lines().next(), Some(std::env::var("HOME").unwrap_or_default().as_str()));
}

#[test]
fn the_plugin_inherits_stdin_only_if_it_may_prompt() {
    let script =
        "readlink /proc/self/fd/0 >\"$OUT/stdin\"; printf %s \"$KUBERNETES_EXEC_INFO\" >\"$OUT/info\"";
    let mut fixture = Fixture::new(&printing(script, "v1"));
    let ours = fs::read_link("/proc/self/fd/0").unwrap();
    for (interactive, is_terminal, expected) in [
        (Interactive::Never, true, Some(false)),
        (Interactive::Never, false, Some(false)),
        (Interactive::IfAvailable, true, Some(true)),
        (Interactive::IfAvailable, false, Some(false)),
        (Interactive::Always, true, Some(true)),
        (Interactive::Always, false, None),
    ] {
        fixture.plugin.interactive = interactive;
        let ran = fixture.plugin.run_at(is_terminal, Deadline::after(HANGS));
        let Some(is_interactive) = expected else {
            assert!(
                ran.unwrap_err()
                    .to_string()
                    .contains("requires a terminal (interactiveMode: Always), but stdin is not one")
            );
            assert!(!fixture.has("info"), "the plugin did not run");
            continue;
        };
        ran.unwrap();
        let stdin = if is_interactive { ours.as_path() } else { Path::new("/dev/null") };
        assert_eq!(fixture.read("stdin").trim(), stdin.to_str().unwrap(), "{interactive:?} {is_terminal}");
        assert!(fixture.read("info").contains(&format!("\"interactive\":{is_interactive}")));
        fs::remove_file(fixture.directory.path().join("info")).unwrap();
    }
}

#[test]
fn a_missing_program_is_reported_with_the_install_hint_on_one_line() {
    let mut fixture = Fixture::new("");
    fixture.plugin.command = "podcreds-test-no-such-plugin".into();
    let message = |fixture: &Fixture| fixture.plugin.run(HANGS).unwrap_err().to_string();
    let expected = "exec plugin \"podcreds-test-no-such-plugin\" not found";
    assert!(message(&fixture).starts_with(expected) && message(&fixture).ends_with("in the kubeconfig"));
    fixture.plugin.install_hint = Some("Install it:\n\n\tapt\u{1b}[31m install x\r\n".to_owned());
    assert!(message(&fixture).ends_with("; the kubeconfig says: Install it: apt [31m install x"));
    fixture.plugin.install_hint = Some("x".repeat(10_000));
    assert!(message(&fixture).len() < 1000);
}

#[test]
fn a_file_that_is_not_executable_is_reported() {
    let mut fixture = Fixture::new("");
    fixture.plugin.command = fixture.directory.path().join("plugin");
    let message = fixture.plugin.run(HANGS).unwrap_err().to_string();
    assert!(message.contains("permission denied; make it an executable file (chmod +x)"), "{message}");
}

#[test]
fn an_environment_that_is_too_large_is_reported() {
    let mut fixture = Fixture::new("");
    fixture.plugin.cluster = Some(json!({"certificate-authority-data": "x".repeat(200_000)}));
    assert!(fixture.fails(HANGS).contains("provideClusterInfo: true"));
    fixture.plugin.cluster = None;
    fixture.plugin.args.push("a\0b".to_owned());
    assert!(fixture.fails(HANGS).contains("cannot be started"));
}

#[test]
fn a_failed_plugin_is_reported_with_its_exit_code_or_signal() {
    for (end, expected) in
        [("exit 3", "failed with exit code 3: "), ("kill -9 $$", "was terminated by signal 9: ")]
    {
        let fixture = Fixture::new(&format!("{}\n{end}", printing("", "v1")));
        assert!(fixture.fails(HANGS).contains(expected));
    }
}

#[test]
fn output_that_is_not_a_credential_is_reported_without_being_shown() {
    let fixture = Fixture::new("echo \"$TOKEN\"");
    assert!(fixture.fails(HANGS).contains("did not print an ExecCredential (not JSON at line 1"));
    let fixture = Fixture::new(&printing("", "v1beta1"));
    assert!(
        fixture.fails(HANGS).contains("printed an ExecCredential of client.authentication.k8s.io/v1beta1")
    );
}

#[test]
fn the_output_has_a_size_limit() {
    let length = Fixture::new(&printing("", "v1")).run_raw().len();
    for (more, fits) in [(OUTPUT_LIMIT - length, true), (OUTPUT_LIMIT - length + 1, false)] {
        let before = format!("head -c {more} /dev/zero | tr '\\0' ' '");
        let fixture = Fixture::new(&printing(&before, "v1"));
        match fixture.plugin.run(HANGS) {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert!(!fits && error.to_string().contains("printed more than 1048576 bytes"), "{error}");
            }
        }
    }
    // A plugin that never stops printing is killed.
    let fixture = Fixture::new("echo $$ >\"$OUT/pid\"; exec yes \"$TOKEN\"");
    assert!(fixture.fails(HANGS).contains("printed more than 1048576 bytes and was killed"));
    assert!(test_kill_process(fixture.process("pid")).is_err(), "it was killed and reaped");
}

impl Fixture {
    /// The output of the script.
    fn run_raw(&self) -> Vec<u8> {
        let mut command = Command::new("sh");
        command.args(&self.plugin.args).env("TOKEN", TOKEN).stdout(Stdio::piped());
        output(&mut command, None, Deadline::after(HANGS)).unwrap().expose().to_vec()
    }
}

#[test]
fn a_plugin_that_hangs_is_killed_in_time() {
    for script in [
        "exec sleep 600",
        // It closes its output; it prints a credential but does not exit.
        "exec >&-; exec sleep 600",
        &printing("", "v1"),
    ] {
        let script = format!("echo $$ >\"$OUT/pid\"\n{script}\nexec sleep 600");
        let fixture = Fixture::new(&script);
        let started = Instant::now();
        assert!(
            fixture.fails(Duration::from_millis(500)).contains(" ms and was killed: check whether it waits")
        );
        assert!(started.elapsed() < HANGS);
        assert!(test_kill_process(fixture.process("pid")).is_err(), "it was killed and reaped");
    }
}

#[test]
fn background_processes_of_a_plugin_delay_nothing() {
    let background = "sleep 600 & echo $! >\"$OUT/left\"";
    let started = Instant::now();
    let fixture = Fixture::new(&printing(background, "v1"));
    assert_eq!(fixture.run().token.unwrap().as_str(), TOKEN);
    kill_process(fixture.process("left"), Signal::KILL).unwrap();

    let fixture = Fixture::new(&format!("{background}; wait"));
    assert!(fixture.fails(Duration::from_millis(500)).contains(" ms and was killed: check whether it waits"));
    let _ = kill_process(fixture.process("left"), Signal::KILL);

    // Output of a background process makes the credential invalid, wherever it is cut off.
    let fixture = Fixture::new("yes \"$TOKEN\" & echo $! >\"$OUT/left\"");
    fixture.fails(HANGS);
    let _ = kill_process(fixture.process("left"), Signal::KILL);
    assert!(started.elapsed() < HANGS);
}

#[test]
fn a_killed_plugin_takes_the_processes_with_it_that_it_started() {
    for (is_terminal, is_killed) in [(false, true), (true, false)] {
        let fixture = Fixture::new("sleep 600 >&- 2>&- & echo $! >\"$OUT/left\"; exec yes");
        let failed = fixture.plugin.run_at(is_terminal, Deadline::after(HANGS));
        assert!(matches!(failed, Err(PluginErrorKind::TooMuchOutput { .. })));
        let left = fixture.process("left");
        let started = Instant::now();
        while is_killed && is_running(left) {
            assert!(started.elapsed() < HANGS);
            thread::yield_now();
        }
        assert_eq!(is_running(left), !is_killed);
        let _ = kill_process(left, Signal::KILL);
    }
}

/// Whether a process exists and is not a zombie.
fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

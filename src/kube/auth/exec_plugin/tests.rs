//! Runs real plugin processes. Each is a script passed to `sh`, because a file that was just written cannot be executed
//! while a child forked by another test still holds it open for writing.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

use super::*;

/// Limit after which a run counts as hanging.
const HANGS: Duration = Duration::from_secs(30);
/// The value that must not appear in any message.
const TOKEN: &str = "test-token-7f3a";

/// A script in its own directory, which the script finds in `$OUT`.
struct Scene {
    directory: TempDir,
    plugin: Plugin,
}

impl Scene {
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

    /// Reads a file that the script wrote.
    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }

    /// The process whose id the script wrote to this file.
    fn process(&self, name: &str) -> Pid {
        Pid::from_raw(self.read(name).trim().parse().unwrap()).unwrap()
    }

    fn run(&self) -> PluginCredential {
        self.plugin.run(HANGS).unwrap()
    }

    /// The error message, which must not show the token.
    fn fails(&self, timeout: Duration) -> String {
        let error = self.plugin.run(timeout).unwrap_err();
        let message = error.to_string();
        assert!(!format!("{message} {error:?}").contains(TOKEN), "{message}");
        assert!(message.starts_with("credential plugin \"sh\" "), "{message}");
        message
    }
}

/// A script that ends with a valid response.
fn answering(before: &str, version: &str) -> String {
    format!(
        r#"{before}
printf '{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"ExecCredential","status":{{"token":"%s"}}}}\n' "$TOKEN"
"#
    )
}

#[test]
fn the_token_of_a_plugin_is_used() {
    let scene = Scene::new(&answering("test \"$1\" = get-token || exit 9", "v1"));
    let credential = scene.run();
    assert_eq!(credential.token.as_ref().unwrap().as_str(), TOKEN);
    assert!(!format!("{credential:?}{:?}", scene.plugin).contains("token"), "not even an argument");
}

#[test]
fn a_plugin_gets_its_request_in_the_environment() {
    for (version, name) in [(PluginVersion::V1, "v1"), (PluginVersion::V1Beta1, "v1beta1")] {
        let mut scene = Scene::new(&answering("printf %s \"$KUBERNETES_EXEC_INFO\" >\"$OUT/info\"", name));
        scene.plugin.version = version;
        scene.plugin.env.push((INFO.to_owned(), "another".into()));
        scene.run();
        let info = format!(
            r#"{{"apiVersion":"client.authentication.k8s.io/{name}","kind":"ExecCredential","spec":{{"interactive":false}}}}"#
        );
        assert_eq!(scene.read("info"), info);

        let cluster = json!({"server": "https://db.example.com", "config": {"audience": "x"}});
        scene.plugin.cluster = Some(cluster.clone());
        scene.run();
        let info: Value = serde_json::from_str(&scene.read("info")).unwrap();
        assert_eq!(info["spec"], json!({"interactive": false, "cluster": cluster}));
    }
}

#[test]
fn a_plugin_gets_the_inherited_environment_and_its_own() {
    let mut scene = Scene::new(&answering("printf '%s\\n' \"$HOME\" \"$OWN\" >\"$OUT/env\"", "v1"));
    scene.plugin.env.extend([("OWN".to_owned(), "a=b c".into()), ("HOME".to_owned(), "/own".into())]);
    scene.run();
    assert_eq!(scene.read("env"), "/own\na=b c\n");
    scene.plugin.env.retain(|(name, _)| name != "HOME");
    scene.run();
    assert_eq!(scene.read("env").lines().next(), Some(std::env::var("HOME").unwrap_or_default().as_str()));
}

#[test]
fn a_plugin_gets_the_terminal_only_in_interactive_mode() {
    let script =
        "readlink /proc/self/fd/0 >\"$OUT/stdin\"; printf %s \"$KUBERNETES_EXEC_INFO\" >\"$OUT/info\"";
    let mut scene = Scene::new(&answering(script, "v1"));
    let ours = fs::read_link("/proc/self/fd/0").unwrap();
    for (interactive, is_terminal, expected) in [
        (Interactive::Never, true, Some(false)),
        (Interactive::Never, false, Some(false)),
        (Interactive::IfAvailable, true, Some(true)),
        (Interactive::IfAvailable, false, Some(false)),
        (Interactive::Always, true, Some(true)),
        (Interactive::Always, false, None),
    ] {
        scene.plugin.interactive = interactive;
        let ran = scene.plugin.run_at(is_terminal, Deadline::after(HANGS));
        let Some(is_interactive) = expected else {
            assert!(
                ran.unwrap_err()
                    .to_string()
                    .contains("(interactiveMode: Always), and the standard input is none")
            );
            assert!(!scene.has("info"), "nothing runs");
            continue;
        };
        ran.unwrap();
        let stdin = if is_interactive { ours.as_path() } else { Path::new("/dev/null") };
        assert_eq!(scene.read("stdin").trim(), stdin.to_str().unwrap(), "{interactive:?} {is_terminal}");
        assert!(scene.read("info").contains(&format!("\"interactive\":{is_interactive}")));
        fs::remove_file(scene.directory.path().join("info")).unwrap();
    }
}

#[test]
fn a_missing_program_is_reported_with_the_kubeconfigs_install_hint() {
    let mut scene = Scene::new("");
    scene.plugin.command = "podcreds-test-no-such-plugin".into();
    let message = |scene: &Scene| scene.plugin.run(HANGS).unwrap_err().to_string();
    let said = "credential plugin \"podcreds-test-no-such-plugin\" is not found";
    assert!(message(&scene).starts_with(said) && message(&scene).ends_with("in the kubeconfig"));
    scene.plugin.install_hint = Some("Install it:\n\n\tapt\u{1b}[31m install x\r\n".to_owned());
    assert!(message(&scene).ends_with("; the kubeconfig says: Install it: apt [31m install x"));
    scene.plugin.install_hint = Some("x".repeat(10_000));
    assert!(message(&scene).len() < 1000);
}

#[test]
fn a_file_that_is_not_executable_is_reported() {
    let mut scene = Scene::new("");
    scene.plugin.command = scene.directory.path().join("plugin");
    let message = scene.plugin.run(HANGS).unwrap_err().to_string();
    assert!(message.contains("may not be executed: make it an executable file (chmod +x)"), "{message}");
}

#[test]
fn a_request_too_large_for_the_environment_is_reported() {
    let mut scene = Scene::new("");
    scene.plugin.cluster = Some(json!({"certificate-authority-data": "x".repeat(200_000)}));
    assert!(scene.fails(HANGS).contains("provideClusterInfo: true"));
    scene.plugin.cluster = None;
    scene.plugin.args.push("a\0b".to_owned());
    assert!(scene.fails(HANGS).contains("cannot be started"));
}

#[test]
fn a_failed_plugin_is_reported_with_its_exit_code_or_signal() {
    for (end, said) in [("exit 3", "failed with exit code 3: "), ("kill -9 $$", "was ended by signal 9: ")] {
        let scene = Scene::new(&format!("{}\n{end}", answering("", "v1")));
        assert!(scene.fails(HANGS).contains(said));
    }
}

#[test]
fn an_invalid_response_is_reported_without_its_content() {
    let scene = Scene::new("echo \"$TOKEN\"");
    assert!(scene.fails(HANGS).contains("printed what is no ExecCredential (not JSON at line 1"));
    let scene = Scene::new(&answering("", "v1beta1"));
    assert!(scene.fails(HANGS).contains("answers in client.authentication.k8s.io/v1beta1"));
}

#[test]
fn the_length_of_a_response_is_bounded() {
    let answer = Scene::new(&answering("", "v1")).run_raw().len();
    for (more, fits) in [(process::OUTPUT_LIMIT - answer, true), (process::OUTPUT_LIMIT - answer + 1, false)]
    {
        let before = format!("head -c {more} /dev/zero | tr '\\0' ' '");
        let scene = Scene::new(&answering(&before, "v1"));
        match scene.plugin.run(HANGS) {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert!(!fits && error.to_string().contains("printed more than 1048576 bytes"), "{error}");
            }
        }
    }
    // A plugin that never stops printing is killed.
    let scene = Scene::new("echo $$ >\"$OUT/pid\"; exec yes \"$TOKEN\"");
    assert!(scene.fails(HANGS).contains("printed more than 1048576 bytes and was ended"));
    assert!(test_kill_process(scene.process("pid")).is_err(), "the process was killed and reaped");
}

impl Scene {
    /// The script's standard output.
    fn run_raw(&self) -> Vec<u8> {
        let mut command = Command::new("sh");
        command.args(&self.plugin.args).env("TOKEN", TOKEN).stdout(Stdio::piped());
        process::output(&mut command, None, Deadline::after(HANGS)).unwrap().expose().to_vec()
    }
}

#[test]
fn a_hanging_plugin_is_killed_at_its_deadline() {
    for script in [
        "exec sleep 600",
        // With its output closed, and with a response but without an exit.
        "exec >&-; exec sleep 600",
        &answering("", "v1"),
    ] {
        let script = format!("echo $$ >\"$OUT/pid\"\n{script}\nexec sleep 600");
        let scene = Scene::new(&script);
        let started = Instant::now();
        assert!(
            scene.fails(Duration::from_millis(500)).contains("gave no answer within 0.5 s and was ended")
        );
        assert!(started.elapsed() < HANGS);
        assert!(test_kill_process(scene.process("pid")).is_err(), "the process was killed and reaped");
    }
}

#[test]
fn background_processes_of_a_plugin_delay_nothing() {
    let background = "sleep 600 & echo $! >\"$OUT/left\"";
    let started = Instant::now();
    let scene = Scene::new(&answering(background, "v1"));
    assert_eq!(scene.run().token.unwrap().as_str(), TOKEN);
    kill_process(scene.process("left"), Signal::KILL).unwrap();

    let scene = Scene::new(&format!("{background}; wait"));
    assert!(scene.fails(Duration::from_millis(500)).contains("gave no answer within 0.5 s"));
    kill_process(scene.process("left"), Signal::KILL).unwrap();

    // Endless output from a child is not a valid response, wherever it is cut off.
    let scene = Scene::new("yes \"$TOKEN\" & echo $! >\"$OUT/left\"");
    scene.fails(HANGS);
    let _ = kill_process(scene.process("left"), Signal::KILL);
    assert!(started.elapsed() < HANGS);
}

//! Every format is read back by the readers that applications use: shells, Python, Node and Java find the bytes that
//! went in. Each test needs its reader and is skipped without it; `tests/readers/` holds the programs that read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "readers/cases.rs"]
mod cases;
#[path = "readers/connections.rs"]
mod connections;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tempfile::TempDir;

use podcreds::annotations::{DEFAULT_PREFIX, Scope, parse};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{self, Sources};

use cases::Case;
use support::run::run;
use support::skip::require;

/// Names the Python that has the modules of `tests/readers/requirements.txt`.
const PYTHON: &str = "PODCREDS_TEST_PYTHON";
/// Names the folder that holds the Node modules of `tests/readers/package.json`.
const NODE_MODULES: &str = "PODCREDS_TEST_NODE_MODULES";
/// Beyond this a reader hangs.
const HANGS: Duration = Duration::from_secs(300);
/// The locales that shells read in: of bytes, of characters, and one that is not there.
const LOCALES: [&str; 3] = ["C", "C.UTF-8", "xx_XX.none"];
/// How a refusal of `dotenv` ends.
const NOT_PORTABLE: &str = "which dotenv libraries read differently: use format env or json";
/// The least number of cases that `dotenv` must not refuse, and some of them.
const PORTABLE_AT_LEAST: usize = 350;
const PORTABLE: [&str; 12] = [
    "empty",
    "spaces-at-both-ends",
    "single-quote-in-a-word",
    "double-quotes",
    "backslash-between",
    "dollar-name",
    "comment-after-a-space",
    "newlines-between",
    "emoji",
    "line-separator",
    "url",
    "large",
];
/// How a refusal of `envfile` names its reader or its limit.
const NOT_FOR_KUBELET: [&str; 2] = ["the kubelet", "the Linux limit for one variable"];
/// The least number of cases that `envfile` must not refuse: about a third of the random values hold a single quote.
const FOR_KUBELET_AT_LEAST: usize = 350;
/// How many mismatches a failure lists.
const LISTED: usize = 10;
/// How much of a value a failure shows, in characters.
const SHOWN: usize = 120;

#[test]
fn env_is_read_by_sh() {
    shell("sh", &[]);
}

#[test]
fn env_is_read_by_dash() {
    shell("dash", &[]);
}

#[test]
fn env_is_read_by_bash() {
    shell("bash", &[]);
}

#[test]
fn env_is_read_by_bash_in_posix_mode() {
    shell("bash", &["--posix"]);
}

#[test]
fn env_is_read_by_busybox() {
    shell("busybox", &["sh"]);
}

#[test]
fn env_is_read_by_mksh() {
    shell("mksh", &[]);
}

#[test]
fn env_is_read_by_ksh93() {
    shell("ksh93", &[]);
}

#[test]
fn env_is_read_by_zsh_as_sh() {
    shell("zsh", &["--emulate", "sh"]);
}

#[test]
fn dotenv_is_read_by_python() {
    let Some(python) = python("dotenv") else { return };
    Files::write("dotenv", &[cases::variables()]).read_by(python, &["python-dotenv"]);
}

#[test]
fn dotenv_is_read_by_node() {
    let Some(node) = node_with_modules() else { return };
    let readers = ["Node dotenv", "Node dotenv, fast", "node --env-file"];
    Files::write("dotenv", &[cases::variables()]).read_by(node, &readers);
}

#[test]
fn dotenv_refuses_few_values() {
    let files = Files::write("dotenv", &[]);
    let written: BTreeSet<_> = files.cases.iter().map(|case| case.name.as_str()).collect();
    let refused: Vec<_> = PORTABLE.into_iter().filter(|name| !written.contains(name)).collect();
    assert_eq!(refused, [""; 0]);
    assert!(written.len() >= PORTABLE_AT_LEAST, "only {} cases are written", written.len());
}

#[test]
fn envfile_is_read_by_the_kubelets_parser() {
    let Some(kubelet) = kubelet() else { return };
    Files::write("envfile", &[cases::variables(), cases::odd_names()]).read_by(kubelet, &["kubelet"]);
}

#[test]
fn envfile_refuses_only_what_the_kubelets_parser_changes() {
    let Some(mut kubelet) = kubelet() else { return };
    let files = Files::write("envfile", &[]);
    assert!(files.cases.len() >= FOR_KUBELET_AT_LEAST, "only {} cases are written", files.cases.len());
    // What podcreds refuses, written by the rule for all other values. More than 128 KiB is Linux' limit, not the parser's.
    let is_written = |case: &Case| files.cases.iter().any(|other| other.name == case.name);
    let root = tempfile::tempdir().unwrap();
    let mut refused = cases::values();
    refused.retain(|case| !is_written(case) && case.fields["VALUE"].len() < 128 * 1024 - "VALUE=\0".len());
    assert!(refused.len() > 10, "{} cases are refused", refused.len());
    for case in &refused {
        let folder = root.path().join(&case.name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("db.envfile"), format!("VALUE='{}'\n", case.fields["VALUE"])).unwrap();
    }
    kubelet.arg("envfile").arg(root.path());
    let answers = answers(kubelet);
    assert_eq!(answers.len(), refused.len());
    for case in &refused {
        let answer = answers.iter().find(|answer| answer.case == case.name).unwrap();
        assert_ne!(answer.mismatches(case), [""; 0], "case {} is read back unchanged", case.name);
    }
}

#[test]
fn json_is_read_by_python() {
    let Some(python) = python("json") else { return };
    Files::write("json", &[cases::nul(), cases::odd_names()]).read_by(python, &["Python json"]);
}

#[test]
fn json_is_read_by_node() {
    let Some(node) = node() else { return };
    Files::write("json", &[cases::nul(), cases::odd_names()]).read_by(node, &["JSON.parse"]);
}

#[test]
fn yaml_is_read_by_python() {
    let Some(python) = python("yaml") else { return };
    let readers = ["PyYAML", "PyYAML with libyaml"];
    Files::write("yaml", &[cases::nul(), cases::odd_names()]).read_by(python, &readers);
}

#[test]
fn yaml_is_read_by_node() {
    let Some(node) = node_with_modules() else { return };
    let readers = ["Node yaml 1.1", "Node yaml 1.2"];
    Files::write("yaml", &[cases::nul(), cases::odd_names()]).read_by(node, &readers);
}

#[test]
fn properties_are_read_by_java() {
    let Some(java) = java() else { return };
    let readers = ["Properties.load(InputStream)", "Properties.load(Reader)"];
    Files::write("properties", &[cases::nul(), cases::odd_names()]).read_by(java, &readers);
}

/// What podcreds writes for each case: `<case>/db.<ending>` in a folder of the test's own.
struct Files {
    root: TempDir,
    format: &'static str,
    cases: Vec<Case>,
}

impl Files {
    /// Every case of one value, and `more`, without those that `dotenv` and `envfile` refuse because of their readers.
    fn write(format: &'static str, more: &[Case]) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let mut cases = cases::values();
        cases.extend_from_slice(more);
        cases.retain(|case| match render(&[("format", format)], case) {
            Ok((name, content)) => {
                let folder = root.path().join(&case.name);
                fs::create_dir(&folder).unwrap();
                fs::write(folder.join(name), content).unwrap();
                true
            }
            Err(refusal) => {
                let is_expected = match format {
                    "dotenv" => refusal.ends_with(NOT_PORTABLE),
                    "envfile" => NOT_FOR_KUBELET.iter().any(|reason| refusal.contains(reason)),
                    _ => false,
                };
                assert!(is_expected, "{format}, case {}: {refusal}", case.name);
                false
            }
        });
        Self { root, format, cases }
    }

    /// Runs a program of `tests/readers/` that prints a line of JSON for each reader and case.
    fn read_by(&self, mut program: Command, readers: &[&str]) {
        program.arg(self.format).arg(self.root.path());
        self.check(readers, &answers(program));
    }

    /// Each of these readers must have read each case, and found what went in.
    fn check(&self, readers: &[&str], answers: &[Answer]) {
        let mut by_case = BTreeMap::new();
        for answer in answers {
            let twice = by_case.insert((answer.reader.as_str(), answer.case.as_str()), answer);
            assert!(twice.is_none(), "{}: case {} twice", answer.reader, answer.case);
        }
        let mut wrong = Vec::new();
        for reader in readers {
            for case in &self.cases {
                match by_case.remove(&(*reader, case.name.as_str())) {
                    Some(answer) => wrong.extend(answer.mismatches(case)),
                    None => wrong.push(format!("{reader}: case {} was not read", case.name)),
                }
            }
        }
        wrong.extend(by_case.keys().map(|(reader, case)| format!("{reader}: nobody wrote case {case}")));
        assert!(
            wrong.is_empty(),
            "{}: {} mismatches\n{}",
            self.format,
            wrong.len(),
            wrong.iter().take(LISTED).cloned().collect::<Vec<_>>().join("\n")
        );
    }
}

/// What a program of `tests/readers/` prints.
fn answers(program: Command) -> Vec<Answer> {
    let finished = run(program, HANGS);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let lines = finished.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What one reader made of one case.
#[derive(Deserialize)]
struct Answer {
    reader: String,
    case: String,
    /// The values that it found, in base64.
    #[serde(default)]
    fields: BTreeMap<String, Base64>,
    /// Why it found none.
    error: Option<String>,
}

impl Answer {
    fn mismatches(&self, case: &Case) -> Vec<String> {
        let place = format!("{}: case {}", self.reader, case.name);
        if let Some(error) = &self.error {
            return vec![format!("{place}: {error}")];
        }
        let names: BTreeSet<_> = case.fields.keys().chain(self.fields.keys()).collect();
        names
            .into_iter()
            .filter_map(|name| {
                let written = case.fields.get(name).map(|value| value.as_bytes());
                let read = self.fields.get(name).map(|value| value.0.as_slice());
                (written != read).then(|| {
                    format!("{place}: field {name}\n    wrote {}\n    read  {}", shown(written), shown(read))
                })
            })
            .collect()
    }
}

/// Bytes that stand in base64 in the JSON of a reader.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Base64(Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

fn shown(value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.escape_ascii().to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], value.len()),
        None => text,
    }
}

/// The name and content of the one file of a credential with these fields, or why there is none.
fn render(annotations: &[(&str, &str)], case: &Case) -> Result<(String, Vec<u8>), String> {
    let namespace = Namespace::parse("prod").unwrap();
    let annotations = [&[("secret", "db")], annotations].concat();
    let named =
        annotations.iter().map(|(word, value)| (format!("{DEFAULT_PREFIX}/db.{word}"), (*value).to_owned()));
    let credentials = parse(&named.collect(), DEFAULT_PREFIX, &Scope::own(namespace.clone())).unwrap();
    let secret = ObjectRef::new(Kind::Secret, namespace, "db").unwrap();
    let data = case.fields.iter().map(|(field, value)| (field.clone(), value.as_str().into())).collect();
    let sources = Sources::from([(secret, Some(data))]);
    let files = render::render(&credentials, &sources).map_err(|e| e.to_string())?.bundle;
    assert_eq!(files.len(), 1, "one file for {annotations:?}");
    let (path, file) = files.into_iter().next().unwrap();
    Ok((path.to_string(), file.content.expose().to_vec()))
}

/// Sources every case in this shell, in every locale.
fn shell(program: &str, arguments: &[&str]) {
    let Some(path) = require(program, find(program)) else { return };
    let files = Files::write("env", &[cases::variables()]);
    let elsewhere = tempfile::tempdir().unwrap();
    for locale in LOCALES {
        let mut command = Command::new(&path);
        command
            .args(arguments)
            .arg(reader("read.sh"))
            .arg(files.root.path())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap())
            .env("HOME", elsewhere.path())
            .env("LC_ALL", locale)
            .current_dir(elsewhere.path());
        let finished = run(command, HANGS);
        let name = [&[program], arguments, &["in locale", locale]].concat().join(" ");
        assert_eq!(finished.code, Some(0), "{name}: {}", finished.stderr);
        files.check(&[name.as_str()], &sourced(&name, &finished.stdout, &files.cases));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "{name}: a value was run");
    }
}

/// What `read.sh` printed. What the environment holds beside the fields is the shell's own.
fn sourced(reader: &str, printed: &[u8], cases: &[Case]) -> Vec<Answer> {
    let fields: BTreeMap<_, _> = cases.iter().map(|case| (case.name.as_str(), &case.fields)).collect();
    let mut answers: Vec<Answer> = Vec::new();
    for entry in printed.split(|byte| *byte == 0) {
        let (name, value) = match entry.iter().position(|byte| *byte == b'=') {
            Some(end) => (str::from_utf8(&entry[..end]).unwrap(), &entry[end + 1..]),
            None => continue,
        };
        if name.is_empty() {
            let case = str::from_utf8(value).unwrap().to_owned();
            answers.push(Answer { reader: reader.to_owned(), case, fields: BTreeMap::new(), error: None });
        } else if let Some(answer) = answers.last_mut()
            && fields[answer.case.as_str()].contains_key(name)
        {
            answer.fields.insert(name.to_owned(), Base64(value.to_vec()));
        }
    }
    answers
}

/// Python with this module: `PODCREDS_TEST_PYTHON`, or `python3`.
fn python(module: &str) -> Option<Command> {
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    let there = imported.is_ok_and(|output| output.status.success());
    let what = format!("Python with {module} (pip install -r tests/readers/requirements.txt)");
    let mut command = Command::new(require(&what, there.then_some(python))?);
    command.arg(reader("read.py"));
    Some(command)
}

/// Node, for what it brings itself.
fn node() -> Option<Command> {
    let mut command = Command::new(require("node", find("node"))?);
    command.arg(reader("read.mjs"));
    Some(command)
}

/// Node with the libraries in `PODCREDS_TEST_NODE_MODULES`, a folder that npm calls `node_modules`.
fn node_with_modules() -> Option<Command> {
    let modules = env::var_os(NODE_MODULES).map(PathBuf::from);
    let there = modules.filter(|modules| ["dotenv", "yaml"].iter().all(|name| modules.join(name).is_dir()));
    let what = format!("{NODE_MODULES} with dotenv and yaml (npm install, of tests/readers/package.json)");
    let modules = require(&what, there)?;
    let mut command = node()?;
    command.env(NODE_MODULES, modules);
    Some(command)
}

/// The parser of Kubernetes' own source, from the cache of Go modules: nothing is downloaded.
fn kubelet() -> Option<Command> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubelet-reader");
        let mut build = Command::new(find("go")?);
        build
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(reader("kubelet"))
            .env("GOPROXY", "off");
        build.output().is_ok_and(|output| output.status.success()).then_some(binary)
    };
    let what = "go with k8s.io/kubernetes (go mod download, in tests/readers/kubelet)";
    require(what, BUILT.get_or_init(build).as_ref()).map(Command::new)
}

/// Java with its compiler, which `java Read.java` needs.
fn java() -> Option<Command> {
    let modules = Command::new("java").arg("--list-modules").output();
    let there = modules.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("jdk.compiler@"));
    require("java with its compiler", there.then_some(()))?;
    let mut command = Command::new("java");
    command.arg(reader("Read.java"));
    Some(command)
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn reader(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name)
}

//! Reads every format back with the readers that applications use: shells, Python, Node and Java must find the original
//! bytes. Each test is skipped if its reader is missing; `tests/readers/` contains the reading programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "readers/adonet.rs"]
mod adonet;
#[path = "readers/cases.rs"]
mod cases;
#[path = "readers/connections.rs"]
mod connections;
#[path = "readers/frameworks.rs"]
mod frameworks;
#[path = "readers/jq.rs"]
mod jq;
#[path = "readers/keystores.rs"]
mod keystores;
#[path = "readers/options.rs"]
mod options;
#[path = "readers/pages.rs"]
mod pages;
mod support;
#[path = "readers/templates.rs"]
mod templates;
#[path = "readers/variables.rs"]
mod variables;

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

use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{self, Sources};

use cases::Case;
use support::run::run;
use support::skip::require;

/// Names the Python that has the modules of `tests/readers/requirements.txt`.
const PYTHON: &str = "PODCREDS_TEST_PYTHON";
/// Names the directory with the Node modules of `tests/readers/package.json`.
const NODE_MODULES: &str = "PODCREDS_TEST_NODE_MODULES";
/// The longest time for a reader.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The locales in which shells read: of bytes, of characters, and one that does not exist.
const LOCALES: [&str; 3] = ["C", "C.UTF-8", "xx_XX.none"];
/// How error messages of `dotenv` end.
const DOTENV_REASON: &str = "which dotenv libraries read differently: use format env or json";
/// The least number of cases that `dotenv` must accept, and some of them.
const DOTENV_AT_LEAST: usize = 250;
const DOTENV_ACCEPTS: [&str; 13] = [
    "empty",
    "spaces-at-both-ends",
    "single-quote-in-a-word",
    "double-quotes",
    "backslash-between",
    "dollar-at-the-end",
    "pem",
    "comment-after-a-space",
    "newlines-between",
    "emoji",
    "line-separator",
    "url",
    "large-line",
];
/// How error messages of `envfile` name the reader or the limit.
const KUBELET_REASONS: [&str; 2] = ["the kubelet", "the Linux limit for one variable"];
/// The least number of cases that `envfile` must accept: about a third of the random values contain a single quote.
const ENVFILE_AT_LEAST: usize = 350;
/// How many mismatches a failing test lists.
const LISTED: usize = 10;
/// How many characters of a value a failing test shows.
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
    let readers = ["Node dotenv", "Node dotenv, fast", "node --env-file", "dotenv-expand", "Next.js"];
    Files::write("dotenv", &[cases::variables()]).read_by(node, &readers);
}

#[test]
fn dotenv_is_read_by_php() {
    let libraries = ["Dotenv/autoload.php", "Symfony/Component/Dotenv/autoload.php"];
    let found = libraries.iter().all(|path| Path::new("/usr/share/php").join(path).is_file());
    let what = "PHP with Debian's php-vlucas-phpdotenv and php-symfony-dotenv";
    let Some(php) = require(what, find("php").filter(|_| found)) else { return };
    let mut command = Command::new(php);
    command.arg(reader("read.php"));
    Files::write("dotenv", &[cases::variables()]).read_by(command, &["phpdotenv", "Symfony"]);
}

#[test]
fn dotenv_is_read_by_ruby() {
    let Some(ruby) = ruby("dotenv") else { return };
    Files::write("dotenv", &[cases::variables()]).read_by(ruby, &["Ruby dotenv"]);
}

/// These libraries read one line after another.
#[test]
fn dotenv_without_line_breaks_is_read_by_more_python_libraries() {
    let Some(python) = python("decouple, starlette") else { return };
    let mut files = Files::write("dotenv", &[cases::variables()]);
    files.retain(|value| !value.contains('\n'));
    files.format = "dotenv-lines";
    files.read_by(python, &["python-decouple", "starlette"]);
}

#[test]
fn dotenv_rejects_few_values() {
    let files = Files::write("dotenv", &[]);
    let written: BTreeSet<_> = files.cases.iter().map(|case| case.name.as_str()).collect();
    let refused: Vec<_> = DOTENV_ACCEPTS.into_iter().filter(|name| !written.contains(name)).collect();
    assert_eq!(refused, [""; 0]);
    assert!(written.len() >= DOTENV_AT_LEAST, "only {} cases are written", written.len());
}

#[test]
fn envfile_is_read_by_the_kubelets_parser() {
    let Some(kubelet) = kubelet() else { return };
    Files::write("envfile", &[cases::variables(), cases::odd_names()]).read_by(kubelet, &["kubelet"]);
}

#[test]
fn envfile_rejects_only_values_that_the_kubelets_parser_changes() {
    let Some(mut kubelet) = kubelet() else { return };
    let files = Files::write("envfile", &[]);
    assert!(files.cases.len() >= ENVFILE_AT_LEAST, "only {} cases are written", files.cases.len());
    // The rejected values, written by the rule for all other values. The limit of 128 KiB is that of Linux, not of the parser.
    let is_written = |case: &Case| files.cases.iter().any(|other| other.name == case.name);
    let root = tempfile::tempdir().unwrap();
    let mut refused = cases::values();
    refused.retain(|case| !is_written(case) && case.fields["VALUE"].len() < 128 * 1024 - "VALUE=\0".len());
    assert!(refused.len() > 10, "{} cases are refused", refused.len());
    for case in &refused {
        let directory = root.path().join(&case.name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("db.envfile"), format!("VALUE='{}'\n", case.fields["VALUE"])).unwrap();
    }
    kubelet.arg("envfile").arg(root.path());
    let outputs = outputs(kubelet);
    assert_eq!(outputs.len(), refused.len());
    for case in &refused {
        let output = outputs.iter().find(|output| output.case == case.name).unwrap();
        assert_ne!(output.mismatches(case), [""; 0], "case {} is read back unchanged", case.name);
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

/// podcreds' output for each case, as `<case>/db.<extension>` in a temporary directory.
struct Files {
    root: TempDir,
    format: &'static str,
    cases: Vec<Case>,
}

impl Files {
    /// Writes every case with one value, and `more`, without the cases that `dotenv` and `envfile` reject because of their readers.
    /// Each case of `more` is written a second time, by two credentials that share the file.
    fn write(format: &'static str, more: &[Case]) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let mut cases = cases::values();
        cases.extend_from_slice(more);
        cases.retain(|case| match render(&[("format", format)], case) {
            Ok((name, content)) => {
                let path = root.path().join(&case.name).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
                true
            }
            Err(error) => {
                let is_expected = match format {
                    "dotenv" => error.ends_with(DOTENV_REASON),
                    "envfile" => KUBELET_REASONS.iter().any(|reason| error.contains(reason)),
                    _ => false,
                };
                assert!(is_expected, "{format}, case {}: {error}", case.name);
                false
            }
        });
        for case in more.iter().filter(|case| case.fields.len() > 1) {
            let case = Case { name: format!("{}-shared", case.name), fields: case.fields.clone() };
            let (name, content) = render_shared(format, &case);
            let directory = root.path().join(&case.name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join(name), content).unwrap();
            cases.push(case);
        }
        Self { root, format, cases }
    }

    /// Removes the cases with a value that the readers change.
    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.cases.retain(|case| {
            let kept = case.fields.values().all(|value| keep(value));
            if !kept {
                fs::remove_dir_all(self.root.path().join(&case.name)).unwrap();
            }
            kept
        });
        assert!(self.cases.len() > 100, "only {} cases remain", self.cases.len());
    }

    /// Runs a program of `tests/readers/` that prints a line of JSON for each reader and case.
    fn read_by(&self, mut program: Command, readers: &[&str]) {
        program.arg(self.format).arg(self.root.path());
        self.check(readers, &outputs(program));
    }

    /// Fails unless each of these readers has read each case and found the original values.
    fn check(&self, readers: &[&str], outputs: &[ReaderOutput]) {
        let mut by_case = BTreeMap::new();
        for output in outputs {
            let twice = by_case.insert((output.reader.as_str(), output.case.as_str()), output);
            assert!(twice.is_none(), "{}: case {} twice", output.reader, output.case);
        }
        let mut wrong = Vec::new();
        for reader in readers {
            for case in &self.cases {
                match by_case.remove(&(*reader, case.name.as_str())) {
                    Some(output) => wrong.extend(output.mismatches(case)),
                    None => wrong.push(format!("{reader}: case {} was not read", case.name)),
                }
            }
        }
        wrong.extend(by_case.keys().map(|(reader, case)| format!("{reader}: unknown case {case}")));
        assert!(
            wrong.is_empty(),
            "{}: {} mismatches\n{}",
            self.format,
            wrong.len(),
            wrong.iter().take(LISTED).cloned().collect::<Vec<_>>().join("\n")
        );
    }
}

/// Parses the output of a program in `tests/readers/`.
fn outputs(program: Command) -> Vec<ReaderOutput> {
    let finished = run(program, TIMEOUT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let lines = finished.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The result of one reader for one case.
#[derive(Deserialize)]
struct ReaderOutput {
    reader: String,
    case: String,
    /// The values by field, in base64.
    #[serde(default)]
    fields: BTreeMap<String, Base64>,
    /// The reader's error, if it failed.
    error: Option<String>,
}

impl ReaderOutput {
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

/// Bytes that a reader prints in base64.
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

/// The name and content of the only file of a credential with these fields, or podcreds' error.
fn render(annotations: &[(&str, &str)], case: &Case) -> Result<(String, Vec<u8>), String> {
    let namespace = Namespace::parse("prod").unwrap();
    let annotations = [&[("secret", "db")], annotations].concat();
    let named =
        annotations.iter().map(|(key, value)| (format!("{DEFAULT_PREFIX}/db.{key}"), (*value).to_owned()));
    let credentials =
        parse(&named.collect(), DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone())).unwrap();
    let secret = ObjectRef::new(Kind::Secret, namespace, "db").unwrap();
    let data = case.fields.iter().map(|(field, value)| (field.clone(), value.as_str().into())).collect();
    let sources = Sources::from([(secret, Some(data))]);
    let files = render::render(&credentials, &sources).map_err(|e| e.to_string())?.bundle;
    assert_eq!(files.len(), 1, "one file for {annotations:?}");
    let (path, file) = files.into_iter().next().unwrap();
    Ok((path.to_string(), file.content.expose().to_vec()))
}

/// Like [`render`], with every other field in a credential of its own that has the same file.
fn render_shared(format: &str, case: &Case) -> (String, Vec<u8>) {
    let (path, _) = render(&[("format", format)], case).unwrap();
    let namespace = Namespace::parse("prod").unwrap();
    let (mut annotations, mut sources) = (BTreeMap::new(), Sources::new());
    for (half, name) in ["a", "b"].into_iter().enumerate() {
        for (key, value) in [("secret", name), ("format", format), ("path", &path)] {
            annotations.insert(format!("{DEFAULT_PREFIX}/{name}.{key}"), value.to_owned());
        }
        let fields = case.fields.iter().skip(half).step_by(2);
        let data = fields.map(|(field, value)| (field.clone(), value.as_str().into())).collect();
        sources.insert(ObjectRef::new(Kind::Secret, namespace.clone(), name).unwrap(), Some(data));
    }
    let credentials = parse(&annotations, DEFAULT_PREFIX, &ReferenceScope::local(namespace)).unwrap();
    let files = render::render(&credentials, &sources).unwrap().bundle;
    assert_eq!(files.len(), 1);
    (path, files.into_values().next().unwrap().content.expose().to_vec())
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
        let finished = run(command, TIMEOUT);
        let name = [&[program], arguments, &["in locale", locale]].concat().join(" ");
        assert_eq!(finished.code, Some(0), "{name}: {}", finished.stderr);
        files.check(&[name.as_str()], &sourced(&name, &finished.stdout, &files.cases));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "{name}: the shell ran a value");
    }
}

/// Parses the output of `read.sh`, and ignores variables that the shell itself sets.
fn sourced(reader: &str, printed: &[u8], cases: &[Case]) -> Vec<ReaderOutput> {
    let fields: BTreeMap<_, _> = cases.iter().map(|case| (case.name.as_str(), &case.fields)).collect();
    let mut outputs: Vec<ReaderOutput> = Vec::new();
    for entry in printed.split(|byte| *byte == 0) {
        let (name, value) = match entry.iter().position(|byte| *byte == b'=') {
            Some(end) => (str::from_utf8(&entry[..end]).unwrap(), &entry[end + 1..]),
            None => continue,
        };
        if name.is_empty() {
            let case = str::from_utf8(value).unwrap().to_owned();
            outputs.push(ReaderOutput {
                reader: reader.to_owned(),
                case,
                fields: BTreeMap::new(),
                error: None,
            });
        } else if let Some(output) = outputs.last_mut()
            && fields[output.case.as_str()].contains_key(name)
        {
            output.fields.insert(name.to_owned(), Base64(value.to_vec()));
        }
    }
    outputs
}

/// Python with this module: `PODCREDS_TEST_PYTHON`, or `python3`.
fn python(module: &str) -> Option<Command> {
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    let found = imported.is_ok_and(|output| output.status.success());
    let what = format!("Python with {module} (pip install -r tests/readers/requirements.txt)");
    let mut command = Command::new(require(&what, found.then_some(python))?);
    command.arg(reader("read.py"));
    Some(command)
}

/// Ruby with this library.
fn ruby(library: &str) -> Option<Command> {
    let loaded = Command::new("ruby").args(["-e", "require ARGV[0]", library]).output();
    let found = loaded.is_ok_and(|output| output.status.success()).then_some("ruby");
    let what = format!("Ruby with {library} (Debian's ruby, ruby-dotenv and ruby-activerecord)");
    let mut command = Command::new(require(&what, found)?);
    command.arg(reader("read.rb"));
    Some(command)
}

/// Node without libraries.
fn node() -> Option<Command> {
    let mut command = Command::new(require("node", find("node"))?);
    command.arg(reader("read.mjs"));
    Some(command)
}

/// Node with the libraries in `PODCREDS_TEST_NODE_MODULES`, a `node_modules` directory.
fn node_with_modules() -> Option<Command> {
    let modules = env::var_os(NODE_MODULES).map(PathBuf::from);
    let found = modules.filter(|modules| {
        ["@next/env", "dotenv", "dotenv-expand", "yaml"].iter().all(|name| modules.join(name).is_dir())
    });
    let what = format!("{NODE_MODULES} with the libraries (npm install, of tests/readers/package.json)");
    let modules = require(&what, found)?;
    let mut command = node()?;
    command.env(NODE_MODULES, modules);
    Some(command)
}

/// The parser from Kubernetes' source code in the Go module cache. Nothing is downloaded.
fn kubelet() -> Option<Command> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let what = "go with k8s.io/kubernetes (go mod download, in tests/readers/kubelet)";
    require(what, BUILT.get_or_init(|| build_go("kubelet")).as_ref()).map(Command::new)
}

/// Builds the Go program in this directory of `tests/readers/` from the module cache.
fn build_go(name: &str) -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-reader"));
    let mut build = Command::new(find("go")?);
    build.args(["build", "-o"]).arg(&binary).arg(".").current_dir(reader(name)).env("GOPROXY", "off");
    build.output().is_ok_and(|output| output.status.success()).then_some(binary)
}

/// Java with its compiler, which `java Read.java` needs.
fn java() -> Option<Command> {
    let modules = Command::new("java").arg("--list-modules").output();
    let found = modules.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("jdk.compiler@"));
    require("java with its compiler", found.then_some(()))?;
    let mut command = Command::new("java");
    command.arg(reader("Read.java"));
    Some(command)
}

fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn reader(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name)
}

//! The blocks of docs/frameworks.md, read by the frameworks themselves. For each value of [`VALUES`] as the password, with another as the
//! user name, podcreds renders the annotations of a section, and a program in `tests/readers/frameworks/` applies the other blocks as the
//! framework does. A value must arrive unchanged unless the section names its kind, and a value of that kind must not. If the page says
//! that a rotation needs no restart, the program configures the application with earlier values in DIRECTORY/CASE/podcreds, and replaces
//! that directory by DIRECTORY/CASE/rotated before it connects.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{self, Sources};

use super::{NODE_MODULES, PYTHON, TIMEOUT, find, outputs, reader, require, run};

/// Names the directory with the libraries of `tests/readers/frameworks/pom.xml`.
const JARS: &str = "PODCREDS_TEST_FRAMEWORKS";
const PAGE: &str = include_str!("../../docs/frameworks.md");

/// Values that readers of public reports could not read, or read differently.
const VALUES: [&str; 38] = [
    "app",
    "it's",
    "\"1\"",
    "it's \"1\" \\ $x",
    "a\"\"b''c``d",
    "a\\b",
    "a\\",
    "\\\\a\\\\b",
    "a\\nb\\u0041",
    "#a",
    "a #b",
    "a#b;c",
    "$a",
    "a$b$",
    "$2y$10$abcdefghijklmnopqrstuv",
    "my$$pw",
    "a\\$b",
    "a${x",
    "a${x:y}b",
    "${env:HOME}",
    "$(id)`id`",
    "<%= 6 * 7 %>",
    "#{1+1}{{ 7 }}{% x %}",
    "100%a%%b%20%s%",
    "%kernel.secret%%env(HOME)%",
    "p@ss@db:5432/x?y=z&w#v",
    "a;Host=evil.example;b='",
    "a=b, c: d - [e] {f} !g &h *i |j >k",
    "12345",
    "true",
    "@int 42",
    " a ",
    "a ",
    "\ta\tb",
    "a\nb",
    "a\n",
    "Zürich 密碼 😀 e\u{301}\u{2028}\u{a0}x",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!?12345678",
];

/// A kind of values that a framework does not read unchanged.
struct Exception {
    /// How the section, and the table at the top, name it.
    words: &'static str,
    is_meant: fn(&str) -> bool,
}

const LINE_BREAK: Exception = Exception { words: "line break", is_meant: |value| value.contains('\n') };
const LINE_BREAK_AT_THE_END: Exception =
    Exception { words: "a line break at the end", is_meant: |value| value.ends_with('\n') };
const SPACE_AT_THE_END: Exception =
    Exception { words: "white space at the end", is_meant: |value| value.ends_with(' ') };

/// A section of the page.
struct Section {
    heading: &'static str,
    /// The fields that the program reports; the others are constants of the page.
    fields: &'static [&'static str],
    exceptions: &'static [Exception],
    rotation: Rotation,
    program: fn() -> Option<Command>,
}

/// What may change in the files after the application has been configured, so that its next connection uses it.
#[derive(PartialEq)]
enum Rotation {
    Nothing,
    Password,
    UserAndPassword,
}

/// A fenced block of a section.
struct Block {
    language: String,
    text: String,
}

/// The text below this heading, up to the next of the same level.
fn section(heading: &str) -> &'static str {
    let (_, text) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    text.split_once("\n## ").map_or(text, |(section, _)| section)
}

fn blocks(section: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for fenced in section.split("\n```").skip(1).step_by(2) {
        let (language, text) = fenced.split_once('\n').unwrap();
        blocks.push(Block { language: language.to_owned(), text: format!("{text}\n") });
    }
    blocks
}

/// The files that podcreds writes for these annotations, with the values of a Secret of a database.
fn render(annotations: &str, values: &BTreeMap<&str, &str>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let annotations: BTreeMap<String, String> = yaml_serde::from_str(annotations).unwrap();
    let namespace = Namespace::parse("prod").unwrap();
    let credentials = parse(&annotations, DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone())).unwrap();
    let secret = ObjectRef::new(Kind::Secret, namespace, "orders-db").unwrap();
    let data = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let sources = Sources::from([(secret, Some(data))]);
    let files = render::render(&credentials, &sources).map_err(|error| error.to_string())?.bundle;
    Ok(files.into_iter().map(|(path, file)| (path.to_string(), file.content.expose().to_vec())).collect())
}

impl Section {
    /// Fails unless the program reads the values that the section promises, and no others.
    fn check(&self) {
        let text = section(self.heading);
        let blocks = blocks(text);
        let link = format!("](#{}", anchor(self.heading));
        let row = PAGE.lines().find(|line| line.starts_with("| [") && line.contains(&link)).unwrap();
        for exception in self.exceptions {
            assert!(text.contains(exception.words), "{}: {}", self.heading, exception.words);
            assert!(row.contains(exception.words), "{row}: {}", exception.words);
        }
        assert_eq!(self.exceptions.is_empty(), row.contains("| none |"), "{row}");
        if self.rotation != Rotation::Nothing {
            assert!(row.contains("| yes"), "{row}");
        }
        let root = tempfile::Builder::new().prefix("podcreds-frameworks-").tempdir().unwrap();
        let mut written = Vec::new();
        let mut wrong = String::new();
        let pairs = (0..VALUES.len()).map(|index| (VALUES[(index + 11) % VALUES.len()], VALUES[index]));
        for (index, (username, password)) in pairs.chain([("app", "")]).enumerate() {
            let values = secret(username, password);
            let is_exception = [username, password]
                .iter()
                .any(|value| self.exceptions.iter().any(|exception| (exception.is_meant)(value)));
            match render(&blocks[0].text, &values) {
                Ok(files) => {
                    let case = format!("{index:02}");
                    let directory = root.path().join(&case);
                    // The event of SQLAlchemy does not take a password away.
                    let old = if password.is_empty() { "" } else { "old" };
                    let earlier = match self.rotation {
                        Rotation::Nothing => None,
                        Rotation::Password => Some(secret(username, old)),
                        Rotation::UserAndPassword => Some(secret("old", old)),
                    };
                    if let Some(values) = earlier {
                        write_all(&directory.join("podcreds"), &render(&blocks[0].text, &values).unwrap());
                        write_all(&directory.join("rotated"), &files);
                    } else {
                        write_all(&directory.join("podcreds"), &files);
                    }
                    write_blocks(&directory, &blocks[1..]);
                    written.push((case, values, is_exception));
                }
                Err(_) if is_exception => {}
                Err(error) => writeln!(wrong, "{password:?}: {error}").unwrap(),
            }
        }
        let Some(mut program) = (self.program)() else { return };
        let outputs = outputs({
            program.arg(root.path());
            program
        });
        assert_eq!(outputs.len(), written.len(), "{}", self.heading);
        for (case, values, is_exception) in written {
            let output = outputs.iter().find(|output| output.case == case).unwrap();
            let expected = self.fields.iter().map(|field| (*field, values[field].as_bytes()));
            let is_right =
                expected.eq(output.fields.iter().map(|(field, value)| (field.as_str(), value.0.as_slice())));
            if is_right == is_exception {
                let read: Vec<_> =
                    output.fields.values().map(|value| value.0.escape_ascii().to_string()).collect();
                writeln!(wrong, "{values:?}\n    read {read:?}, {:?}", output.error).unwrap();
            }
        }
        assert!(wrong.is_empty(), "{}:\n{wrong}", self.heading);
    }
}

/// What the program reads of one password, with these annotations and this block instead of those of a section.
fn read(
    annotations: &str,
    language: &str,
    text: &str,
    password: &str,
    mut program: Command,
) -> Result<String, String> {
    let root = tempfile::Builder::new().prefix("podcreds-frameworks-").tempdir().unwrap();
    let directory = root.path().join("00");
    let files = render(annotations, &secret("app", password)).unwrap();
    write_all(&directory.join("podcreds"), &files);
    write_all(&directory.join("rotated"), &files);
    write_blocks(&directory, &[Block { language: language.to_owned(), text: text.to_owned() }]);
    program.arg(root.path());
    let output = outputs(program).remove(0);
    match output.error {
        Some(error) => Err(error),
        None => Ok(String::from_utf8(output.fields["password"].0.clone()).unwrap()),
    }
}

/// The anchor of a heading on a page.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || "- _".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The data of the Secret.
fn secret<'a>(username: &'a str, password: &'a str) -> BTreeMap<&'static str, &'a str> {
    let address = [("host", "db.prod.svc"), ("port", "5432"), ("dbname", "orders")];
    address.into_iter().chain([("username", username), ("password", password)]).collect()
}

/// Writes the files with the layout of podcreds' volume: in a directory, links to a hidden directory.
fn write_all(volume: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, content) in files {
        let path = volume.join(path);
        let (directory, name) = (path.parent().unwrap(), path.file_name().unwrap());
        if directory == volume {
            fs::create_dir_all(volume).unwrap();
            fs::write(path, content).unwrap();
            continue;
        }
        let version = "..2026_11_20_17_40_01.123456789";
        fs::create_dir_all(directory.join(version)).unwrap();
        fs::write(directory.join(version).join(name), content).unwrap();
        let _ = symlink(version, directory.join("..data"));
        symlink(Path::new("..data").join(name), path).unwrap();
    }
}

/// Writes each block as DIRECTORY/INDEX.LANGUAGE, with the path of the volume DIRECTORY/podcreds. The lines of a container's `env` are
/// in DIRECTORY/env too, and its `command` in DIRECTORY/command, with an argument on each line.
fn write_blocks(directory: &Path, blocks: &[Block]) {
    let volume = directory.join("podcreds");
    for (index, block) in blocks.iter().enumerate() {
        let text = block.text.replace("/podcreds", volume.to_str().unwrap());
        fs::write(directory.join(format!("{index}.{}", block.language)), &text).unwrap();
        if text.starts_with("env:") || text.starts_with("command:") {
            let fields: yaml_serde::Value = yaml_serde::from_str(&text).unwrap();
            let lines = |list: &yaml_serde::Value, line: fn(&yaml_serde::Value) -> String| {
                list.as_sequence().into_iter().flatten().map(line).collect::<String>()
            };
            let string = |value: &yaml_serde::Value| format!("{}\n", value.as_str().unwrap());
            let variable = |value: &yaml_serde::Value| {
                format!("{}={}\n", value["name"].as_str().unwrap(), value["value"].as_str().unwrap())
            };
            fs::write(directory.join("env"), lines(&fields["env"], variable)).unwrap();
            fs::write(directory.join("command"), lines(&fields["command"], string)).unwrap();
        }
    }
}

fn framework(name: &str) -> PathBuf {
    reader("frameworks").join(name)
}

/// `Read.java` with the libraries of `frameworks/pom.xml`; `java` compiles it.
fn java(name: &str) -> Option<Command> {
    require("javac", find("javac"))?;
    let jars = env::var_os(JARS).map(PathBuf::from).filter(|jars| jars.is_dir());
    let what = format!("{JARS} (mvn dependency:copy-dependencies, of tests/readers/frameworks)");
    let mut command = Command::new("java");
    command.arg("-cp").arg(require(&what, jars)?.join("*")).arg(framework("Read.java")).arg(name);
    Some(command)
}

fn python(name: &str, modules: &str) -> Option<Command> {
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    let found = imported.is_ok_and(|output| output.status.success());
    let what = format!("Python with {modules} (pip install -r tests/readers/requirements.txt)");
    let mut command = Command::new(require(&what, found.then_some(python))?);
    command.arg(framework("read.py")).arg(name);
    Some(command)
}

fn ruby() -> Option<Command> {
    let loaded = Command::new("ruby").args(["-e", "require 'active_record'"]).output();
    let found = loaded.is_ok_and(|output| output.status.success());
    require("Ruby with Active Record (Debian's ruby-activerecord)", found.then_some(()))?;
    let mut command = Command::new("ruby");
    command.arg(framework("read.rb"));
    Some(command)
}

fn php(name: &str, libraries: &[&str]) -> Option<Command> {
    let root = Path::new("/usr/share/php");
    let found = libraries.iter().all(|library| root.join(library).join("autoload.php").is_file());
    let php = require(&format!("PHP with Debian's {libraries:?}"), find("php").filter(|_| found))?;
    let mut command = Command::new(php);
    command.arg(framework("read.php")).arg(name);
    Some(command)
}

fn node(name: &str) -> Option<Command> {
    let modules = env::var_os(NODE_MODULES).map(PathBuf::from);
    let modules = modules.filter(|modules| {
        ["@next/env", "@prisma/adapter-pg", "mysql2", "pg"].iter().all(|name| modules.join(name).is_dir())
    });
    let what = format!("{NODE_MODULES} with the libraries (npm install, of tests/readers/package.json)");
    let modules = require(&what, modules)?;
    let mut command = Command::new(require("node", find("node"))?);
    command.arg(framework("read.js")).arg(name).env(NODE_MODULES, modules);
    Some(command)
}

/// The section's Go code, in a program that reads one volume after another. Nothing is downloaded.
fn go(heading: &str, read: &str) -> Option<Command> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("frameworks-{}", anchor(heading)));
    fs::create_dir_all(&directory).unwrap();
    for name in ["go.mod", "go.sum", "main.go"] {
        fs::copy(framework("go").join(name), directory.join(name)).unwrap();
    }
    let page = blocks(section(heading)).remove(1).text.replace("\"/podcreds/", "volume + \"/");
    let imports = [
        ("context", "context."),
        ("database/sql", "sql."),
        ("encoding/json", "json."),
        ("os", "os."),
        ("github.com/go-sql-driver/mysql", "mysql."),
        ("github.com/jackc/pgx/v5", "pgx."),
        ("github.com/jackc/pgx/v5/pgxpool", "pgxpool."),
    ];
    let mut source = "package main\n".to_owned();
    for (import, usage) in imports {
        if page.contains(usage) || read.contains(usage) {
            writeln!(source, "import \"{import}\"").unwrap();
        }
    }
    writeln!(source, "{page}\nfunc read() (string, string, error) {{\n{read}\n}}").unwrap();
    fs::write(directory.join("page.go"), source).unwrap();
    let what = "go with the modules of tests/readers/frameworks/go (go mod download)";
    let go = require(what, find("go"))?;
    let mut downloaded = Command::new(&go);
    downloaded.args(["list", "-deps", "."]).current_dir(&directory).env("GOPROXY", "off");
    let found = run(downloaded, TIMEOUT).code == Some(0);
    require(what, found.then_some(()))?;
    let mut build = Command::new(&go);
    build.args(["build", "-o", "reader", "."]).current_dir(&directory).env("GOPROXY", "off");
    let built = run(build, TIMEOUT);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    Some(Command::new(directory.join("reader")))
}

/// The compiled `Read.cs`.
fn mono() -> Option<Command> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("Frameworks.exe");
    let what = "mono and mcs with System.Data (mono-runtime, mono-mcs, libmono-system-data4.0-cil)";
    let mut build = Command::new(require(what, find("mono").and(find("mcs")))?);
    build.arg("-r:System.Data").arg(format!("-out:{}", program.display())).arg(framework("Read.cs"));
    let built = run(build, TIMEOUT);
    require(what, (built.code == Some(0)).then_some(()))?;
    let mut command = Command::new("mono");
    command.arg(program);
    Some(command)
}

const SYMFONY: [&str; 4] = [
    "Symfony/Component/Config",
    "Symfony/Component/DependencyInjection",
    "Symfony/Component/Yaml",
    "Doctrine/DBAL",
];
const CREDENTIALS: &[&str] = &["password", "username"];
const WITH_HOST: &[&str] = &["host", "password", "username"];

#[test]
fn spring_boot() {
    assert!(PAGE.contains(&format!("with {} user names and passwords", VALUES.len())));
    Section {
        heading: "Spring Boot",
        fields: CREDENTIALS,
        exceptions: &[LINE_BREAK_AT_THE_END],
        rotation: Rotation::Nothing,
        program: || java("spring"),
    }
    .check();
}

#[test]
fn quarkus() {
    Section {
        heading: "Quarkus",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: || java("quarkus"),
    }
    .check();
}

#[test]
fn micronaut() {
    Section {
        heading: "Micronaut",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: || java("micronaut"),
    }
    .check();
}

#[test]
fn django() {
    Section {
        heading: "Django",
        fields: WITH_HOST,
        exceptions: &[LINE_BREAK, SPACE_AT_THE_END],
        rotation: Rotation::UserAndPassword,
        program: || python("django", "django, psycopg"),
    }
    .check();
}

#[test]
fn sqlalchemy() {
    Section {
        heading: "SQLAlchemy and alembic",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::UserAndPassword,
        program: || python("sqlalchemy", "sqlalchemy, psycopg"),
    }
    .check();
}

#[test]
fn alembic() {
    Section {
        heading: "SQLAlchemy and alembic",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: || python("alembic", "alembic, psycopg"),
    }
    .check();
}

#[test]
fn rails() {
    Section {
        heading: "Rails",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: ruby,
    }
    .check();
}

#[test]
fn laravel() {
    Section {
        heading: "Laravel",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::UserAndPassword,
        program: || php("laravel", &["Illuminate/Database"]),
    }
    .check();
}

#[test]
fn symfony() {
    Section {
        heading: "Symfony and Doctrine",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::UserAndPassword,
        program: || php("symfony", &SYMFONY),
    }
    .check();
}

/// The annotations for a URI.
fn uri() -> String {
    blocks(section("Rails")).remove(0).text
}

#[test]
fn laravel_reads_the_parts_of_a_url_as_json() {
    let Some(php) = php("laravel", &["Illuminate/Database"]) else { return };
    let block = "'pgsql' => ['driver' => 'pgsql', 'url' => file_get_contents('/podcreds/db.uri')],";
    assert_eq!(read(&uri(), "php", block, "\"a\"", php), Ok("a".to_owned()));
}

#[test]
fn symfony_looks_for_parameters_in_a_resolved_url() {
    let Some(php) = php("symfony", &SYMFONY) else { return };
    let block =
        blocks(section("Symfony and Doctrine")).remove(1).text.replace("env(file:", "env(resolve:file:");
    let error = read(&uri(), "yaml", &block, "it's \"1\"", php).unwrap_err();
    assert!(error.contains("parameter \"27s\""), "{error}");
}

#[test]
fn alembic_rejects_a_percent_sign_in_the_main_option() {
    let Some(python) = python("alembic", "alembic, psycopg") else { return };
    let block = "from pathlib import Path\n\
                 context.config.set_main_option('sqlalchemy.url', Path('/podcreds/db.uri').read_text())\n";
    let error = read(&uri(), "python", block, "100%", python).unwrap_err();
    assert!(error.contains("invalid interpolation syntax"), "{error}");
}

#[test]
fn node_postgres() {
    Section {
        heading: "node-postgres",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::Password,
        program: || node("pg"),
    }
    .check();
}

#[test]
fn mysql2() {
    Section {
        heading: "mysql2",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: || node("mysql2"),
    }
    .check();
}

#[test]
fn prisma() {
    Section {
        heading: "Prisma",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: || node("prisma"),
    }
    .check();
}

/// The page of Prisma refers to the object in the section of node-postgres.
#[test]
fn prisma_calls_the_function_for_the_password() {
    Section {
        heading: "node-postgres",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::Password,
        program: || node("prismaFunction"),
    }
    .check();
}

#[test]
fn next() {
    Section {
        heading: "Next.js, and other programs that read `process.env`",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: || node("next"),
    }
    .check();
}

#[test]
fn pgx() {
    const READ: &str = "
        ctx := context.Background()
        pool, err := newPool(ctx)
        if err != nil {
            return \"\", \"\", err
        }
        defer pool.Close()
        rotate()
        c := pool.Config().ConnConfig.Copy()
        c.User, c.Password = \"\", \"\"
        err = pool.Config().BeforeConnect(ctx, c)
        return c.User, c.Password, err";
    Section {
        heading: "Go: pgx",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::UserAndPassword,
        program: || go("Go: pgx", READ),
    }
    .check();
}

#[test]
fn go_sql_driver() {
    const READ: &str = "
        db, err := openDB()
        if err != nil {
            return \"\", \"\", err
        }
        defer db.Close()
        rotate()
        c := mysql.NewConfig()
        err = readCredentials(context.Background(), c)
        return c.User, c.Passwd, err";
    Section {
        heading: "Go: go-sql-driver/mysql",
        fields: CREDENTIALS,
        exceptions: &[],
        rotation: Rotation::UserAndPassword,
        program: || go("Go: go-sql-driver/mysql", READ),
    }
    .check();
}

#[test]
fn net() {
    Section {
        heading: ".NET",
        fields: WITH_HOST,
        exceptions: &[],
        rotation: Rotation::Nothing,
        program: mono,
    }
    .check();
}

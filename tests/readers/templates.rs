//! Templates, with the filters and the lines on the page of `template` for readers that have no format of their own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Case, Files, build_go, cases, find, outputs, python, reader, render, require};

/// The longest value: a template that writes it twice stays within the limit of its output.
const LONGEST: usize = 64 * 1024;

/// Writes every case with these annotations. Those that podcreds rejects must be rejected for one of the reasons in `refused`.
fn write(format: &'static str, annotations: &[(&str, &str)], refused: &[&str]) -> Files {
    let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
    let mut cases = cases::values();
    cases.retain(|case| case.fields["VALUE"].len() <= LONGEST);
    cases.retain(|case| match render(annotations, case) {
        Ok((name, content)) => {
            let path = root.path().join(&case.name).join(name);
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            true
        }
        Err(error) => {
            let reason = |what: &&str| error.contains(&format!(" {what}, which {format} cannot represent"));
            assert!(refused.iter().any(reason), "{format}, case {}: {error}", case.name);
            false
        }
    });
    assert!(cases.len() > 200, "{format}: only {} cases are written", cases.len());
    Files { root, format, cases }
}

#[test]
fn ini_is_read_by_configparser_and_alembic() {
    let template = "# 100 %\n[alembic]\nfirst = x\nVALUE = {{ VALUE | ini }}\nlast = %%(first)s\n";
    let refused = ["a line break", "white space at its start or end"];
    let files = write("ini", &[("template", template), ("path", "alembic.ini")], &refused);
    let Some(python) = python("alembic") else { return };
    files.read_by(python, &["configparser", "alembic"]);
}

/// A password such as `a;Host=evil.example` must not change the host.
#[test]
fn adonet_is_read_by_the_parser_of_dotnet() {
    let template = "Host=db.prod;Username={{ VALUE | adonet }};Password={{VALUE|adonet}};Database=orders";
    let files = write("adonet", &[("template", template)], &[]);
    let Some(mut mono) = mono() else { return };
    mono.arg(files.root.path());
    files.check(&["DbConnectionStringBuilder"], &outputs(mono));
}

/// Mono, and `AdonetValue.cs` as a program for it.
fn mono() -> Option<Command> {
    let what = "Mono (Debian's mono-mcs, mono-runtime and libmono-system-data4.0-cil)";
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("AdonetValue.exe");
    let build = |mcs: PathBuf| {
        let mut build = Command::new(mcs);
        build
            .arg("-r:System.Data.dll")
            .arg(format!("-out:{}", program.display()))
            .arg(reader("AdonetValue.cs"));
        build.output().is_ok_and(|output| output.status.success()).then_some(())
    };
    let mono = find("mcs").and_then(build).and_then(|()| find("mono"));
    let mut command = Command::new(require(what, mono)?);
    command.arg(program);
    Some(command)
}

/// The DSN on the page of `json`. It has no escapes, and its user name ends at the first `:`.
#[test]
fn a_dsn_is_read_by_gos_mysql_driver() {
    let template = "{{ username }}:{{ password }}@tcp({{ host }}:3306)/{{ dbname | urlencode }}";
    let page = include_str!("../../docs/formats/json.md");
    assert!(page.contains(&format!("`.template: \"{template}\"`")), "the page has another line");
    let annotations = [
        ("template", template),
        ("keys", "password=VALUE, dbname=VALUE"),
        ("set", "username=\"it's @/ a%\", host=db.prod"),
    ];
    let mut files = write("DSN", &annotations, &[]);
    for Case { fields, .. } in &mut files.cases {
        let value = fields.remove("VALUE").unwrap();
        let parts = [
            ("username", "it's @/ a%"),
            ("host", "tcp db.prod:3306"),
            ("password", &value),
            ("dbname", &value),
        ];
        fields.extend(parts.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let what = "go with github.com/go-sql-driver/mysql (go mod download, in tests/readers/mysql)";
    let Some(program) = require(what, build_go("mysql")) else { return };
    files.read_by(Command::new(program), &["go-sql-driver"]);
}

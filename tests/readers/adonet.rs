//! Connection strings of .NET, read by mono's `DbConnectionStringBuilder`, from which the builders of Npgsql and MySqlConnector are
//! derived, and by its SqlClient.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::options::{GOOD, accepted};
use super::{Files, TIMEOUT, find, outputs, reader, require, run};

/// The compiled `Adonet.cs`.
fn mono() -> Option<Command> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("Adonet.exe");
        let mut build = Command::new(find("mcs")?);
        build.arg("-r:System.Data").arg(format!("-out:{}", program.display())).arg(reader("Adonet.cs"));
        build.output().is_ok_and(|output| output.status.success()).then_some(program)
    };
    let mono = require("mono (mono-runtime)", find("mono"))?;
    let what = "mcs with System.Data (mono-mcs, libmono-system-data4.0-cil)";
    let mut command = Command::new(mono);
    command.arg(require(what, BUILT.get_or_init(build).as_ref())?);
    Some(command)
}

#[test]
fn connection_strings_are_read_by_the_parser_of_net() {
    for (format, readers) in [
        ("adonet-postgresql", &["DbConnectionStringBuilder"][..]),
        ("adonet-mysql", &["DbConnectionStringBuilder"]),
        ("adonet-mariadb", &["DbConnectionStringBuilder"]),
        ("adonet-sqlserver", &["DbConnectionStringBuilder", "SqlClient"]),
    ] {
        let Some(mono) = mono() else { return };
        Files::write_connections(format, |_| false).read_by(mono, readers);
    }
}

#[test]
fn no_option_of_a_source_changes_what_sqlclient_connects_to() {
    let (Some(mut names), Some(mut read)) = (mono(), mono()) else { return };
    names.arg("names");
    let names = run(names, TIMEOUT);
    assert_eq!(names.code, Some(0), "{}", names.stderr);
    let names = names.stdout_text();
    assert!(names.lines().count() > 40, "{names}");
    let written = accepted("adonet", "sqlserver", names.lines());
    assert!(written.len() > 12, "{:?}", written.keys());

    let root = tempfile::tempdir().unwrap();
    for (name, text) in &written {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("db.adonet"), text).unwrap();
    }
    read.arg("adonet-sqlserver").arg(root.path());
    let mut successes = 0;
    // SqlClient rejects the value of some options, and the other reader the name of each.
    for output in outputs(read).iter().filter(|output| output.error.is_none()) {
        successes += 1;
        for (field, value) in GOOD {
            assert_eq!(output.fields[field].0, value.as_bytes(), "{}: {field}", output.case);
        }
    }
    assert!(successes > 10, "{successes}");
}

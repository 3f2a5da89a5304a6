//! PostgreSQL, with SQLAlchemy and the schemes of its drivers.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::files::Writer;
use crate::postgresql::Postgresql;
use crate::support::run::run;
use crate::support::skip::require;
use crate::users::{with_difficult_names, with_difficult_passwords};
use crate::{TIMEOUT, all_log_in, outputs_by_line};

/// Python with SQLAlchemy and both drivers.
fn python() -> Option<Command> {
    let python = env::var_os("PODCREDS_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let imported =
        Command::new(&python).args(["-c", "import asyncpg, greenlet, psycopg, sqlalchemy"]).output();
    let found = imported.is_ok_and(|output| output.status.success());
    let what = "Python with SQLAlchemy, asyncpg and psycopg (pip install -r tests/readers/requirements.txt)";
    let mut command = Command::new(require(what, found.then_some(python))?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases/schemes.py"));
    Some(command)
}

#[test]
fn sqlalchemy_logs_in_with_every_password_by_asyncpg_and_by_psycopg() {
    if python().is_none() {
        return;
    }
    let users = [with_difficult_passwords(), with_difficult_names()].concat();
    let Some(server) = Postgresql::start(&users) else { return };
    for scheme in ["postgresql+asyncpg", "postgresql+psycopg"] {
        let mut uri = Writer::new("uri", "postgresql", server.port()).annotate("scheme", scheme);
        let files = uri.write(&users, |_| None);
        let mut python = python().unwrap();
        python.args(files.iter().map(|(_, file)| file));
        let answers = outputs_by_line(&run(python, TIMEOUT), &files);
        all_log_in(scheme, &files, |_, file| answers[file].clone());
    }
}

//! JDBC URLs, with the drivers that Debian packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::{Refusal, Written};
use crate::mariadb::Mariadb;
use crate::postgresql::Postgresql;
use crate::support::run::run;
use crate::support::skip::require;
use crate::users::{User, with_hard_names, with_hard_passwords};
use crate::{HANGS, all_log_in, answers_by_line, program};

/// Where Debian keeps Java libraries.
const JARS: &str = "/usr/share/java";

/// Java with its compiler, which `java Login.java` needs, and a driver.
fn driver(jar: &str, package: &str) -> Option<Command> {
    let java = require("java with its compiler", program("javac"))?.with_file_name("java");
    let jar = Path::new(JARS).join(jar);
    let jar = require(package, jar.is_file().then_some(jar))?;
    let mut command = Command::new(java);
    command.arg("-Dfile.encoding=UTF-8").arg("-cp").arg(jar);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases/Login.java"));
    Some(command)
}

/// Each of these logs in, all by one machine.
#[track_caller]
fn java_logs_in(mut java: Command, query: &str, files: &[(&User, PathBuf)]) {
    java.arg(query).args(files.iter().map(|(_, file)| file));
    let answers = answers_by_line(&run(java, HANGS), files);
    all_log_in("jdbc", files, |_, file| answers[file].clone());
}

#[test]
fn the_driver_of_postgresql_logs_in_with_every_password() {
    let Some(java) = driver("postgresql.jar", "libpostgresql-jdbc-java") else { return };
    let users = [with_hard_passwords(), with_hard_names()].concat();
    let Some(server) = Postgresql::start(&users) else { return };
    users.iter().filter(|user| is_prohibited(&user.password)).for_each(|user| server.without_scram(user));
    let mut jdbc = Written::new("jdbc", "postgresql", server.port());
    java_logs_in(java, "SELECT current_user", &jdbc.write(&users, |_| None));
}

/// What this driver's SCRAM refuses however it is given: SASLprep (RFC 4013) prohibits control characters and what Unicode
/// 3.2 did not have. The server and libpq take such a password as it is.
fn is_prohibited(password: &str) -> bool {
    password.contains(|c: char| c.is_control() || c > '\u{ffff}')
}

#[test]
fn the_driver_of_mariadb_logs_in_with_every_password() {
    let Some(java) = driver("mariadb-java-client.jar", "libmariadb-java") else { return };
    let users = [with_hard_passwords(), with_hard_names()].concat();
    let Some(server) = Mariadb::start(&users) else { return };
    let mut jdbc = Written::new("jdbc", "mariadb", server.port());
    let files = jdbc.write(&users, no_url_can_carry);
    java_logs_in(java, "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@127', 1)", &files);
}

/// This driver decodes nothing, so that what separates parameters cannot be in one.
fn no_url_can_carry(user: &User) -> Option<Refusal> {
    if user.database.contains('?') {
        return Some(("database", "a question mark"));
    }
    let parts = [("username", &user.name), ("password", &user.password)];
    parts.into_iter().find_map(|(field, value)| value.contains('&').then_some((field, "an ampersand")))
}

//! JDBC URLs, with the drivers that Debian packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::{Refusal, Writer};
use crate::mariadb::Mariadb;
use crate::postgresql::Postgresql;
use crate::support::run::run;
use crate::support::skip::require;
use crate::users::{User, with_difficult_names, with_difficult_passwords};
use crate::{TIMEOUT, all_log_in, outputs_by_line, program};

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

/// Logs in with each file, in one Java process.
#[track_caller]
fn assert_java_logs_in(mut java: Command, query: &str, files: &[(&User, PathBuf)]) {
    java.arg(query).args(files.iter().map(|(_, file)| file));
    let answers = outputs_by_line(&run(java, TIMEOUT), files);
    all_log_in("jdbc", files, |_, file| answers[file].clone());
}

#[test]
fn the_driver_of_postgresql_logs_in_with_every_password() {
    let Some(java) = driver("postgresql.jar", "libpostgresql-jdbc-java") else { return };
    let users = [with_difficult_passwords(), with_difficult_names()].concat();
    let Some(server) = Postgresql::start(&users) else { return };
    users.iter().filter(|user| is_prohibited(&user.password)).for_each(|user| server.use_md5(user));
    let mut jdbc = Writer::new("jdbc", "postgresql", server.port());
    assert_java_logs_in(java, "SELECT current_user", &jdbc.write(&users, |_| None));
}

/// Whether this driver rejects the password with SCRAM: SASLprep (RFC 4013) prohibits control characters and characters that
/// Unicode 3.2 did not have. The server and libpq accept such a password unchanged.
fn is_prohibited(password: &str) -> bool {
    password.contains(|c: char| c.is_control() || c > '\u{ffff}')
}

#[test]
fn the_driver_of_mariadb_logs_in_with_every_password() {
    let Some(java) = driver("mariadb-java-client.jar", "libmariadb-java") else { return };
    let users = [with_difficult_passwords(), with_difficult_names()].concat();
    let Some(server) = Mariadb::start(&users) else { return };
    let mut jdbc = Writer::new("jdbc", "mariadb", server.port());
    let files = jdbc.write(&users, unsupported_in_url);
    assert_java_logs_in(java, "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@127', 1)", &files);
}

/// This driver decodes nothing, so a value cannot contain the separator of parameters.
fn unsupported_in_url(user: &User) -> Option<Refusal> {
    if user.database.contains('?') {
        return Some(("database", "a question mark"));
    }
    let parts = [("username", &user.name), ("password", &user.password)];
    parts.into_iter().find_map(|(field, value)| value.contains('&').then_some((field, "an ampersand")))
}

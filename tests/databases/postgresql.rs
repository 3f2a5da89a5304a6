//! PostgreSQL, with `psql` for the formats of libpq.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{Daemon, Home};
use crate::files::{Refusal, Writer};
use crate::support::pki::Issued;
use crate::support::run::{Finished, poll_until, run, run_on};
use crate::support::skip::require;
use crate::users::{DATABASE, SERVICE_FILE, User, with_difficult_names, with_difficult_passwords};
use crate::{TIMEOUT, all_log_in, output, program};

/// The superuser logs in through the socket, in a directory that other users cannot enter; all others log in with a password.
/// `md5` means SCRAM for users whose password is stored as a SCRAM verifier, and MD5 for the others.
const HBA: &str = "local all postgres trust\nhost all all 127.0.0.1/32 md5\n";
/// A test server needs neither durable writes nor much memory.
const SETTINGS: [&str; 5] = [
    "password_encryption=scram-sha-256",
    "fsync=off",
    "shared_buffers=16MB",
    "max_connections=40",
    "listen_addresses=127.0.0.1",
];

/// A server with these users. Dropping it stops the server.
pub(crate) struct Postgresql {
    pub(crate) psql: PathBuf,
    daemon: Daemon,
    home: Home,
}

impl Postgresql {
    pub(crate) fn start(users: &[User]) -> Option<Self> {
        let initdb = require("postgresql (initdb)", server_program("initdb"))?;
        let psql = require("psql", program("psql"))?;
        let home = Home::new("postgres")?;
        let data = home.path().join("data");
        let mut command = home.command(&initdb);
        command.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
            "-D",
        ]);
        command.arg(&data);
        let initialized = run(command, TIMEOUT);
        assert_eq!(initialized.code, Some(0), "{}", initialized.stderr);
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();

        let postgres = initdb.with_file_name("postgres");
        let command = |port: u16| {
            let mut command = home.command(&postgres);
            command.arg("-D").arg(&data).arg("-k").arg(home.path()).args(["-p", &port.to_string()]);
            command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
            command
        };
        // Immediate shutdown, because no data has to be kept.
        let daemon = Daemon::start(Signal::QUIT, command, |port| {
            run(administrator(&psql, &home, port), TIMEOUT).code == Some(0)
        });
        let server = Self { psql, daemon, home };
        server.create_users(users);
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.daemon.port
    }

    /// Runs statements as the superuser. They come from standard input, because every user can see arguments.
    #[track_caller]
    pub(crate) fn administer(&self, statements: &str) {
        let script = self.home.path().join("statements.sql");
        fs::write(&script, statements).unwrap();
        let mut command = administrator(&self.psql, &self.home, self.port());
        command.args(["-f", "-", "-v", "ON_ERROR_STOP=1"]);
        let finished = run_on(command, File::open(&script).unwrap(), TIMEOUT);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }

    /// Switches TLS on, and lets this user log in only with a certificate of the authority.
    pub(crate) fn require_client_certificates(&self, user: &str, authority: &str, server: &Issued) {
        let data = self.home.path().join("data");
        let hba = format!("local all postgres trust\nhostssl all \"{user}\" 127.0.0.1/32 cert\n");
        let files = [
            ("pg_hba.conf", &*hba),
            ("ca.crt", authority),
            ("tls.crt", server.certificate_pem()),
            ("tls.key", &server.key_pem()),
        ];
        let owner = fs::metadata(&data).unwrap();
        for (name, content) in files {
            let file = data.join(name);
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        self.administer(
            "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'; ALTER SYSTEM SET ssl_cert_file = 'tls.crt';\n\
             ALTER SYSTEM SET ssl_key_file = 'tls.key'; ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf();",
        );
        let is_on = || {
            let mut command = administrator(&self.psql, &self.home, self.port());
            command.args(["-A", "-t", "-c", "SHOW ssl"]);
            run(command, TIMEOUT).stdout.starts_with(b"on")
        };
        poll_until(TIMEOUT, "the server loads its certificate", is_on);
    }

    /// Stores the user's password for MD5, for clients whose SCRAM rejects it.
    pub(crate) fn use_md5(&self, User { name, password, .. }: &User) {
        let (role, password) = (identifier(name), literal(password));
        self.administer(&format!("SET password_encryption = md5; ALTER ROLE {role} PASSWORD {password};"));
    }

    fn create_users(&self, users: &[User]) {
        let mut statements = format!("CREATE DATABASE {DATABASE};\n");
        for User { name, password, database } in users {
            let (role, password) = (identifier(name), literal(password));
            statements += &format!("CREATE ROLE {role} LOGIN PASSWORD {password};\n");
            if database != DATABASE {
                statements += &format!("CREATE DATABASE {};\n", identifier(database));
            }
        }
        self.administer(&statements);
    }

    /// Runs `SELECT current_user` with `psql` and these settings.
    pub(crate) fn select_current_user(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = Command::new(&self.psql);
        command.env_clear().env("LC_ALL", "C.UTF-8").env("HOME", self.home.path());
        command.envs(environment.iter().copied());
        command.args(["-X", "-w", "-A", "-t", "-c", "SELECT current_user"]).args(arguments);
        run(command, TIMEOUT)
    }
}

fn administrator(psql: &Path, home: &Home, port: u16) -> Command {
    let mut command = Command::new(psql);
    command.env_clear().env("LC_ALL", "C.UTF-8").args(["-X", "-q", "-U", "postgres", "-d", "postgres", "-h"]);
    command.arg(home.path()).args(["-p", &port.to_string()]);
    command
}

/// A server program, which Debian installs outside of PATH in a directory for each version; the newest version.
fn server_program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let found = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)));
    found.filter(|path| path.is_file()).max().or_else(|| program(name))
}

/// A string literal. With `standard_conforming_strings`, only single quotes need escaping.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

/// All users for which `psql` logs in.
fn users() -> Vec<User> {
    [with_difficult_passwords(), with_difficult_names()].concat()
}

#[test]
fn psql_logs_in_with_every_password_from_each_format_that_libpq_reads() {
    let users = users();
    let Some(server) = Postgresql::start(&users) else { return };
    let port = server.port().to_string();

    let mut uri = Writer::new("uri", "postgresql", server.port());
    let files = uri.write(&users, |_| None);
    all_log_in("uri", &files, |_, file| output(&server.select_current_user(&["-d", &read(file)], &[])));

    let mut libpq = Writer::new("libpq", "postgresql", server.port());
    let files = libpq.write(&users, |_| None);
    all_log_in("libpq", &files, |_, file| output(&server.select_current_user(&["-d", &read(file)], &[])));

    let mut pgservice = Writer::new("pgservice", "postgresql", server.port());
    let files = pgservice.write(&users, unsupported_in_service_file);
    all_log_in("pgservice", &files, |_, file| {
        let section = file.file_name().unwrap().to_str().unwrap();
        let environment = [("PGSERVICEFILE", file.to_str().unwrap()), ("PGSERVICE", section)];
        output(&server.select_current_user(&[], &environment))
    });

    let mut pgpass = Writer::new("pgpass", "postgresql", server.port());
    let files = pgpass.write(&users, unsupported_in_password_file);
    all_log_in("pgpass", &files, |user, file| {
        let environment = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGUSER", &user.name),
            ("PGPASSFILE", file.to_str().unwrap()),
            ("PGDATABASE", &user.database),
        ];
        output(&server.select_current_user(&[], &environment))
    });

    // A wrong password is rejected.
    let wrong = server.select_current_user(
        &["-h", "127.0.0.1", "-p", &port, "-U", "u0", "-d", DATABASE],
        &[("PGPASSWORD", "b")],
    );
    assert!(wrong.stderr.contains("password authentication failed"), "{}", wrong.stderr);
}

/// libpq removes white space at the end of a line, and reads lines into a buffer of 1024 bytes (`parseServiceFile`).
fn unsupported_in_service_file(user: &User) -> Option<Refusal> {
    let parts = [("database", &user.database), ("username", &user.name), ("password", &user.password)];
    parts.into_iter().find_map(|(field, value)| match value.as_str() {
        value if value.contains(['\n', '\r']) => Some((field, "a line break")),
        value if value.trim_ascii_end() != value => Some((field, "white space at its end")),
        value if value.len() > SERVICE_FILE => Some((field, "more than about 1000 bytes")),
        _ => None,
    })
}

/// A line is one entry, so it cannot contain line breaks.
fn unsupported_in_password_file(user: &User) -> Option<Refusal> {
    user.password.contains(['\n', '\r']).then_some(("password", "a line break"))
}

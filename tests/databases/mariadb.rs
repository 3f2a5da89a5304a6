//! MariaDB, with the clients that read its option files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{Daemon, Home};
use crate::files::{Refusal, Writer};
use crate::support::run::{Finished, run, run_on};
use crate::support::skip::require;
use crate::users::{DATABASE, OPTION_FILE, User, with_difficult_names, with_difficult_passwords};
use crate::{TIMEOUT, all_log_in, output, program};

/// A test server needs neither durable writes nor much memory.
const SETTINGS: [&str; 6] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=8M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=0",
    "--character-set-server=utf8mb4",
];

/// A server with these users. Dropping it stops the server.
pub(crate) struct Mariadb {
    client: PathBuf,
    daemon: Daemon,
    home: Home,
}

impl Mariadb {
    pub(crate) fn start(users: &[User]) -> Option<Self> {
        let server = require("mariadb-server (mariadbd)", program("mariadbd"))?;
        let install = require("mariadb-install-db", program("mariadb-install-db"))?;
        let client = require("mariadb-client (mariadb)", program("mariadb"))?;
        let home = Home::new("mysql")?;
        let data = option("datadir", &home.path().join("data"));
        let mut command = home.command(&install);
        command
            .arg("--no-defaults")
            .arg(&data)
            .args(["--skip-test-db", "--auth-root-authentication-method=normal"]);
        let installed = run(command, TIMEOUT);
        assert_eq!(installed.code, Some(0), "{}", installed.stderr);

        let command = |port: u16| {
            let mut command = home.command(&server);
            command.args(["--no-defaults", &data, &format!("--port={port}")]).args(SETTINGS);
            command.arg(option("socket", &home.path().join("socket")));
            command.arg(option("pid-file", &home.path().join("pid")));
            command
        };
        let daemon = Daemon::start(Signal::TERM, command, |_| {
            let mut command = administrator(&client, &home);
            command.args(["-e", "SELECT 1"]);
            run(command, TIMEOUT).code == Some(0)
        });
        let server = Self { client, daemon, home };
        server.create_users(users);
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.daemon.port
    }

    /// Runs statements as the administrator. They come from standard input, because every user can see arguments.
    fn administer(&self, statements: &str) {
        let script = self.home.path().join("statements.sql");
        fs::write(&script, statements).unwrap();
        let finished = run_on(administrator(&self.client, &self.home), File::open(&script).unwrap(), TIMEOUT);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }

    fn create_users(&self, users: &[User]) {
        let mut statements = format!("CREATE DATABASE {DATABASE};\n");
        for User { name, password, database } in users {
            let user = format!("{}@'127.0.0.1'", literal(name));
            let quoted = format!("`{}`", database.replace('`', "``"));
            statements += &format!("CREATE USER {user} IDENTIFIED BY {};\n", literal(password));
            statements += &format!("CREATE DATABASE IF NOT EXISTS {quoted};\n");
            // GRANT treats the database as a pattern.
            let pattern = quoted.replace('\\', "\\\\");
            statements += &format!("GRANT SELECT ON {pattern}.* TO {user};\n");
        }
        self.administer(&statements);
    }

    /// Runs a MariaDB client with an option file.
    fn client(&self, name: &str, file: &Path, arguments: &[&str]) -> Finished {
        let mut command = Command::new(self.client.with_file_name(name));
        command.env_clear().env("LC_ALL", "C.UTF-8").env("HOME", self.home.path());
        command.arg(option("defaults-extra-file", file)).args(arguments);
        run(command, TIMEOUT)
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn administrator(client: &Path, home: &Home) -> Command {
    let mut command = Command::new(client);
    command.env_clear().args([
        "--no-defaults",
        "--binary-mode",
        "--default-character-set=utf8mb4",
        "-u",
        "root",
    ]);
    command.arg(option("socket", &home.path().join("socket")));
    command
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[test]
fn mariadb_clients_log_in_with_every_password_from_an_option_file() {
    let users = [with_difficult_passwords(), with_difficult_names()].concat();
    let Some(server) = Mariadb::start(&users) else { return };
    let mut mycnf = Writer::new("mycnf", "mariadb", server.port());
    let files = mycnf.write(&users, unsupported_in_option_file);
    let query = ["--batch", "--raw", "--skip-column-names", "-e"];
    all_log_in("mariadb", &files, |user, file| {
        let arguments =
            [&query[..], &["SELECT SUBSTRING_INDEX(CURRENT_USER(), '@127', 1), DATABASE()"]].concat();
        let printed = output(&server.client("mariadb", file, &arguments))?;
        let (name, database) = printed.split_once('\t').ok_or_else(|| printed.clone())?;
        // Only the command-line client's group contains the database.
        if database == user.database { Ok(name.to_owned()) } else { Err(printed.clone()) }
    });
    all_log_in("mariadb-dump", &files, |user, file| {
        output(&server.client("mariadb-dump", file, &["--compact", "--", &user.database]))
            .map(|_| user.name.clone())
    });
    all_log_in("mariadb-admin", &files, |user, file| {
        output(&server.client("mariadb-admin", file, &["version"])).map(|_| user.name.clone())
    });

    // A wrong password is rejected.
    let (_, file) = &files[0];
    let wrong = server.client("mariadb", file, &["--password=b", "-e", "SELECT 1"]);
    assert!(wrong.stderr.contains("Access denied"), "{}", wrong.stderr);
}

/// The clients read lines into a buffer of 4096 bytes, and treat the rest of a longer line as another option.
fn unsupported_in_option_file(user: &User) -> Option<Refusal> {
    (user.password.len() > OPTION_FILE).then_some(("password", "more than about 4000 bytes"))
}

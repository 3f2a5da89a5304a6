//! Runs the commands of `docs/rotation.md` in their order, against a real API server and a real PostgreSQL, with a sidecar outside of
//! any pod. `kubectl exec POD -- /bin/podcreds` runs podcreds here, and `psql` connects to the test's server; everything else is as
//! in the page.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kubectl::{Namespace, PATIENCE};
use crate::scene::Scene;
use crate::support::health::Health;
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::skip::require;

const PAGE: &str = include_str!("../../docs/rotation.md");
/// The user of Debian's package.
const OWNER: &str = "postgres";

/// A PostgreSQL server whose superuser logs in through a socket that other users cannot reach, and all others with a password.
struct Postgresql {
    running: Running,
    port: u16,
    home: TempDir,
}

impl Postgresql {
    fn start() -> Option<Self> {
        let initdb = require("postgresql (initdb)", newest_initdb())?;
        for name in ["psql", "openssl", "setpriv", "bash"] {
            require(name, in_path(name))?;
        }
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        if rustix::process::geteuid().is_root() {
            let id = |flag: &str| {
                let mut command = Command::new("id");
                command.args([flag, OWNER]);
                run(command, PATIENCE).stdout_text().trim().parse().ok()
            };
            chown(home.path(), id("-u"), id("-g")).unwrap();
        }
        let mut command = as_owner(&initdb);
        command.args(["-U", OWNER, "-A", "trust", "--no-sync", "-D"]).arg(&data);
        succeeds(&run(command, PATIENCE));
        fs::write(
            data.join("pg_hba.conf"),
            "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        )
        .unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = as_owner(&initdb.with_file_name("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(home.path()).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"]);
        let server = Self { running: Running::start(command), port, home };
        poll_until(PATIENCE, "PostgreSQL answers", || run(server.psql("SELECT 1"), PATIENCE).code == Some(0));
        Some(server)
    }

    fn psql(&self, statement: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-U", OWNER, "-p", &self.port.to_string(), "-h"]).arg(self.home.path());
        command.args(["-v", "ON_ERROR_STOP=1", "-c", statement]);
        command
    }
}

/// The kernel ends it with this thread.
fn as_owner(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", OWNER, "--regid", OWNER, "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn newest_initdb() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.map(|entry| entry.unwrap().path().join("bin/initdb")).filter(|path| path.exists()).max()
}

#[track_caller]
fn succeeds(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout_text(), finished.stderr);
}

/// The fenced blocks of the page in this language, below this heading and up to the next one of level 2.
fn blocks(heading: &str, language: &str) -> Vec<&'static str> {
    let section =
        PAGE.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let start = format!("\n```{language}\n");
    let blocks = section.split(&start).skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

/// The annotations of the page, with the address of the test's server.
fn annotations(port: u16) -> Value {
    let [yaml] = blocks("With two roles", "yaml").try_into().unwrap();
    let yaml = yaml.replace("orders-db.example.com, port=5432", &format!("127.0.0.1, port={port}"));
    assert!(yaml.contains("127.0.0.1"), "{yaml}");
    let lines = yaml.lines().map(|line| line.split_once(": ").unwrap());
    lines.map(|(key, value)| (key.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}

/// Runs parts of the page in one shell, which ends at the first failure.
struct Shell<'a> {
    namespace: &'a Namespace,
    postgresql: &'a Postgresql,
    /// Where the sidecar listens.
    listen: String,
}

impl Shell<'_> {
    fn start(&self, script: &str) -> Running {
        const STUBS: &str = r#"
            set -euo pipefail
            psql() { command psql -U postgres -h "$SOCKET" -p "$PORT" -v ON_ERROR_STOP=1 "$@"; }
            kubectl() {
              if [ "$1" = exec ]; then
                while [ "$1" != -- ]; do shift; done
                [ "$2" = /bin/podcreds ]
                "$PODCREDS" "${@:3}"
              else
                command kubectl -n "$NAMESPACE" "$@"
              fi
            }
        "#;
        let mut command = self.namespace.command_of("bash");
        command.args(["-c", &format!("{STUBS}\n{script}")]);
        command.env("SOCKET", self.postgresql.home.path()).env("PORT", self.postgresql.port.to_string());
        command.env("PODCREDS", env!("CARGO_BIN_EXE_podcreds")).env("PODCREDS_LISTEN", &self.listen);
        command.env("NAMESPACE", self.namespace.name());
        Running::start(command)
    }

    fn run(&self, script: &str) {
        succeeds(&self.start(script).wait(PATIENCE));
    }
}

/// Logs in with a URI. Returns the user, or the error.
fn log_in(uri: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args(["-d", uri, "-A", "-t", "-c", "SELECT session_user"]);
    let finished = run(command, PATIENCE);
    if finished.code == Some(0) { Ok(finished.stdout_text().trim().to_owned()) } else { Err(finished.stderr) }
}

#[test]
fn the_commands_of_the_page_rotate_between_two_roles() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(postgresql) = Postgresql::start() else { return };
    succeeds(&run(postgresql.psql("CREATE DATABASE orders"), PATIENCE));
    let steps = blocks("With two roles", "sh");
    let [roles, secret, rotate, wait, connections, disable] = steps.try_into().unwrap();
    Shell { namespace: &namespace, postgresql: &postgresql, listen: "off".to_owned() }
        .run(&format!("{roles}\n{secret}"));

    let scene = Scene::in_namespace(namespace, &annotations(postgresql.port));
    scene.namespace.kubectl(&["label", "pod", "app-0", "app=orders"]);
    scene.namespace.grant_watch(&["orders-db"]);
    let sidecar = Running::start(scene.command("sidecar", &["--listen", "127.0.0.1:0"]));
    let health = Health::of(&sidecar, PATIENCE);
    let uri = || scene.read("db.uri");
    poll_until(PATIENCE, "the first file is written", || uri().starts_with("postgresql://orders_a:"));
    let old = uri();
    assert_eq!(log_in(&old), Ok("orders_a".to_owned()));

    // A connection of the old role stays open until step 5 has shown it.
    let mut client = Command::new("psql");
    client.args(["-d", &old, "-c", "SELECT pg_sleep(600)"]);
    let client = Running::start(client);
    poll_until(PATIENCE, "the client is connected", || {
        let statement = "SELECT 'open' FROM pg_stat_activity WHERE usename = 'orders_a'";
        run(postgresql.psql(statement), PATIENCE).stdout_text().contains("open")
    });
    let listen = health.address.to_string();
    let shell = Shell { namespace: &scene.namespace, postgresql: &postgresql, listen };
    let running = shell.start(&[rotate, wait, connections, disable].join("\n"));
    running.poll_until(PATIENCE, "step 5 shows the connection", || {
        let shown = String::from_utf8_lossy(&running.stdout()).into_owned();
        shown.contains("client_addr") && shown.contains("127.0.0.1")
    });
    assert_eq!(log_in(&old), Ok("orders_a".to_owned()), "the old role works until the last step");
    drop(client);
    let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'orders_a'";
    succeeds(&run(postgresql.psql(statement), PATIENCE));
    let finished = running.wait(PATIENCE);
    succeeds(&finished);
    let version = scene.namespace.get("secret/orders-db")["metadata"]["resourceVersion"].clone();
    let served = format!("Secret/orders-db  {}", version.as_str().unwrap());
    assert!(finished.stderr.contains(&served), "{}", finished.stderr);
    let new = uri();
    assert_eq!(log_in(&new), Ok("orders_b".to_owned()));
    assert!(log_in(&old).unwrap_err().contains("password authentication failed"));

    // The next rotation returns to the first role.
    shell.run(&[rotate, wait, connections, disable].join("\n"));
    assert_eq!(log_in(&uri()), Ok("orders_a".to_owned()));
    assert!(log_in(&new).is_err());

    // Both roles have the rights, and can alter what the other has created.
    shell.run("psql -d orders -c 'GRANT CREATE ON SCHEMA public TO orders_app'");
    let statement = |statement: &str| {
        let mut command = Command::new("psql");
        command.args(["-d", &uri(), "-v", "ON_ERROR_STOP=1", "-c", statement]);
        succeeds(&run(command, PATIENCE));
    };
    statement("CREATE TABLE orders (id serial)");
    shell.run(&[rotate, wait, connections, disable].join("\n"));
    statement("INSERT INTO orders DEFAULT VALUES; ALTER TABLE orders ADD COLUMN note text");
    drop(postgresql.running);
}

#[test]
fn the_commands_of_the_page_rotate_one_role() {
    let Some(namespace) = Namespace::new() else { return };
    let Some(postgresql) = Postgresql::start() else { return };
    succeeds(&run(postgresql.psql("CREATE DATABASE orders"), PATIENCE));
    succeeds(&run(postgresql.psql("CREATE ROLE reports LOGIN PASSWORD 'test-password-0'"), PATIENCE));
    namespace.put_secret("reports-db", &[("username", "reports"), ("password", "test-password-0")]);
    let annotations = json!({
        "podcreds.io/db.secret": "reports-db",
        "podcreds.io/db.set": format!("host=127.0.0.1, port={}, database=orders", postgresql.port),
        "podcreds.io/db.engine": "postgresql",
        "podcreds.io/db.format": "uri",
    });
    let scene = Scene::in_namespace(namespace, &annotations);
    scene.namespace.grant_watch(&["reports-db"]);
    let sidecar = Running::start(scene.command("sidecar", &[]));
    let uri = || scene.read("db.uri");
    poll_until(PATIENCE, "the first file is written", || uri().contains("test-password-0"));
    let [rotate] = blocks("With one role", "sh").try_into().unwrap();
    Shell { namespace: &scene.namespace, postgresql: &postgresql, listen: "off".to_owned() }.run(rotate);
    poll_until(PATIENCE, &format!("the new file is written: {}", sidecar.stderr()), || {
        !uri().contains("test-password-0")
    });
    assert_eq!(log_in(&uri()), Ok("reports".to_owned()));
}

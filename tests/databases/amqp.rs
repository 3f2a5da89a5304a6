//! RabbitMQ, with Python's `pika` for the format `uri`.

use std::env;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{Daemon, Home, free_port};
use crate::files::Writer;
use crate::support::run::{run, run_on};
use crate::support::skip::require;
use crate::users::{User, with_difficult_names, with_difficult_passwords};
use crate::{TIMEOUT, all_log_in, outputs_by_line, program};

/// Name and password are in the first frame, which has at most 4096 bytes because the sides have not agreed on a size yet
/// (AMQP 0-9-1, 4.2.3).
const LONGEST: usize = 4000;

/// Two commands of Python with `pika`: one defines users, the other logs in as them.
fn python() -> Option<[Command; 2]> {
    let python = env::var_os("PODCREDS_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", "import pika"]).output();
    let found = imported.is_ok_and(|output| output.status.success());
    let what = "Python with pika (pip install -r tests/readers/requirements.txt)";
    let python = require(what, found.then_some(python))?;
    Some(["define", "login"].map(|what| {
        let mut command = Command::new(&python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases/amqp.py")).arg(what);
        command
    }))
}

/// Writes the definitions of these users, which the server loads when it starts.
fn definitions(python: Command, users: &[User], home: &Home) -> PathBuf {
    let list: Vec<_> = users
        .iter()
        .map(|User { name, password, database }| {
            serde_json::json!({"name": name, "password": password, "database": database})
        })
        .collect();
    let (input, output) = (home.path().join("users.json"), home.path().join("definitions.json"));
    fs::write(&input, serde_json::to_vec(&list).unwrap()).unwrap();
    let finished = run_on(python, File::open(&input).unwrap(), TIMEOUT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    fs::write(&output, finished.stdout).unwrap();
    output
}

/// Starts the server, and Erlang's port mapper, which would otherwise outlive the server.
fn start(users: &[User], python: Command) -> Option<(Daemon, Daemon, Home)> {
    // The program in PATH is a script for root and the system's server.
    let server = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    let server = require("rabbitmq-server", server.is_file().then_some(server))?;
    let epmd = require("epmd (erlang-base)", program("epmd"))?;
    let home = Home::new("rabbitmq")?;
    let definitions = definitions(python, users, &home);
    let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();

    let names = |port: u16| {
        let mut command = home.command(&epmd);
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        command
    };
    let names = Daemon::start(Signal::KILL, names, listens);

    let file = |name: &str| home.path().join(name);
    fs::write(file("plugins"), "[].").unwrap();
    let command = |port: u16| {
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.file = false\nload_definitions = {}\n",
            definitions.display()
        );
        fs::write(file("rabbitmq.conf"), settings).unwrap();
        let mut command = home.command(server);
        command
            .env("RABBITMQ_NODENAME", "podcreds@localhost")
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins"))
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_DIST_PORT", free_port().to_string())
            .env("ERL_EPMD_PORT", names.port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // The script then executes the server instead of running it as a child.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        command
    };
    let server = Daemon::start(Signal::KILL, command, listens);
    Some((server, names, home))
}

#[test]
fn pika_logs_in_with_every_password_from_a_uri() {
    let Some([define, mut login]) = python() else { return };
    let mut users = [with_difficult_passwords(), with_difficult_names()].concat();
    users.retain(|user| user.password.len() <= LONGEST);
    let Some((server, _names, _home)) = start(&users, define) else { return };
    let mut uri = Writer::new("uri", "amqp", server.port);
    let files = uri.write(&users, |_| None);
    login.args(files.iter().map(|(_, file)| file));
    let answers = outputs_by_line(&run(login, TIMEOUT), &files);
    all_log_in("pika", &files, |_, file| answers[file].clone());
}

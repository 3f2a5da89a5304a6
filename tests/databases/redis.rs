//! Redis, with `redis-cli -u`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{Daemon, Home};
use crate::files::Writer;
use crate::support::run::run;
use crate::support::skip::require;
use crate::users::{User, with_difficult_names, with_difficult_passwords};
use crate::{TIMEOUT, all_log_in, output, program};

/// Sends a command in the Redis protocol, in which each argument is preceded by its length, and reads one line.
fn send(port: u16, command: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut request = format!("*{}\r\n", command.len());
    for argument in command {
        request += &format!("${}\r\n{argument}\r\n", argument.len());
    }
    stream.write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}

#[test]
fn redis_cli_logs_in_with_every_password_from_a_uri() {
    let Some(server) = require("redis-server", program("redis-server")) else { return };
    let Some(client) = require("redis-cli", program("redis-cli")) else { return };
    let Some(home) = Home::new("redis") else { return };
    let command = |port: u16| {
        let mut command = home.command(&server);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        command
    };
    let daemon =
        Daemon::start(Signal::TERM, command, |port| send(port, &["PING"]).as_deref() == Some("+PONG"));

    // Names of Redis users cannot contain spaces (ACL SETUSER).
    let named = with_difficult_names().into_iter().filter(|user| !user.name.contains(' '));
    let users: Vec<_> = with_difficult_passwords().into_iter().chain(named).collect();
    for User { name, password, .. } in &users {
        let created = send(daemon.port, &["ACL", "SETUSER", name, "on", &format!(">{password}"), "+@all"]);
        assert_eq!(created.as_deref(), Some("+OK"), "{name}");
    }

    for (what, fields, number) in [("with a database", "database=1, ", "db=1"), ("without", "", "db=0")] {
        let mut uri = Writer::new("uri", "redis", daemon.port)
            .annotate("keys", "username, password")
            .annotate("set", &format!("{fields}host=127.0.0.1, port={}", daemon.port));
        let files = uri.write(&users, |_| None);
        all_log_in(what, &files, |_, file| {
            let mut command = Command::new(&client);
            command.env_clear().args(["--no-auth-warning", "-u", &fs::read_to_string(file).unwrap()]);
            command.args(["CLIENT", "INFO"]);
            let printed = output(&run(command, TIMEOUT))?;
            let has = |part: &str| printed.split(' ').any(|word| word == part);
            let name = printed.split(' ').find_map(|word| word.strip_prefix("user="));
            name.filter(|_| has(number)).map(str::to_owned).ok_or(printed.clone())
        });
    }

    // A password without a user belongs to the user `default`.
    let password = "it's \"1\" \\ $x@/:%#";
    let set = send(daemon.port, &["ACL", "SETUSER", "default", "resetpass", &format!(">{password}")]);
    assert_eq!(set.as_deref(), Some("+OK"));
    let alone = [User { name: "default".to_owned(), password: password.to_owned(), ..users[0].clone() }];
    let mut uri = Writer::new("uri", "redis", daemon.port)
        .annotate("keys", "password")
        .annotate("set", &format!("host=127.0.0.1, port={}", daemon.port));
    let files = uri.write(&alone, |_| None);
    all_log_in("with a password alone", &files, |_, file| {
        let mut command = Command::new(&client);
        command.env_clear().args(["--no-auth-warning", "-u", &fs::read_to_string(file).unwrap()]);
        command.args(["ACL", "WHOAMI"]);
        output(&run(command, TIMEOUT))
    });

    // A wrong password is rejected.
    let wrong = send(daemon.port, &["AUTH", "u0", "b"]).unwrap();
    assert!(wrong.starts_with("-WRONGPASS"), "{wrong}");
}

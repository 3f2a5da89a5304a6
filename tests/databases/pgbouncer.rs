//! PgBouncer, whose `userlist.txt` a template writes with the filter `userlist`, before a real PostgreSQL.

use std::fs;
use std::net::TcpStream;

use rustix::process::Signal;

use crate::daemon::{Daemon, Home};
use crate::files::Writer;
use crate::postgresql::Postgresql;
use crate::support::skip::require;
use crate::users::{DATABASE, User, with_difficult_names, with_difficult_passwords};
use crate::{all_log_in, output, program};

/// The template on the page of `template`.
const TEMPLATE: &str = "{{ username | userlist }} {{ password | userlist }}\n";
/// The longest password, as it is in the file: at a longer one, PgBouncer stops to read the file.
const LONGEST: usize = 2047;

#[test]
fn pgbouncer_logs_in_with_every_password_on_one_line_from_a_userlist() {
    let Some(pgbouncer) = require("pgbouncer", program("pgbouncer")) else { return };
    let mut users = [with_difficult_passwords(), with_difficult_names()].concat();
    let length = |password: &str| password.len() + password.matches('"').count();
    users.retain(|user| !user.password.contains(['\n', '\r']) && length(&user.password) <= LONGEST);
    let Some(server) = Postgresql::start(&users) else { return };

    let mut writer = Writer::new("template", "postgresql", server.port()).annotate("template", TEMPLATE);
    let files = writer.write(&users, |_| None);
    let Some(home) = Home::new("postgres") else { return };
    let lines: Vec<_> = files.iter().map(|(_, file)| fs::read_to_string(file).unwrap()).collect();
    fs::write(home.path().join("userlist.txt"), lines.concat()).unwrap();

    // PgBouncer compares the password that the client sends with that of the file, and uses it for SCRAM with the server.
    let settings = home.path().join("pgbouncer.ini");
    let command = |port: u16| {
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = plain\nauth_file = userlist.txt\nserver_lifetime = 0\n",
            server.port()
        );
        fs::write(&settings, text).unwrap();
        let mut command = home.command(&pgbouncer);
        command.arg(&settings);
        command
    };
    let daemon = Daemon::start(Signal::TERM, command, |port| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let port = daemon.port.to_string();
    all_log_in("userlist", &files, |User { name, password, database }, _| {
        let login = ["-h", "127.0.0.1", "-p", &port, "-U", name];
        let environment = [("PGPASSWORD", password.as_str()), ("PGDATABASE", database)];
        output(&server.select_current_user(&login, &environment))
    });
    let wrong = server.select_current_user(
        &["-h", "127.0.0.1", "-p", &port, "-U", "u0", "-d", DATABASE],
        &[("PGPASSWORD", "b")],
    );
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}

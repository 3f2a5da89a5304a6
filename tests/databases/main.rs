//! Real servers and clients from Debian's packages: the clients log in with the file that `podcreds init` writes, however
//! difficult the password is, and podcreds rejects unsupported values with the field's name. Each test starts its own server on
//! loopback, without root's rights, and stops it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "../support/mod.rs"]
mod support;

mod amqp;
mod client_certificate;
mod daemon;
mod files;
mod jdbc;
mod mariadb;
mod pgbouncer;
mod postgresql;
mod redis;
mod rotation;
mod schemes;
mod users;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use support::run::Finished;
use users::User;

/// The program under test.
const PODCREDS: &str = env!("CARGO_BIN_EXE_podcreds");
/// The longest time for a client, for the start of a server, or for a run of podcreds.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How many clients log in in parallel.
const PARALLEL: usize = 4;
/// How many failures are listed.
const LISTED: usize = 10;

/// A program in PATH or in Debian's directories for administrators' programs.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Fails unless every login succeeds: `log_in` returns the user name that the server reports, or the client's error.
#[track_caller]
fn all_log_in(
    how: &str,
    logins: &[(&User, PathBuf)],
    log_in: impl Fn(&User, &Path) -> Result<String, String> + Sync,
) {
    let (failures, log_in) = (&Mutex::new(Vec::new()), &log_in);
    thread::scope(|scope| {
        for part in logins.chunks(logins.len().div_ceil(PARALLEL).max(1)) {
            scope.spawn(move || {
                for (user, file) in part {
                    let failure = match log_in(user, file) {
                        Ok(name) if name == user.name => continue,
                        Ok(name) => format!("logged in as {name:?}"),
                        Err(message) => message,
                    };
                    failures.lock().unwrap().push(format!("{user:?}: {failure}"));
                }
            });
        }
    });
    let failures = failures.lock().unwrap();
    assert!(
        failures.is_empty(),
        "{how}: {} of {} do not log in\n{}",
        failures.len(),
        logins.len(),
        failures[..failures.len().min(LISTED)].join("\n")
    );
}

/// A client's output without the final newline, or its error.
fn output(finished: &Finished) -> Result<String, String> {
    let printed = finished.stdout_text();
    match finished.code {
        Some(0) => Ok(printed.strip_suffix('\n').unwrap_or(&printed).to_owned()),
        code => Err(format!("code {code:?}: {}{printed}", finished.stderr)),
    }
}

/// The output of a program that logs in with many files: one line for each, with the user name in hexadecimal digits, or
/// with an error.
#[track_caller]
fn outputs_by_line(
    finished: &Finished,
    files: &[(&User, PathBuf)],
) -> BTreeMap<PathBuf, Result<String, String>> {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let printed = finished.stdout_text();
    assert_eq!(printed.lines().count(), files.len(), "{printed}{}", finished.stderr);
    let answers = printed.lines().map(|line| name(line).ok_or_else(|| line.to_owned()));
    files.iter().map(|(_, file)| file.clone()).zip(answers).collect()
}

fn name(hexadecimal: &str) -> Option<String> {
    let digits = |at| u8::from_str_radix(hexadecimal.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<_>> = (0..hexadecimal.len()).step_by(2).map(digits).collect();
    String::from_utf8(bytes?).ok()
}

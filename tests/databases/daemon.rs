//! A server that a test starts: its data is in a temporary directory, it listens on an unused loopback port, and it ends with
//! the test, however the test ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::TIMEOUT;
use crate::program;
use crate::support::run::{Running, poll_until, run};
use crate::support::skip::require;

/// Attempts to find a port, because another process may take it first.
const PORTS: usize = 5;

/// A directory that belongs to the server's user.
pub(crate) struct Home {
    directory: TempDir,
    setpriv: PathBuf,
    owner: Option<&'static str>,
}

impl Home {
    /// The owner is this user of Debian's package if the tests run as root, otherwise the current user.
    pub(crate) fn new(owner: &'static str) -> Option<Self> {
        let setpriv = require("setpriv", program("setpriv"))?;
        let directory = tempfile::Builder::new().prefix("podcreds-db-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(directory.path(), Some(id("-u", owner)), Some(id("-g", owner))).unwrap();
        }
        Some(Self { directory, setpriv, owner: root.then_some(owner) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs the program as the owner; the kernel kills it when the thread that started it ends.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.setpriv);
        command.args(["--pdeathsig", "KILL"]);
        if let Some(owner) = self.owner {
            command.args(["--reuid", owner, "--regid", owner, "--clear-groups"]);
        }
        command
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LC_ALL", "C.UTF-8");
        command.env("HOME", self.path()).current_dir(self.path());
        command
    }
}

fn id(which: &str, user: &str) -> u32 {
    let mut command = Command::new("id");
    command.args([which, user]);
    run(command, TIMEOUT).stdout_text().trim().parse().unwrap_or_else(|_| panic!("user {user} not found"))
}

/// An unused port on loopback.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running server. Dropping it sends the signal `stop`.
pub(crate) struct Daemon {
    /// A mutex, because the threads of a test share the daemon.
    running: Mutex<Option<Running>>,
    stop: Signal,
    pub(crate) port: u16,
}

impl Daemon {
    /// Starts the server on a free port and waits until `is_ready` returns true for that port.
    pub(crate) fn start(
        stop: Signal,
        command: impl Fn(u16) -> Command,
        mut is_ready: impl FnMut(u16) -> bool,
    ) -> Self {
        let mut message = String::new();
        for _ in 0..PORTS {
            let port = free_port();
            let mut running = Running::start(command(port));
            let mut ended = false;
            poll_until(TIMEOUT, "the server is ready", || {
                ended = !running.is_alive();
                ended || is_ready(port)
            });
            if !ended {
                return Self { running: Mutex::new(Some(running)), stop, port };
            }
            message = format!("{}{}", running.stderr(), String::from_utf8_lossy(&running.stdout()));
        }
        panic!("the server does not start: {message}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.get_mut().unwrap().take() {
            running.send(self.stop);
            if !std::thread::panicking() {
                running.wait(TIMEOUT);
            }
        }
    }
}

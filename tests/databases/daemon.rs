//! A server as a process of the test's own: its data in a temporary folder, a port on loopback that nobody else has, and
//! its end with that of the test, by whatever way the test ends.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::HANGS;
use crate::program;
use crate::support::run::{Running, poll_until, run};
use crate::support::skip::require;

/// How often a port is tried that somebody else may take first.
const PORTS: usize = 5;

/// A folder that belongs to the user which the server runs as.
pub(crate) struct Home {
    folder: TempDir,
    setpriv: PathBuf,
    owner: Option<&'static str>,
}

impl Home {
    /// For root, of this user of Debian's package; for anybody else their own.
    pub(crate) fn new(owner: &'static str) -> Option<Self> {
        let setpriv = require("setpriv", program("setpriv"))?;
        let folder = tempfile::Builder::new().prefix("podcreds-db-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(folder.path(), Some(id("-u", owner)), Some(id("-g", owner))).unwrap();
        }
        Some(Self { folder, setpriv, owner: root.then_some(owner) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program with the owner's rights; it dies with the thread that starts it.
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
    run(command, HANGS).stdout_text().trim().parse().unwrap_or_else(|_| panic!("there is no user {user}"))
}

/// A port on loopback that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that answers. It is told to end when this is dropped.
pub(crate) struct Daemon {
    /// Shared by the threads of a test, none of which uses it.
    running: Mutex<Option<Running>>,
    stop: Signal,
    pub(crate) port: u16,
}

impl Daemon {
    /// Starts it with a port and waits until `answers` with that port.
    pub(crate) fn start(
        stop: Signal,
        command: impl Fn(u16) -> Command,
        mut answers: impl FnMut(u16) -> bool,
    ) -> Self {
        let mut said = String::new();
        for _ in 0..PORTS {
            let port = free_port();
            let mut running = Running::start(command(port));
            let mut ended = false;
            poll_until(HANGS, "the server answers", || {
                ended = !running.is_alive();
                ended || answers(port)
            });
            if !ended {
                return Self { running: Mutex::new(Some(running)), stop, port };
            }
            said = format!("{}{}", running.stderr(), String::from_utf8_lossy(&running.stdout()));
        }
        panic!("the server does not start: {said}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.get_mut().unwrap().take() {
            running.send(self.stop);
            if !std::thread::panicking() {
                running.wait(HANGS);
            }
        }
    }
}

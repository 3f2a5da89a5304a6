//! The program as a process against a real TLS server on loopback: its requests, its files, and its behavior under
//! faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bounds;
mod bursts;
mod changed_since_start;
mod chaos;
mod check;
mod clock;
mod clusters;
mod crash;
mod events;
mod exec;
mod exit_on_change;
mod faults;
mod health;
mod identity;
mod incomplete;
mod independence;
mod init;
mod init_events;
mod inspect;
mod install;
mod manifests;
mod notify;
mod notify_https;
mod outages;
mod processes;
mod prometheus;
mod reads;
mod rights;
mod secrecy;
mod service;
mod sidecar;
mod sources_to_program;
mod status;
mod supervisor;
mod template;
mod volume;
mod watches;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::pod::PodFolder;
use support::run::{Finished, run};
use support::server::ApiServer;

/// The program under test.
const PODCREDS: &str = env!("CARGO_BIN_EXE_podcreds");
/// The value that must not appear in any message.
const PASSWORD: &str = "test-password-7f3a";
/// Limit after which a run counts as hanging. Runs end within milliseconds, or at their own `--timeout`.
const HANGS: Duration = Duration::from_secs(30);

/// A cluster with a pod and a Secret that it may read, and the container's files.
struct Scene {
    server: ApiServer,
    pod: PodFolder,
}

impl Scene {
    /// A pod with these annotations (without the prefix), and the Secret `db`.
    fn new(annotations: &[(&str, &str)]) -> Self {
        Self::on(ApiServer::start(), annotations)
    }

    fn on(server: ApiServer, annotations: &[(&str, &str)]) -> Self {
        let pod = PodFolder::new(&server);
        let scene = Self { server, pod };
        scene.annotate(annotations);
        scene.put_password(PASSWORD);
        scene
    }

    /// The minimal annotations.
    fn plain() -> Self {
        Self::new(&[("db.secret", "db")])
    }

    fn annotate(&self, annotations: &[(&str, &str)]) {
        let named: Vec<_> =
            annotations.iter().map(|(name, value)| (format!("podcreds.io/{name}"), *value)).collect();
        let named: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.server.put_pod("prod", "app-0", &named);
    }

    fn put_password(&self, password: &str) {
        self.server.put_secret("prod", "db", &[("username", b"app"), ("password", password.as_bytes())]);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.pod.command(Path::new(PODCREDS), &self.server);
        // Tests run in parallel, and only one sidecar can listen on the default port.
        command.env("PODCREDS_LISTEN", "off").args(args);
        command
    }

    /// Runs `podcreds init` with these arguments.
    fn init(&self, args: &[&str]) -> Finished {
        run(self.command(&[&["init"], args].concat()), HANGS)
    }

    /// Every file that is readable through the volume's links, by path.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let entries = fs::read_dir(self.pod.volume()).unwrap().map(|entry| entry.unwrap().path());
        for path in entries.filter(|path| !name_of(path).starts_with("..")) {
            collect(&path, &name_of(&path), &mut files);
        }
        files
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.pod.volume().join(path)).unwrap_or_else(|error| format!("{error:?}"))
    }

    /// The number of versions that a directory of the volume has.
    fn versions(&self, directory: &str) -> usize {
        let entries = fs::read_dir(self.pod.volume().join(directory)).unwrap();
        entries.filter(|entry| name_of(&entry.as_ref().unwrap().path()).starts_with("..2")).count()
    }

    /// The names at the top of the volume, including those that begin with two dots.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pod.volume()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| name_of(&entry.unwrap().path())).collect();
        names.sort();
        names
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn collect(path: &PathBuf, name: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        for entry in entries.filter(|path| !name_of(path).starts_with("..")) {
            collect(&entry, &format!("{name}/{}", name_of(&entry)), files);
        }
    } else if let Ok(content) = fs::read(path) {
        files.insert(name.to_owned(), content);
    }
}

/// Fails with everything the program printed unless it exited with this code.
#[track_caller]
fn assert_code(finished: &Finished, code: i32) {
    assert_eq!(finished.code, Some(code), "{}", finished.stderr);
}

/// Fails unless the text contains every part.
#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

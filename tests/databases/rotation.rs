//! Rotations with a real PostgreSQL: the database, the Secret, the file that the sidecar keeps current, and clients that log
//! in with it repeatedly.
//!
//! If a role gets a new password, the file is out of date from the change in the database until the sidecar has written the
//! new Secret. How often a client fails in that time depends on the client. The clients here wait for a new file after a
//! failure, so they fail at most once. If two roles alternate, the file is never out of date.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::{fs, thread};

use crate::postgresql::{Postgresql, literal};
use crate::support::pod::PodFolder;
use crate::support::run::{Running, poll_until};
use crate::support::server::ApiServer;
use crate::users::{DATABASE, User};
use crate::{PODCREDS, TIMEOUT, output};

/// The number of rotations.
const CHANGES: usize = 6;
/// Characters in each new password that the formats have to escape.
const SPECIAL: &str = " é'\"\\:@/%41#$`&";

/// A pod whose sidecar writes one Secret in each of these formats.
struct Pod {
    server: ApiServer,
    directory: PodFolder,
}

const FORMATS: [&str; 4] = ["uri", "libpq", "pgservice", "pgpass"];

impl Pod {
    fn new(port: u16) -> Self {
        let server = ApiServer::start();
        let directory = PodFolder::new(&server);
        let set = format!("host=127.0.0.1, port={port}, database={DATABASE}");
        let mut annotations = Vec::new();
        for format in FORMATS {
            let path = format!("db/{format}");
            let keys = [
                ("secret", "db"),
                ("format", format),
                ("engine", "postgresql"),
                ("set", &set),
                ("path", &path),
                ("file-mode", "0400"),
            ];
            annotations
                .extend(keys.map(|(key, value)| (format!("podcreds.io/{format}.{key}"), value.to_owned())));
        }
        let annotations: Vec<_> =
            annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        server.put_pod("prod", "app-0", &annotations);
        Self { server, directory }
    }

    fn put(&self, user: &User) {
        let data = [("username", user.name.as_bytes()), ("password", user.password.as_bytes())];
        self.server.put_secret("prod", "db", &data);
    }

    fn sidecar(&self) -> Running {
        let mut command = self.directory.command(Path::new(PODCREDS), &self.server);
        command.args(["sidecar", "--listen", "off"]);
        let running = Running::start(command);
        let exists = |format: &&str| self.directory().join(format).exists();
        poll_until(TIMEOUT, &format!("a watch is open and the files exist: {}", running.stderr()), || {
            self.server.open_watches() == 1 && FORMATS.iter().all(exists)
        });
        running
    }

    /// The directory that has a file for each format.
    fn directory(&self) -> PathBuf {
        self.directory.volume().join("db")
    }

    fn read(&self, format: &str) -> String {
        fs::read_to_string(self.directory().join(format)).unwrap()
    }
}

/// The results of one client so far.
#[derive(Clone, Default)]
struct Progress {
    logins: usize,
    /// Failures since the start of the last rotation.
    failures: usize,
    /// The user name of the last successful login.
    last: String,
    /// The content of the file at the last successful login.
    with: String,
}

/// A client that logs in repeatedly, without pause, with the file of one format.
struct Client<'a> {
    format: &'static str,
    pod: &'a Pod,
    postgresql: &'a Postgresql,
    progress: Mutex<Progress>,
}

impl Client<'_> {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap()
    }

    /// One login with the file of this version.
    fn log_in(&self, version: &Path) -> Result<String, String> {
        let file = version.join(self.format);
        let (path, text) = (file.to_str().unwrap(), fs::read_to_string(&file).unwrap());
        let port = self.postgresql.port().to_string();
        let finished = match self.format {
            "pgservice" => self
                .postgresql
                .select_current_user(&[], &[("PGSERVICEFILE", path), ("PGSERVICE", "pgservice")]),
            "pgpass" => {
                // host:port:database:user:password
                let user = text.split(':').nth(3).unwrap();
                let place = ["-h", "127.0.0.1", "-p", &port, "-d", DATABASE, "-U", user];
                self.postgresql.select_current_user(&place, &[("PGPASSFILE", path)])
            }
            _ => self.postgresql.select_current_user(&["-d", &text], &[]),
        };
        output(&finished)
    }

    /// Logs in until `done`. After a failure it waits until the file has changed since before the attempt.
    fn run(&self, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            // Resolved once, so that all reads are from one version.
            let version = fs::canonicalize(self.pod.directory().join("..data")).unwrap();
            let text = fs::read_to_string(version.join(self.format)).unwrap();
            match self.log_in(&version) {
                Ok(name) => {
                    let mut progress = self.progress();
                    progress.logins += 1;
                    (progress.last, progress.with) = (name, text);
                }
                Err(message) => {
                    assert!(message.contains("password authentication failed"), "{}: {message}", self.format);
                    self.progress().failures += 1;
                    poll_until(TIMEOUT, "the file has changed", || {
                        self.pod.read(self.format) != text || done.load(Ordering::Relaxed)
                    });
                }
            }
        }
    }
}

/// Runs a client for each format in a loop while `rotate` changes the passwords.
fn while_clients_run(pod: &Pod, postgresql: &Postgresql, rotate: impl FnOnce(&[Client<'_>])) {
    /// Ends the loops even if the test fails.
    struct SetOnDrop<'a>(&'a AtomicBool);
    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let clients = FORMATS.map(|format| Client { format, pod, postgresql, progress: Mutex::default() });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = SetOnDrop(&done);
        clients.iter().for_each(|client| drop(scope.spawn(|| client.run(&done))));
        rotate(&clients);
        drop(end);
    });
}

/// Waits until every client has logged in with the current content of its file.
#[track_caller]
fn wait_for_logins(clients: &[Client<'_>], what: &str) {
    for client in clients {
        poll_until(TIMEOUT, &format!("{} logs in {what}", client.format), || {
            let now = client.pod.read(client.format);
            client.progress().with == now
        });
    }
}

/// The database is changed first, then the Secret. In the other order a client may fail with the new file, and the file does
/// not change again to trigger another attempt.
#[test]
fn a_client_that_waits_for_a_new_file_fails_at_most_once_per_rotation() {
    let mut user = user("app", "test-password-0");
    let Some(postgresql) = Postgresql::start(std::slice::from_ref(&user)) else { return };
    let pod = Pod::new(postgresql.port());
    pod.put(&user);
    let sidecar = pod.sidecar();
    while_clients_run(&pod, &postgresql, |clients| {
        wait_for_logins(clients, "at first");
        for change in 1..=CHANGES {
            clients.iter().for_each(|client| client.progress().failures = 0);
            user.password = format!("test-password-{change}{SPECIAL}");
            postgresql.administer(&format!("ALTER ROLE app PASSWORD {};", literal(&user.password)));
            // In every other rotation the Secret changes late, so that every client fails.
            let late = change % 2 == 0;
            if late {
                poll_until(TIMEOUT, "all clients have failed", || {
                    clients.iter().all(|client| client.progress().failures > 0)
                });
            }
            pod.put(&user);
            poll_until(TIMEOUT, &format!("the file has the new password: {}", sidecar.stderr()), || {
                pod.read("pgservice").contains(&user.password)
            });
            wait_for_logins(clients, "after a change");
            for client in clients {
                let failures = client.progress().failures;
                assert!(failures <= 1, "{}: {failures} failures for change {change}", client.format);
                assert!(!late || failures == 1, "{}: change {change} was not noticed", client.format);
            }
        }
    });
}

/// Each rotation sets a new password for the role that is not in use and then puts that role into the Secret. The old role
/// keeps working until all clients have switched. Name and password change together, so no client sees one without the other.
#[test]
fn no_login_fails_if_two_roles_alternate() {
    let mut users = [user("app_a", "test-password-0"), user("app_b", "test-password-0")];
    let Some(postgresql) = Postgresql::start(&users) else { return };
    let pod = Pod::new(postgresql.port());
    pod.put(&users[0]);
    let _sidecar = pod.sidecar();
    while_clients_run(&pod, &postgresql, |clients| {
        wait_for_logins(clients, "at first");
        for change in 1..=CHANGES {
            let user = &mut users[change % 2];
            user.password = format!("test-password-{change}{SPECIAL}");
            let password = literal(&user.password);
            postgresql.administer(&format!("ALTER ROLE {} PASSWORD {password};", user.name));
            pod.put(user);
            poll_until(TIMEOUT, "all clients log in as the other role", || {
                clients.iter().all(|client| client.progress().last == user.name)
            });
        }
        for client in clients {
            let Progress { logins, failures, .. } = client.progress().clone();
            assert_eq!(failures, 0, "{}, of {} attempts", client.format, logins + failures);
            assert!(logins > CHANGES, "{}: {logins}", client.format);
        }
    });
}

fn user(name: &str, password: &str) -> User {
    User { name: name.to_owned(), password: password.to_owned(), database: DATABASE.to_owned() }
}

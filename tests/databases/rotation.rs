//! A rotation with a real PostgreSQL: the database, the Secret, the file that the sidecar keeps current, and clients that log
//! in with it again and again.
//!
//! Where one role gets another password, there is a time in which the file is wrong: from the change in the database until
//! the sidecar has written what came by the Secret. How often a client fails meanwhile is for the client to say, and these
//! wait for another file after a failure, so that it is once. Where two roles take turns, there is no such time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::{fs, thread};

use crate::postgresql::{Postgresql, literal};
use crate::support::pod::PodFolder;
use crate::support::run::{Running, poll_until};
use crate::support::server::ApiServer;
use crate::users::{DATABASE, User};
use crate::{HANGS, PODCREDS, answer};

/// How often the password changes.
const CHANGES: usize = 6;
/// What is hard about each new password.
const HARD: &str = " é'\"\\:@/%41#$`&";

/// A pod whose sidecar writes one Secret in each of these formats.
struct Pod {
    server: ApiServer,
    folder: PodFolder,
}

const FORMATS: [&str; 4] = ["uri", "libpq", "pgservice", "pgpass"];

impl Pod {
    fn new(port: u16) -> Self {
        let server = ApiServer::start();
        let folder = PodFolder::new(&server);
        let set = format!("host=127.0.0.1, port={port}, database={DATABASE}");
        let mut annotations = Vec::new();
        for format in FORMATS {
            let path = format!("db/{format}");
            let words = [
                ("secret", "db"),
                ("format", format),
                ("engine", "postgresql"),
                ("set", &set),
                ("path", &path),
                ("file-mode", "0400"),
            ];
            annotations.extend(
                words.map(|(word, value)| (format!("podcreds.io/{format}.{word}"), value.to_owned())),
            );
        }
        let annotations: Vec<_> =
            annotations.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        server.put_pod("prod", "app-0", &annotations);
        Self { server, folder }
    }

    fn put(&self, user: &User) {
        let data = [("username", user.name.as_bytes()), ("password", user.password.as_bytes())];
        self.server.put_secret("prod", "db", &data);
    }

    fn sidecar(&self) -> Running {
        let mut command = self.folder.command(Path::new(PODCREDS), &self.server);
        command.args(["sidecar", "--listen", "off"]);
        let running = Running::start(command);
        let is_out = |format: &&str| self.directory().join(format).exists();
        poll_until(HANGS, &format!("a watch is open, the files are out: {}", running.stderr()), || {
            self.server.open_watches() == 1 && FORMATS.iter().all(is_out)
        });
        running
    }

    /// The directory that has a file for each format.
    fn directory(&self) -> PathBuf {
        self.folder.volume().join("db")
    }

    fn read(&self, format: &str) -> String {
        fs::read_to_string(self.directory().join(format)).unwrap()
    }
}

/// What one client has seen so far.
#[derive(Clone, Default)]
struct Seen {
    logins: usize,
    /// Since the last change began.
    failures: usize,
    /// Who it was the last time that it got in.
    last: String,
    /// What the file had when it last got in.
    with: String,
}

/// A client that logs in with the file of one format, as soon as the last attempt has ended.
struct Client<'a> {
    format: &'static str,
    pod: &'a Pod,
    postgresql: &'a Postgresql,
    seen: Mutex<Seen>,
}

impl Client<'_> {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// One attempt with the file of this version.
    fn log_in(&self, version: &Path) -> Result<String, String> {
        let file = version.join(self.format);
        let (path, text) = (file.to_str().unwrap(), fs::read_to_string(&file).unwrap());
        let port = self.postgresql.port().to_string();
        let finished = match self.format {
            "pgservice" => self.postgresql.asks(&[], &[("PGSERVICEFILE", path), ("PGSERVICE", "pgservice")]),
            "pgpass" => {
                // host:port:database:user:password
                let user = text.split(':').nth(3).unwrap();
                let place = ["-h", "127.0.0.1", "-p", &port, "-d", DATABASE, "-U", user];
                self.postgresql.asks(&place, &[("PGPASSFILE", path)])
            }
            _ => self.postgresql.asks(&["-d", &text], &[]),
        };
        answer(&finished)
    }

    /// Logs in until `done`. After a failure it waits until the file has changed since before the attempt.
    fn runs(&self, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            // Resolved once, so that all that is read is of one version.
            let version = fs::canonicalize(self.pod.directory().join("..data")).unwrap();
            let text = fs::read_to_string(version.join(self.format)).unwrap();
            match self.log_in(&version) {
                Ok(name) => {
                    let mut seen = self.seen();
                    seen.logins += 1;
                    (seen.last, seen.with) = (name, text);
                }
                Err(message) => {
                    assert!(message.contains("password authentication failed"), "{}: {message}", self.format);
                    self.seen().failures += 1;
                    poll_until(HANGS, "the file has changed", || {
                        self.pod.read(self.format) != text || done.load(Ordering::Relaxed)
                    });
                }
            }
        }
    }
}

/// A client for each format, each in a loop, while `rotate` changes what they log in with.
fn while_clients_run(pod: &Pod, postgresql: &Postgresql, rotate: impl FnOnce(&[Client<'_>])) {
    /// Ends the loops also when the test fails.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let clients = FORMATS.map(|format| Client { format, pod, postgresql, seen: Mutex::default() });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let ends = Ends(&done);
        clients.iter().for_each(|client| drop(scope.spawn(|| client.runs(&done))));
        rotate(&clients);
        drop(ends);
    });
}

/// Waits until every client has logged in, with what its file has now.
#[track_caller]
fn all_get_in(clients: &[Client<'_>], what: &str) {
    for client in clients {
        poll_until(HANGS, &format!("{} gets in {what}", client.format), || {
            let now = client.pod.read(client.format);
            client.seen().with == now
        });
    }
}

/// The order is: first the database, then the Secret. The other way round, a client may fail with the new file, and no
/// later change of the file tells it to try again.
#[test]
fn a_client_that_waits_for_the_file_after_a_failure_fails_at_most_once_for_a_change() {
    let mut user = user("app", "test-password-0");
    let Some(postgresql) = Postgresql::start(std::slice::from_ref(&user)) else { return };
    let pod = Pod::new(postgresql.port());
    pod.put(&user);
    let sidecar = pod.sidecar();
    while_clients_run(&pod, &postgresql, |clients| {
        all_get_in(clients, "at first");
        for change in 1..=CHANGES {
            clients.iter().for_each(|client| client.seen().failures = 0);
            user.password = format!("test-password-{change}{HARD}");
            postgresql.administer(&format!("ALTER ROLE app PASSWORD {};", literal(&user.password)));
            // At every other change the Secret comes late, so that everybody does fail.
            let late = change % 2 == 0;
            if late {
                poll_until(HANGS, "all clients have failed", || {
                    clients.iter().all(|client| client.seen().failures > 0)
                });
            }
            pod.put(&user);
            poll_until(HANGS, &format!("the file follows: {}", sidecar.stderr()), || {
                pod.read("pgservice").contains(&user.password)
            });
            all_get_in(clients, "after a change");
            for client in clients {
                let failures = client.seen().failures;
                assert!(failures <= 1, "{}: {failures} failures for change {change}", client.format);
                assert!(!late || failures == 1, "{}: change {change} was not noticed", client.format);
            }
        }
    });
}

/// Each change gives a new password to the role that is not in use, and then names it in the Secret: the old one works on
/// until everybody has followed. Name and password change together, and no client sees one without the other.
#[test]
fn where_two_roles_take_turns_no_login_ever_fails() {
    let mut users = [user("app_a", "test-password-0"), user("app_b", "test-password-0")];
    let Some(postgresql) = Postgresql::start(&users) else { return };
    let pod = Pod::new(postgresql.port());
    pod.put(&users[0]);
    let _sidecar = pod.sidecar();
    while_clients_run(&pod, &postgresql, |clients| {
        all_get_in(clients, "at first");
        for change in 1..=CHANGES {
            let user = &mut users[change % 2];
            user.password = format!("test-password-{change}{HARD}");
            let password = literal(&user.password);
            postgresql.administer(&format!("ALTER ROLE {} PASSWORD {password};", user.name));
            pod.put(user);
            poll_until(HANGS, "all clients are the other user", || {
                clients.iter().all(|client| client.seen().last == user.name)
            });
        }
        for client in clients {
            let Seen { logins, failures, .. } = client.seen().clone();
            assert_eq!(failures, 0, "{}, of {} attempts", client.format, logins + failures);
            assert!(logins > CHANGES, "{}: {logins}", client.format);
        }
    });
}

fn user(name: &str, password: &str) -> User {
    User { name: name.to_owned(), password: password.to_owned(), database: DATABASE.to_owned() }
}

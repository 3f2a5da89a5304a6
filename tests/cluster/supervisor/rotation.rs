//! Passwords of a real PostgreSQL that change every few seconds, and supervised applications that log in all the time and
//! read only `DATABASE_URL`.
//!
//! PostgreSQL and its client are programs of this machine, which the pod mounts, so the node must be this machine.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{add_container, pod, report, supervised};
use crate::application::{Servers, USER, mount_programs, programs, servers};
use crate::kubectl::{Namespace, PATIENCE};
use crate::native::{container_run, log};
use crate::support::run::poll_every;
use crate::{kubelet, pods};

const ROTATIONS: usize = 5;

/// Logs in every tenth of a second, and keeps one session open, as a connection pool does. `SIGTERM` ends it between two
/// logins.
const APPLICATION: &str = r#"
    query() { "$PSQL" -w -X -A -t "$DATABASE_URL" "$@" 2>&1; }
    login() {
        at=$EPOCHREALTIME
        if error=$(query -c 'SELECT 1'); then echo "login $at"; else echo "failure $at ${error//$'\n'/ }"; false; fi
    }
    trap 'stop=yes' TERM
    echo "start $EPOCHREALTIME $DATABASE_URL"
    until login || [ -n "$stop" ]; do sleep 0.1; done
    exec 3> >(query -q)
    while [ -z "$stop" ]; do
        login
        echo "SELECT 'session';" >&3
        sleep 0.1
    done
    exec 3>&-
    wait
    echo "end $EPOCHREALTIME"
"#;

/// How the password of an application changes.
#[derive(Clone, Copy)]
enum Method {
    /// The only role gets a new password; until the application has restarted, its logins fail.
    OneRole,
    /// Two roles alternate, so the previous login stays valid.
    TwoRoles,
}

impl Method {
    const ALL: [Self; 2] = [Self::OneRole, Self::TwoRoles];

    /// The name of the container, its Secret and its file.
    const fn name(self) -> &'static str {
        match self {
            Self::OneRole => "one-role",
            Self::TwoRoles => "two-roles",
        }
    }

    /// The user and the password after this many rotations.
    fn login(self, rotation: usize) -> (String, String) {
        let user = match self {
            Self::OneRole => "single",
            Self::TwoRoles => ["even", "odd"][rotation % 2],
        };
        (user.to_owned(), format!("{user}-password-{rotation}"))
    }

    fn url(self, rotation: usize) -> String {
        let (user, password) = self.login(rotation);
        format!("postgresql://{user}:{password}@127.0.0.1:5432/postgres")
    }

    fn put_secret(self, namespace: &Namespace, rotation: usize) {
        let (user, password) = self.login(rotation);
        let data =
            [("username", &*user), ("password", &password), ("host", "127.0.0.1"), ("database", "postgres")];
        namespace.put_secret(self.name(), &data);
    }

    fn output(self, namespace: &Namespace) -> Vec<Line> {
        log(namespace, "app", self.name()).lines().filter_map(Line::parse).collect()
    }
}

/// What an application printed.
#[derive(Debug)]
enum Line {
    Start {
        at: Duration,
        url: String,
    },
    Login,
    Failure {
        at: Duration,
        error: String,
    },
    Session,
    End,
    /// Neither of these, nor a log line of podcreds.
    Unexpected(String),
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (kind, at, rest) = (words.next()?, words.next().and_then(seconds), words.next());
        Some(match (kind, at, rest) {
            ("start", Some(at), Some(url)) => Self::Start { at, url: url.to_owned() },
            ("login", Some(_), None) => Self::Login,
            ("failure", Some(at), Some(error)) => Self::Failure { at, error: error.to_owned() },
            ("session", None, None) => Self::Session,
            ("end", Some(_), None) => Self::End,
            _ if line.contains(" INFO ") || line.starts_with("INFO ") => return None,
            _ => Self::Unexpected(line.to_owned()),
        })
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Some(Duration::from_secs_f64(text.parse().ok()?))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// One life of the application, between two restarts.
#[derive(Debug)]
struct Life {
    url: String,
    started: Duration,
    logins: usize,
    failures: Vec<(Duration, String)>,
    sessions: usize,
    ended: bool,
}

fn lives(output: Vec<Line>) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for line in output {
        if let Line::Start { at: started, url } = line {
            lives.push(Life { url, started, logins: 0, failures: Vec::new(), sessions: 0, ended: false });
            continue;
        }
        let life = lives.last_mut().unwrap_or_else(|| panic!("before the first start: {line:?}"));
        match line {
            Line::Start { .. } => unreachable!("handled above"),
            Line::Login => life.logins += 1,
            Line::Failure { at, error } => life.failures.push((at, error)),
            Line::Session => life.sessions += 1,
            Line::End => life.ended = true,
            Line::Unexpected(line) => panic!("{}: {line}", life.url),
        }
    }
    lives
}

/// The pod of both applications and PostgreSQL.
fn application(postgresql: &Path) -> Value {
    let mut annotations = json!({});
    for name in Method::ALL.map(Method::name) {
        for (key, value) in [("secret", name), ("format", "uri"), ("variable", "DATABASE_URL")] {
            annotations[format!("podcreds.io/{name}.{key}")] = value.into();
        }
        annotations[format!("podcreds.io/{name}.engine")] = "postgresql".into();
        annotations[format!("podcreds.io/{name}.path")] = format!("{name}.env").into();
    }
    let mut pod = pod(annotations);
    let app = &mut pod["spec"]["containers"][0];
    app["env"] = json!([{"name": "PSQL", "value": postgresql.join("psql")}]);
    for name in Method::ALL.map(Method::name) {
        let command = supervised(&["--env-file", &format!("{name}.env")], &["bash", "-c", APPLICATION]);
        add_container(&mut pod, name, command);
    }
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.retain(|container| container["name"] != "app");
    let [server, _] = servers(postgresql);
    pods::push(&mut pod["spec"]["volumes"], json!({"name": server["name"], "emptyDir": {}}));
    pods::push(&mut pod["spec"]["containers"], server);
    let count = pod["spec"]["containers"].as_array().unwrap().len();
    for container in 0..count {
        // podcreds' own image contains all that it needs.
        if pod["spec"]["containers"][container]["name"] != "podcreds" {
            mount_programs(&mut pod, container);
        }
    }
    pod["spec"]["securityContext"] = json!({"fsGroup": USER});
    pod
}

/// Checks the lives of an application, and returns a table of them.
fn check(method: Method, lives: &[Life], created: Duration, changed: &[Duration]) -> String {
    let urls: Vec<_> = lives.iter().map(|life| life.url.as_str()).collect();
    let expected: Vec<_> = (0..=ROTATIONS).map(|rotation| method.url(rotation)).collect();
    assert_eq!(urls, expected, "one start for each version, and never with a mix of user and password");
    let mut table = format!(
        "{:<10}{:>9}{:>24}{:>8}{:>8}\n",
        method.name(),
        "rotation",
        "change to restart, s",
        "logins",
        "failed"
    );
    for (rotation, life) in lives.iter().enumerate() {
        let is_last = rotation == ROTATIONS;
        assert_eq!(life.ended, !is_last, "SIGTERM reached the program: {life:?}");
        assert!(life.logins > 0 && life.sessions > 0, "{life:?}");
        // Before the first login exists, PostgreSQL may not even run.
        let failures: Vec<_> = life.failures.iter().filter(|(at, _)| *at > created).collect();
        for (at, error) in &failures {
            assert!(error.contains("password authentication failed"), "{error}");
            let allowed = matches!(method, Method::OneRole) && !is_last && *at >= changed[rotation];
            assert!(allowed, "{}: a login with a valid password failed at {at:?}: {error}", life.url);
        }
        let restarted = lives.get(rotation + 1).map(|next| (next.started - changed[rotation]).as_secs_f32());
        let restarted = restarted.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"));
        writeln!(table, "{:<10}{:>9}{restarted:>24}{:>8}{:>8}", "", rotation, life.logins, failures.len())
            .unwrap();
    }
    table
}

#[test]
fn a_password_that_changes_every_few_seconds_fails_only_logins_before_the_restart() {
    if kubelet::node_of_this_machine().is_none() {
        return;
    }
    let Some(postgresql) = programs() else { return };
    let Some(namespace) = pods::namespace() else { return };
    let namespace = &namespace;
    namespace.grant_watch(&Method::ALL.map(Method::name));
    Method::ALL.iter().for_each(|method| method.put_secret(namespace, 0));
    pods::start(namespace, "app", application(&postgresql));
    let servers = Servers { namespace, psql: postgresql.join("psql").to_str().unwrap().to_owned() };
    for user in ["single", "even", "odd"] {
        servers.query(&format!("CREATE ROLE {user} LOGIN"));
    }
    let set_password = |method: Method, rotation| {
        let (user, password) = method.login(rotation);
        servers.query(&format!("ALTER ROLE {user} PASSWORD '{password}'"));
    };
    Method::ALL.iter().for_each(|&method| set_password(method, 0));
    let created = now();

    let mut changed = [const { Vec::new() }; Method::ALL.len()];
    for rotation in 0..=ROTATIONS {
        for (&method, changed) in Method::ALL.iter().zip(&mut changed).filter(|_| rotation > 0) {
            changed.push(now());
            set_password(method, rotation);
            method.put_secret(namespace, rotation);
        }
        for method in Method::ALL {
            poll_every(Duration::from_millis(500), PATIENCE, &method.url(rotation), || {
                let lives = lives(method.output(namespace));
                lives.last().is_some_and(|life| life.url == method.url(rotation) && life.sessions > 0)
            });
        }
    }
    let tables = Method::ALL
        .iter()
        .zip(&changed)
        .map(|(&method, changed)| check(method, &lives(method.output(namespace)), created, changed));
    report(&tables.collect::<String>());
    let status = namespace.get("pod/app")["status"].take();
    for container in ["podcreds", "one-role", "two-roles"] {
        assert_eq!(container_run(&status, container).1, 0, "{container} has not restarted");
    }
}

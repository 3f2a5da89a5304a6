//! An application that reads one `.env` with the URLs of a real PostgreSQL and a real Redis, in real pods, while the credentials
//! of each are rotated.
//!
//! The servers and their clients are programs of this machine, which the pods mount, so the node must be this machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::support::run::poll_until;
use crate::support::skip::require;
use crate::{kubelet, native};

/// Any user but root, which PostgreSQL rejects. It needs a name in `/etc/passwd`.
pub(crate) const USER: u32 = 65534;

/// Answers each connection with the users that PostgreSQL and Redis know it by. It reads the file again for each request.
const ANSWER: &str = r#". /podcreds/app.env
database=$("$PSQL" -w -X -A -t "$DATABASE_URL" -c 'SELECT current_user' 2>&1)
cache=$(redis-cli --no-auth-warning -u "$REDIS_URL" ACL WHOAMI 2>&1)
echo "$database $cache""#;
const SERVE: &str = r#"while :; do nc -l -p 9000 -e sh -c "$ANSWER"; done"#;

/// The directory of PostgreSQL's programs, the newest of Debian's versions, if this machine has all programs of the test.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let directories = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let newest = directories
        .filter(|bin| ["initdb", "postgres", "psql"].iter().all(|name| bin.join(name).is_file()))
        .max();
    let has_redis =
        ["redis-server", "redis-cli"].iter().all(|name| Path::new("/usr/bin").join(name).is_file());
    require("Debian's postgresql and redis-server", newest.filter(|_| has_redis))
}

/// Mounts this machine's programs and libraries into a container.
pub(crate) fn mount_programs(pod: &mut Value, container: usize) {
    for (name, path) in [("usr", "/usr"), ("lib", "/lib"), ("lib64", "/lib64"), ("passwd", "/etc/passwd")] {
        let Ok(source) = fs::canonicalize(path) else { continue };
        let mount = json!({"name": name, "mountPath": path, "readOnly": true});
        pods::push(&mut pod["spec"]["containers"][container]["volumeMounts"], mount);
        let volumes = &mut pod["spec"]["volumes"];
        if !volumes.as_array().unwrap().iter().any(|volume| volume["name"] == name) {
            pods::push(volumes, json!({"name": name, "hostPath": {"path": source}}));
        }
    }
}

/// The containers of both servers. Connections through their sockets need no password, others do.
pub(crate) fn servers(postgresql: &Path) -> [Value; 2] {
    let postgresql = postgresql.to_str().unwrap();
    let start_postgresql = format!(
        "set -e; export LC_ALL=C.UTF-8
        {postgresql}/initdb -U postgres --auth-local=trust --auth-host=scram-sha-256 --no-sync -D /data/db
        exec {postgresql}/postgres -D /data/db -k /data -c fsync=off -c shared_buffers=16MB"
    );
    let start_redis = "exec redis-server --bind 127.0.0.1 --save '' --dir /data --unixsocket /data/redis";
    let container = |name: &str, script: &str, ready: &[&str]| {
        json!({
            "name": name,
            "image": pods::app_image(),
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", script],
            "securityContext": {"runAsUser": USER},
            "readinessProbe": {"exec": {"command": ready}, "periodSeconds": 1, "timeoutSeconds": 10},
            "volumeMounts": [{"name": name, "mountPath": "/data"}],
        })
    };
    let psql = format!("{postgresql}/psql");
    let select = [&*psql, "-h", "/data", "-U", "postgres", "-c", "SELECT 1"];
    [
        container("postgresql", &start_postgresql, &select),
        container("redis", start_redis, &["redis-cli", "-s", "/data/redis", "PING"]),
    ]
}

/// The pod of the application and the servers, with podcreds as its native sidecar.
fn application(postgresql: &Path) -> Value {
    let mut pod = native::pod(SERVE);
    pod["metadata"]["annotations"] = json!({
        "podcreds.io/db.secret": "orders-db",
        "podcreds.io/db.format": "uri",
        "podcreds.io/db.engine": "postgresql",
        "podcreds.io/db.variable": "DATABASE_URL",
        "podcreds.io/db.path": "app.env",
        "podcreds.io/cache.secret": "orders-redis",
        "podcreds.io/cache.format": "uri",
        "podcreds.io/cache.engine": "redis",
        "podcreds.io/cache.variable": "REDIS_URL",
        "podcreds.io/cache.path": "app.env",
    });
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let app = &mut pod["spec"]["containers"][0];
    app["env"] = json!([
        {"name": "ANSWER", "value": ANSWER},
        {"name": "PSQL", "value": postgresql.join("psql")},
    ]);
    for server in servers(postgresql) {
        pods::push(&mut pod["spec"]["volumes"], json!({"name": server["name"], "emptyDir": {}}));
        pods::push(&mut pod["spec"]["containers"], server);
    }
    (0..3).for_each(|container| mount_programs(&mut pod, container));
    pod["spec"]["securityContext"] = json!({"fsGroup": USER});
    pod
}

/// The servers in the pod `app`.
pub(crate) struct Servers<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) psql: String,
}

impl Servers<'_> {
    /// Creates a user in PostgreSQL, and writes its Secret.
    fn add_database_user(&self, name: &str, password: &str) {
        let literal = password.replace('\'', "''");
        self.query(&format!("CREATE ROLE {name} LOGIN PASSWORD '{literal}'"));
        put_database_user(self.namespace, name, password);
    }

    pub(crate) fn query(&self, statement: &str) {
        let psql =
            [&*self.psql, "-q", "-h", "/data", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", statement];
        self.namespace.kubectl(&[&["exec", "app", "-c", "postgresql", "--"], &psql[..]].concat());
    }

    /// Creates a user in Redis, and writes its Secret.
    fn add_cache_user(&self, name: &str, password: &str) {
        let created = self.redis(&["ACL", "SETUSER", name, "on", &format!(">{password}"), "+@all"]);
        assert_eq!(created.trim(), "OK");
        put_cache_user(self.namespace, name, password);
    }

    fn redis(&self, command: &[&str]) -> String {
        let exec = ["exec", "app", "-c", "redis", "--", "redis-cli", "-s", "/data/redis"];
        self.namespace.kubectl(&[&exec[..], command].concat())
    }
}

fn put_database_user(namespace: &Namespace, name: &str, password: &str) {
    let login = [("username", name), ("password", password)];
    namespace
        .put_secret("orders-db", &[&login[..], &[("host", "127.0.0.1"), ("database", "postgres")]].concat());
}

fn put_cache_user(namespace: &Namespace, name: &str, password: &str) {
    namespace
        .put_secret("orders-redis", &[("username", name), ("password", password), ("host", "127.0.0.1")]);
}

/// One request to the application.
fn request(namespace: &Namespace) -> String {
    let answer = namespace.kubectl(&[
        "exec",
        "app",
        "-c",
        "app",
        "--",
        "sh",
        "-c",
        "nc 127.0.0.1 9000 </dev/null || true",
    ]);
    answer.trim_end().to_owned()
}

/// Requests until the answer is `after`. Every answer until then is `before`: no request finds a file without a login that works.
fn becomes(namespace: &Namespace, before: &str, after: &str) {
    poll_until(PATIENCE, &format!("the application logs in as {after}"), || {
        let answer = request(namespace);
        // While the application starts to listen again, no one answers.
        assert!([before, after, ""].contains(&&*answer), "{answer}");
        answer == after
    });
}

#[test]
fn an_application_reads_both_urls_of_one_file_through_a_rotation_of_each() {
    if since(29, "native sidecars").is_none() || kubelet::node_of_this_machine().is_none() {
        return;
    }
    let Some(postgresql) = programs() else { return };
    let Some(namespace) = pods::namespace() else { return };
    let namespace = &namespace;
    namespace.grant_watch(&["orders-db", "orders-redis"]);
    let (database, cache) = ("it's \"1\" \\ $x@/:%#?&`é", "it's_\"1\"_\\_$x@/:%#?&`é");
    put_database_user(namespace, "app_1", database);
    put_cache_user(namespace, "cache-1", cache);
    pods::start(namespace, "app", application(&postgresql));
    let servers = Servers { namespace, psql: postgresql.join("psql").to_str().unwrap().to_owned() };
    servers.add_database_user("app_1", database);
    servers.add_cache_user("cache-1", cache);
    becomes(namespace, "", "app_1 cache-1");

    servers.add_database_user("app_2", "';exit 1;'$(exit 1)\"");
    becomes(namespace, "app_1 cache-1", "app_2 cache-1");
    servers.query("DROP ROLE app_1");
    servers.add_cache_user("cache-2", "@cache.example/1?x=%41");
    becomes(namespace, "app_2 cache-1", "app_2 cache-2");
    servers.redis(&["ACL", "DELUSER", "cache-1"]);
    becomes(namespace, "", "app_2 cache-2");
}

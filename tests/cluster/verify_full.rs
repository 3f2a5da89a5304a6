//! The examples with a certificate authority, in real pods, with a real PostgreSQL that has a certificate of it. The node must be
//! this machine, whose programs the pods mount.

use std::path::Path;

use serde_json::{Value, json};

use crate::application::{USER, mount_programs, programs};
use crate::examples;
use crate::kubectl::{Namespace, PATIENCE};
use crate::kubelet;
use crate::pods;
use crate::requirements::since;
use crate::support::pki::{Authority, Leaf};
use crate::support::run::poll_until;

const PASSWORD: &str = "test-only-not-a-real-password";
const NEXT_PASSWORD: &str = "another-test-password";
const HOST: &str = "shop-db.example.internal";
const QUERY: &str =
    "psql -w -X -A -t -c 'SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()' 2>&1";

/// A native sidecar with PostgreSQL, a certificate from the Secret `server-tls`, and the user and the database of the examples.
fn server(bin: &Path) -> Value {
    let bin = bin.to_str().unwrap();
    let script = format!(
        "set -e; export LC_ALL=C.UTF-8
        {bin}/initdb -U postgres --auth-local=trust --auth-host=reject --no-sync -D /data/db
        echo 'hostssl all all all scram-sha-256' >/data/db/pg_hba.conf
        echo 'local all postgres trust' >>/data/db/pg_hba.conf
        echo 'CREATE DATABASE shop' | {bin}/postgres --single -D /data/db postgres
        echo \"CREATE ROLE \\\"shop-test\\\" SUPERUSER LOGIN PASSWORD '{PASSWORD}'\" | {bin}/postgres --single -D /data/db postgres
        exec {bin}/postgres -D /data/db -k /data -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB \\
            -c ssl=on -c ssl_cert_file=/tls/tls.crt -c ssl_key_file=/tls/tls.key"
    );
    let ready = [&format!("{bin}/psql"), "-h", "/data", "-U", "postgres", "-c", "SELECT 1"];
    json!({
        "name": "postgresql",
        "image": pods::app_image(),
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "restartPolicy": "Always",
        "securityContext": {"runAsUser": USER},
        "startupProbe": {"exec": {"command": ready}, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 100},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tls", "mountPath": "/tls"}],
    })
}

/// The example with this CA, with the programs of this machine, and with a server in the same pod.
fn prepare(objects: &mut [Value], kind: &str, ca: &str, bin: &Path) {
    examples::find(objects, "ConfigMap")["data"]["ca.crt"] = ca.into();
    let workload = examples::find(objects, kind);
    let template = match kind {
        "CronJob" => &mut workload["spec"]["jobTemplate"]["spec"]["template"],
        _ => &mut workload["spec"]["template"],
    };
    mount_programs(template, 0);
    let spec = &mut template["spec"];
    spec["hostAliases"] = json!([{"ip": "127.0.0.1", "hostnames": [HOST]}]);
    pods::push(&mut spec["volumes"], json!({"name": "data", "emptyDir": {}}));
    // PostgreSQL accepts a key that is owned by root and readable by a group.
    let tls = json!({"name": "tls", "secret": {"secretName": "server-tls", "defaultMode": 0o440}});
    pods::push(&mut spec["volumes"], tls);
    let app = &mut spec["containers"][0];
    if app["env"].is_null() {
        app["env"] = json!([]);
    }
    let path = format!("{}:/usr/bin:/bin", bin.to_str().unwrap());
    pods::push(&mut app["env"], json!({"name": "PATH", "value": path}));
    // Enough for psql.
    app.as_object_mut().unwrap().remove("resources");
    let mounts = app["volumeMounts"].as_array().unwrap().clone();
    let mut server = server(bin);
    for mount in
        mounts.into_iter().filter(|mount| !["podcreds", "backup"].iter().any(|own| mount["name"] == *own))
    {
        pods::push(&mut server["volumeMounts"], mount);
    }
    pods::push(&mut spec["initContainers"], server);
}

#[test]
fn the_verify_full_and_the_cronjob_example_connect_to_a_server_of_their_authority_only() {
    if since(29, "native sidecars").is_none() || kubelet::node_of_this_machine().is_none() {
        return;
    }
    let Some(bin) = programs() else { return };
    let Some(mut verify_full) = examples::render("deploy/verify-full") else { return };
    let Some(mut cronjob) = examples::render("deploy/cronjob") else { return };
    let Some(namespace) = Namespace::new() else { return };
    let authority = Authority::new();
    let issued = authority.issue(&Leaf::named(&[HOST])).unwrap();
    namespace
        .put_secret("server-tls", &[("tls.crt", issued.certificate_pem()), ("tls.key", &issued.key_pem())]);
    prepare(&mut verify_full, "Deployment", &authority.pem(), &bin);
    prepare(&mut cronjob, "CronJob", &authority.pem(), &bin);
    examples::apply(&namespace, &verify_full);
    examples::apply(&namespace, &cronjob);

    namespace.kubectl(&["create", "job", "dump", "--from", &examples::workload(&cronjob)]);
    let deployment = examples::rolled_out(&namespace, &verify_full);
    let log_in = || {
        let script = format!(". /podcreds/shop.env; {QUERY} || true");
        namespace.kubectl(&["exec", &deployment, "-c", "app", "--", "sh", "-c", &script])
    };
    poll_until(PATIENCE, "the application logs in", || log_in().trim() == "shop-test|t");

    namespace.kubectl(&["wait", "job/dump", "--for", "condition=Complete", "--timeout", "110s"]);
    let log = namespace.kubectl(&["logs", "job/dump", "-c", "app"]);
    assert!(log.starts_with("app: dumped shop: ") && !log.contains(": 0 bytes"), "{log}");

    // The application follows the password, and a CA that is replaced.
    let alter = format!("ALTER ROLE \"shop-test\" PASSWORD '{NEXT_PASSWORD}'");
    let psql = bin.join("psql");
    let psql = [psql.to_str().unwrap(), "-h", "/data", "-U", "postgres", "-c", &alter];
    namespace.kubectl(&[&["exec", &deployment, "-c", "postgresql", "--"], &psql[..]].concat());
    let mut secret = examples::find(&mut verify_full, "Secret").clone();
    secret["stringData"]["password"] = NEXT_PASSWORD.into();
    examples::apply(&namespace, &[secret]);
    poll_until(PATIENCE, "the application logs in again", || log_in().trim() == "shop-test|t");
    let mut ca = examples::find(&mut verify_full, "ConfigMap").clone();
    ca["data"]["ca.crt"] = Authority::new().pem().into();
    examples::apply(&namespace, &[ca]);
    poll_until(PATIENCE, "the server is rejected", || log_in().contains("certificate verify failed"));
}

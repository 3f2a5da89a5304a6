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

const HOST: &str = "shop-db.example.internal";
const QUERY: &str =
    "psql -w -X -A -t -c 'SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()' 2>&1";

/// Starts PostgreSQL with TLS in a pod, with the user and the database of the examples, and returns the address of the pod.
fn start_server(namespace: &Namespace, bin: &Path, authority: &Authority) -> String {
    let issued = authority.issue(&Leaf::named(&[HOST])).unwrap();
    namespace
        .put_secret("server-tls", &[("tls.crt", issued.certificate_pem()), ("tls.key", &issued.key_pem())]);
    let bin = bin.to_str().unwrap();
    let script = format!(
        "set -e; export LC_ALL=C.UTF-8
        {bin}/initdb -U postgres --auth-local=trust --no-sync -D /data/db
        echo 'hostssl all all all scram-sha-256' >>/data/db/pg_hba.conf
        exec {bin}/postgres -D /data/db -k /data -c listen_addresses='*' -c fsync=off -c shared_buffers=16MB \\
            -c ssl=on -c ssl_cert_file=/tls/tls.crt -c ssl_key_file=/tls/tls.key"
    );
    let ready = [&format!("{bin}/psql"), "-h", "/data", "-U", "postgres", "-c", "SELECT 1"];
    let mut pod = json!({"spec": {
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"fsGroup": USER},
        "volumes": [
            {"name": "data", "emptyDir": {}},
            // PostgreSQL accepts a key that is owned by root and readable by its own group.
            {"name": "tls", "secret": {"secretName": "server-tls", "defaultMode": 0o440}},
        ],
        "containers": [{
            "name": "postgresql",
            "image": pods::app_image(),
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", script],
            "securityContext": {"runAsUser": USER, "runAsGroup": USER},
            "readinessProbe": {"exec": {"command": ready}, "periodSeconds": 1, "timeoutSeconds": 10},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tls", "mountPath": "/tls"}],
        }],
    }});
    mount_programs(&mut pod, 0);
    pods::start(namespace, "server", pod);
    query(namespace, bin, "CREATE DATABASE shop");
    query(namespace, bin, "CREATE ROLE \"shop-test\" LOGIN PASSWORD 'test-only-not-a-real-password'");
    namespace.get("pod/server")["status"]["podIP"].as_str().unwrap().to_owned()
}

fn query(namespace: &Namespace, bin: &str, statement: &str) {
    let psql = format!("{bin}/psql");
    namespace.kubectl(&["exec", "server", "--", &psql, "-h", "/data", "-U", "postgres", "-c", statement]);
}

/// The example with this CA and the programs of this machine, in which the database's name has this address.
fn prepare(objects: &mut [Value], kind: &str, ca: &str, bin: &Path, address: &str) {
    examples::find(objects, "ConfigMap")["data"]["ca.crt"] = ca.into();
    let workload = examples::find(objects, kind);
    let template = match kind {
        "CronJob" => &mut workload["spec"]["jobTemplate"]["spec"]["template"],
        _ => &mut workload["spec"]["template"],
    };
    template["spec"]["hostAliases"] = json!([{"ip": address, "hostnames": [HOST]}]);
    mount_programs(template, 0);
    let app = &mut template["spec"]["containers"][0];
    if app["env"].is_null() {
        app["env"] = json!([]);
    }
    let path = format!("{}:/usr/bin:/bin", bin.to_str().unwrap());
    pods::push(&mut app["env"], json!({"name": "PATH", "value": path}));
    // Enough for psql.
    app.as_object_mut().unwrap().remove("resources");
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
    let address = start_server(&namespace, &bin, &authority);
    prepare(&mut verify_full, "Deployment", &authority.pem(), &bin, &address);
    prepare(&mut cronjob, "CronJob", &authority.pem(), &bin, &address);
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
    query(&namespace, bin.to_str().unwrap(), "ALTER ROLE \"shop-test\" PASSWORD 'another-test-password'");
    let mut secret = examples::find(&mut verify_full, "Secret").clone();
    secret["stringData"]["password"] = "another-test-password".into();
    examples::apply(&namespace, &[secret]);
    poll_until(PATIENCE, "the application logs in again", || log_in().trim() == "shop-test|t");
    let mut ca = examples::find(&mut verify_full, "ConfigMap").clone();
    ca["data"]["ca.crt"] = Authority::new().pem().into();
    examples::apply(&namespace, &[ca]);
    poll_until(PATIENCE, "the server is rejected", || log_in().contains("certificate verify failed"));
}

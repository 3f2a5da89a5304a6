//! Credentials of two real clusters in one sidecar, as a process and in a real pod: when one API server is killed, credentials
//! from the other cluster still rotate.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::killable::Cluster;
use crate::kubectl::Namespace;
use crate::pods;
use crate::scene::Scene;
use crate::sidecar::{FIRST, Sidecar, put_password};
use crate::support::run::poll_until;
use crate::support::witness::RECOVERS;

const OWN: &str = "podcreds_cluster_stale_since_timestamp_seconds{cluster=\"\"}";
const FAR: &str = "podcreds_cluster_stale_since_timestamp_seconds{cluster=\"far\"}";

/// A namespace of the far cluster with a Secret that its service account may watch.
fn far_namespace(cluster: &Cluster) -> Namespace {
    let namespace = cluster.namespace();
    namespace.grant_watch(&["db"]);
    put_password(&namespace, FIRST);
    namespace
}

/// The clusters file for the far cluster at this URL, with its CA and its token in files next to it.
fn clusters_file(url: &str) -> String {
    format!(
        "clusters:\n- id: far\n  name: The far one\n  environment: test\n  auth_method: service_account\n  \
         api_server_url: {url}\n  service_account_token_file: far-token\n  tls_config: {{ca_file: far-ca.crt}}\n"
    )
}

fn write_clusters_file(directory: &Path, far: &Namespace) {
    let (host, port, ca) = far.server();
    fs::write(directory.join("clusters.yaml"), clusters_file(&format!("https://{host}:{port}"))).unwrap();
    fs::write(directory.join("far-ca.crt"), ca).unwrap();
    fs::write(directory.join("far-token"), far.token()).unwrap();
}

#[test]
fn credentials_of_one_cluster_rotate_while_the_other_cluster_is_down() {
    let (Some(own), Some(far)) = (Cluster::start(), Cluster::start()) else { return };
    let far_namespace = far_namespace(&far);
    let namespace = own.namespace();
    namespace.grant_watch(&["db"]);
    put_password(&namespace, FIRST);
    let scene = Scene::in_namespace(
        namespace,
        &json!({
            "podcreds.io/db.secret": "db",
            "podcreds.io/far.secret": format!("{}/db", far_namespace.name()),
            "podcreds.io/far.cluster": "far",
        }),
    );
    write_clusters_file(scene.directory.root(), &far_namespace);
    let file = scene.directory.root().join("clusters.yaml");
    let sidecar = Sidecar::start(scene, &["--clusters", file.to_str().unwrap()]);
    let wait_for_far_password = |password: &str| {
        poll_until(RECOVERS, password, || sidecar.scene.read("far/password") == password);
    };
    let metric = |name: &str| sidecar.health.metrics().get(name);
    let is_current = || metric("podcreds_stale_since_timestamp_seconds") == 0.0;
    wait_for_far_password(FIRST);
    sidecar.wait_until("both clusters are current", is_current);
    assert_eq!(
        metric("podcreds_cluster_info{cluster=\"far\",name=\"The far one\",environment=\"test\"}"),
        1.0
    );

    far.kill("kube-apiserver");
    sidecar.wait_until("the far cluster is stale", || metric(FAR) > 0.0);
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        sidecar.rotate_to(password);
        assert_eq!(metric(OWN), 0.0);
    }
    assert!(metric(FAR) > 0.0);
    assert_eq!(sidecar.scene.read("far/password"), FIRST);

    far.up();
    put_password(&far_namespace, "test-password-4");
    wait_for_far_password("test-password-4");
    sidecar.wait_until("both clusters are current again", is_current);

    own.kill("kube-apiserver");
    sidecar.wait_until("the pod's cluster is stale", || metric(OWN) > 0.0);
    for password in ["test-password-5", "test-password-6"] {
        put_password(&far_namespace, password);
        wait_for_far_password(password);
    }
    assert_eq!(metric(FAR), 0.0);
    own.up();
    sidecar.rotate_to("test-password-7");
    put_password(&far_namespace, "test-password-8");
    wait_for_far_password("test-password-8");
    sidecar.wait_until("both clusters are current in the end", is_current);
}

#[test]
fn a_pod_follows_one_cluster_while_the_other_is_down() {
    let Some(namespace) = pods::namespace() else { return };
    let Some(far) = Cluster::start() else { return };
    let far_namespace = far_namespace(&far);
    put_password(&namespace, FIRST);
    namespace.grant_watch(&["db"]);

    // From a pod, this machine has the address of the API server's endpoints.
    let endpoints = namespace.kubectl(&["get", "endpoints", "kubernetes", "-n", "default", "-o", "json"]);
    let endpoints: serde_json::Value = serde_json::from_str(&endpoints).unwrap();
    let host = endpoints["subsets"][0]["addresses"][0]["ip"].as_str().expect("the address of this machine");
    let (_, port, ca) = far_namespace.server();
    let file = clusters_file(&format!("https://{host}:{port}"));
    namespace.put("v1", "ConfigMap", "clusters", json!({"data": {"clusters.yaml": file, "far-ca.crt": ca}}));
    namespace.put_secret("far", &[("far-token", &far_namespace.token())]);

    let wait_script = |own: &str, far: &str| {
        format!(
            "until [ \"$(cat /podcreds/db/password)\" = {own} ] && [ \"$(cat /podcreds/far/password)\" = {far} ]; \
             do sleep 0.1; done; echo seen {own} {far};"
        )
    };
    let script = [
        wait_script(FIRST, FIRST),
        wait_script("test-password-1", FIRST),
        wait_script("test-password-1", "test-password-2"),
        "sleep 600".to_owned(),
    ]
    .concat();
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/far.secret": format!("{}/db", far_namespace.name()),
        "podcreds.io/far.cluster": "far",
    });
    let mut pod = pods::pod_with_sidecar(annotations, 65532, 65532, &script);
    let sources = json!([{"configMap": {"name": "clusters"}}, {"secret": {"name": "far"}}]);
    pods::push(&mut pod["spec"]["volumes"], json!({"name": "clusters", "projected": {"sources": sources}}));
    let (init, sidecar) = ("/spec/initContainers/0", "/spec/containers/1");
    for container in [init, sidecar] {
        let container = pod.pointer_mut(container).unwrap();
        pods::push(
            &mut container["env"],
            json!({"name": "PODCREDS_CLUSTERS", "value": "/etc/podcreds/clusters.yaml"}),
        );
        let mount = json!({"name": "clusters", "mountPath": "/etc/podcreds", "readOnly": true});
        pods::push(&mut container["volumeMounts"], mount);
    }
    pods::start(&namespace, "app", pod);

    let wait_until_seen = |own: &str, far: &str| {
        let line = format!("seen {own} {far}");
        poll_until(RECOVERS, &line, || namespace.kubectl(&["logs", "app", "-c", "app"]).contains(&line));
    };
    wait_until_seen(FIRST, FIRST);
    far.kill("kube-apiserver");
    put_password(&namespace, "test-password-1");
    wait_until_seen("test-password-1", FIRST);
    far.up();
    put_password(&far_namespace, "test-password-2");
    wait_until_seen("test-password-1", "test-password-2");
}

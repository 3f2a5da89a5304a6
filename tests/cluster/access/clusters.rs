//! The clusters file with every authentication method, side by side in one pod.

use std::fs;

use serde_json::json;

use super::{Laptop, PODCREDS};
use crate::kubectl::PATIENCE;
use crate::sidecar::FIRST;
use crate::support::home::{base64, text};
use crate::support::openssl::{KeyForm, X509};
use crate::support::pod::PodFolder;
use crate::support::run::run;

#[test]
fn one_run_reads_a_secret_with_every_auth_method_of_the_clusters_file() {
    let Some(laptop) = Laptop::new() else { return };
    let (home, namespace, jane) = (&laptop.home, &laptop.namespace, laptop.unique_name("jane"));
    let Some((certificate, key)) = laptop.certificate(&format!("/CN={jane}"), KeyForm::Sec1, X509::Version3)
    else {
        return;
    };
    let subjects = json!([
        {"kind": "ServiceAccount", "name": "app", "namespace": namespace.name()},
        {"kind": "User", "name": jane, "apiGroup": super::RBAC},
    ]);
    let role = json!({"apiGroup": super::RBAC, "kind": "Role", "name": "db"});
    let binding = json!({"roleRef": role, "subjects": subjects});
    namespace.put(&format!("{}/v1", super::RBAC), "RoleBinding", "db", binding);

    let token = namespace.token();
    for (name, content) in
        [("ca.crt", &laptop.authority), ("token", &token), ("jane.crt", &certificate), ("jane.key", &key)]
    {
        home.put(&format!("clusters/{name}"), content);
    }
    let data = json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)});
    home.put_kubeconfig("clusters/kubeconfig", &laptop.kubeconfig(&data));
    let tls = json!({"ca_file": "ca.crt"});
    let server = |more: serde_json::Value| {
        let mut entry = json!({"api_server_url": laptop.url, "tls_config": tls});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let mut entries = [
        (
            "kubeconfig",
            json!({"auth_method": "kubeconfig", "kubeconfig_path": "kubeconfig", "kubeconfig_context": "test"}),
        ),
        ("in-cluster", json!({"auth_method": "in_cluster"})),
        ("account", server(json!({"auth_method": "service_account", "service_account_token_file": "token"}))),
        ("token", server(json!({"auth_method": "token", "token": token, "name": "The Hub", "region": "eu"}))),
        (
            "token-file",
            server(
                json!({"auth_method": "token", "token_file": "token", "qps": 5, "burst": 1, "timeout": "3s"}),
            ),
        ),
        // The API server checks the certificate before the token, so the certificate's user counts.
        (
            "certificate",
            server(json!({"auth_method": "token", "token": token, "tls_config":
            {"ca_file": "ca.crt", "cert_file": "jane.crt", "key_file": "jane.key"}})),
        ),
        (
            "insecure",
            server(json!({"auth_method": "token", "token": token, "tls_config": {"insecure": true}})),
        ),
    ];
    for (id, entry) in &mut entries {
        entry["id"] = (*id).into();
    }
    let list: Vec<_> = entries.iter().map(|(_, entry)| entry).collect();
    let file = json!({"clusters": list, "default_namespace": namespace.name()});
    let clusters = home.put("clusters/clusters.yaml", &file.to_string());
    let lines = entries
        .iter()
        .map(|(id, _)| format!("podcreds.io/{id}.secret=\"db\"\npodcreds.io/{id}.cluster=\"{id}\"\n"));
    home.put("annotations", &lines.collect::<String>());

    let pod = PodFolder::with(&laptop.authority, &token, "default");
    let (host, port, _) = namespace.server();
    let init = |args: &[&str]| {
        let args = [&["--clusters", text(&clusters), "--log-level", "debug"], args].concat();
        let mut command = home.command(PODCREDS, "init", &args);
        command
            .env("KUBERNETES_SERVICE_HOST", &host)
            .env("KUBERNETES_SERVICE_PORT", &port)
            .env("PODCREDS_SERVICE_ACCOUNT_DIR", pod.service_account());
        run(command, PATIENCE)
    };
    let finished = init(&[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for (id, _) in &entries {
        assert_eq!(home.read(&format!("{id}/password")), FIRST, "{id}");
    }
    assert!(!finished.stderr.contains(&token) && !finished.stderr.contains(FIRST));
    for message in
        [&format!("cluster token (The Hub, eu): API server {}", laptop.url), "(insecure-skip-tls-verify)"]
    {
        assert!(finished.stderr.contains(message), "{message}: {}", finished.stderr);
    }

    // If a file of one cluster is missing, podcreds sends no request to that cluster and the error names the file.
    fs::remove_file(home.path("clusters/jane.key")).unwrap();
    let finished = init(&["--timeout", "300ms"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    let message = format!("{} cannot be read", text(&home.path("clusters/jane.key")));
    assert!(
        finished.stderr.contains("certificate") && finished.stderr.contains(&message),
        "{}",
        finished.stderr
    );
}

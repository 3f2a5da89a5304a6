//! In-cluster configuration: the service account directory, the API server's address and certificate.

use std::fs;

use rustls::version::{TLS12, TLS13};

use crate::support::pki::{Authority, KeyKind, Leaf};
use crate::support::pod::PodFolder;
use crate::support::run::run;
use crate::support::server::ApiServer;
use crate::support::skip::require;
use crate::{HANGS, Scene, assert_code, assert_has};

#[test]
fn an_invalid_service_account_file_is_reported_with_the_remedy_that_fits() {
    const MISSING: &str = "to the projected volume that is mounted there";
    const BROKEN_CA: &str = "check the ConfigMap kube-root-ca.crt in the pod's namespace";
    const NO_NAMESPACE: &str = "set POD_NAMESPACE from metadata.namespace";
    for (name, content, part, remedy) in [
        ("token", None, "token cannot be read: No such file", MISSING),
        ("token", Some("\n"), "token is empty", ""),
        ("token", Some("test\0token"), "token contains characters that are not allowed in a token", ""),
        ("ca.crt", None, "ca.crt cannot be read: No such file", MISSING),
        ("ca.crt", Some(" \n"), "ca.crt is empty", BROKEN_CA),
        ("ca.crt", Some("garbage"), "ca.crt contains no PEM certificate", BROKEN_CA),
        (
            "ca.crt",
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "ca.crt contains a certificate (number 1) that cannot be parsed",
            BROKEN_CA,
        ),
        ("namespace", None, "namespace cannot be read: No such file", NO_NAMESPACE),
        ("namespace", Some(""), "namespace is empty", NO_NAMESPACE),
        ("namespace", Some("A b"), "namespace: invalid namespace \"A…\"", NO_NAMESPACE),
    ] {
        let scene = Scene::plain();
        let file = scene.pod.service_account().join(name);
        fs::remove_file(&file).unwrap();
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let mut command = scene.command(&["init"]);
        command.env_remove("POD_NAMESPACE");
        let finished = run(command, HANGS);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part, remedy]);
        assert!(!finished.stderr.contains("automountServiceAccountToken"), "{}", finished.stderr);
        assert_has(&scene.pod.termination_message(), &[part, remedy]);
    }
    let scene = Scene::plain();
    fs::remove_dir_all(scene.pod.service_account()).unwrap();
    let finished = scene.init(&[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["cannot be read: No such file", "unless automountServiceAccountToken is false"],
    );
}

#[test]
fn a_pod_that_is_not_found_is_reported_with_the_variable_that_may_name_it() {
    let scene = Scene::plain();
    let mut command = scene.command(&["init", "--timeout", "1s"]);
    command.env("POD_NAME", "web");
    let finished = run(command, HANGS);
    assert_code(&finished, 3);
    assert_has(
        &finished.stderr,
        &["pods \"web\" not found", "if this name comes from POD_NAME, set that variable from metadata.name"],
    );
}

#[test]
fn an_address_that_is_not_the_api_servers_is_reported_with_what_may_have_replaced_it() {
    let scene = Scene::plain();
    scene.server.stop();
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["service mesh", "KUBERNETES_SERVICE_HOST", "enableServiceLinks is false"]);
}

#[test]
fn the_servers_address_comes_from_the_kubelets_variables() {
    for (variable, value, part) in [
        ("KUBERNETES_SERVICE_HOST", "", "KUBERNETES_SERVICE_HOST is not set"),
        ("KUBERNETES_SERVICE_PORT", "", "KUBERNETES_SERVICE_PORT is not set"),
        ("KUBERNETES_SERVICE_HOST", "a b", "invalid host \"a b\": expected an IP address or a DNS name"),
        ("KUBERNETES_SERVICE_PORT", "tcp://10.0.0.1:443", "invalid port \"tcp:"),
    ] {
        let scene = Scene::plain();
        let mut command = scene.command(&["init"]);
        command.env(variable, value);
        let finished = run(command, HANGS);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part]);
    }
}

#[test]
fn server_addresses_can_be_ipv6_or_names() {
    let server = ApiServer::builder().bind("[::1]").start();
    let scene = Scene::on(server, &[("db.secret", "db")]);
    for host in ["::1", "[::1]"] {
        let mut command = scene.command(&["init"]);
        command.env("KUBERNETES_SERVICE_HOST", host);
        assert_code(&run(command, HANGS), 0);
    }
    let scene = Scene::plain();
    let mut command = scene.command(&["init"]);
    command.env("KUBERNETES_SERVICE_HOST", "LocalHost");
    let finished = run(command, HANGS);
    assert_code(&finished, 0);
    assert_eq!(
        scene.server.requests()[0].header("host").map(|host| host.starts_with("localhost:")),
        Some(true)
    );
    let mut command = scene.command(&["init", "--timeout", "300ms"]);
    command.env("KUBERNETES_SERVICE_HOST", "no-such-host.invalid");
    let finished = run(command, HANGS);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["https://no-such-host.invalid:"]);
}

#[test]
fn the_environments_proxy_is_not_used_in_a_cluster() {
    let scene = Scene::plain();
    let mut command = scene.command(&["init"]);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    assert_code(&run(command, HANGS), 0);
}

#[test]
fn namespace_comes_from_the_mount_and_pod_name_from_the_host_name() {
    let scene = Scene::plain();
    let mut command = scene.command(&["init", "--timeout", "200ms"]);
    command.env_remove("POD_NAMESPACE").env_remove("POD_NAME");
    let finished = run(command, HANGS);
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(scene.server.request_lines()[0], format!("GET /api/v1/namespaces/prod/pods/{host}"));
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["from the hostname: set POD_NAME from metadata.name"]);
}

#[test]
fn any_certificate_of_the_ca_file_can_verify_the_server() {
    let server = ApiServer::start();
    let pem =
        format!("{}\n# ours\n{}{}", Authority::new().pem(), server.authority().pem(), Authority::new().pem());
    let pod = PodFolder::with(&pem, "test-token-1", "prod");
    let scene = Scene { server, pod };
    scene.annotate(&[("db.secret", "db")]);
    scene.put_password("test-password");
    assert_code(&scene.init(&[]), 0);
}

#[test]
fn both_tls_versions_and_all_key_types_work() {
    for key in [KeyKind::EcdsaP256, KeyKind::Ed25519, KeyKind::Rsa2048] {
        for version in [&TLS12, &TLS13] {
            let server = ApiServer::builder().tls_versions(&[version]).leaf(Leaf::with_key(key)).try_start();
            let Some(server) = require("openssl, for an RSA key", server.ok()) else { continue };
            let scene = Scene::on(server, &[("db.secret", "db")]);
            let finished = scene.init(&[]);
            assert_eq!(finished.code, Some(0), "{key:?} {version:?}: {}", finished.stderr);
        }
    }
}

#[test]
fn an_unverified_server_gets_no_token() {
    for (leaf, part) in [
        (Leaf::expired(), "its certificate has expired"),
        (
            Leaf::named(&["kubernetes.default.svc", "10.0.0.1"]),
            "its certificate is for another name or address",
        ),
    ] {
        let scene = Scene::on(ApiServer::builder().leaf(leaf).start(), &[("db.secret", "db")]);
        let finished = scene.init(&["--timeout", "300ms"]);
        assert_code(&finished, 4);
        assert_has(&finished.stderr, &["TLS handshake with https://127.0.0.1:", part]);
        assert!(scene.server.requests().is_empty() && scene.names().is_empty());
    }
    let scene = Scene::plain();
    scene.pod.replace_ca(&Authority::new().pem());
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 4);
    assert_has(
        &finished.stderr,
        &[
            "its certificate is not signed by a trusted certificate authority (ca.crt, certificate-authority, ca_file)",
        ],
    );
    assert!(scene.server.requests().is_empty());
}

//! Kubeconfigs as others write them, and side by side with kubectl: what it selects of the hard cases, we select too. Each
//! fixture has test values and is written from the source that it names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "kubeconfig/cases.rs"]
mod cases;
#[path = "kubeconfig/kubectl.rs"]
mod kubectl;
mod support;
#[path = "kubeconfig/view.rs"]
mod view;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use podcreds::kube::PemSource;
use podcreds::kube::Roots;
use podcreds::kube::config::kubeconfig::{Access, Named, Wanted, load};

use cases::{CASES, Case};
use kubectl::Kubectl;
use view::{normalised, of_kubectl};

/// What each fixture comes to. `CA` stands for the certificate that all have.
fn expected() -> Vec<(&'static str, Value)> {
    let version = "client.authentication.k8s.io/v1beta1";
    let client = json!({"certificate": "CA", "key": "KEY"});
    vec![
        (
            "kind",
            json!({"context": "kind-kind", "server": "https://127.0.0.1:40321", "authority": "CA", "client": client}),
        ),
        (
            "k3s",
            json!({"context": "default", "server": "https://127.0.0.1:6443", "authority": "CA", "client": client}),
        ),
        (
            "kubeadm",
            json!({
                "context": "system:node:node-1@kubernetes",
                "server": "https://control-plane.example.com:6443",
                "authority": "CA",
                "client": {
                    "certificate": "/var/lib/kubelet/pki/kubelet-client-current.pem",
                    "key": "/var/lib/kubelet/pki/kubelet-client-current.pem",
                },
            }),
        ),
        (
            "eks",
            json!({
                "context": "arn:aws:eks:eu-west-1:123456789012:cluster/test-cluster",
                "server": "https://0123456789ABCDEF0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com:443",
                "authority": "CA",
                "exec": {
                    "command": "aws",
                    "args": [
                        "--region", "eu-west-1", "eks", "get-token", "--cluster-name", "test-cluster", "--output",
                        "json",
                    ],
                    "env": [["AWS_PROFILE", "test-profile"]],
                    "version": version,
                    "interactive": "IfAvailable",
                },
            }),
        ),
        (
            "gke",
            json!({
                "context": "gke_test-project_europe-west1_test-cluster",
                "server": "https://203.0.113.7:443",
                "authority": "CA",
                "exec": {
                    "command": "gke-gcloud-auth-plugin",
                    "version": version,
                    "interactive": "IfAvailable",
                    "hint": "Install gke-gcloud-auth-plugin for use with kubectl by following \
                             https://cloud.google.com/kubernetes-engine/docs/how-to/cluster-access-for-kubectl#install_plugin",
                    "cluster": true,
                },
            }),
        ),
        (
            "aks-kubelogin",
            json!({
                "context": "test-cluster",
                "server": "https://test-dns-01234567.hcp.westeurope.azmk8s.io:443",
                "authority": "CA",
                "exec": {
                    "command": "kubelogin",
                    "args": ["get-token", "--login", "azurecli", "--server-id", "00000000-0000-0000-0000-000000000001"],
                    "version": version,
                    "interactive": "IfAvailable",
                    "hint": "\nkubelogin is not installed which is required to connect to AAD enabled cluster.\n\n\
                             To learn more, please go to https://aka.ms/aks/kubelogin\n",
                },
            }),
        ),
        (
            "aks-admin",
            json!({
                "context": "test-cluster-admin",
                "server": "https://test-dns-01234567.hcp.westeurope.azmk8s.io:443",
                "authority": "CA",
                "client": client,
                "token": "test-token-aks",
            }),
        ),
        (
            "openshift",
            json!({
                "context": "test-project/api-example-com:6443/kube:admin",
                "namespace": "test-project",
                "server": "https://api.example.com:6443",
                "insecure": true,
                "token": "sha256~test-token-openshift",
            }),
        ),
        (
            "rancher",
            json!({
                "context": "test",
                "server": "https://rancher.example.com:443/k8s/clusters/c-m-test1",
                "authority": "CA",
                "token": "kubeconfig-user-test1:test-token-rancher",
            }),
        ),
        (
            "teleport",
            json!({
                "context": "teleport.example.com-test-cluster",
                "server": "https://teleport.example.com:443",
                "server_name": "kube-teleport-proxy-alpn.teleport.example.com",
                "authority": "CA",
                "exec": {
                    "command": "/usr/local/bin/tsh",
                    "args": [
                        "kube", "credentials", "--kube-cluster=test-cluster", "--teleport-cluster=teleport.example.com",
                        "--proxy=teleport.example.com:443",
                    ],
                    "version": version,
                    "interactive": "IfAvailable",
                },
            }),
        ),
    ]
}

#[test]
fn every_fixture_is_a_way_into_its_cluster() {
    let expected = expected();
    let known: BTreeSet<_> = expected.iter().map(|(name, _)| format!("{name}.yaml")).collect();
    assert_eq!(known, fs::read_dir(fixtures()).unwrap().map(|file| name(&file.unwrap().path())).collect());
    for (name, expected) in expected {
        let access = select(&fixture(name));
        if let Some(PemSource::Inline(pem)) = &access.authority {
            assert!(Roots::parse(pem.expose()).is_ok(), "{name}");
        }
        let mut found = normalised(&access);
        shorten(&mut found);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_fixture_names_its_source() {
    for file in fs::read_dir(fixtures()).unwrap() {
        let path = file.unwrap().path();
        assert!(fs::read_to_string(&path).unwrap().starts_with("# Source: https://"), "{}", path.display());
    }
}

#[test]
fn kubectl_selects_the_same_of_every_fixture() {
    let Some(kubectl) = Kubectl::find() else { return };
    for (name, _) in expected().into_iter().filter(|(name, _)| *name != "kubeadm") {
        let path = fixture(name);
        let theirs = kubectl.view(std::slice::from_ref(&path), None).unwrap();
        assert_eq!(normalised(&select(&path)), of_kubectl(&theirs), "{name}");
    }
}

#[test]
fn kubectl_selects_the_same_of_the_hard_cases() {
    let Some(kubectl) = Kubectl::find() else { return };
    for case in CASES {
        let folder = case.write();
        let paths: Vec<_> = case.list.iter().map(|name| folder.path().join(name)).collect();
        let theirs = kubectl.view(&paths, case.context);
        let ours = ours(case, &paths);
        match (case.refused, &ours, &theirs) {
            (None, Ok(access), Ok(view)) => assert_eq!(normalised(access), of_kubectl(view), "{}", case.name),
            (Some(reason), Err(error), Err(_)) => assert!(error.contains(reason), "{}: {error}", case.name),
            _ => panic!("{}: {ours:?}, and kubectl says {theirs:?}", case.name),
        }
    }
}

/// `config view` takes no `--cluster` and no `--user`; a request that nobody answers shows what they do.
#[test]
fn kubectl_takes_the_same_cluster_and_user_for_the_flags() {
    let Some(kubectl) = Kubectl::find() else { return };
    let folder = cases::OVERRIDES.write();
    let path = folder.path().join(cases::OVERRIDES.list[0]);
    for (context, cluster, user) in [
        (None, None, None),
        (Some("z"), None, None),
        (None, Some("d"), None),
        (None, None, Some("v")),
        (Some("z"), Some("c"), Some("u")),
    ] {
        let given = |name: Option<&str>| name.map(str::to_owned);
        let wanted = Wanted { context: given(context), cluster: given(cluster), user: given(user) };
        let access = load(&Named::File(path.clone())).unwrap().select(&wanted).unwrap();
        let asked = kubectl.asks(&path, &[("--context", context), ("--cluster", cluster), ("--user", user)]);
        let who = access.impersonate.unwrap().user;
        assert!(asked.contains(&format!("'{}/healthz'", access.server)), "{wanted:?}: {asked}");
        assert!(asked.contains(&format!("Impersonate-User: {who}\"")), "{wanted:?}: {asked}");
    }
    for flag in ["--context", "--cluster", "--user"] {
        assert!(kubectl.asks(&path, &[(flag, Some("gone"))]).contains("\"gone\" does not exist"));
        let gone = |name| (name == flag).then(|| "gone".to_owned());
        let wanted = Wanted { context: gone("--context"), cluster: gone("--cluster"), user: gone("--user") };
        let error = load(&Named::File(path.clone())).unwrap().select(&wanted).unwrap_err().to_string();
        assert!(error.contains("\"gone\""), "{error}");
    }
}

/// kubectl says which file it does not find.
#[test]
fn kubectl_looks_for_files_and_commands_where_we_do() {
    let Some(kubectl) = Kubectl::find() else { return };
    let folder = cases::PATHS.write();
    let path = folder.path().join(cases::PATHS.list[0]);
    for user in ["token", "command"] {
        let wanted = Wanted { user: Some(user.to_owned()), ..Wanted::default() };
        let access = load(&Named::File(path.clone())).unwrap().select(&wanted).unwrap();
        let ours = access.token_file.or(access.exec.map(|exec| exec.plugin.command)).unwrap();
        assert!(ours.starts_with(folder.path()), "{}", ours.display());
        let asked = kubectl.asks(&path, &[("--user", Some(user))]);
        assert!(asked.contains(&format!("{}: no such file", ours.display())), "{user}: {asked}");
    }
}

fn ours(case: &Case, paths: &[PathBuf]) -> Result<Access, String> {
    let wanted = Wanted { context: case.context.map(str::to_owned), ..Wanted::default() };
    let kubeconfig = load(&Named::List(paths.to_vec())).map_err(|error| error.to_string())?;
    kubeconfig.select(&wanted).map_err(|error| error.to_string())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeconfig/fixtures")
}

fn fixture(name: &str) -> PathBuf {
    fixtures().join(name).with_extension("yaml")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn select(path: &Path) -> Access {
    load(&Named::File(path.to_owned())).unwrap().select(&Wanted::default()).unwrap()
}

/// Puts short words for PEM.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("-----BEGIN CERTIFICATE-----\nMII") => {
            *text = "CA".to_owned()
        }
        Value::String(text) if text.starts_with("-----BEGIN RSA PRIVATE KEY-----\ntest-key-1\n") => {
            *text = "KEY".to_owned();
        }
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

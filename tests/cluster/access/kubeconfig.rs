//! Tokens, impersonation, server names, and the selection of entries.

use serde_json::json;

use super::{Laptop, wait_for_stderr};
use crate::kubectl::PATIENCE;
use crate::sidecar::FIRST;
use crate::support::home::text;
use crate::support::run::{Running, run};

/// The rule that podcreds reports if an account may not impersonate a user.
const MISSING_RULE: &str = "a ClusterRole, bound to that user or service account by a ClusterRoleBinding, needs the rule {apiGroups: [\"\"], resources: [users], verbs: [impersonate]}";

#[test]
fn a_token_comes_from_the_kubeconfig_or_from_a_file_that_it_names() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    let token = laptop.namespace.token();
    laptop.use_credentials(&json!({"token": token}));
    let finished = laptop.init_succeeds(&["--log-level", "debug"]);
    assert!(!finished.stderr.contains(&token));

    // As in kubectl, the file takes precedence, and the token in the kubeconfig is used if the file cannot be read.
    laptop.home.put(".kube/token", &format!("{token}\n"));
    laptop.use_credentials(&json!({"tokenFile": "token", "token": "test-token-that-is-none"}));
    laptop.init_succeeds(&[]);
    laptop.use_credentials(&json!({"tokenFile": "none", "token": token}));
    let finished = laptop.init_succeeds(&[]);
    assert!(finished.stderr.contains("none cannot be read"), "{}", finished.stderr);

    laptop.use_credentials(&json!({"token": "test-token-that-is-none"}));
    let finished = laptop.init_fails(&[], 3, &["the API server does not accept the token: Unauthorized"]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
}

#[test]
fn a_running_sidecar_reloads_a_token_file() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    laptop.namespace.put_secret("bound", &[]);
    laptop.home.put(".kube/token", &laptop.namespace.token_bound_to("bound"));
    laptop.use_credentials(&json!({"tokenFile": "token"}));
    let sidecar = laptop.start_sidecar();
    laptop.namespace.kubectl(&["delete", "secret", "bound"]);
    wait_for_stderr(&sidecar, "the API server does not accept the token: Unauthorized");
    laptop.put_password("test-password-1");
    laptop.home.put(".kube/token", &laptop.namespace.token());
    laptop.wait_for_password("test-password-1");
}

#[test]
fn requests_without_credentials_are_anonymous() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.use_credentials(&json!({}));
    laptop.init_fails(
        &[],
        3,
        &[
            "Secret ",
            "User \"system:anonymous\" cannot get resource \"secrets\"",
            "the request carries no credentials",
        ],
    );
    laptop.grant_only("User", "system:anonymous");
    laptop.init_succeeds(&[]);
}

#[test]
fn the_api_server_sees_the_user_that_the_kubeconfig_impersonates() {
    let Some(laptop) = Laptop::new() else { return };
    let (jane, team) = (laptop.unique_name("jane"), laptop.unique_name("team"));
    let token = laptop.namespace.token();
    let impersonation = json!({"token": token, "as": jane, "as-groups": [team], "as-user-extra": {"example.com/reason": ["a test"]}});
    laptop.use_credentials(&impersonation);
    // Up to 1.35 the API server's message names the user that the account may not impersonate, since then the object (KEP-5284).
    let account = laptop.namespace.user();
    let finished = laptop.init_fails(
        &[],
        3,
        &[&format!("is forbidden: User \"{account}\" cannot impersonate"), MISSING_RULE],
    );
    assert!(!finished.stderr.contains("resourceNames: [db]"), "{}", finished.stderr);

    let name = laptop.unique_name("impersonates");
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": [jane]},
        {"apiGroups": [""], "resources": ["groups"], "verbs": ["impersonate"], "resourceNames": [team]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/example.com/reason"], "verbs": ["impersonate"]},
    ]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": laptop.namespace.name()}]});
    let _impersonates = laptop.create_temporarily(&[role, binding]);
    let init = Running::start(laptop.home.command(super::PODCREDS, "init", &[]));
    wait_for_stderr(&init, &format!("User \"{jane}\" cannot get resource \"secrets\""));
    drop(init);
    laptop.grant_only("Group", &team);
    laptop.init_succeeds(&[]);
    laptop.grant_only("User", &jane);
    laptop.init_succeeds(&[]);
}

#[test]
fn the_server_certificate_is_verified_against_tls_server_name() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    let token = laptop.namespace.token();
    let put = |more: serde_json::Value, authority: bool| {
        let mut kubeconfig = laptop.kubeconfig(&json!({"token": token}));
        let cluster = kubeconfig["clusters"][0]["cluster"].as_object_mut().unwrap();
        cluster.extend(more.as_object().unwrap().clone());
        if !authority {
            cluster.remove("certificate-authority-data");
        }
        laptop.home.put_kubeconfig(".kube/config", &kubeconfig);
    };
    for name in ["kubernetes", "kubernetes.default.svc"] {
        put(json!({"tls-server-name": name}), true);
        laptop.init_succeeds(&[]);
    }
    put(json!({"tls-server-name": "api.example.com"}), true);
    let parts = [
        "its certificate is for another name or address; it is for ",
        "kubernetes.default.svc",
        "tls-server-name",
    ];
    laptop.init_fails(&[], 4, &parts);
    // The roots of this machine, if any, do not include the cluster's certificate authority.
    put(json!({}), false);
    let finished = laptop.init(&["--timeout", "300ms"]);
    assert!(matches!(finished.code, Some(2 | 4)), "{}", finished.stderr);
    put(json!({"insecure-skip-tls-verify": true}), false);
    let finished = laptop.init_succeeds(&[]);
    assert!(finished.stderr.contains("WARN  TLS verification of https://"), "{}", finished.stderr);
}

#[test]
fn flags_select_entries_from_several_kubeconfigs() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    let (home, namespace) = (&laptop.home, laptop.namespace.name());
    let clusters = json!({
        "current-context": "nowhere",
        "clusters": [
            {"name": "down", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": true}},
            {"name": "up", "cluster": laptop.cluster()},
        ],
        "contexts": [{"name": "nowhere", "context": {"cluster": "down", "user": "anonymous"}}],
    });
    let users = json!({
        "current-context": "never-looked-at",
        "users": [{"name": "anonymous", "user": {}}, {"name": "app", "user": {"token": laptop.namespace.token()}}],
        "contexts": [
            {"name": "nowhere", "context": {"cluster": "up", "user": "app"}},
            {"name": "here", "context": {"cluster": "up", "user": "app", "namespace": namespace}},
        ],
    });
    let (clusters, users) =
        (home.put_kubeconfig("clusters", &clusters), home.put_kubeconfig("users", &users));
    let list = format!("{}:{}", text(&clusters), text(&users));
    for (args, code, message) in [
        (&["--context", "here"][..], 0, ""),
        (&["--cluster", "up", "--user", "app", "-n", namespace], 0, ""),
        (&["--context", "here", "--user", "anonymous"], 3, "system:anonymous"),
        (&["--context", "here", "--cluster", "down"], 4, "https://127.0.0.1:1 cannot be reached"),
        (&[], 4, "https://127.0.0.1:1 cannot be reached"),
        (&["--cluster", "up", "--user", "app"], 3, "Secret default/db"),
    ] {
        home.clear();
        let mut command = home.command(super::PODCREDS, "init", args);
        command.env("KUBECONFIG", &list).env("PODCREDS_TIMEOUT", if code == 0 { "60s" } else { "300ms" });
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(message), "{args:?}: {}", finished.stderr);
        assert_eq!(home.read("db/password") == FIRST, code == 0, "{args:?}");
    }
}

#[test]
fn in_a_pod_the_service_account_takes_precedence() {
    use crate::scene::Scene;

    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("User", "system:anonymous");
    laptop.use_credentials(&json!({}));
    let scene = Scene::in_namespace(
        crate::kubectl::Namespace::new().unwrap(),
        &json!({"podcreds.io/db.secret": "db"}),
    );
    scene.namespace.put_secret("db", &[("password", "test-password-in-pod")]);
    scene.namespace.grant_least(&["db"]);
    let init = |args: &[&str]| {
        let mut command = scene.command("init", args);
        command.env("HOME", laptop.home.path(""));
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        scene.read("db/password")
    };
    assert_eq!(init(&[]), "test-password-in-pod");
    let (config, annotations) = (laptop.home.path(".kube/config"), laptop.home.path("annotations"));
    assert_eq!(init(&["--kubeconfig", text(&config), "--annotations-file", text(&annotations)]), FIRST);
}

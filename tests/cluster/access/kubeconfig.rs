//! Tokens, impersonation, names of servers, and which of several entries counts.

use serde_json::json;

use super::{Person, says};
use crate::kubectl::PATIENCE;
use crate::sidecar::FIRST;
use crate::support::home::text;
use crate::support::run::{Running, run};

/// What podcreds asks for where an account may not impersonate a user.
const MISSING_RULE: &str = "a ClusterRole, bound to that user or service account by a ClusterRoleBinding, needs the rule {apiGroups: [\"\"], resources: [users], verbs: [impersonate]}";

#[test]
fn a_token_is_taken_from_the_kubeconfig_or_from_a_file_that_it_names() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    let token = person.namespace.token();
    person.is(&json!({"token": token}));
    let finished = person.reads(&["--log-level", "debug"]);
    assert!(!finished.stderr.contains(&token));

    // As kubectl has it: the file counts, and what stands beside it is for when it cannot be read.
    person.home.put(".kube/token", &format!("{token}\n"));
    person.is(&json!({"tokenFile": "token", "token": "test-token-that-is-none"}));
    person.reads(&[]);
    person.is(&json!({"tokenFile": "none", "token": token}));
    let finished = person.reads(&[]);
    assert!(finished.stderr.contains("none cannot be read"), "{}", finished.stderr);

    person.is(&json!({"token": "test-token-that-is-none"}));
    let finished = person.fails(&[], 3, &["the API server does not accept the token: Unauthorized"]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
}

#[test]
fn a_token_in_a_file_is_followed_while_a_sidecar_runs() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    person.namespace.put_secret("bound", &[]);
    person.home.put(".kube/token", &person.namespace.token_bound_to("bound"));
    person.is(&json!({"tokenFile": "token"}));
    let sidecar = person.follows();
    person.namespace.kubectl(&["delete", "secret", "bound"]);
    says(&sidecar, "the API server does not accept the token: Unauthorized");
    person.put_password("test-password-1");
    person.home.put(".kube/token", &person.namespace.token());
    person.arrives("test-password-1");
}

#[test]
fn without_credentials_the_api_server_is_asked_as_nobody() {
    let Some(person) = Person::new() else { return };
    person.is(&json!({}));
    person.fails(
        &[],
        3,
        &[
            "Secret ",
            "User \"system:anonymous\" cannot get resource \"secrets\"",
            "the request carries no credentials",
        ],
    );
    person.lets("User", "system:anonymous");
    person.reads(&[]);
}

#[test]
fn whom_a_kubeconfig_acts_as_is_whom_the_api_server_sees() {
    let Some(person) = Person::new() else { return };
    let (jane, team) = (person.user("jane"), person.user("team"));
    let token = person.namespace.token();
    let acts = json!({"token": token, "as": jane, "as-groups": [team], "as-user-extra": {"example.com/reason": ["a test"]}});
    person.is(&acts);
    // Up to 1.35 the API server says whom the account may not impersonate, since then on what object (KEP-5284).
    let account = person.namespace.user();
    let finished = person.fails(
        &[],
        3,
        &[&format!("is forbidden: User \"{account}\" cannot impersonate"), MISSING_RULE],
    );
    assert!(!finished.stderr.contains("resourceNames: [db]"), "{}", finished.stderr);

    let name = person.user("impersonates");
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": [jane]},
        {"apiGroups": [""], "resources": ["groups"], "verbs": ["impersonate"], "resourceNames": [team]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/example.com/reason"], "verbs": ["impersonate"]},
    ]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": person.namespace.name()}]});
    let _impersonates = person.for_a_while(&[role, binding]);
    let asks = Running::start(person.home.command(super::PODCREDS, "init", &[]));
    says(&asks, &format!("User \"{jane}\" cannot get resource \"secrets\""));
    drop(asks);
    person.lets("Group", &team);
    person.reads(&[]);
    person.lets("User", &jane);
    person.reads(&[]);
}

#[test]
fn the_certificate_of_the_server_is_checked_for_the_name_that_the_kubeconfig_gives() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    let token = person.namespace.token();
    let put = |more: serde_json::Value, authority: bool| {
        let mut kubeconfig = person.kubeconfig(&json!({"token": token}));
        let cluster = kubeconfig["clusters"][0]["cluster"].as_object_mut().unwrap();
        cluster.extend(more.as_object().unwrap().clone());
        if !authority {
            cluster.remove("certificate-authority-data");
        }
        person.home.put_kubeconfig(".kube/config", &kubeconfig);
    };
    for name in ["kubernetes", "kubernetes.default.svc"] {
        put(json!({"tls-server-name": name}), true);
        person.reads(&[]);
    }
    put(json!({"tls-server-name": "api.example.com"}), true);
    let parts = [
        "its certificate is for another name or address; it is for ",
        "kubernetes.default.svc",
        "tls-server-name",
    ];
    person.fails(&[], 4, &parts);
    // The roots of this machine, if it has any, are not those of the cluster.
    put(json!({}), false);
    let finished = person.init(&["--timeout", "300ms"]);
    assert!(matches!(finished.code, Some(2 | 4)), "{}", finished.stderr);
    put(json!({"insecure-skip-tls-verify": true}), false);
    let finished = person.reads(&[]);
    assert!(finished.stderr.contains("WARN  the certificate of https://"), "{}", finished.stderr);
}

#[test]
fn of_several_files_and_entries_those_that_are_named_count() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    let (home, namespace) = (&person.home, person.namespace.name());
    let clusters = json!({
        "current-context": "nowhere",
        "clusters": [
            {"name": "down", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": true}},
            {"name": "up", "cluster": person.cluster()},
        ],
        "contexts": [{"name": "nowhere", "context": {"cluster": "down", "user": "nobody"}}],
    });
    let users = json!({
        "current-context": "never-looked-at",
        "users": [{"name": "nobody", "user": {}}, {"name": "app", "user": {"token": person.namespace.token()}}],
        "contexts": [
            {"name": "nowhere", "context": {"cluster": "up", "user": "app"}},
            {"name": "here", "context": {"cluster": "up", "user": "app", "namespace": namespace}},
        ],
    });
    let (clusters, users) =
        (home.put_kubeconfig("clusters", &clusters), home.put_kubeconfig("users", &users));
    let list = format!("{}:{}", text(&clusters), text(&users));
    for (args, code, said) in [
        (&["--context", "here"][..], 0, ""),
        (&["--cluster", "up", "--user", "app", "-n", namespace], 0, ""),
        (&["--context", "here", "--user", "nobody"], 3, "system:anonymous"),
        (&["--context", "here", "--cluster", "down"], 4, "https://127.0.0.1:1 cannot be reached"),
        (&[], 4, "https://127.0.0.1:1 cannot be reached"),
        (&["--cluster", "up", "--user", "app"], 3, "Secret default/db"),
    ] {
        home.clear();
        let mut command = home.command(super::PODCREDS, "init", args);
        command.env("KUBECONFIG", &list).env("PODCREDS_TIMEOUT", if code == 0 { "60s" } else { "300ms" });
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(code), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{args:?}: {}", finished.stderr);
        assert_eq!(home.read("db/password") == FIRST, code == 0, "{args:?}");
    }
}

#[test]
fn in_a_pod_its_own_account_comes_first() {
    use crate::scene::Scene;

    let Some(person) = Person::new() else { return };
    person.lets("User", "system:anonymous");
    person.is(&json!({}));
    let scene = Scene::of(crate::kubectl::Namespace::new().unwrap(), &json!({"podcreds.io/db.secret": "db"}));
    scene.namespace.put_secret("db", &[("password", "test-password-in-pod")]);
    scene.namespace.grant_least(&["db"]);
    let init = |args: &[&str]| {
        let mut command = scene.command("init", args);
        command.env("HOME", person.home.path(""));
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        scene.read("db/password")
    };
    assert_eq!(init(&[]), "test-password-in-pod");
    let (config, annotations) = (person.home.path(".kube/config"), person.home.path("annotations"));
    assert_eq!(init(&["--kubeconfig", text(&config), "--annotations-file", text(&annotations)]), FIRST);
}

//! Which way in is taken: what is named, the pod's own, the kubeconfig in the home folder; and what is said where there is none.

use serde_json::{Value, json};

use super::Outside;
use crate::support::home::{Home, kubeconfig, text};
use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};
use crate::support::server::{ApiServer, NAMESPACE, TOKEN};
use crate::{HANGS, PASSWORD, PODCREDS, assert_code, assert_has};

/// Runs `init` with these variables beside the home folder.
fn init(home: &Home, args: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = home.command(PODCREDS, "init", args);
    command.envs(variables.iter().copied());
    run(command, HANGS)
}

impl Outside {
    fn config(&self, user: &Value, namespace: &str) -> Value {
        kubeconfig(&self.cluster(&json!({})), user, namespace)
    }
}

#[test]
fn without_a_kubeconfig_or_a_pod_the_ways_in_are_told() {
    let home = Home::new(&[("db", "db")]);
    let finished = init(&home, &[], &[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["KUBERNETES_SERVICE_HOST", "--kubeconfig", "KUBECONFIG", "~/.kube/config"],
    );

    // A flag for a kubeconfig says that one is meant.
    let finished = init(&home, &["--context", "prod"], &[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &[&format!("there is no kubeconfig in {}", text(&home.path(".kube/config")))],
    );
}

#[test]
fn a_kubeconfig_that_is_missing_broken_or_has_no_such_context_is_told() {
    let outside = Outside::new();
    let broken = outside.home.put("broken", "apiVersion: v1\nclusters: [\n");
    let typed = outside
        .home
        .put("typed", "clusters:\n- name: test\n  cluster: {insecure-skip-tls-verify: test-maybe}\n");
    let none = outside.home.path("none");
    let config = outside.home.put_kubeconfig("config", &outside.config(&json!({"token": TOKEN}), NAMESPACE));
    let (broken, typed, none, config) = (text(&broken), text(&typed), text(&none), text(&config));
    for (args, parts) in [
        (vec!["--kubeconfig", none], ["cannot be read: No such file", none]),
        (vec!["--kubeconfig", "/"], ["kubeconfig / cannot be read", "directory"]),
        (vec!["--kubeconfig", broken], ["line 3", broken]),
        (vec!["--kubeconfig", typed], ["line 3", "insecure-skip-tls-verify"]),
        (
            vec!["--kubeconfig", config, "--context", "tset"],
            ["there is no context \"tset\"", "did you mean \"test\"?"],
        ),
        (vec!["--kubeconfig", config, "--user", "nobody"], ["there is no user \"nobody\"", config]),
        (vec!["--kubeconfig", config, "--cluster", "prod"], ["there is no cluster \"prod\"", config]),
        (vec!["--kubeconfig", config, "--namespace", "A b"], ["--namespace: ", "\"A b\""]),
    ] {
        let finished = init(&outside.home, &args, &[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &parts);
    }
    for list in [format!("{none}:{none}"), none.to_owned()] {
        let finished = init(&outside.home, &[], &[("KUBECONFIG", &list)]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[&format!("there is no kubeconfig in {none}")]);
    }
    assert_eq!(outside.server.connections(), 0);
}

#[test]
fn what_is_named_comes_before_what_lies_in_the_home_folder() {
    let (outside, other) = (Outside::new(), Outside::new());
    let home = &outside.home;
    let token = json!({"token": TOKEN});
    let asked = |server: &ApiServer| server.requests().len();
    home.put_kubeconfig(".kube/config", &outside.config(&token, NAMESPACE));
    let named = home.put_kubeconfig("named", &other.config(&token, NAMESPACE));
    let named = text(&named);
    assert_code(&init(home, &[], &[]), 0);
    assert_eq!((asked(&outside.server), asked(&other.server)), (1, 0));
    assert_code(&init(home, &[], &[("KUBECONFIG", named)]), 0);
    assert_code(&init(home, &["--kubeconfig", named], &[("KUBECONFIG", "/dev/null/none")]), 0);
    assert_code(&init(home, &[], &[("PODCREDS_KUBECONFIG", named)]), 0);
    assert_eq!((asked(&outside.server), asked(&other.server)), (1, 3));
    // What is empty names nothing.
    assert_code(&init(home, &[], &[("KUBECONFIG", "")]), 0);
    assert_eq!(asked(&outside.server), 2);
}

/// A home folder in a pod of `server`, whose token is `test-token-in-pod`.
fn pod(server: &ApiServer) -> (PodFolder, [(&'static str, String); 4]) {
    let folder = PodFolder::with(&server.authority().pem(), "test-token-in-pod", NAMESPACE);
    let variables = [
        ("KUBERNETES_SERVICE_HOST", server.address().ip().to_string()),
        ("KUBERNETES_SERVICE_PORT", server.address().port().to_string()),
        ("PODCREDS_SERVICE_ACCOUNT_DIR", text(&folder.service_account()).to_owned()),
        ("POD_NAME", "app-0".to_owned()),
    ];
    (folder, variables)
}

#[test]
fn in_a_pod_its_own_account_is_taken_unless_a_kubeconfig_is_named() {
    let outside = Outside::new();
    outside.server.accept_tokens(&[TOKEN, "test-token-in-pod"]);
    let (_folder, variables) = pod(&outside.server);
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let home = &outside.home;
    let config = home.put_kubeconfig(".kube/config", &outside.config(&json!({"token": TOKEN}), NAMESPACE));
    let last = || outside.server.requests().last().unwrap().bearer().unwrap().to_owned();

    assert_code(&init(home, &[], &variables), 0);
    assert_eq!(last(), "test-token-in-pod");
    assert_code(&init(home, &["--kubeconfig", ".kube/config"], &variables), 0);
    assert_eq!(last(), TOKEN);
    for flag in ["--context", "--cluster", "--user"] {
        let finished = init(home, &[flag, "test"], &variables);
        assert_code(&finished, 2);
        let said = format!(
            "{flag} requires --kubeconfig in a pod, where podcreds otherwise uses the service account"
        );
        assert_has(&finished.stderr, &[&said]);
        assert_code(&init(home, &[flag, "test", "--kubeconfig", ".kube/config"], &variables), 0);
    }
    variables.push(("KUBECONFIG", text(&config)));
    assert_code(&init(home, &[], &variables), 0);
    assert_eq!(last(), TOKEN);
}

#[test]
fn relative_paths_are_those_of_the_file_that_they_stand_in() {
    let outside = Outside::new();
    let home = &outside.home;
    let cluster = json!({"server": outside.server.url(), "certificate-authority": "../pki/ca.crt"});
    home.put("pki/ca.crt", &outside.server.authority().pem());
    home.put("people/token", TOKEN);
    let mut clusters = kubeconfig(&cluster, &json!({}), "elsewhere");
    clusters["users"] = json!([]);
    home.put_kubeconfig("clusters/config", &clusters);
    let people = json!({"users": [{"name": "test", "user": {"tokenFile": "token"}}], "contexts": [
        {"name": "test", "context": {"cluster": "none", "user": "none"}},
        {"name": "here", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}},
    ]});
    home.put_kubeconfig("people/config", &people);
    let list =
        ["clusters/config", "none", "people/config"].map(|name| text(&home.path(name)).to_owned()).join(":");

    assert_code(&init(home, &["--context", "here"], &[("KUBECONFIG", &list)]), 0);
    assert_eq!(outside.read(), PASSWORD);
    // The first that names an entry has it, whole; and the namespace is that of the context.
    let finished = init(home, &["--timeout", "100ms"], &[("KUBECONFIG", &list)]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["Secret elsewhere/db", "secrets \"db\" not found"]);
    assert_code(&init(home, &["-n", NAMESPACE], &[("KUBECONFIG", &list)]), 0);
}

//! Which configuration is used: a named kubeconfig, the pod's service account, or the kubeconfig in the home directory;
//! and the message if there is none.

use serde_json::{Value, json};

use super::Outside;
use crate::support::home::{Home, kubeconfig, text};
use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};
use crate::support::server::{ApiServer, Kind, NAMESPACE, TOKEN};
use crate::{HANGS, PASSWORD, PODCREDS, assert_code, assert_has};

/// Runs `init` in the home directory with these additional variables.
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
fn without_kubeconfig_and_pod_the_message_lists_the_options() {
    let home = Home::new(&[("db", "db")]);
    let finished = init(&home, &[], &[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &["KUBERNETES_SERVICE_HOST", "--kubeconfig", "KUBECONFIG", "~/.kube/config"],
    );

    // A kubeconfig flag implies that a kubeconfig is meant.
    let finished = init(&home, &["--context", "prod"], &[]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &[&format!("no kubeconfig found in {}", text(&home.path(".kube/config")))]);
}

#[test]
fn a_missing_or_broken_kubeconfig_or_unknown_context_is_reported() {
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
            ["context \"tset\" not found", "did you mean \"test\"?"],
        ),
        (vec!["--kubeconfig", config, "--user", "stranger"], ["user \"stranger\" not found", config]),
        (vec!["--kubeconfig", config, "--cluster", "prod"], ["cluster \"prod\" not found", config]),
        (vec!["--kubeconfig", config, "--namespace", "A b"], ["--namespace: ", "\"A…\""]),
    ] {
        let finished = init(&outside.home, &args, &[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &parts);
    }
    for list in [format!("{none}:{none}"), none.to_owned()] {
        let finished = init(&outside.home, &[], &[("KUBECONFIG", &list)]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[&format!("no kubeconfig found in {none}")]);
    }
    assert_eq!(outside.server.connections(), 0);
}

#[test]
fn a_named_kubeconfig_takes_precedence_over_the_one_at_home() {
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
    // Empty variables count as unset.
    assert_code(&init(home, &[], &[("KUBECONFIG", "")]), 0);
    assert_eq!(asked(&outside.server), 2);
}

/// A home directory in a pod of `server` with the token `test-token-in-pod`.
fn pod(server: &ApiServer) -> (PodFolder, [(&'static str, String); 4]) {
    let pod_files = PodFolder::with(&server.authority().pem(), "test-token-in-pod", NAMESPACE);
    let variables = [
        ("KUBERNETES_SERVICE_HOST", server.address().ip().to_string()),
        ("KUBERNETES_SERVICE_PORT", server.address().port().to_string()),
        ("PODCREDS_SERVICE_ACCOUNT_DIR", text(&pod_files.service_account()).to_owned()),
        ("POD_NAME", "app-0".to_owned()),
    ];
    (pod_files, variables)
}

#[test]
fn a_pod_uses_its_service_account_unless_a_kubeconfig_is_named() {
    let outside = Outside::new();
    outside.server.accept_tokens(&[TOKEN, "test-token-in-pod"]);
    let (_pod_files, variables) = pod(&outside.server);
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
fn a_kubeconfig_from_the_environment_that_cannot_be_used_is_reported_with_its_variable() {
    let outside = Outside::new();
    let (_pod_files, variables) = pod(&outside.server);
    let home = &outside.home;
    let token = outside.config(&json!({"tokenFile": "none"}), NAMESPACE);
    let without_token = home.put_kubeconfig("without-token", &token);
    let without_context = home.put("without-context", "{}");
    let named = "the environment variable KUBECONFIG names it";
    let in_pod = "names it: without that variable, podcreds uses the pod's service account";
    for (path, part) in [
        (home.path("none"), "no kubeconfig found in "),
        (without_context, "no current-context"),
        (without_token, "none cannot be read: No such file"),
    ] {
        let mut all: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.push(("KUBECONFIG", text(&path)));
        let finished = init(home, &[], &all);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part, in_pod]);
        let finished = init(home, &[], &[("KUBECONFIG", text(&path))]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part, named]);
        assert!(!finished.stderr.contains("service account"), "{}", finished.stderr);
        let finished = init(home, &["--kubeconfig", text(&path)], &all);
        assert_code(&finished, 2);
        assert!(!finished.stderr.contains("KUBECONFIG"), "{}", finished.stderr);
    }
}

#[test]
fn a_sidecar_follows_a_kubeconfig_to_another_server() {
    let (first, second) = (Outside::new(), Outside::new());
    // The versions of the second server reach beyond those of the first one: a watch from an old one would stay silent.
    second.put_password("test-password-of-the-second");
    for number in 0..50 {
        second.server.put_secret(NAMESPACE, &format!("other-{number}"), &[("a", b"1")]);
    }
    first.server.put_secret(NAMESPACE, "other", &[("a", b"1")]);
    first.put_password(PASSWORD);
    first.configure(&first.cluster(&json!({})));
    let events = ["--events", "--pod", "app-0", "--pod-uid", "test-uid"];
    let running = first.sidecar(&[&["--listen", "off"], &events[..]].concat());
    running.poll_until(HANGS, "the first is followed", || {
        first.read() == PASSWORD && first.server.open_watches() == 1
    });
    first.configure(&second.cluster(&json!({})));
    running.poll_until(HANGS, "the second is read", || first.read() == "test-password-of-the-second");
    running.poll_until(HANGS, "the second is watched", || {
        (first.server.open_watches(), second.server.open_watches()) == (0, 1)
    });
    second.put_password("test-password-later");
    running.poll_until(HANGS, "the second is followed", || first.read() == "test-password-later");
    running.poll_until(HANGS, "Events are recorded there", || !second.server.objects(Kind::Event).is_empty());
}

#[test]
fn relative_paths_are_resolved_against_their_own_kubeconfig() {
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
    // The first file that has an entry provides all of it, and the namespace comes from the context.
    let finished = init(home, &["--timeout", "1s"], &[("KUBECONFIG", &list)]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["Secret elsewhere/db", "secrets \"db\" not found"]);
    assert_code(&init(home, &["-n", NAMESPACE], &[("KUBECONFIG", &list)]), 0);
}

#[test]
fn an_unreachable_server_of_a_kubeconfig_is_not_blamed_on_the_variables_of_a_pod() {
    let outside = Outside::new();
    outside.configure(&outside.cluster(&json!({})));
    outside.server.stop();
    let finished =
        outside.fails(&[], &["and that the kubeconfig or clusters file has the API server's address"]);
    assert!(!finished.stderr.contains("KUBERNETES_SERVICE_HOST"), "{}", finished.stderr);

    let (_pod, variables) = pod(&outside.server);
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let finished = init(&outside.home, &["--timeout", "300ms"], &variables);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["and that KUBERNETES_SERVICE_HOST is the API server's address"]);
}

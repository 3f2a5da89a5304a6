//! Messages about missing rights, misspelt names and mistakes in the pod's manifest.

use std::fs;

use serde_json::{Value, json};

use crate::support::run::{Finished, Running, run};
use crate::support::server::{Fault, Kind, Times};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const REVIEW: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
const REVIEW_PATH: &str = "selfsubjectrulesreviews";
/// The message about `order-db` if the account may read `orders-db` and `cache`.
const SUGGESTION: &str = "Secret prod/order-db: forbidden: secrets \"order-db\" is forbidden: User \"system:serviceaccount:prod:app\" cannot get resource \"secrets\" in API group \"\" in the namespace \"prod\"; a Role in namespace prod, bound to that user or service account by a RoleBinding there, needs the rule {apiGroups: [\"\"], resources: [secrets], resourceNames: [order-db], verbs: [get]}; or correct the name: this account may read cache, orders-db (did you mean orders-db?)";
/// The last part of the message if the review fails.
const MISSPELT: &str = "if a Role already grants this for another name, the name may be misspelt";

/// An account that may read the Secrets `orders-db` and `cache`, and annotations that name `order-db`.
fn misspelt() -> Scene {
    let scene = Scene::new(&[("db.secret", "order-db")]);
    scene.server.allow_only(Kind::Secret, "prod", &["orders-db", "cache"]);
    scene
}

fn render(scene: &Scene) -> Finished {
    run(scene.command(&["render"]), HANGS)
}

fn reviews(scene: &Scene) -> usize {
    scene.server.request_lines().iter().filter(|line| *line == REVIEW).count()
}

/// Runs `podcreds init` with an annotations file.
fn init_with_file(scene: &Scene, annotations: &[(&str, &str)]) -> Finished {
    let file = scene.pod.root().join("annotations");
    let lines = annotations.iter().map(|(key, value)| format!("podcreds.io/{key}={}\n", json!(value)));
    fs::write(&file, lines.collect::<String>()).unwrap();
    scene.init(&["--timeout", "300ms", "--annotations-file", file.to_str().unwrap()])
}

#[test]
fn a_misspelt_secret_gets_the_names_that_the_account_may_read() {
    let scene = misspelt();
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(finished.stderr.lines().next().unwrap(), &[SUGGESTION, "; retrying in "]);
    assert_has(&scene.pod.termination_message(), &[SUGGESTION]);
    assert_eq!(reviews(&scene), 1, "{:?}", scene.server.request_lines());
    let review = scene.server.requests().into_iter().find(|request| request.line() == REVIEW).unwrap();
    let review: Value = serde_json::from_slice(&review.body).unwrap();
    assert_eq!(review["spec"], json!({"namespace": "prod"}));

    let finished = render(&scene);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &[SUGGESTION]);
}

#[test]
fn without_any_right_to_secrets_the_message_has_the_rule_and_a_reminder_to_check_the_name() {
    let scene = Scene::plain();
    scene.server.allow_only(Kind::Secret, "prod", &[]);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    let message = "resourceNames: [db], verbs: [get]}; or correct the name, if it is wrong (after ";
    assert_has(&scene.pod.termination_message(), &[message]);
}

#[test]
fn a_review_that_fails_or_hangs_changes_neither_the_message_nor_the_exit_code() {
    for fault in [
        Fault::Status { code: 403, retry_after: None, message: "test".into() },
        Fault::Status { code: 404, retry_after: None, message: "test".into() },
        Fault::Body("broken".into()),
        Fault::Body(" ".repeat(2 * 1024 * 1024)),
        Fault::CloseBeforeAnswer,
        Fault::Hold,
    ] {
        let scene = misspelt();
        scene.server.fail_on(REVIEW_PATH, fault.clone(), Times::Always);
        let finished = scene.init(&["--timeout", "300ms"]);
        assert_code(&finished, 3);
        let message = scene.pod.termination_message();
        assert!(message.contains(MISSPELT) && !message.contains("orders-db"), "{fault:?}: {message}");
        assert_eq!(reviews(&scene), 1, "{fault:?}");
    }
}

#[test]
fn a_run_that_may_read_everything_requests_no_review() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    assert_eq!(reviews(&scene), 0);
}

#[test]
fn each_namespace_is_reviewed_once() {
    let scene = Scene::new(&[("a.secret", "main-1"), ("b.secret", "main-2"), ("c.secret", "other/db-3")]);
    scene.server.allow_only(Kind::Secret, "prod", &["main"]);
    scene.server.allow_only(Kind::Secret, "other", &["db-4"]);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(
        &scene.pod.termination_message(),
        &[
            "[main-1], verbs: [get]}; or correct the name: this account may read main (did you mean main?)",
            "[db-3], verbs: [get]}; or correct the name: this account may read db-4 (did you mean db-4?)",
        ],
    );
    assert_eq!(reviews(&scene), 2);
}

#[test]
fn a_sidecar_suggests_the_name_and_reviews_once_however_often_it_retries() {
    let scene = misspelt();
    let suggestion = SUGGESTION.replace("[get]", "[get, watch]");
    let running = Running::start(scene.command(&["sidecar", "--events"]));
    running.poll_until(HANGS, "the name is suggested", || running.stderr().contains(&suggestion));
    let reads = || scene.server.request_lines().iter().filter(|line| line.ends_with("/order-db")).count();
    running.poll_until(HANGS, "it is read four times", || reads() >= 4);
    assert_eq!((reviews(&scene), running.stderr().matches(&suggestion).count()), (1, 1));
    let is_recorded = |event: &Value| event["message"].as_str().unwrap().contains("did you mean orders-db?");
    running.poll_until(HANGS, "an Event suggests it", || {
        scene.server.objects(Kind::Event).iter().any(is_recorded)
    });
}

#[test]
fn inspect_suggests_the_name_that_the_current_user_may_read() {
    let scene = misspelt();
    scene.server.refuse("/apis/authorization.k8s.io/v1/subjectaccessreviews");
    let finished = run(scene.command(&["inspect"]), HANGS);
    assert_code(&finished, 0);
    let advice = "; or correct the name: this account may read cache, orders-db (did you mean orders-db?)\n";
    let shown = finished.stdout_text();
    let needs = "resourceNames: [order-db], verbs: [get]}";
    assert_has(&shown, &["may not get Secret order-db: ", "  get Secret prod/order-db: forbidden: "]);
    assert_eq!(shown.matches(&format!("{needs}{advice}")).count(), 2, "{shown}");
    assert_eq!(reviews(&scene), 1);
}

#[test]
fn without_any_right_the_message_about_the_pod_names_the_secrets_too() {
    let scene = Scene::plain();
    for kind in [Kind::Pod, Kind::Secret] {
        scene.server.allow_only(kind, "prod", &[]);
    }
    let parts = [
        "resources: [pods], verbs: [get]}; or mount the annotations with a downward API volume and pass --annotations-file, which needs no RBAC rule; the Role also needs {apiGroups: [\"\"], resources: [secrets], resourceNames: [the names in the annotations], verbs: [get]}, because this account may not read Secrets in namespace prod either",
    ];
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(&scene.pod.termination_message(), &parts);
    assert_eq!(reviews(&scene), 1);
    let running = Running::start(scene.command(&["sidecar", "--timeout", "300ms"]));
    let sources = "resourceNames: [the names in the annotations], verbs: [get, watch]}, because this account";
    running.poll_until(HANGS, "the sidecar logs it too", || running.stderr().contains(sources));

    // An account that may read some Secrets does not get that rule.
    scene.server.allow_only(Kind::Secret, "prod", &["db"]);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_has(&finished.stderr, &["--annotations-file, which needs no RBAC rule (after "]);
}

#[test]
fn all_forbidden_sources_are_named_together_those_of_templates_and_those_not_requested_yet() {
    let scene = Scene::new(&[]);
    scene.server.allow_only(Kind::Secret, "prod", &["db"]);
    scene.server.allow_only(Kind::ConfigMap, "prod", &[]);
    let finished = init_with_file(
        &scene,
        &[
            ("a.secret", "db"),
            ("b.secret", "one"),
            ("c.secret", "two"),
            ("c.template-from", "templates/app"),
            ("d.configmap", "settings"),
        ],
    );
    assert_code(&finished, 3);
    let message = scene.pod.termination_message();
    assert_has(
        &message,
        &[
            "credential c: ConfigMap prod/templates: forbidden: configmaps \"templates\" is forbidden",
            "credential b: Secret prod/one: forbidden: no rule lets this account read it; a Role in namespace prod",
            "credential c: Secret prod/two: forbidden: no rule lets this account read it; a Role in namespace prod",
            "credential d: ConfigMap prod/settings: forbidden: no rule lets this account read it; ",
        ],
    );
    assert!(!message.contains("credential a"), "{message}");
}

#[test]
fn a_sidecar_that_blocks_its_pod_warns_in_the_log_and_as_an_event() {
    let scene = Scene::plain();
    let state = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let pod = json!({
        "metadata": {"annotations": {"podcreds.io/db.secret": "db"}},
        "spec": {
            "initContainers": [{"name": "creds", "image": "podcreds:test", "args": ["sidecar"]}],
            "containers": [{"name": "app"}],
        },
        "status": {"phase": "Pending", "initContainerStatuses": [{"name": "creds", "state": state}]},
    });
    scene.server.put_object(Kind::Pod, "prod", "app-0", pod);
    let running = Running::start(scene.command(&["sidecar", "--events"]));
    let message = "this sidecar runs as init container creds without restartPolicy: Always, so the containers after it never start: add restartPolicy: Always to it (Kubernetes 1.29 or later), or run podcreds init instead";
    running.poll_until(HANGS, "it warns", || running.stderr().contains(&format!("WARN  {message}")));
    let is_recorded = |event: &Value| event["message"] == message && event["type"] == "Warning";
    running.poll_until(HANGS, "the Event is recorded", || {
        scene.server.objects(Kind::Event).iter().any(is_recorded)
    });
}

#[test]
fn an_empty_secret_is_an_error_that_names_it() {
    let scene = Scene::plain();
    scene.server.put_secret("prod", "db", &[]);
    let message = "credential db: Secret prod/db has no keys, so it provides no fields: ";
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_eq!(finished.stderr.matches(message).count(), 2, "{}", finished.stderr);
    let running = Running::start(scene.command(&["sidecar"]));
    running.poll_until(HANGS, "the sidecar waits", || running.stderr().contains(message));
    scene.put_password(PASSWORD);
    running.poll_until(HANGS, "the files are written", || scene.read("db/password") == PASSWORD);
    scene.server.put_secret("prod", "db", &[]);
    running.poll_until(HANGS, "the files are kept", || running.stderr().matches(message).count() == 2);
    assert_eq!(scene.read("db/password"), PASSWORD);
}

#[test]
fn a_missing_optional_secret_is_logged_without_a_warning() {
    let scene = Scene::new(&[("db.secret", "db"), ("cache.secret", "none"), ("cache.optional", "true")]);
    let message = "INFO  skipping optional credential cache: Secret prod/none not found";
    for command in ["init", "sidecar"] {
        let running = Running::start(scene.command(&[command]));
        running.poll_until(HANGS, "it is skipped", || running.stderr().contains(message));
        assert!(!running.stderr().contains("WARN"), "{}", running.stderr());
    }
}

#[test]
fn a_secret_that_the_first_start_waits_for_is_an_event() {
    let scene = Scene::new(&[("db.secret", "late")]);
    let running = Running::start(scene.command(&["sidecar", "--events"]));
    let message = "credential db: Secret prod/late: secrets \"late\" not found; waiting for it";
    let is_recorded = |event: &Value| event["message"] == message && event["reason"] == "CredentialsFailed";
    running.poll_until(HANGS, "the Event is recorded", || {
        scene.server.objects(Kind::Event).iter().any(is_recorded)
    });
    scene.server.put_secret("prod", "late", &[("password", b"test-password-late")]);
    running.poll_until(HANGS, "it is written", || scene.read("db/password") == "test-password-late");
    let available = "Secret prod/late is available now";
    running.poll_until(HANGS, "it is logged", || running.stderr().contains(available));
    assert!(!running.stderr().contains("again"), "{}", running.stderr());
}

/// A pod in `prod` that runs as this account and reads the Secret `db`.
fn pod_of(account: &str) -> String {
    let container = json!({"name": "podcreds", "image": "podcreds:test", "args": ["sidecar"]});
    let metadata = json!({"name": account, "annotations": {"podcreds.io/db.secret": "db"}});
    let spec = json!({"serviceAccountName": account, "initContainers": [container], "containers": []});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string()
}

fn rbac_check(scene: &Scene, pods: &[String]) -> Finished {
    let file = scene.pod.root().join("pods.yaml");
    fs::write(&file, pods.join("\n---\n")).unwrap();
    run(scene.command(&["rbac", "--check", "-f", file.to_str().unwrap()]), HANGS)
}

#[test]
fn rbac_check_reports_each_account_and_what_is_missing_or_too_wide() {
    let scene = Scene::plain();
    let finished = rbac_check(&scene, &[pod_of("app"), pod_of("other")]);
    assert_code(&finished, 0);
    for account in ["app", "other"] {
        let wide = "  warning: may get, list, watch every Secret in namespace prod, which podcreds does not need: limit the rule with resourceNames\n";
        let report = format!(
            "ServiceAccount prod/{account} in namespace prod\n  ok: get, watch Secret db\n  ok: get Pod {account}\n{wide}"
        );
        assert_has(&finished.stdout_text(), &[&report]);
    }
    scene.server.allow_only(Kind::Secret, "prod", &["billing"]);
    let finished = rbac_check(&scene, &[pod_of("app")]);
    assert_code(&finished, 3);
    assert_has(&finished.stdout_text(), &["  missing: get, watch Secret db; a Role in namespace prod"]);
    assert!(!finished.stdout_text().contains("warning"), "{}", finished.stdout_text());
}

#[test]
fn rbac_check_prints_the_accounts_before_one_that_it_may_not_review() {
    let scene = Scene::plain();
    scene.server.refuse("/apis/authorization.k8s.io/v1/subjectaccessreviews");
    let finished = rbac_check(&scene, &[pod_of("app"), pod_of("other")]);
    assert_code(&finished, 3);
    let shown = finished.stdout_text();
    assert!(shown.starts_with("ServiceAccount prod/app in namespace prod\n  ok: "), "{shown}");
    assert!(!shown.contains("other"), "{shown}");
    assert_has(
        &finished.stderr,
        &[
            "review access of ServiceAccount prod/other: forbidden: ",
            "resources: [subjectaccessreviews], verbs: [create]}",
        ],
    );
}

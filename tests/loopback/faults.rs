//! Faults of the API server: transient ones are retried, lasting ones end the run with a code and a message, and in
//! either case the volume holds a whole bundle.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::support::run::{Running, poll_until, run};
use crate::support::server::{ApiServer, BlackHole, Fault, Kind, Times};
use crate::support::skip::require;
use crate::{HANGS, PASSWORD, PODCREDS, Scene, assert_code, assert_has};

fn status(code: u16, retry_after: Option<&str>) -> Fault {
    Fault::Status { code, retry_after: retry_after.map(str::to_owned), message: "test message".into() }
}

/// Faults that may be transient, with the exit code and message if they last. The timeouts of run and request are
/// short.
fn transient() -> Vec<(Fault, i32, &'static str)> {
    let garbled = r#"{"kind":"Secret","metadata":{"name":"db","namespace":"prod"},"data":{"a":"!"}}"#;
    let drip = Fault::Drip { interval: Duration::from_millis(50) };
    vec![
        (Fault::Reset, 4, "cannot be reached"),
        (Fault::CloseBeforeAnswer, 4, "cannot be reached"),
        (Fault::TruncateBody, 4, "Secret prod/db: "),
        (drip, 4, "did not answer in time (reading the response)"),
        (Fault::SilentHeader, 4, "did not answer in time (waiting for the first byte)"),
        (status(401, None), 3, "does not accept the token: test message"),
        (status(403, None), 3, "forbidden: test message"),
        (status(404, None), 3, "Secret prod/db: test message"),
        (status(408, None), 4, "answered 408: test message"),
        (status(429, None), 4, "answered 429: test message"),
        (status(500, None), 4, "answered 500: test message"),
        (status(503, None), 4, "answered 503: test message"),
        (Fault::Body("<html>test".into()), 4, "not JSON at line 1"),
        (Fault::Body(garbled.into()), 4, "the value of key \"a\" is not base64"),
        (Fault::Raw(b"SMTP ready\r\n\r\n".to_vec()), 4, "unexpected response: invalid HTTP"),
    ]
}

#[test]
fn transient_faults_are_retried() {
    for (fault, _, _) in transient() {
        let scene = Scene::plain();
        scene.server.fail_on("/secrets/", fault.clone(), Times::N(2));
        let finished = scene.init(&["--request-timeout", "300ms"]);
        assert_eq!(finished.code, Some(0), "{fault:?}: {}", finished.stderr);
        assert_eq!(scene.read("db/password"), PASSWORD, "{fault:?}");
        assert_has(&finished.stderr, &["WARN", "retrying in"]);
    }
}

#[test]
fn a_lasting_fault_ends_the_run_and_keeps_the_old_bundle() {
    for (fault, code, part) in transient() {
        let scene = Scene::plain();
        assert_code(&scene.init(&[]), 0);
        let before = (scene.names(), scene.files());
        scene.put_password("test-password-new");
        scene.server.fail_on("/secrets/", fault.clone(), Times::Always);
        let finished = scene.init(&["--timeout", "700ms", "--request-timeout", "300ms"]);
        assert_eq!(finished.code, Some(code), "{fault:?}: {}", finished.stderr);
        assert_has(&scene.pod.termination_message(), &["Secret prod/db: ", part]);
        assert_eq!((scene.names(), scene.files()), before, "{fault:?}");
    }
}

/// A response with headers of this size and the Secret of [`Scene`].
fn with_headers(count: usize, size: usize) -> Fault {
    let body = r#"{"kind":"Secret","metadata":{"namespace":"prod","name":"db","resourceVersion":"1"},"data":{"password":"dGVzdA=="}}"#;
    let headers: String = (0..count).map(|number| format!("x-{number}: {}\r\n", "x".repeat(size))).collect();
    Fault::Raw(
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes(),
    )
}

#[test]
fn large_headers_of_a_gateway_are_accepted_or_reported_as_such() {
    let scene = Scene::plain();
    scene.server.fail_on("/secrets/", with_headers(10, 4000), Times::Once);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(scene.read("db/password"), "test");
    for (fault, part) in [
        (with_headers(10, 10_000), "unexpected response: the response headers are too large"),
        (with_headers(200, 1), "unexpected response: invalid HTTP: http parse resulted in too many headers"),
    ] {
        let scene = Scene::plain();
        scene.server.fail_on("/secrets/", fault, Times::Always);
        let finished = scene.init(&["--timeout", "300ms"]);
        assert_code(&finished, 4);
        assert_has(&finished.stderr, &[part]);
    }
}

#[test]
fn a_permanent_fault_ends_the_run_at_once() {
    for (fault, code, part) in [
        (Fault::Redirect("https://127.0.0.1:1/".into()), 4, "answered with a redirect (307)"),
        (Fault::HugeBody { bytes: 64 * 1024 * 1024 }, 3, "larger than 4194304 bytes"),
        (Fault::HugeChunkedBody { bytes: 64 * 1024 * 1024 }, 3, "larger than 4194304 bytes"),
        (status(400, None), 3, "refused the request with 400: test message"),
        (status(410, None), 3, "refused the request with 410: test message"),
    ] {
        let scene = Scene::plain();
        scene.server.fail_on("/secrets/", fault.clone(), Times::Always);
        let finished = scene.init(&[]);
        assert_eq!(finished.code, Some(code), "{fault:?}: {}", finished.stderr);
        assert_has(&finished.stderr, &[part]);
        assert_eq!(scene.server.requests().len(), 2, "{fault:?}");
    }
}

#[test]
fn a_rejected_token_is_reread() {
    let scene = Scene::plain();
    scene.server.accept_tokens(&["test-token-2"]);
    let running = Running::start(scene.command(&["init"]));
    poll_until(HANGS, "the old token is tried", || !scene.server.requests().is_empty());
    scene.pod.rotate_token("test-token-2");
    assert_code(&running.wait(HANGS), 0);
    let requests = scene.server.requests();
    let tokens: Vec<_> = requests.iter().map(|request| request.bearer().unwrap().to_owned()).collect();
    assert_eq!((tokens[0].as_str(), tokens.last().unwrap().as_str()), ("test-token-1", "test-token-2"));
}

#[test]
fn a_missing_permission_is_reported_with_the_rule_that_grants_it() {
    let scene = Scene::plain();
    scene.server.forbid(Kind::Secret, "prod", "db");
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    // Full jitter and a deadline far below a second: every duration is in milliseconds.
    assert_has(&finished.stderr, &["retrying in ", " ms, for up to ", " ms)"]);
    assert!(!finished.stderr.contains("0.0 s"), "{}", finished.stderr);
    assert_has(
        &scene.pod.termination_message(),
        &[
            "if a Role already grants this for another name, the name may be misspelt",
            "Secret prod/db: forbidden: secrets \"db\" is forbidden: User \"system:serviceaccount:prod:app\"",
            "a Role in namespace prod, bound to that user or service account by a RoleBinding there, needs the rule {apiGroups: [\"\"], resources: [secrets], resourceNames: [db], verbs: [get]}",
        ],
    );
    scene.server.forbid(Kind::Pod, "prod", "app-0");
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(
        &finished.stderr,
        &["resources: [pods], verbs: [get]}", "or mount the annotations", "--annotations-file"],
    );
}

#[test]
fn init_waits_for_a_secret_that_is_created_late() {
    let scene = Scene::new(&[("db.secret", "late")]);
    let running = Running::start(scene.command(&["init"]));
    poll_until(HANGS, "the Secret is requested", || scene.server.requests().len() > 1);
    scene.server.put_secret("prod", "late", &[("password", b"test-password-late")]);
    assert_code(&running.wait(HANGS), 0);
    assert_eq!(scene.read("db/password"), "test-password-late");
}

#[test]
fn all_failing_objects_are_reported_together() {
    let scene = Scene::new(&[("a.secret", "none"), ("b.secret", "db"), ("c.configmap", "gone")]);
    scene.server.fail_on("/secrets/db", status(500, None), Times::Always);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(
        &scene.pod.termination_message(),
        &[
            "credential a: Secret prod/none: secrets \"none\" not found",
            "credential c: ConfigMap prod/gone: configmaps \"gone\" not found",
            "Secret prod/db: the API server answered 500",
        ],
    );
}

#[test]
fn retry_after_is_honored() {
    let scene = Scene::plain();
    scene.server.fail_on("/secrets/", status(429, Some("1")), Times::Once);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert!(finished.elapsed >= Duration::from_secs(1), "repeated after {:?}", finished.elapsed);

    let scene = Scene::plain();
    scene.server.fail_on("/secrets/", status(429, Some("3600")), Times::Always);
    let finished = scene.init(&[]);
    assert_code(&finished, 4);
    assert_eq!(scene.server.requests().len(), 2, "it does not wait beyond the timeout");
}

#[test]
fn a_404_from_a_proxy_does_not_mean_a_missing_secret() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.optional", "true")]);
    assert_code(&scene.init(&[]), 0);
    let page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found";
    scene.server.fail_on("/secrets/", Fault::Raw(page.to_vec()), Times::Always);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["404 without the reason NotFound"]);
    assert_eq!(scene.read("db/password"), PASSWORD);
}

#[test]
fn the_timeout_covers_all_phases_together() {
    let scene = Scene::plain();
    // Each piece arrives well within the request timeout; all of them would take a minute.
    scene.server.fail_on("/secrets/", Fault::Drip { interval: Duration::from_millis(200) }, Times::Always);
    let finished = scene.init(&["--timeout", "1s", "--request-timeout", "1h"]);
    assert_code(&finished, 4);
    assert!(scene.names().is_empty());
}

#[test]
fn retries_back_off() {
    let scene = Scene::plain();
    scene.server.fail_on("/secrets/", status(500, None), Times::Always);
    assert_code(&scene.init(&["--timeout", "2s"]), 4);
    let asked = scene.server.requests().len();
    assert!((3..60).contains(&asked), "{asked} requests in 2 s");
}

#[test]
fn a_server_that_never_responds_times_out() {
    let hole = BlackHole::start();
    let scene = Scene::plain();
    let mut command = scene.command(&["init", "--timeout", "400ms"]);
    command.env("KUBERNETES_SERVICE_PORT", hole.address().port().to_string());
    let finished = run(command, HANGS);
    assert_code(&finished, 4);
    assert_has(&finished.stderr, &["did not answer in time (connecting)"]);
}

#[test]
fn init_waits_for_a_server_that_is_not_up_yet() {
    let scene = Scene::plain();
    scene.server.stop();
    let mut running = Running::start(scene.command(&["init"]));
    poll_until(HANGS, "the request is retried", || running.stderr().contains("cannot be reached"));
    assert!(running.is_alive());
    scene.server.start_again();
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn a_connection_closed_by_the_server_is_replaced() {
    let scene = Scene::new(&[("db.secret", "late")]);
    let running = Running::start(scene.command(&["init"]));
    poll_until(HANGS, "the Secret is requested", || scene.server.requests().len() > 1);
    scene.server.drop_connections();
    scene.server.put_secret("prod", "late", &[("password", b"x")]);
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn sigterm_and_sigint_end_it_during_a_request() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let scene = Scene::plain();
        scene.server.fail_on("/secrets/", Fault::SilentHeader, Times::Always);
        let mut running = Running::start(scene.command(&["init"]));
        poll_until(HANGS, "it waits for an answer", || scene.server.requests().len() > 1);
        running.send(signal);
        assert_code(&running.wait(HANGS), code);
        assert!(scene.names().is_empty());
    }
}

/// The kernel's default action for signals does not apply to PID 1 of a container.
#[test]
fn sigterm_ends_it_as_pid_1() {
    let root = rustix::process::geteuid().is_root().then_some(());
    let Some(()) = require("root, to make a process namespace,", root) else { return };
    let scene = Scene::plain();
    scene.server.fail_on("/secrets/", Fault::SilentHeader, Times::Always);
    let pod = scene.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", PODCREDS, "init"]);
    command
        .env_clear()
        .envs(pod.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("PATH", "/usr/bin");
    let running = Running::start(command);
    poll_until(HANGS, "it waits for an answer", || scene.server.requests().len() > 1);
    let children = format!("/proc/{0}/task/{0}/children", running.id());
    let first: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    assert_has(&status, &["Name:\tpodcreds", "\t1\n"]);
    rustix::process::kill_process(Pid::from_raw(first).unwrap(), Signal::TERM).unwrap();
    assert_code(&running.wait(HANGS), 143);
}

#[test]
fn a_later_server_with_another_authority_is_still_rejected() {
    let (scene, other) = (Scene::plain(), ApiServer::start());
    let mut command = scene.command(&["init", "--timeout", "300ms"]);
    command.env("KUBERNETES_SERVICE_PORT", other.address().port().to_string());
    assert_code(&run(command, HANGS), 4);
    assert!(other.requests().is_empty());
}

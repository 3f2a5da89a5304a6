//! The sidecar: files follow their Secrets through changes of Secrets, permissions, tokens and annotations. Temporary
//! faults are in `outages`.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::run::{Running, poll_until};
use crate::support::server::{ApiServer, Fault, Kind, Times, WatchFault};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// A scene with a running sidecar.
struct Sidecar {
    scene: Scene,
    running: Running,
}

impl Sidecar {
    /// Starts the sidecar with these arguments and waits until its files are published.
    fn start(scene: Scene, args: &[&str]) -> Self {
        let mut command = scene.command(&["sidecar", "--listen", "off", "--request-timeout", "2s"]);
        command.args(args);
        let sidecar = Self { running: Running::start(command), scene };
        sidecar.waits("the first bundle is published", || sidecar.scene.read("db/password") == PASSWORD);
        sidecar
    }

    fn plain() -> Self {
        let sidecar = Self::start(Scene::plain(), &[]);
        sidecar.is_watching();
        sidecar
    }

    #[track_caller]
    fn waits(&self, what: &str, condition: impl FnMut() -> bool) {
        self.running.poll_until(HANGS, what, condition);
    }

    #[track_caller]
    fn is_watching(&self) {
        self.waits("one watch is open", || self.scene.server.open_watches() == 1);
    }

    /// Changes the password and waits until the file contains it.
    #[track_caller]
    fn follows(&self, password: &str) {
        self.scene.put_password(password);
        self.arrives(password);
    }

    #[track_caller]
    fn arrives(&self, password: &str) {
        self.waits(password, || self.scene.read("db/password") == password);
    }
}

#[test]
fn a_changed_secret_is_followed() {
    let sidecar = Sidecar::plain();
    let version = sidecar.scene.server.resource_version(Kind::Secret, "prod", "db").unwrap();
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        sidecar.follows(password);
    }
    // The pod and the Secret are read once. Each event carries the new value, so that no request follows it.
    let reads = ["GET /api/v1/namespaces/prod/pods/app-0", "GET /api/v1/namespaces/prod/secrets/db"];
    assert_eq!(sidecar.scene.server.request_lines()[..2], reads);
    let watches = sidecar.scene.server.watch_requests();
    assert_eq!((watches.len(), sidecar.scene.server.requests().len()), (1, 3));
    let query = &watches[0].query;
    assert_has(
        query,
        &[
            "fieldSelector=metadata.name%3Ddb",
            "allowWatchBookmarks=true",
            &format!("&resourceVersion={version}"),
            "timeoutSeconds=",
        ],
    );
    assert_eq!(watches[0].header("accept"), Some("application/json"), "an event carries the whole object");
}

#[test]
fn after_init_it_changes_no_file() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    let before = scene.names();
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.is_watching();
    assert_eq!(sidecar.scene.names(), before);
    sidecar.follows("test-password-1");
}

#[test]
fn watches_that_end_at_once_are_retried_with_back_off() {
    let retried = |fault: &Fault| {
        let sidecar = Sidecar::plain();
        sidecar.scene.server.fail_on("watch=true", fault.clone(), Times::Always);
        sidecar.scene.server.drop_connections();
        let (started, before) = (Instant::now(), sidecar.scene.server.watch_requests().len());
        sidecar.waits("the watch is retried", || sidecar.scene.server.watch_requests().len() >= before + 4);
        // Four delays drawn from a back-off that doubles from half a second: their sum is smaller once in 60,000 runs.
        assert!(started.elapsed() > Duration::from_millis(200), "{fault:?}: after {:?}", started.elapsed());
    };
    let faults = [
        Fault::Status { code: 500, retry_after: None, message: "test".into() },
        Fault::Status { code: 429, retry_after: None, message: "test".into() },
        Fault::Body(String::new()),
        Fault::Body("broken\n".into()),
        Fault::CloseBeforeAnswer,
    ];
    thread::scope(|scope| {
        for fault in &faults {
            scope.spawn(move || retried(fault));
        }
    });
}

#[test]
fn without_the_watch_permission_it_polls_and_logs_that_once() {
    let scene = Scene::plain();
    scene.server.forbid_watch(Kind::Secret, "prod", "db");
    let sidecar = Sidecar::start(scene, &["--poll-interval", "100ms"]);
    for password in ["test-password-1", "test-password-2"] {
        sidecar.follows(password);
    }
    let said = sidecar.running.stderr();
    assert_eq!(said.matches("verbs: [watch]").count(), 1, "{said}");
    assert_has(&said, &["polling it at least every 100ms instead"]);
    sidecar.scene.server.allow_watch(Kind::Secret, "prod", "db");
    sidecar.is_watching();
    sidecar.follows("test-password-3");
}

#[test]
fn sync_poll_opens_no_watches() {
    let sidecar = Sidecar::start(Scene::plain(), &["--sync", "poll", "--poll-interval", "100ms"]);
    sidecar.follows("test-password-1");
    assert!(sidecar.scene.server.watch_requests().is_empty());
}

#[test]
fn a_failing_source_does_not_stop_the_polling_of_others() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &["--sync", "poll", "--poll-interval", "1s"]);
    sidecar.scene.server.forbid(Kind::Secret, "prod", "more");
    sidecar.waits("a refusal is logged", || sidecar.running.stderr().contains("Secret prod/more: forbidden"));
    sidecar.follows("test-password-1");
}

#[test]
fn a_deleted_secret_keeps_its_files_and_delays_no_other() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.waits("two watches are open", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.server.delete(Kind::Secret, "prod", "more");
    sidecar.waits("the deletion is logged", || sidecar.running.stderr().contains("keeping its files"));
    sidecar.follows("test-password-1");
    assert_eq!(sidecar.scene.read("more/a"), "1");
    sidecar.scene.server.put_secret("prod", "more", &[("a", b"2")]);
    sidecar.waits("the Secret is recreated", || sidecar.scene.read("more/a") == "2");
}

#[test]
fn a_deleted_secret_can_be_cleared() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &["--on-delete", "clear"]);
    sidecar.waits("two watches are open", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.server.delete(Kind::Secret, "prod", "more");
    sidecar.waits("its files are cleared", || !sidecar.scene.pod.volume().join("more").exists());
    assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
}

#[test]
fn a_forbidden_source_keeps_its_files_and_delays_no_other() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.waits("two watches are open", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.server.forbid(Kind::Secret, "prod", "more");
    // An open watch carries the object even after the permission to get it was revoked.
    sidecar.scene.server.break_watches(WatchFault::End);
    sidecar.scene.server.put_secret("prod", "more", &[("a", b"2")]);
    sidecar.waits("a refusal is logged", || sidecar.running.stderr().contains("Secret prod/more: forbidden"));
    sidecar.follows("test-password-1");
    assert_eq!(sidecar.scene.read("more/a"), "1");
    sidecar.scene.server.allow(Kind::Secret, "prod", "more");
    sidecar.waits("the source is read again", || sidecar.scene.read("more/a") == "2");
}

#[test]
fn a_change_that_cannot_be_rendered_keeps_the_last_good_bundle() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.keys", "username,password")]);
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.is_watching();
    sidecar.scene.server.put_secret("prod", "db", &[("username", b"app")]);
    sidecar
        .waits("the missing key is logged", || sidecar.running.stderr().contains("key password not found"));
    assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
    sidecar.follows("test-password-1");
}

#[test]
fn it_waits_for_a_secret_that_does_not_exist_yet() {
    let scene = Scene::new(&[("db.secret", "late")]);
    let mut running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "no Secret is found", || running.stderr().contains("secrets \"late\" not found"));
    let (started, before) = (Instant::now(), scene.server.requests().len());
    poll_until(HANGS, "the request is repeated", || scene.server.requests().len() > before + 6);
    assert!(started.elapsed() > Duration::from_millis(300), "requests without back-off");
    assert!(running.is_alive() && scene.names() == ["..podcreds"]);
    scene.server.put_secret("prod", "late", &[("password", b"test-password-late")]);
    poll_until(HANGS, "the Secret arrives", || scene.read("db/password") == "test-password-late");
}

#[test]
fn rotated_tokens_and_authorities_are_reloaded() {
    let sidecar = Sidecar::plain();
    sidecar.scene.server.accept_tokens(&["test-token-2"]);
    sidecar.scene.pod.rotate_token("test-token-2");
    sidecar.scene.server.drop_connections();
    sidecar.follows("test-password-token");

    // A server with a different authority takes the place of the first.
    let port = sidecar.scene.server.address().port();
    sidecar.scene.server.stop();
    let other = ApiServer::builder().port(port).token("test-token-2").start();
    other.put_secret("prod", "db", &[("password", b"test-password-authority")]);
    sidecar.waits("the new authority is not trusted", || sidecar.running.stderr().contains("ca.crt"));
    sidecar.scene.pod.replace_ca(&other.authority().pem());
    sidecar.arrives("test-password-authority");
}

#[test]
fn wrong_annotations_end_it_at_once() {
    let scene = Scene::new(&[("db.secert", "db")]);
    let finished = Running::start(scene.command(&["sidecar", "--listen", "off"])).wait(HANGS);
    assert_code(&finished, 2);
}

#[test]
fn termination_by_a_signal_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut sidecar = Sidecar::plain();
        sidecar.running.send(signal);
        assert_code(&sidecar.running.wait(HANGS), 0);
        assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
    }
}

#[test]
fn old_versions_are_pruned_after_the_grace_period() {
    let sidecar = Sidecar::start(Scene::plain(), &["--grace", "200ms"]);
    sidecar.is_watching();
    sidecar.follows("test-password-1");
    let versions = || sidecar.scene.versions("db");
    sidecar.waits("the old version is cleared", || versions() == 1);
}

#[test]
fn no_log_message_shows_a_value() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.keys", "username,password")]);
    let mut command = scene.command(&["sidecar", "--listen", "off"]);
    command.env("RUST_LOG", "trace");
    let running = Running::start(command);
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    scene.server.put_secret("prod", "db", &[("pass", PASSWORD.as_bytes())]);
    poll_until(HANGS, "the missing key is logged", || running.stderr().contains("not found in Secret"));
    scene.server.fail_on("watch=true", Fault::Body(format!("{{\"type\":\"{PASSWORD}\"}}\n")), Times::Always);
    scene.server.drop_connections();
    poll_until(HANGS, "the broken line is logged", || running.stderr().contains("invalid watch event"));
    assert!(!running.stderr().contains(PASSWORD), "{}", running.stderr());
}

/// Both for the pod's annotations and for an annotations file.
#[test]
fn edited_annotations_are_applied_unless_they_are_wrong() {
    let scene = Scene::plain();
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &["--follow-annotations"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "more"), ("more.format", "json")]);
    sidecar.waits("the new file is published", || sidecar.scene.read("more.json").contains("\"a\": \"1\""));
    sidecar.scene.annotate(&[("db.secert", "db")]);
    sidecar.waits("the typo is reported", || sidecar.running.stderr().contains("did you mean \"secret\"?"));
    assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
    sidecar.follows("test-password-1");
    sidecar.scene.annotate(&[("db.secret", "db")]);
    sidecar.waits("the file is removed", || !sidecar.scene.pod.volume().join("more.json").exists());
    sidecar.follows("test-password-2");
}

#[test]
fn an_edit_with_an_unreadable_source_delays_nothing() {
    let sidecar = Sidecar::start(Scene::plain(), &["--follow-annotations", "--on-delete", "clear"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "late")]);
    sidecar.waits("it is missed", || sidecar.running.stderr().contains("keeping the current credentials"));
    sidecar.follows("test-password-1");
    sidecar.scene.server.put_secret("prod", "late", &[("a", b"1")]);
    sidecar.waits("the edit is applied", || sidecar.scene.read("more/a") == "1");
    sidecar.waits("its Secret is watched", || sidecar.scene.server.open_watches() == 3);
    // A cleared credential stays cleared after the next edit and delays nothing.
    sidecar.scene.server.delete(Kind::Secret, "prod", "late");
    sidecar.waits("the file is cleared", || !sidecar.scene.pod.volume().join("more").exists());
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "late"), ("again.secret", "db")]);
    sidecar.waits("the edit is applied", || sidecar.scene.read("again/password") == "test-password-1");
}

#[test]
fn a_skipped_credential_is_logged_once_per_occurrence() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "late"), ("more.optional", "true")]);
    let sidecar = Sidecar::start(scene, &["--on-delete", "clear"]);
    let said = "skipping optional credential more: Secret prod/late not found";
    sidecar.waits("the message is logged", || sidecar.running.stderr().contains(said));
    sidecar.follows("test-password-1");
    assert_eq!(sidecar.running.stderr().matches(said).count(), 1);
    sidecar.scene.server.put_secret("prod", "late", &[("a", b"1")]);
    sidecar.waits("the file is published", || sidecar.scene.read("more/a") == "1");
    sidecar.scene.server.delete(Kind::Secret, "prod", "late");
    sidecar.waits("the message is logged again", || sidecar.running.stderr().matches(said).count() == 2);
}

#[test]
fn an_edit_that_cannot_be_rendered_delays_nothing() {
    let sidecar = Sidecar::start(Scene::plain(), &["--follow-annotations"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "db"), ("more.keys", "nokey")]);
    sidecar.waits("the edit is rejected", || sidecar.running.stderr().contains("key nokey not found"));
    sidecar.waits("it is kept", || sidecar.running.stderr().contains("keeping the current credentials"));
    sidecar.follows("test-password-1");
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "db"), ("more.keys", "password")]);
    sidecar.waits("the edit is applied", || sidecar.scene.read("more/password") == "test-password-1");
}

#[test]
fn repeated_edits_do_not_leak_watches() {
    let scene = Scene::plain();
    scene.server.put_secret("prod", "more", &[("password", PASSWORD.as_bytes())]);
    let sidecar = Sidecar::start(scene, &["--follow-annotations"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    for _ in 0..10 {
        sidecar.scene.annotate(&[("more.secret", "more")]);
        sidecar.waits("the edit is applied", || sidecar.scene.names().contains(&"more".to_owned()));
        sidecar.scene.annotate(&[("db.secret", "db")]);
        sidecar.waits("the edit is reverted", || sidecar.scene.names().contains(&"db".to_owned()));
    }
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.follows("test-password-1");
}

#[test]
fn reads_of_the_pod_are_retried_with_back_off() {
    let scene = Scene::plain();
    scene.server.fail_on("/pods/", Fault::Redirect("https://127.0.0.1:1/".into()), Times::Always);
    let running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "the pod is requested", || !scene.server.requests().is_empty());
    let started = Instant::now();
    poll_until(HANGS, "the request is repeated", || scene.server.requests().len() > 7);
    assert!(started.elapsed() > Duration::from_millis(300), "{}", running.stderr());
    scene.server.clear_faults();
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
}

#[test]
fn an_edited_annotations_file_is_applied() {
    let scene = Scene::plain();
    let file = scene.pod.root().join("annotations");
    std::fs::write(&file, "podcreds.io/db.secret=\"db\"\n").unwrap();
    let arguments = ["--follow-annotations", "--annotations-file", file.to_str().unwrap()];
    let sidecar = Sidecar::start(scene, &arguments);
    std::fs::write(&file, "podcreds.io/db.secret=\"db\"\npodcreds.io/b.secret=\"db\"\n").unwrap();
    sidecar.waits("the new files are published", || sidecar.scene.read("b/password") == PASSWORD);
}

#[test]
fn edited_annotations_are_ignored_by_default() {
    let sidecar = Sidecar::plain();
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "db")]);
    sidecar.follows("test-password-1");
    assert!(!sidecar.scene.pod.volume().join("more").exists());
}

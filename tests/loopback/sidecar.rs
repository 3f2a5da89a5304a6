//! The sidecar: files that follow their Secrets, whatever becomes of these, of rights, tokens and annotations. What goes
//! wrong on the way for a while is in `outages`.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::run::{Running, poll_until};
use crate::support::server::{ApiServer, Fault, Kind, Times};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// A scene with a sidecar at work.
struct Sidecar {
    scene: Scene,
    running: Running,
}

impl Sidecar {
    /// Starts it with these arguments, and waits until its files are out.
    fn start(scene: Scene, args: &[&str]) -> Self {
        let mut command = scene.command(&["sidecar", "--listen", "off", "--request-timeout", "2s"]);
        command.args(args);
        let sidecar = Self { running: Running::start(command), scene };
        sidecar.waits("the first bundle is out", || sidecar.scene.read("db/password") == PASSWORD);
        sidecar
    }

    fn plain() -> Self {
        let sidecar = Self::start(Scene::plain(), &[]);
        sidecar.is_watching();
        sidecar
    }

    #[track_caller]
    fn waits(&self, what: &str, condition: impl FnMut() -> bool) {
        poll_until(HANGS, &format!("{what}; it said:\n{}", self.running.stderr()), condition);
    }

    #[track_caller]
    fn is_watching(&self) {
        self.waits("one watch is open", || self.scene.server.open_watches() == 1);
    }

    /// Changes the password and waits until the file has it.
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
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        sidecar.follows(password);
    }
    let watches = sidecar.scene.server.watch_requests();
    assert_eq!(watches.len(), 1);
    let query = &watches[0].query;
    assert_has(
        query,
        &[
            "fieldSelector=metadata.name%3Ddb",
            "allowWatchBookmarks=true",
            "resourceVersion=",
            "timeoutSeconds=",
        ],
    );
    assert!(
        watches[0].header("accept").unwrap().contains("PartialObjectMetadata"),
        "no value comes by a watch"
    );
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
fn changes_that_come_together_become_one_publication() {
    const ATTEMPTS: usize = 5;
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &["--grace", "1h"]);
    sidecar.waits("two watches are open", || sidecar.scene.server.open_watches() == 2);
    let published = || sidecar.running.stderr().matches("rotated ").count();
    // On a machine that is busy, a thread may wait for its turn for longer than the sidecar waits for another change.
    let together = (1..=ATTEMPTS).any(|attempt| {
        let before = published();
        // Held back on the line, so that both arrive at once.
        sidecar.scene.server.mute_watches();
        let password = format!("test-password-{attempt}");
        sidecar.scene.put_password(&password);
        sidecar.scene.server.put_secret("prod", "more", &[("a", password.as_bytes())]);
        sidecar.scene.server.unmute_watches();
        sidecar.arrives(&password);
        sidecar.waits("both are there", || sidecar.scene.read("more/a") == password);
        published() == before + 1
    });
    assert!(together, "{}", sidecar.running.stderr());
}

#[test]
fn an_api_server_that_ends_every_watch_at_once_is_not_asked_in_a_hot_loop() {
    for fault in [
        Fault::Status { code: 500, retry_after: None, message: "test".into() },
        Fault::Status { code: 429, retry_after: None, message: "test".into() },
        Fault::Body(String::new()),
        Fault::Body("broken\n".into()),
        Fault::CloseBeforeAnswer,
    ] {
        let sidecar = Sidecar::plain();
        sidecar.scene.server.fail_on("watch=true", fault.clone(), Times::Always);
        sidecar.scene.server.drop_connections();
        let (started, before) = (Instant::now(), sidecar.scene.server.watch_requests().len());
        sidecar.waits("it is tried again and again", || {
            sidecar.scene.server.watch_requests().len() > before + 6
        });
        // Six drawn delays of a back-off that doubles: that they are shorter together happens once in 30,000 runs.
        assert!(started.elapsed() > Duration::from_millis(300), "{fault:?}: after {:?}", started.elapsed());
    }
}

#[test]
fn without_the_right_to_watch_it_polls_and_says_so_once() {
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
fn with_sync_poll_there_are_no_watches() {
    let sidecar = Sidecar::start(Scene::plain(), &["--sync", "poll", "--poll-interval", "100ms"]);
    sidecar.follows("test-password-1");
    assert!(sidecar.scene.server.watch_requests().is_empty());
}

#[test]
fn a_source_that_fails_does_not_keep_the_others_from_being_polled() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &["--sync", "poll", "--poll-interval", "1s"]);
    sidecar.scene.server.forbid(Kind::Secret, "prod", "more");
    sidecar.waits("the refusal is told", || sidecar.running.stderr().contains("Secret prod/more: forbidden"));
    sidecar.follows("test-password-1");
}

#[test]
fn a_deleted_secret_keeps_its_files_and_holds_up_no_other() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.waits("two watches are open", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.server.delete(Kind::Secret, "prod", "more");
    sidecar.waits("the deletion is told", || sidecar.running.stderr().contains("keeping its files"));
    sidecar.follows("test-password-1");
    assert_eq!(sidecar.scene.read("more/a"), "1");
    sidecar.scene.server.put_secret("prod", "more", &[("a", b"2")]);
    sidecar.waits("it is made again", || sidecar.scene.read("more/a") == "2");
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
fn a_source_that_is_refused_keeps_its_files_and_holds_up_no_other() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.waits("two watches are open", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.server.forbid(Kind::Secret, "prod", "more");
    sidecar.scene.server.put_secret("prod", "more", &[("a", b"2")]);
    sidecar.waits("the refusal is told", || sidecar.running.stderr().contains("Secret prod/more: forbidden"));
    sidecar.follows("test-password-1");
    assert_eq!(sidecar.scene.read("more/a"), "1");
    sidecar.scene.server.allow(Kind::Secret, "prod", "more");
    sidecar.waits("it is read again", || sidecar.scene.read("more/a") == "2");
}

#[test]
fn a_change_that_cannot_be_rendered_keeps_the_last_good_bundle() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.keys", "username,password")]);
    let sidecar = Sidecar::start(scene, &[]);
    sidecar.is_watching();
    sidecar.scene.server.put_secret("prod", "db", &[("username", b"app")]);
    sidecar.waits("the missing key is told", || sidecar.running.stderr().contains("has no key password"));
    assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
    sidecar.follows("test-password-1");
}

#[test]
fn it_waits_for_what_is_not_there_yet() {
    let scene = Scene::new(&[("db.secret", "late")]);
    let mut running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "the Secret is missed", || running.stderr().contains("secrets \"late\" not found"));
    let (started, before) = (Instant::now(), scene.server.requests().len());
    poll_until(HANGS, "it is asked for again and again", || scene.server.requests().len() > before + 6);
    assert!(started.elapsed() > Duration::from_millis(300), "in a hot loop");
    assert!(running.is_alive() && scene.names().is_empty());
    scene.server.put_secret("prod", "late", &[("password", b"test-password-late")]);
    poll_until(HANGS, "the Secret is there", || scene.read("db/password") == "test-password-late");
}

#[test]
fn tokens_and_authorities_are_followed_as_they_rotate() {
    let sidecar = Sidecar::plain();
    sidecar.scene.server.accept_tokens(&["test-token-2"]);
    sidecar.scene.pod.rotate_token("test-token-2");
    sidecar.scene.server.drop_connections();
    sidecar.follows("test-password-token");

    // Another server with another authority takes the place of the first.
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
fn being_told_to_end_is_the_right_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut sidecar = Sidecar::plain();
        sidecar.running.send(signal);
        assert_code(&sidecar.running.wait(HANGS), 0);
        assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
    }
}

#[test]
fn versions_that_were_swapped_out_go_when_their_grace_is_over() {
    let sidecar = Sidecar::start(Scene::plain(), &["--grace", "200ms"]);
    sidecar.is_watching();
    sidecar.follows("test-password-1");
    let versions = || sidecar.scene.versions("db");
    sidecar.waits("the old version is cleared", || versions() == 1);
}

#[test]
fn nothing_that_it_says_shows_a_value() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.keys", "username,password")]);
    let mut command = scene.command(&["sidecar", "--listen", "off"]);
    command.env("RUST_LOG", "trace");
    let running = Running::start(command);
    poll_until(HANGS, "the first bundle is out", || scene.read("db/password") == PASSWORD);
    scene.server.put_secret("prod", "db", &[("pass", PASSWORD.as_bytes())]);
    poll_until(HANGS, "the missing key is told", || running.stderr().contains("has no key"));
    scene.server.fail_on("watch=true", Fault::Body(format!("{{\"type\":\"{PASSWORD}\"}}\n")), Times::Always);
    scene.server.drop_connections();
    poll_until(HANGS, "the broken line is told", || running.stderr().contains("is no event"));
    assert!(!running.stderr().contains(PASSWORD), "{}", running.stderr());
}

/// Follows edits of the pod's annotations, or of the file that holds them.
#[test]
fn edited_annotations_are_applied_like_a_rotation_and_wrong_ones_change_nothing() {
    let scene = Scene::plain();
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    let sidecar = Sidecar::start(scene, &["--follow-annotations"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "more"), ("more.format", "json")]);
    sidecar.waits("the new file is there", || sidecar.scene.read("more.json").contains("\"a\": \"1\""));
    sidecar.scene.annotate(&[("db.secert", "db")]);
    sidecar.waits("the wrong one is told", || sidecar.running.stderr().contains("did you mean \"secret\"?"));
    assert_eq!(sidecar.scene.read("db/password"), PASSWORD);
    sidecar.follows("test-password-1");
    sidecar.scene.annotate(&[("db.secret", "db")]);
    sidecar.waits("the file is gone", || !sidecar.scene.pod.volume().join("more.json").exists());
    sidecar.follows("test-password-2");
}

#[test]
fn an_edit_that_names_what_cannot_be_read_holds_nothing_up() {
    let sidecar = Sidecar::start(Scene::plain(), &["--follow-annotations", "--on-delete", "clear"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "late")]);
    sidecar.waits("it is missed", || sidecar.running.stderr().contains("keeping the current credentials"));
    sidecar.follows("test-password-1");
    sidecar.scene.server.put_secret("prod", "late", &[("a", b"1")]);
    sidecar.waits("it is applied", || sidecar.scene.read("more/a") == "1");
    // Cleared, and then edited again: what is cleared stays so and holds nothing up either.
    sidecar.scene.server.delete(Kind::Secret, "prod", "late");
    sidecar.waits("it is cleared", || !sidecar.scene.pod.volume().join("more").exists());
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "late"), ("again.secret", "db")]);
    sidecar.waits("the edit is applied", || sidecar.scene.read("again/password") == "test-password-1");
}

#[test]
fn what_is_left_out_is_said_once_each_time_that_it_is_another() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "late"), ("more.optional", "true")]);
    let sidecar = Sidecar::start(scene, &["--on-delete", "clear"]);
    let said = "credential more is left out: there is no Secret prod/late (.optional)";
    sidecar.waits("it is said", || sidecar.running.stderr().contains(said));
    sidecar.follows("test-password-1");
    assert_eq!(sidecar.running.stderr().matches(said).count(), 1);
    sidecar.scene.server.put_secret("prod", "late", &[("a", b"1")]);
    sidecar.waits("it is there", || sidecar.scene.read("more/a") == "1");
    sidecar.scene.server.delete(Kind::Secret, "prod", "late");
    sidecar.waits("it is said again", || sidecar.running.stderr().matches(said).count() == 2);
}

#[test]
fn an_edit_that_cannot_be_rendered_holds_nothing_up() {
    let sidecar = Sidecar::start(Scene::plain(), &["--follow-annotations"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "db"), ("more.keys", "nokey")]);
    sidecar.waits("it is refused", || sidecar.running.stderr().contains("has no key nokey"));
    sidecar.waits("it is kept", || sidecar.running.stderr().contains("keeping the current credentials"));
    sidecar.follows("test-password-1");
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "db"), ("more.keys", "password")]);
    sidecar.waits("it is applied", || sidecar.scene.read("more/password") == "test-password-1");
}

#[test]
fn edits_back_and_forth_leave_no_watches_behind() {
    let scene = Scene::plain();
    scene.server.put_secret("prod", "more", &[("password", PASSWORD.as_bytes())]);
    let sidecar = Sidecar::start(scene, &["--follow-annotations"]);
    sidecar.waits("the Secret and the pod are watched", || sidecar.scene.server.open_watches() == 2);
    for _ in 0..10 {
        sidecar.scene.annotate(&[("more.secret", "more")]);
        sidecar.waits("the edit is applied", || sidecar.scene.names().contains(&"more".to_owned()));
        sidecar.scene.annotate(&[("db.secret", "db")]);
        sidecar.waits("and the one back", || sidecar.scene.names().contains(&"db".to_owned()));
    }
    assert!(sidecar.scene.server.open_watches() <= 3, "{} watches", sidecar.scene.server.open_watches());
    // A watch that was taken up again tells.
    sidecar.follows("test-password-1");
}

#[test]
fn an_api_server_that_refuses_for_good_is_not_asked_for_the_pod_in_a_hot_loop() {
    let scene = Scene::plain();
    scene.server.fail_on("/pods/", Fault::Redirect("https://127.0.0.1:1/".into()), Times::Always);
    let running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "the pod is asked for", || !scene.server.requests().is_empty());
    let started = Instant::now();
    poll_until(HANGS, "it is asked for again and again", || scene.server.requests().len() > 7);
    assert!(started.elapsed() > Duration::from_millis(300), "{}", running.stderr());
    scene.server.clear_faults();
    poll_until(HANGS, "the first bundle is out", || scene.read("db/password") == PASSWORD);
}

#[test]
fn an_edited_annotations_file_is_applied() {
    let scene = Scene::plain();
    let file = scene.pod.root().join("annotations");
    std::fs::write(&file, "podcreds.io/db.secret=\"db\"\n").unwrap();
    let arguments = ["--follow-annotations", "--annotations-file", file.to_str().unwrap()];
    let sidecar = Sidecar::start(scene, &arguments);
    std::fs::write(&file, "podcreds.io/db.secret=\"db\"\npodcreds.io/b.secret=\"db\"\n").unwrap();
    sidecar.waits("the new files are there", || sidecar.scene.read("b/password") == PASSWORD);
}

#[test]
fn edited_annotations_are_not_applied_unless_asked_for() {
    let sidecar = Sidecar::plain();
    sidecar.scene.annotate(&[("db.secret", "db"), ("more.secret", "db")]);
    sidecar.follows("test-password-1");
    assert!(!sidecar.scene.pod.volume().join("more").exists());
}

//! `sidecar` against a real API server, as a process and in a real pod: every change arrives, even after rights, tokens or
//! objects were removed and restored.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write, stderr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};
use ureq::Agent;

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::scene::Scene;
use crate::support::health::Health;
use crate::support::run::{Running, poll_until};
use crate::support::witness::{RECOVERS, REFUSED, Witness, answered, names};

/// How long a fault lasts after the sidecar has reported it.
pub(crate) const FAULT_DURATION: Duration = Duration::from_secs(3);
pub(crate) const FIRST: &str = "test-password-0";

/// A running sidecar that watches the Secret `db`.
pub(crate) struct Sidecar {
    pub(crate) scene: Scene,
    pub(crate) running: Running,
    pub(crate) health: Health,
}

impl Sidecar {
    /// Starts a sidecar and waits for its first files.
    pub(crate) fn start(scene: Scene, args: &[&str]) -> Self {
        let command = scene.command("sidecar", &[&["--listen", "127.0.0.1:0"], args].concat());
        Self::from_running(scene, Running::start(command))
    }

    /// Waits until a started sidecar listens and has written its first files.
    pub(crate) fn from_running(scene: Scene, running: Running) -> Self {
        let health = Health::of(&running, PATIENCE);
        let sidecar = Self { scene, running, health };
        sidecar.wait_for_password(FIRST);
        sidecar
    }

    /// A sidecar with all rights that it needs.
    fn with_rights(args: &[&str]) -> Option<Self> {
        let scene = scene()?;
        scene.namespace.grant_watch(&["db"]);
        Some(Self::start(scene, args))
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        poll_until(PATIENCE, what, condition);
    }

    #[track_caller]
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        self.wait_until(&format!("standard error contains {text:?}"), || {
            self.running.stderr().contains(text)
        });
    }

    pub(crate) fn put_password(&self, password: &str) {
        put_password(&self.scene.namespace, password);
    }

    #[track_caller]
    pub(crate) fn wait_for_password(&self, password: &str) {
        poll_until(RECOVERS, password, || self.scene.read("db/password") == password);
    }

    #[track_caller]
    pub(crate) fn rotate_to(&self, password: &str) {
        self.put_password(password);
        self.wait_for_password(password);
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = writeln!(stderr(), "--- standard error of the sidecar\n{}", self.running.stderr());
        }
    }
}

pub(crate) fn put_password(namespace: &Namespace, password: &str) {
    namespace.put_secret("db", &[("username", "app"), ("password", password)]);
}

/// The Secret `db`, without the right to read it.
fn scene() -> Option<Scene> {
    let scene = Scene::new(&json!({"podcreds.io/db.secret": "db"}))?;
    put_password(&scene.namespace, FIRST);
    Some(scene)
}

/// `kubectl proxy`, which authenticates requests on loopback without a process for each request.
struct Proxy {
    running: Running,
    agent: Agent,
}

impl Proxy {
    fn new(namespace: &Namespace) -> Self {
        let mut command = namespace.command();
        command.args(["proxy", "--port=0"]);
        Self { running: Running::start(command), agent: Agent::new_with_defaults() }
    }

    fn url(&self) -> String {
        let mut url = String::new();
        poll_until(PATIENCE, "kubectl proxy listens", || {
            let printed = String::from_utf8(self.running.stdout()).unwrap();
            let line = printed.lines().next().filter(|_| printed.ends_with('\n'));
            line.and_then(|line| line.rsplit(' ').next())
                .map(|address| url = format!("http://{address}"))
                .is_some()
        });
        url
    }

    fn patch(&self, url: &str, patch: &Value) {
        let request = self.agent.patch(url).header("content-type", "application/merge-patch+json");
        let response = request.send(patch.to_string()).unwrap();
        assert_eq!(response.status(), 200);
    }
}

/// The user and the password of one rotation.
fn rotation(number: usize) -> (String, String) {
    (format!("test-user-{number}"), format!("test-password-{number} ").repeat(800))
}

/// The rotation to which a user and a password that were read together belong.
fn rotation_number(user: &str, password: &str) -> usize {
    let number = user.strip_prefix("test-user-").and_then(|number| number.parse().ok());
    let number = number.unwrap_or_else(|| panic!("torn: user {user:?}"));
    assert!(
        (user, password) == (&rotation(number).0, &rotation(number).1),
        "the password does not belong to rotation {number}"
    );
    number
}

/// Reads the current version of a directory; `None` means that the version was replaced and removed during the read.
fn read_directory(directory: &Path) -> Option<usize> {
    let current = || fs::read_link(directory.join("..data")).unwrap();
    let version = current();
    let read = |name: &str| fs::read_to_string(directory.join(&version).join(name));
    match (read("username"), read("password")) {
        (Ok(user), Ok(password)) => Some(rotation_number(&user, &password)),
        (Err(error), _) | (_, Err(error)) => {
            assert!(
                error.kind() == ErrorKind::NotFound && current() != version,
                "torn: {version:?}: {error}"
            );
            None
        }
    }
}

fn read_file(path: &Path) -> usize {
    let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).expect("complete JSON");
    rotation_number(json["username"].as_str().unwrap(), json["password"].as_str().unwrap())
}

#[test]
fn a_reader_never_sees_a_torn_or_mixed_state_in_a_thousand_rotations() {
    const ROTATIONS: usize = 1000;
    let annotations = json!({
        "podcreds.io/db.secret": "db", "podcreds.io/app.secret": "db", "podcreds.io/app.format": "json",
    });
    let Some(scene) = Scene::new(&annotations) else { return };
    scene.namespace.grant_watch(&["db"]);
    let (user, password) = rotation(0);
    scene.namespace.put_secret("db", &[("username", &user), ("password", &password)]);
    let mut running = Running::start(scene.command("sidecar", &[]));
    let (directory, file) = (scene.directory.volume().join("db"), scene.directory.volume().join("app.json"));
    poll_until(PATIENCE, "the first files exist", || file.exists());

    let proxy = Proxy::new(&scene.namespace);
    let url = format!("{}/api/v1/namespaces/{}/secrets/db", proxy.url(), scene.namespace.name());
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut last, mut last_of_file) = (BTreeSet::new(), 0, 0);
            while !done.load(Ordering::Relaxed) {
                let of_file = read_file(&file);
                assert!(of_file >= last_of_file, "from {last_of_file} back to {of_file}");
                last_of_file = of_file;
                if let Some(number) = read_directory(&directory) {
                    assert!(number >= last, "from {last} back to {number}");
                    assert!(number >= of_file, "the file is of {of_file}, the directory still of {number}");
                    seen.insert(number);
                    last = number;
                }
            }
            seen
        });
        // The reader ends even if this thread panics.
        let _end = OnDrop(|| done.store(true, Ordering::Relaxed));
        for number in 1..=ROTATIONS {
            let (user, password) = rotation(number);
            proxy.patch(&url, &json!({"stringData": {"username": user, "password": password}}));
            assert!(!reader.is_finished(), "the reader failed: {:?}", reader.join());
        }
        poll_until(PATIENCE, "the last rotation arrives", || {
            reader.is_finished()
                || (read_file(&file), read_directory(&directory)) == (ROTATIONS, Some(ROTATIONS))
        });
        done.store(true, Ordering::Relaxed);
        reader.join().expect("every directory and file was complete")
    });
    assert!(running.is_alive());
    assert!(seen.len() > ROTATIONS / 20, "the reader saw only {} of {ROTATIONS} rotations", seen.len());
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn files_stay_while_a_right_is_revoked_and_change_when_it_is_restored() {
    let Some(sidecar) = Sidecar::with_rights(&["--watch-timeout", "2s", "--poll-interval", "500ms"]) else {
        return;
    };
    // After a refusal, the sidecar retries after half of the poll interval on average.
    let witness = Witness::new(&sidecar.health, Duration::from_millis(250));
    let namespace = &sidecar.scene.namespace;
    sidecar.rotate_to("test-password-1");
    namespace.grant_watch(&["another"]);
    sidecar.wait_for_stderr("cannot get resource");
    sidecar.put_password("test-password-2");
    witness.tells(&[REFUSED, answered!("403")], FAULT_DURATION);
    assert_eq!(sidecar.scene.read("db/password"), "test-password-1");
    namespace.grant_watch(&["db"]);
    sidecar.wait_for_password("test-password-2");
    sidecar.rotate_to("test-password-3");
    // A watch that is refused, too, counts as one that was restarted.
    assert!(witness.ends(3).is_superset(&names(&[REFUSED, answered!("403")])));
}

#[test]
fn without_the_right_to_watch_the_sidecar_polls_and_logs_that_once() {
    let Some(scene) = scene() else { return };
    scene.namespace.grant_least(&["db"]);
    let sidecar = Sidecar::start(scene, &["--poll-interval", "200ms"]);
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        sidecar.rotate_to(password);
    }
    let stderr = sidecar.running.stderr();
    assert_eq!(stderr.matches("polling it at least every 200ms instead").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("verbs: [watch]").count(), 1, "{stderr}");
    sidecar.scene.namespace.grant_watch(&["db"]);
    sidecar.wait_for_stderr("is watched again");
    sidecar.rotate_to("test-password-4");
}

#[test]
fn files_of_a_deleted_secret_stay_until_it_is_created_again() {
    let Some(sidecar) = Sidecar::with_rights(&[]) else { return };
    let witness = Witness::new(&sidecar.health, Duration::from_secs(60));
    sidecar.scene.namespace.kubectl(&["delete", "secret", "db"]);
    sidecar.wait_for_stderr("keeping its files (--on-delete keep)");
    witness.tells(&[REFUSED, answered!("404")], FAULT_DURATION);
    assert_eq!(sidecar.scene.read("db/password"), FIRST);
    sidecar.rotate_to("test-password-1");
    sidecar.rotate_to("test-password-2");
    assert_eq!(witness.ends(2), names(&[REFUSED, answered!("404")]));
}

#[test]
fn kubectl_describe_pod_shows_events() {
    let Some(scene) = scene() else { return };
    let rule =
        |resource: &str, verbs: &[&str]| json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
    scene.namespace.grant(&json!([
        rule("pods", &["get"]),
        rule("secrets", &["get", "watch"]),
        rule("events", &["create", "patch"]),
    ]));
    let sidecar = Sidecar::start(scene, &["--events", "--stale-after", "1s"]);
    sidecar.rotate_to("test-password-1");
    sidecar.rotate_to("test-password-2");
    sidecar.scene.namespace.kubectl(&["delete", "secret", "db"]);
    sidecar.wait_for_stderr("out of date since");
    sidecar.rotate_to("test-password-3");
    let described = || sidecar.scene.namespace.kubectl(&["describe", "pod", "app-0"]);
    let expected = [
        "Normal   CredentialsWritten",
        "(x3 over ",
        "rotated db",
        "Warning  CredentialsFailed",
        "keeping its files (--on-delete keep)",
        "Warning  CredentialsStale",
        "Normal   CredentialsCurrent",
    ];
    sidecar.wait_until("kubectl describe shows all events", || {
        let described = described();
        expected.iter().all(|part| described.contains(part))
    });
    assert!(!described().contains("test-password"));
}

#[test]
fn files_of_a_deleted_secret_can_be_removed_and_come_back() {
    let Some(scene) = Scene::new(&json!({"podcreds.io/db.secret": "db", "podcreds.io/more.secret": "more"}))
    else {
        return;
    };
    put_password(&scene.namespace, FIRST);
    scene.namespace.put_secret("more", &[("a", "1")]);
    scene.namespace.grant_watch(&["db", "more"]);
    let sidecar = Sidecar::start(scene, &["--on-delete", "clear"]);
    sidecar.scene.namespace.kubectl(&["delete", "secret", "more"]);
    sidecar.wait_until("its files are removed", || !sidecar.scene.directory.volume().join("more").exists());
    assert_eq!(sidecar.scene.read("db/password"), FIRST);
    sidecar.rotate_to("test-password-1");
    sidecar.scene.namespace.put_secret("more", &[("a", "2")]);
    sidecar.wait_until("its files are written again", || sidecar.scene.read("more/a") == "2");
}

/// Calls `lose`, which makes the sidecar's token invalid, and later replaces the token with `another`.
fn check_token_replacement(sidecar: &Sidecar, lose: impl FnOnce(&Scene), another: &str) {
    const COUNTERS: &[&str] = &[REFUSED, answered!("401")];
    let witness = Witness::new(&sidecar.health, Duration::from_secs(1));
    lose(&sidecar.scene);
    sidecar.wait_for_stderr("does not accept the token: Unauthorized");
    sidecar.put_password("test-password-1");
    witness.tells(COUNTERS, FAULT_DURATION);
    assert_eq!(sidecar.scene.read("db/password"), FIRST);
    sidecar.scene.directory.rotate_token(another);
    sidecar.wait_for_password("test-password-1");
    sidecar.rotate_to("test-password-2");
    // A watch that is refused, too, counts as one that was restarted.
    assert!(witness.ends(2).is_superset(&names(COUNTERS)));
}

#[test]
fn no_change_is_lost_while_the_token_is_invalid() {
    let Some(sidecar) = Sidecar::with_rights(&["--watch-timeout", "2s"]) else { return };
    let good = sidecar.scene.namespace.token();
    check_token_replacement(&sidecar, |scene| scene.directory.rotate_token("test-token-that-is-none"), &good);
}

#[test]
fn no_change_is_lost_when_the_token_expires() {
    let Some(scene) = scene() else { return };
    scene.namespace.grant_watch(&["db"]);
    scene.namespace.put_secret("anchor", &[]);
    scene.directory.rotate_token(&scene.namespace.token_bound_to("anchor"));
    let sidecar = Sidecar::start(scene, &["--watch-timeout", "2s"]);
    let another = sidecar.scene.namespace.token();
    // The token becomes invalid with the object that it is bound to, as it would at its expiration.
    let invalidate = |scene: &Scene| drop(scene.namespace.kubectl(&["delete", "secret", "anchor"]));
    check_token_replacement(&sidecar, invalidate, &another);
}

#[test]
fn the_application_of_a_pod_sees_changes_and_the_pod_can_be_deleted() {
    const SCRIPT: &str = "trap 'exit 0' TERM; while :; do now=$(cat /podcreds/db/password); \
        [ \"$now\" = \"$seen\" ] || echo \"$now\"; seen=$now; sleep 0.1; done";
    let Some(namespace) = pods::namespace() else { return };
    namespace.grant_watch(&["db"]);
    put_password(&namespace, FIRST);
    let annotations = json!({"podcreds.io/db.secret": "db"});
    let mut pod = pods::pod_with_sidecar(annotations, 12_345, 23_456, SCRIPT);
    // Longer than the test waits, so that the sidecar must exit on its own.
    pod["spec"]["terminationGracePeriodSeconds"] = json!(2 * PATIENCE.as_secs());
    pods::start(&namespace, "rotated", pod);

    let log = || namespace.kubectl(&["logs", "rotated", "-c", "app"]);
    let mut expected = format!("{FIRST}\n");
    poll_until(PATIENCE, "the application sees the first password", || log() == expected);
    for password in ["test-password-1", "test-password-2"] {
        put_password(&namespace, password);
        expected.push_str(password);
        expected.push('\n');
        poll_until(PATIENCE, &format!("the application sees {password}"), || log() == expected);
    }
    namespace.kubectl(&["delete", "pod", "rotated", "--wait=false"]);
    poll_until(PATIENCE, "the pod is gone", || {
        namespace.kubectl(&["get", "pod", "rotated", "--ignore-not-found", "-o", "name"]).is_empty()
    });
}

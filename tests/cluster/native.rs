//! Native sidecars in real pods: podcreds starts before the application, outlives it, and either of them restarts without the
//! other noticing.

use std::fs;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::sidecar::{FIRST, put_password};
use crate::support::run::poll_until;

/// One user for both containers, so that one may signal the other.
const USER: u32 = 65532;

/// Prints the password whenever it reads another one, and the error whenever it cannot read it.
pub(crate) const READER: &str = r#"
    trap 'exit 0' TERM
    while :; do
        now=$(cat /podcreds/db/password 2>&1)
        [ "$now" = "$seen" ] || echo "$now"
        seen=$now
        sleep 0.05
    done
"#;

/// A namespace whose Secret `db` holds the first password and may be watched.
pub(crate) fn namespace() -> Option<Namespace> {
    since(29, "native sidecars")?;
    let namespace = pods::namespace()?;
    put_password(&namespace, FIRST);
    namespace.grant_watch(&["db"]);
    Some(namespace)
}

/// A pod with podcreds as its native sidecar, as in deploy/native-sidecar, and an application that runs a script.
pub(crate) fn pod(script: &str) -> Value {
    let mut pod = pods::pod(json!({"podcreds.io/db.secret": "db"}), USER, USER, script);
    pod["spec"]["restartPolicy"] = "Always".into();
    let sidecar = &mut pod["spec"]["initContainers"][0];
    sidecar["args"] = json!(["sidecar"]);
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({
        "exec": {"command": ["/bin/podcreds", "probe"]},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 300,
    });
    pod
}

/// The status of a container of either kind; null if it has none yet.
pub(crate) fn of_container<'a>(status: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| status[list].as_array());
    let found = lists.into_iter().flatten().flatten().find(|container| container["name"] == name);
    found.unwrap_or(&Value::Null)
}

pub(crate) fn is_running(status: &Value, container: &str) -> bool {
    of_container(status, container)["state"]["running"].is_object()
}

pub(crate) fn log(namespace: &Namespace, pod: &str, container: &str) -> String {
    namespace.kubectl(&["logs", pod, "-c", container])
}

/// What tells one run of a container from another.
pub(crate) fn run_of(status: &Value, container: &str) -> (String, i64) {
    let container = of_container(status, container);
    let id = container["containerID"].as_str().unwrap_or_default().to_owned();
    (id, container["restartCount"].as_i64().unwrap_or_default())
}

/// A running pod whose application is [`READER`].
pub(crate) struct Reader {
    pub(crate) namespace: Namespace,
    pub(crate) pod: &'static str,
    expected: String,
}

impl Reader {
    pub(crate) fn start(namespace: Namespace, name: &'static str, pod: Value) -> Self {
        pods::start(&namespace, name, pod);
        let reader = Self { namespace, pod: name, expected: format!("{FIRST}\n") };
        reader.sees();
        reader
    }

    pub(crate) fn status(&self) -> Value {
        self.namespace.get(&format!("pod/{}", self.pod))["status"].take()
    }

    /// Waits until the application has read what it should, and nothing else.
    fn sees(&self) {
        let what = || log(&self.namespace, self.pod, "app");
        poll_until(PATIENCE, &format!("the application reads {:?}", self.expected), || {
            what() == self.expected
        });
    }

    /// Waits until the application reads this password next.
    pub(crate) fn expect(&mut self, password: &str) {
        self.expected.push_str(password);
        self.expected.push('\n');
        self.sees();
    }

    pub(crate) fn follows(&mut self, password: &str) {
        put_password(&self.namespace, password);
        self.expect(password);
    }

    /// Waits until the container runs for the second time.
    pub(crate) fn restarts(&self, container: &str, before: &(String, i64)) -> Value {
        self.namespace.pod_status(self.pod, &format!("runs {container} again"), |status| {
            let (id, count) = run_of(status, container);
            count > before.1 && id != before.0 && is_running(status, container)
        })
    }
}

/// Sends a signal to the process of this name from the application's container, which needs the shared process namespace.
fn signal(reader: &Reader, signal: &str, process: &str) {
    let script = format!(
        r#"for comm in /proc/[0-9]*/comm; do
            read -r name <"$comm" || continue
            [ "$name" = {process} ] || continue
            pid=${{comm#/proc/}}
            kill -{signal} "${{pid%/comm}}" && sent=yes
        done
        [ "$sent" = yes ]"#
    );
    reader.namespace.kubectl(&["exec", reader.pod, "-c", "app", "--", "sh", "-c", &script]);
}

#[test]
fn an_application_sees_rotations_and_may_restart_while_its_sidecar_runs_on() {
    let Some(namespace) = namespace() else { return };
    let mut reader = Reader::start(namespace, "rotated", pod(READER));
    reader.follows("test-password-1");

    let status = reader.status();
    let (app, sidecar) = (run_of(&status, "app"), run_of(&status, "podcreds"));
    reader.namespace.kubectl(&["exec", reader.pod, "-c", "app", "--", "kill", "-TERM", "1"]);
    let status = reader.restarts("app", &app);
    assert_eq!(run_of(&status, "podcreds"), sidecar, "the sidecar has not restarted");
    // The log is that of the new container: it starts with the current password.
    reader.expected = "test-password-1\n".to_owned();
    reader.sees();
    reader.follows("test-password-2");
}

#[test]
fn a_killed_sidecar_restarts_without_the_application_noticing() {
    let Some(namespace) = namespace() else { return };
    let mut pod = pod(READER);
    pod["spec"]["shareProcessNamespace"] = true.into();
    let mut reader = Reader::start(namespace, "killed", pod);
    let status = reader.status();
    let (app, sidecar) = (run_of(&status, "app"), run_of(&status, "podcreds"));

    signal(&reader, "KILL", "podcreds");
    let status = reader.restarts("podcreds", &sidecar);
    let last = &of_container(&status, "podcreds")["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 128 + 9, "{last}");
    // The log of the reader holds every state of the file that it has seen.
    reader.follows("test-password-1");
    assert_eq!(run_of(&reader.status(), "app"), app, "the application has not restarted");
}

/// The Secret `big` with this value, which is too large for `kubectl apply`.
fn put_big(namespace: &Namespace, value: &str) {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "big", "namespace": namespace.name()},
        "stringData": {"value": value},
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), secret.to_string()).unwrap();
    namespace.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file.path().to_str().unwrap()]);
}

#[test]
fn a_sidecar_that_runs_out_of_memory_restarts_without_the_application_noticing() {
    const LIMIT: usize = 24 << 20;
    const VALUE: usize = 1_000_000;
    // Pages of a Memory volume count as memory of the container that wrote them, so these files alone exceed the limit.
    const COPIES: usize = LIMIT / VALUE + 3;
    let Some(namespace) = namespace() else { return };
    namespace.grant_watch(&["db", "big"]);
    put_big(&namespace, "small");
    let mut pod = pod(READER);
    for copy in 0..COPIES {
        pod["metadata"]["annotations"][format!("podcreds.io/copy-{copy}.secret")] = "big".into();
    }
    pod["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = "128Mi".into();
    pod["spec"]["initContainers"][0]["resources"] = json!({"limits": {"memory": LIMIT.to_string()}});
    let mut reader = Reader::start(namespace, "oom", pod);
    let status = reader.status();
    let (app, sidecar) = (run_of(&status, "app"), run_of(&status, "podcreds"));

    put_big(&reader.namespace, &"x".repeat(VALUE));
    reader.namespace.pod_status(reader.pod, "has a sidecar that ran out of memory", |status| {
        let container = of_container(status, "podcreds");
        ["state", "lastState"].iter().any(|state| container[state]["terminated"]["reason"] == "OOMKilled")
    });
    put_big(&reader.namespace, "small again");
    reader.restarts("podcreds", &sidecar);
    reader.follows("test-password-1");
    let read = ["exec", reader.pod, "-c", "app", "--", "cat", "/podcreds/copy-0/value"];
    poll_until(PATIENCE, "the other files are current", || reader.namespace.kubectl(&read) == "small again");
    assert_eq!(run_of(&reader.status(), "app"), app, "the application has not restarted");
}

/// Keeps a deleted pod's object, with the last statuses that the kubelet reports, until this is dropped.
struct Kept<'a> {
    namespace: &'a Namespace,
    pod: &'a str,
}

impl<'a> Kept<'a> {
    const FINALIZER: &'static str = "podcreds.io/test";

    fn new(namespace: &'a Namespace, pod: &'a str) -> Self {
        let kept = Self { namespace, pod };
        kept.set(json!([Self::FINALIZER]));
        kept
    }

    fn set(&self, finalizers: Value) {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        self.namespace.kubectl(&["patch", "pod", self.pod, "--type=merge", "-p", &patch]);
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.set(Value::Null);
    }
}

#[test]
fn a_deleted_pod_ends_its_application_first_and_then_its_sidecar_by_sigterm() {
    const GRACE: u64 = 60;
    let Some(namespace) = namespace() else { return };
    // What the application sees as its last act: its sidecar answers, and its files are there.
    let script = r#"
        end() {
            sleep 2
            { wget -q -O - http://127.0.0.1:8081/readyz && cat /podcreds/db/password; } >/dev/termination-log 2>&1
            exit 0
        }
        trap end TERM
        while :; do sleep 0.1; done
    "#;
    let mut pod = pod(script);
    pod["spec"]["terminationGracePeriodSeconds"] = GRACE.into();
    pods::start(&namespace, "deleted", pod);
    let kept = Kept::new(&namespace, "deleted");

    namespace.kubectl(&["delete", "pod", "deleted", "--wait=false"]);
    let terminated =
        |status: &Value, container: &str| of_container(status, container)["state"]["terminated"].clone();
    let status = namespace.pod_status("deleted", "has ended", |status| {
        ["app", "podcreds"].iter().all(|container| terminated(status, container).is_object())
    });
    let (app, sidecar) = (terminated(&status, "app"), terminated(&status, "podcreds"));
    assert_eq!((&app["exitCode"], &sidecar["exitCode"]), (&0.into(), &0.into()), "{status:#}");
    // RFC 3339 in UTC sorts as text.
    let at = |terminated: &Value| terminated["finishedAt"].as_str().unwrap().to_owned();
    assert!(at(&app) <= at(&sidecar), "{} {}", at(&app), at(&sidecar));
    assert_eq!(app["message"], format!("ready\n{FIRST}"), "the sidecar was there until the end");
    drop(kept);
}

#[test]
fn an_application_starts_when_its_secret_is_made() {
    let Some(namespace) = namespace() else { return };
    namespace.kubectl(&["delete", "secret", "db"]);
    namespace.put("v1", "Pod", "early", pod(READER));
    poll_until(PATIENCE, "the sidecar waits for the Secret", || {
        let status = namespace.get("pod/early")["status"].take();
        is_running(&status, "podcreds")
            && log(&namespace, "early", "podcreds").contains("secrets \"db\" not found")
    });
    let status = namespace.get("pod/early")["status"].take();
    assert_eq!(of_container(&status, "app")["state"]["waiting"]["reason"], "PodInitializing", "{status:#}");
    put_password(&namespace, FIRST);
    let status = namespace.pod_status("early", "runs", |status| is_running(status, "app"));
    poll_until(PATIENCE, "the application reads its file", || {
        log(&namespace, "early", "app") == format!("{FIRST}\n")
    });
    assert_eq!(run_of(&status, "podcreds").1, 0, "the sidecar has waited without a restart");
}

/// <https://github.com/kubernetes/kubernetes/issues/132826>
#[test]
fn a_pod_that_never_restarts_starts_although_its_sidecar_fails_at_first() {
    let Some(namespace) = namespace() else { return };
    let mut pod = pod("cat /podcreds/db/password");
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["metadata"]["annotations"] = json!({"podcreds.io/db.secert": "db"});
    namespace.put("v1", "Pod", "late", pod);
    namespace.pod_status("late", "has a sidecar that failed", |status| {
        let container = of_container(status, "podcreds");
        ["state", "lastState"].iter().any(|state| container[state]["terminated"]["exitCode"] == 2)
    });
    namespace.kubectl(&["annotate", "pod", "late", "podcreds.io/db.secert-", "podcreds.io/db.secret=db"]);
    let status = namespace.pod_status("late", "ends", |status| status["phase"] == "Succeeded");
    assert!(run_of(&status, "podcreds").1 > 0, "{status:#}");
    assert_eq!(log(&namespace, "late", "app"), FIRST);
}

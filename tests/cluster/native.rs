//! Native sidecars in real pods: podcreds starts before the application and outlives it, and each of them can restart without
//! affecting the other.

use std::fs;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::requirements::since;
use crate::sidecar::{FIRST, put_password};
use crate::support::run::poll_until;

/// Both containers run as this user, so that one may signal the other.
const USER: u32 = 65532;

/// Prints the password whenever it changes, or the error if it cannot be read.
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

/// The status of an init container or a container; null if it does not exist yet.
pub(crate) fn container_status<'a>(status: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| status[list].as_array());
    let found = lists.into_iter().flatten().flatten().find(|container| container["name"] == name);
    found.unwrap_or(&Value::Null)
}

pub(crate) fn is_running(status: &Value, container: &str) -> bool {
    container_status(status, container)["state"]["running"].is_object()
}

pub(crate) fn log(namespace: &Namespace, pod: &str, container: &str) -> String {
    namespace.kubectl(&["logs", pod, "-c", container])
}

/// Identifies one run of a container.
pub(crate) fn container_run(status: &Value, container: &str) -> (String, i64) {
    let container = container_status(status, container);
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
        reader.wait_until_seen();
        reader
    }

    pub(crate) fn status(&self) -> Value {
        self.namespace.get(&format!("pod/{}", self.pod))["status"].take()
    }

    /// Waits until the application has read exactly the expected passwords.
    fn wait_until_seen(&self) {
        let printed = || log(&self.namespace, self.pod, "app");
        poll_until(PATIENCE, &format!("the application reads {:?}", self.expected), || {
            printed() == self.expected
        });
    }

    /// Waits until the application has read this password next.
    pub(crate) fn wait_for(&mut self, password: &str) {
        self.expected.push_str(password);
        self.expected.push('\n');
        self.wait_until_seen();
    }

    pub(crate) fn rotate_to(&mut self, password: &str) {
        put_password(&self.namespace, password);
        self.wait_for(password);
    }

    /// Waits until the container runs for the second time.
    pub(crate) fn wait_for_restart(&self, container: &str, before: &(String, i64)) -> Value {
        self.namespace.pod_status(self.pod, &format!("runs {container} again"), |status| {
            let (id, count) = container_run(status, container);
            count > before.1 && id != before.0 && is_running(status, container)
        })
    }
}

/// Sends a signal from the application's container to the process with this name. The pod must share its process namespace.
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
fn an_application_can_restart_while_its_sidecar_keeps_running() {
    let Some(namespace) = namespace() else { return };
    let mut reader = Reader::start(namespace, "rotated", pod(READER));
    reader.rotate_to("test-password-1");

    let status = reader.status();
    let (app, sidecar) = (container_run(&status, "app"), container_run(&status, "podcreds"));
    reader.namespace.exec_to_the_end(reader.pod, "app", &["kill", "-TERM", "1"]);
    let status = reader.wait_for_restart("app", &app);
    assert_eq!(container_run(&status, "podcreds"), sidecar, "the sidecar has not restarted");
    // The log of the new container starts with the current password.
    reader.expected = "test-password-1\n".to_owned();
    reader.wait_until_seen();
    reader.rotate_to("test-password-2");
}

#[test]
fn a_killed_sidecar_restarts_without_affecting_the_application() {
    let Some(namespace) = namespace() else { return };
    let mut pod = pod(READER);
    pod["spec"]["shareProcessNamespace"] = true.into();
    let mut reader = Reader::start(namespace, "killed", pod);
    let status = reader.status();
    let (app, sidecar) = (container_run(&status, "app"), container_run(&status, "podcreds"));

    signal(&reader, "KILL", "podcreds");
    let status = reader.wait_for_restart("podcreds", &sidecar);
    let last = &container_status(&status, "podcreds")["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 128 + 9, "{last}");
    // The reader's log contains every state of the file.
    reader.rotate_to("test-password-1");
    assert_eq!(container_run(&reader.status(), "app"), app, "the application has not restarted");
}

/// Writes the Secret `big`, whose value is too large for a client-side `kubectl apply`.
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
fn a_sidecar_that_runs_out_of_memory_restarts_without_affecting_the_application() {
    const LIMIT: usize = 24 << 20;
    const VALUE: usize = 1_000_000;
    // Pages of a Memory volume are charged to the container that wrote them, so these files alone exceed the limit.
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
    let (app, sidecar) = (container_run(&status, "app"), container_run(&status, "podcreds"));

    put_big(&reader.namespace, &"x".repeat(VALUE));
    reader.namespace.pod_status(reader.pod, "has a sidecar that ran out of memory", |status| {
        let container = container_status(status, "podcreds");
        ["state", "lastState"].iter().any(|state| container[state]["terminated"]["reason"] == "OOMKilled")
    });
    put_big(&reader.namespace, "small again");
    reader.wait_for_restart("podcreds", &sidecar);
    reader.rotate_to("test-password-1");
    let read = ["exec", reader.pod, "-c", "app", "--", "cat", "/podcreds/copy-0/value"];
    poll_until(PATIENCE, "the other files are current", || reader.namespace.kubectl(&read) == "small again");
    assert_eq!(container_run(&reader.status(), "app"), app, "the application has not restarted");
}

/// Keeps the object of a deleted pod, with the last status that the kubelet reports, until this is dropped.
pub(crate) struct RetainedPod<'a> {
    namespace: &'a Namespace,
    pod: &'a str,
}

impl<'a> RetainedPod<'a> {
    const FINALIZER: &'static str = "podcreds.io/test";

    pub(crate) fn new(namespace: &'a Namespace, pod: &'a str) -> Self {
        let retained = Self { namespace, pod };
        retained.set_finalizers(json!([Self::FINALIZER]));
        retained
    }

    fn set_finalizers(&self, finalizers: Value) {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        self.namespace.kubectl(&["patch", "pod", self.pod, "--type=merge", "-p", &patch]);
    }
}

impl Drop for RetainedPod<'_> {
    fn drop(&mut self) {
        self.set_finalizers(Value::Null);
    }
}

#[test]
fn a_deleted_pod_stops_its_application_before_its_sidecar() {
    const GRACE: u64 = 60;
    let Some(namespace) = namespace() else { return };
    // As its last action, the application checks that its sidecar responds and that its files exist.
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
    let retained = RetainedPod::new(&namespace, "deleted");

    namespace.kubectl(&["delete", "pod", "deleted", "--wait=false"]);
    let terminated =
        |status: &Value, container: &str| container_status(status, container)["state"]["terminated"].clone();
    let status = namespace.pod_status("deleted", "has ended", |status| {
        ["app", "podcreds"].iter().all(|container| terminated(status, container).is_object())
    });
    let (app, sidecar) = (terminated(&status, "app"), terminated(&status, "podcreds"));
    assert_eq!((&app["exitCode"], &sidecar["exitCode"]), (&0.into(), &0.into()), "{status:#}");
    // RFC 3339 in UTC sorts as text.
    let at = |terminated: &Value| terminated["finishedAt"].as_str().unwrap().to_owned();
    assert!(at(&app) <= at(&sidecar), "{} {}", at(&app), at(&sidecar));
    assert_eq!(app["message"], format!("ready\n{FIRST}"), "the sidecar ran until the application ended");
    drop(retained);
}

#[test]
fn an_application_starts_when_its_secret_is_created() {
    let Some(namespace) = namespace() else { return };
    namespace.kubectl(&["delete", "secret", "db"]);
    namespace.put("v1", "Pod", "early", pod(READER));
    poll_until(PATIENCE, "the sidecar waits for the Secret", || {
        let status = namespace.get("pod/early")["status"].take();
        is_running(&status, "podcreds")
            && log(&namespace, "early", "podcreds").contains("secrets \"db\" not found")
    });
    let status = namespace.get("pod/early")["status"].take();
    assert_eq!(
        container_status(&status, "app")["state"]["waiting"]["reason"],
        "PodInitializing",
        "{status:#}"
    );
    put_password(&namespace, FIRST);
    let status = namespace.pod_status("early", "runs", |status| is_running(status, "app"));
    poll_until(PATIENCE, "the application reads its file", || {
        log(&namespace, "early", "app") == format!("{FIRST}\n")
    });
    assert_eq!(container_run(&status, "podcreds").1, 0, "the sidecar has waited without a restart");
}

/// <https://github.com/kubernetes/kubernetes/issues/132826>
#[test]
fn a_pod_with_restart_policy_never_starts_after_its_sidecar_failed_at_first() {
    let Some(namespace) = namespace() else { return };
    let mut pod = pod("cat /podcreds/db/password");
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["metadata"]["annotations"] = json!({"podcreds.io/db.secert": "db"});
    namespace.put("v1", "Pod", "late", pod);
    namespace.pod_status("late", "has a sidecar that failed", |status| {
        let container = container_status(status, "podcreds");
        ["state", "lastState"].iter().any(|state| container[state]["terminated"]["exitCode"] == 2)
    });
    namespace.kubectl(&["annotate", "pod", "late", "podcreds.io/db.secert-", "podcreds.io/db.secret=db"]);
    let status = namespace.pod_status("late", "ends", |status| status["phase"] == "Succeeded");
    assert!(container_run(&status, "podcreds").1 > 0, "{status:#}");
    assert_eq!(log(&namespace, "late", "app"), FIRST);
}

//! `.on-change` in real pods: the sidecar notifies the application's container by HTTP, by a signal and by a file.

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::sidecar::{FIRST, put_password};
use crate::support::run::poll_until;

/// Prints a line for each notification, with the password that it then reads.
const APPLICATION: &str = r#"
    accept() {
        printf 'HTTP/1.1 204 No Content\r\n\r\n' | nc -l -p 8080 | tr -d '\r' | sed -n '1p; $p' | tr '\n' ' '
    }
    while :; do
request=$(accept)
        echo "http $(readlink /podcreds/posting/..data) $request"
    done &
    while :; do
        now=$(stat -c %y /podcreds/reload 2>/dev/null)
        [ "$now" = "$seen" ] || echo "touch $(cat /podcreds/touching/password)"
        seen=$now
        sleep 0.1
    done &
    trap 'echo "signal $(cat /podcreds/signalling/password)"' HUP
    trap 'exit 0' TERM
    echo ready
    while :; do wait; done
"#;

/// A pod with that application, whose containers see each other's processes and run as these users. The Secret is
/// created when the application listens, so that no notification comes earlier.
fn application(annotations: Value, user: u32, app_user: u32) -> Option<Application> {
    application_with("shareProcessNamespace", annotations, user, app_user)
}

/// Like [`application`], with this field of the pod set.
fn application_with(processes: &str, annotations: Value, user: u32, app_user: u32) -> Option<Application> {
    let namespace = pods::namespace()?;
    namespace.grant_watch(&["db"]);
    namespace.kubectl(&["delete", "secret", "db"]);
    let mut pod = pods::pod_with_sidecar(annotations, user, app_user, APPLICATION);
    pod["spec"][processes] = true.into();
    // The sidecar then publishes the first bundle.
    pod["spec"]["initContainers"] = json!([]);
    pods::start(&namespace, "notified", pod);
    let application = Application { namespace };
    poll_until(PATIENCE, "the application is ready", || application.log("app") == "ready\n");
    put_password(&application.namespace, FIRST);
    application.wait_for_sidecar_log("wrote ");
    Some(application)
}

struct Application {
    namespace: Namespace,
}

impl Application {
    fn log(&self, container: &str) -> String {
        self.namespace.kubectl(&["logs", "notified", "-c", container])
    }

    fn wait_for_sidecar_log(&self, text: &str) {
        poll_until(PATIENCE, &format!("the sidecar logs {text:?}"), || self.log("sidecar").contains(text));
    }
}

#[test]
fn an_application_can_read_the_new_password_after_each_kind_of_notification() {
    let annotations = json!({
        "podcreds.io/posting.secret": "db",
        "podcreds.io/posting.on-change": "POST http://localhost:8080/reload",
        "podcreds.io/signalling.secret": "db",
        "podcreds.io/signalling.on-change": "signal HUP sh",
        "podcreds.io/touching.secret": "db",
        "podcreds.io/touching.on-change": "touch reload",
    });
    let Some(application) = application(annotations, 12_345, 12_345) else { return };
    let mut seen = "ready\n".to_owned();
    for password in ["test-password-1", "test-password-2"] {
        put_password(&application.namespace, password);
        let mut log = String::new();
        poll_until(
            PATIENCE,
            &format!("the application has received three notifications of {password}"),
            || {
                log = application.log("app");
                log.lines().count() >= seen.lines().count() + 3
            },
        );
        // Notifications of the first bundle would be here too.
        let mut notifications: Vec<_> = log.strip_prefix(&seen).expect("a log grows").lines().collect();
        notifications.sort_unstable();
        let [http, signal, touch] = notifications.as_slice() else { panic!("{notifications:#?}") };
        assert_eq!((*signal, *touch), (&*format!("signal {password}"), &*format!("touch {password}")));
        let ["http", version, "POST", "/reload", "HTTP/1.1", body] =
            http.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("{http}")
        };
        let expected = json!({
            "credentials": ["posting"],
        "pod": "notified",
            "namespace": application.namespace.name(),
            "version": version,
        });
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), expected);
        seen = log;
    }
}

#[test]
fn the_error_for_a_signal_to_another_users_process_names_the_remedy() {
    let annotations =
        json!({"podcreds.io/signalling.secret": "db", "podcreds.io/signalling.on-change": "signal HUP sh"});
    let Some(application) = application(annotations, 12_345, 23_456) else { return };
    put_password(&application.namespace, "test-password-1");
    application.wait_for_sidecar_log("run both containers as the same user");
    assert_eq!(application.log("app"), "ready\n");
}

#[test]
fn with_host_pid_only_processes_of_its_pod_are_signalled_and_named() {
    let annotations = json!({
        "podcreds.io/missing.secret": "db",
        "podcreds.io/missing.on-change": "signal HUP no-such-process",
        "podcreds.io/signalling.secret": "db",
        "podcreds.io/signalling.on-change": "signal HUP sh",
    });
    let Some(application) = application_with("hostPID", annotations, 12_345, 12_345) else { return };
    let mut other = pods::pod(
        json!({}),
        12_345,
        12_345,
        "trap 'echo signal' HUP; echo ready; while :; do sleep 0.1; done",
    );
    other["spec"]["initContainers"] = json!([]);
    pods::start(&application.namespace, "other", other);
    let log_of_other = || application.namespace.kubectl(&["logs", "other"]);
    poll_until(PATIENCE, "the other pod is ready", || log_of_other() == "ready\n");
    for password in ["test-password-1", "test-password-2"] {
        put_password(&application.namespace, password);
        let signal = format!("signal {password}\n");
        poll_until(PATIENCE, "the signal arrives", || application.log("app").contains(&signal));
    }
    assert_eq!(log_of_other(), "ready\n");
    application.wait_for_sidecar_log("process \"no-such-process\" not found in this pod; running: ");
    let log = application.log("sidecar");
    // The pod's own sandbox, `pause`, may be named.
    assert!(!["kubelet", "containerd", "systemd", "etcd"].iter().any(|name| log.contains(name)), "{log}");
}

//! `.on-change` in real pods: the sidecar's container tells the application's, by HTTP, by a signal and by a file.

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods;
use crate::sidecar::{FIRST, put_password};
use crate::support::run::poll_until;

/// Prints a line for each thing that it is told, with what it reads then.
const APPLICATION: &str = r#"
    accept() {
        printf 'HTTP/1.1 204 No Content\r\n\r\n' | nc -l -p 8080 | tr -d '\r' | sed -n '1p; $p' | tr '\n' ' '
    }
    while :; do
        told=$(accept)
        echo "http $(readlink /podcreds/posting/..data) $told"
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

/// A pod with that application, whose containers see each other's processes and run as these users. It has no Secret
/// yet, so that nothing can be told before the application listens.
fn application(annotations: Value, user: u32, app_user: u32) -> Option<Application> {
    let namespace = pods::namespace()?;
    namespace.grant_watch(&["db"]);
    namespace.kubectl(&["delete", "secret", "db"]);
    let mut pod = pods::pod_with_sidecar(annotations, user, app_user, APPLICATION);
    pod["spec"]["shareProcessNamespace"] = true.into();
    // The first bundle is then the sidecar's.
    pod["spec"]["initContainers"] = json!([]);
    pods::start(&namespace, "told", pod);
    let application = Application { namespace };
    poll_until(PATIENCE, "the application is ready", || application.log("app") == "ready\n");
    put_password(&application.namespace, FIRST);
    application.sidecar_says("wrote ");
    Some(application)
}

struct Application {
    namespace: Namespace,
}

impl Application {
    fn log(&self, container: &str) -> String {
        self.namespace.kubectl(&["logs", "told", "-c", container])
    }

    fn sidecar_says(&self, text: &str) {
        poll_until(PATIENCE, &format!("the sidecar says {text:?}"), || self.log("sidecar").contains(text));
    }
}

#[test]
fn an_application_is_told_of_each_rotation_by_http_a_signal_and_a_file_and_then_reads_the_new_password() {
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
        poll_until(PATIENCE, &format!("the application is told of {password} in three ways"), || {
            log = application.log("app");
            log.lines().count() >= seen.lines().count() + 3
        });
        // What the first bundle had brought would be here too.
        let mut told: Vec<_> = log.strip_prefix(&seen).expect("a log grows").lines().collect();
        told.sort_unstable();
        let [http, signal, touch] = told.as_slice() else { panic!("{told:#?}") };
        assert_eq!((*signal, *touch), (&*format!("signal {password}"), &*format!("touch {password}")));
        let ["http", version, "POST", "/reload", "HTTP/1.1", body] =
            http.split_whitespace().collect::<Vec<_>>()[..]
        else {
            panic!("{http}")
        };
        let notice = json!({
            "credentials": ["posting"],
            "pod": "told",
            "namespace": application.namespace.name(),
            "version": version,
        });
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), notice);
        seen = log;
    }
}

#[test]
fn a_signal_that_another_users_process_cannot_be_sent_is_said_with_what_to_set() {
    let annotations =
        json!({"podcreds.io/signalling.secret": "db", "podcreds.io/signalling.on-change": "signal HUP sh"});
    let Some(application) = application(annotations, 12_345, 23_456) else { return };
    put_password(&application.namespace, "test-password-1");
    application.sidecar_says("both containers must run as one user");
    assert_eq!(application.log("app"), "ready\n");
}

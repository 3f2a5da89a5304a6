//! As the first process of a container, the supervisor does what an init process has to do. Debian's tini does the same in a
//! second pod.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{BINARY, add_container, install, report};
use crate::kubectl::Namespace;
use crate::native::{RetainedPod, container_status, is_running};
use crate::support::skip::require;
use crate::{kubelet, pods};

/// Debian's package `tini`; statically linked.
const TINI: &str = "/usr/bin/tini-static";
/// Seconds that the kubelet waits between `SIGTERM` and `SIGKILL`.
const GRACE: u64 = 5;

struct Case {
    name: &'static str,
    /// What the program does; `note` sets the container's termination message.
    script: &'static str,
    exit_code: i64,
    message: &'static str,
}

/// Programs that end by themselves. The kubelet replaces `$$` in a command by `$`.
const ENDING: [Case; 4] = [
    Case { name: "exits", script: "exit 3", exit_code: 3, message: "" },
    Case { name: "is-killed", script: "sh -c 'kill -KILL $PPID'; sleep 60", exit_code: 128 + 9, message: "" },
    Case { name: "aborts", script: "sh -c 'kill -ABRT $PPID'; sleep 60", exit_code: 128 + 6, message: "" },
    Case {
        name: "double-forks",
        // A zombie is still in /proc.
        script: r#"
            for time in 5 0.1 0.1 0.2 0.2; do (sleep $time & echo $! >>/tmp/orphans); done
            read -r first </tmp/orphans
            parent=$(sed -n 's/^PPid:.//p' "/proc/$first/status")
            kill "$first"
            left=all tries=100
            while [ -n "$left" ] && [ $((tries -= 1)) -gt 0 ]; do
                sleep 0.1
                left=
                for orphan in $(cat /tmp/orphans); do [ ! -e "/proc/$orphan" ] || left="$left $orphan"; done
            done
            note "orphans have parent $parent, left: ${left:-none}""#,
        exit_code: 0,
        message: "orphans have parent 1, left: none",
    },
];

/// Programs that run until the pod is deleted.
const DELETED: [Case; 5] = [
    Case { name: "without-trap", script: "sleep 3600 & wait", exit_code: 128 + 15, message: "" },
    Case {
        name: "with-trap",
        script: "trap 'sleep 1; note saved; exit 7' TERM; sleep 3600 & wait",
        exit_code: 7,
        message: "saved",
    },
    Case {
        name: "ignores",
        script: "trap '' TERM; note ignores; while :; do sleep 1; done",
        exit_code: 128 + 9,
        message: "ignores",
    },
    Case {
        name: "has-prestop",
        script: "trap 'note \"SIGTERM after $(cat /tmp/prestop)\"; exit 0' TERM; sleep 3600 & wait",
        exit_code: 0,
        message: "SIGTERM after preStop",
    },
    Case {
        name: "gets-signals",
        script: r#"
            for name in HUP INT QUIT USR1 USR2 ALRM WINCH; do
                trap "seen=\"\$seen $name\"; echo $name >/tmp/seen" $name
            done
            trap 'note "signals:$seen"; exit 0' TERM
            echo ready >/tmp/seen
            while :; do sleep 0.1; done"#,
        exit_code: 0,
        message: "signals: HUP INT QUIT USR1 USR2 ALRM WINCH",
    },
];

/// Sends each signal to the container's first process, and waits until the program has got it.
const SEND: &str = r#"
    expect() { until [ "$(cat /tmp/seen)" = "$1" ]; do sleep 0.05; done; }
    expect ready
    for name in HUP INT QUIT USR1 USR2 ALRM WINCH; do kill -$name 1; expect $name; done
"#;

/// A pod with a container for each case, whose first process is `parent`.
fn pod(parent: &[&str]) -> Value {
    let annotations = json!({
        "podcreds.io/app.secret": "db",
        "podcreds.io/app.format": "env",
        "podcreds.io/app.keys": "PASSWORD=password",
    });
    let mut pod = pods::pod(annotations, 65_532, 65_532, "");
    pod["spec"]["terminationGracePeriodSeconds"] = GRACE.into();
    install(&mut pod);
    pods::push(&mut pod["spec"]["volumes"], json!({"name": "tini", "hostPath": {"path": TINI}}));
    let mount = json!({"name": "tini", "mountPath": "/tini", "readOnly": true});
    pods::push(&mut pod["spec"]["containers"][0]["volumeMounts"], mount);
    for case in ENDING.iter().chain(&DELETED) {
        let script = format!("note() {{ echo \"$@\" >/dev/termination-log; }}\n{}", case.script);
        add_container(&mut pod, case.name, json!([parent, &["sh", "-c", &script]].concat()));
        let name = format!("tmp-{}", case.name);
        pods::push(&mut pod["spec"]["volumes"], json!({"name": name, "emptyDir": {}}));
        let container = pod["spec"]["containers"].as_array_mut().unwrap().last_mut().unwrap();
        pods::push(&mut container["volumeMounts"], json!({"name": name, "mountPath": "/tmp"}));
        if case.name == "has-prestop" {
            let exec = json!({"command": ["sh", "-c", "echo preStop >/tmp/prestop"]});
            container["lifecycle"] = json!({"preStop": {"exec": exec}});
        }
    }
    pod["spec"]["containers"].as_array_mut().unwrap().remove(0);
    pod
}

/// The exit code and the message of a container that has ended, without those that podcreds adds.
fn end(status: &Value, container: &str) -> Option<(i64, String)> {
    let (code, message) = pods::termination(status, container)?;
    Some((code, message.trim_end().to_owned()))
}

/// A pod with all cases.
struct Pod<'a> {
    namespace: &'a Namespace,
    name: &'static str,
    ends: Vec<(i64, String)>,
}

impl<'a> Pod<'a> {
    fn start(namespace: &'a Namespace, name: &'static str, parent: &[&str]) -> Self {
        namespace.put("v1", "Pod", name, pod(parent));
        Self { namespace, name, ends: Vec::new() }
    }

    /// Waits for the programs that end by themselves, sends signals to another, and deletes the pod.
    fn delete(&mut self) -> RetainedPod<'a> {
        let status = self.namespace.pod_status(self.name, "has run its programs", |status| {
            ENDING.iter().all(|case| end(status, case.name).is_some())
                && DELETED.iter().all(|case| is_running(status, case.name))
        });
        self.ends.extend(ENDING.iter().filter_map(|case| end(&status, case.name)));
        self.namespace.kubectl(&["exec", self.name, "-c", "gets-signals", "--", "sh", "-c", SEND]);
        let retained = RetainedPod::new(self.namespace, self.name);
        self.namespace.kubectl(&["delete", "pod", self.name, "--wait=false"]);
        retained
    }

    /// Waits for the other programs, and returns how each container ended.
    fn wait(mut self) -> Vec<(i64, String)> {
        let status = self.namespace.pod_status(self.name, "has ended", |status| {
            DELETED.iter().all(|case| container_status(status, case.name)["state"]["terminated"].is_object())
        });
        self.ends.extend(DELETED.iter().filter_map(|case| end(&status, case.name)));
        self.ends
    }
}

#[test]
fn as_the_first_process_of_a_container_the_supervisor_does_what_tini_does() {
    let found = Path::new(TINI).exists().then_some(());
    if kubelet::node_of_this_machine().is_none() || require("Debian's tini", found).is_none() {
        return;
    }
    let Some(namespace) = pods::namespace() else { return };
    let mut podcreds = Pod::start(&namespace, "podcreds", &[BINARY, "exec", "--restart-on-change", "--"]);
    let mut tini = Pod::start(&namespace, "tini", &["/tini", "--"]);
    let _retained = [podcreds.delete(), tini.delete()];
    let (podcreds, tini) = (podcreds.wait(), tini.wait());
    let mut table = format!("{:<14}{:<46}tini\n", "program", "podcreds");
    for (case, (podcreds, tini)) in ENDING.iter().chain(&DELETED).zip(podcreds.iter().zip(&tini)) {
        let [podcreds, tini] = [podcreds, tini].map(|(code, message)| format!("{code} {message}"));
        writeln!(table, "{:<14}{podcreds:<46}{tini}", case.name).unwrap();
    }
    report(&table);
    let expected: Vec<_> =
        ENDING.iter().chain(&DELETED).map(|case| (case.exit_code, case.message.to_owned())).collect();
    assert_eq!(tini, expected, "tini");
    assert_eq!(podcreds, expected, "podcreds");
}

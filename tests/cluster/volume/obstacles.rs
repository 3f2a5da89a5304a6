//! Entries that podcreds refuses to write into, follow or replace, and its error messages.

use serde_json::{Value, json};

use super::{DISK_WITH_GROUP, MEMORY_WITH_GROUP, PODCREDS, prepend_shell};
use crate::pods;

/// Another user who may write to the volume.
const STRANGER: u32 = 1001;

fn annotations() -> Value {
    json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/variables.secret": "db",
        "podcreds.io/variables.format": "env",
    })
}

#[test]
fn an_obstacle_is_reported_with_its_path_its_owner_and_the_remedy() {
    let obstacles = [
        ("directory", STRANGER, "mkdir /podcreds/db", "db"),
        ("file", STRANGER, "echo >/podcreds/variables.env", "variables.env"),
        ("file-for-directory", STRANGER, "echo >/podcreds/db", "db"),
        ("link-to-directory", STRANGER, "cd /podcreds; mkdir -m 777 elsewhere; ln -s elsewhere db", "db"),
        ("link-to-file", STRANGER, "ln -s /etc/passwd /podcreds/variables.env", "variables.env"),
        ("own-link", PODCREDS, "cd /podcreds; mkdir elsewhere; ln -s elsewhere db", "db"),
    ];
    let Some(namespace) = pods::namespace() else { return };
    for (pod_name, owner, script, _) in obstacles {
        let mut pod = pods::pod(annotations(), PODCREDS, PODCREDS, "");
        MEMORY_WITH_GROUP.mount_in(&mut pod);
        prepend_shell(&mut pod, owner, script);
        namespace.put("v1", "Pod", pod_name, pod);
    }
    for (pod_name, owner, _, entry) in obstacles {
        let status = namespace.pod_status(pod_name, "ends", pods::ended);
        let (code, message) = pods::termination(&status, "podcreds").expect("podcreds has terminated");
        assert_eq!(code, 5, "{pod_name}: {message}");
        for part in [format!("\"{entry}\""), format!("uid {owner}"), "remove it".to_owned()] {
            assert!(message.contains(&part), "{pod_name}: {part:?} is missing in: {message}");
        }
    }
}

/// In a sticky volume only init's user can replace its files, and `fsGroup` does not help.
#[test]
fn a_sidecar_that_runs_as_a_different_user_than_init_fails_with_the_remedy() {
    const INIT: u32 = 1001;
    const SIDECAR: u32 = 1002;
    let Some(namespace) = pods::namespace() else { return };
    namespace.grant_watch(&["db"]);
    let places = [("memory", MEMORY_WITH_GROUP), ("disk", DISK_WITH_GROUP)];
    for (name, place) in places {
        let script = "trap 'exit 0' TERM; while :; do sleep 1; done";
        let mut pod = pods::pod_with_sidecar(annotations(), INIT, INIT, script);
        place.mount_in(&mut pod);
        pod["spec"]["containers"][1]["securityContext"]["runAsUser"] = SIDECAR.into();
        namespace.put("v1", "Pod", name, pod);
    }
    for (name, _) in places {
        let mut terminated = None;
        namespace.pod_status(name, "has a sidecar that ended", |status| {
            terminated = pods::termination(status, "sidecar");
            terminated.is_some()
        });
        let (code, message) = terminated.expect("the sidecar has terminated");
        assert_eq!(code, 5, "{name}: {message}");
        for part in ["uid 1001", "uid 1002", "the same runAsUser"] {
            assert!(message.contains(part), "{name}: {part:?} is missing in: {message}");
        }
        assert!(!message.contains("fsGroup"), "{name}: {message}");
    }
}

//! Applications that mount a part of the volume by `subPath`.

use serde_json::json;

use super::{MEMORY, PODCREDS, User, assert_reports, namespace, pod, report};
use crate::pods;
use crate::sidecar::{FIRST, put_password};

const USERS: &[User] = &[User::Root, User::Other];

/// The number in the last line falls to 1 when the previous version has been removed.
const REPORT: &str = r#"
    echo "directory: $(grep -o 'test-password-[0-9]*' /mounted/db/password)"
    echo "file: $(grep -o 'test-password-[0-9]*' /mounted/variables.env)"
    echo "versions: $(ls -A /mounted/db | grep -c '^\.\.[0-9]')"
"#;

/// As with a Secret volume, a single file mounted by `subPath` receives no updates:
/// <https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath>
#[test]
fn a_directory_mounted_by_sub_path_is_updated_and_a_file_is_not() {
    let Some(namespace) = namespace() else { return };
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/variables.secret": "db",
        "podcreds.io/variables.format": "env",
    });
    let mut pod = pod(annotations, PODCREDS, MEMORY, USERS, REPORT);
    pod["spec"]["initContainers"][0]["args"] = json!(["sidecar", "--grace", "1s"]);
    for application in pod["spec"]["containers"].as_array_mut().expect("a list") {
        let mount = |path: &str| {
            let name = "credentials";
            json!({"name": name, "mountPath": format!("/mounted/{path}"), "subPath": path, "readOnly": true})
        };
        application["volumeMounts"] = json!([mount("db"), mount("variables.env")]);
    }
    pods::start(&namespace, "mounts", pod);
    for password in [FIRST, "test-password-1", "test-password-2"] {
        if password != FIRST {
            put_password(&namespace, password);
        }
        assert_reports(&namespace, "mounts", USERS, password, |_| {
            report([&format!("directory: {password}"), &format!("file: {FIRST}"), "versions: 1"])
        });
    }
}

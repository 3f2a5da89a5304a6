//! How applications of other users see entries that disappear, and a file that becomes a directory and back.

use serde_json::json;

use super::{MEMORY, Report, User, assert_reports, namespace, pod, report};
use crate::kubectl::Namespace;
use crate::pods;
use crate::sidecar::{FIRST, put_password};

const USERS: &[User] = &[User::Root, User::Other];

/// Prints each entry at the top of the volume with its password, and the names in each directory.
const REPORT: &str = r#"
    cd /podcreds
    for entry in *; do
        if [ -d "$entry" ]; then
            echo "$entry/:" $(ls "$entry") $(grep -o 'test-password-[0-9]*' "$entry/password")
        else
            echo "$entry: $(grep -o 'test-password-[0-9]*' "$entry")"
        fi
    done
    find . -maxdepth 1 -type l
"#;

/// A pod `edited` with these annotations, whose sidecar watches them.
struct PodWithEdits {
    namespace: Namespace,
}

impl PodWithEdits {
    fn start(annotations: serde_json::Value, secrets: &[&str]) -> Option<Self> {
        let namespace = namespace()?;
        namespace.put_secret("more", &[("password", FIRST)]);
        namespace.grant(&json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "watch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get", "watch"]},
        ]));
        let mut pod = pod(annotations, super::PODCREDS, MEMORY, USERS, REPORT);
        pod["spec"]["initContainers"][0]["args"] =
            json!(["sidecar", "--follow-annotations", "--on-delete", "clear", "--grace", "1s"]);
        pods::start(&namespace, "edited", pod);
        Some(Self { namespace })
    }

    fn annotate(&self, annotations: &[&str]) {
        self.namespace.kubectl(&[&["annotate", "pod", "edited", "--overwrite"], annotations].concat());
    }

    #[track_caller]
    fn reports(&self, when: &str, lines: &[&str]) {
        let expected: Report = report(lines.iter().copied());
        assert_reports(&self.namespace, "edited", USERS, when, |_| expected.clone());
    }
}

#[test]
fn applications_of_other_users_see_a_file_become_a_directory_and_back() {
    let annotations = json!({
        "podcreds.io/x.secret": "db",
        "podcreds.io/x.format": "env",
        "podcreds.io/x.path": "x",
        "podcreds.io/y.secret": "db",
        "podcreds.io/y.path": "y/",
    });
    let Some(edited) = PodWithEdits::start(annotations, &["db"]) else { return };
    edited.reports("at the start", &["x: test-password-0", "y/: password username test-password-0"]);

    edited.annotate(&[
        "podcreds.io/x.format=files",
        "podcreds.io/x.path=x/",
        "podcreds.io/y.format=env",
        "podcreds.io/y.path=y",
    ]);
    edited.reports("exchanged", &["x/: password username test-password-0", "y: test-password-0"]);
    put_password(&edited.namespace, "test-password-1");
    edited.reports("exchanged and rotated", &["x/: password username test-password-1", "y: test-password-1"]);

    edited.annotate(&[
        "podcreds.io/x.format=env",
        "podcreds.io/x.path=x",
        "podcreds.io/y.format=files",
        "podcreds.io/y.path=y/",
    ]);
    edited.reports("exchanged back", &["x: test-password-1", "y/: password username test-password-1"]);
    put_password(&edited.namespace, "test-password-2");
    edited.reports(
        "exchanged back and rotated",
        &["x: test-password-2", "y/: password username test-password-2"],
    );
}

#[test]
fn entries_of_removed_credentials_and_deleted_secrets_disappear_for_other_users() {
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/removed.secret": "db",
        "podcreds.io/removed-file.secret": "db",
        "podcreds.io/removed-file.format": "env",
        "podcreds.io/deleted.secret": "more",
        "podcreds.io/deleted-file.secret": "more",
        "podcreds.io/deleted-file.format": "env",
    });
    let Some(edited) = PodWithEdits::start(annotations, &["db", "more"]) else { return };
    let kept = "db/: password username test-password-0";
    let deleted = ["deleted-file.env: test-password-0", "deleted/: password test-password-0"];
    let removed = ["removed-file.env: test-password-0", "removed/: password username test-password-0"];
    edited.reports("at the start", &[&[kept], &deleted[..], &removed].concat());

    edited.annotate(&[
        "podcreds.io/removed.secret-",
        "podcreds.io/removed-file.secret-",
        "podcreds.io/removed-file.format-",
    ]);
    edited.reports("without two credentials", &[&[kept], &deleted[..]].concat());

    edited.namespace.kubectl(&["delete", "secret", "more"]);
    edited.reports("without the Secret", &[kept]);
    put_password(&edited.namespace, "test-password-1");
    edited.reports("rotated", &["db/: password username test-password-1"]);
}

//! Volumes with files of an earlier run or of an earlier version of podcreds.

use serde_json::json;

use super::{DISK, MEMORY, PODCREDS, User, assert_reports, namespace, pod, prepend_shell, report};
use crate::pods;
use crate::sidecar::FIRST;

/// Creates two versions in the layout of earlier versions of podcreds, with links at the top of the volume, next to a
/// file of the application.
const LINKS: &str = r#"
    umask 022
    cd /podcreds
    for version in ..2026_01_01_00_00_00.000000001 ..2026_01_02_00_00_00.000000002; do
        mkdir -p "$version/db" "$version/conf" "$version/removed"
        for file in db/username db/password conf/app.json removed/password variables.env removed.env; do
            printf test-password-8 >"$version/$file"
            chmod 444 "$version/$file"
        done
    done
    ln -s "$version" ..data
    for entry in db conf removed variables.env removed.env; do
        ln -s "..data/$entry" "$entry"
    done
    echo kept >of-the-application
"#;

const REPORT: &str = r#"
    cd /podcreds
    grep -o 'test-password-[0-9]*' db/* conf/* variables.env
    echo "db:" $(ls db)
    echo "top:" *
    echo "not podcreds': $(cat of-the-application)"
    find . -maxdepth 1 -type l
    find . -maxdepth 1 -name '..[0-9]*'
    grep -rl test-password-8 . 2>/dev/null
"#;

#[test]
fn links_of_podcreds_0_1_are_replaced_and_every_user_sees_the_new_files() {
    let Some(namespace) = namespace() else { return };
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/app.secret": "db",
        "podcreds.io/app.format": "json",
        "podcreds.io/app.path": "conf/app.json",
        "podcreds.io/variables.secret": "db",
        "podcreds.io/variables.format": "env",
    });
    let users = [User::Root, User::Other, User::Podcreds];
    for (name, place) in [("memory", MEMORY), ("disk", DISK)] {
        let mut pod = pod(annotations.clone(), PODCREDS, place, &users, REPORT);
        pod["spec"]["initContainers"][0]["args"] = json!(["sidecar", "--grace", "1s"]);
        prepend_shell(&mut pod, PODCREDS, LINKS);
        namespace.put("v1", "Pod", name, pod);
    }
    for name in ["memory", "disk"] {
        pods::running(&namespace, name);
        assert_reports(&namespace, name, &users, "converted", |_| {
            report([
                &format!("conf/app.json:{FIRST}"),
                &format!("db/password:{FIRST}"),
                &format!("variables.env:{FIRST}"),
                "db: password username",
                "top: conf db of-the-application variables.env",
                "not podcreds': kept",
            ])
        });
    }
}

/// A pod whose sandbox is restarted runs its init containers again with the same volume.
#[test]
fn an_init_that_runs_again_removes_the_previous_password() {
    let Some(namespace) = pods::namespace() else { return };
    namespace.put_secret("first", &[("password", "test-password-0")]);
    namespace.put_secret("second", &[("password", "test-password-1")]);
    namespace.grant_least(&["first", "second"]);
    let annotations = |secret: &str, names: &[&str]| -> String {
        let line = |key: &str, value: &str| format!("podcreds.io/{key}=\"{value}\"\n");
        names
            .iter()
            .map(|name| line(&format!("{name}.secret"), secret))
            .chain([
                line("app.format", "json"),
                line("app.path", "conf/app.json"),
                line("variables.format", "env"),
            ])
            .collect()
    };
    let files = json!({
        "first": annotations("first", &["db", "removed", "app", "variables"]),
        "second": annotations("second", &["db", "app", "variables"]),
    });
    namespace.put("v1", "ConfigMap", "annotations", json!({"data": files}));

    // podcreds' own user can read every directory.
    let script = "cd /podcreds; echo *; grep -rl test-password-0 .; cat db/password; \
        grep -o test-password-1 conf/app.json variables.env";
    let mut pod = pods::pod(json!({}), PODCREDS, PODCREDS, script);
    pods::push(
        &mut pod["spec"]["volumes"],
        json!({"name": "annotations", "configMap": {"name": "annotations"}}),
    );
    let mut init = pod["spec"]["initContainers"][0].take();
    pods::push(&mut init["volumeMounts"], json!({"name": "annotations", "mountPath": "/annotations"}));
    let runs = ["first", "second"].map(|name| {
        let mut run = init.clone();
        run["name"] = name.into();
        run["args"] = json!(["init", "--annotations-file", format!("/annotations/{name}")]);
        run
    });
    pod["spec"]["initContainers"] = runs.into_iter().collect();
    let printed = pods::output(&namespace, "again", pod);
    assert_eq!(
        printed,
        "conf db variables.env\ntest-password-1conf/app.json:test-password-1\nvariables.env:test-password-1\n"
    );
}

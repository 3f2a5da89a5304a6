//! Applications of all users, on all kinds of volumes, open, list, enter and glob everything that the modes allow.

use serde_json::{Value, json};

use super::{
    DISK, DISK_WITH_GROUP, MEMORY, MEMORY_WITH_GROUP, PODCREDS, Place, Report, USERS, User, assert_reports,
    namespace, pod, report,
};
use crate::kubectl::Namespace;
use crate::pods;
use crate::requirements::since;
use crate::sidecar::{FIRST, put_password};

/// The name and the format of each credential, and where its password is.
const CREDENTIALS: &[(&str, &str, &str)] = &[
    ("db", "files", "db/password"),
    ("deep", "files", "conf/deep/password"),
    ("app", "json", "conf/app.json"),
    ("hikari", "jdbc", "conf/hikari.jdbc"),
    ("dot", "dotenv", "conf/dot.env"),
    ("settings", "template", "conf.d/settings.txt"),
    ("variables", "env", "variables.env"),
    ("values", "yaml", "values.yaml"),
    ("spring", "properties", "spring.properties"),
    ("url", "uri", "url.uri"),
    ("conninfo", "libpq", "conninfo.libpq"),
    ("service", "pgservice", "service.pgservice"),
    ("client", "mycnf", "client.cnf"),
    (PRIVATE, "pgpass", "private.pgpass"),
];

/// The credential whose file has mode 0600, which libpq requires for a password file.
const PRIVATE: &str = "private";

/// Reads each file by its name and by a glob, lists each directory, and enters it.
const REPORT: &str = r#"
    grep -o 'test-password-[0-9]*' /podcreds/*.[!d]* /podcreds/conf.d/* /podcreds/conf/*.* /podcreds/conf/deep/* /podcreds/db/*
    for directory in db conf conf.d conf/deep; do
        test -d "/podcreds/$directory" && cd "/podcreds/$directory" && echo "in $directory:" *
        echo "ls $directory:" $(ls "/podcreds/$directory")
    done
    cd /podcreds/db && echo "password here: $(cat password)"
    find /podcreds -maxdepth 1 -type l
"#;

fn annotations() -> Value {
    let mut annotations = json!({});
    for (name, format, path) in CREDENTIALS {
        annotations[format!("podcreds.io/{name}.secret")] = "db".into();
        if *format == "files" {
            let directory = path.trim_end_matches("password");
            annotations[format!("podcreds.io/{name}.path")] = directory.into();
            continue;
        }
        annotations[format!("podcreds.io/{name}.path")] = (*path).into();
        if *format == "template" {
            annotations[format!("podcreds.io/{name}.template")] = "password = {{ password }}".into();
            continue;
        }
        annotations[format!("podcreds.io/{name}.format")] = (*format).into();
        if ["uri", "jdbc", "libpq", "pgservice", "mycnf", "pgpass"].contains(format) {
            annotations[format!("podcreds.io/{name}.engine")] = "postgresql".into();
            annotations[format!("podcreds.io/{name}.set")] = "host=db.example.internal".into();
        }
    }
    annotations
}

/// The expected report of this user's application for this password.
fn expected(user: User, podcreds: u32, password: &str) -> Report {
    let files = CREDENTIALS.iter().map(|(name, _, path)| {
        if *name == PRIVATE && !user.reads_private_files_of(podcreds) {
            format!("grep: /podcreds/{path}: Permission denied")
        } else {
            format!("/podcreds/{path}:{password}")
        }
    });
    let directories = [
        ("db", "password username"),
        ("conf", "app.json deep dot.env hikari.jdbc"),
        ("conf.d", "settings.txt"),
        ("conf/deep", "password username"),
    ];
    let directories = directories
        .iter()
        .flat_map(|(name, list)| [format!("in {name}: {list}"), format!("ls {name}: {list}")]);
    report(files.chain(directories).chain([format!("password here: {password}")]))
}

/// Starts these pods side by side, each with applications of all users, and rotates their Secret twice.
fn every_application_sees_rotations(
    namespace: &Namespace,
    pods: &[(&str, u32, Place)],
    adapt: impl Fn(&mut Value),
) {
    for (name, podcreds, place) in pods {
        let mut pod = pod(annotations(), *podcreds, *place, USERS, REPORT);
        adapt(&mut pod);
        namespace.put("v1", "Pod", name, pod);
    }
    for password in [FIRST, "test-password-1", "test-password-2"] {
        if password != FIRST {
            put_password(namespace, password);
        }
        for (name, podcreds, _) in pods {
            pods::running(namespace, name);
            assert_reports(namespace, name, USERS, password, |user| expected(user, *podcreds, password));
        }
    }
}

#[test]
fn every_user_can_read_files_that_podcreds_writes_as_its_own_user() {
    let Some(namespace) = namespace() else { return };
    let pods = [
        ("memory", PODCREDS, MEMORY),
        ("memory-group", PODCREDS, MEMORY_WITH_GROUP),
        ("disk", PODCREDS, DISK),
        ("disk-group", PODCREDS, DISK_WITH_GROUP),
    ];
    every_application_sees_rotations(&namespace, &pods, |_| ());
}

#[test]
fn every_user_can_read_files_that_podcreds_writes_as_root() {
    let Some(namespace) = namespace() else { return };
    let pods = [
        ("memory", 0, MEMORY),
        ("memory-group", 0, MEMORY_WITH_GROUP),
        ("disk", 0, DISK),
        ("disk-group", 0, DISK_WITH_GROUP),
    ];
    every_application_sees_rotations(&namespace, &pods, |_| ());
}

#[test]
fn every_user_can_read_files_in_a_user_namespace() {
    if since(36, "user namespaces of pods").is_none() {
        return;
    }
    let Some(namespace) = namespace() else { return };
    let pods = [("memory", PODCREDS, MEMORY), ("disk-group", PODCREDS, DISK_WITH_GROUP)];
    every_application_sees_rotations(&namespace, &pods, |pod| pod["spec"]["hostUsers"] = false.into());
}

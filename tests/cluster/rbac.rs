//! The Roles that `podcreds rbac` prints: a pod starts with them, and needs each of their rules.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::pods::{image, pod, push};
use crate::requirements::since;
use crate::support::pod::PodFolder;
use crate::support::run::{Running, poll_until};
use crate::support::skip::require;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A namespace, a resource, the name of an object or `*`, and a verb.
type Right = [String; 4];

/// The part of the API server's audit log since the start of a test.
struct Audit {
    path: PathBuf,
    start: u64,
}

impl Audit {
    fn new() -> Option<Self> {
        let path =
            require("PODCREDS_TEST_AUDIT_LOG, to see each request,", env::var_os("PODCREDS_TEST_AUDIT_LOG"));
        let path = PathBuf::from(path?);
        let start = fs::metadata(&path).unwrap().len();
        Some(Self { path, start })
    }

    /// What a service account has requested, and the status of each response.
    fn requests(&self, namespace: &str, account: &str) -> Vec<(Right, u64)> {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.start)).unwrap();
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let lines = String::from_utf8_lossy(&text).into_owned();
        let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_user = events.filter(|event| event["user"]["username"] == user.as_str());
        of_user
            .map(|event| {
                let object = &event["objectRef"];
                let texts = [&object["namespace"], &object["resource"], &object["name"], &event["verb"]];
                let right = texts.map(|text| text.as_str().unwrap_or("*").to_owned());
                (right, event["responseStatus"]["code"].as_u64().unwrap_or_default())
            })
            .collect()
    }

    fn refused(&self, namespace: &str, account: &str) -> BTreeSet<Right> {
        let requests = self.requests(namespace, account).into_iter();
        requests.filter(|(_, status)| *status == 403).map(|(right, _)| right).collect()
    }
}

/// The rights that Roles grant.
fn rights(documents: &[Value]) -> Vec<Right> {
    let mut rights = Vec::new();
    for role in documents.iter().filter(|document| document["kind"] == "Role") {
        for rule in role["rules"].as_array().unwrap() {
            let any = json!(["*"]);
            let names = if rule["resourceNames"].is_null() { &any } else { &rule["resourceNames"] };
            for name in names.as_array().unwrap() {
                for verb in rule["verbs"].as_array().unwrap() {
                    let parts = [&role["metadata"]["namespace"], &rule["resources"][0], name, verb];
                    rights.push(parts.map(|part| part.as_str().unwrap().to_owned()));
                }
            }
        }
    }
    rights
}

/// Runs `podcreds rbac` with a manifest as its standard input.
fn rbac(namespace: &Namespace, manifest: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
    command.args([&["rbac", "-f", "-", "-n", namespace.name()], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("---\n").map(|document| yaml_serde::from_str(document).unwrap()).collect()
}

/// A right without which the sidecar is refused: the account that lacks it.
fn account_without(index: usize) -> String {
    format!("lacks-{index}")
}

/// Binds all rights but one to an account.
fn grant_all_but(namespace: &Namespace, index: usize, rights: &[Right]) {
    let account = account_without(index);
    namespace.put("v1", "ServiceAccount", &account, json!({}));
    let places: BTreeSet<_> = rights.iter().map(|[place, ..]| place.as_str()).collect();
    for place in places {
        let kept = rights.iter().enumerate().filter(|(other, [own, ..])| *other != index && own == place);
        let rules: Vec<_> = kept
            .map(|(_, [_, resource, name, verb])| {
                let names = if name == "*" { json!([]) } else { json!([name]) };
                json!({"apiGroups": [""], "resources": [resource], "resourceNames": names, "verbs": [verb]})
            })
            .collect();
        let metadata = json!({"name": account, "namespace": place});
        namespace.apply(&json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": metadata, "rules": rules}));
        namespace.apply(&json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace.name()}],
        }));
    }
}

/// A sidecar outside of any pod that has the rights of this account.
fn sidecar(namespace: &Namespace, account: &str) -> (PodFolder, Running) {
    let (host, port, ca) = namespace.server();
    let token = namespace.kubectl(&["create", "token", account]);
    let directory = PodFolder::with(&ca, token.trim(), namespace.name());
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
    command
        .args(["sidecar", "--events", "--log-level", "debug"])
        .env_clear()
        .env("KUBERNETES_SERVICE_HOST", host)
        .env("KUBERNETES_SERVICE_PORT", port)
        .env("POD_NAME", "app-0")
        .env("PODCREDS_SERVICE_ACCOUNT_DIR", directory.service_account())
        .env("PODCREDS_VOLUME", directory.volume())
        .env("PODCREDS_LISTEN", "off")
        .env("PODCREDS_TERMINATION_LOG", directory.termination_log());
    let running = Running::start(command);
    (directory, running)
}

#[test]
fn a_sidecar_needs_each_rule_and_no_other() {
    let Some(audit) = Audit::new() else { return };
    let Some(other) = Namespace::new() else { return };
    let Some(namespace) = Namespace::new() else { return };
    let annotations = json!({
        "podcreds.io/db.secret": "db",
        "podcreds.io/db.service": "db",
        "podcreds.io/far.secret": format!("{}/far", other.name()),
        "podcreds.io/app.configmap": "settings",
        "podcreds.io/app.template-from": "texts/app",
        "podcreds.io/app.path": "app.txt",
    });
    let manifest = |account: &str| {
        let container = json!({"name": "podcreds", "args": ["sidecar", "--events"]});
        let spec = json!({"serviceAccountName": account, "initContainers": [container]});
        let template = json!({"metadata": {"annotations": annotations}, "spec": spec});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"},
            "spec": {"template": template},
        })
        .to_string()
    };
    let put_password = |password: &str| namespace.put_secret("db", &[("password", password)]);
    put_password("test-password-1");
    other.put_secret("far", &[("password", "test-password")]);
    namespace.put("v1", "ConfigMap", "settings", json!({"data": {"host": "db"}}));
    namespace.put("v1", "ConfigMap", "texts", json!({"data": {"app": "{{ host }}"}}));
    namespace.put("v1", "Service", "db", json!({"spec": {"ports": [{"port": 5432}]}}));
    let pod = json!({
        "metadata": {"annotations": annotations},
        "spec": {
            "nodeSelector": {"podcreds.io/no-such-node": "true"},
            "containers": [{"name": "app", "image": "docker.io/local/none:none"}],
        },
    });
    namespace.put("v1", "Pod", "app-0", pod);

    let (code, yaml) = rbac(&namespace, &manifest("app"), &[]);
    assert_eq!(code, Some(0));
    let rights = rights(&documents(&yaml));
    for (index, _) in rights.iter().enumerate() {
        grant_all_but(&namespace, index, &rights);
    }
    documents(&yaml).iter().for_each(|document| namespace.apply(document));
    // Also waits until the API server knows the Roles.
    poll_until(PATIENCE, "the account has all rights", || {
        rbac(&namespace, &manifest("app"), &["--check"]).0 == Some(0)
    });
    let (_, report) = rbac(&namespace, &manifest("app"), &["--check"]);
    assert!(!report.contains("missing") && !report.contains("warning"), "{report}");

    let (files, app) = sidecar(&namespace, "app");
    let password = || fs::read_to_string(files.volume().join("db/password")).unwrap_or_default();
    let lacking: Vec<_> =
        (0..rights.len()).map(|index| sidecar(&namespace, &account_without(index))).collect();
    for number in ["1", "2", "3"] {
        // The second rotation has the same Event as the first, which needs the verb patch.
        put_password(&format!("test-password-{number}"));
        app.poll_until(PATIENCE, "the new password is written", || {
            password() == format!("test-password-{number}")
        });
        app.poll_until(PATIENCE, "it is logged", || {
            app.stderr().matches("rotated").count() + 1 >= number.parse().unwrap()
        });
    }
    let all: BTreeSet<_> = rights.iter().cloned().collect();
    let used = || {
        let requests = audit.requests(namespace.name(), "app").into_iter();
        let answered = requests.filter(|(_, status)| (200..300).contains(status)).map(|(right, _)| right);
        let as_granted = answered.map(|right| {
            let [place, resource, _, verb] = right.clone();
            let any = [place, resource, "*".to_owned(), verb];
            if all.contains(&any) { any } else { right }
        });
        as_granted.collect::<BTreeSet<_>>()
    };
    poll_until(PATIENCE, "every right is used", || {
        let used = used();
        all.iter().all(|right| right[3] == "watch" || used.contains(right))
    });
    let log = app.stderr();
    // Kubernetes 1.20 records a watch when it ends.
    drop(app);
    poll_until(PATIENCE, "every watch is recorded", || used() == all);
    assert_eq!(audit.refused(namespace.name(), "app"), BTreeSet::new(), "{log}");

    for (index, right) in rights.iter().enumerate() {
        let account = account_without(index);
        let [_, resource, name, verb] = right;
        let is_it = |refused: &Right| {
            let any_name = [&refused[0], &refused[1], "*", &refused[3]].map(ToString::to_string);
            refused == right || any_name == *right
        };
        poll_until(PATIENCE, &format!("{account} is refused {right:?}"), || {
            audit.refused(namespace.name(), &account).iter().any(is_it)
        });
        let (code, report) = rbac(&namespace, &manifest(&account), &["--check"]);
        assert_eq!(code, Some(3), "{report}");
        let missing: Vec<_> =
            report.lines().filter(|line| line.trim_start().starts_with("missing: ")).collect();
        let [missing] = missing[..] else { panic!("{report}") };
        assert!(missing.contains(&format!("missing: {verb} ")), "{missing}");
        assert!(missing.contains(&format!("resources: [{resource}]")), "{missing}");
        assert!(name == "*" || missing.contains(&format!("resourceNames: [{name}]")), "{missing}");
    }
    drop(lacking);
}

#[test]
fn check_warns_of_rights_on_every_secret() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.grant(&json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]));
    let spec = json!({"serviceAccountName": "app", "containers": [{"name": "podcreds", "args": ["init", "--annotations-file", "/a"]}]});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "app-0", "annotations": {"podcreds.io/db.secret": "db"}}, "spec": spec,
    });
    let report = || rbac(&namespace, &pod.to_string(), &["--check"]);
    poll_until(PATIENCE, "the API server knows the Role", || report().0 == Some(0));
    let name = namespace.name();
    assert_eq!(
        report().1,
        format!(
            "ServiceAccount {name}/app in namespace {name}\n  ok: get Secret db\n  warning: may get, list every Secret in namespace {name}, which podcreds does not need: limit the rule with resourceNames\n"
        )
    );
}

#[test]
fn a_real_pod_starts_with_the_printed_roles() {
    let Some(_) = image() else { return };
    let Some(audit) = Audit::new() else { return };
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(other) = Namespace::new() else { return };
    let Some(namespace) = Namespace::new() else { return };
    other.put_secret("far", &[("password", "test-password-far")]);
    namespace.put_secret("db", &[("password", "test-password-db")]);
    let annotations =
        json!({"podcreds.io/db.secret": "db", "podcreds.io/far.secret": format!("{}/far", other.name())});
    let mut template =
        pod(annotations, 65532, 65532, "cat /podcreds/db/password /podcreds/far/password; echo; sleep 3600");
    let mut sidecar = template["spec"]["initContainers"][0].clone();
    sidecar["name"] = "sidecar".into();
    sidecar["args"] = json!(["sidecar", "--events"]);
    sidecar["restartPolicy"] = "Always".into();
    push(&mut template["spec"]["initContainers"], sidecar);
    template["spec"]["restartPolicy"] = "Always".into();
    template["metadata"]["labels"] = json!({"app": "app"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "namespace": namespace.name()},
        "spec": {"selector": {"matchLabels": {"app": "app"}}, "template": template},
    });
    let (code, yaml) = rbac(&namespace, &deployment.to_string(), &[]);
    assert_eq!(code, Some(0));
    documents(&yaml).iter().for_each(|document| namespace.apply(document));
    poll_until(PATIENCE, "the account has all rights", || {
        rbac(&namespace, &deployment.to_string(), &["--check"]).0 == Some(0)
    });
    namespace.apply(&deployment);
    namespace.kubectl(&["rollout", "status", "deployment/app", "--timeout=120s"]);
    let log = || namespace.kubectl(&["logs", "deployment/app", "-c", "app"]);
    poll_until(PATIENCE, "the application reads both", || log().contains("test-password-far"));
    assert!(log().contains("test-password-db"), "{}", log());
    namespace.put_secret("db", &[("password", "test-password-new")]);
    let events = ["get", "events", "--field-selector", "reason=CredentialsRotated", "-o", "name"];
    poll_until(PATIENCE, "the Event is recorded", || !namespace.kubectl(&events).is_empty());
    // The live Deployment needs the same Roles as its manifest.
    let live = Command::new(env!("CARGO_BIN_EXE_podcreds"))
        .args(["rbac", "deploy/app", "-n", namespace.name()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(live.stdout).unwrap(), yaml);
    assert_eq!(audit.refused(namespace.name(), "app"), BTreeSet::new());
}

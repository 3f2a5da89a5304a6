//! `podcreds inject` on a real API server: the same pod as by the policy, and pods that run.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::policies::pod;
use super::{Policies, annotated, policies};
use crate::kubectl::PATIENCE;
use crate::pods;
use crate::support::run::{poll_until, run};

/// The manifest after `podcreds inject` with these arguments.
fn inject(manifest: &str, args: &[&str]) -> String {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifest).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
    command.args(["inject", "--log-level", "warn", "-f"]).arg(file.path()).args(args);
    let finished = run(command, Duration::from_secs(20));
    assert!(finished.code == Some(0), "{manifest}\n{}", finished.stderr);
    finished.stdout_text()
}

/// The spec of the pod that the API server would store, without the token's volume, whose name is random.
fn admitted(policies: &Policies, pod: &Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.retain(|item| {
                    !item["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access"))
                });
                items.iter_mut().for_each(strip);
            }
            Value::Object(entries) => entries.values_mut().for_each(strip),
            _ => {}
        }
    }
    let mut spec = policies.admit(pod)["spec"].take();
    strip(&mut spec);
    spec
}

#[test]
fn the_command_adds_what_the_policy_adds() {
    let Some(policies) = policies() else { return };
    let mut full = annotated("inject.podcreds.io/containers", "app, setup");
    full["metadata"]["annotations"]["inject.podcreds.io/port"] = "9000".into();
    full["spec"]["securityContext"] = json!({"runAsUser": 0});
    full["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    full["spec"]["initContainers"] = json!([
        {"name": "first", "image": "none"},
        {"name": "setup", "image": "none", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    ]);
    let mut own_volume = pod();
    own_volume["spec"]["volumes"] = json!([{"name": "podcreds", "emptyDir": {"medium": "Memory"}}]);
    for pod in [pod(), annotated("inject.podcreds.io/mode", "init"), full, own_volume] {
        let injected: Value = serde_json::from_str(&inject(&pod.to_string(), &[])).unwrap();
        assert_ne!(injected, pod);
        assert_eq!(admitted(&policies, &injected), admitted(&policies, &pod), "{pod:#}");
    }
}

#[test]
fn an_injected_deployment_and_job_start_in_a_restricted_namespace() {
    let Some(namespace) = pods::namespace() else { return };
    namespace.grant_watch(&["db"]);
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    namespace.kubectl(&["label", "namespace", namespace.name(), restricted]);
    let pod = |mode: &str, policy: &str, script: &str| {
        format!(
            "    metadata:
      labels: {{app: app}}
      annotations:
        podcreds.io/db.secret: db
        inject.podcreds.io/mode: {mode}
    spec:
      # The account of the application.
      serviceAccountName: app
      restartPolicy: {policy}
      securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: app
        image: {}
        imagePullPolicy: Never
        command: [sh, -c, \"{script}\"]
        securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
",
            pods::app_image()
        )
    };
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app}}\nspec:\n  selector: {{matchLabels: {{app: app}}}}\n  template:\n{}",
        pod("native-sidecar", "Always", "cat /podcreds/db/username && echo && sleep 3600")
    );
    let job = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once}}\nspec:\n  template:\n{}",
        pod("init", "Never", "cat /podcreds/db/username && echo")
    );
    let image = pods::image_name();
    let args = ["--image", &image, "--image-pull-policy", "Never"];
    let manifests = inject(&format!("{deployment}---\n{job}"), &args);
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &manifests).unwrap();
    namespace.kubectl(&["apply", "-f", file.path().to_str().unwrap()]);
    let status = ["rollout", "status", "deployment/app", "--timeout", "110s"];
    assert!(namespace.kubectl(&status).contains("successfully rolled out"));
    poll_until(PATIENCE, "the application has read the file", || {
        namespace.kubectl(&["logs", "deployment/app", "-c", "app"]) == "app\n"
    });
    poll_until(PATIENCE, "the Job is complete", || namespace.get("job/once")["status"]["succeeded"] == 1);
    assert_eq!(namespace.kubectl(&["logs", "job/once", "-c", "app"]), "app\n");

    // What kubectl prints has more fields, in another order.
    for format in ["yaml", "json"] {
        let live = namespace.kubectl(&["get", "deployment/app", "job/once", "-o", format]);
        assert_eq!(inject(&live, &args), live);
        let removed = inject(&live, &["--uninject"]);
        assert!(!removed.contains("mountPath: /podcreds") && removed != live, "{removed}");
    }
}

//! The manifests in the documentation, against an API server that enforces the restricted Pod Security Standard. No pod runs.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::documented;
use crate::kubectl::Namespace;
use crate::requirements::since;

/// Runs kubectl with these objects, and returns what it prints to standard error.
fn kubectl(namespace: &Namespace, args: &[&str], objects: &Value) -> Result<String, String> {
    let mut command = namespace.command();
    command.args(["--namespace", namespace.name()]).args(args).args(["-f", "-"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("kubectl is installed");
    child.stdin.take().unwrap().write_all(objects.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

#[test]
fn every_deployment_of_the_documentation_is_admitted_by_the_restricted_standard() {
    // Before 1.29, the API server does not know the native sidecars in some of them, and before 1.25 not the standard.
    if since(29, "native sidecars").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    for mode in ["enforce", "warn"] {
        let label = format!("pod-security.kubernetes.io/{mode}=restricted");
        namespace.kubectl(&["label", "namespace", namespace.name(), &label]);
    }
    for documented::Block { page, mut objects } in documented::deployments_with_podcreds() {
        let page = page.display();
        let deployment = objects.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
        // The image does not exist.
        deployment["spec"]["replicas"] = 0.into();
        let template = deployment["spec"]["template"].clone();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        assert_eq!(kubectl(&namespace, &["apply"], &list), Ok(String::new()), "{page}: a warning");
        let mut pod = template;
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "app".into();
        let dry_run = ["create", "--dry-run=server"];
        assert_eq!(kubectl(&namespace, &dry_run, &pod), Ok(String::new()), "{page}");
        // The standard is enforced.
        pod["spec"]["securityContext"] = Value::Null;
        let refused = kubectl(&namespace, &dry_run, &pod).unwrap_err();
        assert!(refused.contains("violates PodSecurity \"restricted:latest\""), "{page}: {refused}");
    }
}

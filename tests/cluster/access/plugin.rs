//! Exec plugins: programs that print a token or a certificate, and run again when it has expired.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Laptop, wait_for_stderr, wait_until};
use crate::support::home::text;
use crate::support::openssl::{KeyForm, X509};

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// Appends its request to a file and prints the content of another.
const SCRIPT: &str = r#"cd "$DIRECTORY" && printf '%s\n' "$KUBERNETES_EXEC_INFO" >>requests && cat output"#;

impl Laptop {
    /// Configures this script as a plugin of this API version.
    fn use_plugin(&self, version: &str, script: &str) {
        let plugin = self.home.put_script("plugin/give-credential", script);
        let directory = self.home.path("plugin");
        self.use_credentials(&json!({"exec": {
            "apiVersion": version,
            "command": text(&plugin),
        "env": [{"name": "DIRECTORY", "value": text(&directory)}],
            "interactiveMode": "Never",
            "installHint": "Get it from the test.",
            "provideClusterInfo": true,
        }}));
    }

    fn set_plugin_output(&self, version: &str, status: &Value) {
        let output = json!({"apiVersion": version, "kind": "ExecCredential", "status": status});
        self.home.put("plugin/output", &output.to_string());
    }

    /// The `KUBERNETES_EXEC_INFO` of each run.
    fn plugin_requests(&self) -> Vec<Value> {
        let requests = fs::read_to_string(self.home.path("plugin/requests")).unwrap_or_default();
        requests.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn in_seconds(seconds: u64) -> String {
    humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

#[test]
fn a_plugin_of_either_api_version_can_return_a_token() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    let token = laptop.namespace.token();
    for (count, version) in [V1, V1BETA1].into_iter().enumerate() {
        laptop.use_plugin(version, SCRIPT);
        laptop.set_plugin_output(version, &json!({"token": token}));
        let finished = laptop.init_succeeds(&["--log-level", "debug"]);
        assert!(!finished.stderr.contains(&token));
        let requests = laptop.plugin_requests();
        assert_eq!(requests.len(), count + 1);
        let info = &requests[count];
        assert_eq!(
            (info["apiVersion"].as_str(), info["kind"].as_str()),
            (Some(version), Some("ExecCredential"))
        );
        assert_eq!(info["spec"]["interactive"], false);
        assert_eq!(info["spec"]["cluster"]["server"], laptop.url.as_str());
        assert!(info["spec"]["cluster"]["certificate-authority-data"].is_string());
    }
}

#[test]
fn a_plugin_can_return_a_client_certificate() {
    let Some(laptop) = Laptop::new() else { return };
    let jane = laptop.unique_name("jane");
    laptop.grant_only("User", &jane);
    let issued = laptop.certificate(&format!("/CN={jane}"), KeyForm::Pkcs8, X509::Version1);
    let Some((certificate, key)) = issued else { return };
    laptop.use_plugin(V1, SCRIPT);
    laptop.set_plugin_output(V1, &json!({"clientCertificateData": certificate, "clientKeyData": key}));
    laptop.init_succeeds(&[]);
}

#[test]
fn a_plugin_runs_again_when_its_credential_has_expired() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    let token = laptop.namespace.token();
    laptop.use_plugin(V1, SCRIPT);
    laptop.set_plugin_output(V1, &json!({"token": token, "expirationTimestamp": in_seconds(10)}));
    let _sidecar = laptop.start_sidecar();
    assert_eq!(laptop.plugin_requests().len(), 1);
    laptop.set_plugin_output(V1, &json!({"token": token, "expirationTimestamp": in_seconds(3600)}));
    wait_until("the plugin is run again", || laptop.plugin_requests().len() == 2);
    // Later requests still use the second credential.
    for password in ["test-password-1", "test-password-2"] {
        laptop.put_password(password);
        laptop.wait_for_password(password);
    }
    assert_eq!(laptop.plugin_requests().len(), 2);
}

#[test]
fn a_plugin_runs_again_when_the_api_server_rejects_its_credential() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    laptop.namespace.put_secret("bound", &[]);
    laptop.use_plugin(V1, SCRIPT);
    laptop.set_plugin_output(V1, &json!({"token": laptop.namespace.token_bound_to("bound")}));
    let sidecar = laptop.start_sidecar();
    assert_eq!(laptop.plugin_requests().len(), 1);
    laptop.set_plugin_output(V1, &json!({"token": laptop.namespace.token()}));
    laptop.namespace.kubectl(&["delete", "secret", "bound"]);
    laptop.put_password("test-password-1");
    laptop.wait_for_password("test-password-1");
    wait_until("the plugin is run again", || laptop.plugin_requests().len() == 2);
    drop(sidecar);

    // The API server rejects an invalid token every time.
    laptop.set_plugin_output(V1, &json!({"token": "test-token-that-is-none"}));
    let finished = laptop.init_fails(
        &[],
        3,
        &["the API server does not accept the exec plugin's credential: Unauthorized"],
    );
    assert!(!finished.stderr.contains("test-token-that-is-none"));
}

#[test]
fn a_failing_plugin_is_reported_and_retried() {
    let Some(laptop) = Laptop::new() else { return };
    laptop.grant_only("ServiceAccount", "app");
    let token = laptop.namespace.token();
    laptop.use_plugin(V1, "echo test-words >&2; echo test-token-that-is-none; exit 7");
    let command = format!("exec plugin \"{}\"", text(&laptop.home.path("plugin/give-credential")));
    let failed = format!("{command} failed with exit code 7: see its messages on standard error");
    let finished = laptop.init_fails(&[], 4, &["test-words\n", &failed]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
    laptop.use_plugin(V1, "echo test-token-that-is-none");
    let finished = laptop.init_fails(&[], 4, &[&command, "did not print an ExecCredential (not JSON"]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
    laptop.use_plugin(V1BETA1, SCRIPT);
    laptop.set_plugin_output(V1, &json!({"token": token}));
    laptop.init_fails(
        &[],
        4,
        &[&format!(
            "printed an ExecCredential of {V1} but the kubeconfig requests {V1BETA1}: correct apiVersion"
        )],
    );

    // A user may log in while podcreds waits.
    let again = crate::support::run::Running::start(laptop.home.command(super::PODCREDS, "init", &[]));
    wait_for_stderr(&again, "correct apiVersion");
    laptop.set_plugin_output(V1BETA1, &json!({"token": token}));
    let finished = again.wait(crate::kubectl::PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    laptop.home.put("plugin/give-credential", "test, and no right to execute it");
    laptop.init_fails(&[], 2, &[&command, "cannot be executed: permission denied"]);
    fs::remove_file(laptop.home.path("plugin/give-credential")).unwrap();
    laptop.init_fails(&[], 2, &[&command, "not found", "the kubeconfig says: Get it from the test."]);
}

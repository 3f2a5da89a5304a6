//! Credential plugins: a program that gives a token or a certificate, and is run again when that has ended.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Person, says, waits};
use crate::support::home::text;
use crate::support::openssl::{KeyForm, X509};

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// Notes what it was asked, and gives what lies in a file beside it.
const SCRIPT: &str = r#"cd "$FOLDER" && printf '%s\n' "$KUBERNETES_EXEC_INFO" >>asked && cat answer"#;

impl Person {
    /// Uses a plugin of this version, which has this to say.
    fn asks(&self, version: &str, script: &str) {
        let plugin = self.home.put_script("plugin/give-credential", script);
        let folder = self.home.path("plugin");
        self.is(&json!({"exec": {
            "apiVersion": version,
            "command": text(&plugin),
            "env": [{"name": "FOLDER", "value": text(&folder)}],
            "interactiveMode": "Never",
            "installHint": "Get it from the test.",
            "provideClusterInfo": true,
        }}));
    }

    fn answers(&self, version: &str, status: &Value) {
        let answer = json!({"apiVersion": version, "kind": "ExecCredential", "status": status});
        self.home.put("plugin/answer", &answer.to_string());
    }

    /// What the plugin was asked, each time.
    fn asked(&self) -> Vec<Value> {
        let asked = fs::read_to_string(self.home.path("plugin/asked")).unwrap_or_default();
        asked.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn in_seconds(seconds: u64) -> String {
    humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

#[test]
fn a_plugin_of_either_version_gives_a_token() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    let token = person.namespace.token();
    for (count, version) in [V1, V1BETA1].into_iter().enumerate() {
        person.asks(version, SCRIPT);
        person.answers(version, &json!({"token": token}));
        let finished = person.reads(&["--log-level", "debug"]);
        assert!(!finished.stderr.contains(&token));
        let asked = person.asked();
        assert_eq!(asked.len(), count + 1);
        let info = &asked[count];
        assert_eq!(
            (info["apiVersion"].as_str(), info["kind"].as_str()),
            (Some(version), Some("ExecCredential"))
        );
        assert_eq!(info["spec"]["interactive"], false);
        assert_eq!(info["spec"]["cluster"]["server"], person.url.as_str());
        assert!(info["spec"]["cluster"]["certificate-authority-data"].is_string());
    }
}

#[test]
fn a_plugin_gives_a_client_certificate() {
    let Some(person) = Person::new() else { return };
    let jane = person.user("jane");
    person.lets("User", &jane);
    let made = person.certificate(&format!("/CN={jane}"), KeyForm::Pkcs8, X509::Version1);
    let Some((certificate, key)) = made else { return };
    person.asks(V1, SCRIPT);
    person.answers(V1, &json!({"clientCertificateData": certificate, "clientKeyData": key}));
    person.reads(&[]);
}

#[test]
fn a_plugin_is_run_again_when_what_it_gave_has_ended_and_not_before() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    let token = person.namespace.token();
    person.asks(V1, SCRIPT);
    person.answers(V1, &json!({"token": token, "expirationTimestamp": in_seconds(10)}));
    let _sidecar = person.follows();
    assert_eq!(person.asked().len(), 1);
    person.answers(V1, &json!({"token": token, "expirationTimestamp": in_seconds(3600)}));
    waits("the plugin is run again", || person.asked().len() == 2);
    // Several requests later it is still the second answer that is used.
    for password in ["test-password-1", "test-password-2"] {
        person.put_password(password);
        person.arrives(password);
    }
    assert_eq!(person.asked().len(), 2);
}

#[test]
fn a_plugin_is_run_again_when_the_api_server_refuses_what_it_gave() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    person.namespace.put_secret("bound", &[]);
    person.asks(V1, SCRIPT);
    person.answers(V1, &json!({"token": person.namespace.token_bound_to("bound")}));
    let sidecar = person.follows();
    assert_eq!(person.asked().len(), 1);
    person.answers(V1, &json!({"token": person.namespace.token()}));
    person.namespace.kubectl(&["delete", "secret", "bound"]);
    person.put_password("test-password-1");
    person.arrives("test-password-1");
    waits("the plugin is run again", || person.asked().len() == 2);
    drop(sidecar);

    // What is no token at all is refused as often as it is given.
    person.answers(V1, &json!({"token": "test-token-that-is-none"}));
    let finished =
        person.fails(&[], 3, &["the API server does not accept the exec plugin's credential: Unauthorized"]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
}

#[test]
fn a_plugin_that_gives_nothing_is_told_and_tried_again() {
    let Some(person) = Person::new() else { return };
    person.lets("ServiceAccount", "app");
    let token = person.namespace.token();
    person.asks(V1, "echo test-words >&2; echo test-token-that-is-none; exit 7");
    let command = format!("exec plugin \"{}\"", text(&person.home.path("plugin/give-credential")));
    let failed = format!("{command} failed with exit code 7: its messages are above");
    let finished = person.fails(&[], 4, &["test-words\n", &failed]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
    person.asks(V1, "echo test-token-that-is-none");
    let finished = person.fails(&[], 4, &[&command, "did not print an ExecCredential (not JSON"]);
    assert!(!finished.stderr.contains("test-token-that-is-none"));
    person.asks(V1BETA1, SCRIPT);
    person.answers(V1, &json!({"token": token}));
    person.fails(
        &[],
        4,
        &[&format!(
            "printed an ExecCredential of {V1} but the kubeconfig asks for {V1BETA1}: correct apiVersion"
        )],
    );

    // A login that somebody does meanwhile.
    let again = crate::support::run::Running::start(person.home.command(super::PODCREDS, "init", &[]));
    says(&again, "correct apiVersion");
    person.answers(V1BETA1, &json!({"token": token}));
    let finished = again.wait(crate::kubectl::PATIENCE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    person.home.put("plugin/give-credential", "test, and no right to execute it");
    person.fails(&[], 2, &[&command, "cannot be executed: permission denied"]);
    fs::remove_file(person.home.path("plugin/give-credential")).unwrap();
    person.fails(&[], 2, &[&command, "not found", "the kubeconfig says: Get it from the test."]);
}

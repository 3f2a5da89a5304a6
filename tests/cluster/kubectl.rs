//! A namespace of a real cluster, by way of kubectl.

use std::env;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::run::poll_until;
use crate::support::skip::require;

/// Beyond this a pod has not started, or the API server not answered.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A namespace with a service account `app`, gone when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, unless there is no cluster.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        require("KUBECONFIG, which names a real cluster,", env::var_os("KUBECONFIG"))?;
        let name = format!("podcreds-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name };
        namespace
            .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name}}));
        namespace.put("v1", "ServiceAccount", "app", json!({}));
        Some(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name that the API server knows the service account by.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:app", self.name)
    }

    pub(crate) fn apply(&self, object: &Value) {
        kubectl(&["apply", "-f", "-"], object.to_string().as_bytes());
    }

    /// Applies an object of this namespace; `body` holds all but its kind and name.
    pub(crate) fn put(&self, api_version: &str, kind: &str, name: &str, body: Value) {
        let mut object = body;
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = self.name.as_str().into();
        self.apply(&object);
    }

    pub(crate) fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.put("v1", "Secret", name, json!({"stringData": data}));
    }

    /// Grants the service account these rules, and nothing else.
    pub(crate) fn grant(&self, rules: &Value) {
        let api = "rbac.authorization.k8s.io";
        self.put(&format!("{api}/v1"), "Role", "app", json!({"rules": rules}));
        let binding = json!({
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "app"},
            "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": self.name}],
        });
        self.put(&format!("{api}/v1"), "RoleBinding", "app", binding);
    }

    /// The rights that a pod with these Secrets needs.
    pub(crate) fn grant_least(&self, secrets: &[&str]) {
        self.grant(&json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get"]},
        ]));
    }

    /// A token of the service account, from the TokenRequest API.
    pub(crate) fn token(&self) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/app/token", self.name);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = kubectl(&["create", "--raw", &path, "-f", "-"], request.to_string().as_bytes());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Runs kubectl in this namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&[&["-n", self.name.as_str()], args].concat(), b"")
    }

    pub(crate) fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"])).unwrap()
    }

    /// Waits until a pod's status is as it should be, and returns it.
    pub(crate) fn pod_status(&self, pod: &str, what: &str, mut reached: impl FnMut(&Value) -> bool) -> Value {
        let mut status = Value::Null;
        poll_until(PATIENCE, &format!("pod {pod} {what}: {}", self.name), || {
            status = self.get(&format!("pod/{pod}"))["status"].take();
            reached(&status)
        });
        status
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = output(&["delete", "namespace", &self.name, "--wait=false"], b"");
    }
}

fn output(args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("kubectl");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl is installed");
    child.stdin.take().expect("stdin is piped").write_all(input).expect("kubectl reads");
    child.wait_with_output().expect("kubectl ends")
}

fn kubectl(args: &[&str], input: &[u8]) -> String {
    let output = output(args, input);
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("kubectl prints text")
}

/// The API server's address and CA, as kubectl knows them.
pub(crate) fn server() -> (String, String, String) {
    let config: Value =
        serde_json::from_str(&kubectl(&["config", "view", "--minify", "--raw", "-o", "json"], b"")).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let ca = match (&cluster["certificate-authority-data"], &cluster["certificate-authority"]) {
        (Value::String(data), _) => {
            use base64::Engine;
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
        }
        (_, path) => std::fs::read_to_string(path.as_str().expect("a cluster has a CA")).unwrap(),
    };
    let url = cluster["server"].as_str().unwrap();
    let (host, port) = url.trim_start_matches("https://").rsplit_once(':').expect("the server has a port");
    (host.to_owned(), port.to_owned(), ca)
}

//! A namespace of a real cluster, managed through kubectl.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::requirements;
use crate::support::run::poll_until;

/// The longest time to wait for a pod to start or for the API server to respond.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Locked for reading while kubectl needs the kubelet (`exec`, `logs`), and for writing by the test that restarts the kubelet.
pub(crate) static KUBELET: RwLock<()> = RwLock::new(());

/// A namespace with a service account `app`. Dropping it deletes the namespace.
pub(crate) struct Namespace {
    name: String,
    kubeconfig: OsString,
}

impl Namespace {
    /// Creates a namespace; `None` means that the test has no cluster and is skipped.
    pub(crate) fn new() -> Option<Self> {
        Some(Self::in_cluster(&requirements::kubeconfig()?))
    }

    /// Creates a namespace in the cluster of this kubeconfig.
    pub(crate) fn in_cluster(kubeconfig: &OsStr) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("podcreds-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name, kubeconfig: kubeconfig.to_owned() };
        namespace
            .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name}}));
        namespace.put("v1", "ServiceAccount", "app", json!({}));
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The API server's user name for the service account.
    pub(crate) fn user(&self) -> String {
        format!("system:serviceaccount:{}:app", self.name)
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.run(&["apply", "-f", "-"], object.to_string().as_bytes());
    }

    /// Applies an object in this namespace; `body` is the object without kind and name.
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

    /// Grants the service account exactly these rules.
    pub(crate) fn grant(&self, rules: &Value) {
        let api = "rbac.authorization.k8s.io";
        self.put(&format!("{api}/v1"), "Role", "app", json!({"rules": rules}));
        let binding = json!({
            "roleRef": {"apiGroup": api, "kind": "Role", "name": "app"},
            "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": self.name}],
        });
        self.put(&format!("{api}/v1"), "RoleBinding", "app", binding);
    }

    /// Grants the rights that `init` needs for these Secrets.
    pub(crate) fn grant_least(&self, secrets: &[&str]) {
        self.grant_on(secrets, &["get"]);
    }

    /// Grants the rights that a sidecar needs to watch these Secrets.
    pub(crate) fn grant_watch(&self, secrets: &[&str]) {
        self.grant_on(secrets, &["get", "watch"]);
    }

    fn grant_on(&self, secrets: &[&str], verbs: &[&str]) {
        self.grant(&json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": verbs},
        ]));
    }

    /// A token of the service account, from the TokenRequest API.
    pub(crate) fn token(&self) -> String {
        self.token_with(json!({}))
    }

    /// A token that becomes invalid when this Secret is deleted.
    pub(crate) fn token_bound_to(&self, secret: &str) -> String {
        self.token_with(json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": secret}}))
    }

    fn token_with(&self, spec: Value) -> String {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/app/token", self.name);
        let mut request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"});
        request["spec"] = spec;
        let response = self.run(&["create", "--raw", &path, "-f", "-"], request.to_string().as_bytes());
        let response: Value = serde_json::from_str(&response).unwrap();
        response["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Runs kubectl in this namespace.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.run(&[&["-n", self.name.as_str()], args].concat(), b"")
    }

    /// kubectl for the cluster of this namespace, without arguments.
    pub(crate) fn command(&self) -> Command {
        self.command_of("kubectl")
    }

    /// A program that runs kubectl for the cluster of this namespace.
    pub(crate) fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.connect(&mut command);
        command
    }

    /// Lets a command use the cluster of this namespace.
    pub(crate) fn connect(&self, command: &mut Command) {
        command.env("KUBECONFIG", &self.kubeconfig);
    }

    /// Runs a command in a container that may end the container, and the command with it.
    pub(crate) fn exec_to_the_end(&self, pod: &str, container: &str, command: &[&str]) {
        let exec = ["-n", self.name.as_str(), "exec", pod, "-c", container, "--"];
        self.output_with_kubelet(&[&exec, command].concat(), b"");
    }

    /// Sends an object to a path of the API, and returns the response or the message of kubectl.
    pub(crate) fn create_raw(&self, path: &str, object: &Value) -> Result<String, String> {
        let output = self.output(&["create", "--raw", path, "-f", "-"], object.to_string().as_bytes());
        let text = if output.status.success() { &output.stdout } else { &output.stderr };
        let text = String::from_utf8_lossy(text).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    fn run(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.output_with_kubelet(args, input);
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("kubectl prints text")
    }

    fn output_with_kubelet(&self, args: &[&str], input: &[u8]) -> Output {
        let needs_kubelet = ["exec", "logs"].iter().any(|subcommand| args.contains(subcommand));
        let _kubelet = needs_kubelet.then(|| KUBELET.read().unwrap_or_else(PoisonError::into_inner));
        self.output(args, input)
    }

    fn output(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl is installed");
        child.stdin.take().expect("stdin is piped").write_all(input).expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }

    /// The API server's host, port and CA from kubectl's configuration.
    pub(crate) fn server(&self) -> (String, String, String) {
        let config = self.run(&["config", "view", "--minify", "--raw", "-o", "json"], b"");
        let config: Value = serde_json::from_str(&config).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let ca = match (&cluster["certificate-authority-data"], &cluster["certificate-authority"]) {
            (Value::String(data), _) => {
                use base64::Engine;
                String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
            }
            (_, path) => std::fs::read_to_string(path.as_str().expect("a cluster has a CA")).unwrap(),
        };
        let url = cluster["server"].as_str().unwrap();
        let (host, port) =
            url.trim_start_matches("https://").rsplit_once(':').expect("the server has a port");
        (host.to_owned(), port.to_owned(), ca)
    }

    pub(crate) fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", object, "-o", "json"])).unwrap()
    }

    /// Waits until a pod's status satisfies `reached`, and returns it.
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
        let _ = self.output(&["delete", "namespace", &self.name, "--wait=false"], b"");
    }
}

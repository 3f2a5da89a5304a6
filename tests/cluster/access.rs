//! Every authentication method that works outside of a pod, against a real API server: what the API server accepts, and what
//! podcreds reports.

mod certificate;
mod clusters;
mod fairness;
mod kubeconfig;
mod plugin;

use std::env;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::sidecar::FIRST;
use crate::support::home::{self, Home, base64};
use crate::support::openssl::{self, KeyForm, X509};
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::skip::require;

const PODCREDS: &str = env!("CARGO_BIN_EXE_podcreds");
const RBAC: &str = "rbac.authorization.k8s.io";

/// A home directory with a kubeconfig, and a namespace with the Secret `db`, which its users may not read yet.
struct Laptop {
    namespace: Namespace,
    home: Home,
    /// `https://host:port`
    url: String,
    /// The certificate authority of the cluster, in PEM.
    authority: String,
}

impl Laptop {
    /// `None` means that no cluster is available.
    fn new() -> Option<Self> {
        let namespace = Namespace::new()?;
        let (host, port, authority) = namespace.server();
        let laptop = Self {
            namespace,
            home: Home::new(&[("db", "db")]),
            url: format!("https://{host}:{port}"),
            authority,
        };
        laptop.put_password(FIRST);
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get", "watch"]}]);
        laptop.namespace.put(&format!("{RBAC}/v1"), "Role", "db", json!({"rules": rules}));
        Some(laptop)
    }

    fn put_password(&self, password: &str) {
        self.namespace.put_secret("db", &[("password", password)]);
    }

    /// A user or group name that no other test uses.
    fn unique_name(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace.name())
    }

    /// Lets only this subject (`User`, `Group` or `ServiceAccount`) read the Secret.
    fn grant_only(&self, kind: &str, name: &str) {
        let subject = match kind {
            "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": self.namespace.name()}),
            _ => json!({"kind": kind, "name": name, "apiGroup": RBAC}),
        };
        let role = json!({"apiGroup": RBAC, "kind": "Role", "name": "db"});
        let binding = json!({"roleRef": role, "subjects": [subject]});
        self.namespace.put(&format!("{RBAC}/v1"), "RoleBinding", "db", binding);
    }

    /// The cluster entry of a kubeconfig.
    fn cluster(&self) -> Value {
        json!({"server": self.url, "certificate-authority-data": base64(&self.authority)})
    }

    fn kubeconfig(&self, user: &Value) -> Value {
        home::kubeconfig(&self.cluster(), user, self.namespace.name())
    }

    /// Writes the kubeconfig in the home directory, with this user entry.
    fn use_credentials(&self, user: &Value) {
        self.home.put_kubeconfig(".kube/config", &self.kubeconfig(user));
    }

    fn init(&self, args: &[&str]) -> Finished {
        run(self.home.command(PODCREDS, "init", args), PATIENCE)
    }

    /// Runs `init`, which must read the Secret.
    #[track_caller]
    fn init_succeeds(&self, args: &[&str]) -> Finished {
        self.home.clear();
        let finished = self.init(args);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert_eq!(self.home.read("db/password"), FIRST);
        finished
    }

    /// Runs `init`, which must fail with this code and with a message that contains all `parts`.
    #[track_caller]
    fn init_fails(&self, args: &[&str], code: i32, parts: &[&str]) -> Finished {
        let mut command = self.home.command(PODCREDS, "init", args);
        command.env("PODCREDS_TIMEOUT", "1s");
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(code), "{}", finished.stderr);
        for part in parts {
            assert!(finished.stderr.contains(part), "{part}\nis not in\n{}", finished.stderr);
        }
        finished
    }

    /// Starts `sidecar`, which polls several times a second, and waits for the first password.
    #[track_caller]
    fn start_sidecar(&self) -> Running {
        let args = ["--sync", "poll", "--poll-interval", "200ms", "--log-level", "debug"];
        let sidecar = Running::start(self.home.command(PODCREDS, "sidecar", &args));
        self.wait_for_password(FIRST);
        sidecar
    }

    #[track_caller]
    fn wait_for_password(&self, password: &str) {
        wait_until(password, || self.home.read("db/password") == password);
    }

    fn create_temporarily(&self, objects: &[Value]) -> TemporaryObjects<'_> {
        let name = |object: &Value| {
            let [kind, name] =
                [&object["kind"], &object["metadata"]["name"]].map(|text| text.as_str().unwrap());
            format!("{kind}/{name}")
        };
        objects.iter().for_each(|object| self.namespace.apply(object));
        TemporaryObjects { namespace: &self.namespace, names: objects.iter().map(name).collect() }
    }

    /// A client certificate for this subject and its key. Skips the test unless the CA's key is next to the tests' kubeconfig.
    fn certificate(&self, subject: &str, form: KeyForm, version: X509) -> Option<(String, String)> {
        let pki = env::var_os("KUBECONFIG").map(PathBuf::from)?.parent()?.join("pki");
        let found = Some(pki).filter(|pki| pki.join("ca.key").exists());
        let pki = require("pki/ca.key next to KUBECONFIG, to sign client certificates,", found)?;
        require("openssl", openssl::found())?;
        Some(openssl::client((&pki.join("ca.crt"), &pki.join("ca.key")), subject, form, version))
    }
}

/// Cluster-scoped objects that are deleted on drop.
struct TemporaryObjects<'a> {
    namespace: &'a Namespace,
    /// In kubectl's form, `Kind/name`.
    names: Vec<String>,
}

impl Drop for TemporaryObjects<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.namespace.command().args(["delete", name, "--wait=false"]).output();
        }
    }
}

#[track_caller]
fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    poll_until(PATIENCE, what, condition);
}

#[track_caller]
fn wait_for_stderr(running: &Running, text: &str) {
    wait_until(text, || running.stderr().contains(text));
}

//! Every way into a cluster, from outside of a pod, against a real API server: who says that somebody is somebody, and what the
//! program makes of it.

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

/// Somebody at home, the Secret `db` in a namespace, and no right to it yet.
struct Person {
    namespace: Namespace,
    home: Home,
    /// `https://host:port`
    url: String,
    /// The authority of the cluster, in PEM.
    authority: String,
}

impl Person {
    /// Unless there is no cluster.
    fn new() -> Option<Self> {
        let namespace = Namespace::new()?;
        let (host, port, authority) = namespace.server();
        let person = Self {
            namespace,
            home: Home::new(&[("db", "db")]),
            url: format!("https://{host}:{port}"),
            authority,
        };
        person.put_password(FIRST);
        let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get", "watch"]}]);
        person.namespace.put(&format!("{RBAC}/v1"), "Role", "db", json!({"rules": rules}));
        Some(person)
    }

    fn put_password(&self, password: &str) {
        self.namespace.put_secret("db", &[("password", password)]);
    }

    /// A name of a user that no other test has.
    fn user(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace.name())
    }

    /// Lets this subject (`User`, `Group` or `ServiceAccount`) read the Secret, and nobody else.
    fn lets(&self, kind: &str, name: &str) {
        let subject = match kind {
            "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": self.namespace.name()}),
            _ => json!({"kind": kind, "name": name, "apiGroup": RBAC}),
        };
        let role = json!({"apiGroup": RBAC, "kind": "Role", "name": "db"});
        let binding = json!({"roleRef": role, "subjects": [subject]});
        self.namespace.put(&format!("{RBAC}/v1"), "RoleBinding", "db", binding);
    }

    /// The cluster as it stands in a kubeconfig.
    fn cluster(&self) -> Value {
        json!({"server": self.url, "certificate-authority-data": base64(&self.authority)})
    }

    fn kubeconfig(&self, user: &Value) -> Value {
        home::kubeconfig(&self.cluster(), user, self.namespace.name())
    }

    /// Puts the kubeconfig in the home folder, for this user.
    fn is(&self, user: &Value) {
        self.home.put_kubeconfig(".kube/config", &self.kubeconfig(user));
    }

    fn init(&self, args: &[&str]) -> Finished {
        run(self.home.command(PODCREDS, "init", args), PATIENCE)
    }

    /// Runs `init`, which must read the Secret.
    #[track_caller]
    fn reads(&self, args: &[&str]) -> Finished {
        self.home.clear();
        let finished = self.init(args);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert_eq!(self.home.read("db/password"), FIRST);
        finished
    }

    /// Runs `init`, which must fail with this code and say all this.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, parts: &[&str]) -> Finished {
        let mut command = self.home.command(PODCREDS, "init", args);
        command.env("PODCREDS_TIMEOUT", "300ms");
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(code), "{}", finished.stderr);
        for part in parts {
            assert!(finished.stderr.contains(part), "{part}\nis not in\n{}", finished.stderr);
        }
        finished
    }

    /// Starts `sidecar`, which asks several times a second, and waits until the Secret is there.
    #[track_caller]
    fn follows(&self) -> Running {
        let args = ["--sync", "poll", "--poll-interval", "200ms", "--log-level", "debug"];
        let sidecar = Running::start(self.home.command(PODCREDS, "sidecar", &args));
        self.arrives(FIRST);
        sidecar
    }

    #[track_caller]
    fn arrives(&self, password: &str) {
        waits(password, || self.home.read("db/password") == password);
    }

    fn for_a_while(&self, objects: &[Value]) -> ForAWhile<'_> {
        let name = |object: &Value| {
            let [kind, name] =
                [&object["kind"], &object["metadata"]["name"]].map(|text| text.as_str().unwrap());
            format!("{kind}/{name}")
        };
        objects.iter().for_each(|object| self.namespace.apply(object));
        ForAWhile { namespace: &self.namespace, names: objects.iter().map(name).collect() }
    }

    /// A client certificate for this subject and its key, where the authority's key lies beside the kubeconfig of the tests.
    fn certificate(&self, subject: &str, form: KeyForm, version: X509) -> Option<(String, String)> {
        let pki = env::var_os("KUBECONFIG").map(PathBuf::from)?.parent()?.join("pki");
        let found = Some(pki).filter(|pki| pki.join("ca.key").exists());
        let pki = require("pki/ca.key beside KUBECONFIG, to sign client certificates,", found)?;
        require("openssl", openssl::found())?;
        Some(openssl::client((&pki.join("ca.crt"), &pki.join("ca.key")), subject, form, version))
    }
}

/// Objects that belong to no namespace, gone when dropped.
struct ForAWhile<'a> {
    namespace: &'a Namespace,
    /// As kubectl names them, `Kind/name`.
    names: Vec<String>,
}

impl Drop for ForAWhile<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.namespace.command().args(["delete", name, "--wait=false"]).output();
        }
    }
}

#[track_caller]
fn waits(what: &str, condition: impl FnMut() -> bool) {
    poll_until(PATIENCE, what, condition);
}

#[track_caller]
fn says(running: &Running, text: &str) {
    waits(text, || running.stderr().contains(text));
}

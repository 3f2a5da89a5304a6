//! Access from outside of a pod, through a kubeconfig: which file is read, which authority is trusted, which proxy is
//! used.

mod named;
mod proxy;
mod tls;

use serde_json::{Value, json};

use crate::support::home::{Home, base64, kubeconfig};
use crate::support::run::{Finished, Running, run};
use crate::support::server::{ApiServer, NAMESPACE, TOKEN};
use crate::{HANGS, PASSWORD, PODCREDS, assert_code, assert_has};

/// A cluster with the Secret `db`, and the home directory of a user who may read it.
struct Outside {
    server: ApiServer,
    home: Home,
}

impl Outside {
    fn new() -> Self {
        Self::with_server(ApiServer::start())
    }

    fn with_server(server: ApiServer) -> Self {
        let outside = Self { server, home: Home::new(&[("db", "db")]) };
        outside.put_password(PASSWORD);
        outside
    }

    fn put_password(&self, password: &str) {
        self.server.put_secret(NAMESPACE, "db", &[("password", password.as_bytes())]);
    }

    /// The kubeconfig's cluster entry, with `more` keys.
    fn cluster(&self, more: &Value) -> Value {
        let authority = base64(self.server.authority().pem());
        let mut cluster = json!({"server": self.server.url(), "certificate-authority-data": authority});
        for (key, value) in more.as_object().unwrap() {
            cluster[key] = value.clone();
        }
        cluster
    }

    /// Writes the kubeconfig `config` with this cluster and the accepted token.
    fn configure(&self, cluster: &Value) {
        self.configure_as(cluster, &json!({"token": TOKEN}));
    }

    fn configure_as(&self, cluster: &Value, user: &Value) {
        self.home.put_kubeconfig("config", &kubeconfig(cluster, user, NAMESPACE));
    }

    /// Runs `init` with that kubeconfig.
    fn init(&self, args: &[&str]) -> Finished {
        let args = [&["--kubeconfig", "config"], args].concat();
        let finished = run(self.home.command(PODCREDS, "init", &args), HANGS);
        assert!(!finished.stderr.contains(TOKEN) && !finished.stderr.contains(PASSWORD), "{finished:?}");
        finished
    }

    /// Runs `init`, which must fail because the cluster is unreachable, after more than one attempt.
    #[track_caller]
    fn fails(&self, args: &[&str], parts: &[&str]) -> Finished {
        let finished = self.init(&[&["--timeout", "300ms"], args].concat());
        assert_code(&finished, 4);
        assert_has(&finished.stderr, parts);
        finished
    }

    /// Starts `sidecar` with that kubeconfig.
    fn sidecar(&self, args: &[&str]) -> Running {
        let args = [&["--kubeconfig", "config"], args].concat();
        Running::start(self.home.command(PODCREDS, "sidecar", &args))
    }

    fn read(&self) -> String {
        self.home.read("db/password")
    }
}

//! The ways in from outside of a pod, by a kubeconfig: whom to trust, through which proxy, and which file is read.

mod named;
mod proxy;
mod tls;

use serde_json::{Value, json};

use crate::support::home::{Home, base64, kubeconfig};
use crate::support::run::{Finished, Running, run};
use crate::support::server::{ApiServer, NAMESPACE, TOKEN};
use crate::{HANGS, PASSWORD, PODCREDS};

/// A cluster with the Secret `db`, and a home folder of somebody who may read it.
struct Outside {
    server: ApiServer,
    home: Home,
}

impl Outside {
    fn new() -> Self {
        Self::of(ApiServer::start())
    }

    fn of(server: ApiServer) -> Self {
        let outside = Self { server, home: Home::new(&[("db", "db")]) };
        outside.put_password(PASSWORD);
        outside
    }

    fn put_password(&self, password: &str) {
        self.server.put_secret(NAMESPACE, "db", &[("password", password.as_bytes())]);
    }

    /// The cluster as it stands in a kubeconfig, with these keys too.
    fn cluster(&self, more: &Value) -> Value {
        let authority = base64(self.server.authority().pem());
        let mut cluster = json!({"server": self.server.url(), "certificate-authority-data": authority});
        for (key, value) in more.as_object().unwrap() {
            cluster[key] = value.clone();
        }
        cluster
    }

    /// Puts the kubeconfig `config` in place, for this cluster and the token that the server knows.
    fn enters(&self, cluster: &Value) {
        self.enters_as(cluster, &json!({"token": TOKEN}));
    }

    fn enters_as(&self, cluster: &Value, user: &Value) {
        self.home.put_kubeconfig("config", &kubeconfig(cluster, user, NAMESPACE));
    }

    /// Runs `init` with that kubeconfig. Whoever cannot get in has tried more than once by then.
    fn init(&self, args: &[&str]) -> Finished {
        let mut command = self.home.command(PODCREDS, "init", &[&["--kubeconfig", "config"], args].concat());
        command.env("PODCREDS_TIMEOUT", "300ms");
        let finished = run(command, HANGS);
        assert!(!finished.stderr.contains(TOKEN) && !finished.stderr.contains(PASSWORD), "{finished:?}");
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

//! The program as a process outside of any pod, with the rights and the annotations of one.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};

/// A pod object that is never scheduled, and the files that its container would find.
pub(crate) struct Scene {
    pub(crate) namespace: Namespace,
    pub(crate) folder: PodFolder,
    pub(crate) server: (String, String),
}

impl Scene {
    /// Makes one with these annotations, unless there is no cluster.
    pub(crate) fn new(annotations: &Value) -> Option<Self> {
        Some(Self::of(Namespace::new()?, annotations))
    }

    /// Makes one in this namespace.
    pub(crate) fn of(namespace: Namespace, annotations: &Value) -> Self {
        let (host, port, ca) = namespace.server();
        let folder = PodFolder::with(&ca, &namespace.token(), namespace.name());
        let pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {
                "serviceAccountName": "app",
                "nodeSelector": {"podcreds.io/no-such-node": "true"},
                "containers": [{"name": "app", "image": "docker.io/local/none:none"}],
            },
        });
        namespace.put("v1", "Pod", "app-0", pod);
        Self { namespace, folder, server: (host, port) }
    }

    pub(crate) fn command(&self, subcommand: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
        self.pass(command.arg(subcommand).args(args));
        command
    }

    /// Gives a command the environment of the pod, and no other.
    pub(crate) fn pass(&self, command: &mut Command) {
        command
            .env_clear()
            .env("KUBERNETES_SERVICE_HOST", &self.server.0)
            .env("KUBERNETES_SERVICE_PORT", &self.server.1)
            .env("POD_NAME", "app-0")
            .env("PODCREDS_SERVICE_ACCOUNT_DIR", self.folder.service_account())
            .env("PODCREDS_VOLUME", self.folder.volume())
            // Tests run side by side, and one port has room for one sidecar.
            .env("PODCREDS_LISTEN", "off")
            .env("PODCREDS_TERMINATION_LOG", self.folder.termination_log());
    }

    pub(crate) fn init(&self, args: &[&str]) -> Finished {
        run(self.command("init", args), PATIENCE)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.volume().join(path)).unwrap_or_else(|error| format!("{error:?}"))
    }
}

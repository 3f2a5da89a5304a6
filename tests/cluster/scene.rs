//! podcreds as a process outside of any pod, with the rights and the annotations of a pod.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::kubectl::{Namespace, PATIENCE};
use crate::support::pod::PodFolder;
use crate::support::run::{Finished, run};

/// A pod object that is never scheduled, and the files that its container would have.
pub(crate) struct Scene {
    pub(crate) namespace: Namespace,
    pub(crate) directory: PodFolder,
    pub(crate) server: (String, String),
}

impl Scene {
    /// Creates a pod with these annotations in a new namespace; `None` means that the test has no cluster.
    pub(crate) fn new(annotations: &Value) -> Option<Self> {
        Some(Self::in_namespace(Namespace::new()?, annotations))
    }

    /// Creates a pod with these annotations in this namespace.
    pub(crate) fn in_namespace(namespace: Namespace, annotations: &Value) -> Self {
        let (host, port, ca) = namespace.server();
        let directory = PodFolder::with(&ca, &namespace.token(), namespace.name());
        let pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {
                "serviceAccountName": "app",
                "nodeSelector": {"podcreds.io/no-such-node": "true"},
                "containers": [{"name": "app", "image": "docker.io/local/none:none"}],
            },
        });
        namespace.put("v1", "Pod", "app-0", pod);
        Self { namespace, directory, server: (host, port) }
    }

    pub(crate) fn command(&self, subcommand: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podcreds"));
        self.set_environment(command.arg(subcommand).args(args));
        command
    }

    /// Sets a command's environment to that of the pod.
    pub(crate) fn set_environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("KUBERNETES_SERVICE_HOST", &self.server.0)
            .env("KUBERNETES_SERVICE_PORT", &self.server.1)
            .env("POD_NAME", "app-0")
            .env("PODCREDS_SERVICE_ACCOUNT_DIR", self.directory.service_account())
            .env("PODCREDS_VOLUME", self.directory.volume())
            // Tests run in parallel, and only one sidecar can listen on a port.
            .env("PODCREDS_LISTEN", "off")
            .env("PODCREDS_TERMINATION_LOG", self.directory.termination_log());
    }

    pub(crate) fn init(&self, args: &[&str]) -> Finished {
        run(self.command("init", args), PATIENCE)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.directory.volume().join(path)).unwrap_or_else(|error| format!("{error:?}"))
    }
}

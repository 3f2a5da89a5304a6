//! The environment of a user who runs the program outside of a pod: a home directory with kubeconfigs, and a volume.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program;

/// A home directory, removed on drop.
pub(crate) struct Home {
    root: TempDir,
}

impl Home {
    /// Creates the volume and an annotations file with one credential for each `(name, Secret)`.
    pub(crate) fn new(secrets: &[(&str, &str)]) -> Self {
        let root =
            tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary directory");
        let home = Self { root };
        fs::create_dir(home.volume()).unwrap();
        let lines = secrets.iter().map(|(name, secret)| format!("podcreds.io/{name}.secret=\"{secret}\"\n"));
        home.put("annotations", &lines.collect::<String>());
        home
    }

    /// A path in the home directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.path("volume")
    }

    /// Writes a file atomically.
    pub(crate) fn put(&self, name: &str, content: &str) -> PathBuf {
        let (new, path) = (self.path(&format!("{name}.new")), self.path(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// Writes a script for `sh`.
    pub(crate) fn put_script(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        program::script(&path, script);
        path
    }

    /// Writes a kubeconfig as JSON, which is valid YAML.
    pub(crate) fn put_kubeconfig(&self, name: &str, kubeconfig: &Value) -> PathBuf {
        self.put(name, &kubeconfig.to_string())
    }

    /// The program with a minimal environment: the home directory and the paths of its files.
    pub(crate) fn command(&self, binary: &str, subcommand: &str, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .arg(subcommand)
            .args(args)
            .env_clear()
            .env("HOME", self.root.path())
            .env("PODCREDS_ANNOTATIONS_FILE", self.path("annotations"))
            .env("PODCREDS_VOLUME", self.volume())
            .env("PODCREDS_TERMINATION_LOG", self.path("termination-log"))
            // Tests run in parallel, and only one sidecar can listen on the default port.
            .env("PODCREDS_LISTEN", "off")
            .current_dir(self.root.path());
        command
    }

    /// Empties the volume.
    pub(crate) fn clear(&self) {
        fs::remove_dir_all(self.volume()).unwrap();
        fs::create_dir(self.volume()).unwrap();
    }

    /// Reads a file of the volume.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.volume().join(path)).unwrap_or_else(|error| format!("{error:?}"))
    }
}

/// A kubeconfig with one context, `test`, of this cluster, this user and this namespace.
pub(crate) fn kubeconfig(cluster: &Value, user: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
    })
}

/// Encodes file contents for a `*-data` field of a kubeconfig.
pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

/// A path as text, for a kubeconfig.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory has a plain name")
}

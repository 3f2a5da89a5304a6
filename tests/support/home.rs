//! What somebody has who runs the program outside of any pod: a home folder, kubeconfigs and other files in it, a volume.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::program;

/// A home folder. Gone when dropped.
pub(crate) struct Home {
    root: TempDir,
}

impl Home {
    /// Empty but for the volume and an annotations file, which asks for these Secrets by credential.
    pub(crate) fn new(secrets: &[(&str, &str)]) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary folder");
        let home = Self { root };
        fs::create_dir(home.volume()).unwrap();
        let lines = secrets.iter().map(|(name, secret)| format!("podcreds.io/{name}.secret=\"{secret}\"\n"));
        home.put("annotations", &lines.collect::<String>());
        home
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.path("volume")
    }

    /// Puts a file in place in one step.
    pub(crate) fn put(&self, name: &str, content: &str) -> PathBuf {
        let (new, path) = (self.path(&format!("{name}.new")), self.path(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// Puts a program for `sh` in place.
    pub(crate) fn put_script(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        program::script(&path, script);
        path
    }

    /// Puts a kubeconfig in place, in JSON, which is YAML too.
    pub(crate) fn put_kubeconfig(&self, name: &str, kubeconfig: &Value) -> PathBuf {
        self.put(name, &kubeconfig.to_string())
    }

    /// The program with nothing in its environment but a home folder and where its files go.
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
            // Tests run side by side, and one port has room for one sidecar.
            .env("PODCREDS_LISTEN", "off")
            .current_dir(self.root.path());
        command
    }

    /// Takes away all that the program wrote.
    pub(crate) fn clear(&self) {
        fs::remove_dir_all(self.volume()).unwrap();
        fs::create_dir(self.volume()).unwrap();
    }

    /// What the program wrote.
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

/// A file of a kubeconfig as it stands in one.
pub(crate) fn base64(text: impl AsRef<[u8]>) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}

/// A path as it stands in a kubeconfig.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

//! The files and environment of a pod's container, in a temporary directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::server::{ApiServer, NAMESPACE, TOKEN};

/// The name that `POD_NAME` holds.
pub(crate) const POD: &str = "app-0";

/// A service account directory, an empty volume and a termination log, removed on drop.
pub(crate) struct PodFolder {
    root: TempDir,
}

impl PodFolder {
    /// Creates the files for a pod of this server's cluster: its CA, the token `test-token-1`, the namespace `prod`.
    pub(crate) fn new(server: &ApiServer) -> Self {
        Self::with(&server.authority().pem(), TOKEN, NAMESPACE)
    }

    /// Creates the files with these contents of the service account directory.
    pub(crate) fn with(ca: &str, token: &str, namespace: &str) -> Self {
        let root =
            tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary directory");
        let pod = Self { root };
        fs::create_dir(pod.service_account()).unwrap();
        fs::create_dir(pod.volume()).unwrap();
        fs::write(pod.termination_log(), "").unwrap();
        project(
            &pod.service_account(),
            &[("ca.crt", ca.into()), ("namespace", namespace.into()), ("token", token.into())],
        );
        pod
    }

    /// The directory around all of it; tests may add files.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// In a real pod: `/var/run/secrets/kubernetes.io/serviceaccount`.
    pub(crate) fn service_account(&self) -> PathBuf {
        self.root().join("serviceaccount")
    }

    /// The shared volume, empty at first.
    pub(crate) fn volume(&self) -> PathBuf {
        self.root().join("volume")
    }

    /// In a real pod: `/dev/termination-log`. Empty at first.
    pub(crate) fn termination_log(&self) -> PathBuf {
        self.root().join("termination-log")
    }

    /// The contents of the termination log.
    pub(crate) fn termination_message(&self) -> String {
        fs::read_to_string(self.termination_log()).unwrap()
    }

    /// Replaces the token, updating the three files together.
    pub(crate) fn rotate_token(&self, token: &str) {
        self.replace("token", token);
    }

    /// Replaces `ca.crt`.
    pub(crate) fn replace_ca(&self, pem: &str) {
        self.replace("ca.crt", pem);
    }

    /// Runs `binary` as a container does: its environment holds only what Kubernetes and the manifest set.
    pub(crate) fn command(&self, binary: &Path, server: &ApiServer) -> Command {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("KUBERNETES_SERVICE_HOST", server.address().ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", server.address().port().to_string())
            .env("POD_NAME", POD)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("PODCREDS_SERVICE_ACCOUNT_DIR", self.service_account())
            .env("PODCREDS_VOLUME", self.volume())
            .env("PODCREDS_TERMINATION_LOG", self.termination_log())
            .current_dir(self.root());
        command
    }

    fn replace(&self, name: &'static str, content: &str) {
        let directory = self.service_account();
        let files: Vec<(&str, String)> = ["ca.crt", "namespace", "token"]
            .into_iter()
            .map(|file| (file, fs::read_to_string(directory.join(file)).unwrap()))
            .map(|(file, old)| (file, if file == name { content.to_owned() } else { old }))
            .collect();
        project(&directory, &files);
    }
}

/// Publishes files like the kubelet's atomic writer: write a new directory, rename `..data` to it, remove the old one
/// (<https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go>).
fn project(directory: &Path, files: &[(&str, String)]) {
    let data = directory.join("..data");
    let before = fs::read_link(&data).ok();

    let version =
        tempfile::Builder::new().prefix("..2026_01_01_00_00_00.").tempdir_in(directory).unwrap().keep();
    fs::set_permissions(&version, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, content) in files {
        fs::write(version.join(name), content).unwrap();
    }

    let link = directory.join("..data_tmp");
    symlink(version.file_name().expect("a directory has a name"), &link).unwrap();
    fs::rename(&link, &data).unwrap();

    for (name, _) in files {
        if before.is_none() {
            symlink(Path::new("..data").join(name), directory.join(name)).unwrap();
        }
    }
    if let Some(before) = before {
        fs::remove_dir_all(directory.join(before)).unwrap();
    }
}

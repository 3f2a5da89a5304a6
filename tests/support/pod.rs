//! What a container of a pod finds on disk and in its environment, in a folder of the test's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::server::{ApiServer, NAMESPACE, TOKEN};

/// The name that `POD_NAME` holds.
pub(crate) const POD: &str = "app-0";

/// A service account folder, an empty volume and a termination log. Gone when dropped.
pub(crate) struct PodFolder {
    root: TempDir,
}

impl PodFolder {
    /// For a pod of this server's cluster: its CA, the token `test-token-1`, the namespace `prod`.
    pub(crate) fn new(server: &ApiServer) -> Self {
        Self::with(&server.authority().pem(), TOKEN, NAMESPACE)
    }

    /// With the content of the three files of the service account folder.
    pub(crate) fn with(ca: &str, token: &str, namespace: &str) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary folder");
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

    /// The folder that holds all of it; free for other files of the test.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// In a real pod `/var/run/secrets/kubernetes.io/serviceaccount`.
    pub(crate) fn service_account(&self) -> PathBuf {
        self.root().join("serviceaccount")
    }

    /// The shared volume, empty at first.
    pub(crate) fn volume(&self) -> PathBuf {
        self.root().join("volume")
    }

    /// In a real pod `/dev/termination-log`; empty at first.
    pub(crate) fn termination_log(&self) -> PathBuf {
        self.root().join("termination-log")
    }

    /// What was written to the termination log.
    pub(crate) fn termination_message(&self) -> String {
        fs::read_to_string(self.termination_log()).unwrap()
    }

    /// Puts another token in place, all three files in one step.
    pub(crate) fn rotate_token(&self, token: &str) {
        self.replace("token", token);
    }

    /// Puts another `ca.crt` in place.
    pub(crate) fn replace_ca(&self, pem: &str) {
        self.replace("ca.crt", pem);
    }

    /// `binary` as a container runs it: nothing in its environment but what Kubernetes and the manifest put there.
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
        let folder = self.service_account();
        let files: Vec<(&str, String)> = ["ca.crt", "namespace", "token"]
            .into_iter()
            .map(|file| (file, fs::read_to_string(folder.join(file)).unwrap()))
            .map(|(file, old)| (file, if file == name { content.to_owned() } else { old }))
            .collect();
        project(&folder, &files);
    }
}

/// Publishes files as the kubelet's atomic writer does: a new folder, `..data` renamed over to it, the old one removed
/// (<https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go>).
fn project(folder: &Path, files: &[(&str, String)]) {
    let data = folder.join("..data");
    let before = fs::read_link(&data).ok();

    let version =
        tempfile::Builder::new().prefix("..2026_01_01_00_00_00.").tempdir_in(folder).unwrap().keep();
    fs::set_permissions(&version, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, content) in files {
        fs::write(version.join(name), content).unwrap();
    }

    let link = folder.join("..data_tmp");
    symlink(version.file_name().expect("a folder has a name"), &link).unwrap();
    fs::rename(&link, &data).unwrap();

    for (name, _) in files {
        if before.is_none() {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    if let Some(before) = before {
        fs::remove_dir_all(folder.join(before)).unwrap();
    }
}

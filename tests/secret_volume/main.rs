//! Readers and watchers that work with a Secret volume also work with a podcreds volume: they run on both, while the
//! real sidecar publishes in one and [`SecretVolume`] in the other. `tests/readers/volume/` contains the reading programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod bindings;
mod finding;
mod secret_volume;
mod tools;
mod watching;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use secret_volume::SecretVolume;
use support::pod::PodFolder;
use support::run::{Running, poll_until};
use support::server::ApiServer;

/// The longest time for a process.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any test, so that the removal of an old version causes no event.
const GRACE: &str = "1h";

/// The keys of the Secret, which are also the files of a credential.
const FILES: [&str; 2] = ["config.json", "password"];

/// A pod with a running sidecar, and the same credentials in Secret volumes.
struct Scene {
    /// The first field, so that it is dropped before the server and the directories.
    sidecar: Running,
    server: ApiServer,
    pod: PodFolder,
    mounts: TempDir,
    reference: Vec<SecretVolume>,
}

impl Scene {
    /// Starts a sidecar with these annotations (without their prefix), whose Secret is `db`, and waits until `ready` is in the volume.
    fn start(annotations: &[(&str, &str)], ready: &str) -> Self {
        let server = ApiServer::start();
        let pod = PodFolder::new(&server);
        let named: Vec<_> =
            annotations.iter().map(|(name, value)| (format!("podcreds.io/{name}"), *value)).collect();
        let named: Vec<_> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        server.put_pod("prod", "app-0", &named);
        put(&server, &password(0));
        let mut command = pod.command(Path::new(env!("CARGO_BIN_EXE_podcreds")), &server);
        command.args(["sidecar", "--listen", "off", "--grace", GRACE]);
        let sidecar = Running::start(command);
        let mounts = tempfile::Builder::new().prefix("podcreds-secret-volumes-").tempdir().unwrap();
        let scene = Self { sidecar, server, pod, mounts, reference: Vec::new() };
        scene.wait_until("the first files exist", || scene.path(ready).exists());
        scene.wait_until("the Secret is watched", || scene.server.open_watches() == 1);
        scene
    }

    /// The credential `db` in the directory `db`, and the Secret volume `db`.
    fn plain() -> Self {
        Self::start(&[("db.secret", "db")], "db/password").with_secret_volumes(&["db"])
    }

    /// Two credentials whose directories have the same parent, and the corresponding Secret volumes.
    fn nested() -> Self {
        let annotations =
            [("one.secret", "db"), ("one.path", "conf/app"), ("two.secret", "db"), ("two.path", "conf/web")];
        Self::start(&annotations, "conf/web/password").with_secret_volumes(&["conf/app", "conf/web"])
    }

    /// Mounts Secret volumes at these paths below the reference root.
    fn with_secret_volumes(mut self, mounts: &[&str]) -> Self {
        for mount in mounts {
            let volume = SecretVolume::mount(&self.reference_path(mount));
            volume.publish(&password(0));
            self.reference.push(volume);
        }
        self
    }

    /// Changes the password on both sides.
    fn rotate(&self, password: &str) {
        put(&self.server, password);
        self.reference.iter().for_each(|volume| volume.publish(password));
    }

    /// A path in the podcreds volume.
    fn path(&self, path: &str) -> PathBuf {
        self.pod.volume().join(path)
    }

    /// The same path among the Secret volumes.
    fn reference_path(&self, path: &str) -> PathBuf {
        self.mounts.path().join(path)
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        poll_until(TIMEOUT, &format!("{what}; the sidecar logged:\n{}", self.sidecar.stderr()), condition);
    }
}

/// The password after so many rotations.
fn password(rotation: usize) -> String {
    format!("test-password-{rotation}")
}

/// The content of one of [`FILES`].
fn text(file: &str, password: &str) -> String {
    match file {
        "config.json" => format!("{{\"password\": \"{password}\"}}"),
        _ => password.to_owned(),
    }
}

fn put(server: &ApiServer, password: &str) {
    let texts = FILES.map(|file| text(file, password));
    server.put_secret("prod", "db", &[(FILES[0], texts[0].as_bytes()), (FILES[1], texts[1].as_bytes())]);
}

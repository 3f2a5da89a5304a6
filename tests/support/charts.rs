//! The charts of `deploy/chart`, in a temporary directory, and the Helm that renders them.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The variables that name an executable of Helm 3 and one of Helm 4.
pub(crate) const HELMS: [&str; 2] = ["PODCREDS_TEST_HELM_3", "PODCREDS_TEST_HELM_4"];

/// For the reason why a test is skipped.
pub(crate) const INSTALL: &str = "see CONTRIBUTING.md";

/// `helm template` asks no cluster, and a Helm that `go install` has built renders for Kubernetes 1.20 otherwise.
const KUBE_VERSION: &str = "1.37";

/// The executable that this variable names.
pub(crate) fn helm(variable: &str) -> Option<OsString> {
    env::var_os(variable)
}

/// The library chart, and below it the example with its dependency.
pub(crate) struct Charts {
    directory: TempDir,
    helm: OsString,
}

impl Charts {
    pub(crate) fn new(helm: &OsStr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart");
        copy(&source, &directory.path().join("chart"));
        let charts = Self { directory, helm: helm.to_owned() };
        charts.add_dependency(&charts.example());
        charts
    }

    /// Adds the library chart to the chart in this directory, whose `Chart.yaml` names it.
    pub(crate) fn add_dependency(&self, chart: &Path) {
        let output = self.command().args(["dependency", "build"]).arg(chart).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.directory.path().join("chart")
    }

    pub(crate) fn example(&self) -> PathBuf {
        self.library().join("example")
    }

    /// Helm without arguments, with configuration of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.helm);
        for (variable, directory) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.directory.path().join(directory));
        }
        command
    }

    /// What `helm template` prints for the release `shop` of this chart in the namespace `prod`.
    pub(crate) fn template(&self, chart: &Path, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(["template", "shop"]).arg(chart).args(["--namespace", "prod"]);
        if !arguments.contains(&"--kube-version") {
            command.args(["--kube-version", KUBE_VERSION]);
        }
        command.args(arguments).output().unwrap()
    }
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

//! The real kubectl, isolated from this machine's configuration.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::run::{Finished, run};
use crate::support::skip::require;

/// The longest time for kubectl.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Kubectl {
    program: PathBuf,
    home: TempDir,
}

impl Kubectl {
    pub(crate) fn find() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path)
            .map(|directory| directory.join("kubectl"))
            .find(|program| program.is_file());
        require("kubectl", found).map(|program| Self { program, home: tempfile::tempdir().unwrap() })
    }

    /// The settings that kubectl selects from these files, with the content of certificate files, or kubectl's error.
    pub(crate) fn view(&self, paths: &[PathBuf], context: Option<&str>) -> Result<Value, String> {
        let list = env::join_paths(paths).unwrap();
        let mut arguments = vec!["config", "view", "--raw", "--minify", "--flatten", "-o", "json"];
        arguments.extend(context.iter().flat_map(|context| ["--context", context]));
        let finished = self.run(list, &arguments);
        match finished.code {
            Some(0) => Ok(serde_json::from_slice(&finished.stdout).unwrap()),
            _ => Err(finished.stderr),
        }
    }

    /// kubectl's log of a request with these flags.
    pub(crate) fn log_of_request(&self, path: &Path, flags: &[(&str, Option<&str>)]) -> String {
        let mut arguments = vec!["get", "--raw", "/healthz", "-v=9"];
        arguments.extend(flags.iter().filter_map(|(flag, value)| Some([*flag, (*value)?])).flatten());
        self.run(path.into(), &arguments).stderr
    }

    fn run(&self, kubeconfig: OsString, arguments: &[&str]) -> Finished {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.home.path()).env("KUBECONFIG", kubeconfig).args(arguments);
        run(command, TIMEOUT)
    }
}

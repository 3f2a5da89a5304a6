//! Exec credential plugins: a program that a kubeconfig names, and that prints a token or a client certificate. It is run
//! here, once for each call; keeping what it gave until that expires is the work of whoever calls.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

mod answer;
mod error;
mod process;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

pub(crate) use error::{PluginError, PluginProblem};

use crate::kube::auth::token::Token;
use crate::kube::retry::Deadline;
use crate::secret::SecretBytes;

/// The variable in which a plugin is told what it is asked for.
const INFO: &str = "KUBERNETES_EXEC_INFO";

/// How a credential plugin is run: the entry `exec` of a kubeconfig's user.
/// Source: <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/#ExecConfig>
pub struct Plugin {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub command: PathBuf,
    /// Its arguments. Some have passwords in them.
    pub args: Vec<String>,
    /// What is added to the environment of this process.
    pub env: Vec<(String, SecretBytes)>,
    /// The form of question and answer.
    pub version: PluginVersion,
    /// Whether it may ask somebody.
    pub interactive: Interactive,
    /// What to tell somebody who does not have it.
    pub install_hint: Option<String>,
    /// The cluster that the credential is for, where the kubeconfig says `provideClusterInfo`: the value of `spec.cluster`.
    pub cluster: Option<Value>,
}

/// A version of the API between client and plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginVersion {
    /// `client.authentication.k8s.io/v1`
    V1,
    /// `client.authentication.k8s.io/v1beta1`
    V1Beta1,
}

/// `interactiveMode`: whether a plugin may read from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interactive {
    /// It has no use for one.
    Never,
    /// It takes one where there is one.
    IfAvailable,
    /// It cannot do without.
    Always,
}

/// What a plugin gave: a token, a client certificate, or both.
pub(crate) struct PluginCredential {
    /// The bearer token.
    pub(crate) token: Option<Token>,
    /// The client certificate (and those that lead to its authority) and its key, as PEM. Nobody has looked into them yet.
    pub(crate) certificate: Option<(SecretBytes, SecretBytes)>,
    /// When all of it ends; none means that it holds until the API server refuses it.
    pub(crate) expires: Option<SystemTime>,
}

impl Plugin {
    /// Runs the plugin and reads what it prints. Its standard error is that of this process, so that a prompt can be seen.
    /// It is ended where it takes longer than `timeout`; what it has started in the background is not.
    ///
    /// # Errors
    /// If it cannot be run, fails, takes too long, or prints something else than a credential.
    pub(crate) fn run(&self, timeout: Duration) -> Result<PluginCredential, PluginError> {
        self.run_at(io::stdin().is_terminal(), Deadline::after(timeout))
            .map_err(|problem| PluginError::new(&self.command, problem))
    }

    fn run_at(&self, is_terminal: bool, deadline: Deadline) -> Result<PluginCredential, PluginProblem> {
        let is_interactive = self.interactive.takes(is_terminal)?;
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, OsStr::from_bytes(value.expose()))))
            .env(INFO, self.info(is_interactive).to_string())
            .stdin(if is_interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped());
        let output = process::output(&mut command, self.install_hint.as_deref(), deadline)?;
        Ok(answer::parse(output.expose(), self.version)?)
    }

    /// What the plugin is told.
    /// Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-ExecCredentialSpec>
    fn info(&self, is_interactive: bool) -> Value {
        let mut spec = json!({ "interactive": is_interactive });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        json!({ "apiVersion": self.version.name(), "kind": answer::KIND, "spec": spec })
    }
}

/// Arguments and what the kubeconfig says of the cluster may hold secrets as the environment does.
impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("command", &self.command).finish_non_exhaustive()
    }
}

impl fmt::Debug for PluginCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginCredential").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl PluginVersion {
    /// Those that are spoken. `v1alpha1` is gone from Kubernetes since 1.24.
    pub(crate) const ALL: [Self; 2] = [Self::V1, Self::V1Beta1];

    /// The version of this `apiVersion`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == text)
    }

    /// Its `apiVersion`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "client.authentication.k8s.io/v1",
            Self::V1Beta1 => "client.authentication.k8s.io/v1beta1",
        }
    }
}

impl Interactive {
    /// Whether the plugin gets the standard input, which is a terminal or not.
    fn takes(self, is_terminal: bool) -> Result<bool, PluginProblem> {
        match self {
            Self::Never => Ok(false),
            Self::IfAvailable => Ok(is_terminal),
            Self::Always if is_terminal => Ok(true),
            Self::Always => Err(PluginProblem::NoTerminal),
        }
    }
}

#[cfg(test)]
mod tests;

//! Exec credential plugins: programs that a kubeconfig names and that print a token or a client certificate. This module runs one,
//! within a time and a size limit; `credential` parses its output, and `cache` keeps the credential.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>

pub(crate) mod cache;
mod credential;

use std::ffi::OsStr;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};
use std::{fmt, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::children::PluginRun;
use crate::descriptors;
use crate::kube::auth::Token;
use crate::kube::auth::client_cert::CertificateError;
use crate::kube::auth::exec::credential::ExecCredentialError;
use crate::kube::retry::Deadline;
use crate::secret::{SecretBuffer, SecretBytes};
use crate::text::{Quoted, ShortDuration, one_line};

/// The environment variable that holds the `ExecCredential` of the request.
const INFO: &str = "KUBERNETES_EXEC_INFO";

/// The longest install hint that a message repeats, in characters.
const HINT_LIMIT: usize = 500;

/// How to run an exec plugin: the `exec` entry of a kubeconfig user.
/// Source: <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/#ExecConfig>
pub struct Plugin {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub command: PathBuf,
    /// Arguments, which may contain passwords.
    pub args: Vec<String>,
    /// Variables that are added to the environment of this process.
    pub env: Vec<(String, SecretBytes)>,
    /// The API version of input and output.
    pub version: PluginVersion,
    /// Whether the plugin may prompt the user.
    pub interactive: Interactive,
    /// Shown if the plugin is not installed.
    pub install_hint: Option<String>,
    /// `spec.cluster` of the input; `None` unless the kubeconfig sets `provideClusterInfo`.
    pub cluster: Option<Value>,
}

/// The `apiVersion` of an `ExecCredential`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginVersion {
    /// `client.authentication.k8s.io/v1`
    V1,
    /// `client.authentication.k8s.io/v1beta1`
    V1Beta1,
}

/// `interactiveMode`: whether a plugin reads from the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interactive {
    /// The plugin never uses standard input.
    Never,
    /// The plugin uses a terminal if there is one.
    IfAvailable,
    /// The plugin requires a terminal.
    Always,
}

/// The credential that a plugin printed: a token, a client certificate, or both.
pub(crate) struct PluginCredential {
    pub(crate) token: Option<Token>,
    /// The client certificate (with its intermediates) and its key, as PEM that is not parsed yet.
    pub(crate) certificate: Option<(SecretBytes, SecretBytes)>,
    /// `None` means that the credential is valid until the API server rejects it.
    pub(crate) expires: Option<SystemTime>,
}

impl Plugin {
    /// Runs the plugin and parses its output. It inherits standard error, so that the user sees its prompts. After `timeout` it is
    /// killed, and with it the processes that it started, unless podcreds runs in a terminal.
    ///
    /// # Errors
    /// If the plugin cannot be started, fails, takes too long, or does not print a credential.
    pub(crate) fn run(&self, timeout: Duration) -> Result<PluginCredential, PluginError> {
        self.run_at(io::stdin().is_terminal(), Deadline::after(timeout))
            .map_err(|kind| PluginError::new(&self.command, kind))
    }

    fn run_at(&self, is_terminal: bool, deadline: Deadline) -> Result<PluginCredential, PluginErrorKind> {
        let is_interactive = self.interactive.uses_stdin(is_terminal)?;
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, OsStr::from_bytes(value.expose()))))
            .env(INFO, self.info(is_interactive).to_string())
            .stdin(if is_interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped());
        if !is_terminal {
            // In a terminal, the plugin stays in the foreground: there it may read, and Ctrl+C ends it too.
            command.process_group(0);
        }
        let output = output(&mut command, self.install_hint.as_deref(), deadline)?;
        Ok(credential::parse(output.expose(), self.version)?)
    }

    /// The input of the plugin: an `ExecCredential` with a `spec`.
    /// Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-ExecCredentialSpec>
    fn info(&self, is_interactive: bool) -> Value {
        let mut spec = json!({ "interactive": is_interactive });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = cluster.clone();
        }
        json!({ "apiVersion": self.version.name(), "kind": credential::KIND, "spec": spec })
    }
}

/// Shows the command only: arguments, environment and cluster may contain secrets.
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
    /// The supported versions. Kubernetes removed `v1alpha1` in 1.24.
    pub(crate) const ALL: [Self; 2] = [Self::V1, Self::V1Beta1];

    /// `None` means an unknown `apiVersion`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == text)
    }

    /// The value of `apiVersion`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "client.authentication.k8s.io/v1",
            Self::V1Beta1 => "client.authentication.k8s.io/v1beta1",
        }
    }
}

impl Interactive {
    /// Whether the plugin inherits standard input.
    fn uses_stdin(self, is_terminal: bool) -> Result<bool, PluginErrorKind> {
        match self {
            Self::Never => Ok(false),
            Self::IfAvailable => Ok(is_terminal),
            Self::Always if is_terminal => Ok(true),
            Self::Always => Err(PluginErrorKind::NoTerminal),
        }
    }
}

/// A plugin that did not provide a credential. Messages quote neither its output nor its arguments and environment.
#[derive(Debug, thiserror::Error)]
#[error("exec plugin {} {kind}", Quoted(command))]
pub struct PluginError {
    command: String,
    #[source]
    pub(crate) kind: PluginErrorKind,
}

impl PluginError {
    fn new(command: &Path, kind: PluginErrorKind) -> Self {
        Self { command: command.to_string_lossy().into_owned(), kind }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginErrorKind {
    #[error(
        "requires a terminal (interactiveMode: Always), but stdin is not one: run podcreds in a terminal, or use a plugin that does not prompt"
    )]
    NoTerminal,
    #[error(
        "not found (or its interpreter is missing): install it, or correct the command in the kubeconfig{}",
        hint.iter().map(|hint| format!("; the kubeconfig says: {hint}")).collect::<String>()
    )]
    NotFound {
        /// The kubeconfig's `installHint`, on one line.
        hint: Option<String>,
    },
    #[error(
        "cannot be executed: permission denied; make it an executable file (chmod +x) that this user can reach, or correct the command in the kubeconfig"
    )]
    NotExecutable,
    /// Linux limits one variable to 128 KiB.
    /// Source: <https://man7.org/linux/man-pages/man2/execve.2.html>
    #[error(
        "cannot be started: its arguments and environment are too large, for example because of a large certificate-authority with provideClusterInfo: true; remove provideClusterInfo if the plugin does not need it"
    )]
    TooLarge,
    #[error("cannot be started: {0}; check whether it runs by hand")]
    NotStarted(#[source] io::Error),
    #[error("{}: see its messages on standard error, and try to run it by hand", exit_text(*.0))]
    Failed(ExitStatus),
    #[error(
        "did not finish within {} and was killed: check whether it waits for a login or for the network",
        ShortDuration(*.0)
    )]
    TimedOut(Duration),
    #[error("printed more than {limit} bytes and was killed: check what it prints when run by hand")]
    TooMuchOutput { limit: usize },
    #[error("failed: cannot read its output: {0}; try again")]
    Unreadable(#[source] io::Error),
    #[error(transparent)]
    Credential(#[from] ExecCredentialError),
    #[error("printed an invalid client certificate: {0}")]
    Certificate(#[source] CertificateError),
}

impl PluginErrorKind {
    /// Whether the kubeconfig, or how podcreds was started, has to change before the plugin can work.
    fn is_configuration(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NotExecutable | Self::NoTerminal | Self::TooLarge)
    }

    fn from_spawn(error: io::Error, install_hint: Option<&str>) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::NotFound { hint: install_hint.map(on_one_line) },
            ErrorKind::PermissionDenied => Self::NotExecutable,
            ErrorKind::ArgumentListTooLong => Self::TooLarge,
            _ => Self::NotStarted(error),
        }
    }
}

fn on_one_line(hint: &str) -> String {
    one_line(hint, HINT_LIMIT).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn exit_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was terminated by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// The largest output, in bytes: some hundreds of certificates.
const OUTPUT_LIMIT: usize = 1024 * 1024;
/// The bytes per read.
const CHUNK: usize = 8 * 1024;
/// How often to check whether a silent program has exited: if one of its children keeps its output open, nothing else shows it.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Runs a command whose standard output is a pipe. It polls instead of reading in a thread: a program that hangs, or whose children
/// keep its output open, would block that thread forever.
///
/// # Errors
/// If it cannot be started, fails, prints too much or takes too long. In the last two cases it is killed.
fn output(
    command: &mut Command,
    install_hint: Option<&str>,
    deadline: Deadline,
) -> Result<SecretBytes, PluginErrorKind> {
    let _running = PluginRun::start();
    let mut child = command.spawn().map_err(|error| PluginErrorKind::from_spawn(error, install_hint))?;
    descriptors::restore_limit(Pid::from_child(&child));
    let read = read(&mut child, deadline);
    if read.is_err() {
        // Fails without such a group: in a terminal, or if all of it has exited already.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        // Harmless if it has exited already: std does not signal a child that was waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, output) = read?;
    if status.success() { Ok(output) } else { Err(PluginErrorKind::Failed(status)) }
}

/// Reads until the program has exited and its output is drained.
fn read(child: &mut Child, deadline: Deadline) -> Result<(ExitStatus, SecretBytes), PluginErrorKind> {
    let mut stdout = child.stdout.take();
    let mut output = SecretBuffer::default();
    let mut chunk = Zeroizing::new([0; CHUNK]);
    let mut status = None;
    loop {
        // After the exit, the rest of the output is in the pipe already.
        let wait = if status.is_some() { Duration::ZERO } else { POLL_INTERVAL.min(deadline.remaining()) };
        match &mut stdout {
            Some(open) if is_readable(open, wait)? => match open.read(chunk.as_mut_slice()) {
                Ok(0) => stdout = None,
                Ok(count) if output.len() + count > OUTPUT_LIMIT => {
                    return Err(PluginErrorKind::TooMuchOutput { limit: OUTPUT_LIMIT });
                }
                Ok(count) => output.push(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(PluginErrorKind::Unreadable(error)),
            },
            // It has exited, but a child of its own still holds the pipe open, maybe forever.
            Some(_) | None if let Some(status) = status => return Ok((status, output.finish())),
            Some(_) => {}
            None => thread::sleep(wait),
        }
        if status.is_none() {
            status = child.try_wait().map_err(PluginErrorKind::Unreadable)?;
        }
        if deadline.remaining().is_zero() {
            return Err(PluginErrorKind::TimedOut(deadline.elapsed()));
        }
    }
}

/// Waits until there is output, or end of file.
fn is_readable(stdout: &ChildStdout, wait: Duration) -> Result<bool, PluginErrorKind> {
    let fd = stdout.as_fd();
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut polled, Timespec::try_from(wait).ok().as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(PluginErrorKind::Unreadable(errno.into())),
    }
}

#[cfg(test)]
mod tests;

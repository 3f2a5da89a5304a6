//! Why a plugin gave no credential. No byte of what it printed is shown, nor of its arguments and environment.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::kube::auth::exec_plugin::answer::AnswerError;
use crate::text::{Quoted, one_line};

/// The most of an install hint that is passed on, in characters.
const HINT_LIMIT: usize = 500;

/// A plugin that gave no credential.
#[derive(Debug, thiserror::Error)]
#[error("credential plugin {} {problem}", Quoted(command))]
pub(crate) struct PluginError {
    command: String,
    /// Why.
    pub(crate) problem: PluginProblem,
}

impl PluginError {
    pub(crate) fn new(command: &Path, problem: PluginProblem) -> Self {
        Self { command: command.to_string_lossy().into_owned(), problem }
    }
}

/// Why a plugin gave no credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginProblem {
    /// It wants a terminal, and there is none.
    #[error(
        "asks on the terminal (interactiveMode: Always), and the standard input is none: run podcreds in a terminal, or give this user a plugin that does not ask"
    )]
    NoTerminal,
    /// There is no such program.
    #[error(
        "is not found (nor is, if it is a script, what runs it): install it, or correct the command in the kubeconfig{}",
        hint.iter().map(|hint| format!("; the kubeconfig says: {hint}")).collect::<String>()
    )]
    NotFound {
        /// The kubeconfig's hint, on one line.
        hint: Option<String>,
    },
    /// There is one that cannot be executed.
    #[error(
        "may not be executed: make it an executable file (chmod +x) that this user may reach, or correct the command in the kubeconfig"
    )]
    NotExecutable,
    /// Arguments and environment are larger than the operating system lets them be: one variable holds 128 KiB.
    /// Source: <https://man7.org/linux/man-pages/man2/execve.2.html>
    #[error(
        "cannot be started: its arguments and environment are too large, which a long certificate-authority does with provideClusterInfo: true; take that out of the kubeconfig if the plugin can do without"
    )]
    TooLarge,
    /// The operating system says another thing.
    #[error("cannot be started: {0}; see whether it runs by hand")]
    NotStarted(io::Error),
    /// It has failed.
    #[error("{}: what it says on the standard error is above; see whether it runs by hand", ended(*.0))]
    Failed(ExitStatus),
    /// It takes too long.
    #[error(
        "gave no answer within {:.1} s and was ended: see whether it waits for a login or for the network",
        .0.as_secs_f64()
    )]
    TimedOut(Duration),
    /// It prints more than any credential is.
    #[error("printed more than {limit} bytes and was ended: see what it prints when it is run by hand")]
    TooMuch {
        /// The bound.
        limit: usize,
    },
    /// What it prints cannot be read.
    #[error("cannot be read from: {0}; try again")]
    Unread(io::Error),
    /// It prints something else.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl PluginProblem {
    /// Why a program could not be started.
    pub(crate) fn of_start(cause: io::Error, install_hint: Option<&str>) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::NotFound { hint: install_hint.map(hint) },
            io::ErrorKind::PermissionDenied => Self::NotExecutable,
            io::ErrorKind::ArgumentListTooLong => Self::TooLarge,
            _ => Self::NotStarted(cause),
        }
    }
}

/// A hint on one line, whatever it is in the kubeconfig.
fn hint(text: &str) -> String {
    one_line(text, HINT_LIMIT).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

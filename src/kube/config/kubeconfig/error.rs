//! Errors in kubeconfigs. No message holds a token, key, password or the value of an environment variable.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::kube::ServerError;
use crate::object::NameError;
use crate::text::{Quoted, and_more, list, suggest};
use crate::yaml::{SyntaxError, ValueError};

/// Names beyond these are only counted.
const LISTED: usize = 10;

/// Why kubeconfigs cannot be loaded or no configuration can be selected from them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An existing or required file cannot be read.
    #[error("kubeconfig {} cannot be read: {cause}", path.display())]
    Read {
        /// The kubeconfig.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// None of the files exists.
    #[error("no kubeconfig found{}", files(missing))]
    NoFile {
        /// The paths that were tried.
        missing: Vec<PathBuf>,
    },
    /// A file is not YAML.
    #[error("kubeconfig {}: {cause}", path.display())]
    Syntax {
        /// The kubeconfig.
        path: PathBuf,
        /// The error with its position.
        #[source]
        cause: SyntaxError,
    },
    /// Values of the wrong type or duplicate names.
    #[error("kubeconfig {}: {}", path.display(), Listed(problems))]
    Values {
        /// The kubeconfig.
        path: PathBuf,
        /// All of them, in the order of the document.
        problems: Vec<ValueError>,
    },
    /// Neither `--context` nor `current-context` is set.
    #[error("no current-context{}: select a context with --context{}", files(searched), names(known))]
    NoContext {
        /// The files that were read.
        searched: Vec<PathBuf>,
        /// The contexts that they define.
        known: Vec<String>,
    },
    /// A context, cluster or user that no file defines.
    #[error(
        "{kind} {} not found{}{}{}{}",
        Quoted(name),
        files(searched),
        named_by(context.as_deref()),
        names(known),
        suggest(nearest.as_deref())
    )]
    Unknown {
        /// The list that was searched.
        kind: EntryKind,
        /// The name that is not in it.
        name: String,
        /// The context that names it. `None` means that a flag does.
        context: Option<String>,
        /// The files that were read.
        searched: Vec<PathBuf>,
        /// The names that they define.
        known: Vec<String>,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// The selected entries are invalid.
    #[error("{}", Listed(.0))]
    InvalidEntries(Vec<EntryError>),
}

/// A list of named entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// `contexts`
    Context,
    /// `clusters`
    Cluster,
    /// `users`
    User,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Context => "context",
            Self::Cluster => "cluster",
            Self::User => "user",
        })
    }
}

/// An invalid entry.
#[derive(Debug)]
pub struct EntryError {
    pub(crate) kind: EntryKind,
    pub(crate) name: String,
    /// File, line and column.
    pub(crate) place: String,
    pub(crate) defect: EntryErrorKind,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kubeconfig {}: {} {}: {}", self.place, self.kind, Quoted(&self.name), self.defect)
    }
}

/// Why an entry is invalid. Sources: `validation.go` of client-go's clientcmd, and `transport.go` of its transport.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryErrorKind {
    #[error("cluster is missing")]
    NoCluster,
    #[error(transparent)]
    Namespace(#[from] NameError),
    #[error("server is missing")]
    NoServer,
    #[error("server: {0}")]
    Server(#[from] ServerError),
    #[error("proxy-url must begin with http:// or https://")]
    Proxy,
    #[error("insecure-skip-tls-verify conflicts with the certificate authority: remove one of them")]
    InsecureWithAuthority,
    #[error("{0} conflicts with {0}-data: remove one of them")]
    Both(&'static str),
    #[error("client-certificate requires client-key")]
    NoKey,
    #[error("client-key requires client-certificate")]
    NoCertificate,
    #[error(
        "username and password are not supported, and API servers have rejected them since Kubernetes 1.19: use a token, a client certificate or exec"
    )]
    Basic,
    #[error(
        "auth-provider {} is not supported: {}",
        Quoted(.0),
        instead_of(.0)
    )]
    AuthProvider(String),
    #[error("as-uid, as-groups and as-user-extra require as: set it to the user to impersonate")]
    Impersonation,
    #[error("exec.{0} is missing")]
    NoExec(&'static str),
    #[error(
        "unsupported exec.apiVersion {}: use client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1, the version that the plugin prints",
        Quoted(.0)
    )]
    ExecVersion(String),
    #[error("exec.interactiveMode is missing, which v1 requires: use Never, IfAvailable or Always")]
    NoInteractive,
    #[error("unknown exec.interactiveMode {}: use Never, IfAvailable or Always", Quoted(.0))]
    Interactive(String),
    #[error("exec.env[{0}]: the name must not contain = or NUL, and the value must not contain NUL")]
    Variable(usize),
    #[error("exec.{0} contains NUL, which cannot be passed to a program")]
    Nul(&'static str),
}

fn instead_of(provider: &str) -> &'static str {
    match provider {
        "gcp" => {
            "removed from kubectl in 1.26 as well; install gke-gcloud-auth-plugin and run `gcloud container clusters get-credentials`, which writes exec"
        }
        "azure" => {
            "removed from kubectl in 1.26 as well; install kubelogin and run `kubelogin convert-kubeconfig`, which writes exec"
        }
        "oidc" => "use an exec plugin such as kubelogin (kubectl oidc-login), or a token",
        _ => "use exec, a token or a client certificate",
    }
}

fn named_by(context: Option<&str>) -> String {
    context.map(|context| format!(" (named by context {})", Quoted(context))).unwrap_or_default()
}

fn files(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().take(LISTED).map(|path| path.display().to_string()).collect();
    match paths.len() {
        0 => String::new(),
        count => format!(" in {}", and_more(&shown, count - shown.len())),
    }
}

fn names(known: &[String]) -> String {
    let shown: Vec<_> = known.iter().take(LISTED).map(|name| Quoted(name).to_string()).collect();
    match known.len() {
        0 => "; none is defined".to_owned(),
        count => format!("; available: {}", and_more(&shown, count - shown.len())),
    }
}

/// One error alone, or several, each on its own line.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [error] = self.0 {
            return error.fmt(f);
        }
        write!(f, "{} errors:\n  ", self.0.len())?;
        list(f, self.0)
    }
}

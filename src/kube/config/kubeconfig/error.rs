//! What can be wrong with kubeconfigs. Tokens, keys, passwords and the values of variables are never shown.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::kube::ServerError;
use crate::object::NameError;
use crate::text::{Quoted, list, suggest};
use crate::yaml::{Problem, SyntaxError};

/// The most names that a message lists.
const LISTED: usize = 10;

/// Why there is no way into a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was named cannot be read.
    #[error("kubeconfig {} cannot be read: {cause}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// None of the files is there.
    #[error("there is no kubeconfig{}", files(missing))]
    NoFile {
        /// What was looked for.
        missing: Vec<PathBuf>,
    },
    /// A file is no YAML.
    #[error("kubeconfig {}: {cause}", path.display())]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Where, and why.
        cause: SyntaxError,
    },
    /// A file holds values of the wrong type.
    #[error("kubeconfig {}: {}", path.display(), Listed(problems))]
    Values {
        /// Its path.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// No context is named, and none is current.
    #[error(
        "no context is named, and there is no current-context{}: name one with --context{}",
        files(searched),
        names(known)
    )]
    NoContext {
        /// The files.
        searched: Vec<PathBuf>,
        /// The contexts that they have.
        known: Vec<String>,
    },
    /// What is named is not there.
    #[error(
        "there is no {kind} {}{}{}{}{}",
        Quoted(name),
        named_by(context.as_deref()),
        files(searched),
        names(known),
        suggest(nearest.as_deref())
    )]
    Unknown {
        /// Of which kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// The context that names it; none where the user of podcreds did.
        context: Option<String>,
        /// The files.
        searched: Vec<PathBuf>,
        /// Those of the kind that they have.
        known: Vec<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// What was selected cannot be used.
    #[error("{}", Listed(.0))]
    Unusable(Vec<Unusable>),
}

/// What a kubeconfig has several of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `contexts`
    Context,
    /// `clusters`
    Cluster,
    /// `users`
    User,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Context => "context",
            Self::Cluster => "cluster",
            Self::User => "user",
        })
    }
}

/// An entry that cannot be used as it is.
#[derive(Debug)]
pub struct Unusable {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The file and the line.
    pub(crate) place: String,
    pub(crate) defect: Defect,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kubeconfig {}: {} {}: {}", self.place, self.kind, Quoted(&self.name), self.defect)
    }
}

/// Why an entry cannot be used. Sources: `validation.go` of client-go's clientcmd, and `transport.go` of its transport.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Defect {
    #[error("names no cluster")]
    NoCluster,
    #[error(transparent)]
    Namespace(#[from] NameError),
    #[error("server is missing")]
    NoServer,
    #[error("server: {0}")]
    Server(#[from] ServerError),
    #[error("proxy-url must begin with http:// or https://")]
    Proxy,
    #[error("insecure-skip-tls-verify does not go with a certificate authority: remove one of them")]
    InsecureWithAuthority,
    #[error("{0} and {0}-data are both there: remove one of them")]
    Both(&'static str),
    #[error("client-certificate is there without client-key: a certificate needs its key")]
    NoKey,
    #[error("client-key is there without client-certificate: a key needs its certificate")]
    NoCertificate,
    #[error(
        "username and password are not supported, and since 1.19 no API server takes them: use a token, a client certificate or exec"
    )]
    Basic,
    #[error(
        "auth-provider {} is not supported: {}",
        Quoted(.0),
        instead_of(.0)
    )]
    AuthProvider(String),
    #[error("as-uid, as-groups and as-user-extra need as: name the user to act as")]
    Impersonation,
    #[error("exec.{0} is missing")]
    NoExec(&'static str),
    #[error(
        "exec.apiVersion {} is not supported: write client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1, whichever the plugin answers with",
        Quoted(.0)
    )]
    ExecVersion(String),
    #[error("exec.interactiveMode is missing, which v1 wants: write Never, IfAvailable or Always")]
    NoInteractive,
    #[error("exec.interactiveMode {} is unknown: write Never, IfAvailable or Always", Quoted(.0))]
    Interactive(String),
    #[error("exec.env[{0}] needs a name, without = and NUL, and a value without NUL")]
    Variable(usize),
    #[error("exec.{0} holds NUL, which no program can be given")]
    Nul(&'static str),
}

fn instead_of(provider: &str) -> &'static str {
    match provider {
        "gcp" => {
            "kubectl too has it no more since 1.26; install gke-gcloud-auth-plugin and run `gcloud container clusters get-credentials`, which writes exec"
        }
        "azure" => {
            "kubectl too has it no more since 1.26; install kubelogin and run `kubelogin convert-kubeconfig`, which writes exec"
        }
        "oidc" => "use an exec plugin such as kubelogin (kubectl oidc-login), or a token",
        _ => "use exec, a token or a client certificate",
    }
}

fn named_by(context: Option<&str>) -> String {
    context.map(|context| format!(", which context {} names,", Quoted(context))).unwrap_or_default()
}

fn files(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().take(LISTED).map(|path| path.display().to_string()).collect();
    match paths.len().saturating_sub(LISTED) {
        _ if paths.is_empty() => String::new(),
        0 => format!(" in {}", shown.join(", ")),
        more => format!(" in {} and {more} more", shown.join(", ")),
    }
}

fn names(known: &[String]) -> String {
    let shown: Vec<_> = known.iter().take(LISTED).map(|name| Quoted(name).to_string()).collect();
    match known.len().saturating_sub(LISTED) {
        _ if known.is_empty() => "; there is none".to_owned(),
        0 => format!("; there are {}", shown.join(", ")),
        more => format!("; there are {} and {more} more", shown.join(", ")),
    }
}

/// One error as itself, several a line each.
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

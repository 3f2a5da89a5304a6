//! What files hold: named clusters, users and contexts, with the right types and not yet checked for sense. An entry that nobody
//! selects may be as senseless as it likes, as for kubectl.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::secret::SecretBytes;
use crate::yaml::Position;

/// One kubeconfig file.
#[derive(Debug)]
pub struct File {
    pub(crate) path: PathBuf,
    pub(crate) entries: Entries,
}

/// Several files as one.
#[derive(Debug, Default)]
pub struct Kubeconfig {
    /// In the order that they were read in.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) entries: Entries,
}

#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) current_context: Option<String>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// Where an entry stands.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) path: Arc<Path>,
    pub(crate) at: Position,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.path.display(), self.at)
    }
}

/// Paths are absolute by now. Empty texts are none, as kubectl has it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) origin: Origin,
    pub(crate) server: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) authority: Pair,
    pub(crate) proxy_url: Option<SecretBytes>,
    /// The extension that is meant for exec plugins.
    pub(crate) exec_config: Option<Hidden>,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) origin: Origin,
    pub(crate) token: Option<SecretBytes>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) certificate: Pair,
    pub(crate) key: Pair,
    pub(crate) username_or_password: bool,
    /// The name of the provider; it may be empty.
    pub(crate) auth_provider: Option<String>,
    pub(crate) exec: Option<RawExec>,
    pub(crate) act_as: Option<String>,
    pub(crate) act_as_uid: Option<String>,
    pub(crate) act_as_groups: Vec<String>,
    pub(crate) act_as_extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) origin: Origin,
    pub(crate) cluster: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) namespace: Option<String>,
}

/// A value that can be given as a file or as data.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) file: Option<PathBuf>,
    pub(crate) data: Option<SecretBytes>,
}

pub(crate) struct RawExec {
    pub(crate) command: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, SecretBytes)>,
    pub(crate) version: Option<String>,
    pub(crate) interactive: Option<String>,
    pub(crate) install_hint: Option<String>,
    pub(crate) provide_cluster: bool,
}

impl fmt::Debug for RawExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may be secrets.
        f.debug_struct("RawExec").field("command", &self.command).finish_non_exhaustive()
    }
}

/// JSON that somebody else understands, and that may hold anything.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) serde_json::Value);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

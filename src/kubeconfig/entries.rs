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
    pub(super) path: PathBuf,
    pub(super) entries: Entries,
}

/// Several files as one.
#[derive(Debug, Default)]
pub struct Kubeconfig {
    /// In the order that they were read in.
    pub(super) files: Vec<PathBuf>,
    pub(super) entries: Entries,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) current_context: Option<String>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) users: BTreeMap<String, User>,
    pub(super) contexts: BTreeMap<String, Context>,
}

/// Where an entry stands.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) path: Arc<Path>,
    pub(super) at: Position,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.path.display(), self.at)
    }
}

/// Paths are absolute by now. Empty texts are none, as kubectl has it.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) origin: Origin,
    pub(super) server: Option<String>,
    pub(super) server_name: Option<String>,
    pub(super) insecure: bool,
    pub(super) authority: Pair,
    pub(super) proxy_url: Option<SecretBytes>,
    /// The extension that is meant for exec plugins.
    pub(super) exec_config: Option<Hidden>,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) origin: Origin,
    pub(super) token: Option<SecretBytes>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) certificate: Pair,
    pub(super) key: Pair,
    pub(super) username_or_password: bool,
    /// The name of the provider; it may be empty.
    pub(super) auth_provider: Option<String>,
    pub(super) exec: Option<RawExec>,
    pub(super) act_as: Option<String>,
    pub(super) act_as_uid: Option<String>,
    pub(super) act_as_groups: Vec<String>,
    pub(super) act_as_extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) origin: Origin,
    pub(super) cluster: Option<String>,
    pub(super) user: Option<String>,
    pub(super) namespace: Option<String>,
}

/// A value that can be given as a file or as data.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) file: Option<PathBuf>,
    pub(super) data: Option<SecretBytes>,
}

pub(super) struct RawExec {
    pub(super) command: Option<PathBuf>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, SecretBytes)>,
    pub(super) version: Option<String>,
    pub(super) interactive: Option<String>,
    pub(super) install_hint: Option<String>,
    pub(super) provide_cluster: bool,
}

impl fmt::Debug for RawExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may be secrets.
        f.debug_struct("RawExec").field("command", &self.command).finish_non_exhaustive()
    }
}

/// JSON that somebody else understands, and that may hold anything.
#[derive(Clone)]
pub(super) struct Hidden(pub(super) serde_json::Value);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

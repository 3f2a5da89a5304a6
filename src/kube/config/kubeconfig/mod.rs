//! Kubeconfigs, by kubectl's rules: files are parsed (`raw`), found, merged and selected from (here), validated (`resolve`), and
//! only then are the files that they name read (`connect`). No step contacts a server.
//!
//! Sources: <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>,
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/> and, where they are silent,
//! <https://github.com/kubernetes/client-go/tree/master/tools/clientcmd>.

mod connect;
mod error;
mod raw;
mod resolve;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use connect::{ClientOptions, ConnectError, LoadError, ProxyEnv, load_client_config};
pub(crate) use error::{EntryError, EntryKind, Error};
pub use raw::parse;
pub use resolve::ResolvedConfig;
pub(crate) use resolve::{Exec, ExecCluster, Impersonation};

use crate::kube::config::kubeconfig::error::EntryErrorKind;
use crate::kube::config::kubeconfig::raw::{Entries, File, Kubeconfig};
use crate::kube::config::kubeconfig::resolve::Validator;
use crate::secret::read_bounded;
use crate::text::nearest;
use crate::yaml::TEXT_LIMIT;

/// The files to load; client-go calls this `ClientConfigLoadingRules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadingRules {
    /// A file that must exist: `--kubeconfig`.
    File(PathBuf),
    /// Files of which at least one must exist: those of `KUBECONFIG`, or `~/.kube/config`. Empty paths are ignored.
    List(Vec<PathBuf>),
}

impl LoadingRules {
    pub(crate) fn files(&self) -> &[PathBuf] {
        match self {
            Self::File(path) => std::slice::from_ref(path),
            Self::List(paths) => paths,
        }
    }
}

/// Reads the files and merges them.
///
/// # Errors
/// If a file cannot be read or parsed, or none exists.
pub fn load(rules: &LoadingRules) -> Result<Kubeconfig, Error> {
    let paths = match rules {
        LoadingRules::File(path) => return Ok(merge(vec![read(path)?])),
        LoadingRules::List(paths) => paths,
    };
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for (index, path) in paths.iter().enumerate() {
        if path.as_os_str().is_empty() || paths[..index].contains(path) {
            continue;
        }
        match read(path) {
            Ok(file) => files.push(file),
            Err(Error::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                missing.push(path.clone())
            }
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() { Err(Error::NoFile { missing }) } else { Ok(merge(files)) }
}

/// Merges files in order. The first entry with a name wins as a whole, and so does the first `current-context`.
/// Source: <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files>
pub fn merge(files: Vec<File>) -> Kubeconfig {
    let mut merged = Kubeconfig::default();
    for file in files {
        let (all, new) = (&mut merged.entries, file.entries);
        let Entries { current_context, clusters, users, contexts } = new;
        all.current_context = all.current_context.take().or(current_context);
        add(&mut all.clusters, clusters);
        add(&mut all.users, users);
        add(&mut all.contexts, contexts);
        merged.files.push(file.path);
    }
    merged
}

fn add<T>(all: &mut BTreeMap<String, T>, new: BTreeMap<String, T>) {
    for (name, entry) in new {
        all.entry(name).or_insert(entry);
    }
}

fn read(path: &Path) -> Result<File, Error> {
    let text = std::fs::File::open(path).and_then(|file| read_bounded(file, TEXT_LIMIT));
    parse(&text.map_err(|cause| Error::Read { path: path.to_owned(), cause })?, path)
}

/// What flags select instead of the kubeconfig; client-go calls this `ConfigOverrides`. Empty text is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--context`, instead of `current-context`.
    pub context: Option<String>,
    /// `--cluster`, instead of the context's.
    pub cluster: Option<String>,
    /// `--user`, instead of the context's.
    pub user: Option<String>,
}

impl Kubeconfig {
    /// Selects a context, its cluster and its user, and validates them. A context without a user makes anonymous requests.
    /// The files that the entries name are not read.
    ///
    /// # Errors
    /// If no context is selected or a name is not defined; otherwise every error of context, cluster and user at once.
    pub fn select(&self, overrides: &Overrides) -> Result<ResolvedConfig, Error> {
        let entries = &self.entries;
        let non_empty = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (cluster, user) = (non_empty(&overrides.cluster), non_empty(&overrides.user));

        let name = non_empty(&overrides.context).or_else(|| entries.current_context.clone());
        let context = match &name {
            Some(name) => {
                Some((name.as_str(), self.find(EntryKind::Context, &entries.contexts, name, None)?))
            }
            // `--cluster` needs no context.
            None if cluster.is_some() => None,
            None => {
                let known = entries.contexts.keys().cloned().collect();
                return Err(Error::NoContext { searched: self.files.clone(), known });
            }
        };

        let mut validator = Validator::default();
        let namespace = context.and_then(|(name, context)| validator.namespace(name, context));
        // A flag wins over the context. The context is kept for the message if the name is not defined.
        let by_context = |own: Option<String>, its: Option<&String>| match own {
            Some(own) => Some((own, None)),
            None => its.map(|its| (its.clone(), name.as_deref())),
        };
        let user = match by_context(user, context.and_then(|(_, context)| context.user.as_ref())) {
            None => None,
            Some((name, by)) => Some((self.find(EntryKind::User, &entries.users, &name, by)?, name)),
        };
        let Some((cluster, by)) =
            by_context(cluster, context.and_then(|(_, context)| context.cluster.as_ref()))
        else {
            if let Some((name, context)) = context {
                validator.report(EntryKind::Context, name, &context.origin, EntryErrorKind::NoCluster);
            }
            return Err(validator.into_error());
        };
        let found = self.find(EntryKind::Cluster, &entries.clusters, &cluster, by)?;
        let user = user.as_ref().map(|(user, name)| (name.as_str(), *user));
        validator.resolve(name.as_deref(), namespace, (&cluster, found), user)
    }

    fn find<'a, T>(
        &self,
        kind: EntryKind,
        entries: &'a BTreeMap<String, T>,
        name: &str,
        context: Option<&str>,
    ) -> Result<&'a T, Error> {
        entries.get(name).ok_or_else(|| Error::Unknown {
            kind,
            name: name.to_owned(),
            context: context.map(str::to_owned),
            searched: self.files.clone(),
            known: entries.keys().cloned().collect(),
            nearest: nearest(name, entries.keys().map(String::as_str)).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests;

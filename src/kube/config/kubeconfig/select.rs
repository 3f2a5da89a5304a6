//! Which context, cluster and user are meant.

use std::collections::BTreeMap;

use crate::kube::config::kubeconfig::check::Checker;
use crate::kube::config::kubeconfig::error::Defect;
use crate::kube::config::kubeconfig::{Access, Error, Kind, Kubeconfig};
use crate::text::nearest;

/// What is wanted other than the kubeconfig's own choice. An empty name is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Another context than the current one: `--context`.
    pub context: Option<String>,
    /// Another cluster than the context's: `--cluster`.
    pub cluster: Option<String>,
    /// Another user than the context's: `--user`.
    pub user: Option<String>,
}

impl Kubeconfig {
    /// Finds the way into a cluster and checks it: all that is wrong with the context, the cluster and the user comes in one
    /// error. A context that names no user gives a way in without any identity. No file that is named is read.
    ///
    /// # Errors
    /// If no context is chosen, if what is named is not there, or if it cannot be used.
    pub fn select(&self, wanted: &Wanted) -> Result<Access, Error> {
        let entries = &self.entries;
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (cluster, user) = (given(&wanted.cluster), given(&wanted.user));

        let name = given(&wanted.context).or_else(|| entries.current_context.clone());
        let context = match &name {
            Some(name) => Some((name.as_str(), self.find(Kind::Context, &entries.contexts, name, None)?)),
            // A cluster alone is a way in too.
            None if cluster.is_some() => None,
            None => {
                let known = entries.contexts.keys().cloned().collect();
                return Err(Error::NoContext { searched: self.files.clone(), known });
            }
        };

        let mut checker = Checker::default();
        let namespace = context.and_then(|(name, context)| checker.namespace(name, context));
        // What the user of podcreds named, or else what the context does, and then the message says so.
        let by_context = |own: Option<String>, its: Option<&String>| match own {
            Some(own) => Some((own, None)),
            None => its.map(|its| (its.clone(), name.as_deref())),
        };
        let user = match by_context(user, context.and_then(|(_, context)| context.user.as_ref())) {
            None => None,
            Some((name, by)) => Some((self.find(Kind::User, &entries.users, &name, by)?, name)),
        };
        let Some((cluster, by)) =
            by_context(cluster, context.and_then(|(_, context)| context.cluster.as_ref()))
        else {
            if let Some((name, context)) = context {
                checker.found(Kind::Context, name, &context.origin, Defect::NoCluster);
            }
            return Err(checker.into_error());
        };
        let found = self.find(Kind::Cluster, &entries.clusters, &cluster, by)?;
        let user = user.as_ref().map(|(user, name)| (name.as_str(), *user));
        checker.access(name.as_deref(), namespace, (&cluster, found), user)
    }

    fn find<'a, T>(
        &self,
        kind: Kind,
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

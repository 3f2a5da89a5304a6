//! Where references to sources point: the known clusters and the default namespaces.

use std::collections::BTreeMap;

use crate::annotations::error::Problem;
use crate::annotations::template::has_prefix;
use crate::object::{ClusterId, ClusterRef, Namespace};
use crate::text::{Excerpt, nearest};

/// How references to sources are resolved: the known clusters, and the namespace of a reference without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceScope {
    /// The default namespace in the local cluster.
    pub(crate) namespace: Namespace,
    /// The default namespace in each cluster of the clusters file.
    pub(crate) clusters: BTreeMap<ClusterId, Namespace>,
}

impl ReferenceScope {
    /// The local cluster only.
    pub fn local(namespace: Namespace) -> Self {
        Self { namespace, clusters: BTreeMap::new() }
    }

    /// Adds the clusters that the annotations name, for manifests without a clusters file: it may be only in the cluster.
    pub(crate) fn add_clusters(&mut self, annotations: &BTreeMap<String, String>, prefix: &str) {
        for (key, value) in annotations {
            if has_prefix(key, prefix)
                && key.ends_with(".cluster")
                && let Ok(id) = ClusterId::parse(value.trim())
            {
                self.clusters.insert(id, self.namespace.clone());
            }
        }
    }

    /// The default namespace in a cluster.
    pub(super) fn namespace_in(&self, cluster: &ClusterRef) -> &Namespace {
        cluster.id().and_then(|id| self.clusters.get(id)).unwrap_or(&self.namespace)
    }

    /// Reads a value of `.cluster`.
    pub(super) fn parse_cluster(&self, text: &str) -> Result<ClusterRef, Problem> {
        let id = ClusterId::parse(text)?;
        if self.clusters.contains_key(&id) {
            return Ok(ClusterRef::Named(id));
        }
        if self.clusters.is_empty() {
            return Err(Problem::NoClusters { id: Excerpt::new(text) });
        }
        let nearest = nearest(text, self.clusters.keys().map(ClusterId::as_str));
        let id = Excerpt::of_word(text, nearest);
        Err(Problem::UnknownCluster { id, nearest: nearest.map(str::to_owned) })
    }
}

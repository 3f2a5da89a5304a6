//! What stands around annotations: the pod's namespace, and the other clusters that a source can be read from.

use std::collections::BTreeMap;

use crate::annotations::error::Problem;
use crate::object::{ClusterId, ClusterRef, Namespace};
use crate::text::nearest;

/// Where a source is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The namespace of a source of the pod's own cluster that names none.
    pub(crate) namespace: Namespace,
    /// The other clusters, each with the namespace of a source that names none.
    pub(crate) clusters: BTreeMap<ClusterId, Namespace>,
}

impl Scope {
    /// The pod's own cluster and no other.
    pub fn own(namespace: Namespace) -> Self {
        Self { namespace, clusters: BTreeMap::new() }
    }

    /// Where the sources of one credential are, and their namespace: in this cluster, or without one in the pod's own.
    pub(crate) fn place(&self, cluster: &ClusterRef) -> &Namespace {
        cluster.id().and_then(|cluster| self.clusters.get(cluster)).unwrap_or(&self.namespace)
    }

    /// Reads a value of `.cluster`.
    pub(crate) fn cluster(&self, text: &str) -> Result<ClusterRef, Problem> {
        let known = ClusterId::parse(text)?;
        if self.clusters.contains_key(&known) {
            return Ok(ClusterRef::Named(known));
        }
        let nearest = nearest(text, self.clusters.keys().map(ClusterId::as_str)).map(str::to_owned);
        Err(Problem::UnknownCluster { id: text.to_owned(), nearest, has_clusters: !self.clusters.is_empty() })
    }
}

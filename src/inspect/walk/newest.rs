//! The newest pods of a workload, whose status shows whether a new template starts.

use crate::inspect::api::{PartialObjectMetadata, Workload};
use crate::inspect::graph::{Graph, ObjectId};
use crate::inspect::resource::{Kind, label_selector};
use crate::inspect::walk::Walk;
use crate::inspect::{Error, Query};
use crate::kube::config::registry::Clusters;

/// The number of pods that are read.
const NEWEST: usize = 3;

/// Reads the newest pods in JSON. The graph has what could not be read. A CronJob has no selector, and no pods here.
///
/// # Errors
/// If the workload cannot be read.
pub(crate) fn newest_pods(clusters: &Clusters, query: &Query) -> Result<(Vec<String>, Graph), Error> {
    let mut walk = Walk::new(clusters, query)?;
    let id = walk.target_id();
    let (workload, _) = walk.read_target::<Workload>(&id)?;
    let selector = workload.spec.selector.as_ref().map(label_selector).unwrap_or_default();
    let mut texts = Vec::new();
    if selector.is_empty() {
        return Ok((texts, walk.graph));
    }
    // The ReplicaSets of a Deployment have its name, and the hash of their template.
    let is_owned = |object: &PartialObjectMetadata| {
        let of_set = |name: &str| name.rsplit_once('-').is_some_and(|(name, _)| name == id.name);
        let mut owners = object.metadata.owners().iter();
        let is_set_owned = query.target.kind == Kind::Deployment
            && owners.any(|owner| owner.kind == "ReplicaSet" && of_set(&owner.name));
        object.metadata.is_owned_by(&workload.metadata.uid) || is_set_owned
    };
    let mut newest: Vec<PartialObjectMetadata> = Vec::new();
    for pod in walk.list(Kind::Pod, &selector).map(|list| list.objects).unwrap_or_default() {
        if is_owned(&pod) && !pod.metadata.is_deleting() {
            let created = &pod.metadata.creation_timestamp;
            let index = newest.partition_point(|other| other.metadata.creation_timestamp >= *created);
            newest.insert(index, pod);
            newest.truncate(NEWEST);
        }
    }
    for pod in newest {
        let id = ObjectId::new(Kind::Pod, Some(&walk.namespace), &pod.metadata.name);
        match walk.body(&id, Kind::Pod, None, false) {
            Ok(body) => texts.push(String::from_utf8_lossy(body.expose()).into_owned()),
            Err(cause) => walk.record_get(&id, Kind::Pod, cause),
        }
    }
    Ok((texts, walk.graph))
}

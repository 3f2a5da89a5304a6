//! The newest pods of a workload, whose status shows whether a new template starts.

use crate::inspect::api::{OwnerReference, PartialObjectMetadata, Workload};
use crate::inspect::graph::{Graph, ObjectId};
use crate::inspect::resource::{Kind, label_selector};
use crate::inspect::walk::Walk;
use crate::inspect::{Error, Query};
use crate::kube::Cause;
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
    let uid = &workload.metadata.uid;
    let is_deployment = query.target.kind == Kind::Deployment;
    let sets = match is_deployment {
        true => walk.try_list(Kind::ReplicaSet, &selector).ok().filter(|list| !list.truncated),
        false => None,
    };
    let is_set = |owner: &OwnerReference| match &sets {
        Some(sets) => {
            sets.objects.iter().any(|set| set.metadata.uid == owner.uid && set.metadata.is_owned_by(uid))
        }
        // Who may not list them knows their names: that of the Deployment, and the hash of their template.
        None => {
            owner.kind == "ReplicaSet" && owner.name.rsplit_once('-').is_some_and(|(name, _)| name == id.name)
        }
    };
    let is_owned = |pod: &PartialObjectMetadata| {
        pod.metadata.is_owned_by(uid) || is_deployment && pod.metadata.owners().iter().any(is_set)
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
            // Deleted since it was listed.
            Err(Cause::NotFound { .. }) => {}
            Err(cause) => walk.record_get(&id, Kind::Pod, cause),
        }
    }
    Ok((texts, walk.graph))
}

//! Reads the objects that the target depends on: each object once, one after the other, over one connection. A request that
//! fails is recorded, and the walk continues.
//!
//! `owners` follows ownerReferences, `spec` the references in a pod's spec and in podcreds' annotations, and `access` reviews the
//! permissions of the pod's service account.

mod access;
mod newest;
mod owners;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use newest::newest_pods;

use crate::inspect::api::{self, ApiObject, Metadata, Pod, PodTemplate, WithAnnotations, Workload};
use crate::inspect::graph::{Detail, Graph, Index, ObjectId, Refusal, State};
use crate::inspect::resource::Kind;
use crate::inspect::{Error, Pods, Query, not_found_hint};
use crate::kube::config::registry::Clusters;
use crate::kube::{Cause, Client, Deadline, names_object};
use crate::object::{ClusterRef, Namespace, is_subdomain};
use crate::secret::SecretBytes;
use crate::text::and_more;

/// The maximum number of requests of a walk, so that the author of a pod's spec cannot make it endless.
const REQUEST_LIMIT: usize = 500;

/// Walks from the target to everything that it depends on.
///
/// # Errors
/// If the target cannot be read. Failures of other objects are recorded in the graph.
pub(crate) fn walk(clusters: &Clusters, query: &Query) -> Result<Graph, Error> {
    let mut walk = Walk::new(clusters, query)?;
    match query.target.kind {
        Kind::Pod => walk.pod()?,
        kind => walk.workload(kind)?,
    }
    Ok(walk.graph)
}

/// Reads the annotations of a workload's pod template.
///
/// # Errors
/// If the workload cannot be read.
pub(crate) fn template_annotations(
    clusters: &Clusters,
    query: &Query,
) -> Result<BTreeMap<String, String>, Error> {
    let mut walk = Walk::new(clusters, query)?;
    let id = walk.target_id();
    let read = walk.read::<Workload>(&id, query.target.kind, None, false);
    let mut workload = read.map_err(|cause| walk.target_error(&id, cause))?;
    Ok(workload.spec.template().map(PodTemplate::into_annotations).unwrap_or_default())
}

/// Walks from the target to what its pods use, without owners and other pods.
///
/// # Errors
/// If the target cannot be read.
pub(crate) fn dependencies(clusters: &Clusters, query: &Query) -> Result<Graph, Error> {
    let mut walk = Walk::new(clusters, query)?;
    let id = walk.target_id();
    if query.target.kind == Kind::Pod {
        let (pod, annotations) = walk.read_target::<Pod>(&id)?;
        let root = walk.graph.add(id);
        walk.pod_spec(root, Some(&pod.metadata.name), &pod.spec, &annotations);
    } else {
        let (mut workload, _) = walk.read_target::<Workload>(&id)?;
        let root = walk.graph.add(id);
        if let Some(template) = workload.spec.template() {
            let (annotations, spec) = template.split(&query.prefix);
            walk.pod_spec(root, None, &spec, &annotations);
        }
    }
    Ok(walk.graph)
}

/// Reads the target in JSON.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn object_text(clusters: &Clusters, query: &Query) -> Result<String, Error> {
    let mut walk = Walk::new(clusters, query)?;
    let id = walk.target_id();
    let read = walk.body(&id, query.target.kind, None, false);
    let body = read.map_err(|cause| walk.target_error(&id, cause))?;
    Ok(String::from_utf8_lossy(body.expose()).into_owned())
}

/// Reads the pod, or the pod template of the workload.
///
/// # Errors
/// If the target cannot be read.
pub(crate) fn pods(clusters: &Clusters, query: &Query) -> Result<Pods, Error> {
    let mut walk = Walk::new(clusters, query)?;
    let id = walk.target_id();
    let (annotations, spec) = match query.target.kind {
        Kind::Pod => {
            let (pod, annotations) = walk.read_target::<Pod>(&id)?;
            (annotations, pod.spec)
        }
        _ => {
            let (mut workload, _) = walk.read_target::<Workload>(&id)?;
            workload.spec.template().map(|template| template.split(&query.prefix)).unwrap_or_default()
        }
    };
    Ok(Pods {
        name: format!("{}/{}", query.target.kind, query.target.name()),
        service_account: spec.service_account().to_owned(),
        usage: spec.usage(),
        annotations,
    })
}

struct Walk<'a> {
    clusters: &'a Clusters,
    /// The client of the target's cluster.
    client: Arc<Client>,
    query: &'a Query,
    deadline: Deadline,
    /// The target's namespace.
    namespace: String,
    requests: usize,
    graph: Graph,
}

impl<'a> Walk<'a> {
    fn new(clusters: &'a Clusters, query: &'a Query) -> Result<Self, Error> {
        let deadline = Deadline::after(query.timeout);
        let namespace = query.scope.namespace.to_string();
        let client = clusters.client(&query.cluster).map_err(|cause| Error {
            object: ObjectId::new(query.target.kind, Some(&namespace), query.target.name()).to_string(),
            cause: Box::new(cause),
            hint: None,
        })?;
        Ok(Self { clusters, client, query, deadline, namespace, requests: 0, graph: Graph::default() })
    }
}

impl Walk<'_> {
    fn pod(&mut self) -> Result<(), Error> {
        let id = self.target_id();
        let (pod, annotations) = self.read_target::<Pod>(&id)?;
        let root = self.graph.add(id);
        self.update(root, &pod);
        self.climb(root, pod.metadata.owners(), 0);
        self.pod_spec(root, Some(&pod.metadata.name), &pod.spec, &annotations);
        if annotations.is_empty() && pod.spec.usage().is_some() {
            self.graph.notes.push(no_annotations("the pod", &self.query.prefix, TEMPLATE));
        }
        Ok(())
    }

    fn workload(&mut self, kind: Kind) -> Result<(), Error> {
        let id = self.target_id();
        let (mut workload, own_annotations) = self.read_target::<Workload>(&id)?;
        let root = self.graph.add(id);
        self.update(root, &workload);
        self.climb(root, workload.metadata.owners(), 0);
        self.descend(root, kind, &workload);
        let place = if kind == Kind::CronJob { JOBS_TEMPLATE } else { TEMPLATE };
        if !own_annotations.is_empty() {
            let shown: Vec<_> = own_annotations.keys().take(ANNOTATIONS_SHOWN).cloned().collect();
            let names = and_more(&shown, own_annotations.len() - shown.len());
            self.graph.notes.push(format!(
                "annotations of the {kind} itself have no effect: {names}; podcreds reads those of the pod: set them in {place}"
            ));
        }
        if let Some(template) = workload.spec.template() {
            let (annotations, spec) = template.split(&self.query.prefix);
            self.pod_spec(root, None, &spec, &annotations);
            if annotations.is_empty() && own_annotations.is_empty() && spec.usage().is_some() {
                self.graph.notes.push(no_annotations("the pod template", &self.query.prefix, place));
            }
        }
        Ok(())
    }

    /// Reads the target, and its own annotations with podcreds' prefix.
    fn read_target<T: ApiObject>(&mut self, id: &ObjectId) -> Result<(T, BTreeMap<String, String>), Error> {
        let body = self.body(id, self.query.target.kind, None, false);
        let parsed = body.and_then(|body| {
            let object = self.verify(id, api::parse(&body)?)?;
            let annotated: WithAnnotations = api::parse(&body)?;
            Ok((object, annotated.metadata.with_prefix(&self.query.prefix)))
        });
        parsed.map_err(|cause| self.target_error(id, cause))
    }

    fn target_id(&self) -> ObjectId {
        ObjectId::new(self.query.target.kind, Some(&self.namespace), self.query.target.name())
    }

    /// Reads a referenced object unless it was read before. Returns its node, and the object if this call read it.
    fn get_node<T: ApiObject>(
        &mut self,
        id: ObjectId,
        kind: Kind,
        api_version: Option<&str>,
    ) -> (Index, Option<T>) {
        let known = self.graph.find(&id).filter(|index| self.graph.nodes[*index].state != State::Named);
        if let Some(index) = known {
            return (index, None);
        }
        let metadata_only = !matches!(kind, Kind::Node | Kind::PersistentVolumeClaim);
        let read = self.read::<T>(&id, kind, api_version, metadata_only);
        let index = self.graph.add(id);
        match read {
            Ok(object) => {
                self.graph.nodes[index].state = State::Exists;
                (index, Some(object))
            }
            Err(Cause::NotFound { .. }) => {
                self.graph.nodes[index].state = State::Missing;
                (index, None)
            }
            Err(cause) => {
                self.graph.nodes[index].state = State::Unread;
                let id = self.graph.nodes[index].id.clone();
                self.record_get(&id, kind, cause);
                (index, None)
            }
        }
    }

    /// Adds a referenced object with its details.
    fn add_node<T: ApiObject>(&mut self, kind: Kind, id: ObjectId) -> Index {
        let (index, object) = self.get_node::<T>(id, kind, None);
        if let Some(object) = object {
            self.update(index, &object);
        }
        index
    }

    fn update(&mut self, index: Index, object: &impl ApiObject) {
        let deleting = object.metadata().is_deleting().then_some(Detail::Deleting);
        let node = &mut self.graph.nodes[index];
        node.state = State::Exists;
        node.details = object.details().into_iter().chain(deleting).collect();
    }

    fn read<T: ApiObject>(
        &mut self,
        id: &ObjectId,
        kind: Kind,
        api_version: Option<&str>,
        metadata_only: bool,
    ) -> Result<T, Cause> {
        let body = self.body(id, kind, api_version, metadata_only)?;
        self.verify(id, api::parse(&body)?)
    }

    /// The response of the first API version that has the object.
    fn body(
        &mut self,
        id: &ObjectId,
        kind: Kind,
        api_version: Option<&str>,
        metadata_only: bool,
    ) -> Result<SecretBytes, Cause> {
        // Any other text cannot name an object, and must not become part of a URL.
        if !is_subdomain(&id.name) {
            return Err(Cause::NotFound { message: "invalid object name".to_owned() });
        }
        let client = match &id.cluster {
            ClusterRef::Local => Arc::clone(&self.client),
            named => self.clusters.client(named)?,
        };
        let mut missing = None;
        for version in kind.versions(api_version) {
            let path = format!("{}/{}", kind.collection(&version, id.namespace.as_deref()), id.name);
            self.count_request()?;
            match client.get_path(&path, metadata_only, self.deadline) {
                // Reports the version that serves the resource rather than one that does not.
                Err(Cause::NotFound { message }) if missing.is_none() || names_object(&message, &id.name) => {
                    missing = Some(message);
                }
                Err(Cause::NotFound { .. }) => {}
                answer => return answer,
            }
        }
        Err(Cause::NotFound { message: missing.unwrap_or_default() })
    }

    /// Counts a request against the limit.
    fn count_request(&mut self) -> Result<(), Cause> {
        if self.requests == REQUEST_LIMIT {
            let message = format!("not requested: the limit of {REQUEST_LIMIT} requests is reached");
            return Err(Cause::Refused { status: 429, message });
        }
        self.requests += 1;
        Ok(())
    }

    /// Rejects the response to another request, which a faulty proxy may return.
    fn verify<T: ApiObject>(&self, id: &ObjectId, object: T) -> Result<T, Cause> {
        let Metadata { name, namespace, .. } = object.metadata();
        if *name == id.name && *namespace == id.namespace {
            Ok(object)
        } else {
            Err(Cause::Unreadable { reason: "it describes another object".to_owned() })
        }
    }

    /// Records a failed request for an object.
    fn record_get(&mut self, id: &ObjectId, kind: Kind, cause: Cause) {
        let what = format!("get {id}");
        let advice =
            if matches!(cause, Cause::Forbidden { .. }) { self.advice(id, kind) } else { String::new() };
        let remedy =
            || kind.rule(Some(&id.name), "get").grant(id.namespace.as_deref(), CURRENT_USER) + &advice;
        self.record(what, cause, remedy);
    }

    /// What the current user may read instead of a forbidden Secret, ConfigMap or Service: its name may be misspelt.
    fn advice(&self, id: &ObjectId, kind: Kind) -> String {
        let find = || {
            let is_named = matches!(kind, Kind::Secret | Kind::ConfigMap | Kind::Service);
            let namespace = id.namespace.as_deref().filter(|_| is_named)?;
            let cluster = if id.cluster == ClusterRef::Local { &self.query.cluster } else { &id.cluster };
            let rules = self.clusters.access_rules(cluster, &Namespace::parse(namespace).ok()?)?;
            rules.advice(kind.group(), kind.plural(), &id.name)
        };
        find().map(|advice| format!("; {advice}")).unwrap_or_default()
    }

    fn record(&mut self, what: String, cause: Cause, remedy: impl FnOnce() -> String) {
        let remedy = matches!(cause, Cause::Forbidden { .. }).then(remedy);
        self.graph.refusals.push(Refusal { what, reason: cause.to_string(), remedy });
    }

    fn target_error(&self, id: &ObjectId, cause: Cause) -> Error {
        let kind = self.query.target.kind;
        let hint = match &cause {
            Cause::Forbidden { .. } => {
                Some(kind.rule(Some(&id.name), "get").grant(id.namespace.as_deref(), CURRENT_USER))
            }
            Cause::NotFound { .. } if self.query.named_by_host => Some(NAMED_BY_HOST.to_owned()),
            Cause::NotFound { .. } => Some(not_found_hint(self.clusters, self.query)),
            _ => None,
        };
        Error { object: id.to_string(), cause: Box::new(cause), hint }
    }
}

/// Where a workload has the annotations of its pods, and where a CronJob has them.
const TEMPLATE: &str = "spec.template.metadata.annotations";
const JOBS_TEMPLATE: &str = "spec.jobTemplate.spec.template.metadata.annotations";
/// The number of annotations that a note names.
const ANNOTATIONS_SHOWN: usize = 4;

/// The remark about podcreds without annotations: it then ends with an error, unless `--allow-none` is set.
fn no_annotations(what: &str, prefix: &str, place: &str) -> String {
    format!(
        "{what} runs podcreds but has no annotation that begins with {prefix}/; in a workload, set annotations in {place}, not in metadata.annotations"
    )
}

/// Whose permissions the walk has.
const CURRENT_USER: &str = "the current user";

const NAMED_BY_HOST: &str = "the pod name was guessed from the hostname: name a pod, or set POD_NAME from the field metadata.name in the manifest";

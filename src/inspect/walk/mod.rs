//! Reads what an object hangs on, as far as the rights reach: each distinct object once, one after the other, over one
//! connection. What is refused is written down, and the walk goes on.
//!
//! `owners` climbs, `owned` descends, `spec` looks at all that a pod's spec and our annotations name, `account` asks what
//! the service account may read.

mod account;
mod owned;
mod owners;
mod shape;
mod spec;

use std::sync::Arc;

use crate::inspect::api::{self, Annotated, Metadata, Pod, Workload};
use crate::inspect::graph::{Detail, Graph, Index, ObjectId, Refusal, State};
use crate::inspect::kind::Kind;
use crate::inspect::walk::shape::Shape;
use crate::inspect::{Error, Question};
use crate::kube::config::registry::Clusters;
use crate::kube::{Cause, Client, Deadline, names_object};
use crate::object::{ClusterRef, is_subdomain};
use crate::secret::SecretBytes;

/// The most requests of a walk. Whoever writes the spec of a pod must not make us ask for ever.
const REQUEST_LIMIT: usize = 500;

/// Answers the question.
///
/// # Errors
/// If the object that was asked about cannot be read; for all others there is a refusal in the graph.
pub(crate) fn walk(clusters: &Clusters, question: &Question) -> Result<Graph, Error> {
    let deadline = Deadline::after(question.timeout);
    let namespace = question.scope.namespace.to_string();
    let client = clusters.client(&question.cluster).map_err(|cause| Error {
        object: ObjectId::new(question.target.kind, Some(&namespace), question.target.name()).to_string(),
        cause: Box::new(cause),
        hint: None,
    })?;
    let graph = Graph::default();
    let mut walk = Walk { clusters, client, question, deadline, namespace, requests: 0, graph };
    match question.target.kind {
        Kind::Pod => walk.pod()?,
        kind => walk.workload(kind)?,
    }
    Ok(walk.graph)
}

/// A walk that is under way.
struct Walk<'a> {
    clusters: &'a Clusters,
    /// Of the cluster of the object that was asked about.
    client: Arc<Client>,
    question: &'a Question,
    deadline: Deadline,
    /// Of the object that was asked about.
    namespace: String,
    requests: usize,
    graph: Graph,
}

impl Walk<'_> {
    fn pod(&mut self) -> Result<(), Error> {
        let id = self.target();
        let body = self.body(&id, Kind::Pod, None, false);
        let parsed = body.and_then(|body| {
            let pod: Pod = self.check(&id, api::parse(&body)?)?;
            let annotated: Annotated = api::parse(&body)?;
            Ok((pod, annotated.metadata.of(&self.question.prefix)))
        });
        let (pod, annotations) = parsed.map_err(|cause| self.fatal(&id, cause))?;
        let root = self.graph.put(id);
        self.set(root, &pod);
        self.climb(root, pod.metadata.owners(), 0);
        self.spec(root, Some(&pod.metadata.name), &pod.spec, &annotations);
        Ok(())
    }

    fn workload(&mut self, kind: Kind) -> Result<(), Error> {
        let id = self.target();
        let read = self.read::<Workload>(&id, kind, None, false);
        let mut workload = read.map_err(|cause| self.fatal(&id, cause))?;
        let root = self.graph.put(id);
        self.set(root, &workload);
        self.climb(root, workload.metadata.owners(), 0);
        self.descend(root, kind, &workload);
        if let Some(mut template) = workload.spec.template() {
            let annotations = template.annotations(&self.question.prefix);
            self.spec(root, None, &template.spec, &annotations);
        }
        Ok(())
    }

    fn target(&self) -> ObjectId {
        ObjectId::new(self.question.target.kind, Some(&self.namespace), self.question.target.name())
    }

    /// Looks at an object that others name, unless it was looked at before, and returns its node, and the object where it
    /// was read for the first time.
    fn look<T: Shape>(&mut self, id: ObjectId, kind: Kind, api_version: Option<&str>) -> (Index, Option<T>) {
        let known = self.graph.find(&id).filter(|index| self.graph.nodes[*index].state != State::Named);
        if let Some(index) = known {
            return (index, None);
        }
        let metadata_only = !matches!(kind, Kind::Node | Kind::PersistentVolumeClaim);
        let read = self.read::<T>(&id, kind, api_version, metadata_only);
        let index = self.graph.put(id);
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
                self.refuse("get", &id, kind, cause);
                (index, None)
            }
        }
    }

    /// Looks at an object of which nothing else matters than what it says of itself.
    fn note<T: Shape>(&mut self, kind: Kind, id: ObjectId) -> Index {
        let (index, object) = self.look::<T>(id, kind, None);
        if let Some(object) = object {
            self.set(index, &object);
        }
        index
    }

    fn set(&mut self, index: Index, object: &impl Shape) {
        let deleting = object.metadata().is_deleting().then_some(Detail::Deleting);
        let node = &mut self.graph.nodes[index];
        node.state = State::Exists;
        node.details = object.details().into_iter().chain(deleting).collect();
    }

    fn read<T: Shape>(
        &mut self,
        id: &ObjectId,
        kind: Kind,
        api_version: Option<&str>,
        metadata_only: bool,
    ) -> Result<T, Cause> {
        let body = self.body(id, kind, api_version, metadata_only)?;
        self.check(id, api::parse(&body)?)
    }

    /// The answer of the first version of the API that has the object.
    fn body(
        &mut self,
        id: &ObjectId,
        kind: Kind,
        api_version: Option<&str>,
        metadata_only: bool,
    ) -> Result<SecretBytes, Cause> {
        // What is no name cannot be one of an object, and must not get into a path.
        if !is_subdomain(&id.name) {
            return Err(Cause::NotFound { message: "no object can have this name".to_owned() });
        }
        let client = match &id.cluster {
            ClusterRef::Local => Arc::clone(&self.client),
            named => self.clusters.client(named)?,
        };
        let mut missing = None;
        for version in kind.versions(api_version) {
            let path = format!("{}/{}", kind.collection(&version, id.namespace.as_deref()), id.name);
            self.count()?;
            match client.get_path(&path, metadata_only, self.deadline) {
                // The reason of the version that has the object counts.
                Err(Cause::NotFound { message }) if missing.is_none() || names_object(&message, &id.name) => {
                    missing = Some(message);
                }
                Err(Cause::NotFound { .. }) => {}
                answer => return answer,
            }
        }
        Err(Cause::NotFound { message: missing.unwrap_or_default() })
    }

    /// Counts a request, if there may be another one.
    fn count(&mut self) -> Result<(), Cause> {
        if self.requests == REQUEST_LIMIT {
            let message = format!("not asked for, after {REQUEST_LIMIT} requests");
            return Err(Cause::Refused { status: 429, message });
        }
        self.requests += 1;
        Ok(())
    }

    /// An answer that belongs to another request, because a proxy lost count, must not be taken for this one.
    fn check<T: Shape>(&self, id: &ObjectId, object: T) -> Result<T, Cause> {
        let Metadata { name, namespace, .. } = object.metadata();
        if *name == id.name && *namespace == id.namespace {
            Ok(object)
        } else {
            Err(Cause::Unreadable { reason: "it describes another object".to_owned() })
        }
    }

    /// Writes down what could not be read.
    fn refuse(&mut self, verb: &str, id: &ObjectId, kind: Kind, cause: Cause) {
        let what = format!("{verb} {id}");
        let remedy = || remedy(kind, id.namespace.as_deref(), Some(&id.name), verb, ASKER);
        self.push_refusal(what, cause, remedy);
    }

    fn push_refusal(&mut self, what: String, cause: Cause, remedy: impl FnOnce() -> String) {
        let remedy = matches!(cause, Cause::Forbidden { .. }).then(remedy);
        self.graph.refusals.push(Refusal { what, reason: cause.to_string(), remedy });
    }

    fn fatal(&self, id: &ObjectId, cause: Cause) -> Error {
        let kind = self.question.target.kind;
        let hint = match &cause {
            Cause::Forbidden { .. } => {
                Some(remedy(kind, id.namespace.as_deref(), Some(&id.name), "get", ASKER))
            }
            Cause::NotFound { .. } if self.question.named_by_host => Some(NAMED_BY_HOST.to_owned()),
            _ => None,
        };
        Error { object: id.to_string(), cause: Box::new(cause), hint }
    }
}

/// Whose rights the walk has.
const ASKER: &str = "the account that asks";

const NAMED_BY_HOST: &str = "the name was taken from the host name: name a pod, or set POD_NAME from the field metadata.name in the manifest";

/// What grants these verbs to somebody.
fn remedy(kind: Kind, namespace: Option<&str>, name: Option<&str>, verbs: &str, whom: &str) -> String {
    let rule = kind.rule(name, verbs);
    match namespace {
        Some(namespace) => {
            format!(
                "a Role in namespace {namespace}, bound to {whom} by a RoleBinding there, needs the rule {rule}"
            )
        }
        None => cluster_remedy(&rule, whom),
    }
}

fn cluster_remedy(rule: &str, whom: &str) -> String {
    format!("a ClusterRole, bound to {whom} by a ClusterRoleBinding, needs the rule {rule}")
}

//! What a pod's spec and podcreds' annotations reference: its node, its service account (with its permissions), Secrets,
//! ConfigMaps, Services and claims.

use std::collections::BTreeMap;

use crate::annotations;
use crate::inspect::api::{Claim, NodeObject, PartialObjectMetadata};
use crate::inspect::graph::{Index, ObjectId, Relation};
use crate::inspect::references::{PodSpec, Reference};
use crate::inspect::resource::Kind;
use crate::inspect::walk::Walk;
use crate::object::ObjectRef;
use crate::rbac::{annotation_key, needs};

/// The referenced objects, in output order.
type References = BTreeMap<(Kind, ObjectId), UsedBy>;

struct UsedBy {
    places: Vec<String>,
    /// Whether the object is optional at all places.
    optional: bool,
}

impl Walk<'_> {
    /// Adds the objects that a pod's spec and annotations reference. `from` is the pod, or the owner of the pod template.
    pub(crate) fn pod_spec(
        &mut self,
        from: Index,
        pod: Option<&str>,
        spec: &PodSpec,
        annotations: &BTreeMap<String, String>,
    ) {
        if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            let node = self.add_node::<NodeObject>(Kind::Node, ObjectId::new(Kind::Node, None, node));
            self.graph.connect(from, Relation::RunsOn, node);
        }
        let namespace = self.namespace.clone();
        let account = ObjectId::new(Kind::ServiceAccount, Some(&namespace), spec.service_account());
        let account = self.add_node::<PartialObjectMetadata>(Kind::ServiceAccount, account);
        self.graph.connect(from, Relation::RunsAs, account);

        let mut references = References::new();
        for Reference { kind, name, by, optional } in spec.references(pod) {
            add(&mut references, kind, ObjectId::new(kind, Some(&namespace), &name), by, optional);
        }
        let needed = self.annotations(annotations, &mut references);
        for ((kind, id), UsedBy { places, optional }) in references {
            let to = self.add_referenced(kind, id);
            let edge = self.graph.connect(from, Relation::Uses, to);
            edge.by = places;
            edge.optional = optional;
        }
        let usage = spec.usage();
        if annotations.is_empty() && usage.is_none() {
            return;
        }
        let needs = needs(usage, &self.query.scope.namespace, pod, needed);
        self.review_access(account, spec.service_account(), &needs);
    }

    /// Adds the objects that podcreds' annotations reference, or the annotations' errors. Returns the objects that the
    /// service account must be able to read.
    fn annotations(
        &mut self,
        annotations: &BTreeMap<String, String>,
        references: &mut References,
    ) -> Vec<ObjectRef> {
        let prefix = &self.query.prefix;
        let credentials = match annotations::parse(annotations, prefix, &self.query.scope) {
            Ok(credentials) => credentials,
            Err(errors) => {
                self.graph.annotation_errors.extend(errors.0.iter().map(ToString::to_string));
                let note =
                    "the objects that the annotations reference are not shown until these are corrected";
                self.graph.annotation_errors.push(note.to_owned());
                return Vec::new();
            }
        };
        let mut needed = Vec::new();
        for credential in &credentials {
            for object in credential.objects() {
                let (kind, id) = identify(object);
                let by =
                    format!("annotation {prefix}/{}.{}", credential.name, annotation_key(credential, object));
                let is_needed = credential.needed_objects().any(|needed| needed == object);
                add(references, kind, id, by, credential.optional || !is_needed);
                // Only the other cluster can review permissions in it.
                if object.cluster.id().is_none() && !needed.contains(object) {
                    needed.push(object.clone());
                }
            }
        }
        needed
    }

    fn add_referenced(&mut self, kind: Kind, id: ObjectId) -> Index {
        match kind {
            Kind::PersistentVolumeClaim => self.add_node::<Claim>(kind, id),
            _ => self.add_node::<PartialObjectMetadata>(kind, id),
        }
    }
}

fn add(references: &mut References, kind: Kind, id: ObjectId, place: String, optional: bool) {
    let by = references.entry((kind, id)).or_insert(UsedBy { places: Vec::new(), optional: true });
    by.optional &= optional;
    if !by.places.contains(&place) {
        by.places.push(place);
    }
}

fn identify(object: &ObjectRef) -> (Kind, ObjectId) {
    let kind = Kind::from(object.kind);
    let id = ObjectId::new(kind, Some(&object.namespace.to_string()), object.name());
    (kind, ObjectId { cluster: object.cluster.clone(), ..id })
}

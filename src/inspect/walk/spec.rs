//! What the spec of a pod and our annotations on it name: the node, the service account, Secrets, ConfigMaps and claims.

use std::collections::BTreeMap;

use crate::annotations;
use crate::credential::Credential;
use crate::inspect::api::{Claim, NodeObject, Partial};
use crate::inspect::graph::{Index, ObjectId, Relation};
use crate::inspect::kind::Kind;
use crate::inspect::uses::{PodSpec, Use};
use crate::inspect::walk::Walk;
use crate::object::{self, ObjectRef};

/// What is used, in the order in which it is shown, and by what.
type Used = BTreeMap<(Kind, ObjectId), By>;

struct By {
    places: Vec<String>,
    /// Whether all of the places let it be missing.
    optional: bool,
}

impl Walk<'_> {
    /// Follows a spec and the annotations beside it from the pod that has them, or the owner of its template.
    pub(crate) fn spec(
        &mut self,
        from: Index,
        pod: Option<&str>,
        spec: &PodSpec,
        annotations: &BTreeMap<String, String>,
    ) {
        if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            let node = self.note::<NodeObject>(Kind::Node, ObjectId::new(Kind::Node, None, node));
            self.graph.connect(from, Relation::RunsOn, node);
        }
        let namespace = self.namespace.clone();
        let account = ObjectId::new(Kind::ServiceAccount, Some(&namespace), spec.account());
        let account = self.note::<Partial>(Kind::ServiceAccount, account);
        self.graph.connect(from, Relation::RunsAs, account);

        let mut used = Used::new();
        for Use { kind, name, by, optional } in spec.uses(pod) {
            add(&mut used, kind, ObjectId::new(kind, Some(&namespace), &name), by, optional);
        }
        let needed = self.annotated(annotations, &mut used);
        for ((kind, id), By { places, optional }) in used {
            let to = self.used(kind, id);
            let edge = self.graph.connect(from, Relation::Uses, to);
            edge.by = places;
            edge.optional = optional;
        }
        self.review(account, spec.account(), &needed);
    }

    /// What our annotations name; wrong ones are told. Returns those that the service account must be able to read.
    fn annotated(
        &mut self,
        annotations: &BTreeMap<String, String>,
        used: &mut Used,
    ) -> Vec<(Kind, ObjectId)> {
        let prefix = &self.question.prefix;
        let credentials = match annotations::parse(annotations, prefix, &self.question.scope) {
            Ok(credentials) => credentials,
            Err(errors) => {
                self.graph.problems.extend(errors.0.iter().map(ToString::to_string));
                let rest =
                    "what the annotations name is not shown, nor the rights on it, until they are right";
                self.graph.problems.push(rest.to_owned());
                return Vec::new();
            }
        };
        let mut needed = Vec::new();
        for credential in &credentials {
            for object in credential.objects() {
                let Some((kind, id)) = identify(object) else { continue };
                let by = format!("annotation {prefix}/{}.{}", credential.name, word(credential, object));
                add(used, kind, id.clone(), by, credential.optional);
                // What our account may in another cluster is not for this one to say.
                if id.cluster.id().is_none() && !needed.contains(&(kind, id.clone())) {
                    needed.push((kind, id));
                }
            }
        }
        needed
    }

    fn used(&mut self, kind: Kind, id: ObjectId) -> Index {
        match kind {
            Kind::PersistentVolumeClaim => self.note::<Claim>(kind, id),
            _ => self.note::<Partial>(kind, id),
        }
    }
}

fn add(used: &mut Used, kind: Kind, id: ObjectId, place: String, optional: bool) {
    let by = used.entry((kind, id)).or_insert(By { places: Vec::new(), optional: true });
    by.optional &= optional;
    if !by.places.contains(&place) {
        by.places.push(place);
    }
}

/// The word of the annotation that names this object of the credential.
fn word(credential: &Credential, object: &ObjectRef) -> &'static str {
    match object.kind {
        object::Kind::Secret => "secret",
        object::Kind::Service => "service",
        _ if credential.sources.contains(object) => "configmap",
        _ => "template-from",
    }
}

fn identify(object: &ObjectRef) -> Option<(Kind, ObjectId)> {
    let kind = match object.kind {
        object::Kind::Secret => Kind::Secret,
        object::Kind::ConfigMap => Kind::ConfigMap,
        object::Kind::Service => Kind::Service,
        object::Kind::Pod | object::Kind::Event => return None,
    };
    let id = ObjectId::new(kind, Some(&object.namespace.to_string()), object.name());
    Some((kind, ObjectId { cluster: object.cluster.clone(), ..id }))
}

//! The objects, how they depend on each other, and what could not be read. Pure; every output format renders it.
//!
//! It holds names and states, and no value of a Secret, an environment variable or an annotation.

use std::fmt;

use crate::inspect::resource::Kind;
use crate::object::ClusterRef;
use crate::text::one_line;

/// The longest name in the output, in characters: that of a DNS subdomain.
const NAME_LIMIT: usize = 253;

/// Identifies an object. Kind and name come from manifests and may be any text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub(crate) cluster: ClusterRef,
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) kind: String,
    /// `None` means that the object is cluster-scoped, or an owner of an unknown kind.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl ObjectId {
    /// An object of a known kind in the cluster of the inspected object.
    pub(crate) fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        Self {
            cluster: ClusterRef::Local,
            group: kind.group().to_owned(),
            kind: kind.name().to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for ObjectId {
    /// On one line, whatever the names contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", one_line(&self.kind, NAME_LIMIT))?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{}/", one_line(namespace, NAME_LIMIT))?;
        }
        f.write_str(&one_line(&self.name, NAME_LIMIT))?;
        self.cluster.id().into_iter().try_for_each(|cluster| write!(f, " of cluster {cluster}"))
    }
}

/// Whether an object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// podcreds read it.
    Exists,
    /// The API server does not have it, or has another object with this name.
    Missing,
    /// It could not be read; the refusals say why.
    Unread,
    /// Another object references it, but podcreds did not read it.
    Named,
}

impl State {
    /// The value of `state` in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Missing => "missing",
            Self::Unread => "unread",
            Self::Named => "named",
        }
    }
}

/// A remark about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The phase of a pod or PersistentVolumeClaim.
    Phase(String),
    /// The PersistentVolume that a claim is bound to.
    Volume(String),
    /// Whether a node is ready.
    Ready(bool),
    /// The version of a node's kubelet.
    Kubelet(String),
    /// It has a deletion timestamp.
    Deleting,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase(phase) => f.write_str(&one_line(phase, NAME_LIMIT)),
            Self::Volume(volume) => write!(f, "volume {}", one_line(volume, NAME_LIMIT)),
            Self::Ready(true) => f.write_str("ready"),
            Self::Ready(false) => f.write_str("not ready"),
            Self::Kubelet(version) => write!(f, "kubelet {}", one_line(version, NAME_LIMIT)),
            Self::Deleting => f.write_str("being deleted"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) id: ObjectId,
    pub(crate) state: State,
    pub(crate) details: Vec<Detail>,
}

/// The index of a node in its graph.
pub(crate) type Index = usize;

/// How one object depends on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relation {
    /// From a pod to its ReplicaSet.
    OwnedBy,
    /// From a ReplicaSet to its pods.
    Owns,
    /// From a pod to its node.
    RunsOn,
    /// From a pod to its service account.
    RunsAs,
    /// From a pod to a Secret, ConfigMap, Service or claim.
    Uses,
    /// From a service account to an object that podcreds' annotations reference.
    MayRead,
}

impl Relation {
    /// The value of `relation` in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OwnedBy => "owned_by",
            Self::Owns => "owns",
            Self::RunsOn => "runs_on",
            Self::RunsAs => "runs_as",
            Self::Uses => "uses",
            Self::MayRead => "may_read",
        }
    }
}

/// The permissions of a service account on an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) allowed: Vec<&'static str>,
    pub(crate) denied: Vec<&'static str>,
    /// The rule that would grant the denied verbs.
    pub(crate) remedy: Option<String>,
}

/// A dependency between two objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: Index,
    pub(crate) to: Index,
    pub(crate) relation: Relation,
    /// The references: `volume certs`, `env DB_HOST of container app`.
    pub(crate) by: Vec<String>,
    /// Whether all references are optional.
    pub(crate) optional: bool,
    /// Only for [`Relation::MayRead`].
    pub(crate) access: Option<Access>,
}

impl Edge {
    /// The relation in the output for people.
    pub(crate) fn label(&self) -> String {
        match (self.relation, &self.access) {
            (Relation::OwnedBy, _) => "owned by".to_owned(),
            (Relation::Owns, _) => "owns".to_owned(),
            (Relation::RunsOn, _) => "runs on".to_owned(),
            (Relation::RunsAs, _) => "runs as".to_owned(),
            (Relation::Uses, _) => "uses".to_owned(),
            (Relation::MayRead, None) => "may read".to_owned(),
            (Relation::MayRead, Some(Access { allowed, denied, .. })) => {
                let may = (!allowed.is_empty()).then(|| format!("may {}", allowed.join(" and ")));
                let may_not = (!denied.is_empty()).then(|| format!("may not {}", denied.join(" or ")));
                may.into_iter().chain(may_not).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// An owner may own more objects than podcreds read of a list. The API server does not report the total of a list with a
/// label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Truncated {
    pub(crate) owner: Index,
    /// The kind of the list.
    pub(crate) kind: Kind,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list truncated: more {} may exist", self.kind.plural())
    }
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The verb and the object.
    pub(crate) what: String,
    /// The error.
    pub(crate) reason: String,
    /// The rule that would allow the request, if permissions are the cause.
    pub(crate) remedy: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

/// The first node is the inspected object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// Each object once.
    pub(crate) nodes: Vec<Node>,
    /// Each pair of objects once per relation.
    pub(crate) edges: Vec<Edge>,
    pub(crate) truncated: Vec<Truncated>,
    pub(crate) refusals: Vec<Refusal>,
    /// The errors in podcreds' annotations.
    pub(crate) annotation_errors: Vec<String>,
    /// Remarks about the inspected object that belong to no other object.
    pub(crate) notes: Vec<String>,
}

impl Graph {
    pub(crate) fn find(&self, id: &ObjectId) -> Option<Index> {
        self.nodes.iter().position(|node| node.id == *id)
    }

    /// Adds an object that podcreds has not read yet. Returns the existing node if there is one.
    pub(crate) fn add(&mut self, id: ObjectId) -> Index {
        self.find(&id).unwrap_or_else(|| {
            self.nodes.push(Node { id, state: State::Named, details: Vec::new() });
            self.nodes.len() - 1
        })
    }

    /// Adds an edge. Returns the existing edge if there is one.
    pub(crate) fn connect(&mut self, from: Index, relation: Relation, to: Index) -> &mut Edge {
        let is_same = |edge: &Edge| (edge.from, edge.relation, edge.to) == (from, relation, to);
        let at = self.edges.iter().position(is_same).unwrap_or(self.edges.len());
        if at == self.edges.len() {
            self.edges.push(Edge { from, to, relation, by: Vec::new(), optional: false, access: None });
        }
        &mut self.edges[at]
    }

    /// The edges that begin at a node, in insertion order.
    pub(crate) fn edges_from(&self, index: Index) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == index)
    }

    /// Whether every reference to an object is optional.
    pub(crate) fn is_optional(&self, index: Index) -> bool {
        let mut uses = self.edges.iter().filter(|edge| edge.to == index && edge.relation == Relation::Uses);
        uses.clone().next().is_some() && uses.all(|edge| edge.optional)
    }

    /// The remarks about a node: its state unless it exists, and its details.
    pub(crate) fn remarks(&self, index: Index) -> String {
        let Node { state, details, id } = &self.nodes[index];
        let state = match state {
            State::Exists => None,
            State::Missing if self.is_optional(index) => Some("missing, optional".to_owned()),
            State::Missing => Some("missing".to_owned()),
            State::Unread => Some("could not be read".to_owned()),
            State::Named if id.cluster != ClusterRef::Local => Some("not read".to_owned()),
            State::Named => None,
        };
        let remarks: Vec<_> = state.into_iter().chain(details.iter().map(ToString::to_string)).collect();
        remarks.join(", ")
    }
}

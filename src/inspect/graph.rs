//! What was found: objects, how they hang together, and what could not be found out. A pure model, for every form of output.
//!
//! It holds names and states. No value is ever put in here: not of a Secret, of an environment variable, or of an annotation.

use std::fmt;

use crate::inspect::kind::Kind;
use crate::object::ClusterRef;
use crate::text::one_line;

/// The longest foreign name that is shown, in characters: that of a DNS subdomain.
const NAME_LIMIT: usize = 253;

/// Which object. Names and kinds are what somebody wrote and may be anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// `Local` means the cluster of the object that was asked about.
    pub(crate) cluster: ClusterRef,
    /// Its API group; empty for the core group.
    pub(crate) group: String,
    /// What it is.
    pub(crate) kind: String,
    /// Where it is; none for an object of the cluster, and where that is not known.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: String,
}

impl ObjectId {
    /// An object of a known kind in the cluster that is asked.
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
    /// On one line, whatever the names are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", one_line(&self.kind, NAME_LIMIT))?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{}/", one_line(namespace, NAME_LIMIT))?;
        }
        f.write_str(&one_line(&self.name, NAME_LIMIT))?;
        self.cluster.id().into_iter().try_for_each(|cluster| write!(f, " of cluster {cluster}"))
    }
}

/// What is known of an object's being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It was read.
    Exists,
    /// The API server has none of this name, or another one than was meant.
    Missing,
    /// It could not be read: see the refusals.
    Unread,
    /// It is only named: of a kind that is not looked at.
    Named,
}

impl State {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Missing => "missing",
            Self::Unread => "unread",
            Self::Named => "named",
        }
    }
}

/// What else was seen of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Of a pod or claim.
    Phase(String),
    /// The volume of a claim.
    Volume(String),
    /// Whether a node is.
    Ready(bool),
    /// The kubelet's version.
    Kubelet(String),
    /// It is about to go.
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

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Which.
    pub(crate) id: ObjectId,
    /// Whether it is there.
    pub(crate) state: State,
    /// What else was seen.
    pub(crate) details: Vec<Detail>,
}

/// Where a node is in its graph.
pub(crate) type Index = usize;

/// How two objects hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relation {
    /// A pod by its ReplicaSet.
    OwnedBy,
    /// A ReplicaSet its pods.
    Owns,
    /// A pod on its node.
    RunsOn,
    /// A pod as its service account.
    RunsAs,
    /// A pod a Secret, a ConfigMap or a claim.
    Uses,
    /// A service account a Secret or ConfigMap.
    MayRead,
}

impl Relation {
    /// Its name in machine-readable output.
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

/// What an account may do with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// The verbs that it may.
    pub(crate) allowed: Vec<&'static str>,
    /// The verbs that it may not.
    pub(crate) denied: Vec<&'static str>,
    /// What would grant those that it may not.
    pub(crate) remedy: Option<String>,
}

/// That two objects hang together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// From here …
    pub(crate) from: Index,
    /// … to here.
    pub(crate) to: Index,
    /// How.
    pub(crate) relation: Relation,
    /// By what: `volume certs`, `env DB_HOST of container app`.
    pub(crate) by: Vec<String>,
    /// Whether all of these let it be missing.
    pub(crate) optional: bool,
    /// What the account may; for [`Relation::MayRead`] alone.
    pub(crate) access: Option<Access>,
}

impl Edge {
    /// The relation in words, with what an account may.
    pub(crate) fn words(&self) -> String {
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

/// That an object may own more than was looked at, because a list ends somewhere. How many, the API server does not say of
/// a list with a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct More {
    /// The owner.
    pub(crate) of: Index,
    /// What else it may own.
    pub(crate) kind: Kind,
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "perhaps more of kind {}: the list goes on", self.kind)
    }
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The verb and the object.
    pub(crate) what: String,
    /// What the API server or the network said.
    pub(crate) reason: String,
    /// What would allow it, if that is known.
    pub(crate) remedy: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

/// All that was found. The first node is the object that was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// The objects, each once.
    pub(crate) nodes: Vec<Node>,
    /// How they hang together, each pair once a relation.
    pub(crate) edges: Vec<Edge>,
    /// What was left out.
    pub(crate) more: Vec<More>,
    /// What could not be read.
    pub(crate) refusals: Vec<Refusal>,
    /// What is wrong with our annotations.
    pub(crate) problems: Vec<String>,
}

impl Graph {
    /// Where an object is, if it is here.
    pub(crate) fn find(&self, id: &ObjectId) -> Option<Index> {
        self.nodes.iter().position(|node| node.id == *id)
    }

    /// Puts an object here as one that is only named, unless it is here already.
    pub(crate) fn put(&mut self, id: ObjectId) -> Index {
        self.find(&id).unwrap_or_else(|| {
            self.nodes.push(Node { id, state: State::Named, details: Vec::new() });
            self.nodes.len() - 1
        })
    }

    /// Says that two objects hang together, once.
    pub(crate) fn connect(&mut self, from: Index, relation: Relation, to: Index) -> &mut Edge {
        let known = |edge: &Edge| (edge.from, edge.relation, edge.to) == (from, relation, to);
        let at = self.edges.iter().position(known).unwrap_or(self.edges.len());
        if at == self.edges.len() {
            self.edges.push(Edge { from, to, relation, by: Vec::new(), optional: false, access: None });
        }
        &mut self.edges[at]
    }

    /// The edges that begin at a node, in their order.
    pub(crate) fn edges_from(&self, index: Index) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == index)
    }

    /// Whether all that use an object let it be missing.
    pub(crate) fn is_optional(&self, index: Index) -> bool {
        let mut uses = self.edges.iter().filter(|edge| edge.to == index && edge.relation == Relation::Uses);
        uses.clone().next().is_some() && uses.all(|edge| edge.optional)
    }

    /// What is said of a node beside its name: whether it is there, if that is not as it should be, and what was seen.
    pub(crate) fn remarks(&self, index: Index) -> String {
        let Node { state, details, id } = &self.nodes[index];
        let state = match state {
            State::Exists => None,
            State::Missing if self.is_optional(index) => Some("missing, optional".to_owned()),
            State::Missing => Some("missing".to_owned()),
            State::Unread => Some("could not be read".to_owned()),
            State::Named if id.cluster != ClusterRef::Local => Some("not looked at".to_owned()),
            State::Named => None,
        };
        let remarks: Vec<_> = state.into_iter().chain(details.iter().map(ToString::to_string)).collect();
        remarks.join(", ")
    }
}

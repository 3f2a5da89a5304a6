//! What can fail, and why: the names of the status, the metrics and the log.

use std::fmt;

use crate::kube;
use crate::object::{ClusterRef, ObjectRef};

/// What has to work for the files to be current.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    /// Reading the pod's annotations.
    Annotations,
    /// Reading an object.
    Source(ObjectRef),
    /// Watching an object.
    Watch(ObjectRef),
    /// Rendering the credential of this name.
    Credential(String),
    /// Using the kubeconfig of a cluster after a change.
    Kubeconfig(ClusterRef),
    /// Writing the volume.
    Volume,
}

impl Component {
    /// The cluster that it depends on. What does not depend on one counts as local.
    pub(crate) fn cluster(&self) -> &ClusterRef {
        match self {
            Self::Kubeconfig(cluster) => cluster,
            _ => self.object().map_or(&ClusterRef::Local, |object| &object.cluster),
        }
    }

    /// Whether it depends on this cluster alone.
    pub(crate) fn is_of(&self, cluster: &ClusterRef) -> bool {
        !matches!(self, Self::Volume | Self::Credential(_)) && self.cluster() == cluster
    }

    /// The object that it is about. The annotations' pod is not one: they may come from a file.
    fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Source(object) | Self::Watch(object) => Some(object),
            Self::Annotations | Self::Credential(_) | Self::Kubeconfig(_) | Self::Volume => None,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotations => f.write_str("the pod's annotations"),
            Self::Source(object) => write!(f, "{object}"),
            Self::Watch(object) => write!(f, "the watch of {object}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Kubeconfig(ClusterRef::Local) => f.write_str("the kubeconfig"),
            Self::Kubeconfig(ClusterRef::Named(id)) => write!(f, "the kubeconfig of cluster {id}"),
            Self::Volume => f.write_str("the volume"),
        }
    }
}

/// Why a component fails: the values of a metric's label, so there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The API server refused the request or does not have the object.
    ApiRefused,
    /// The API server did not answer in time, or was too busy.
    ApiUnreachable,
    /// Edited annotations are wrong.
    Annotations,
    /// A credential cannot be rendered from its sources.
    Render,
    /// The volume cannot be written.
    Volume,
    /// An entry of the clusters file or a changed kubeconfig cannot be used.
    Configuration,
}

impl Reason {
    pub(crate) const ALL: [Self; 6] = [
        Self::ApiRefused,
        Self::ApiUnreachable,
        Self::Annotations,
        Self::Render,
        Self::Volume,
        Self::Configuration,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ApiRefused => "api_refused",
            Self::ApiUnreachable => "api_unreachable",
            Self::Annotations => "annotations",
            Self::Render => "render",
            Self::Volume => "volume",
            Self::Configuration => "configuration",
        }
    }
}

impl From<&kube::Error> for Reason {
    fn from(error: &kube::Error) -> Self {
        match error.class() {
            kube::Class::Refused => Self::ApiRefused,
            kube::Class::Configuration => Self::Configuration,
            kube::Class::Unreachable => Self::ApiUnreachable,
        }
    }
}

/// What a line of the log is about: its fields in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Subject {
    #[default]
    None,
    Object(ObjectRef),
    Credential(String),
    /// A version of the volume.
    Bundle(String),
}

impl From<&Component> for Subject {
    fn from(component: &Component) -> Self {
        match component {
            Component::Source(object) | Component::Watch(object) => Self::Object(object.clone()),
            Component::Credential(name) => Self::Credential(name.clone()),
            Component::Annotations | Component::Kubeconfig(_) | Component::Volume => Self::None,
        }
    }
}

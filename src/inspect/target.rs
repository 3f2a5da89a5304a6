//! Which object a person asks about: `[KIND/]NAME`.

use crate::inspect::kind::Kind;
use crate::object::{ObjectRef, is_subdomain};
use crate::text::Quoted;

/// A pod, or something that owns pods, by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// What it is: one of [`Kind::WORKLOADS`].
    pub(crate) kind: Kind,
    name: String,
}

impl Target {
    /// Reads `NAME` of a pod or `KIND/NAME`.
    ///
    /// # Errors
    /// For a kind that owns no pods, and for what is no name.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => {
                (Kind::parse(kind).ok_or_else(|| TargetError::Kind(kind.to_owned()))?, name)
            }
            None => (Kind::Pod, text),
        };
        if is_subdomain(name) {
            Ok(Self { kind, name: name.to_owned() })
        } else {
            Err(TargetError::Name(name.to_owned()))
        }
    }

    /// A pod that is known by its reference.
    pub(crate) fn pod(pod: &ObjectRef) -> Self {
        Self { kind: Kind::Pod, name: pod.name().to_owned() }
    }

    /// The object's name: a DNS subdomain.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// What is no object to ask about.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TargetError {
    /// The part before the slash.
    #[error(
        "{} is no kind that can be inspected: write pod, deployment, statefulset, daemonset, job, cronjob or replicaset before the slash, or one of kubectl's short names",
        Quoted(.0)
    )]
    Kind(String),
    /// The name.
    #[error("{} is no name of an object: write NAME of a pod, or KIND/NAME", Quoted(.0))]
    Name(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_pod_or_says_what_it_is() {
        let read = |text: &str| Target::parse(text).map(|target| (target.kind, target.name().to_owned()));
        assert_eq!(read("app-0"), Ok((Kind::Pod, "app-0".to_owned())));
        assert_eq!(read("deploy/app"), Ok((Kind::Deployment, "app".to_owned())));
        assert_eq!(read("secret/db"), Err(TargetError::Kind("secret".into())));
        for text in ["", "deploy/", "deploy/a/b", "A", "..", "pod/../x"] {
            assert!(matches!(read(text), Err(TargetError::Name(_))), "{text}");
        }
    }
}

//! The state of credentials and clusters, from what fails and what is served.

use std::time::SystemTime;

use crate::object::{ClusterRef, ObjectRef};
use crate::telemetry::component::Component;
use crate::telemetry::status::served::{Credential, Source};
use crate::telemetry::status::{Moment, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its files come from the current content of its sources, as far as podcreds can tell.
    Current,
    /// It has files, and something that it depends on fails.
    Stale,
    /// It has no files yet.
    Waiting,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Waiting => "waiting",
        }
    }
}

/// What `/status` shows of a credential.
pub(crate) struct CredentialStatus<'a> {
    pub(crate) name: &'a str,
    pub(crate) state: State,
    /// Its failures, each with the time at which it began.
    pub(crate) errors: Vec<(Moment, &'a str)>,
    /// `None` until something is known about its files.
    pub(crate) served: Option<&'a Credential>,
    pub(crate) sources: Vec<SourceStatus<'a>>,
}

pub(crate) struct SourceStatus<'a> {
    pub(crate) object: &'a ObjectRef,
    /// The resourceVersion that the files come from; `None` means that they come from none.
    pub(crate) served: Option<&'a str>,
    /// The resourceVersion that was read last, if it is not served.
    pub(crate) read: Option<&'a str>,
}

impl Status {
    /// The credentials, each with the first failure that still holds for one of its sources or for rendering it.
    pub(crate) fn credentials_stale_since(&self) -> impl Iterator<Item = (&str, Option<Moment>)> {
        self.credentials.keys().map(|name| {
            let since = self.earliest(|component| self.concerns(component, name));
            (name.as_str(), since.or_else(|| self.waiting.contains_key(name).then_some(self.started)))
        })
    }

    /// The first failure that still holds for a component of one cluster.
    pub(crate) fn cluster_stale_since(&self, cluster: &ClusterRef) -> Option<Moment> {
        self.earliest(|component| component.is_of(cluster))
    }

    fn earliest(&self, concerns: impl Fn(&Component) -> bool) -> Option<Moment> {
        let failing = self.failing.iter().filter(|(component, _)| concerns(component));
        failing.map(|(_, since)| *since).min()
    }

    /// Whether a failure of the component is one of the credential.
    fn concerns(&self, component: &Component, name: &str) -> bool {
        let Some(objects) = self.credentials.get(name) else { return false };
        match component {
            Component::Source(object) | Component::Watch(object) => objects.contains(object),
            Component::Credential(other) => other == name,
            Component::Kubeconfig(cluster) => objects.iter().any(|object| object.cluster == *cluster),
            Component::Annotations | Component::Volume => false,
        }
    }

    /// Stores a failure for each credential that it concerns.
    pub(super) fn store_last_error(&mut self, component: &Component, message: &str, time: SystemTime) {
        let concerned = self.credentials.keys().filter(|name| self.concerns(component, name));
        for name in concerned.cloned().collect::<Vec<_>>() {
            self.served.failed(&name, message, time);
        }
    }

    /// The failures that match, each with its message.
    fn errors(&self, matches: impl Fn(&Component) -> bool) -> Vec<(Moment, &str)> {
        let failing = self.failing.iter().filter(|(component, _)| matches(component));
        failing.map(|(component, since)| (*since, self.message(component).unwrap_or_default())).collect()
    }

    /// The failures that concern no single credential.
    pub(crate) fn common_errors(&self) -> Vec<(Moment, &str)> {
        self.errors(|component| matches!(component, Component::Annotations | Component::Volume))
    }

    /// The credentials with their state.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = CredentialStatus<'_>> {
        self.credentials.iter().map(|(name, objects)| {
            let served = self.served.credential(name);
            // A volume that cannot be written holds up only the credentials that have changed.
            let is_behind = objects.iter().any(|object| self.served.is_behind(name, object));
            let mut errors = self.errors(|component| {
                self.concerns(component, name) || (is_behind && matches!(component, Component::Volume))
            });
            let state = match self.waiting.get(name) {
                Some(reason) if errors.is_empty() => {
                    errors.push((self.started, reason));
                    State::Waiting
                }
                Some(_) => State::Waiting,
                None if errors.is_empty() => State::Current,
                None => State::Stale,
            };
            let sources: &[Source] = served.map_or(&[], |credential| &credential.sources);
            let mut all = Vec::new();
            for source in sources {
                let version = source.version.as_deref();
                all.push(self.source(&source.object, version));
            }
            for object in objects {
                if !sources.iter().any(|source| source.object == *object) {
                    all.push(self.source(object, None));
                }
            }
            CredentialStatus { name, state, errors, served, sources: all }
        })
    }

    fn source<'a>(&'a self, object: &'a ObjectRef, served: Option<&'a str>) -> SourceStatus<'a> {
        let read = self.served.read_version(object).filter(|read| Some(*read) != served);
        SourceStatus { object, served, read }
    }
}

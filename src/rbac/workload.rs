//! A pod template with what its pods need: the permissions, and which annotation needs each of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::annotations::{self, ReferenceScope, TemplateError};
use crate::credential::Credential;
use crate::manifest::{Place, Template};
use crate::object::{Kind, NameError, Namespace, ObjectRef, is_subdomain};
use crate::rbac::needs::{Need, annotation_key, needs};
use crate::rbac::usage::Usage;
use crate::text::{list, one_line};

/// The annotation that chooses the mode of an injected container (docs/injection.md).
const MODE: &str = "inject.podcreds.io/mode";
const INIT: &str = "init";
/// The longest name of a workload in a comment or message, in characters.
const NAME_LIMIT: usize = 300;

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_unspecified() {
            true => f.write_str(&self.name),
            false => write!(f, "{}/{}", self.namespace, self.name),
        }
    }
}

/// What manifests leave open.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    /// With the namespace of objects without `metadata.namespace`.
    pub(crate) scope: ReferenceScope,
    /// Whether `.cluster` may name clusters that the scope does not have: without a clusters file, none are known.
    pub(crate) any_cluster: bool,
    /// The prefix of podcreds' annotations.
    pub(crate) prefix: String,
    /// How a pod runs podcreds whose manifest has no podcreds container: one that is injected later.
    pub(crate) usage: Usage,
}

impl Defaults {
    fn scope_of(&self, namespace: &Namespace, annotations: &BTreeMap<String, String>) -> ReferenceScope {
        let mut scope = ReferenceScope { namespace: namespace.clone(), ..self.scope.clone() };
        if self.any_cluster {
            scope.add_clusters(annotations, &self.prefix);
        }
        scope
    }
}

/// Pods that share a template.
#[derive(Debug)]
pub(crate) struct Workload {
    /// As kubectl names it, on one line: `Deployment/app`.
    pub(crate) name: String,
    pub(crate) account: Account,
    /// Each with the annotation key that needs it, which is empty for the pod itself and its Events.
    pub(crate) needs: Vec<(Need, String)>,
}

/// Pods as an object or the API describes them.
#[derive(Debug)]
pub(crate) struct PodSource<'a> {
    /// As kubectl names the object.
    pub(crate) name: &'a str,
    pub(crate) namespace: Namespace,
    pub(crate) service_account: &'a str,
    /// The name of the pod. `None` means a pod template.
    pub(crate) pod: Option<&'a str>,
    /// `None` means that no container runs podcreds.
    pub(crate) usage: Option<Usage>,
    pub(crate) annotations: &'a BTreeMap<String, String>,
}

impl Workload {
    /// `None` means that the pods have no annotation with the prefix.
    ///
    /// # Errors
    /// Everything that is wrong with the annotations, the namespace and the service account.
    pub(crate) fn from_template(
        template: &Template<'_>,
        defaults: &Defaults,
    ) -> Result<Option<Self>, Vec<Problem>> {
        if !template.is_annotated(&defaults.prefix) {
            return Ok(None);
        }
        let object = template.object;
        let problem = |place: Place<'_>, cause| Problem { place: place.to_string(), cause };
        let namespace = match object.namespace().map(Namespace::parse) {
            None => defaults.scope.namespace.clone(),
            Some(Ok(namespace)) => namespace,
            Some(Err(cause)) => return Err(vec![problem(object.place(object.node), cause.into())]),
        };
        let spec = object.place(template.spec().unwrap_or(template.node));
        let scope = defaults.scope_of(&namespace, &template.annotations().0);
        let annotations = match annotations::parse_template(template, &defaults.prefix, &scope) {
            Ok((annotations, _)) => annotations,
            Err(errors) => {
                let account = invalid_account(template.service_account()).map(|cause| problem(spec, cause));
                let annotations = errors.into_iter().map(|(place, cause)| problem(place, cause.into()));
                return Err(account.into_iter().chain(annotations).collect());
            }
        };
        let source = PodSource {
            name: &object.to_string(),
            namespace,
            service_account: template.service_account(),
            pod: object.name().filter(|_| object.kind == Kind::Pod.as_str()),
            usage: Usage::of_template(template),
            annotations: &annotations,
        };
        let workload = Self::new(&source, defaults);
        workload.map(Some).map_err(|causes| causes.into_iter().map(|cause| problem(spec, cause)).collect())
    }

    /// # Errors
    /// Everything that is wrong with the annotations and the service account.
    pub(crate) fn new(source: &PodSource<'_>, defaults: &Defaults) -> Result<Self, Vec<Cause>> {
        let PodSource { name, namespace, service_account, pod, usage, annotations } = source;
        let prefix = &defaults.prefix;
        let scope = defaults.scope_of(namespace, annotations);
        let mut causes: Vec<_> = invalid_account(service_account).into_iter().collect();
        let credentials = annotations::parse(annotations, prefix, &scope).unwrap_or_else(|errors| {
            causes.extend(errors.0.into_iter().map(|error| TemplateError::Invalid(error).into()));
            Vec::new()
        });
        if !causes.is_empty() {
            return Err(causes);
        }
        let injected = match annotations.get(MODE).map(String::as_str) {
            None => defaults.usage,
            Some(INIT) => Usage::INIT,
            Some(_) => Usage::SIDECAR,
        };
        let objects = objects(&credentials, prefix);
        let needs = needs(
            Some(usage.unwrap_or(injected)),
            namespace,
            *pod,
            objects.iter().map(|(object, _)| (*object).clone()),
        );
        let reason = |need: &Need| {
            let is_it = |object: &ObjectRef| {
                need.name.as_deref() == Some(object.name())
                    && (object.kind, &object.namespace, &object.cluster)
                        == (need.kind, &need.namespace, &need.cluster)
            };
            objects.iter().find(|(object, _)| is_it(object)).map(|(_, key)| key.clone()).unwrap_or_default()
        };
        Ok(Self {
            name: one_line(name, NAME_LIMIT),
            account: Account { namespace: namespace.clone(), name: (*service_account).to_owned() },
            needs: needs
                .into_iter()
                .map(|need| {
                    let reason = reason(&need);
                    (need, reason)
                })
                .collect(),
        })
    }
}

/// The distinct objects that the annotations name, each with the first annotation that does. The sources that a template uses are those
/// of other credentials.
fn objects<'a>(credentials: &'a [Credential], prefix: &str) -> Vec<(&'a ObjectRef, String)> {
    let mut objects: Vec<(&ObjectRef, String)> = Vec::new();
    for credential in credentials {
        for object in credential.source_objects().chain(credential.template_object()) {
            if !objects.iter().any(|(other, _)| *other == object) {
                let key = annotation_key(credential, object);
                objects.push((object, format!("{prefix}/{}.{key}", credential.name)));
            }
        }
    }
    objects
}

fn invalid_account(name: &str) -> Option<Cause> {
    (!is_subdomain(name)).then(|| Cause::Account { name: one_line(name, NAME_LIMIT) })
}

/// What is wrong with a workload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("{0}")]
    Annotation(#[from] TemplateError),
    #[error("metadata.namespace: {0}")]
    Namespace(#[from] NameError),
    #[error("serviceAccountName: {name:?} is not the name of a ServiceAccount")]
    Account { name: String },
}

/// A cause with its position in a manifest.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {cause}")]
pub(crate) struct Problem {
    pub(crate) place: String,
    pub(crate) cause: Cause,
}

/// All problems of the manifests.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.0)
    }
}

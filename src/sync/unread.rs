//! Objects that could not be read: which credentials need them, and what to do. One message reports all missing rights, including
//! those of objects that were not requested yet: the access rules of the account show them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::credential::{Credential, CredentialName};
use crate::kube::config::registry::Clusters;
use crate::kube::{self, AccessRules, Cause, Deadline, Readable, Rule, with_watch};
use crate::object::{Kind, ObjectRef};
use crate::sync::Need;

/// How old the access rules may be when podcreds gives up: roles are often applied after the pod.
const RECENT: Duration = Duration::from_secs(5);

/// What to do if the pod could not be read.
pub(crate) fn pod_hint(
    errors: &[kube::Error],
    pod: &ObjectRef,
    named_by_host: bool,
    clusters: &Clusters,
) -> Option<String> {
    let hint = match errors.first().map(|error| &error.cause) {
        Some(Cause::NotFound { .. }) if named_by_host => {
            "podcreds took the pod's name from the hostname: set POD_NAME from metadata.name with the downward API"
        }
        Some(Cause::NotFound { .. }) => {
            "if this name comes from POD_NAME, set that variable from metadata.name with the downward API: envFrom may have set it to another name"
        }
        Some(Cause::Forbidden { .. }) => {
            let hint = "or mount the annotations with a downward API volume and pass --annotations-file, which needs no RBAC rule";
            let rules = clusters.access_rules(&pod.cluster, &pod.namespace);
            let reads_none = |rules: &AccessRules| {
                rules.readable("", Kind::Secret.resource()) == Readable::Named(Vec::new())
            };
            if !rules.is_some_and(|rules| reads_none(&rules)) {
                return Some(hint.to_owned());
            }
            // The names are in the annotations.
            let name = Some("the names in the annotations");
            let rule = Rule { group: "", resource: Kind::Secret.resource(), name, verbs: "get" };
            return Some(format!(
                "{hint}; the Role also needs {rule}, because this account may not read Secrets in namespace {} either",
                pod.namespace
            ));
        }
        _ => return connection_hint(errors, clusters),
    };
    Some(hint.to_owned())
}

/// What to do if sources could not be read.
pub(crate) fn sources_hint(
    errors: &[kube::Error],
    credentials: &[Credential],
    clusters: &Clusters,
) -> Option<String> {
    let mut missing = errors.iter().filter(|error| error.is_not_found()).peekable();
    if missing.peek().is_some() {
        let hint = missing.find_map(|error| optional_hint(credentials, error.object())).unwrap_or_else(|| {
            "create the missing object or correct the annotation; with .optional: \"true\" it may be missing"
                .to_owned()
        });
        return Some(hint);
    }
    connection_hint(errors, clusters)
}

/// What to do if an object of an optional credential is missing that the template of another one needs.
pub(crate) fn optional_hint(credentials: &[Credential], object: &ObjectRef) -> Option<String> {
    credentials.iter().find_map(|credential| {
        let (name, other) = (&credential.name, credential.needed_optional(object)?);
        Some(format!(
            "credential {name} uses fields of credential {other}, which is optional and missing: in the template, write default(\"…\") after each of them, or set .optional: \"true\" for {name} too"
        ))
    })
}

/// Adds to the errors of forbidden objects what the account may read instead. Also adds errors for the other objects in the same
/// namespaces that its rules forbid, so that the user can grant all missing rights at once.
pub(crate) fn explain_forbidden(
    errors: &mut Vec<kube::Error>,
    objects: &BTreeMap<&ObjectRef, Need>,
    clusters: &Clusters,
    deadline: Deadline,
) {
    if deadline.elapsed() > RECENT {
        clusters.forget_access_rules();
    }
    errors.iter_mut().for_each(|error| clusters.explain(error));
    for object in objects.keys() {
        let is_near = |error: &kube::Error| {
            let other = error.object();
            error.is_forbidden() && other.cluster == object.cluster && other.namespace == object.namespace
        };
        if errors.iter().any(is_near) && !errors.iter().any(|error| error.object() == *object) {
            errors.extend(clusters.forbidden(object));
        }
    }
}

/// What to check if no connection to an API server could be made.
fn connection_hint(errors: &[kube::Error], clusters: &Clusters) -> Option<String> {
    let is_connection =
        |error: &kube::Error| matches!(error.cause, Cause::Unreachable { .. } | Cause::TimedOut { .. });
    if !errors.iter().all(is_connection) {
        return None;
    }
    let from_variable = |error: &kube::Error| clusters.is_service_account(&error.object().cluster);
    let address = if errors.iter().any(from_variable) {
        "KUBERNETES_SERVICE_HOST is the API server's address (a Service named kubernetes in the pod's namespace replaces it unless enableServiceLinks is false)"
    } else {
        "the kubeconfig or clusters file has the API server's address"
    };
    Some(format!(
        "check that the API server is running, that NetworkPolicies, firewalls and proxies let podcreds connect to it, that no service mesh redirects the connection to a proxy that has not started, and that {address}"
    ))
}

pub(crate) fn needed_by(credentials: &[Credential], object: &ObjectRef) -> Vec<CredentialName> {
    let named =
        credentials.iter().filter(|credential| credential.needed_objects().any(|named| named == object));
    named.map(|credential| credential.name.clone()).collect()
}

/// The message for a sidecar about the annotations. It watches the sources too, so one change of the Role is enough.
pub(crate) fn sidecar_message(errors: &[kube::Error], hint: Option<&str>) -> String {
    message(errors, &[], hint.map(with_watch).as_deref())
}

/// One line for each error, and the hint.
pub(crate) fn message(
    errors: &[kube::Error],
    needed_by: &[Vec<CredentialName>],
    hint: Option<&str>,
) -> String {
    let line = |(index, error): (usize, &kube::Error)| match needed_by.get(index).map(Vec::as_slice) {
        None | Some([]) => error.to_string(),
        Some([name]) => format!("credential {name}: {error}"),
        Some([name, others @ ..]) => format!("credential {name} and {} more: {error}", others.len()),
    };
    let lines = errors.iter().enumerate().map(line).collect::<Vec<_>>().join("\n  ");
    format!("{lines}{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default())
}

//! The permissions that podcreds needs in one pod.

use crate::credential::Credential;
use crate::object::{ClusterRef, Kind, Namespace, ObjectRef};
use crate::rbac::usage::Usage;

/// A permission that podcreds needs in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) cluster: ClusterRef,
    pub(crate) kind: Kind,
    pub(crate) namespace: Namespace,
    /// `None` means all objects: a Role cannot name pods that do not exist yet, or their Events.
    pub(crate) name: Option<String>,
    pub(crate) verbs: &'static [&'static str],
    /// Verbs that it needs only in a sidecar, if the pod does not show whether it runs one.
    pub(crate) sidecar_verbs: &'static [&'static str],
}

/// The permissions that podcreds needs, in the order in which it uses them. `usage` is `None` if the pod's containers do not show how
/// they run podcreds. `pod` is the pod's name; `None` means a pod template. `objects` are those that the annotations name
/// ([`Credential::objects`]).
pub(crate) fn needs(
    usage: Option<Usage>,
    namespace: &Namespace,
    pod: Option<&str>,
    objects: impl IntoIterator<Item = ObjectRef>,
) -> Vec<Need> {
    let Usage { watches, reads_pod, watches_pod, records_events } = usage.unwrap_or(Usage::INIT);
    let get = |is_watched| if is_watched { &["get", "watch"][..] } else { &["get"] };
    let local = |kind, name: Option<&str>, verbs| Need {
        cluster: ClusterRef::Local,
        kind,
        namespace: namespace.clone(),
        name: name.map(str::to_owned),
        verbs,
        sidecar_verbs: &[],
    };
    let mut needs = Vec::new();
    if reads_pod {
        needs.push(local(Kind::Pod, pod, get(watches_pod)));
    }
    needs.extend(objects.into_iter().map(|object| Need {
        name: Some(object.name().to_owned()),
        cluster: object.cluster,
        kind: object.kind,
        namespace: object.namespace,
        verbs: get(watches),
        sidecar_verbs: if usage.is_none() { &["watch"] } else { &[] },
    }));
    if records_events {
        needs.push(local(Kind::Event, None, &["create", "patch"]));
    }
    needs
}

/// The key of the annotation that references this object.
pub(crate) fn annotation_key(credential: &Credential, object: &ObjectRef) -> &'static str {
    if !credential.source_objects().any(|source| source == object) {
        // Either the ConfigMap of the template, or a source of another credential whose fields it uses.
        return if credential.template_object().is_some() { "template-from" } else { "template" };
    }
    match object.kind {
        Kind::Service => "service",
        Kind::ConfigMap => "configmap",
        _ => "secret",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};

    const INIT: Usage = Usage::INIT;

    /// One line for each need.
    fn lines(usage: Option<Usage>, pod: Option<&str>) -> Vec<String> {
        let namespace = Namespace::parse("prod").unwrap();
        let secret = ObjectRef::new(Kind::Secret, namespace.clone(), "db").unwrap();
        let line = |need: Need| {
            let Need { kind, namespace, name, verbs, sidecar_verbs, .. } = need;
            let name = name.as_deref().unwrap_or("*");
            format!("{} {} {kind} {namespace}/{name}", verbs.join(","), sidecar_verbs.join(","))
        };
        needs(usage, &namespace, pod, [secret]).into_iter().map(line).collect()
    }

    #[test]
    fn a_pod_needs_watch_only_if_it_runs_a_sidecar() {
        let sidecar = Usage::SIDECAR;
        assert_eq!(lines(Some(INIT), Some("app-0")), ["get  Pod prod/app-0", "get  Secret prod/db"]);
        assert_eq!(lines(Some(sidecar), Some("app-0")), ["get  Pod prod/app-0", "get,watch  Secret prod/db"]);
        assert_eq!(lines(None, Some("app-0")), ["get  Pod prod/app-0", "get watch Secret prod/db"]);
    }

    #[test]
    fn flags_decide_whether_it_reads_pods_and_writes_events() {
        let from_file = Usage { reads_pod: false, ..INIT };
        assert_eq!(lines(Some(from_file), Some("app-0")), ["get  Secret prod/db"]);
        let all = Usage { watches: true, reads_pod: true, watches_pod: true, records_events: true };
        assert_eq!(
            lines(Some(all), None),
            ["get,watch  Pod prod/*", "get,watch  Secret prod/db", "create,patch  Event prod/*"]
        );
    }

    #[test]
    fn an_object_is_referenced_by_the_annotation_that_leads_to_it() {
        let annotations = [
            ("app.secret", "s"),
            ("app.configmap", "c"),
            ("app.template", "{{ credentials.db.password }}"),
            ("db.secret", "d"),
            ("db.template-from", "t/text"),
            ("db.service", "v"),
        ];
        let named = annotations.map(|(key, value)| (format!("{DEFAULT_PREFIX}/{key}"), value.to_owned()));
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        let credentials = parse(&named.into(), DEFAULT_PREFIX, &scope).unwrap();
        let keys = |credential: &Credential| {
            let key =
                |object: &ObjectRef| format!("{} {}", object.name(), annotation_key(credential, object));
            credential.objects().map(key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&credentials[0]), ["s secret", "c configmap", "d template", "v template"]);
        assert_eq!(keys(&credentials[1]), ["d secret", "v service", "t template-from"]);
    }
}

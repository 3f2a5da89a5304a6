//! The kinds of objects that are looked at, and where the API has them.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>

use std::fmt;

use crate::object::is_subdomain;

/// A kind of object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `v1 Pod`
    Pod,
    /// `apps/v1 ReplicaSet`
    ReplicaSet,
    /// `apps/v1 Deployment`
    Deployment,
    /// `apps/v1 StatefulSet`
    StatefulSet,
    /// `apps/v1 DaemonSet`
    DaemonSet,
    /// `batch/v1 Job`
    Job,
    /// `batch/v1 CronJob`, and `batch/v1beta1` before Kubernetes 1.21
    CronJob,
    /// `v1 Node`
    Node,
    /// `v1 ServiceAccount`
    ServiceAccount,
    /// `v1 Secret`
    Secret,
    /// `v1 ConfigMap`
    ConfigMap,
    /// `v1 Service`
    Service,
    /// `v1 PersistentVolumeClaim`
    PersistentVolumeClaim,
}

/// What is known of a kind.
struct Facts {
    name: &'static str,
    resource: &'static str,
    group: &'static str,
    /// Newest first.
    versions: &'static [&'static str],
    /// What kubectl understands too.
    short: &'static str,
    /// Whether a Role can name its objects: the names of pods are not known when it is written.
    has_steady_names: bool,
}

impl Kind {
    /// Pods and all that own them.
    pub(crate) const WORKLOADS: [Self; 7] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
        Self::CronJob,
        Self::ReplicaSet,
    ];

    fn facts(self) -> Facts {
        let (name, resource, group, versions, short, has_steady_names): (_, _, _, &[_], _, _) = match self {
            Self::Pod => ("Pod", "pods", "", &["v1"], "po", false),
            Self::ReplicaSet => ("ReplicaSet", "replicasets", "apps", &["v1"], "rs", false),
            Self::Deployment => ("Deployment", "deployments", "apps", &["v1"], "deploy", true),
            Self::StatefulSet => ("StatefulSet", "statefulsets", "apps", &["v1"], "sts", true),
            Self::DaemonSet => ("DaemonSet", "daemonsets", "apps", &["v1"], "ds", true),
            Self::Job => ("Job", "jobs", "batch", &["v1"], "job", false),
            Self::CronJob => ("CronJob", "cronjobs", "batch", &["v1", "v1beta1"], "cj", true),
            Self::Node => ("Node", "nodes", "", &["v1"], "no", false),
            Self::ServiceAccount => ("ServiceAccount", "serviceaccounts", "", &["v1"], "sa", true),
            Self::Secret => ("Secret", "secrets", "", &["v1"], "secret", true),
            Self::ConfigMap => ("ConfigMap", "configmaps", "", &["v1"], "cm", true),
            Self::Service => ("Service", "services", "", &["v1"], "svc", true),
            Self::PersistentVolumeClaim => {
                ("PersistentVolumeClaim", "persistentvolumeclaims", "", &["v1"], "pvc", true)
            }
        };
        Facts { name, resource, group, versions, short, has_steady_names }
    }

    /// Its name, as in `kind:`.
    pub(crate) fn name(self) -> &'static str {
        self.facts().name
    }

    /// Its name in URLs and in RBAC rules.
    pub(crate) fn resource(self) -> &'static str {
        self.facts().resource
    }

    /// Its API group; empty for the core group.
    pub(crate) fn group(self) -> &'static str {
        self.facts().group
    }

    /// Reads what a person writes before the slash: a kind, its plural or kubectl's short name, in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        Self::WORKLOADS.into_iter().find(|kind| {
            let Facts { name, resource, short, .. } = kind.facts();
            text == resource || text == short || text == name.to_ascii_lowercase()
        })
    }

    /// The kind of an owner that can be climbed, by its `apiVersion` and `kind`.
    pub(crate) fn of_owner(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Self::WORKLOADS.into_iter().find(|known| known.name() == kind && known.group() == group)
    }

    /// The versions to ask for, one after the other: the one that somebody named, then those that are known.
    pub(crate) fn versions(self, named: Option<&str>) -> Vec<String> {
        let is_version = |text: &&str| {
            text.starts_with('v')
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && text.len() <= 16
        };
        let named = named.and_then(|api| api.rsplit('/').next()).filter(is_version);
        let mut versions: Vec<String> = named.map(str::to_owned).into_iter().collect();
        versions.extend(self.facts().versions.iter().filter(|v| named != Some(v)).map(|v| (*v).to_owned()));
        versions
    }

    /// The path of all its objects; a namespace for all kinds but nodes.
    pub(crate) fn collection(self, version: &str, namespace: Option<&str>) -> String {
        let root = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{root}{namespace}/{}", self.resource())
    }

    /// The rule that allows these verbs, on one object where a rule can name it.
    pub(crate) fn rule(self, name: Option<&str>, verbs: &str) -> String {
        let group = if self.group().is_empty() { "\"\"" } else { self.group() };
        // Anything else is no name of an object, and would be another rule.
        let named = name.filter(|name| self.facts().has_steady_names && is_subdomain(name));
        let names = named.map(|name| format!(", resourceNames: [{name}]")).unwrap_or_default();
        format!("{{apiGroups: [{group}], resources: [{}]{names}, verbs: [{verbs}]}}", self.resource())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_understood_as_kubectl_does() {
        for (text, kind) in [
            ("deploy", Kind::Deployment),
            ("Deployments", Kind::Deployment),
            ("sts", Kind::StatefulSet),
            ("ds", Kind::DaemonSet),
            ("rs", Kind::ReplicaSet),
            ("po", Kind::Pod),
            ("pods", Kind::Pod),
            ("job", Kind::Job),
            ("cj", Kind::CronJob),
        ] {
            assert_eq!(Kind::parse(text), Some(kind), "{text}");
        }
        for text in ["", "secret", "node", "deployment.apps", "pod "] {
            assert_eq!(Kind::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_owner_is_climbed_if_its_group_is_the_right_one() {
        assert_eq!(Kind::of_owner("apps/v1", "ReplicaSet"), Some(Kind::ReplicaSet));
        assert_eq!(Kind::of_owner("batch/v1beta1", "CronJob"), Some(Kind::CronJob));
        assert_eq!(Kind::of_owner("v1", "Pod"), Some(Kind::Pod));
        for (api_version, kind) in [
            ("argoproj.io/v1alpha1", "Rollout"),
            ("apps.kruise.io/v1", "StatefulSet"),
            ("v1", "Deployment"),
            ("v1", "Node"),
        ] {
            assert_eq!(Kind::of_owner(api_version, kind), None, "{api_version} {kind}");
        }
    }

    #[test]
    fn versions_that_are_none_do_not_reach_a_path() {
        assert_eq!(Kind::CronJob.versions(None), ["v1", "v1beta1"]);
        assert_eq!(Kind::CronJob.versions(Some("batch/v1beta1")), ["v1beta1", "v1"]);
        assert_eq!(Kind::Job.versions(Some("batch/v2alpha1")), ["v2alpha1", "v1"]);
        assert_eq!(Kind::Job.versions(Some("batch/..")), ["v1"]);
        assert_eq!(Kind::Job.versions(Some("batch/v1?x=y")), ["v1"]);
    }

    #[test]
    fn rules_name_an_object_where_its_name_is_steady() {
        assert_eq!(
            Kind::Secret.rule(Some("db"), "get"),
            "{apiGroups: [\"\"], resources: [secrets], resourceNames: [db], verbs: [get]}"
        );
        assert_eq!(
            Kind::ReplicaSet.rule(Some("app-1"), "get"),
            "{apiGroups: [apps], resources: [replicasets], verbs: [get]}"
        );
        assert!(!Kind::Secret.rule(Some("a], verbs: [x"), "get").contains("resourceNames"));
    }
}

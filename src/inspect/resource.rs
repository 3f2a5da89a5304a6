//! The kinds of objects that `inspect` reads, how users and the API name them, and label selectors.
//! Sources: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>,
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api>

use std::fmt;

use crate::escape::percent_encode;
use crate::inspect::api::{LabelSelector, Requirement};
use crate::kube::Rule;
use crate::object::{self, ObjectRef, is_subdomain};
use crate::text::Quoted;

/// The longest label selector in a URL, in bytes, percent-encoded. Requirements that do not fit are dropped: the list then
/// has more objects, and ownership is decided by UID.
const SELECTOR_LIMIT: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Pod,
    ReplicaSet,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
    Node,
    ServiceAccount,
    Secret,
    ConfigMap,
    Service,
    PersistentVolumeClaim,
    Event,
}

/// How the API names a kind.
struct ApiResource {
    kind: &'static str,
    /// The plural in URLs and RBAC rules.
    plural: &'static str,
    /// Empty for the core group.
    group: &'static str,
    /// Newest first.
    versions: &'static [&'static str],
    /// kubectl's short name.
    short_name: &'static str,
    /// Whether a Role can list its objects in `resourceNames`: the names of pods are unknown when it is written.
    has_stable_names: bool,
}

impl Kind {
    /// Pods and their owners.
    pub(crate) const WORKLOADS: [Self; 7] = [
        Self::Pod,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
        Self::CronJob,
        Self::ReplicaSet,
    ];

    fn api_resource(self) -> ApiResource {
        let (kind, plural, group, versions, short_name, has_stable_names): (_, _, _, &[_], _, _) = match self
        {
            Self::Pod => ("Pod", "pods", "", &["v1"], "po", false),
            Self::ReplicaSet => ("ReplicaSet", "replicasets", "apps", &["v1"], "rs", false),
            Self::Deployment => ("Deployment", "deployments", "apps", &["v1"], "deploy", true),
            Self::StatefulSet => ("StatefulSet", "statefulsets", "apps", &["v1"], "sts", true),
            Self::DaemonSet => ("DaemonSet", "daemonsets", "apps", &["v1"], "ds", true),
            Self::Job => ("Job", "jobs", "batch", &["v1"], "job", false),
            // v1 exists since Kubernetes 1.21.
            Self::CronJob => ("CronJob", "cronjobs", "batch", &["v1", "v1beta1"], "cj", true),
            Self::Node => ("Node", "nodes", "", &["v1"], "no", false),
            Self::ServiceAccount => ("ServiceAccount", "serviceaccounts", "", &["v1"], "sa", true),
            Self::Secret => ("Secret", "secrets", "", &["v1"], "secret", true),
            Self::ConfigMap => ("ConfigMap", "configmaps", "", &["v1"], "cm", true),
            Self::Service => ("Service", "services", "", &["v1"], "svc", true),
            Self::PersistentVolumeClaim => {
                ("PersistentVolumeClaim", "persistentvolumeclaims", "", &["v1"], "pvc", true)
            }
            Self::Event => ("Event", "events", "", &["v1"], "ev", false),
        };
        ApiResource { kind, plural, group, versions, short_name, has_stable_names }
    }

    /// As in `kind:`.
    pub(crate) fn name(self) -> &'static str {
        self.api_resource().kind
    }

    /// The plural in URLs and RBAC rules.
    pub(crate) fn plural(self) -> &'static str {
        self.api_resource().plural
    }

    /// Empty for the core group.
    pub(crate) fn group(self) -> &'static str {
        self.api_resource().group
    }

    /// Parses a workload kind, its plural or kubectl's short name, in any case and optionally with the API group or the version
    /// and the group: `deployment.apps` is how kubectl prints a kind, `deployments.v1.apps` how it also accepts one.
    /// Source: <https://pkg.go.dev/k8s.io/apimachinery/pkg/runtime/schema#ParseResourceArg>
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, qualifier) =
            text.split_once('.').map_or((text.as_str(), None), |(name, rest)| (name, Some(rest)));
        Self::WORKLOADS.into_iter().find(|workload| {
            let ApiResource { kind, plural, group, versions, short_name, .. } = workload.api_resource();
            let is_in_group = qualifier.is_none_or(|qualifier| {
                let with_version =
                    || versions.iter().any(|version| qualifier == format!("{version}.{group}"));
                qualifier == group || with_version()
            });
            is_in_group && (name == plural || name == short_name || name == kind.to_ascii_lowercase())
        })
    }

    /// The workload kind that an ownerReference names. `None` means another kind.
    pub(crate) fn from_owner(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        Self::WORKLOADS.into_iter().find(|known| known.name() == kind && known.group() == group)
    }

    /// The API versions to try, in this order: that of an ownerReference, then the known ones.
    pub(crate) fn versions(self, api_version: Option<&str>) -> Vec<String> {
        let is_version = |text: &&str| {
            text.starts_with('v')
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && text.len() <= 16
        };
        let named = api_version.and_then(|api| api.rsplit('/').next()).filter(is_version);
        let mut versions: Vec<String> = named.map(str::to_owned).into_iter().collect();
        let known = self.api_resource().versions.iter().filter(|version| named != Some(version));
        versions.extend(known.map(|version| (*version).to_owned()));
        versions
    }

    /// The URL path of the objects in a namespace. `None` means the cluster-wide objects of a kind such as Node.
    pub(crate) fn collection(self, version: &str, namespace: Option<&str>) -> String {
        let root = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{root}{namespace}/{}", self.plural())
    }

    /// The RBAC rule that allows these verbs, restricted to one object where a Role can name it.
    pub(crate) fn rule<'a>(self, name: Option<&'a str>, verbs: &'a str) -> Rule<'a> {
        // Any other text would not name an object, and could change the rule.
        let name = name.filter(|name| self.api_resource().has_stable_names && is_subdomain(name));
        Rule { group: self.group(), resource: self.plural(), name, verbs }
    }
}

impl From<object::Kind> for Kind {
    fn from(kind: object::Kind) -> Self {
        match kind {
            object::Kind::Pod => Self::Pod,
            object::Kind::Secret => Self::Secret,
            object::Kind::ConfigMap => Self::ConfigMap,
            object::Kind::Service => Self::Service,
            object::Kind::Event => Self::Event,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The object to inspect: a pod, or a workload that owns pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// One of [`Kind::WORKLOADS`].
    pub(crate) kind: Kind,
    name: String,
}

impl Target {
    /// Parses `NAME` of a pod, or `KIND/NAME`.
    ///
    /// # Errors
    /// For a kind that is not a workload, and for an invalid name.
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

    pub(crate) fn pod(pod: &ObjectRef) -> Self {
        Self { kind: Kind::Pod, name: pod.name().to_owned() }
    }

    pub(crate) fn is_pod(&self) -> bool {
        self.kind == Kind::Pod
    }

    /// A DNS subdomain.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TargetError {
    #[error(
        "unsupported kind {}: use pod, deployment, statefulset, daemonset, job, cronjob or replicaset before the slash, or one of kubectl's short names",
        Quoted(.0)
    )]
    Kind(String),
    #[error("invalid object name {}: pass NAME of a pod, or KIND/NAME", Quoted(.0))]
    Name(String),
}

/// A label selector as the value of a query parameter; empty if it selects everything.
pub(crate) fn label_selector(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().filter_map(expression);
    join(labels.chain(expressions))
}

/// A label selector for one label with any of these values.
pub(crate) fn any_of(key: &str, values: &[&str]) -> String {
    percent_encode(&format!("{key} in ({})", values.join(",")))
}

fn expression(Requirement { key, operator, values }: &Requirement) -> Option<String> {
    let values = || values.as_deref().unwrap_or_default().join(",");
    match operator.as_str() {
        "In" => Some(format!("{key} in ({})", values())),
        "NotIn" => Some(format!("{key} notin ({})", values())),
        "Exists" => Some(key.clone()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

fn join(requirements: impl Iterator<Item = String>) -> String {
    let mut query = String::new();
    for requirement in requirements {
        let encoded = percent_encode(&requirement);
        let comma = if query.is_empty() { "" } else { "%2C" };
        if query.len() + comma.len() + encoded.len() <= SELECTOR_LIMIT {
            query.push_str(comma);
            query.push_str(&encoded);
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_parsed_as_kubectl_does() {
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
            ("deployment.apps", Kind::Deployment),
            ("deployments.apps", Kind::Deployment),
            ("Deployments.v1.apps", Kind::Deployment),
            ("cronjob.v1beta1.batch", Kind::CronJob),
            ("job.batch", Kind::Job),
        ] {
            assert_eq!(Kind::parse(text), Some(kind), "{text}");
        }
        for text in [
            "",
            "secret",
            "node",
            "deployment.batch",
            "deployment.v2.apps",
            "deployment.",
            ".apps",
            "pod.apps",
            "pod ",
        ] {
            assert_eq!(Kind::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_owner_is_a_workload_only_in_its_own_group() {
        assert_eq!(Kind::from_owner("apps/v1", "ReplicaSet"), Some(Kind::ReplicaSet));
        assert_eq!(Kind::from_owner("batch/v1beta1", "CronJob"), Some(Kind::CronJob));
        assert_eq!(Kind::from_owner("v1", "Pod"), Some(Kind::Pod));
        for (api_version, kind) in [
            ("argoproj.io/v1alpha1", "Rollout"),
            ("apps.kruise.io/v1", "StatefulSet"),
            ("v1", "Deployment"),
            ("v1", "Node"),
        ] {
            assert_eq!(Kind::from_owner(api_version, kind), None, "{api_version} {kind}");
        }
    }

    #[test]
    fn invalid_versions_do_not_reach_a_path() {
        assert_eq!(Kind::CronJob.versions(None), ["v1", "v1beta1"]);
        assert_eq!(Kind::CronJob.versions(Some("batch/v1beta1")), ["v1beta1", "v1"]);
        assert_eq!(Kind::Job.versions(Some("batch/v2alpha1")), ["v2alpha1", "v1"]);
        assert_eq!(Kind::Job.versions(Some("batch/..")), ["v1"]);
        assert_eq!(Kind::Job.versions(Some("batch/v1?x=y")), ["v1"]);
    }

    #[test]
    fn rules_name_an_object_whose_name_is_stable() {
        assert_eq!(
            Kind::Secret.rule(Some("db"), "get").to_string(),
            "{apiGroups: [\"\"], resources: [secrets], resourceNames: [db], verbs: [get]}"
        );
        assert_eq!(
            Kind::ReplicaSet.rule(Some("app-1"), "get").to_string(),
            "{apiGroups: [apps], resources: [replicasets], verbs: [get]}"
        );
        assert!(!Kind::Secret.rule(Some("a], verbs: [x"), "get").to_string().contains("resourceNames"));
    }

    #[test]
    fn a_target_without_a_kind_is_a_pod() {
        let read = |text: &str| Target::parse(text).map(|target| (target.kind, target.name().to_owned()));
        assert_eq!(read("app-0"), Ok((Kind::Pod, "app-0".to_owned())));
        assert_eq!(read("deploy/app"), Ok((Kind::Deployment, "app".to_owned())));
        assert_eq!(read("secret/db"), Err(TargetError::Kind("secret".into())));
        for text in ["", "deploy/", "deploy/a/b", "A", "..", "pod/../x"] {
            assert!(matches!(read(text), Err(TargetError::Name(_))), "{text}");
        }
    }

    #[test]
    fn labels_and_expressions_become_one_query() {
        let selector = json!({
            "matchLabels": {"app": "app", "example.com/tier": "db"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "track", "operator": "NotIn", "values": ["x"]},
                {"key": "new", "operator": "Exists", "values": []},
            ],
        });
        let query = label_selector(&serde_json::from_value(selector).unwrap());
        let plain = "app=app,example.com/tier=db,zone in (a,b),!old,track notin (x),new";
        assert_eq!(query, percent_encode(plain));
        assert_eq!(percent_encode("a=b,c in (d)&e"), "a%3Db%2Cc%20in%20%28d%29%26e");
    }

    #[test]
    fn a_selector_that_is_too_long_loses_whole_requirements() {
        let labels: std::collections::BTreeMap<_, _> =
            (0..100).map(|i| (format!("{i:063}"), "x".repeat(63))).collect();
        let query = label_selector(&serde_json::from_value(json!({ "matchLabels": labels })).unwrap());
        assert!(query.len() <= SELECTOR_LIMIT && query.len() > SELECTOR_LIMIT - 200);
        assert!(query.split("%2C").all(|one| one.len() == 63 + 3 + 63), "{query}");
    }
}

//! Whether the Roles that the same manifests define grant what podcreds needs. `rbac` decides what that is.

use crate::annotations::ReferenceScope;
use crate::check::rule::ROLE;
use crate::check::{Report, Subject};
use crate::manifest::{Object, Place};
use crate::object::Kind;
use crate::rbac::{Defaults, Grants, Need, Usage, Workload};
use crate::yaml::Node;

/// The number of pods of a StatefulSet whose names are looked for in Roles.
const REPLICA_LIMIT: u64 = 1000;

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let template = subject.template();
    let namespace = &subject.options.namespace;
    let defaults = Defaults {
        scope: ReferenceScope::local(namespace.clone()),
        any_cluster: true,
        prefix: subject.prefix.to_owned(),
        usage: Usage::SIDECAR,
    };
    // Other checks report what is wrong with the annotations.
    let Ok(Some(Workload { account, needs, .. })) = Workload::from_template(template, &defaults) else {
        return;
    };
    let grants = Grants::new(subject.objects.iter().copied(), namespace);
    let pods = pod_names(subject);
    let (mut is_granted, mut missing) = (false, Vec::new());
    for (need, annotation) in needs.iter().filter(|(need, _)| need.cluster.id().is_none()) {
        let mut denied = Vec::new();
        for verb in need.verbs {
            let by_name = || {
                let named = |pod: &String| Need { name: Some(pod.clone()), ..need.clone() };
                need.kind == Kind::Pod
                    && !pods.is_empty()
                    && pods.iter().all(|pod| grants.allow(&account, &named(pod), verb) == Some(true))
            };
            match grants.allow(&account, need, verb).map(|is_allowed| is_allowed || by_name()) {
                Some(true) => is_granted = true,
                Some(false) => denied.push(*verb),
                None => {}
            }
        }
        let other = need.verbs.first().filter(|_| need.name.is_some() && !annotation.is_empty());
        let other = other.filter(|verb| grants.allow(&account, need, verb).is_none());
        if let Some((binding, name)) = other.and_then(|verb| grants.given_to_others(&account, need, verb))
            && !runs_as(subject, name)
            && let Some(binding) =
                subject.objects.iter().find(|object| std::ptr::eq(object.node, binding.node))
        {
            let message = format!(
                "{binding} allows ServiceAccount {name} to read {} {}, and the pod runs as {}",
                need.kind,
                need.name.as_deref().unwrap_or_default(),
                account.name
            );
            let remedy = "correct the subject of the RoleBinding, or the pod's serviceAccountName".to_owned();
            report.add_with(ROLE, subject.object(), binding.place(binding.node), message, remedy);
        }
        if !denied.is_empty() {
            missing.push((need, annotation, denied));
        }
    }
    // A Role with none of these rights is for something else, and podcreds' Role may be elsewhere.
    for (need, annotation, denied) in missing.into_iter().filter(|_| is_granted) {
        let what = match &need.name {
            Some(name) => format!("{} {}/{name}", need.kind, need.namespace),
            None => format!("{}s in namespace {}", need.kind, need.namespace),
        };
        let message = format!("ServiceAccount {account} may not {} {what}", denied.join(" or "));
        let names = need.name.iter().filter(|_| !annotation.is_empty());
        let names: String = names.map(|name| format!("resourceNames: [{name}], ")).collect();
        let remedy = format!(
            "add to its Role in namespace {}: {{apiGroups: [\"\"], resources: [{}], {names}verbs: [{}]}}; podcreds rbac -f prints the whole Role",
            need.namespace,
            need.kind.resource(),
            need.verbs.join(", ")
        );
        let place = match annotation.is_empty() {
            true => Place { file: template.object.file, at: template.node.at() },
            false => template.annotation_place(annotation),
        };
        report.add_with(ROLE, subject.object(), place, message, remedy);
    }
}

/// Whether any pod of the manifests runs as this service account: then the rights are for that pod.
fn runs_as(subject: &Subject<'_, '_>, account: &str) -> bool {
    subject.objects.iter().filter_map(Object::template).any(|template| template.service_account() == account)
}

/// The names of the pods of a StatefulSet, which a Role can list. Empty for other workloads.
/// Source: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id>
fn pod_names(subject: &Subject<'_, '_>) -> Vec<String> {
    let object = subject.object();
    let number = |path: &[&str]| object.node.find(path).and_then(Node::whole_number);
    let start = number(&["spec", "ordinals", "start"]).unwrap_or(0);
    let replicas = number(&["spec", "replicas"]).unwrap_or(1).min(REPLICA_LIMIT);
    match object.name().filter(|_| object.kind == "StatefulSet") {
        Some(name) => (0..replicas).map(|pod| format!("{name}-{}", start.saturating_add(pod))).collect(),
        None => Vec::new(),
    }
}

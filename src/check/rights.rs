//! Whether the Roles that the same manifests define grant what podcreds needs. `rbac` decides what that is.

use crate::annotations::ReferenceScope;
use crate::check::rule::ROLE;
use crate::check::{Report, Subject};
use crate::manifest::Place;
use crate::rbac::{Defaults, Grants, Usage, Workload};

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
    let (mut is_granted, mut missing) = (false, Vec::new());
    for (need, annotation) in needs.iter().filter(|(need, _)| need.cluster.id().is_none()) {
        let mut denied = Vec::new();
        for verb in need.verbs {
            match grants.allow(&account, need, verb) {
                Some(true) => is_granted = true,
                Some(false) => denied.push(*verb),
                None => {}
            }
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

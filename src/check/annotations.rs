//! Annotations: their values, their prefix, and whether they are where podcreds reads them.

use crate::annotations::{self, ReferenceScope};
use crate::check::pod::{Pod, inject_label};
use crate::check::program::Program;
use crate::check::rule::{
    ANNOTATION, ANNOTATION_PLACE, ANNOTATION_PREFIX, ANNOTATION_TYPE, INJECT_ANNOTATION, INJECT_LABEL,
    NO_ANNOTATIONS, NO_CLUSTERS,
};
use crate::check::{Finding, Level, Options, Report, Subject};
use crate::credential::Credential;
use crate::manifest::{Place, Template};
use crate::object::Namespace;
use crate::text::{Quoted, nearest, suggest};
use crate::yaml::Node;

/// The prefix of the annotations that the injection reads.
const INJECT: &str = "inject.podcreds.io/";
/// The label of a pod to inject. Selectors have it too.
const LABEL: &str = "podcreds.io/inject";

/// Reports annotations that no pod gets: those of a workload itself, and those in the wrong place of a pod template.
pub(super) fn misplaced<'a>(pod: &Pod<'a>, prefix: &str, report: &mut Report<'a>) {
    let template = &pod.template;
    // The kustomize component selects workloads by their own label and annotation.
    let is_done = pod.has_own;
    let pods = template.node.find(&["metadata", "annotations"]);
    let mut path = Vec::new();
    search(template.object.node, &mut path, &mut |path, node| {
        if pods.is_some_and(|pods| std::ptr::eq(pods, node)) {
            return;
        }
        let is_ours = |key: &str| {
            let own = key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
            let is_selector =
                key == LABEL && path.last().is_some_and(|name| *name == "labels" || *name == "matchLabels");
            (own || key.starts_with(INJECT) && !is_done) && !is_selector
        };
        // Tools such as kustomize write the same annotations to the workload and to its pods.
        let is_repeated = |key: &str| pods.is_some_and(|pods| pods.get(key).is_some());
        let mut keys = node.entries().filter(|(key, ..)| is_ours(key) && !is_repeated(key));
        let Some((key, at, _)) = keys.next() else { return };
        let key = annotations::shown_annotation(key);
        let place = path.join(".");
        let message = match keys.count() {
            0 => format!("annotation {key} is in {place}, where podcreds does not read it"),
            more => {
                format!("annotation {key} and {more} more are in {place}, where podcreds does not read them")
            }
        };
        let remedy = format!("move all of them to {}metadata.annotations", prefix_of(template.path));
        report.add_with(
            ANNOTATION_PLACE,
            &template.object,
            Place { file: template.object.file, at },
            message,
            remedy,
        );
    });
    let own = inject_label(template.object.node).filter(|_| !template.path.is_empty() && !is_done);
    if let Some(label) =
        own.filter(|label| label.text() == Some("true") && inject_label(template.node).is_none())
    {
        let message = format!("the label {LABEL} of the {} does not apply to its pods", template.object.kind);
        report.add(INJECT_LABEL, &template.object, template.object.place(label), message);
    }
}

/// Calls `visit` with every mapping and its path.
fn search<'a>(node: &'a Node, path: &mut Vec<&'a str>, visit: &mut dyn FnMut(&[&'a str], &'a Node)) {
    visit(path, node);
    for (key, _, value) in node.entries() {
        path.push(key);
        search(value, path, visit);
        path.pop();
    }
    for item in node.items() {
        search(item, path, visit);
    }
}

/// A path of keys as the beginning of a longer one.
fn prefix_of(path: &[&str]) -> String {
    path.iter().flat_map(|key| [*key, "."]).collect()
}

/// Reports a prefix that is nearly podcreds'. In a pod that nothing else connects with podcreds, it may be that of another program.
pub(super) fn misspelt_prefix<'a>(pod: &Pod<'a>, prefix: &str, report: &mut Report<'a>) {
    let template = &pod.template;
    let annotations = template.node.find(&["metadata", "annotations"]);
    let mut entries = annotations.into_iter().flat_map(Node::entries);
    let misspelt = entries.find_map(|(key, at, _)| {
        let (other, _) = key.split_once('/')?;
        (other != prefix && nearest(prefix, [other]).is_some()).then_some((other, at))
    });
    if let Some((other, at)) = misspelt {
        let message =
            format!("annotations that begin with {other}/ are not podcreds'; did you mean {prefix}/?");
        let place = Place { file: template.object.file, at };
        report.add(ANNOTATION_PREFIX, &template.object, place, message);
        if !pod.is_injected && pod.programs().next().is_none() && !template.is_annotated(prefix) {
            let is_it = |finding: &&mut Finding<'_>| {
                finding.rule.id == ANNOTATION_PREFIX.id && finding.place == Some(place)
            };
            report.findings.iter_mut().filter(is_it).for_each(|finding| finding.level = Level::Warning);
        }
    }
}

/// Parses the annotations as `init` does, and reports every error with its position.
pub(super) fn parse<'a>(
    template: &Template<'a>,
    prefix: &str,
    options: &Options,
    report: &mut Report<'a>,
) -> Option<Vec<Credential>> {
    let (annotations, problems) = template.annotations();
    for problem in &problems {
        let message = format!(
            "annotation {} is {}, not text",
            annotations::shown_annotation(problem.key),
            problem.found
        );
        let place = Place { file: template.object.file, at: problem.at };
        report.add(ANNOTATION_TYPE, &template.object, place, message);
    }
    let namespace = template.object.namespace().and_then(|name| Namespace::parse(name).ok());
    let namespace = namespace.unwrap_or_else(|| options.namespace.clone());
    let mut scope = ReferenceScope::local(namespace.clone());
    match &options.clusters {
        // The file that configures them may be only in the cluster.
        None => scope.add_clusters(&annotations, prefix),
        Some(clusters) => {
            scope.clusters.extend(clusters.iter().map(|id| (id.clone(), namespace.clone())));
        }
    }
    match annotations::parse(&annotations, prefix, &scope) {
        Ok(credentials) => problems.is_empty().then_some(credentials),
        Err(errors) => {
            for error in &errors.0 {
                // It may need the annotation that is not text.
                let credential = |key: &str| {
                    key.rsplit_once('.').map_or_else(|| key.to_owned(), |(name, _)| name.to_owned())
                };
                if problems.iter().any(|problem| credential(problem.key) == credential(error.annotation())) {
                    continue;
                }
                let place = place(template, error.annotation());
                // The message has the correction.
                report.add(ANNOTATION, &template.object, place, error.to_string());
            }
            None
        }
    }
}

/// Where an annotation is, or else another one of its credential.
fn place<'a>(template: &Template<'a>, annotation: &str) -> Place<'a> {
    let annotations = template.node.find(&["metadata", "annotations"]);
    let credential = |key: &str| {
        let (name, _) = key.rsplit_once('.').unwrap_or((key, ""));
        let (wanted, _) = annotation.rsplit_once('.').unwrap_or((annotation, ""));
        name == wanted || name == annotation
    };
    let mut entries = annotations.into_iter().flat_map(Node::entries);
    let exact = annotations.into_iter().flat_map(Node::entries).find(|(key, ..)| *key == annotation);
    match exact.or_else(|| entries.find(|(key, ..)| credential(key))) {
        Some((_, at, _)) => Place { file: template.object.file, at },
        None => template.annotation_place(annotation),
    }
}

/// Checks what the annotations need of the pod.
pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let Subject { pod, prefix, .. } = subject;
    let (template, object) = (subject.template(), subject.object());
    if let Some(label) =
        inject_label(template.node).filter(|label| !matches!(label.text(), Some("true" | "false")))
    {
        let message = format!("the label {LABEL} must be \"true\" or \"false\"");
        report.add(INJECT_LABEL, object, pod.place(label), message);
    }
    injection(subject, report);
    let readers = pod.programs().filter(|(_, program)| program.reads_sources());
    if !template.is_annotated(prefix) {
        let is_wrong = |program: &Program<'_>| !subject.is_explained && !program.is_on("--allow-none");
        for (container, program) in readers.filter(|(_, program)| is_wrong(program)) {
            // podcreds reads them from a file, whose content may be another pod's.
            if program
                .setting("--annotations-file")
                .or("")
                .is_some_and(|file| file.is_empty() || file.starts_with('/'))
            {
                let message = format!(
                    "{} runs podcreds, but the pod has no annotation that begins with {prefix}/",
                    container.label()
                );
                let path = prefix_of(template.path);
                let remedy =
                    format!("set them in {path}metadata.annotations, or pass --allow-none to podcreds");
                report.add_with(NO_ANNOTATIONS, object, pod.place(container.node), message, remedy);
            }
        }
        return;
    }
    let named = subject.credentials.iter().flatten();
    let mut elsewhere = named.flat_map(Credential::objects).filter_map(|object| object.cluster.id());
    if let Some(id) = elsewhere.next() {
        for (container, program) in readers {
            if program.setting("--clusters").or("") == Some("") {
                let message =
                    format!("{} has no --clusters, and an annotation names cluster {id}", container.label());
                report.add(NO_CLUSTERS, object, pod.place(container.node), message);
            }
        }
    }
}

/// Checks the annotations that `podcreds inject` and the injection policy read.
fn injection<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let template = subject.template();
    let annotations = template.node.find(&["metadata", "annotations"]);
    for (key, at, value) in annotations.into_iter().flat_map(Node::entries) {
        let Some(name) = key.strip_prefix(INJECT) else { continue };
        let text = value.text().unwrap_or_default();
        let problem = match name {
            "mode" if !matches!(text, "native-sidecar" | "sidecar" | "init") => {
                Some("must be native-sidecar, sidecar or init".to_owned())
            }
            "port" if !text.parse::<u16>().is_ok_and(|port| port != 0) => {
                Some("must be a port, in quotes".to_owned())
            }
            "containers" => {
                let known = || subject.pod.containers.iter().map(|container| container.name);
                let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                let unknown = names.find(|name| !known().any(|other| other == *name));
                unknown.map(|name| {
                    format!("the pod has no container {}{}", Quoted(name), suggest(nearest(name, known())))
                })
            }
            "mode" | "port" => None,
            other => {
                Some(format!("unknown annotation{}", suggest(nearest(other, ["mode", "containers", "port"]))))
            }
        };
        if let Some(problem) = problem {
            let place = Place { file: template.object.file, at };
            report.add(INJECT_ANNOTATION, &template.object, place, format!("{key}: {problem}"));
        }
    }
}

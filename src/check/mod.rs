//! `podcreds check`: what would go wrong with a pod, from its template alone. Pure: manifests in, findings out.
//!
//! What `init` would reject is found by the code of `init`: `annotations` parses, and `render` renders from the Secrets that the same
//! manifests define. The other checks need the manifest, which a pod does not see of itself.

mod annotations;
mod containers;
mod files;
mod identity;
mod notifications;
mod objects;
mod pod;
mod ports;
mod program;
mod rights;
mod rule;
mod status;
mod volume;

#[cfg(test)]
mod tests;

pub(crate) use rule::{Level, Rule};
pub(crate) use status::not_starting;

use crate::check::pod::Pod;
use crate::credential::Credential;
use crate::manifest::{Object, Place, Template};
use crate::object::{ClusterId, Namespace};

/// What the checks take into account.
pub(crate) struct Options {
    /// The prefix of podcreds' annotations, unless a container has another one.
    pub(crate) prefix: String,
    /// The namespace of objects without one.
    pub(crate) namespace: Namespace,
    /// The clusters that `.cluster` may name. `None` means any.
    pub(crate) clusters: Option<Vec<ClusterId>>,
    /// Whether podcreds' container is added to every annotated pod later.
    pub(crate) is_injected: bool,
    /// Parses the command line of podcreds, and returns why it is invalid.
    pub(crate) parse_command: fn(&[&str]) -> Option<String>,
}

/// A problem with its place.
#[derive(Clone, Debug)]
pub(crate) struct Finding<'a> {
    pub(crate) rule: &'static Rule,
    pub(crate) level: Level,
    /// `None` means that it is not in a manifest.
    pub(crate) place: Option<Place<'a>>,
    /// The object, as kubectl names it.
    pub(crate) object: String,
    pub(crate) message: String,
    /// Empty if the message says what to do.
    pub(crate) remedy: String,
}

/// The findings, in the order of the manifests.
#[derive(Default)]
pub(crate) struct Report<'a> {
    pub(crate) findings: Vec<Finding<'a>>,
    /// The number of pod templates.
    pub(crate) templates: usize,
    /// The number of pod templates that use podcreds.
    pub(crate) uses: usize,
    /// Where the findings of the current object begin.
    start: usize,
}

impl<'a> Report<'a> {
    fn add(&mut self, rule: &'static Rule, object: &Object<'a>, place: Place<'a>, message: String) {
        self.add_with(rule, object, place, message, rule.remedy.to_owned());
    }

    fn add_with(
        &mut self,
        rule: &'static Rule,
        object: &Object<'a>,
        place: Place<'a>,
        message: String,
        remedy: String,
    ) {
        let object = object.to_string();
        let finding = Finding { rule, level: rule.level, place: Some(place), object, message, remedy };
        let findings = &self.findings[self.start..];
        if findings.iter().any(|other| other.place == finding.place && other.message == finding.message) {
            return;
        }
        let position = |finding: &Finding<'_>| finding.place.map(|place| (place.at.line, place.at.column));
        let after = findings.partition_point(|other| position(other) <= position(&finding));
        self.findings.insert(self.start + after, finding);
    }

    /// Adds what only the cluster shows.
    pub(crate) fn add_live(&mut self, rule: &'static Rule, object: &str, message: String, remedy: String) {
        let object = object.to_owned();
        self.findings.push(Finding { rule, level: rule.level, place: None, object, message, remedy });
    }

    /// Whether `init` would reject the annotations.
    pub(crate) fn has_annotation_errors(&self) -> bool {
        self.findings.iter().any(|finding| {
            finding.rule.id == rule::ANNOTATION.id || finding.rule.id == rule::ANNOTATION_TYPE.id
        })
    }

    pub(crate) fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// The rules for what only a cluster shows.
pub(crate) const IN_CLUSTER: &Rule = rule::CLUSTER;
pub(crate) const IN_CLUSTER_NOTE: &Rule = rule::CLUSTER_NOTE;

/// A pod template with what its checks share.
struct Subject<'s, 'a> {
    pod: Pod<'a>,
    options: &'s Options,
    /// All objects of the manifests.
    objects: &'s [Object<'a>],
    prefix: &'a str,
    /// Whether a finding explains already why annotations, or the container, are missing.
    is_explained: bool,
    /// `None` means that the annotations are invalid.
    credentials: Option<Vec<Credential>>,
}

impl<'a> Subject<'_, 'a> {
    fn template(&self) -> &Template<'a> {
        &self.pod.template
    }

    fn object(&self) -> &Object<'a> {
        &self.pod.template.object
    }

    fn namespace<'o>(&'o self, object: &Object<'o>) -> &'o str {
        object.namespace().unwrap_or(self.options.namespace.as_str())
    }
}

/// The prefix of annotations that a container of an object's pods passes to podcreds.
pub(crate) fn own_prefix<'a>(object: &Object<'a>) -> Option<&'a str> {
    Pod::new(object.template()?, false).prefix()
}

/// Checks each pod template of the manifests.
pub(crate) fn check<'a>(objects: &[Object<'a>], options: &'a Options) -> Report<'a> {
    let mut report = Report::default();
    for object in objects {
        report.start = report.findings.len();
        let Some(template) = object.template() else { continue };
        report.templates += 1;
        let pod = Pod::new(template, options.is_injected);
        let prefix = pod.prefix().unwrap_or(&options.prefix);
        annotations::misplaced(&pod, prefix, &mut report);
        annotations::misspelt_prefix(&pod, prefix, &mut report);
        let is_explained = report.findings.len() > report.start;
        let is_annotated = template.is_annotated(prefix);
        if !is_annotated && pod.programs().next().is_none() {
            continue;
        }
        report.uses += 1;
        let credentials = annotations::parse(&template, prefix, options, &mut report);
        let subject = Subject { pod, options, objects, prefix, is_explained, credentials };
        annotations::check(&subject, &mut report);
        containers::check(&subject, &mut report);
        volume::check(&subject, &mut report);
        files::check(&subject, &mut report);
        identity::check(&subject, &mut report);
        ports::check(&subject, &mut report);
        notifications::check(&subject, &mut report);
        rights::check(&subject, &mut report);
        objects::check(&subject, &mut report);
    }
    report
}

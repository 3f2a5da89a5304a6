//! `podcreds check`: reports what would go wrong, for manifests, or for a workload in the cluster.

mod live;
mod output;

use std::io::Write;
use std::path::PathBuf;

use crate::check::{self, Level, Options, Report};
use crate::commands::inspect;
use crate::inspect::{Query, Unknown};
use crate::kube::config::registry::Clusters;
use crate::manifest::{self, Manifest, Object};
use crate::sync::Settings;
use crate::yaml::Node;

pub(crate) use output::Format;

/// Problems in manifests or annotations.
const WRONG: u8 = 2;
/// Something is missing or forbidden in the cluster.
const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;

/// What to check, and how to report.
pub(crate) struct Command {
    pub(crate) options: Options,
    pub(crate) subject: Subject,
    pub(crate) format: Format,
    /// Whether warnings fail the check too.
    pub(crate) is_strict: bool,
}

pub(crate) enum Subject {
    /// Files, directories, or `-`.
    Manifests(Vec<PathBuf>),
    Live(Box<Live>),
}

/// A pod or workload in the cluster.
pub(crate) struct Live {
    pub(crate) clusters: Clusters,
    pub(crate) query: Query,
    pub(crate) settings: Settings,
    /// Whether to connect to the databases.
    pub(crate) connects: bool,
    /// Whether podcreds runs in the pod.
    pub(crate) is_own: bool,
}

/// Prints the findings, and returns the exit code.
///
/// # Errors
/// If the manifests or the workload cannot be read, or `out` cannot be written to.
pub(crate) fn run(command: Command, out: &mut dyn Write) -> Result<u8, Error> {
    let Command { options, subject, format, is_strict } = command;
    match subject {
        Subject::Manifests(paths) => {
            let manifests = manifest::load(&paths)?;
            let mut objects = Vec::new();
            manifests.iter().for_each(|manifest| objects.extend(manifest.objects()));
            let report = check::check(&objects, &options);
            inspect::print(&format.render(&report), out)?;
            Ok(exit_code(&report, is_strict, false))
        }
        Subject::Live(live) => {
            let Live { clusters, mut query, mut settings, connects, is_own } = *live;
            let text = crate::inspect::object_text(&clusters, &query).map_err(inspect::Error::Object)?;
            let manifest = Manifest::parse("the response of the API server", text)?;
            if let Some(prefix) = manifest.objects().iter().find_map(check::own_prefix) {
                (query.prefix, settings.prefix) = (prefix.to_owned(), prefix.to_owned());
            }
            let mut report = check::check(&manifest.objects(), &options);
            // A position in a response says nothing.
            report.findings.iter_mut().for_each(|finding| finding.place = None);
            if report.templates == 0 {
                let name = format!("{}/{}", query.target.kind, query.target.name());
                let message = "the response of the API server has no pod template".to_owned();
                report.add_live(check::IN_CLUSTER, &name, message, "podcreds can only check pods".to_owned());
            }
            statuses(&clusters, &query, &manifest, &mut report)?;
            let is_unreachable = live::check(&clusters, &query, settings, (connects, is_own), &mut report)?;
            inspect::print(&format.render(&report), out)?;
            Ok(exit_code(&report, is_strict, is_unreachable))
        }
    }
}

/// Adds what keeps the pod from starting, or the first of the workload's newest pods that does not start.
fn statuses(
    clusters: &Clusters,
    query: &Query,
    target: &Manifest,
    report: &mut Report<'_>,
) -> Result<(), Error> {
    target.objects().iter().for_each(|object| check::not_starting(object, report));
    if query.target.is_pod() || report.uses == 0 {
        return Ok(());
    }
    let (pods, unknown) = crate::inspect::newest_pods(clusters, query).map_err(inspect::Error::Object)?;
    let name = format!("{}/{}", query.target.kind, query.target.name());
    for Unknown { message, remedy, .. } in unknown {
        report.add_live(check::IN_CLUSTER_NOTE, &name, message, remedy);
    }
    let before = report.count(Level::Error);
    for (index, text) in pods.into_iter().enumerate() {
        // A newer pod has replaced a failed one.
        let is_replaced = |pod: &Object<'_>| {
            index > 0 && pod.node.find(&["status", "phase"]).and_then(Node::text) == Some("Failed")
        };
        match Manifest::parse("the response of the API server about a pod", text) {
            Ok(pod) => {
                let pods = pod.objects();
                let current = pods.iter().filter(|pod| !is_replaced(pod));
                current.for_each(|pod| check::not_starting(pod, report));
            }
            Err(error) => {
                let remedy = "the status of this pod was not checked".to_owned();
                report.add_live(check::IN_CLUSTER_NOTE, &name, error.to_string(), remedy);
            }
        }
        if report.count(Level::Error) > before {
            break;
        }
    }
    Ok(())
}

/// Wrong manifests come before what the cluster lacks: nothing else can be right then.
fn exit_code(report: &Report<'_>, is_strict: bool, is_unreachable: bool) -> u8 {
    let fails = |level| level == Level::Error || is_strict;
    let mut failures = report.findings.iter().filter(|finding| fails(finding.level));
    match failures.clone().find(|finding| !finding.rule.is_of_cluster()) {
        Some(_) => WRONG,
        None if is_unreachable => UNREACHABLE,
        None if failures.next().is_some() => REFUSED,
        None => 0,
    }
}

/// Why nothing is reported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error(transparent)]
    Inspect(#[from] inspect::Error),
}

//! Which clusters there are and how they do: all are asked at the same time, so that a dead one holds up none.

use std::fmt::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::inspect::api::{self, Page, Version};
use crate::kube::config::clusters::file::Labels;
use crate::kube::{Cause, Client, Deadline};
use crate::text::one_line;
use crate::thread::spawn_scoped;

/// The longest text of a cell, in characters.
const CELL_LIMIT: usize = 100;

/// How a cluster does.
#[derive(Debug)]
pub struct ClusterReport {
    /// Its id in the clusters file, or the name of the own one.
    pub id: String,
    /// What people call it.
    pub labels: Labels,
    /// The address of its API server.
    pub server: String,
    /// What it answered, or why it did not.
    pub answered: Result<Answered, String>,
}

impl ClusterReport {
    /// Whether it told anything but that it does not know us.
    pub(crate) fn is_let_in(&self) -> bool {
        let said = |answered: &Answered| {
            answered.version.is_ok() || answered.nodes.is_ok() || answered.namespaces.is_ok()
        };
        self.answered.as_ref().is_ok_and(said)
    }

    /// Its id, with what people call it.
    fn name(&self) -> String {
        format!("{}{}", self.id, self.labels)
    }
}

/// What a cluster answered.
#[derive(Debug)]
pub struct Answered {
    /// From the beginning to the end of the first request, with its connection and handshake.
    pub latency: Duration,
    /// Its version, or why it does not say.
    pub version: Result<String, String>,
    /// How many nodes it has, or why it does not say.
    pub nodes: Result<u64, String>,
    /// How many namespaces it has, or why it does not say.
    pub namespaces: Result<u64, String>,
}

/// A cluster to ask.
pub struct Named {
    /// Its id in the clusters file, or the name of the own one.
    pub id: String,
    /// What people call it.
    pub labels: Labels,
    /// Its client, or why there is none.
    pub client: Result<Arc<Client>, Cause>,
}

/// Asks each cluster, all at the same time, each within the time. The reports come in the order of the clusters.
pub fn survey(named: &[Named], timeout: Duration) -> Vec<ClusterReport> {
    let deadline = Deadline::after(timeout);
    thread::scope(|scope| {
        let start = |client: &Arc<Client>| {
            let client = Arc::clone(client);
            spawn_scoped(scope, "survey", move || ask(&client, deadline))
        };
        let started: Vec<_> = named.iter().map(|it| it.client.as_ref().map(start)).collect();
        let answers = started.into_iter().map(|started| match started {
            Ok(Ok(thread)) => thread.join().unwrap_or_else(|_| Err("asking it ended early".to_owned())),
            Ok(Err(error)) => Err(format!("no thread could be started to ask it: {error}")),
            Err(cause) => Err(cause.to_string()),
        });
        let report = |(named, answered): (&Named, _)| ClusterReport {
            id: named.id.clone(),
            labels: named.labels.clone(),
            server: named
                .client
                .as_ref()
                .map_or_else(|_| "-".to_owned(), |client| client.server().to_string()),
            answered,
        };
        named.iter().zip(answers).map(report).collect()
    })
}

fn ask(client: &Client, deadline: Deadline) -> Result<Answered, String> {
    let started = Instant::now();
    let version = client.read_path("/version", false, deadline);
    let latency = started.elapsed();
    let version = match version {
        Ok(body) => api::parse::<Version>(&body).map(|version| version.git_version),
        // An answer all the same.
        Err(cause) if is_answer(&cause) => Err(cause),
        Err(cause) => return Err(cause.to_string()),
    };
    let count = |resource: &str| count(client, resource, deadline);
    Ok(Answered {
        latency,
        version: version.map_err(|cause| cause.to_string()),
        nodes: count("nodes"),
        namespaces: count("namespaces"),
    })
}

fn is_answer(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Forbidden { .. }
            | Cause::Unauthorized { .. }
            | Cause::NotFound { .. }
            | Cause::Busy { .. }
            | Cause::Refused { .. }
    )
}

/// Counts all objects of the cluster without reading them: the first, and what the API server says of the rest.
/// Lists of metadata do not say it before Kubernetes 1.21, so the first comes whole.
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/list-meta/>
fn count(client: &Client, resource: &str, deadline: Deadline) -> Result<u64, String> {
    let read = client.read_path(&format!("/api/v1/{resource}?limit=1"), false, deadline);
    let page: Page = read.and_then(|body| api::parse(&body)).map_err(|cause| {
        let rule = format!("{{apiGroups: [\"\"], resources: [{resource}], verbs: [list]}}");
        let remedy = format!(
            "; a ClusterRole, bound to the account that asks by a ClusterRoleBinding, needs the rule {rule}"
        );
        let remedy = if matches!(cause, Cause::Forbidden { .. }) { remedy } else { String::new() };
        format!("{cause}{remedy}")
    })?;
    let first = page.items.map_or(0, |items| items.len() as u64);
    let goes_on = page.metadata.r#continue.is_some_and(|token| !token.is_empty());
    match page.metadata.remaining_item_count {
        None if goes_on => Err("the API server does not say how many there are".to_owned()),
        remaining => Ok(first + remaining.unwrap_or(0)),
    }
}

/// Writes the reports as a table, and below it what the clusters did not say, a line each.
pub(crate) fn table(reports: &[ClusterReport]) -> String {
    let header = ["NAME", "SERVER", "VERSION", "LATENCY", "NODES", "NAMESPACES"].map(str::to_owned);
    let rows: Vec<_> = [header].into_iter().chain(reports.iter().map(row)).collect();
    let widths: Vec<_> =
        (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    let said: Vec<_> =
        reports.iter().flat_map(|report| failures(report).map(move |line| (report, line))).collect();
    if !said.is_empty() {
        text.push('\n');
    }
    for (report, (what, why)) in said {
        let _ = writeln!(text, "{}: {what}: {}", one_line(&report.name(), CELL_LIMIT), one_line(why, 2000));
    }
    text
}

fn row(report: &ClusterReport) -> [String; 6] {
    let cell = |text: &str| one_line(text, CELL_LIMIT);
    let number = |count: &Result<u64, String>| count.as_ref().map_or("-".to_owned(), ToString::to_string);
    let [version, latency, nodes, namespaces] = match &report.answered {
        Err(_) => ["unreachable", "-", "-", "-"].map(str::to_owned),
        Ok(Answered { latency, version, nodes, namespaces }) => [
            version.as_deref().map_or("-".to_owned(), cell),
            format!("{} ms", latency.as_millis()),
            number(nodes),
            number(namespaces),
        ],
    };
    [cell(&report.name()), cell(&report.server), version, latency, nodes, namespaces]
}

/// What a cluster did not say, and why.
fn failures(report: &ClusterReport) -> impl Iterator<Item = (&'static str, &str)> {
    let failures = match &report.answered {
        Err(why) => vec![("unreachable", Some(why))],
        Ok(Answered { version, nodes, namespaces, .. }) => vec![
            ("version", version.as_ref().err()),
            ("nodes", nodes.as_ref().err()),
            ("namespaces", namespaces.as_ref().err()),
        ],
    };
    failures.into_iter().filter_map(|(what, why)| Some((what, why?.as_str())))
}

/// Writes the reports as one JSON object.
pub(crate) fn json(reports: &[ClusterReport]) -> String {
    let cluster = |report: &ClusterReport| {
        let answered = report.answered.as_ref().ok();
        let refusals: Vec<Value> =
            failures(report).map(|(what, reason)| json!({"what": what, "reason": reason})).collect();
        json!({
            "id": report.id,
            "name": report.labels.name,
            "environment": report.labels.environment,
            "region": report.labels.region,
            "server": report.server,
            "reachable": answered.is_some(),
            "version": answered.and_then(|answered| answered.version.as_ref().ok()),
            "latency_ms": answered.map(|answered| (answered.latency.as_secs_f64() * 1e6).round() / 1e3),
            "nodes": answered.and_then(|answered| answered.nodes.as_ref().ok()),
            "namespaces": answered.and_then(|answered| answered.namespaces.as_ref().ok()),
            "refusals": refusals,
        })
    };
    let clusters: Vec<_> = reports.iter().map(cluster).collect();
    format!("{:#}\n", json!({ "clusters": clusters }))
}

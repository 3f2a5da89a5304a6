//! The state of each cluster. All are queried at the same time, so that one that does not respond delays no other.

use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::inspect::api::{self, Page, Version};
use crate::kube::config::clusters_file::Labels;
use crate::kube::{Cause, Client, Deadline, Rule};
use crate::text::{columns, one_line};
use crate::thread::spawn_scoped;

/// The longest text of a cell, in characters.
const CELL_LIMIT: usize = 100;
/// The longest error message below the table, in characters.
const MESSAGE_LIMIT: usize = 2000;

/// The state of a cluster.
#[derive(Debug)]
pub struct ClusterReport {
    /// The ID in the clusters file, or the name of the local cluster.
    pub id: String,
    /// The labels in the clusters file.
    pub labels: Labels,
    /// The URL of the API server, or `-` if it is unknown.
    pub server: String,
    /// The responses, or why there are none.
    pub result: Result<ProbeResult, Error>,
}

impl ClusterReport {
    /// Whether the API server granted at least one request.
    pub(crate) fn has_access(&self) -> bool {
        self.result.as_ref().is_ok_and(|ProbeResult { version, nodes, namespaces, .. }| {
            version.is_ok() || nodes.is_ok() || namespaces.is_ok()
        })
    }

    fn name(&self) -> String {
        format!("{}{}", self.id, self.labels)
    }
}

/// The responses of a cluster.
#[derive(Debug)]
pub struct ProbeResult {
    /// The duration of the first request, with its connection and TLS handshake.
    pub latency: Duration,
    /// The Kubernetes version.
    pub version: Result<String, Error>,
    /// The number of nodes.
    pub nodes: Result<u64, Error>,
    /// The number of namespaces.
    pub namespaces: Result<u64, Error>,
}

/// Why a part of a report is missing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request failed, or the cluster cannot be configured.
    #[error(transparent)]
    Request(#[from] Cause),
    /// Listing a cluster-wide resource is forbidden.
    #[error("{cause}; {}", Rule { group: "", resource, name: None, verbs: "list" }.grant(None, "the current user"))]
    List {
        /// The plural.
        resource: &'static str,
        /// The error.
        cause: Cause,
    },
    /// The list is longer than one object and has no count of the others.
    #[error("the API server does not report the number")]
    Uncounted,
    /// The thread that queries the cluster could not be started.
    #[error("cannot start a thread to query it: {0}")]
    Thread(io::Error),
    /// The thread that queries the cluster panicked.
    #[error("the thread that queries the cluster panicked: a bug in podcreds")]
    Panicked,
}

/// A cluster to query.
pub struct NamedClient {
    /// The ID in the clusters file, or the name of the local cluster.
    pub id: String,
    /// The labels in the clusters file.
    pub labels: Labels,
    /// The client, or why the cluster cannot be configured.
    pub client: Result<Arc<Client>, Cause>,
}

/// Queries all clusters at the same time, for `timeout` at most. The reports are in the order of the clusters.
pub fn survey(clusters: Vec<NamedClient>, timeout: Duration) -> Vec<ClusterReport> {
    let deadline = Deadline::after(timeout);
    thread::scope(|scope| {
        let start = |client: Arc<Client>| spawn_scoped(scope, "survey", move || probe(&client, deadline));
        let start = |NamedClient { id, labels, client }: NamedClient| {
            let server =
                client.as_ref().map_or_else(|_| "-".to_owned(), |client| client.server().to_string());
            (id, labels, server, client.map(start))
        };
        // All threads start before the first is joined.
        let started: Vec<_> = clusters.into_iter().map(start).collect();
        let join = |(id, labels, server, thread)| ClusterReport {
            id,
            labels,
            server,
            result: match thread {
                Ok(Ok(thread)) => thread::ScopedJoinHandle::join(thread).unwrap_or(Err(Error::Panicked)),
                Ok(Err(error)) => Err(Error::Thread(error)),
                Err(cause) => Err(Error::Request(cause)),
            },
        };
        started.into_iter().map(join).collect()
    })
}

fn probe(client: &Client, deadline: Deadline) -> Result<ProbeResult, Error> {
    let started = Instant::now();
    let version = client.get_path("/version", false, deadline);
    let latency = started.elapsed();
    let version = match version {
        Ok(body) => api::parse::<Version>(&body).map(|version| version.git_version),
        Err(cause) if is_response(&cause) => Err(cause),
        Err(cause) => return Err(cause.into()),
    };
    Ok(ProbeResult {
        latency,
        version: version.map_err(Error::Request),
        nodes: count(client, "nodes", deadline),
        namespaces: count(client, "namespaces", deadline),
    })
}

/// Whether the API server responded, if only with an error.
fn is_response(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Forbidden { .. }
            | Cause::Unauthorized { .. }
            | Cause::NotFound { .. }
            | Cause::Unavailable { .. }
            | Cause::Refused { .. }
    )
}

/// Counts the objects of a resource without reading them: the first one, and the count of the remaining ones that the API
/// server reports. Lists of metadata have that count only since Kubernetes 1.21, so the request is for the object itself.
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/list-meta/>
fn count(client: &Client, resource: &'static str, deadline: Deadline) -> Result<u64, Error> {
    let body = client.get_path(&format!("/api/v1/{resource}?limit=1"), false, deadline);
    let page: Page = body.and_then(|body| api::parse(&body)).map_err(|cause| match cause {
        Cause::Forbidden { .. } => Error::List { resource, cause },
        cause => Error::Request(cause),
    })?;
    let first = page.items.map_or(0, |items| items.len() as u64);
    let has_more = page.metadata.r#continue.is_some_and(|token| !token.is_empty());
    match page.metadata.remaining_item_count {
        None if has_more => Err(Error::Uncounted),
        remaining => Ok(first + remaining.unwrap_or(0)),
    }
}

/// Renders the reports as a table, with one line for each missing value below it.
pub(crate) fn table(reports: &[ClusterReport]) -> String {
    let header = ["NAME", "SERVER", "VERSION", "LATENCY", "NODES", "NAMESPACES"].map(str::to_owned);
    let rows: Vec<_> = [header].into_iter().chain(reports.iter().map(row)).collect();
    let mut text = columns(&rows);
    let failures: Vec<_> =
        reports.iter().flat_map(|report| failures(report).map(move |failure| (report, failure))).collect();
    if !failures.is_empty() {
        text.push('\n');
    }
    for (report, (what, error)) in failures {
        let _ = writeln!(
            text,
            "{}: {what}: {}",
            one_line(&report.name(), CELL_LIMIT),
            one_line(&error.to_string(), MESSAGE_LIMIT)
        );
    }
    text
}

fn row(report: &ClusterReport) -> [String; 6] {
    let cell = |text: &str| one_line(text, CELL_LIMIT);
    let number = |count: &Result<u64, Error>| count.as_ref().map_or("-".to_owned(), ToString::to_string);
    let [version, latency, nodes, namespaces] = match &report.result {
        Err(_) => ["unreachable", "-", "-", "-"].map(str::to_owned),
        Ok(ProbeResult { latency, version, nodes, namespaces }) => [
            version.as_deref().map_or("-".to_owned(), cell),
            format!("{} ms", latency.as_millis()),
            number(nodes),
            number(namespaces),
        ],
    };
    [cell(&report.name()), cell(&report.server), version, latency, nodes, namespaces]
}

/// The missing values of a report.
fn failures(report: &ClusterReport) -> impl Iterator<Item = (&'static str, &Error)> {
    let values = match &report.result {
        Err(error) => vec![("unreachable", Some(error))],
        Ok(ProbeResult { version, nodes, namespaces, .. }) => vec![
            ("version", version.as_ref().err()),
            ("nodes", nodes.as_ref().err()),
            ("namespaces", namespaces.as_ref().err()),
        ],
    };
    values.into_iter().filter_map(|(what, error)| Some((what, error?)))
}

/// Renders the reports as one JSON object.
pub(crate) fn json(reports: &[ClusterReport]) -> String {
    let cluster = |report: &ClusterReport| {
        let result = report.result.as_ref().ok();
        let refusals: Vec<Value> = failures(report)
            .map(|(what, error)| json!({"what": what, "reason": error.to_string()}))
            .collect();
        json!({
            "id": report.id,
            "name": report.labels.name,
            "environment": report.labels.environment,
            "region": report.labels.region,
            "server": report.server,
            "reachable": result.is_some(),
            "version": result.and_then(|result| result.version.as_ref().ok()),
            "latency_ms": result.map(|result| (result.latency.as_secs_f64() * 1e6).round() / 1e3),
            "nodes": result.and_then(|result| result.nodes.as_ref().ok()),
            "namespaces": result.and_then(|result| result.namespaces.as_ref().ok()),
            "refusals": refusals,
        })
    };
    let clusters: Vec<_> = reports.iter().map(cluster).collect();
    format!("{:#}\n", json!({ "clusters": clusters }))
}

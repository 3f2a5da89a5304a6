//! `podcreds inspect`: shows the objects that a pod or workload depends on, or the state of the clusters.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use crate::inspect::clusters::{ClusterReport, NamedClient, json, survey, table};
use crate::inspect::{self, Format, Query};
use crate::kube::config::clusters_file::Labels;
use crate::kube::config::registry::Clusters;
use crate::object::{ClusterId, ClusterRef};

/// What to inspect, and the output format.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Object {
        query: Query,
        format: Format,
    },
    Clusters {
        /// Empty means all clusters.
        ids: Vec<ClusterId>,
        /// How the report calls the local cluster.
        local_name: String,
        format: ClustersFormat,
        /// The time limit for all requests to one cluster.
        timeout: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClustersFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Inspects, and writes the report to `out`.
///
/// # Errors
/// If the object itself cannot be read, if no cluster responds or grants access, or if `out` cannot be written to.
pub(crate) fn run(command: &Command, clusters: &Clusters, out: &mut dyn Write) -> Result<(), Error> {
    match command {
        Command::Object { query, format } => {
            let graph = inspect::inspect(clusters, query)?;
            print(&format.render(&graph), out)
        }
        Command::Clusters { ids, local_name, format, timeout } => {
            let reports = survey(clients(clusters, ids, local_name), *timeout);
            let text = match format {
                ClustersFormat::Table => table(&reports),
                ClustersFormat::Json => json(&reports),
            };
            print(&text, out)?;
            match reports.iter().all(|report| report.result.is_err()) {
                true => Err(Error::Unreachable),
                false if !reports.iter().any(ClusterReport::has_access) => Err(Error::AccessDenied),
                false => Ok(()),
            }
        }
    }
}

/// The clients of the clusters with these ids; without any, those of the local cluster and of all others.
fn clients(clusters: &Clusters, ids: &[ClusterId], local_name: &str) -> Vec<NamedClient> {
    let local = ids.is_empty().then(|| NamedClient {
        id: local_name.to_owned(),
        labels: Labels::default(),
        client: Ok(clusters.own()),
    });
    let others = clusters.others().iter().filter(|(id, _)| ids.is_empty() || ids.contains(id));
    let others = others.map(|(id, member)| NamedClient {
        id: id.to_string(),
        labels: member.labels().clone(),
        client: clusters.client(&ClusterRef::Named(id.clone())),
    });
    local.into_iter().chain(others).collect()
}

pub(crate) fn print(text: &str, out: &mut dyn Write) -> Result<(), Error> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // The reader, such as head, has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}

/// Why the report is missing, or has only failures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Object(#[from] inspect::Error),
    #[error("no cluster can be reached; see the report")]
    Unreachable,
    #[error("access denied by every cluster; see the report")]
    AccessDenied,
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

//! `podcreds inspect`: shows what a pod hangs on, or how the clusters do.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use crate::inspect::clusters::{ClusterReport, Named, json, survey, table};
use crate::inspect::{self, Format, Question};
use crate::kube::config::clusters_file::Labels;
use crate::kube::config::registry::Clusters;
use crate::object::{ClusterId, ClusterRef};

/// What is asked, and how the answer is written.
#[derive(Clone, Debug)]
pub(crate) enum Inquiry {
    /// What an object hangs on.
    Object {
        /// Which.
        question: Question,
        /// How it is written.
        format: Format,
    },
    /// How the clusters do.
    Clusters {
        /// Which; none for all.
        wanted: Vec<ClusterId>,
        /// What the own one is called.
        own: String,
        /// How it is written.
        format: ClustersFormat,
        /// The bound on all requests to one cluster.
        timeout: Duration,
    },
}

/// The forms of a report on clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClustersFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Asks and writes the answer.
///
/// # Errors
/// If the object that was asked about cannot be read, if no cluster answers, or if nobody takes the answer.
pub(crate) fn run(inquiry: &Inquiry, clusters: &Clusters, out: &mut dyn Write) -> Result<(), Error> {
    match inquiry {
        Inquiry::Object { question, format } => {
            let graph = inspect::inspect(clusters, question)?;
            print(&format.render(&graph), out)
        }
        Inquiry::Clusters { wanted, own, format, timeout } => {
            let others = clusters.others().iter();
            let others = others.filter(|(id, _)| wanted.is_empty() || wanted.contains(id));
            let others = others.map(|(id, member)| Named {
                id: id.to_string(),
                labels: member.labels().clone(),
                client: clusters.client(&ClusterRef::Named(id.clone())),
            });
            let own = || Named { id: own.clone(), labels: Labels::default(), client: Ok(clusters.own()) };
            let first = wanted.is_empty().then(own);
            let named: Vec<_> = first.into_iter().chain(others).collect();
            let reports = survey(&named, *timeout);
            let text = match format {
                ClustersFormat::Table => table(&reports),
                ClustersFormat::Json => json(&reports),
            };
            print(&text, out)?;
            match reports.iter().all(|report| report.answered.is_err()) {
                true => Err(Error::NoCluster),
                false if !reports.iter().any(ClusterReport::is_let_in) => Err(Error::NotLetIn),
                false => Ok(()),
            }
        }
    }
}

fn print(text: &str, out: &mut dyn Write) -> Result<(), Error> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The object cannot be read.
    #[error(transparent)]
    Object(#[from] inspect::Error),
    /// All are dead.
    #[error("no cluster can be reached; the report says why")]
    NoCluster,
    /// Those that answer tell nothing.
    #[error("no cluster lets us in; the report says why")]
    NotLetIn,
    /// The standard output.
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

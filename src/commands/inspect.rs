//! `podcreds inspect`: shows what a pod hangs on, or how the clusters do.

use std::io::{self, ErrorKind, Write};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::inspect::{self, Format, Question, clusters};
use crate::kube::Client;

/// What is asked, and how the answer is written.
#[derive(Clone, Debug)]
pub enum Inquiry {
    /// What an object hangs on.
    Object {
        /// Which.
        question: Question,
        /// How it is written.
        format: Format,
    },
    /// How the clusters do.
    Clusters {
        /// How it is written.
        format: ClustersFormat,
        /// The bound on all requests to one cluster.
        timeout: Duration,
    },
}

/// The forms of a report on clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClustersFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What the cluster is called that is not named anywhere.
const ONLY_CLUSTER: &str = "default";

/// Asks and writes the answer.
///
/// # Errors
/// If the object that was asked about cannot be read, if no cluster answers, or if nobody takes the answer.
pub fn run(inquiry: &Inquiry, client: &Arc<Client>, out: &mut dyn Write) -> Result<(), Error> {
    match inquiry {
        Inquiry::Object { question, format } => {
            let graph = inspect::inspect(client, question)?;
            print(&format.render(&graph), out)
        }
        Inquiry::Clusters { format, timeout } => {
            let named = (ONLY_CLUSTER.to_owned(), Arc::clone(client));
            let reports = clusters::survey(slice::from_ref(&named), *timeout);
            let text = match format {
                ClustersFormat::Table => clusters::table(&reports),
                ClustersFormat::Json => clusters::json(&reports),
            };
            print(&text, out)?;
            if reports.iter().all(|report| report.answered.is_err()) { Err(Error::NoCluster) } else { Ok(()) }
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
pub enum Error {
    /// The object cannot be read.
    #[error(transparent)]
    Object(#[from] inspect::Error),
    /// All are dead.
    #[error("no cluster can be reached; the report says why")]
    NoCluster,
    /// The standard output.
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

//! `podcreds render`: prints what `init` would write for a pod or for the pods of a workload, without a volume.

use std::io::{self, ErrorKind, Write};

use crate::credential::{Bundle, BundleFile, FileMode};
use crate::inspect::{self, Query};
use crate::kube::config::registry::Clusters;
use crate::render::render_redacted;
use crate::sync::{self, AnnotationSource, FetchedSources, Settings};

/// Replaces every hidden value. One length for all, so that it does not reveal theirs.
const HIDDEN: &str = "********";

/// What to render, and how.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) settings: Settings,
    /// The workload whose pod template has the annotations. `None` means that `settings` says where they are.
    pub(crate) workload: Option<Query>,
    /// Whether to show the values.
    pub(crate) reveal: bool,
}

/// Prints each file below a line with its path and mode.
///
/// # Errors
/// Those of `init` except for the volume's, and if the workload cannot be read.
pub(crate) fn run(command: Command, clusters: &Clusters, out: &mut dyn Write) -> Result<(), Error> {
    let Command { mut settings, workload, reveal } = command;
    if let Some(query) = &workload {
        let annotations = inspect::template_annotations(clusters, query)?;
        let workload = format!("{} {}/{}", query.target.kind, query.scope.namespace, query.target.name());
        settings.annotations = AnnotationSource::Template { workload, annotations };
    }
    let FetchedSources { credentials, sources } = sync::fetch_all(&settings, clusters)?;
    // Rendered with the real values first, to report those that their format cannot express.
    let mut rendered = sync::render(&credentials, &sources)?;
    if !reveal {
        rendered = render_redacted(&credentials, &sources, HIDDEN).map_err(sync::Error::from)?;
    }
    match print(&rendered.bundle, out) {
        // The reader, such as head, has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.map_err(sync::Error::Output)?),
    }
}

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Sync(#[from] sync::Error),
    /// The workload could not be read.
    #[error(transparent)]
    Workload(#[from] inspect::Error),
}

fn print(bundle: &Bundle, out: &mut dyn Write) -> io::Result<()> {
    for (path, BundleFile { content, mode }) in bundle {
        let mode = mode.map_or_else(
            || format!("{} if the pod sets fsGroup, otherwise {}", FileMode::GROUP, FileMode::WORLD),
            |mode| mode.to_string(),
        );
        writeln!(out, "# {path} (mode {mode})")?;
        match content.expose_text() {
            Some(text) if text.ends_with('\n') => writeln!(out, "{text}")?,
            Some(text) => writeln!(out, "{text}\n")?,
            None => writeln!(out, "({} bytes of binary data)\n", content.expose().len())?,
        }
    }
    out.flush()
}

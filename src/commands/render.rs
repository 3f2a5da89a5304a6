//! `podcreds render`: shows what `init` would write, without a volume.

use std::io::{self, ErrorKind, Write};

use crate::bundle::{Bundle, BundleFile};
use crate::credential::FileMode;
use crate::kube::config::clusters::Clusters;
use crate::render::hidden;
use crate::sync::{self, Error, FetchedSources, Settings};

/// What stands for every value that is not to be seen: the same for all, so that it tells no length.
const HIDDEN: &str = "********";

/// Prints each file under a line with its path and mode. Values are hidden unless `reveal`.
///
/// # Errors
/// As `init`, for all that can go wrong before the volume.
pub(crate) fn run(
    settings: &Settings,
    clusters: &Clusters,
    reveal: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let FetchedSources { credentials, sources } = sync::fetch_all(settings, clusters)?;
    // The real values first: they may not fit their format, and this is where to say so.
    let mut bundle = sync::render(&credentials, &sources)?;
    if !reveal {
        bundle = hidden(&credentials, &sources, HIDDEN)?;
    }
    match print(&bundle, out) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}

fn print(bundle: &Bundle, out: &mut dyn Write) -> io::Result<()> {
    for (path, BundleFile { content, mode }) in bundle {
        let mode = mode.map_or(format!("{}, with fsGroup {}", FileMode::WORLD, FileMode::GROUP), |mode| {
            mode.to_string()
        });
        writeln!(out, "# {path} (mode {mode})")?;
        match content.expose_text() {
            Some(text) if text.ends_with('\n') => writeln!(out, "{text}")?,
            Some(text) => writeln!(out, "{text}\n")?,
            None => writeln!(out, "({} bytes that are no text)\n", content.expose().len())?,
        }
    }
    out.flush()
}

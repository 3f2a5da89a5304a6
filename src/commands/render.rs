//! `podcreds render`: prints what `init` would write, without a volume.

use std::io::{self, ErrorKind, Write};

use crate::credential::{Bundle, BundleFile, FileMode};
use crate::kube::config::registry::Clusters;
use crate::render::render_redacted;
use crate::sync::{self, Error, FetchedSources, Settings};

/// Replaces every hidden value. One length for all, so that it does not reveal theirs.
const HIDDEN: &str = "********";

/// Prints each file below a line with its path and mode. Values are hidden unless `reveal`.
///
/// # Errors
/// Those of `init` except for the volume's.
pub(crate) fn run(
    settings: &Settings,
    clusters: &Clusters,
    reveal: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let FetchedSources { credentials, sources } = sync::fetch_all(settings, clusters)?;
    // Rendered with the real values first, to report those that their format cannot express.
    let mut rendered = sync::render(&credentials, &sources)?;
    if !reveal {
        rendered = render_redacted(&credentials, &sources, HIDDEN)?;
    }
    match print(&rendered.bundle, out) {
        // The reader, such as head, has closed the pipe.
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
            None => writeln!(out, "({} bytes of binary data)\n", content.expose().len())?,
        }
    }
    out.flush()
}

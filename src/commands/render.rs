//! `podcreds render`: prints what `init` would write for a pod or for the pods of a workload, without a volume.

pub(crate) mod manifests;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use log::warn;

use crate::commands::render::manifests::AnnotatedPods;
use crate::credential::{Bundle, BundleFile, Credential, FileMode, Header};
use crate::inspect::{self, Query};
use crate::kube::config::registry::Clusters;
use crate::manifest;
use crate::object::Kind;
use crate::render::{Sources, render_redacted};
use crate::sync::{self, AnnotationSource, FetchedSources, Settings};
use crate::text::Printable;

/// Replaces every hidden value. One length for all, so that it does not reveal theirs.
const HIDDEN: &str = "********";

/// What to render, and how.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) settings: Settings,
    /// The pod, or the workload whose pod template has the annotations. `None` means that `settings` says where they are.
    pub(crate) target: Option<Query>,
    /// Files with the pod templates instead. Empty means none.
    pub(crate) manifests: Vec<PathBuf>,
    /// Whether to show the values.
    pub(crate) reveal: bool,
    /// Whether to escape control characters, which another user's template or Secret may contain and a terminal would act on.
    pub(crate) escape: bool,
}

/// Prints each file below a line with its path and mode. `clusters` is `None` if none is configured.
///
/// # Errors
/// Those of `init` except for the volume's, and if the workload cannot be read.
pub(crate) fn run(command: Command, clusters: Option<&Clusters>, out: &mut dyn Write) -> Result<(), Error> {
    let Command { mut settings, target, manifests, reveal, escape } = command;
    if !manifests.is_empty() {
        let manifests = manifest::load(&manifests)?;
        settings.known = manifests::sources(&manifests, &settings.scope)?;
        let all = manifests::annotated_pods(&manifests, &settings.prefix, &settings.scope)?;
        if all.is_empty() && !settings.allow_none {
            let from = manifests.iter().map(|manifest| manifest.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(sync::Error::NoAnnotations { from, prefix: settings.prefix, similar: None }.into());
        }
        let has_headings = all.len() > 1;
        for AnnotatedPods { workload, namespace, annotations, credentials } in all {
            if has_headings {
                print(out, |out| writeln!(out, "## {}\n", Printable(&workload)))?;
            }
            settings.scope.namespace = namespace;
            settings.annotations = AnnotationSource::Template { workload, annotations };
            let fetched = match clusters {
                Some(clusters) => sync::fetch_all(&settings, clusters).map_err(Error::from),
                None => without_cluster(credentials, &settings.known),
            };
            let rendered = fetched.and_then(|fetched| render(fetched, (reveal, escape), out));
            if has_headings && rendered.is_err() {
                warn!("cannot render the {}", settings.annotations);
            }
            rendered?;
        }
        return Ok(());
    }
    let clusters = clusters.ok_or(Error::NoCluster)?;
    if let Some(query) = target.as_ref().filter(|query| !query.target.is_pod()) {
        let annotations = inspect::template_annotations(clusters, query)?;
        let workload = format!("{} {}/{}", query.target.kind, query.scope.namespace, query.target.name());
        settings.annotations = AnnotationSource::Template { workload, annotations };
    }
    let fetched = sync::fetch_all(&settings, clusters);
    let fetched = fetched.map_err(|error| explain_not_found(error, target.as_ref(), clusters))?;
    render(fetched, (reveal, escape), out)
}

/// The sources of credentials if the manifests have all of them.
fn without_cluster(credentials: Vec<Credential>, known: &Sources) -> Result<FetchedSources, Error> {
    let mut objects = credentials.iter().flat_map(Credential::objects);
    if let Some(missing) = objects.find(|object| !known.contains_key(object)) {
        warn!("no manifest has {missing}, and no cluster is configured");
        return Err(Error::NoCluster);
    }
    drop(objects);
    Ok(FetchedSources { credentials, sources: known.clone() })
}

fn render(
    FetchedSources { credentials, sources }: FetchedSources,
    (reveal, escape): (bool, bool),
    out: &mut dyn Write,
) -> Result<(), Error> {
    // Rendered with the real values first, to report those that their format cannot express.
    let mut rendered = sync::incomplete::render(&credentials, &sources, &mut Vec::new())?;
    if !reveal {
        rendered = render_redacted(&credentials, &sources, HIDDEN).map_err(sync::Error::from)?;
    }
    print(out, |out| {
        print_files(&rendered.bundle, escape, out)?;
        print_headers(&rendered.headers, escape, out)
    })
}

fn print(out: &mut dyn Write, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    match write(out) {
        // The reader, such as head, has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.map_err(sync::Error::Output)?),
    }
}

/// Replaces the remedy for a pod that does not exist if it was an argument: its name does not come from POD_NAME or the hostname.
fn explain_not_found(mut error: sync::Error, target: Option<&Query>, clusters: &Clusters) -> sync::Error {
    if let (sync::Error::Unread { errors, hint, .. }, Some(query)) = (&mut error, target)
        && errors.iter().any(|error| error.is_not_found() && error.object().kind == Kind::Pod)
    {
        *hint = Some(inspect::not_found_hint(clusters, query));
    }
    error
}

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no cluster is configured")]
    NoCluster,
    #[error(transparent)]
    Sync(#[from] sync::Error),
    /// The workload could not be read.
    #[error(transparent)]
    Workload(#[from] inspect::Error),
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error(transparent)]
    Object(#[from] manifests::Error),
}

fn print_files(bundle: &Bundle, escape: bool, out: &mut dyn Write) -> io::Result<()> {
    for (path, BundleFile { content, mode }) in bundle {
        let mode = mode.map_or_else(
            || format!("{} if the pod sets fsGroup, otherwise {}", FileMode::GROUP, FileMode::WORLD),
            |mode| mode.to_string(),
        );
        writeln!(out, "# {path} (mode {mode})")?;
        match content.expose_text() {
            Some(text) => {
                match escape {
                    true => write!(out, "{}", Printable(text))?,
                    false => out.write_all(text.as_bytes())?,
                }
                out.write_all(if text.ends_with('\n') { b"\n" } else { b"\n\n" })?;
            }
            None => writeln!(out, "({} bytes of binary data)\n", content.expose().len())?,
        }
    }
    out.flush()
}

/// Prints the headers of notifications, which are in no file.
fn print_headers(headers: &[(&Credential, Header)], escape: bool, out: &mut dyn Write) -> io::Result<()> {
    for (credential, Header { name, value }) in headers {
        writeln!(out, "# header of the notification of credential {} (in no file)", credential.name)?;
        write!(out, "{name}: ")?;
        match value.expose_text() {
            Some(text) if escape => write!(out, "{}", Printable(text))?,
            _ => out.write_all(value.expose())?,
        }
        out.write_all(b"\n\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::RelativePath;

    #[test]
    fn control_characters_of_a_file_are_escaped_unless_exact_bytes_are_wanted() {
        let content = "a\tb\u{1b}[2K\u{1b}[1A\r# other.env (mode 0444)\u{1b}]52;c;eA==\u{7}";
        let file = BundleFile { content: content.into(), mode: Some(FileMode::OWNER) };
        let bundle = Bundle::from([(RelativePath::parse("db.txt").unwrap(), file)]);
        let printed = |escape| {
            let mut out = Vec::new();
            print_files(&bundle, escape, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(false), format!("# db.txt (mode 0600)\n{content}\n\n"));
        let escaped = "a\tb\\u{1b}[2K\\u{1b}[1A\\r# other.env (mode 0444)\\u{1b}]52;c;eA==\\u{7}";
        assert_eq!(printed(true), format!("# db.txt (mode 0600)\n{escaped}\n\n"));
    }
}

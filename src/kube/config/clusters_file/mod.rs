//! The clusters file: its parser and its checked values. All errors are reported at once. The files that it names are read later,
//! when a cluster is first used (`registry`). docs/clusters.md describes it for users.

mod auth_method;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

pub(crate) use auth_method::{AuthMethod, TlsConfig, TokenSource};

use crate::duration::positive_duration;
use crate::kube::config::clusters_file::auth_method::Reader;
use crate::object::{ClusterId, Namespace};
use crate::secret::read_bounded;
use crate::text::{Quoted, is_shown, list};
use crate::yaml::{self, Cursor, Fields, Position, SyntaxError, TEXT_LIMIT, ValueError, ValueErrors};

/// The maximum number of clusters in a file.
pub(crate) const CLUSTER_LIMIT: usize = 100;
/// The maximum length of a label, in characters.
const LABEL_LIMIT: usize = 128;
/// The default of `qps`, in requests per second.
pub(crate) const DEFAULT_QPS: f64 = 20.0;
/// The minimum of `qps` other than 0: about one request per quarter of an hour.
pub(crate) const MIN_QPS: f64 = 0.001;
/// The default of `burst`.
pub(crate) const DEFAULT_BURST: u32 = 40;

/// A parsed clusters file.
#[derive(Debug)]
pub struct ClustersFile {
    /// At least one, in the order of the file, with unique ids.
    pub(crate) clusters: Vec<ClusterEntry>,
    /// Applies to references that name a cluster and no namespace.
    pub(crate) default_namespace: Option<Namespace>,
    /// How often all objects are read in addition to watching them.
    pub(crate) resync_period: Option<Duration>,
}

/// A cluster of the file.
#[derive(Debug)]
pub(crate) struct ClusterEntry {
    /// The name that `.cluster` annotations refer to.
    pub(crate) id: ClusterId,
    pub(crate) labels: Labels,
    pub(crate) method: AuthMethod,
    /// Requests per second, positive and finite. `None` means unlimited, which the file writes as 0.
    pub(crate) qps: Option<f64>,
    /// At least 1.
    pub(crate) burst: u32,
    /// Applies to each phase of a request.
    pub(crate) timeout: Option<Duration>,
}

/// Descriptions of a cluster for logs and reports, each at most 128 printable characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Such as `Production US East`.
    pub(crate) name: Option<String>,
    /// Such as `prod`.
    pub(crate) environment: Option<String>,
    /// Such as `us-east-1`.
    pub(crate) region: Option<String>,
}

impl fmt::Display for Labels {
    /// Writes a suffix for the id, such as ` (Hub, eu)`, or nothing without labels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given: Vec<_> =
            [&self.name, &self.environment, &self.region].into_iter().flatten().map(String::as_str).collect();
        if given.is_empty() { Ok(()) } else { write!(f, " ({})", given.join(", ")) }
    }
}

/// Reads a clusters file.
///
/// # Errors
/// If it cannot be read, and those of [`parse`].
pub(crate) fn load(path: &Path) -> Result<ClustersFile, Error> {
    let text = File::open(path).and_then(|file| read_bounded(file, TEXT_LIMIT));
    parse(&text.map_err(|cause| Error::Read { path: path.to_owned(), cause })?, path)
}

/// Parses a clusters file, YAML or JSON. Relative paths are resolved against the directory of `path`.
///
/// # Errors
/// If it is not YAML; otherwise every wrong, missing or unknown value, with line, column and the id of its entry.
pub fn parse(text: &[u8], path: &Path) -> Result<ClustersFile, Error> {
    let document = yaml::parse(text).map_err(|cause| Error::Syntax { path: path.to_owned(), cause })?;
    let problems = ValueErrors::default();
    let file = read(&Cursor::document(&document, &problems), path);
    match (file, problems.into_vec()) {
        (Some(file), problems) if problems.is_empty() => Ok(file),
        (_, problems) => Err(Error::Values { path: path.to_owned(), problems }),
    }
}

fn read(document: &Cursor<'_>, path: &Path) -> Option<ClustersFile> {
    let top = document.required().fields()?;
    top.deny_unknown(&["clusters", "default_namespace", "resync_period"]);
    let list = top.get("clusters");
    let items = list.seq();
    if items.is_empty() {
        list.report("must name at least one cluster");
    }
    if items.len() > CLUSTER_LIMIT {
        list.report(format!("must name at most {CLUSTER_LIMIT} clusters, not {}", items.len()));
    }
    let reader = Reader::new(path);
    let mut seen = BTreeMap::new();
    let clusters =
        items.iter().take(CLUSTER_LIMIT).filter_map(|item| entry(item, &reader, &mut seen)).collect();
    Some(ClustersFile {
        clusters,
        default_namespace: parsed(&top.get("default_namespace"), Namespace::parse),
        resync_period: time(&top.get("resync_period")),
    })
}

fn entry(
    item: &Cursor<'_>,
    reader: &Reader,
    seen: &mut BTreeMap<ClusterId, Position>,
) -> Option<ClusterEntry> {
    let fields = item.required().fields()?;
    let given = fields.get("id");
    given.required();
    let fields = match given.string() {
        Some(id) => fields.with_label(&format!("id {}", Quoted(&id))),
        None => fields,
    };
    let id = parsed(&given, ClusterId::parse);
    if let Some(id) = &id
        && let Some(first) = seen.insert(id.clone(), given.at())
    {
        fields.get("id").report(format!("duplicate id, first at {first}"));
    }
    let (qps, burst) = limits(&fields);
    let labels = Labels {
        name: label(&fields.get("name")),
        environment: label(&fields.get("environment")),
        region: label(&fields.get("region")),
    };
    let timeout = time(&fields.get("timeout"));
    let method = reader.method(&fields);
    Some(ClusterEntry { id: id?, labels, method: method?, qps, burst, timeout })
}

fn limits(fields: &Fields<'_>) -> (Option<f64>, u32) {
    let place = fields.get("qps");
    let qps = place.number().unwrap_or(DEFAULT_QPS);
    if qps != 0.0 && qps < MIN_QPS {
        place.report(format!("must be 0 (unlimited) or at least {MIN_QPS}"));
    }
    let place = fields.get("burst");
    let burst = place.whole_number().map_or(Some(DEFAULT_BURST), |number| u32::try_from(number).ok());
    let burst = burst.filter(|burst| *burst > 0).unwrap_or_else(|| {
        place.report(format!("must be a whole number from 1 to {}", u32::MAX));
        DEFAULT_BURST
    });
    (Some(qps).filter(|qps| *qps > 0.0), burst)
}

fn label(place: &Cursor<'_>) -> Option<String> {
    let text = place.string()?;
    if text.chars().count() > LABEL_LIMIT || !text.chars().all(is_shown) {
        place.report(format!(
            "must be at most {LABEL_LIMIT} characters on one line, without control characters"
        ));
    }
    Some(text)
}

fn time(place: &Cursor<'_>) -> Option<Duration> {
    let text = place.string_with_example("30s")?;
    parsed_text(place, &text, positive_duration)
}

/// Parses text, and reports an error at its place.
fn parsed<T, E: ToString>(place: &Cursor<'_>, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
    parsed_text(place, &place.string()?, parse)
}

fn parsed_text<T, E: ToString>(
    place: &Cursor<'_>,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    parse(text).map_err(|error| place.report(error.to_string())).ok()
}

/// Errors in a clusters file. No message holds a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("clusters file {} cannot be read: {cause}", path.display())]
    Read {
        /// The clusters file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// It is not YAML.
    #[error("clusters file {}: {cause}", path.display())]
    Syntax {
        /// The clusters file.
        path: PathBuf,
        /// The error with its position.
        #[source]
        cause: SyntaxError,
    },
    /// Wrong, missing or unknown values.
    #[error("clusters file {}: {}", path.display(), Listed(problems))]
    Values {
        /// The clusters file.
        path: PathBuf,
        /// At least one, in the order of the document.
        problems: Vec<ValueError>,
    },
}

struct Listed<'a>(&'a [ValueError]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 1 {
            write!(f, "{} errors:\n  ", self.0.len())?;
        }
        list(f, self.0)
    }
}

#[cfg(test)]
mod tests;

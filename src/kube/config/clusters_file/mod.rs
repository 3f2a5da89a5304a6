//! The clusters file: which clusters there are, and how to get into each. Text to checked values, with every error at once; no
//! file that it names has been read, and nobody asked. docs/clusters.md describes it for users.

mod auth_method;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use auth_method::{Method, Tls, TokenFrom};

use crate::bounded_file::read_bounded;
use crate::kube::config::clusters_file::auth_method::Reader;
use crate::kube::config::duration::positive_duration;
use crate::object::{ClusterId, Namespace};
use crate::text::{Quoted, is_shown, list};
use crate::yaml::{self, Fields, Place, Position, Problem, Problems, SyntaxError, TEXT_LIMIT};

/// The most clusters of one file.
pub(crate) const CLUSTER_LIMIT: usize = 100;
/// The longest label, in characters.
const LABEL_LIMIT: usize = 128;
/// Requests a second on average where the file does not say.
pub(crate) const DEFAULT_QPS: f64 = 20.0;
/// The smallest limit of requests a second: one in a quarter of an hour.
pub(crate) const MIN_QPS: f64 = 0.001;
/// Requests at once where the file does not say.
pub(crate) const DEFAULT_BURST: u32 = 40;

/// What a clusters file says.
#[derive(Debug)]
pub struct ClustersFile {
    /// At least one, in the order of the file; their ids are unique.
    pub(crate) clusters: Vec<Entry>,
    /// The namespace of a reference that names a cluster and no namespace.
    pub(crate) default_namespace: Option<Namespace>,
    /// How often all is read besides the watches.
    pub(crate) resync_period: Option<Duration>,
}

/// One cluster.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What `.cluster` names.
    pub(crate) id: ClusterId,
    /// What people call it.
    pub(crate) labels: Labels,
    /// The way in.
    pub(crate) method: Method,
    /// Requests a second on average: positive and finite. None for no limit, which the file says with 0.
    pub(crate) qps: Option<f64>,
    /// Requests at once: at least 1.
    pub(crate) burst: u32,
    /// The bound on each phase of a request.
    pub(crate) timeout: Option<Duration>,
}

/// What people call a cluster: each at most 128 characters that show on one line.
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
    /// In parentheses after the id, with a space before; nothing where there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given: Vec<_> =
            [&self.name, &self.environment, &self.region].into_iter().flatten().map(String::as_str).collect();
        if given.is_empty() { Ok(()) } else { write!(f, " ({})", given.join(", ")) }
    }
}

/// Reads a clusters file.
///
/// # Errors
/// If it cannot be read, or as [`parse`].
pub(crate) fn load(path: &Path) -> Result<ClustersFile, Error> {
    let text = File::open(path).and_then(|file| read_bounded(file, TEXT_LIMIT));
    parse(&text.map_err(|cause| Error::Read { path: path.to_owned(), cause })?, path)
}

/// Reads the text of a clusters file, YAML or JSON. Relative paths in it are read against the folder of `path`.
///
/// # Errors
/// If it is no YAML; or everything that is wrong, missing or unknown, each with line, column and the id of its entry.
pub fn parse(text: &[u8], path: &Path) -> Result<ClustersFile, Error> {
    let document = yaml::parse(text).map_err(|cause| Error::Syntax { path: path.to_owned(), cause })?;
    let problems = Problems::default();
    let file = read(&Place::document(&document, &problems), path);
    match (file, problems.into_vec()) {
        (Some(file), problems) if problems.is_empty() => Ok(file),
        (_, problems) => Err(Error::Values { path: path.to_owned(), problems }),
    }
}

fn read(document: &Place<'_>, path: &Path) -> Option<ClustersFile> {
    let top = document.required().fields()?;
    top.only(&["clusters", "default_namespace", "resync_period"]);
    let list = top.get("clusters");
    let items = list.items();
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

fn entry(item: &Place<'_>, reader: &Reader, seen: &mut BTreeMap<ClusterId, Position>) -> Option<Entry> {
    let fields = item.required().fields()?;
    let given = fields.get("id");
    given.required();
    let fields = match given.string() {
        Some(id) => fields.named(&format!("id {}", Quoted(&id))),
        None => fields,
    };
    let id = parsed(&given, ClusterId::parse);
    if let Some(id) = &id
        && let Some(first) = seen.insert(id.clone(), given.at())
    {
        fields.get("id").report(format!("stands there twice, first at {first}"));
    }
    let (qps, burst) = limits(&fields);
    let labels = Labels {
        name: label(&fields.get("name")),
        environment: label(&fields.get("environment")),
        region: label(&fields.get("region")),
    };
    let timeout = time(&fields.get("timeout"));
    let method = reader.method(&fields);
    Some(Entry { id: id?, labels, method: method?, qps, burst, timeout })
}

fn limits(fields: &Fields<'_>) -> (Option<f64>, u32) {
    let place = fields.get("qps");
    let qps = place.number().unwrap_or(DEFAULT_QPS);
    if qps != 0.0 && qps < MIN_QPS {
        place.report(format!("must be 0, which is no limit, or {MIN_QPS} and more"));
    }
    let place = fields.get("burst");
    let burst = place.whole_number().map_or(Some(DEFAULT_BURST), |number| u32::try_from(number).ok());
    let burst = burst.filter(|burst| *burst > 0).unwrap_or_else(|| {
        place.report(format!("must be a whole number from 1 to {}", u32::MAX));
        DEFAULT_BURST
    });
    (Some(qps).filter(|qps| *qps > 0.0), burst)
}

fn label(place: &Place<'_>) -> Option<String> {
    let text = place.string()?;
    if text.chars().count() > LABEL_LIMIT || !text.chars().all(is_shown) {
        place.report(format!(
            "must be at most {LABEL_LIMIT} characters on one line, without control characters"
        ));
    }
    Some(text)
}

fn time(place: &Place<'_>) -> Option<Duration> {
    let text = place.string_such_as("30s")?;
    positive_duration(&text).map_err(|error| place.report(error)).ok()
}

/// What a text stands for, or none and the reason why it is wrong.
fn parsed<T, E: ToString>(place: &Place<'_>, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
    parse(&place.string()?).map_err(|error| place.report(error.to_string())).ok()
}

/// A clusters file that cannot be used.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is no YAML.
    Syntax {
        /// Its path.
        path: PathBuf,
        /// Where, and why.
        cause: SyntaxError,
    },
    /// It holds what is wrong, or lacks something.
    Values {
        /// Its path.
        path: PathBuf,
        /// All of it: at least one.
        problems: Vec<Problem>,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, cause } => {
                write!(f, "clusters file {} cannot be read: {cause}", path.display())
            }
            Self::Syntax { path, cause } => write!(f, "clusters file {}: {cause}", path.display()),
            Self::Values { path, problems } => {
                write!(f, "clusters file {}: ", path.display())?;
                if problems.len() > 1 {
                    write!(f, "{} errors:\n  ", problems.len())?;
                }
                list(f, problems)
            }
        }
    }
}

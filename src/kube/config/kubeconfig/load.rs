//! Which files are read, and how several become one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::kube::config::kubeconfig::entries::{File, Kubeconfig};
use crate::kube::config::kubeconfig::parse::parse;
use crate::kube::config::kubeconfig::{Entries, Error};
use crate::yaml::TEXT_LIMIT;

/// Who named the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// One file that must be there, as `--kubeconfig` names it.
    File(PathBuf),
    /// Files of which some may be missing: those of `KUBECONFIG`, or the one in the home folder. Empty names are passed over.
    List(Vec<PathBuf>),
}

impl Named {
    /// All of them.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match self {
            Self::File(path) => std::slice::from_ref(path),
            Self::List(paths) => paths,
        }
    }
}

/// Reads the files and merges them.
///
/// # Errors
/// If a file cannot be read or parsed, or none is there.
pub fn load(named: &Named) -> Result<Kubeconfig, Error> {
    let paths = match named {
        Named::File(path) => return Ok(merge(vec![read(path)?])),
        Named::List(paths) => paths,
    };
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for (index, path) in paths.iter().enumerate() {
        if path.as_os_str().is_empty() || paths[..index].contains(path) {
            continue;
        }
        match read(path) {
            Ok(file) => files.push(file),
            Err(Error::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                missing.push(path.clone())
            }
            Err(error) => return Err(error),
        }
    }
    if files.is_empty() { Err(Error::NoFile { missing }) } else { Ok(merge(files)) }
}

/// Makes one of several: of entries with the same name the first counts, whole, and so does the first current context.
/// Source: <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files>
pub fn merge(files: Vec<File>) -> Kubeconfig {
    let mut merged = Kubeconfig::default();
    for file in files {
        let (all, new) = (&mut merged.entries, file.entries);
        let Entries { current_context, clusters, users, contexts } = new;
        all.current_context = all.current_context.take().or(current_context);
        add(&mut all.clusters, clusters);
        add(&mut all.users, users);
        add(&mut all.contexts, contexts);
        merged.files.push(file.path);
    }
    merged
}

fn add<T>(all: &mut BTreeMap<String, T>, new: BTreeMap<String, T>) {
    for (name, entry) in new {
        all.entry(name).or_insert(entry);
    }
}

fn read(path: &Path) -> Result<File, Error> {
    parse(&read_text(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?, path)
}

/// Reads a file of YAML, up to a byte more than is parsed: that is told there.
///
/// # Errors
/// If it cannot be read.
pub fn read_text(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    // Room for all that is expected, so that no copy is left behind by growing.
    let expected = file.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(0));
    let mut text = Zeroizing::new(Vec::with_capacity(expected.min(TEXT_LIMIT) + 1));
    file.take(TEXT_LIMIT as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

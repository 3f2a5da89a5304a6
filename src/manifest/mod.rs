//! Reads manifests: files, directories and streams of Kubernetes objects in YAML or JSON, and the pod templates in them.
//!
//! It reads the same objects as `kubectl -f`: documents, and the items of a `List` or of a kustomize `ResourceList`. They keep
//! their positions, because what is wrong with a manifest is reported with file and line.

mod data;
pub(crate) mod edit;
mod template;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use data::{data, decode};
pub(crate) use template::{Template, has_prefix};

use crate::secret::read_bounded;
use crate::text::{Position, one_line};
use crate::yaml::{self, Node, SyntaxError};

/// The path that means the standard input.
const STDIN: &str = "-";
/// The maximum size of a file, in bytes. `yaml` has the same limit, and reports it with the file.
const FILE_LIMIT: usize = 64 * 1024 * 1024 + 1;
/// The longest kind or name in a message, in characters.
const NAME_LIMIT: usize = 300;
/// The maximum nesting of lists of objects.
const LIST_DEPTH: usize = 8;

/// A file with its documents.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// For messages.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) documents: Vec<Node>,
}

/// An object of a manifest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Object<'a> {
    /// The name of the file, for messages.
    pub(crate) file: &'a str,
    pub(crate) node: &'a Node,
    /// Such as `apps/v1`.
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
}

/// A position in a file, for messages: `app.yaml:12:5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) at: Position,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.at;
        write!(f, "{}:{line}:{column}", self.file)
    }
}

impl Manifest {
    pub(crate) fn parse(name: &str, text: String) -> Result<Self, Error> {
        let documents = yaml::parse_stream(text.as_bytes())
            .map_err(|cause| Error::Syntax { file: name.to_owned(), cause })?;
        Ok(Self { name: name.to_owned(), text, documents })
    }

    /// The objects, in the order of the file. A document without `kind` and `apiVersion` is not one.
    pub(crate) fn objects(&self) -> Vec<Object<'_>> {
        let mut objects = Vec::new();
        for document in &self.documents {
            push_objects(&self.name, document, LIST_DEPTH, &mut objects);
        }
        objects
    }
}

fn push_objects<'a>(file: &'a str, node: &'a Node, depth: usize, objects: &mut Vec<Object<'a>>) {
    let Some(object) = Object::new(file, node) else { return };
    match node.get("items") {
        Some(items) if object.kind.ends_with("List") && depth > 0 => {
            items.items().iter().for_each(|item| push_objects(file, item, depth - 1, objects));
        }
        _ => objects.push(object),
    }
}

impl<'a> Object<'a> {
    fn new(file: &'a str, node: &'a Node) -> Option<Self> {
        let text = |key| node.get(key).and_then(Node::text);
        Some(Self { file, node, api_version: text("apiVersion")?, kind: text("kind")? })
    }

    /// `None` means that the API server generates it (`generateName`), or that it is missing.
    pub(crate) fn name(&self) -> Option<&'a str> {
        self.node.find(&["metadata", "name"]).and_then(Node::text)
    }

    /// `None` means the namespace of the command that applies the manifest.
    pub(crate) fn namespace(&self) -> Option<&'a str> {
        self.node.find(&["metadata", "namespace"]).and_then(Node::text).filter(|name| !name.is_empty())
    }

    /// The API group; empty for the core group.
    pub(crate) fn group(&self) -> &'a str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    pub(crate) fn place(&self, node: &Node) -> Place<'a> {
        Place { file: self.file, at: node.at() }
    }
}

impl fmt::Display for Object<'_> {
    /// As kubectl names it: `Deployment/app`. On one line: the API server has not validated the name yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generated = || self.node.find(&["metadata", "generateName"]).and_then(Node::text);
        let name = self.name().or_else(generated).unwrap_or("(no name)");
        write!(f, "{}/{}", one_line(self.kind, NAME_LIMIT), one_line(name, NAME_LIMIT))
    }
}

/// Reads files, the `.yaml`, `.yml` and `.json` files of directories (like kubectl, not those of subdirectories), and the standard
/// input for `-`.
///
/// # Errors
/// The first file that cannot be read or parsed, a directory without manifests, and files without any object: a command before the
/// pipe may have failed.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    for path in paths {
        if path.as_os_str() == STDIN {
            let mut text = String::new();
            io::Read::read_to_string(&mut io::Read::take(io::stdin().lock(), FILE_LIMIT as u64), &mut text)
                .map_err(|cause| Error::Read { path: "the standard input".into(), cause })?;
            manifests.push(Manifest::parse("standard input", text)?);
        } else if path.is_dir() {
            let files = files_of(path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
            if files.is_empty() {
                return Err(Error::EmptyDirectory { path: path.clone() });
            }
            for file in files {
                manifests.push(read(&file)?);
            }
        } else {
            manifests.push(read(path)?);
        }
    }
    let mut documents = manifests.iter().flat_map(|manifest| &manifest.documents);
    if documents.any(|document| Object::new("", document).is_some()) {
        return Ok(manifests);
    }
    let names: Vec<_> = manifests.iter().map(|manifest| manifest.name.clone()).collect();
    Err(Error::NoObject {
        names: names.join(", "),
        is_stdin: paths.iter().any(|path| path.as_os_str() == STDIN),
    })
}

fn read(path: &Path) -> Result<Manifest, Error> {
    let unread = |cause| Error::Read { path: path.to_owned(), cause };
    let bytes = File::open(path).and_then(|file| read_bounded(file, FILE_LIMIT)).map_err(unread)?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|cause| unread(io::Error::other(cause)))?;
    Manifest::parse(&path.display().to_string(), text)
}

/// In alphabetical order.
fn files_of(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_manifest =
            path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
        if is_manifest && path.is_file() {
            let place = files.partition_point(|other| *other < path);
            files.insert(place, path);
        }
    }
    Ok(files)
}

/// Why manifests cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}: {cause}", path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("{}: this directory has no .yaml, .yml or .json file", path.display())]
    EmptyDirectory { path: PathBuf },
    #[error("{file}: {cause}")]
    Syntax { file: String, cause: SyntaxError },
    #[error(
        "{names}: contains no Kubernetes object (apiVersion and kind){}",
        if *is_stdin { ": the command before the pipe failed, or rendered nothing" } else { "" }
    )]
    NoObject { names: String, is_stdin: bool },
}

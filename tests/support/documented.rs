//! Manifests in the documentation: complete objects in fenced blocks of YAML.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The objects of one block, and the page that contains it.
pub(crate) struct Block {
    pub(crate) page: PathBuf,
    pub(crate) objects: Vec<Value>,
}

/// The blocks in README.md and in docs/ whose objects include a Deployment with podcreds. Parts of objects, and templates of Helm,
/// are not blocks of complete objects.
pub(crate) fn deployments_with_podcreds() -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    let mut directories = vec![root.join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("\n```yaml\n").skip(1) {
            let documents = yaml_serde::Deserializer::from_str(block.split("\n```").next().unwrap());
            let objects: Result<Vec<_>, _> = documents.map(Value::deserialize).collect();
            let objects = objects.unwrap_or_default();
            if objects.iter().all(|object| object["apiVersion"].is_string())
                && objects.iter().any(has_podcreds)
            {
                found.push(Block { page: page.clone(), objects });
            }
        }
    }
    found
}

fn has_podcreds(object: &Value) -> bool {
    let containers = object.pointer("/spec/template/spec/initContainers").and_then(Value::as_array);
    object["kind"] == "Deployment"
        && containers.is_some_and(|all| all.iter().any(|container| container["name"] == "podcreds"))
}

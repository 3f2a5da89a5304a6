//! Secrets of operators and charts, and the files that podcreds renders from them with few annotations. Each fixture is a
//! Secret that names its source and contains test values; docs/formats/secrets.md is the page for users.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[path = "secrets/cases.rs"]
mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{self, Sources};

use cases::CASES;

#[test]
fn every_secret_renders_to_the_files_in_the_table() {
    for case in CASES {
        for (format, expected) in case.files {
            let mut annotations = case.annotations.to_vec();
            annotations.push(("format", format));
            let files = render(case.fixture, &annotations)
                .unwrap_or_else(|error| panic!("{}, {annotations:?}: {error}", case.fixture));
            assert_eq!(files.len(), 1, "{}, {format}", case.fixture);
            let file = String::from_utf8(files.into_values().next().unwrap()).unwrap();
            assert_eq!(file, *expected, "{}, {annotations:?}", case.fixture);
        }
    }
}

/// With `.secret` alone, a Secret becomes a directory of files. If it has a `type`, the directory is a Service Binding.
#[test]
fn every_secret_becomes_files_byte_for_byte() {
    for name in fixtures() {
        let expected: BTreeMap<_, _> = fixture(&name)
            .string_data
            .into_iter()
            // Vault's whole response.
            .filter(|(key, _)| key != "_raw")
            .map(|(key, value)| (format!("db/{key}"), value.into_bytes()))
            .collect();
        assert_eq!(render(&name, &[]).unwrap(), expected, "{name}");
    }
}

#[test]
fn every_fixture_is_in_the_table_and_its_source_on_the_page() {
    let page = fs::read_to_string(root().join("docs/formats/secrets.md")).unwrap();
    let in_table: BTreeSet<_> = CASES.iter().map(|case| case.fixture.to_owned()).collect();
    assert_eq!(in_table, fixtures().into_iter().collect());
    for name in in_table {
        let text = fs::read_to_string(path(&name)).unwrap();
        let source = text.lines().next().and_then(|line| line.strip_prefix("# Source: ")).unwrap();
        assert!(source.starts_with("https://") && page.contains(source), "{name}: {source}");
    }
}

/// The fields of a manifest that the tests use.
#[derive(Deserialize)]
struct Secret {
    metadata: Metadata,
    #[serde(rename = "stringData")]
    string_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn path(name: &str) -> PathBuf {
    root().join("tests/secrets/fixtures").join(name).with_extension("yaml")
}

fn fixture(name: &str) -> Secret {
    yaml_serde::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// The names of all fixtures.
fn fixtures() -> Vec<String> {
    let directory = fs::read_dir(root().join("tests/secrets/fixtures")).unwrap();
    directory.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The files of the credential `db` of this Secret and these annotations.
fn render(name: &str, annotations: &[(&str, &str)]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let Secret { metadata, string_data } = fixture(name);
    let namespace = Namespace::parse(&metadata.namespace).unwrap();
    let annotations = annotations
        .iter()
        .chain(&[("secret", metadata.name.as_str())])
        .map(|(key, value)| (format!("{DEFAULT_PREFIX}/db.{key}"), (*value).to_owned()))
        .collect();
    let credentials = parse(&annotations, DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone()))
        .map_err(|errors| errors.to_string())?;
    let secret = ObjectRef::new(Kind::Secret, namespace, &metadata.name).unwrap();
    let data = string_data.into_iter().map(|(key, value)| (key, value.as_str().into())).collect();
    let sources = Sources::from([(secret, Some(data))]);
    let files = render::render(&credentials, &sources).map_err(|e| e.to_string())?.bundle;
    Ok(files.into_iter().map(|(path, file)| (path.to_string(), file.content.expose().to_vec())).collect())
}

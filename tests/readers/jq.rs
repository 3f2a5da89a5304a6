//! jq reads the files of format `json`, and selects the same values inside JSON as pointers in `.keys`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::cases::{self, Case};
use super::support::run::run;
use super::support::skip::require;
use super::{Base64, Files, TIMEOUT, find, reader, render};

/// Prints each string, number and `true` of a document with its pointer: an object of values in base64.
const SCALARS: &str = r#"[paths(scalars) as $p | {
    key: ($p | map("/" + (tostring | gsub("~"; "~0") | gsub("/"; "~1"))) | join("")),
    value: (getpath($p) | tostring | @base64)
}] | from_entries"#;

#[test]
fn json_is_read_by_jq() {
    let Some(jq) = require("jq", find("jq")) else { return };
    let mut read = Command::new("sh");
    read.arg(reader("read_jq.sh")).env("JQ", jq);
    Files::write("json", &[cases::odd_names()]).read_by(read, &["jq"]);
}

#[test]
fn json_pointers_select_what_jq_selects() {
    let Some(jq) = require("jq", find("jq")) else { return };
    let mut values = Map::new();
    for case in cases::values().into_iter().filter(|case| case.fields["VALUE"].len() < 1000).take(200) {
        values.insert(format!("{}~/% é,?", case.name), json!([case.fields["VALUE"]]));
    }
    let document = json!({"values": values, "port": 5432, "tls": true, "": {"": "empty names"}});
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("document.json");
    fs::write(&file, document.to_string()).unwrap();
    let mut read = Command::new(jq);
    read.arg("-c").arg(SCALARS).arg(&file);
    let finished = run(read, TIMEOUT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let selected: BTreeMap<String, Base64> = serde_json::from_slice(&finished.stdout).unwrap();
    assert!(selected.len() > 100, "{}", selected.len());

    let encode = |pointer: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'~');
        let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
        pointer.bytes().map(encode).collect::<String>()
    };
    let entry = |(index, pointer): (usize, &String)| format!("f{index}=document#{}", encode(pointer));
    let keys: Vec<_> = selected.keys().enumerate().map(entry).collect();
    let case =
        Case { name: "pointers".to_owned(), fields: [("document".to_owned(), document.to_string())].into() };
    let (_, written) = render(&[("format", "json"), ("keys", &keys.join(","))], &case).unwrap();
    let written: BTreeMap<String, Value> = serde_json::from_slice(&written).unwrap();
    for (index, (pointer, expected)) in selected.iter().enumerate() {
        let found = written[&format!("f{index}")].as_str().unwrap();
        assert_eq!(found.as_bytes(), expected.0, "{pointer}");
    }
}

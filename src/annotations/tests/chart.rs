//! The annotation keys that the Helm chart accepts.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::annotations::keys::KEYS;

const SCHEMA: &str = include_str!("../../../deploy/chart/values.schema.json");

#[test]
fn the_schema_of_the_helm_chart_has_every_annotation_key() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let credentials = schema["properties"]["credentials"]["patternProperties"].as_object().unwrap();
    let properties = credentials.values().next().unwrap()["properties"].as_object().unwrap();
    let accepted: BTreeSet<_> = properties.keys().map(String::as_str).collect();
    assert_eq!(accepted, KEYS.iter().map(|(key, _)| *key).collect());
}

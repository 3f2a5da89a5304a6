//! Prometheus' own tools read the metrics, and `deploy/monitoring` is what they and Grafana need.

mod alerts;
mod dashboard;
pub(crate) mod scrape;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::health::Asked;
use crate::support::health::get;
use crate::support::run::run_on;
use crate::support::skip::require;
use crate::{HANGS, Scene, assert_code};

const RULES: &str = include_str!("../../deploy/monitoring/prometheusrule.yaml");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
const PAGE: &str = include_str!("../../docs/monitoring.md");

/// A program of Debian's package `prometheus`.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    require(name, found)
}

fn yaml(text: &str) -> Value {
    yaml_serde::from_str(text).unwrap()
}

/// The rules as Prometheus reads them, made by the command of the page.
fn plain_rules() -> String {
    let script = "sed -n '1,/^spec:/d; s/^  //p'";
    assert!(
        PAGE.contains(&format!("{script} deploy/monitoring/prometheusrule.yaml")),
        "the page shows the command"
    );
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/monitoring/prometheusrule.yaml");
    let made = Command::new("sh").args(["-c", &format!("{script} '{file}'")]).output().unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    assert_eq!(yaml(&text), yaml(RULES)["spec"]);
    text
}

/// All rules of all groups.
fn rules() -> Vec<Value> {
    let groups = yaml(RULES)["spec"]["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The metrics that a text names.
fn names(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let is_metric = |word: &&str| {
        ["podcreds_", "process_", "source:"].iter().any(|prefix| word.starts_with(prefix))
            && !word.ends_with('_')
    };
    words.filter(is_metric).collect()
}

#[test]
fn promtool_accepts_the_metrics() {
    let Some(promtool) = tool("promtool") else { return };
    let asked = Asked::ready(Scene::plain(), &[]);
    asked.scene.server.put_secret("prod", "db", &[("tls.crt", scrape::certificate(90).as_bytes())]);
    let has = |metric: &str| asked.health.metrics().all(metric).count() == 1;
    asked.waits("a source is served", || has("podcreds_source_info"));
    asked.waits("a certificate is served", || has("podcreds_certificate_expiry_timestamp_seconds"));
    let response = get(asked.health.address, "/metrics");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("metrics");
    fs::write(&file, response.split_once("\r\n\r\n").unwrap().1).unwrap();
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]);
    let checked = run_on(command, File::open(&file).unwrap(), HANGS);
    assert_code(&checked, 0);
    assert_eq!(checked.stderr, "");
}

#[test]
fn rules_dashboard_and_page_name_metrics_that_exist() {
    let source = include_str!("../../src/telemetry/metrics.rs");
    let recorded: Vec<_> =
        rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    for text in [RULES, DASHBOARD, PAGE] {
        let found = names(text);
        assert!(found.len() > 5, "{found:?}");
        for name in found {
            // The buckets of a histogram have the family's name with an ending.
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            let exists = source.contains(&format!("\"{family}\"")) || recorded.iter().any(|it| it == name);
            assert!(exists, "{name}");
        }
    }
}

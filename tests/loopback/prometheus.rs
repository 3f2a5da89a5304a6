//! Prometheus' own tool reads the metrics, and the alert rules of `docs/sidecar.md` fire when they should.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use crate::health::Asked;
use crate::support::health::get;
use crate::support::run::{run, run_on};
use crate::support::skip::require;
use crate::{HANGS, Scene, assert_code};

const PAGE: &str = include_str!("../../docs/sidecar.md");

/// The tool of Debian's package `prometheus`.
fn promtool() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("promtool")).find(|path| path.is_file());
    require("promtool", found)
}

#[test]
fn promtool_accepts_the_metrics() {
    let Some(promtool) = promtool() else { return };
    let asked = Asked::ready(Scene::plain(), &[]);
    asked.waits("a source is served", || asked.health.metrics().all("podcreds_source_info").count() == 1);
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
fn the_alert_on_versions_fires_only_while_pods_serve_different_ones() {
    let Some(promtool) = promtool() else { return };
    let section = PAGE.split("### Alert rules").nth(1).unwrap().split("\n## ").next().unwrap();
    let rules: String =
        section.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yaml"), rules).unwrap();
    let series = |pod: &str, secret: &str, version: &str, values: &str| {
        format!(
            "    - series: 'podcreds_source_info{{instance=\"{pod}\",kind=\"Secret\",namespace=\"prod\",name=\"{secret}\",resource_version=\"{version}\"}}'\n      values: '{values}'\n"
        )
    };
    // `a` rotates in both pods, `b` in one: the other pod was cut off.
    let series = [
        series("app-0", "a", "1", "1 1 _x30"),
        series("app-0", "a", "2", "_ _ 1x30"),
        series("app-1", "a", "1", "1 1 1 _x30"),
        series("app-1", "a", "2", "_ _ _ 1x30"),
        series("app-0", "b", "1", "1 1 _x30"),
        series("app-0", "b", "2", "_ _ 1x30"),
        series("app-1", "b", "1", "1x32"),
    ];
    let tests = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n{}  alert_rule_test:\n\
         \x20 - {{eval_time: 10m, alertname: PodcredsVersionsDiffer, exp_alerts: []}}\n\
         \x20 - eval_time: 25m\n    alertname: PodcredsVersionsDiffer\n    exp_alerts:\n\
         \x20   - exp_labels: {{kind: Secret, namespace: prod, name: b}}\n\
         \x20     exp_annotations: {{summary: Pods serve different versions of Secret prod/b}}\n",
        series.concat()
    );
    fs::write(directory.path().join("tests.yaml"), tests).unwrap();
    for args in [["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]] {
        let mut command = Command::new(&promtool);
        command.args(args).current_dir(directory.path());
        let finished = run(command, HANGS);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout_text(), finished.stderr);
    }
}

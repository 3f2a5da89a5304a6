//! The alert rules, on the series of `tests/monitoring/alerts.yaml`.

use std::fs;
use std::process::Command;

use crate::HANGS;
use crate::prometheus::{PAGE, plain_rules, rules, tool, yaml};
use crate::support::run::run;

const TESTS: &str = include_str!("../../monitoring/alerts.yaml");

/// The address of the page in the rules.
const RUNBOOKS: &str = "https://github.com/podcreds/podcreds/blob/main/docs/monitoring.md#";

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let Some(promtool) = tool("promtool") else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yaml"), plain_rules()).unwrap();
    fs::write(directory.path().join("alerts.yaml"), TESTS).unwrap();
    for args in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]] {
        let mut command = Command::new(&promtool);
        command.args(args).current_dir(directory.path());
        let finished = run(command, HANGS);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout_text(), finished.stderr);
    }
    let tests = yaml(TESTS);
    let cases = tests["tests"].as_array().unwrap().iter();
    let cases: Vec<_> =
        cases.flat_map(|test| test["alert_rule_test"].as_array().cloned().unwrap_or_default()).collect();
    for rule in rules() {
        let Some(alert) = rule["alert"].as_str() else { continue };
        for fires in [true, false] {
            let is_case = |case: &&serde_json::Value| {
                let expected = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                case["alertname"] == alert && expected == fires
            };
            assert!(cases.iter().any(|case| is_case(&case)), "alerts.yaml: {alert}, fires: {fires}");
        }
    }
}

#[test]
fn each_alert_has_a_severity_texts_and_a_runbook_in_the_page() {
    let mut count = 0;
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let alert = rule["alert"].as_str().unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["info", "warning", "critical"].contains(&severity), "{alert}: {severity}");
        let annotation =
            |name: &str| rule["annotations"][name].as_str().unwrap_or_else(|| panic!("{alert}: {name}"));
        assert!(!annotation("summary").contains("{{") && !annotation("description").is_empty());
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOKS}{}", alert.to_lowercase()));
        let section =
            PAGE.split(&format!("\n### {alert}\n")).nth(1).unwrap_or_else(|| panic!("{alert}: no section"));
        let section = section.split("\n### ").next().unwrap();
        for part in ["**Means:**", "**Look at:**", "**Do:**"] {
            assert!(section.contains(part), "{alert}: {part}");
        }
        count += 1;
    }
    assert_eq!(PAGE.matches("\n### Podcreds").count(), count, "the page has no other alerts");
}

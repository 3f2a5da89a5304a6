//! The fields of the dashboard that Grafana needs to provision it.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use serde_json::Value;

use crate::HANGS;
use crate::prometheus::DASHBOARD;
use crate::support::run::run;
use crate::support::skip::require;

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().unwrap().clone()
}

/// Each PromQL expression, with the variables replaced.
pub(super) fn expressions() -> Vec<String> {
    let targets =
        panels().into_iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let replaced = |text: &str| {
        text.replace("$namespace", ".*").replace("$workload", ".*").replace("$__rate_interval", "1m")
    };
    targets.map(|target| replaced(target["expr"].as_str().unwrap())).collect()
}

#[test]
fn a_dashboard_can_be_provisioned_with_any_data_source() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["uid"], &dashboard["title"]), (&"podcreds".into(), &"podcreds".into()));
    assert!(dashboard.get("id").is_none(), "Grafana assigns it");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "namespace", "workload"]);
    assert_eq!((&variables[0]["type"], &variables[0]["query"]), (&"datasource".into(), &"prometheus".into()));
    // No data source but that of the variable.
    assert_eq!(
        DASHBOARD.matches("\"uid\":").count() - 1,
        DASHBOARD.matches("\"uid\": \"${datasource}\"").count()
    );
    for panel in panels().iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let references: BTreeSet<_> =
            targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!((references.len(), targets.is_empty()), (targets.len(), false), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            assert!(
                expression.contains("namespace=~\"$namespace\", workload=~\"$workload\""),
                "{expression}"
            );
        }
    }
}

#[test]
fn the_dashboard_is_valid_by_the_schema_of_grafana() {
    let variable = "PODCREDS_TEST_GRAFANA";
    let program = env::var_os(variable).filter(|path| !path.is_empty());
    let Some(program) = require(&format!("{variable}, the program of tests/monitoring/grafana,"), program)
    else {
        return;
    };
    let mut command = Command::new(program);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/monitoring/dashboard.json"));
    let finished = run(command, HANGS);
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout_text(), finished.stderr);
    assert_eq!(finished.stdout_text(), format!("{} panels and rows\n", panels().len()));
}

#[test]
fn panels_do_not_overlap() {
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} at {cell:?}", panel["title"]);
        }
    }
}

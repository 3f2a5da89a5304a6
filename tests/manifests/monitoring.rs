//! `deploy/monitoring`: what `kubectl apply -k` would send.

use super::{MONITORING, documents, render, root};

#[test]
fn the_objects_are_the_monitor_the_rules_and_the_dashboard_in_a_config_map() {
    let Some(rendered) = render(MONITORING) else { return };
    let documents = documents(&rendered);
    let mut kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ConfigMap", "PodMonitor", "PrometheusRule"]);
    for document in &documents {
        let metadata = &document["metadata"];
        assert!(metadata.get("namespace").is_none(), "kubectl sets it");
        assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "podcreds");
        if document["kind"] == "ConfigMap" {
            assert_eq!(metadata["labels"]["grafana_dashboard"], "1");
            let file = std::fs::read_to_string(root().join(MONITORING).join("dashboard.json")).unwrap();
            assert_eq!(document["data"]["dashboard.json"], file);
        }
    }
}

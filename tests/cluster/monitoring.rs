//! The objects of `deploy/monitoring`, by the schema of the Prometheus operator.

use std::env;
use std::path::PathBuf;

use serde_json::Value;

use crate::examples;
use crate::kubectl::{Namespace, PATIENCE};
use crate::requirements::since;
use crate::support::run::poll_until;
use crate::support::skip::require;

/// The resources that the test needs, in the API group `monitoring.coreos.com`.
const RESOURCES: [&str; 2] = ["podmonitors", "prometheusrules"];

/// The custom resource definitions of the operator, while the test uses them.
struct Definitions<'a> {
    namespace: &'a Namespace,
    /// Those that the cluster did not have before.
    created: Vec<String>,
}

impl<'a> Definitions<'a> {
    fn install(namespace: &'a Namespace, directory: &str) -> Self {
        let existing = namespace.kubectl(&["get", "crd", "-o", "name"]);
        let mut definitions = Self { namespace, created: Vec::new() };
        for resource in RESOURCES {
            let name = format!("{resource}.monitoring.coreos.com");
            if !existing.contains(&name) {
                let file = format!("{directory}/monitoring.coreos.com_{resource}.yaml");
                // It is too large for the annotation of `kubectl apply`.
                namespace.kubectl(&["create", "-f", &file]);
                definitions.created.push(name);
            }
        }
        definitions
    }
}

impl Drop for Definitions<'_> {
    fn drop(&mut self) {
        for name in &self.created {
            self.namespace.kubectl(&["delete", "crd", name]);
        }
    }
}

/// Unknown fields are an error.
fn create(namespace: &Namespace, object: &Value) -> Result<String, String> {
    let resource = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
    let (api, name) = (object["apiVersion"].as_str().unwrap(), namespace.name());
    let path = format!("/apis/{api}/namespaces/{name}/{resource}?fieldValidation=Strict");
    namespace.create_raw(&path, object)
}

#[test]
fn the_api_server_accepts_the_monitor_and_the_rules() {
    if since(27, "strict field validation").is_none() {
        return;
    }
    let variable = "PODCREDS_TEST_MONITORING_CRDS";
    let directory = require(
        &format!("{variable}, a directory with the definitions of the Prometheus operator,"),
        env::var(variable).ok().filter(|path| PathBuf::from(path).is_dir()),
    );
    let Some(directory) = directory else { return };
    let Some(namespace) = Namespace::new() else { return };
    let _definitions = Definitions::install(&namespace, &directory);
    let objects = examples::kustomize("deploy/monitoring");
    let is_custom = |object: &&Value| object["apiVersion"] == "monitoring.coreos.com/v1";
    let custom: Vec<_> = objects.iter().filter(is_custom).collect();
    let kinds: Vec<_> = custom.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["PodMonitor", "PrometheusRule"]);
    for object in custom {
        // A definition is served a little after it was created.
        let mut created = Err(String::new());
        poll_until(PATIENCE, &format!("{} is served", object["kind"]), || {
            created = create(&namespace, object);
            !created
                .as_ref()
                .is_err_and(|error| error.contains("NotFound") || error.contains("could not find"))
        });
        created.unwrap();
        let mut misspelt = object.clone();
        misspelt["metadata"]["name"] = "misspelt".into();
        misspelt["spec"]["rulez"] = true.into();
        let error = create(&namespace, &misspelt).unwrap_err();
        assert!(error.contains("unknown field \"spec.rulez\""), "{error}");
    }
}

//! The objects of `deploy/injection`, limited to the namespaces of one test.

use std::fs;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::examples;
use crate::kubectl::{Namespace, PATIENCE};
use crate::support::run::{Finished, poll_until, run};

/// A pod with the label, as an application team would write it. Its name is generated.
pub(super) fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "app-",
            "labels": {"podcreds.io/inject": "true"},
            "annotations": {"podcreds.io/db.secret": "db"},
        },
        "spec": {
            "serviceAccountName": "app",
            "containers": [{"name": "app", "image": "none"}],
        },
    })
}

pub(super) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    find(pod, "containers", name)
}

pub(super) fn init_container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    find(pod, "initContainers", name)
}

fn find<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    let mut containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

/// The policies, with names of their own, for a namespace with the service account `app`. Dropping it deletes them.
pub(super) struct Policies {
    pub(super) namespace: Namespace,
    /// The namespace of the parameters.
    system: Namespace,
    /// Policies and bindings, as `KIND/NAME`.
    created: Vec<String>,
}

impl Policies {
    /// Installs the policies for a new namespace and for these, and waits until the API server applies them. `None` means that
    /// the test has no cluster.
    pub(super) fn install(more: &[&str]) -> Option<Self> {
        Some(Self::install_for(Namespace::new()?, &examples::kustomize("deploy/injection"), more))
    }

    /// Installs these objects of `deploy/injection` for this namespace and for more of them.
    pub(super) fn install_for(namespace: Namespace, objects: &[Value], more: &[&str]) -> Self {
        let system = Namespace::new().expect("the other namespace is in the cluster");
        let mut policies = Self { namespace, system, created: Vec::new() };
        let namespaces = json!([&[policies.namespace.name()], more].concat());
        let mut items = Vec::new();
        for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
            let mut object = object.clone();
            if object["kind"] == "ConfigMap" {
                object["metadata"]["namespace"] = policies.system.name().into();
            } else {
                policies.rename(&mut object["metadata"]["name"]);
                let spec = &mut object["spec"];
                if spec["policyName"].is_string() {
                    policies.rename(&mut spec["policyName"]);
                    if !spec["paramRef"].is_null() {
                        assert_eq!(spec["paramRef"]["namespace"], "podcreds-system");
                        spec["paramRef"]["namespace"] = policies.system.name().into();
                    }
                    let selector =
                        spec["matchResources"]["namespaceSelector"]["matchExpressions"].as_array_mut();
                    selector.unwrap().push(
                        json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}),
                    );
                }
            }
            items.push(object);
        }
        policies.apply(items);
        policies.wait_until_applied();
        policies
    }

    fn apply(&mut self, objects: Vec<Value>) {
        for object in objects.iter().filter(|object| object["metadata"]["namespace"].is_null()) {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            self.created.push(format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])));
        }
        self.namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}));
    }

    /// Appends the namespace's name, so that tests can run in parallel.
    fn rename(&self, name: &mut Value) {
        *name = format!("{}-{}", name.as_str().unwrap(), self.namespace.name()).into();
    }

    /// A policy takes effect about a second after its creation.
    fn wait_until_applied(&self) {
        poll_until(PATIENCE, "injection and warnings", || {
            let mut taken = pod();
            taken["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8081}]);
            let (admitted, warnings) = self.create(&taken).unwrap();
            !admitted["spec"]["initContainers"].is_null() && warnings.contains("port 8081")
        });
        poll_until(PATIENCE, "the check of annotations", || {
            let mut wrong = pod();
            wrong["metadata"]["annotations"]["inject.podcreds.io/mode"] = "wrong".into();
            self.create(&wrong).is_err()
        });
    }

    fn kubectl(&self, args: &[&str], object: &Value) -> Finished {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), object.to_string()).unwrap();
        let mut command = self.namespace.command();
        command.args(args).args(["-f", file.path().to_str().unwrap()]);
        run(command, PATIENCE)
    }

    /// Creates an object by a server-side dry run, in the test's namespace unless it names one: returns it as it would be
    /// stored, with kubectl's warnings, or kubectl's error.
    pub(super) fn create(&self, object: &Value) -> Result<(Value, String), String> {
        let mut object = object.clone();
        if object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = self.namespace.name().into();
        }
        let finished = self.kubectl(&["create", "--dry-run=server", "-o", "json"], &object);
        if finished.code != Some(0) {
            return Err(finished.stderr);
        }
        Ok((serde_json::from_str(&finished.stdout_text()).unwrap(), finished.stderr))
    }

    /// The pod that the API server would store.
    pub(super) fn admit(&self, pod: &Value) -> Value {
        self.create(pod).unwrap().0
    }

    /// The pod that the API server would store once it has seen a change of the parameters or the namespace.
    pub(super) fn admit_when(&self, pod: &Value, changed: impl Fn(&Value) -> bool) -> Value {
        let mut admitted = Value::Null;
        poll_until(PATIENCE, "the API server sees the change", || {
            admitted = self.admit(pod);
            changed(&admitted)
        });
        admitted
    }

    /// Sets these parameters; null removes one.
    pub(super) fn set_parameters(&self, data: &Value) {
        let patch = json!({"data": data}).to_string();
        self.system.kubectl(&["patch", "configmap", "podcreds-injection", "--patch", &patch]);
    }

    pub(super) fn delete_parameters(&self) {
        self.system.kubectl(&["delete", "configmap", "podcreds-injection"]);
    }

    pub(super) fn label_namespace(&self, label: &str) {
        self.namespace.kubectl(&["label", "namespace", self.namespace.name(), label]);
    }

    /// Adds a policy that labels pods, and waits until the API server applies it.
    pub(super) fn add_label(&mut self, name: &str) {
        let api = "admissionregistration.k8s.io/v1";
        let mut metadata = json!({"name": name});
        self.rename(&mut metadata["name"]);
        let pods = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
        let expression =
            r#"[JSONPatch{op: "add", path: "/metadata/labels/example.com~1added", value: "true"}]"#;
        let condition = r#"!("example.com/added" in object.metadata.labels)"#;
        let policy = json!({
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "matchConstraints": {"resourceRules": pods},
                "matchConditions": [{"name": "once", "expression": condition}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
            },
        });
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace.name()}});
        let binding = json!({
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": metadata["name"], "matchResources": {"namespaceSelector": selector}},
        });
        self.apply(vec![policy, binding]);
        self.admit_when(&pod(), |pod| pod["metadata"]["labels"]["example.com/added"] == "true");
    }

    pub(super) fn replace_ephemeral_containers(&self, pod: &str, object: &Value) {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/ephemeralcontainers", self.namespace.name());
        let finished = self.kubectl(&["replace", "--raw", &path], object);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        let mut delete = self.namespace.command();
        delete.args(["delete", "--wait=false", "--ignore-not-found"]).args(&self.created);
        let _ = delete.output();
    }
}

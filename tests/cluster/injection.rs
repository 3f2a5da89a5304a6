//! `deploy/injection` on a real API server: which pods get podcreds, what exactly they get, and what kubectl shows otherwise.
//!
//! Most tests create pods by a server-side dry run, which passes all of admission. [`in_pods`] starts injected pods.

#[path = "injection/in_pods.rs"]
mod in_pods;
#[path = "injection/inject.rs"]
mod inject;
#[path = "injection/messages.rs"]
mod messages;
#[path = "injection/policies.rs"]
mod policies;

use serde_json::{Value, json};

use crate::examples;
use crate::kubectl::Namespace;
use crate::requirements::since;
use policies::{Policies, container, init_container, pod};

fn policies() -> Option<Policies> {
    since(36, "MutatingAdmissionPolicies")?;
    Policies::install(&[])
}

/// A container of the pod that the API server would store.
fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers.map(|container| container["name"].as_str().unwrap().to_owned()).collect()
}

/// The mounts of a container, without that of the service account's token.
fn mounts(container: &Value) -> Vec<Value> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    mounts.filter(|mount| mount["mountPath"] != TOKEN).cloned().collect()
}

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn has_token(container: &Value) -> bool {
    container["volumeMounts"].as_array().into_iter().flatten().any(|mount| mount["mountPath"] == TOKEN)
}

/// Whether `actual` has all fields of `expected`; lists must have the same length.
fn includes(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| actual.get(key).is_some_and(|found| includes(found, value)))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| includes(a, e))
        }
        _ => actual == expected,
    }
}

fn read_only_mount() -> Value {
    json!({"name": "podcreds", "mountPath": "/podcreds", "readOnly": true})
}

/// The pod with this annotation.
fn annotated(key: &str, value: &str) -> Value {
    let mut pod = pod();
    pod["metadata"]["annotations"][key] = value.into();
    pod
}

#[test]
fn a_labeled_pod_gets_the_container_of_the_native_sidecar_example() {
    let Some(policies) = policies() else { return };
    let mut example = examples::kustomize("deploy/native-sidecar");
    let example = &mut examples::find(&mut example, "Deployment")["spec"]["template"]["spec"];
    let mut expected = example["initContainers"][0].take();
    let mounts_of_example = expected.as_object_mut().unwrap().remove("volumeMounts").unwrap();
    // For a different path or port, podcreds reads these variables.
    let env = expected["env"].as_array_mut().unwrap();
    env.push(json!({"name": "PODCREDS_VOLUME", "value": "/podcreds"}));
    env.push(json!({"name": "PODCREDS_LISTEN", "value": ":8081"}));
    // In the example, these are fields of the pod.
    expected["securityContext"]["runAsNonRoot"] = true.into();
    expected["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});

    let injected = policies.admit(&pod());
    let podcreds = &injected["spec"]["initContainers"][0];
    assert!(includes(podcreds, &expected), "{podcreds:#}\n{expected:#}");
    assert_eq!(json!(mounts(podcreds)), mounts_of_example);
    assert!(podcreds["securityContext"]["runAsUser"].is_null(), "the image has a user");
    assert_eq!(names(&injected, "initContainers"), ["podcreds"]);
    assert_eq!(names(&injected, "containers"), ["app"]);
    assert_eq!(mounts(container(&injected, "app")), [read_only_mount()]);
    let volumes = injected["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == "podcreds").unwrap();
    assert_eq!(*volume, example["volumes"][0]);
    assert_eq!(injected["spec"]["securityContext"], json!({}), "the pod's own fields stay");
}

#[test]
fn the_service_account_token_is_mounted_into_the_injected_container() {
    let Some(policies) = policies() else { return };
    assert!(has_token(init_container(&policies.admit(&pod()), "podcreds")));
    let mut without = pod();
    without["spec"]["automountServiceAccountToken"] = false.into();
    let (injected, warnings) = policies.create(&without).unwrap();
    assert!(!has_token(init_container(&injected, "podcreds")), "the pod's author decides");
    assert!(warnings.contains("set automountServiceAccountToken: true"), "{warnings}");
}

#[test]
fn init_containers_volumes_and_mounts_of_the_pod_stay() {
    let Some(policies) = policies() else { return };
    let mount = |name: &str, path: &str| json!([{"name": name, "mountPath": path}]);
    let with = |name: &str, mounts: Value| json!({"name": name, "image": "none", "volumeMounts": mounts});
    let mut pod = pod();
    pod["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    pod["spec"]["initContainers"] = json!([with("setup", mount("data", "/data")), with("bare", json!([]))]);
    pod["spec"]["containers"] =
        json!([with("app", mount("data", "/data")), with("taken", mount("data", "/podcreds"))]);
    let injected = policies.admit(&pod);
    assert_eq!(names(&injected, "initContainers"), ["podcreds", "setup", "bare"]);
    let data = json!({"name": "data", "mountPath": "/data"});
    for list in ["setup", "bare"] {
        let expected = if list == "setup" { vec![data.clone()] } else { vec![] };
        let expected = [expected, vec![read_only_mount()]].concat();
        assert_eq!(mounts(init_container(&injected, list)), expected, "{list}");
    }
    assert_eq!(mounts(container(&injected, "app")), [data, read_only_mount()]);
    let taken = json!({"name": "data", "mountPath": "/podcreds"});
    assert_eq!(mounts(container(&injected, "taken")), [taken], "something else is at that path");
}

#[test]
fn a_volume_of_the_pod_named_podcreds_is_used_and_its_mounts_stay() {
    let Some(policies) = policies() else { return };
    let volume = json!({"name": "podcreds", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}});
    let mount = json!({"name": "podcreds", "mountPath": "/etc/db", "subPath": "db"});
    let mut pod = pod();
    pod["spec"]["volumes"] = json!([volume]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([mount]);
    let injected = policies.admit(&pod);
    let volumes = injected["spec"]["volumes"].as_array().unwrap();
    let named: Vec<_> = volumes.iter().filter(|volume| volume["name"] == "podcreds").collect();
    assert_eq!(named, [&volume]);
    assert_eq!(mounts(container(&injected, "app")), [mount]);
}

#[test]
fn only_the_named_containers_get_the_mount() {
    let Some(policies) = policies() else { return };
    let mut pod = annotated("inject.podcreds.io/containers", "app, setup");
    pod["spec"]["initContainers"] =
        json!([{"name": "first", "image": "none"}, {"name": "setup", "image": "none"}]);
    pod["spec"]["containers"] = json!([{"name": "proxy", "image": "none"}, {"name": "app", "image": "none"}]);
    let injected = policies.admit(&pod);
    assert_eq!(mounts(init_container(&injected, "first")), [Value::Null; 0]);
    assert_eq!(mounts(init_container(&injected, "setup")), [read_only_mount()]);
    assert_eq!(mounts(container(&injected, "proxy")), [Value::Null; 0]);
    assert_eq!(mounts(container(&injected, "app")), [read_only_mount()]);
}

#[test]
fn a_pod_is_injected_once() {
    let Some(mut policies) = policies() else { return };
    // A policy whose change makes the API server invoke the others again. Its name is last in the order.
    policies.add_label("zz");
    let injected = policies.admit(&pod());
    assert_eq!(injected["metadata"]["labels"]["example.com/added"], "true");
    assert_eq!(names(&injected, "initContainers"), ["podcreds"]);
    // The author of a manifest may have copied it from an injected pod.
    let copied = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "copied",
            "labels": injected["metadata"]["labels"],
            "annotations": injected["metadata"]["annotations"],
        },
        "spec": injected["spec"],
    });
    assert_eq!(policies.admit(&copied)["spec"], injected["spec"]);
}

#[test]
fn a_container_named_podcreds_is_left_alone() {
    let Some(policies) = policies() else { return };
    for list in ["initContainers", "containers"] {
        let mut pod = pod();
        let own = json!({"name": "podcreds", "image": "registry.example.com/podcreds", "args": ["init"]});
        let others = pod["spec"][list].as_array().cloned().unwrap_or_default();
        pod["spec"][list] = [vec![own], others].concat().into();
        let admitted = policies.admit(&pod);
        let named = |list| names(&admitted, list).iter().filter(|name| *name == "podcreds").count();
        assert_eq!(named("initContainers") + named("containers"), 1, "{list}");
        let own = &admitted["spec"][list][0];
        assert_eq!((&own["args"], mounts(own).len()), (&json!(["init"]), 0), "{list}");
        assert!(mounts(container(&admitted, "app")).is_empty(), "{list}");
    }
}

#[test]
fn a_pod_can_choose_an_ordinary_init_container() {
    let Some(policies) = policies() else { return };
    let injected = policies.admit(&annotated("inject.podcreds.io/mode", "init"));
    let podcreds = init_container(&injected, "podcreds");
    assert_eq!(podcreds["args"], json!(["init"]));
    for field in ["restartPolicy", "startupProbe", "livenessProbe", "ports"] {
        assert!(podcreds[field].is_null(), "{field}: {podcreds:#}");
    }
}

#[test]
fn parameters_change_what_is_injected() {
    let Some(policies) = policies() else { return };
    policies.set_parameters(&json!({
        "image": "registry.example.com/podcreds@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        "image-pull-policy": "Always",
        "mode": "init",
        "args": "--log-format=json\n\n--timeout=5m\n",
        "mount-path": "/run/credentials",
        "volume-size": "2Mi",
        "cpu-request": "20m",
        "memory-request": "17Mi",
        "cpu-limit": "",
        "memory-limit": "40Mi",
    }));
    let ready = |pod: &Value| init_container(pod, "podcreds")["args"][0] == "init";
    let injected = policies.admit_when(&pod(), ready);
    let podcreds = init_container(&injected, "podcreds");
    let expected = json!({
        "image": "registry.example.com/podcreds@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        "imagePullPolicy": "Always",
        "args": ["init", "--log-format=json", "--timeout=5m"],
        "resources": {"requests": {"cpu": "20m", "memory": "17Mi"}, "limits": {"memory": "40Mi"}},
    });
    assert!(includes(podcreds, &expected), "{podcreds:#}");
    assert!(podcreds["resources"]["limits"]["cpu"].is_null());
    let env = podcreds["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "PODCREDS_VOLUME", "value": "/run/credentials"})), "{env:?}");
    assert_eq!(mounts(podcreds), [json!({"name": "podcreds", "mountPath": "/run/credentials"})]);
    let mount = json!({"name": "podcreds", "mountPath": "/run/credentials", "readOnly": true});
    assert_eq!(mounts(container(&injected, "app")), [mount]);
    let volumes = injected["spec"]["volumes"].as_array().unwrap();
    assert!(
        volumes.contains(&json!({"name": "podcreds", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}}))
    );
}

#[test]
fn in_the_host_network_the_sidecar_has_a_port_of_the_node() {
    let Some(policies) = policies() else { return };
    let mut pod = annotated("inject.podcreds.io/port", "9095");
    pod["spec"]["hostNetwork"] = true.into();
    let injected = policies.admit(&pod);
    let podcreds = init_container(&injected, "podcreds");
    // With a host port, the scheduler keeps two such pods from one node.
    let port = json!([{"name": "health", "containerPort": 9095, "hostPort": 9095}]);
    assert!(includes(&podcreds["ports"], &port), "{podcreds:#}");
    let env = podcreds["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "PODCREDS_LISTEN", "value": ":9095"})), "{env:?}");
}

#[test]
fn podcreds_does_not_run_as_root_in_a_pod_of_root() {
    let Some(policies) = policies() else { return };
    let user_with = |user: u32| {
        let mut pod = pod();
        pod["spec"]["securityContext"] = json!({"runAsUser": user});
        let injected = policies.admit(&pod);
        init_container(&injected, "podcreds")["securityContext"]["runAsUser"].clone()
    };
    assert_eq!(user_with(0), 65532);
    assert_eq!(user_with(1000), Value::Null, "the container inherits the pod's user");
}

#[test]
fn an_injected_pod_passes_the_restricted_pod_security_standard() {
    let Some(policies) = policies() else { return };
    policies.label_namespace("pod-security.kubernetes.io/enforce=restricted");
    let mut pod = pod();
    let refused = policies.create(&pod).unwrap_err();
    assert!(refused.contains("violates PodSecurity") && !refused.contains("\"podcreds\""), "{refused}");
    pod["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(names(&policies.admit(&pod), "initContainers"), ["podcreds"]);
}

#[test]
fn only_labeled_pods_in_selected_namespaces_are_injected() {
    if since(36, "MutatingAdmissionPolicies").is_none() {
        return;
    }
    let Some(policies) = Policies::install(&["kube-system"]) else { return };
    let injected = |pod: &Value| !names(pod, "initContainers").is_empty();
    for label in [Value::Null, "false".into(), "yes".into()] {
        let mut pod = pod();
        pod["metadata"]["labels"]["podcreds.io/inject"] = label.clone();
        assert!(!injected(&policies.admit(&pod)), "{label}");
    }
    let mut in_kube_system = pod();
    in_kube_system["metadata"]["namespace"] = "kube-system".into();
    in_kube_system["spec"]["serviceAccountName"] = Value::Null;
    assert!(!injected(&policies.admit(&in_kube_system)));
    assert!(injected(&policies.admit(&pod())));
    policies.label_namespace("podcreds.io/inject=false");
    policies.admit_when(&pod(), |pod| !injected(pod));
}

/// The variant that the comment in `injection.yaml` describes.
#[test]
fn a_mirror_pod_stays_as_its_static_pod_is() {
    let Some(policies) = policies() else { return };
    let mut mirror = pod();
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "test".into();
    let spec = mirror["spec"].as_object_mut().unwrap();
    spec.remove("serviceAccountName");
    spec.insert("nodeName".to_owned(), "test".into());
    let (admitted, _) = policies.create(&mirror).unwrap();
    assert_eq!((names(&admitted, "initContainers").len(), &admitted["spec"]["volumes"]), (0, &Value::Null));
}

#[test]
fn a_binding_can_select_only_namespaces_with_a_label() {
    if since(36, "MutatingAdmissionPolicies").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let mut objects = examples::kustomize("deploy/injection");
    let binding = examples::find(&mut objects, "MutatingAdmissionPolicyBinding");
    let expression = &mut binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][1];
    *expression = json!({"key": "podcreds.io/inject", "operator": "In", "values": ["true"]});
    namespace.kubectl(&["label", "namespace", namespace.name(), "podcreds.io/inject=true"]);
    let policies = Policies::install_for(namespace, &objects, &[]);
    policies.label_namespace("podcreds.io/inject-");
    policies.admit_when(&pod(), |pod| names(pod, "initContainers").is_empty());
    let (_, warnings) = policies.create(&pod()).unwrap();
    let expected = format!("podcreds is not injected in namespace {}", policies.namespace.name());
    assert!(warnings.contains(&expected), "{warnings}");
}

#[test]
fn an_ephemeral_container_can_be_added_to_an_injected_pod() {
    let Some(policies) = policies() else { return };
    let mut object = pod();
    object["metadata"].as_object_mut().unwrap().remove("generateName");
    object["spec"]["nodeSelector"] = json!({"podcreds.io/no-such-node": "true"});
    policies.namespace.put("v1", "Pod", "debugged", object);
    let mut stored = policies.namespace.get("pod/debugged");
    let spec = stored["spec"].clone();
    // The scheduler may update the pod's status in the meantime.
    stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    stored["spec"]["ephemeralContainers"] =
        json!([{"name": "debugger", "image": "none", "targetContainerName": "app"}]);
    policies.replace_ephemeral_containers("debugged", &stored);
    let mut debugged = policies.namespace.get("pod/debugged")["spec"].take();
    let ephemeral = debugged.as_object_mut().unwrap().remove("ephemeralContainers").unwrap();
    assert_eq!(debugged, spec);
    assert_eq!(mounts(&ephemeral[0]), [Value::Null; 0]);
}

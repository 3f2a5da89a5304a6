//! What kubectl shows for a pod that is not injected, or not as its author expects.

use serde_json::{Value, json};

use super::policies::{Policies, pod};
use super::{annotated, has_token, init_container, names, policies};
use crate::examples;
use crate::kubectl::{Namespace, PATIENCE};
use crate::requirements::since;
use crate::support::run::{poll_until, run};

/// An object that creates pods from the template `pod`.
fn workload(kind: &str, pod: &Value) -> Value {
    let mut template = json!({"metadata": pod["metadata"], "spec": pod["spec"]});
    template["metadata"].as_object_mut().unwrap().remove("generateName");
    template["metadata"]["labels"]["app"] = "app".into();
    let selected = json!({"selector": {"matchLabels": {"app": "app"}}, "template": template});
    let mut once = template;
    once["spec"]["restartPolicy"] = "Never".into();
    let (api, spec) = match kind {
        "Deployment" | "DaemonSet" | "StatefulSet" => ("apps/v1", selected),
        "Job" => ("batch/v1", json!({"template": once})),
        _ => ("batch/v1", json!({"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": once}}})),
    };
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "app"}, "spec": spec})
}

const KINDS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"];

/// The warnings of podcreds that kubectl shows for an object.
fn warnings(policies: &Policies, object: &Value) -> Vec<String> {
    let (_, shown) = policies.create(object).unwrap_or_else(|error| panic!("{object:#}: {error}"));
    let ours = shown.lines().filter(|line| line.contains("podcreds-injection-warnings"));
    // Warning: Validation failed for ValidatingAdmissionPolicy '…' with binding '…': MESSAGE
    ours.map(|line| line.split_once("': ").unwrap().1.to_owned()).collect()
}

#[test]
fn kubectl_warns_about_annotations_without_the_label() {
    let Some(policies) = policies() else { return };
    let mut unlabeled = pod();
    unlabeled["metadata"]["labels"] = json!({"app": "app"});
    let expected = "the pod has annotations podcreds.io/..., but podcreds will not run in it: set the label \
        podcreds.io/inject: \"true\" on the pod (in a Deployment under spec.template.metadata.labels), or add a podcreds container";
    assert_eq!(warnings(&policies, &unlabeled), [expected]);
    for kind in KINDS {
        assert_eq!(warnings(&policies, &workload(kind, &unlabeled)), [expected], "{kind}");
    }
}

#[test]
fn kubectl_does_not_warn_about_pods_that_run_podcreds_or_do_not_want_it() {
    let Some(policies) = policies() else { return };
    assert_eq!(warnings(&policies, &pod()), [""; 0]);
    for kind in KINDS {
        assert_eq!(warnings(&policies, &workload(kind, &pod())), [""; 0], "{kind}");
    }
    let mut unlabeled = pod();
    unlabeled["metadata"]["labels"] = json!({});
    let with = |path: &str, value: Value| {
        let mut pod = unlabeled.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[field] = value;
        pod
    };
    for pod in [
        with("/metadata/labels", json!({"podcreds.io/inject": "false"})),
        with("/metadata/annotations", json!({"example.com/db.secret": "db"})),
        with("/spec/initContainers", json!([{"name": "podcreds", "image": "none"}])),
        with(
            "/spec/initContainers",
            json!([{"name": "first", "image": "registry.example.com/podcreds:0.1.0"}]),
        ),
        with(
            "/spec/containers/0/command",
            json!(["/opt/podcreds/bin/podcreds", "exec", "--render", "--", "/app"]),
        ),
    ] {
        assert_eq!(warnings(&policies, &pod), [""; 0], "{pod:#}");
    }
    // `deploy/component` selects a Deployment by this label.
    let pod = with("/spec/initContainers", json!([{"name": "podcreds", "image": "none"}]));
    let mut by_component = workload("Deployment", &pod);
    by_component["metadata"]["labels"]["podcreds.io/inject"] = "true".into();
    assert_eq!(warnings(&policies, &by_component), [""; 0]);
}

#[test]
fn kubectl_warns_about_a_label_that_has_no_effect() {
    let Some(policies) = policies() else { return };
    let mut as_annotation = pod();
    as_annotation["metadata"] =
        json!({"generateName": "app-", "annotations": {"podcreds.io/inject": "true"}});
    let mut other_value = pod();
    other_value["metadata"]["labels"]["podcreds.io/inject"] = "yes".into();
    let mut on_the_deployment = workload("Deployment", &pod());
    on_the_deployment["metadata"]["labels"] = json!({"podcreds.io/inject": "true"});
    on_the_deployment["metadata"]["annotations"] = json!({"podcreds.io/db.secret": "db"});
    on_the_deployment["spec"]["template"]["metadata"] = json!({"labels": {"app": "app"}});
    let mut unannotated = pod();
    unannotated["metadata"]["annotations"] = json!({});
    for (object, expected) in [
        (as_annotation, vec!["podcreds.io/inject is an annotation here, but must be a label"]),
        (other_value, vec!["label podcreds.io/inject: \"yes\" has no effect: write \"true\""]),
        (
            on_the_deployment,
            vec![
                "the label podcreds.io/inject has no effect here: set it on the pod",
                "annotations podcreds.io/... have no effect here: set them on the pod",
            ],
        ),
        (unannotated, vec!["but no annotation such as podcreds.io/db.secret"]),
    ] {
        let found = warnings(&policies, &object);
        assert_eq!(found.len(), expected.len(), "{object:#}\n{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}\n{expected}");
        }
    }
}

#[test]
fn kubectl_warns_in_a_namespace_without_injection() {
    let Some(policies) = policies() else { return };
    policies.label_namespace("podcreds.io/inject=false");
    policies.admit_when(&pod(), |pod| names(pod, "initContainers").is_empty());
    for object in [pod(), workload("Deployment", &pod()), workload("CronJob", &pod())] {
        let found = warnings(&policies, &object);
        let name = policies.namespace.name();
        assert!(
            found[0].starts_with(&format!("podcreds is not injected in namespace {name}: ")),
            "{found:#?}"
        );
    }
}

#[test]
fn kubectl_warns_about_a_pod_without_a_token() {
    let Some(policies) = policies() else { return };
    let mut without = pod();
    without["spec"]["automountServiceAccountToken"] = false.into();
    for object in [without.clone(), workload("StatefulSet", &without)] {
        let found = warnings(&policies, &object);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("set automountServiceAccountToken: true"), "{found:#?}");
    }
    // The pod's own field is unset: the service account's decides.
    let account = json!({"automountServiceAccountToken": false});
    policies.namespace.put("v1", "ServiceAccount", "app", account);
    policies.admit_when(&pod(), |pod| !has_token(init_container(pod, "podcreds")));
    let found = warnings(&policies, &pod());
    assert!(found[0].contains("set automountServiceAccountToken: true"), "{found:#?}");
}

#[test]
fn kubectl_warns_about_a_port_that_the_application_uses() {
    let Some(policies) = policies() else { return };
    let with = |port: u16, annotations: &Value| {
        let mut pod = pod();
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": port}]);
        for (key, value) in annotations.as_object().unwrap() {
            pod["metadata"]["annotations"][key] = value.clone();
        }
        warnings(&policies, &workload("Deployment", &pod))
    };
    let taken = |port| {
        format!(
            "port {port} is a port of the application and of podcreds: choose another one for podcreds in the annotation inject.podcreds.io/port"
        )
    };
    assert_eq!(with(8081, &json!({})), [taken(8081)]);
    assert_eq!(with(8081, &json!({"inject.podcreds.io/port": "9095"})), [""; 0]);
    assert_eq!(with(9095, &json!({"inject.podcreds.io/port": "9095"})), [taken(9095)]);
    assert_eq!(with(8081, &json!({"inject.podcreds.io/mode": "init"})), [""; 0], "init has no port");
}

#[test]
fn wrong_annotations_of_the_injection_are_rejected() {
    let Some(policies) = policies() else { return };
    for (key, value, expected) in [
        (
            "mode",
            "sidecar",
            "annotation inject.podcreds.io/mode: unknown mode \"sidecar\"; write native-sidecar or init",
        ),
        (
            "port",
            "http",
            "annotation inject.podcreds.io/port: invalid port \"http\"; write a free port of the pod",
        ),
        ("port", "0", "invalid port \"0\""),
        ("port", "70000", "invalid port \"70000\""),
        (
            "containers",
            "app, worker,web",
            "annotation inject.podcreds.io/containers: the pod has no container worker, web",
        ),
    ] {
        let pod = annotated(&format!("inject.podcreds.io/{key}"), value);
        for object in [pod.clone(), workload("Deployment", &pod), workload("CronJob", &pod)] {
            let refused = policies.create(&object).unwrap_err();
            assert!(refused.contains(expected), "{}: {refused}", object["kind"]);
        }
    }
}

#[test]
fn wrong_parameters_reject_only_labeled_pods() {
    let Some(policies) = policies() else { return };
    let mut unlabeled = pod();
    unlabeled["metadata"]["labels"] = json!({});
    let refused = |expected: &str| {
        let mut shown = String::new();
        poll_until(PATIENCE, expected, || match policies.create(&pod()) {
            Ok(_) => false,
            Err(refused) => {
                shown = refused;
                shown.contains(expected)
            }
        });
        policies.admit(&unlabeled);
        shown
    };
    policies.set_parameters(&json!({"image": null}));
    assert!(refused("no such key: image").contains("policy 'podcreds-injection"));
    policies.delete_parameters();
    let shown = refused("no params found for policy binding");
    assert!(shown.contains("podcreds-injection"), "{shown}");
}

#[test]
fn an_older_object_with_wrong_annotations_can_be_updated_until_its_spec_changes() {
    if since(36, "MutatingAdmissionPolicies").is_none() {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let mut older = workload("Deployment", &annotated("inject.podcreds.io/mode", "wrong"));
    older["spec"]["replicas"] = 0.into();
    namespace.put("apps/v1", "Deployment", "app", older);
    let policies = Policies::install_for(namespace, &examples::kustomize("deploy/injection"), &[]);
    policies.namespace.kubectl(&["annotate", "deployment/app", "example.com/reviewed=true"]);
    let mut command = policies.namespace.command();
    let image = ["set", "image", "deployment/app", "app=other", "--namespace", policies.namespace.name()];
    command.args(image);
    let finished = run(command, PATIENCE);
    assert!(finished.stderr.contains("unknown mode \"wrong\""), "{}", finished.stderr);
}

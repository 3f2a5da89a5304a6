//! The manifests in `deploy/`, as `kubectl apply -k` would send them: valid by the Kubernetes schema, admitted by the
//! restricted Pod Security Standard, and with the least rights. These tests need no cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, also in the functions that it calls"
)]

#[allow(dead_code, reason = "tests/cluster uses other parts")]
#[path = "support/charts.rs"]
mod charts;
#[path = "manifests/common_parts.rs"]
mod common_parts;
#[path = "manifests/component.rs"]
mod component;
#[path = "support/documented.rs"]
mod documented;
#[path = "manifests/helm.rs"]
mod helm;
#[path = "manifests/inject.rs"]
mod inject;
#[path = "manifests/injection.rs"]
mod injection;
#[path = "manifests/kustomize.rs"]
mod kustomize;
#[path = "manifests/monitoring.rs"]
mod monitoring;
#[path = "manifests/names.rs"]
mod names;
#[path = "manifests/pages.rs"]
mod pages;
#[path = "manifests/pod_security.rs"]
mod pod_security;
#[path = "manifests/rights.rs"]
mod rights;
#[path = "manifests/snippets.rs"]
mod snippets;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

/// The directories with a `kustomization.yaml` that contain an application.
const EXAMPLES: [&str; 17] = [
    "deploy",
    "deploy/annotations-file",
    ANOTHER_NAMESPACE,
    CRONJOB,
    ENV,
    EXEC,
    IMAGE_VOLUME,
    "deploy/job",
    "deploy/job-init",
    "deploy/native-sidecar",
    RESTART_RULE,
    RESTART_EXEC,
    RESTART_PROBE,
    RESTART_SENTINEL,
    "deploy/sidecar",
    STATEFULSET,
    VERIFY_FULL,
];

/// The example whose Secret is in a namespace of its own.
const ANOTHER_NAMESPACE: &str = "deploy/another-namespace";

/// The example that runs pg_dump.
const CRONJOB: &str = "deploy/cronjob";

/// The example whose application gets its variables from the kubelet.
const ENV: &str = "deploy/env";

/// The example whose application is started by `podcreds exec` from the volume.
const EXEC: &str = "deploy/exec";

/// The example whose application is started by `podcreds exec` from podcreds' image.
const IMAGE_VOLUME: &str = "deploy/exec-image-volume";

/// The example whose sidecar causes the restart of the whole pod.
const RESTART_RULE: &str = "deploy/restart-all-containers";

/// The example whose application is started again by `podcreds exec` from podcreds' image.
const RESTART_EXEC: &str = "deploy/restart-exec";

/// The example whose liveness probe is podcreds from the volume.
const RESTART_PROBE: &str = "deploy/restart-probe";

/// The example whose liveness probe is a shell script.
const RESTART_SENTINEL: &str = "deploy/restart-sentinel";

/// The example whose pods have known names.
const STATEFULSET: &str = "deploy/statefulset";

/// The example with the certificate of a certificate authority.
const VERIFY_FULL: &str = "deploy/verify-full";

/// The policies that add podcreds to pods. It contains no pod.
const INJECTION: &str = "deploy/injection";

/// The component that adds podcreds to workloads, which contains another one.
const COMPONENTS: [&str; 2] = ["deploy/component", "deploy/component/add"];

/// The objects for Prometheus and Grafana. It contains no pod.
const MONITORING: &str = "deploy/monitoring";

/// The path of the binary in the image.
const BINARY: &str = "/bin/podcreds";

/// The default port of `podcreds sidecar`, and the paths that it serves.
const HEALTH_PORT: u16 = 8081;
const HEALTH_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The first Kubernetes version with native sidecars by default.
/// <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>
const FIRST_WITH_NATIVE_SIDECARS: &str = "1.29";

/// The first Kubernetes version with `fileKeyRef` by default.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-via-file/>
const FIRST_WITH_FILE_KEY_REF: &str = "1.35";

/// The oldest Kubernetes version for an example: a version, or `oldest` for the oldest that the validator supports.
fn oldest(example: &str, pod: &Value) -> &'static str {
    match example {
        // <https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes/>
        IMAGE_VOLUME | RESTART_EXEC => "1.35",
        ENV => FIRST_WITH_FILE_KEY_REF,
        // <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-all-containers>
        RESTART_RULE => "1.36",
        _ if has_native_sidecar(pod) => FIRST_WITH_NATIVE_SIDECARS,
        _ => "oldest",
    }
}

#[test]
fn every_kustomization_is_tested() {
    let mut found = Vec::new();
    let mut directories = vec![root().join("deploy")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("kustomization.yaml") {
                found.push(directory.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            } else if path.is_dir() {
                directories.push(path);
            }
        }
    }
    found.sort();
    let mut tested = [&EXAMPLES[..], &[INJECTION, MONITORING, pages::OPENSHIFT], &COMPONENTS].concat();
    tested.sort_unstable();
    assert_eq!(found, tested);
}

#[test]
fn every_field_is_known_to_the_kubernetes_schema() {
    let Some(python) = python() else { return };
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let output = validate(&python, &rendered, &["newest", oldest(example, pod(&documents))]);
        assert!(output.status.success(), "{example}:\n{}", String::from_utf8_lossy(&output.stderr));
        let passed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(passed.lines().count(), 2 * documents.len(), "{example}: two schemas each\n{passed}");
    }
}

#[test]
fn older_schemas_reject_a_native_sidecar() {
    let Some(python) = python() else { return };
    let Some(rendered) = render("deploy/native-sidecar") else { return };
    let output = validate(&python, &rendered, &["oldest"]);
    assert!(!output.status.success(), "the sidecar is not native, or every schema accepts it");
    let failed = String::from_utf8(output.stderr).unwrap();
    assert!(failed.contains("'restartPolicy' was unexpected"), "{failed}");
}

#[test]
fn every_pod_passes_the_restricted_pod_security_standard() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        assert_eq!(pod_security::violations(pod(&documents(&rendered))), [""; 0], "{example}");
    }
}

#[test]
fn every_container_has_limits_and_a_read_only_root() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let pod = pod(&documents);
        assert_eq!(pod["spec"]["automountServiceAccountToken"], true, "{example}");
        for id in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(pod["spec"]["securityContext"][id].as_u64().is_some_and(|id| id > 0), "{example}: {id}");
        }
        let volume =
            pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "podcreds");
        let size = if [EXEC, RESTART_PROBE].contains(&example) { "8Mi" } else { "1Mi" };
        assert_eq!(volume.unwrap()["emptyDir"], json!({"medium": "Memory", "sizeLimit": size}), "{example}");
        for (place, container) in pod_security::containers(pod) {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{example}: {place}");
            for bound in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    let bound = &container["resources"][bound][resource];
                    assert!(bound.is_string(), "{example}: {place} bounds its {resource}");
                }
            }
        }
    }
}

#[test]
fn the_roles_grant_exactly_the_rights_that_the_annotations_need() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let (workload, pod) = (workload(&documents), pod(&documents));
        let needed = rights::needed_in(workload, pod);
        assert!(needed.iter().any(|(_, resource, _)| resource == "secrets"), "{example} names a Secret");
        let of_kind = |kind: &str| documents.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
        let (roles, bindings) = (of_kind("Role"), of_kind("RoleBinding"));
        let namespace = &workload["metadata"]["namespace"];
        let granted: BTreeSet<_> =
            roles.iter().flat_map(|role| rights::granted_in(role, namespace)).collect();
        assert_eq!(granted, needed, "{example}");

        let account = &pod["spec"]["serviceAccountName"];
        let mut subject = json!({"kind": "ServiceAccount", "name": account});
        if !namespace.is_null() {
            subject["namespace"] = namespace.clone();
        }
        assert_eq!(roles.len(), bindings.len(), "{example}");
        for (role, binding) in roles.iter().zip(bindings) {
            assert_eq!(binding["metadata"], role["metadata"], "{example}");
            assert_eq!(binding["roleRef"]["kind"], "Role", "{example}");
            assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"], "{example}");
            assert_eq!(binding["subjects"], json!([subject]), "{example}");
        }
        let accounts = &only(&documents, "ServiceAccount")["metadata"];
        assert_eq!((&accounts["name"], &accounts["namespace"]), (account, namespace), "{example}");
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            assert!(documents.iter().all(|document| document["kind"] != kind), "{example} has a {kind}");
        }
    }
}

#[test]
fn a_role_that_grants_more_than_needed_is_detected() {
    let least =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["shop-db"], "verbs": ["get"]});
    let role = |rule: Value| rights::granted(&json!({"rules": [rule]}));
    let with = |field: &str, value: Value| {
        let mut rule = least.clone();
        rule[field] = value;
        role(rule)
    };
    for more in [
        with("verbs", json!(["get", "list"])),
        with("verbs", json!(["get", "watch"])),
        with("verbs", json!(["*"])),
        with("apiGroups", json!(["*"])),
        with("resources", json!(["secrets", "configmaps"])),
        with("resources", json!(["*"])),
        with("resourceNames", json!(["shop-db", "admin-db"])),
        with("resourceNames", json!([])),
        with("resourceNames", json!(null)),
    ] {
        assert_ne!(more, role(least.clone()));
    }
}

#[test]
fn every_annotated_source_and_key_is_part_of_the_example() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let annotations = pod(&documents)["metadata"]["annotations"].as_object().unwrap();
        for (annotation, value) in annotations {
            let (credential, key) = annotation.rsplit_once('.').unwrap();
            let (kind, data) = match key {
                "secret" => ("Secret", "stringData"),
                "configmap" => ("ConfigMap", "data"),
                _ => continue,
            };
            let object = only(&documents, kind);
            let (namespace, name) = (&object["metadata"]["namespace"], &object["metadata"]["name"]);
            match value.as_str().unwrap().split_once('/') {
                Some((in_namespace, named)) => {
                    assert_eq!((namespace, name), (&in_namespace.into(), &named.into()))
                }
                None => assert_eq!((namespace, name), (&Value::Null, value), "{example}"),
            }
            let keys = annotations.get(&format!("{credential}.keys")).and_then(Value::as_str);
            for entry in keys.into_iter().flat_map(|keys| keys.split(',')) {
                let key = entry.trim().rsplit('=').next().unwrap();
                assert!(object[data][key].is_string(), "{example}: the {kind} has no {key}");
            }
        }
    }
}

#[test]
fn the_annotations_file_variant_differs_only_in_the_source_of_the_annotations() {
    let Some(mut from_api) = common_parts::with_common_names(EXAMPLES[0]) else { return };
    let Some(mut from_file) = common_parts::with_common_names(EXAMPLES[1]) else { return };
    for documents in [&mut from_api, &mut from_file] {
        for document in documents.iter_mut() {
            match document["kind"].as_str().unwrap() {
                "Role" => without(&mut document["rules"], |rule| rule["resources"] == json!(["pods"])),
                "Deployment" => {
                    let spec = &mut document["spec"]["template"]["spec"];
                    without(&mut spec["volumes"], |volume| volume["name"] == "podinfo");
                    let init = &mut spec["initContainers"][0];
                    without(&mut init["volumeMounts"], |mount| mount["name"] == "podinfo");
                    without(&mut init["args"], |arg| arg == "--annotations-file=/etc/podinfo/annotations");
                    init["env"] = Value::Null;
                }
                _ => {}
            }
        }
    }
    assert_eq!(from_api, from_file);
}

#[test]
fn image_and_manifests_have_the_version_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let argument = format!("\nARG VERSION={version}\n");
    assert!(dockerfile.contains(&argument), "the Dockerfile has no {argument}");
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let containers = podcreds_containers(pod(&documents));
        for (place, container) in &containers {
            assert_eq!(container["image"], format!("podcreds:{version}"), "{example}: {place}");
        }
        let references: Vec<_> = pod(&documents)["spec"]["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|volume| volume["image"]["reference"].as_str())
            .collect();
        let has_image_volume = [IMAGE_VOLUME, RESTART_EXEC].contains(&example);
        assert_eq!(references.len(), usize::from(has_image_volume), "{example}");
        assert!(references.iter().all(|reference| *reference == format!("podcreds:{version}")), "{example}");
        // The version must also be right if the manifest is applied without kustomize.
        let manifest = workload_file(example);
        assert_eq!(manifest.matches(&format!("reference: podcreds:{version}\n")).count(), references.len());
        let images: Vec<_> = manifest.lines().filter(|line| line.contains("image: podcreds")).collect();
        assert_eq!(images.len(), containers.len(), "{example}");
        for image in images {
            assert_eq!(image.trim(), format!("image: podcreds:{version}"), "{example}");
        }
    }
}

#[test]
fn the_image_contains_only_the_binary_and_has_a_numeric_user() {
    assert_eq!(image_instructions("COPY "), [format!("--from=build /podcreds {BINARY}")]);
    assert_eq!(image_instructions("USER "), ["65532:65532"]);
    assert_eq!(image_instructions("ENTRYPOINT "), [format!("[\"{BINARY}\"]")]);
}

/// A runtime cannot mount a volume over a file, and a volume over the file's directory would hide it.
#[test]
fn no_volume_covers_the_binary() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        for (place, container) in podcreds_containers(pod(&documents)) {
            assert_eq!(container["command"], Value::Null, "{example}: {place}: the image's entrypoint runs");
            for mount in container["volumeMounts"].as_array().unwrap() {
                let path = mount["mountPath"].as_str().unwrap();
                assert!(!Path::new(BINARY).starts_with(path), "{example}: {place}: {path} covers {BINARY}");
            }
        }
    }
}

/// A probe on the wrong port or path would restart the container again and again.
#[test]
fn every_probe_uses_an_endpoint_of_podcreds() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        for (place, container) in podcreds_containers(pod(&documents)) {
            let ports = &container["ports"];
            let probes: Vec<_> = ["startupProbe", "readinessProbe", "livenessProbe"]
                .into_iter()
                .map(|probe| (probe, &container[probe]))
                .filter(|(_, probe)| !probe.is_null())
                .collect();
            if container["args"][0] != "sidecar" {
                assert!(probes.is_empty() && ports.is_null(), "{example}: {place} serves no probes");
                continue;
            }
            assert_eq!(
                *ports,
                json!([{"name": "health", "containerPort": HEALTH_PORT}]),
                "{example}: {place}"
            );
            for (probe, settings) in probes {
                if settings["httpGet"].is_null() {
                    let command = json!([BINARY, "probe"]);
                    assert_eq!(settings["exec"]["command"], command, "{example}: {place}: {probe}");
                } else {
                    let (path, port) = (&settings["httpGet"]["path"], &settings["httpGet"]["port"]);
                    assert!(
                        HEALTH_PATHS.iter().any(|known| path == known),
                        "{example}: {place}: {probe}: {path}"
                    );
                    assert!(port == "health" || port == HEALTH_PORT, "{example}: {place}: {probe}: {port}");
                }
            }
            let liveness = &container["livenessProbe"]["httpGet"]["path"];
            assert_eq!(
                liveness, "/healthz",
                "{example}: {place}: a container that is not ready must not be restarted"
            );
        }
    }
}

/// The first init container is `init`, or a native sidecar with a startup probe.
#[test]
fn the_application_starts_after_its_files_are_written() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let first = &pod(&documents)["spec"]["initContainers"][0];
        match first["args"][0].as_str().unwrap() {
            "init" => assert_eq!(first["restartPolicy"], Value::Null, "{example}: init exits"),
            "sidecar" => {
                assert_eq!(
                    first["restartPolicy"], "Always",
                    "{example}: an init container that never exits would block the pod"
                );
                // Without a startup probe, the kubelet continues as soon as the process has started.
                assert_eq!(first["startupProbe"]["exec"]["command"], json!([BINARY, "probe"]), "{example}");
            }
            other => panic!("{example}: {other}"),
        }
    }
}

#[test]
fn each_example_has_its_kind_of_sidecar() {
    for (example, kind, native, ordinary) in [
        ("deploy", "Deployment", 0, 0),
        ("deploy/annotations-file", "Deployment", 0, 0),
        (ANOTHER_NAMESPACE, "Deployment", 1, 0),
        (CRONJOB, "CronJob", 0, 0),
        (ENV, "Deployment", 1, 0),
        (EXEC, "Deployment", 0, 0),
        (IMAGE_VOLUME, "Deployment", 0, 0),
        // An ordinary sidecar would keep the Job from completing.
        ("deploy/job", "Job", 1, 0),
        ("deploy/job-init", "Job", 0, 0),
        ("deploy/native-sidecar", "Deployment", 1, 0),
        (RESTART_RULE, "Deployment", 1, 0),
        (RESTART_EXEC, "Deployment", 1, 0),
        (RESTART_PROBE, "Deployment", 1, 0),
        (RESTART_SENTINEL, "Deployment", 1, 0),
        ("deploy/sidecar", "Deployment", 0, 1),
        (STATEFULSET, "StatefulSet", 1, 0),
        (VERIFY_FULL, "Deployment", 1, 0),
    ] {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let spec = &pod(&documents)["spec"];
        let sidecars = |kind: &str| {
            spec[kind]
                .as_array()
                .unwrap()
                .iter()
                .filter(|container| container["args"][0] == "sidecar")
                .count()
        };
        assert_eq!(workload(&documents)["kind"], kind, "{example}");
        assert_eq!((sidecars("initContainers"), sidecars("containers")), (native, ordinary), "{example}");
        let restart = &spec["restartPolicy"];
        let ends = ["Job", "CronJob"].contains(&kind);
        assert_eq!(restart == "Never" || restart == "OnFailure", ends, "{example}: {restart}");
        if ordinary > 0 {
            let ready = &spec["containers"].as_array().unwrap().last().unwrap()["readinessProbe"];
            assert_eq!(
                ready["httpGet"]["path"], "/readyz",
                "{example}: the pod is ready when its files are written"
            );
        }
    }
}

/// A reference to a path or key that podcreds does not write prevents the container from starting.
#[test]
fn every_variable_from_a_file_is_written_by_the_annotations() {
    let Some(rendered) = render(ENV) else { return };
    let documents = documents(&rendered);
    let template = pod(&documents);
    let keys = template["metadata"]["annotations"]["podcreds.io/shop.keys"].as_str().unwrap();
    let fields: Vec<_> = keys.split(',').map(|entry| entry.trim().split_once('=').unwrap().0).collect();
    let env = template["spec"]["containers"][0]["env"].as_array().unwrap();
    let expected: Vec<_> = fields
        .iter()
        .map(|field| {
            let file = json!({"volumeName": "podcreds", "path": "shop.envfile", "key": field});
            json!({"name": field, "valueFrom": {"fileKeyRef": file}})
        })
        .collect();
    assert_eq!(*env, expected);
}

/// The command after `podcreds exec`; `None` means that the container does not start with `podcreds exec`.
fn after_exec(command: &Value) -> Option<Vec<Value>> {
    let command = command.as_array()?;
    let end = command.iter().position(|word| word == "--")?;
    command[..end].contains(&"exec".into()).then(|| command[end + 1..].to_vec())
}

/// A container that starts podcreds from the volume uses the path to which an init container has installed it.
#[test]
fn podcreds_in_the_volume_is_installed_by_an_init_container() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        let spec = &pod(&documents)["spec"];
        let installed: Vec<_> = spec["initContainers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|container| container["args"][0] == "install")
            .map(|container| (&container["args"][1], &container["volumeMounts"]))
            .collect();
        let app = &spec["containers"][0];
        if [IMAGE_VOLUME, RESTART_EXEC].contains(&example) {
            let mounts = app["volumeMounts"].as_array().unwrap();
            let mount = mounts.iter().find(|mount| mount["name"] == "podcreds-image").unwrap();
            let path = format!("{}{BINARY}", mount["mountPath"].as_str().unwrap());
            assert_eq!(app["command"][0], path, "the binary has the same path as in podcreds' own container");
            assert!(after_exec(&app["command"]).is_some() && installed.is_empty());
            continue;
        }
        assert_eq!(after_exec(&app["command"]).is_some(), example == EXEC, "{example}");
        let probe = &app["livenessProbe"]["exec"]["command"];
        assert_eq!(
            probe.as_array().is_some_and(|command| command.contains(&"--changed-since-start".into())),
            example == RESTART_PROBE
        );
        assert_eq!(installed.len(), usize::from([EXEC, RESTART_PROBE].contains(&example)), "{example}");
        let started = if example == EXEC { &app["command"] } else { probe };
        for (path, mounts) in installed {
            assert_eq!(*path, started[0], "{example}");
            let mount = &app["volumeMounts"][0];
            assert_eq!((&mounts[0]["name"], &mounts[0]["mountPath"]), (&mount["name"], &mount["mountPath"]));
            assert!(Path::new(path.as_str().unwrap()).starts_with(mount["mountPath"].as_str().unwrap()));
        }
    }
}

/// With a rule for a different code, the kubelet would restart only podcreds.
#[test]
fn the_restart_rule_matches_the_exit_code_of_podcreds() {
    for example in EXAMPLES {
        let Some(rendered) = render(example) else { return };
        let documents = documents(&rendered);
        for (place, container) in podcreds_containers(pod(&documents)) {
            let args = container["args"].as_array().unwrap().iter().filter_map(Value::as_str);
            let codes: Vec<_> = args.filter_map(|arg| arg.strip_prefix("--exit-on-change=")).collect();
            let rules = container["restartPolicyRules"].as_array().map(Vec::as_slice).unwrap_or_default();
            assert_eq!(codes.len(), usize::from(example == RESTART_RULE), "{example}: {place}");
            assert_eq!(rules.len(), codes.len(), "{example}: {place}");
            for (code, rule) in codes.iter().zip(rules) {
                let values = json!([code.parse::<u8>().unwrap()]);
                let exit_codes = json!({"operator": "In", "values": values});
                assert_eq!(*rule, json!({"action": "RestartAllContainers", "exitCodes": exit_codes}));
            }
        }
    }
}

/// The arguments of each instruction with this name in the last stage of the Dockerfile, which is based on scratch.
fn image_instructions(name: &str) -> Vec<String> {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let (_, image) = dockerfile.split_once("\nFROM scratch\n").expect("a last stage from scratch");
    assert!(!image.contains("\nFROM "), "scratch is the last stage");
    image.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The objects that `kubectl apply -k` would send. `None` means that kubectl is missing and the test is skipped.
fn render(example: &str) -> Option<String> {
    let output = match Command::new("kubectl").arg("kustomize").arg(root().join(example)).output() {
        Ok(output) => output,
        Err(_) => {
            return missing("kubectl, to render the kustomizations; https://kubernetes.io/docs/tasks/tools/");
        }
    };
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The container of an example in `deploy/`, with the fields of its pod that the component and the chart set on the container.
fn container_of(directory: &str) -> Option<Value> {
    let rendered = render(directory)?;
    let mut container = pod(&documents(&rendered))["spec"]["initContainers"][0].clone();
    container["securityContext"]["runAsNonRoot"] = true.into();
    container["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});
    Some(container)
}

/// A Python that has kubernetes-validate: `PODCREDS_TEST_PYTHON`, or `python3`.
fn python() -> Option<String> {
    let python = env::var("PODCREDS_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import kubernetes_validate"]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    missing(&format!("{python} with kubernetes-validate; pip install -r tests/manifests/requirements.txt"))
}

/// Validates rendered objects against these schemas: `newest`, `oldest`, or a version.
fn validate(python: &str, rendered: &str, schemas: &[&str]) -> Output {
    let mut validator = Command::new(python)
        .arg(root().join("tests/manifests/validate.py"))
        .args(schemas)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    validator.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
    validator.wait_with_output().unwrap()
}

/// Prints why a test is skipped, or fails it if `PODCREDS_TEST_REQUIRE=all` is set.
#[allow(clippy::print_stderr, reason = "users must see which tests did not run")]
fn missing<T>(what: &str) -> Option<T> {
    let required = env::var("PODCREDS_TEST_REQUIRE").is_ok_and(|required| required == "all");
    assert!(!required, "missing: {what}");
    eprintln!("skipped: this needs {what}");
    None
}

fn documents(rendered: &str) -> Vec<Value> {
    yaml_serde::Deserializer::from_str(rendered)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The only document of this kind.
fn only<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = documents.iter().filter(|document| document["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "one {kind}");
    found[0]
}

/// The only document that creates pods.
fn workload(documents: &[Value]) -> &Value {
    let found: Vec<_> = documents.iter().filter(|document| template(document).is_some()).collect();
    assert_eq!(found.len(), 1, "one workload");
    found[0]
}

/// The pod template of a workload.
fn template(document: &Value) -> Option<&Value> {
    let of_jobs = document.pointer("/spec/jobTemplate/spec/template");
    of_jobs.or_else(|| document.pointer("/spec/template"))
}

/// The pod template of the only workload; like a Pod, it has `metadata` and `spec`.
fn pod(documents: &[Value]) -> &Value {
    template(workload(documents)).unwrap()
}

/// The containers that run podcreds, each with its place in the pod.
fn podcreds_containers(pod: &Value) -> Vec<(String, &Value)> {
    let mut containers = pod_security::containers(pod);
    containers.retain(|(_, container)| container["image"].as_str().unwrap().starts_with("podcreds:"));
    assert!(!containers.is_empty(), "the pod contains podcreds");
    containers
}

fn has_native_sidecar(pod: &Value) -> bool {
    pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|init| !init["restartPolicy"].is_null())
}

/// The source text of the file with the workload.
fn workload_file(example: &str) -> String {
    let files = fs::read_dir(root().join(example)).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    texts.into_iter().find(|text| text.lines().any(|line| line.trim() == "containers:")).expect("a workload")
}

fn without(list: &mut Value, unwanted: impl Fn(&Value) -> bool) {
    list.as_array_mut().expect("a list").retain(|item| !unwanted(item));
}

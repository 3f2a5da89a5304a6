//! `deploy/component`, as a kustomization that includes it gets it: from kubectl, and from kustomize where `PODCREDS_TEST_KUSTOMIZE`
//! names it. tests/cluster/packaging.rs applies it to a cluster.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{container_of, documents, missing, python, render, root, validate};

const KUSTOMIZE: &str = "PODCREDS_TEST_KUSTOMIZE";

const KINDS: [(&str, &str, &str); 6] = [
    ("apps/v1", "Deployment", "/spec/template"),
    ("apps/v1", "StatefulSet", "/spec/template"),
    ("apps/v1", "DaemonSet", "/spec/template"),
    ("batch/v1", "Job", "/spec/template"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template"),
    ("v1", "Pod", ""),
];

/// A directory with the component, in which kustomizations can be written.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        super::charts::copy(&root().join("deploy/component"), &directory.path().join("component"));
        Self(directory)
    }

    /// Writes a kustomization with these lines and objects.
    fn write(&self, name: &str, lines: &str, objects: &[Value]) {
        let directory = self.0.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        fs::write(directory.join("objects.yaml"), list.to_string()).unwrap();
        let resources = if objects.is_empty() { "" } else { "resources: [objects.yaml]\n" };
        fs::write(directory.join("kustomization.yaml"), format!("{resources}{lines}")).unwrap();
    }

    /// The objects that kustomize prints. `None` means that kubectl or kustomize is missing.
    fn build(&self, name: &str) -> Option<Vec<Value>> {
        let path = self.0.path().join(name);
        let Some(kustomize) = env::var_os(KUSTOMIZE) else {
            return missing(&format!("{KUSTOMIZE}; {}", super::charts::INSTALL));
        };
        let standalone = Command::new(kustomize).arg("build").arg(&path).output().unwrap();
        assert!(standalone.status.success(), "{}", String::from_utf8_lossy(&standalone.stderr));
        let rendered = render(path.to_str().unwrap())?;
        assert_eq!(String::from_utf8(standalone.stdout).unwrap(), rendered, "kubectl and kustomize agree");
        Some(documents(&rendered))
    }
}

const COMPONENT: &str = "components: [../component]\n";

/// A workload of this kind with two containers and an init container.
fn workload((version, kind, path): (&str, &str, &str), name: &str) -> Value {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "migrate", "image": "busybox:1.37"}],
        "containers": [
            {"name": "app", "image": "busybox:1.37"},
            {"name": "other", "image": "busybox:1.37", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    });
    let mut object = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": {"podcreds.io/inject": "true"}},
    });
    match path {
        "" => object["spec"] = spec,
        "/spec/template" => object["spec"]["template"]["spec"] = spec,
        _ => object["spec"]["jobTemplate"]["spec"]["template"]["spec"] = spec,
    }
    object
}

fn spec<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(&format!("{path}/spec")).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn every_kind_of_workload_gets_the_container_of_the_example_the_volume_and_the_mounts() {
    let Some(sidecar) = container_of("deploy/native-sidecar") else { return };
    let Some(init) = container_of("deploy") else { return };
    for (mode, expected) in [(None, &sidecar), (Some("init"), &init)] {
        let scene = Scene::new();
        let mut objects: Vec<_> = KINDS.iter().map(|kind| workload(*kind, "app")).collect();
        if let Some(mode) = mode {
            for object in &mut objects {
                object["metadata"]["annotations"]["inject.podcreds.io/mode"] = mode.into();
            }
        }
        scene.write("app", COMPONENT, &objects);
        let Some(built) = scene.build("app") else { return };
        assert_eq!(built.len(), KINDS.len(), "nothing else is printed");
        let mount = json!({"name": "podcreds", "mountPath": "/podcreds", "readOnly": true});
        for (_, kind, path) in KINDS {
            let object = built.iter().find(|object| object["kind"] == kind).unwrap();
            let spec = spec(object, path);
            assert_eq!(names(&spec["initContainers"]), ["podcreds", "migrate"], "{kind}");
            assert_eq!(spec["initContainers"][0], *expected, "{kind}");
            assert_eq!(spec["initContainers"][1]["volumeMounts"], json!([mount]), "{kind}");
            assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]), "{kind}");
            let data = json!({"name": "data", "mountPath": "/data"});
            assert_eq!(spec["containers"][1]["volumeMounts"], json!([data, mount]), "{kind}");
            let volume = json!({"name": "podcreds", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
            assert_eq!(spec["volumes"], json!([volume, {"name": "data", "emptyDir": {}}]), "{kind}");
        }
    }
}

#[test]
fn the_result_is_valid() {
    let Some(python) = python() else { return };
    let scene = Scene::new();
    scene.write("app", COMPONENT, &[workload(KINDS[5], "app")]);
    if scene.build("app").is_none() {
        return;
    }
    let rendered = render(scene.0.path().join("app").to_str().unwrap()).unwrap();
    let output = validate(&python, &rendered, &["newest", super::FIRST_WITH_NATIVE_SIDECARS]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn objects_without_the_label_and_objects_of_other_kinds_stay() {
    let scene = Scene::new();
    let mut without = workload(KINDS[0], "without");
    without["metadata"].as_object_mut().unwrap().remove("labels");
    let labels = json!({"podcreds.io/inject": "true"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "app", "labels": labels},
        "spec": {"ports": [{"port": 80}]},
    });
    let template = json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "mine", "labels": labels},
        "template": {"spec": {"containers": [{"name": "app", "image": "busybox:1.37"}]}},
    });
    let objects = [without, service, template];
    scene.write("app", COMPONENT, &objects);
    let Some(built) = scene.build("app") else { return };
    assert_eq!(built.len(), objects.len());
    for object in &objects {
        assert!(built.contains(object), "{object:#}");
    }
}

#[test]
fn kustomizations_with_the_component_can_be_combined_and_extended() {
    let scene = Scene::new();
    for name in ["one", "two"] {
        scene.write(name, COMPONENT, &[workload(KINDS[0], name)]);
    }
    scene.write("both", "resources: [../one, ../two]\n", &[]);
    scene.write(
        "again",
        &format!("resources: [../one]\nnamePrefix: x-\nnamespace: elsewhere\n{COMPONENT}"),
        &[],
    );
    let Some(both) = scene.build("both") else { return };
    assert_eq!(both.len(), 2);
    assert!(
        both.iter()
            .all(|object| names(&object["spec"]["template"]["spec"]["initContainers"])[0] == "podcreds")
    );
    let again = scene.build("again").unwrap();
    assert_eq!(again.len(), 1);
    let one = scene.build("one").unwrap();
    assert_eq!(again[0]["spec"], one[0]["spec"], "a workload that has podcreds already stays as it is");
}

#[test]
fn a_label_of_a_base_selects_and_a_label_of_the_same_kustomization_does_not() {
    let scene = Scene::new();
    let mut object = workload(KINDS[0], "app");
    object["metadata"].as_object_mut().unwrap().remove("labels");
    let labels = "labels: [{pairs: {podcreds.io/inject: 'true'}}]\n";
    scene.write("base", labels, &[object.clone()]);
    scene.write("overlay", &format!("resources: [../base]\n{COMPONENT}"), &[]);
    scene.write("same", &format!("{labels}{COMPONENT}"), &[object]);
    for (name, expected) in [("overlay", &["podcreds", "migrate"][..]), ("same", &["migrate"])] {
        let Some(built) = scene.build(name) else { return };
        assert_eq!(names(&built[0]["spec"]["template"]["spec"]["initContainers"]), expected, "{name}");
    }
}

#[test]
fn mounts_elsewhere_stay() {
    let scene = Scene::new();
    let mut object = workload(KINDS[0], "app");
    let mine = json!({"name": "podcreds", "mountPath": "/etc/db", "subPath": "db", "readOnly": true});
    object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([mine]);
    scene.write("app", COMPONENT, &[object]);
    let Some(built) = scene.build("app") else { return };
    let mounts = &built[0]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    assert_eq!((&mounts[0], &mounts[1]["mountPath"]), (&mine, &json!("/podcreds")));
}

/// The YAML blocks of the page's section about the component.
fn blocks() -> Vec<&'static str> {
    let (_, section) =
        include_str!("../../docs/kustomize.md").split_once("\n## Add podcreds to workloads").unwrap();
    let section = section.split_once("\n## ").unwrap().0;
    section.split("\n```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

#[test]
fn the_kustomization_and_the_patch_on_the_page_work() {
    let scene = Scene::new();
    let blocks = blocks();
    let [label, kustomization, patch] = blocks[..] else { panic!("{} blocks", blocks.len()) };
    let directory = scene.0.path().join("app");
    fs::create_dir(&directory).unwrap();
    let kustomization = kustomization.replace("path/to/deploy/component", "../component");
    fs::write(directory.join("kustomization.yaml"), format!("{kustomization}{patch}")).unwrap();
    fs::write(directory.join("deployment.yaml"), label).unwrap();
    let Some(built) = scene.build("app") else { return };
    let spec = &built[0]["spec"]["template"]["spec"];
    let container = &spec["initContainers"][0];
    assert_eq!(container["image"], "registry.example.com/podcreds:0.1.0");
    assert_eq!(container["args"], json!(["sidecar", "--events"]));
    assert_eq!(container["resources"]["limits"]["memory"], "64Mi");
    assert_eq!(container["resources"]["requests"]["memory"], "16Mi");
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({"medium": "Memory", "sizeLimit": "16Mi"}));
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], "/podcreds");
}

#[test]
fn the_image_of_the_component_has_the_version_of_the_crate() {
    let path = Path::new("deploy/component/add/pod-templates.yaml");
    let text = fs::read_to_string(root().join(path)).unwrap();
    let image = concat!("image: podcreds:", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text.matches("image: podcreds").count(), 2);
    assert_eq!(text.matches(image).count(), 2);
}

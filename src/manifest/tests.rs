use std::fs;

use super::*;

fn parse(text: &str) -> Manifest {
    Manifest::parse("app.yaml", text.to_owned()).unwrap()
}

#[test]
fn objects_are_documents_and_items_of_lists() {
    let manifest = parse(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n# a comment alone\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: b, namespace: prod}}\n- apiVersion: v1\n  kind: SecretList\n  items: [{apiVersion: v1, kind: Secret, metadata: {generateName: c-}}]\n...\n---\n{\"kind\": \"ResourceList\", \"apiVersion\": \"config.kubernetes.io/v1\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\"}]}\n---\nreplicas: 2\n",
    );
    let objects = manifest.objects();
    let names: Vec<_> = objects.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["Pod/a", "Deployment/b", "Secret/c-", "ConfigMap/(no name)"]);
    assert_eq!(objects[1].namespace(), Some("prod"));
    assert_eq!((objects[0].namespace(), objects[0].group(), objects[1].group()), (None, "", "apps"));
}

#[test]
fn each_kind_of_workload_has_its_pod_template() {
    let pod = "metadata: {annotations: {podcreds.io/db.secret: x}}, spec: {serviceAccountName: app}";
    for (api_version, kind, text) in [
        ("v1", "Pod", pod.to_owned()),
        ("apps/v1", "Deployment", format!("spec: {{template: {{{pod}}}}}")),
        ("apps/v1", "StatefulSet", format!("spec: {{template: {{{pod}}}}}")),
        ("apps/v1", "DaemonSet", format!("spec: {{template: {{{pod}}}}}")),
        ("apps/v1", "ReplicaSet", format!("spec: {{template: {{{pod}}}}}")),
        ("batch/v1", "Job", format!("spec: {{template: {{{pod}}}}}")),
        ("batch/v1", "CronJob", format!("spec: {{jobTemplate: {{spec: {{template: {{{pod}}}}}}}}}")),
        ("argoproj.io/v1alpha1", "Rollout", format!("spec: {{template: {{{pod}}}}}")),
    ] {
        let manifest = parse(&format!("{{apiVersion: {api_version}, kind: {kind}, {text}}}"));
        let [object] = manifest.objects()[..] else { panic!("{kind}") };
        let template = object.template().unwrap();
        assert!(template.is_annotated("podcreds.io"), "{kind}");
        assert!(!template.is_annotated("podcreds"), "{kind}");
        assert_eq!(template.service_account(), "app", "{kind}");
    }
    for other in [
        "{apiVersion: example.com/v1, kind: Deployment, spec: {template: {}}}",
        "{apiVersion: v1, kind: Service}",
        "{apiVersion: apps/v1, kind: Deployment, spec: {}}",
    ] {
        assert!(parse(other).objects()[0].template().is_none(), "{other}");
    }
}

#[test]
fn annotations_that_are_not_text_are_reported_with_their_position() {
    let manifest = parse(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    podcreds.io/db.optional: true\n    podcreds.io/db.file-mode: 0440\n    podcreds.io/db.secret: orders\n    other:\n",
    );
    let template = manifest.objects()[0].template().unwrap();
    let (annotations, problems) = template.annotations();
    assert_eq!(
        annotations.into_iter().collect::<Vec<_>>(),
        [("other".to_owned(), String::new()), ("podcreds.io/db.secret".to_owned(), "orders".to_owned()),]
    );
    let problems: Vec<_> =
        problems.iter().map(|problem| (problem.key, problem.at.line, problem.found)).collect();
    assert_eq!(
        problems,
        [("podcreds.io/db.optional", 5, "true or false"), ("podcreds.io/db.file-mode", 6, "a number"),]
    );
    assert_eq!(template.annotation_place("podcreds.io/db.secret").to_string(), "app.yaml:7:5");
    assert_eq!(template.annotation_place("podcreds.io/db.keys").to_string(), "app.yaml:5:5");
}

#[test]
fn a_directory_means_its_manifests() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let empty = load(&[directory.path().to_owned()]).unwrap_err().to_string();
    assert!(empty.ends_with("this directory has no .yaml, .yml or .json file"), "{empty}");
    write("b.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}"#);
    write("a.yml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n");
    write("README.md", "# not a manifest: [");
    let names = |manifests: &[Manifest]| {
        manifests.iter().flat_map(Manifest::objects).map(|object| object.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&load(&[directory.path().to_owned()]).unwrap()), ["Pod/a", "Pod/b"]);
    write("c.yaml", "kind: Pod\nkind: Pod\n");
    let error = load(&[directory.path().to_owned()]).unwrap_err().to_string();
    assert!(
        error.ends_with("c.yaml: line 2, column 1: duplicate key \"kind\", first at line 1, column 1"),
        "{error}"
    );
}

#[test]
fn a_tab_is_reported_where_it_is() {
    for (text, place) in [
        ("a:\n  b: c\n\td: e\n", "line 3, column 1"),
        ("a:\n  b: c\n\n  \td: e\n", "line 4, column 3"),
        ("a:\n\tb: c\n", "line 2, column 2"),
    ] {
        let error = Manifest::parse("app.yaml", text.to_owned()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("app.yaml: {place}: ")) && error.contains("tab"), "{error}");
    }
}

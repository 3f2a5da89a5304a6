use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod properties;

pub(super) fn options() -> Options {
    Options {
        image: "registry.example.com/podcreds:0.1.0".to_owned(),
        pull_policy: None,
        mode: None,
        has_native_sidecars: true,
        port: 8081,
        mount_path: "/podcreds".to_owned(),
        volume_size: None,
        memory_limit: "32Mi".to_owned(),
        args: Vec::new(),
        prefix: "podcreds.io".to_owned(),
        uninject: false,
    }
}

fn uninject() -> Options {
    Options { uninject: true, ..options() }
}

fn try_run(text: &str, options: &Options) -> Result<Output, Error> {
    run(&[Manifest::parse("app.yaml", text.to_owned()).unwrap()], options)
}

fn edited(text: &str, options: &Options) -> String {
    let mut output = try_run(text, options).unwrap_or_else(|error| panic!("{error}\n{text}"));
    output.texts.remove(0)
}

fn parsed(text: &str) -> serde_json::Value {
    yaml_serde::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn goldens() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().contains(".in."));
    paths.sort();
    assert!(paths.len() >= 8, "{paths:?}");
    paths
}

#[test]
fn the_golden_files_are_injected_as_expected_and_restored() {
    for path in goldens() {
        let input = fs::read_to_string(&path).unwrap();
        let out = path.to_str().unwrap().replace(".in.", ".out.");
        let expected = fs::read_to_string(&out).unwrap();
        assert_eq!(edited(&input, &options()), expected, "{out}");
        assert_eq!(edited(&expected, &options()), expected, "a second run of {out}");
        assert_eq!(edited(&expected, &uninject()), input, "uninject of {out}");
        let crlf = |text: &str| text.replace('\n', "\r\n");
        assert_eq!(edited(&crlf(&input), &options()), crlf(&expected), "{out}");
        assert_eq!(edited(&crlf(&expected), &uninject()), crlf(&input), "{out}");
        let open = |text: &str| text.trim_end_matches('\n').to_owned();
        assert_eq!(edited(&open(&input), &options()), open(&expected), "{out}");
        assert_eq!(edited(&open(&expected), &uninject()), open(&input), "{out}");
    }
}

#[test]
fn spaces_and_comments_before_a_closing_bracket_stay() {
    for spec in [
        "      containers:\n      - { name: app, image: x }\n",
        "      containers: [ { name: app, image: x } ]\n      volumes: [ { name: a, emptyDir: {} } ]\n",
        "      containers:\n        [\n        {name: app, image: x # why\n        }\n        ]\n",
        "      containers:\n      - {name: app, volumeMounts: [{name: a, mountPath: /a} # why\n        ]}\n",
        "      containers: [{name: app}] # why\n      volumes: [ ]\n",
    ] {
        let text = deployment("", spec);
        let injected = edited(&text, &options());
        assert_eq!(edited(&injected, &options()), injected, "a second run");
        assert_eq!(edited(&injected, &uninject()), text, "{injected}");
    }
}

/// A Deployment whose pod has these annotations and this spec.
fn deployment(annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app}}\nspec:\n  template:\n    metadata:\n      annotations: {{podcreds.io/db.secret: db, {annotations}}}\n    spec:\n{spec}"
    )
}

fn one_container(annotations: &str) -> String {
    deployment(annotations, "      containers:\n      - name: app\n        image: x\n")
}

fn pod_spec(text: &str) -> serde_json::Value {
    parsed(text)["spec"]["template"]["spec"].clone()
}

/// What the containers and init containers are, with the first argument.
fn containers(text: &str) -> Vec<String> {
    let spec = pod_spec(text);
    let list = |key: &str| spec[key].as_array().cloned().unwrap_or_default();
    let lists = [("init", list("initContainers")), ("main", list("containers"))];
    let names = lists.iter().flat_map(|(list, items)| {
        items.iter().map(move |item| {
            format!("{list} {} {}", item["name"].as_str().unwrap(), item["args"][0].as_str().unwrap_or("-"))
        })
    });
    names.collect()
}

#[test]
fn the_container_is_that_of_the_native_sidecar_example() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/native-sidecar/native-sidecar.yaml");
    let example = pod_spec(&fs::read_to_string(path).unwrap());
    let text = edited(&one_container(""), &Options { image: "podcreds:0.1.0".to_owned(), ..options() });
    let spec = pod_spec(&text);
    let mut expected = example["initContainers"][0].clone();
    // The pod of the example sets these fields for all containers.
    for key in ["runAsNonRoot", "seccompProfile"] {
        expected["securityContext"][key] = example["securityContext"][key].clone();
    }
    let env = expected["env"].as_array_mut().unwrap();
    env.push(serde_json::json!({"name": "PODCREDS_VOLUME", "value": "/podcreds"}));
    env.push(serde_json::json!({"name": "PODCREDS_LISTEN", "value": ":8081"}));
    assert_eq!(spec["initContainers"][0], expected);
    assert_eq!(spec["volumes"], example["volumes"]);
    assert_eq!(spec["containers"][0]["volumeMounts"], example["containers"][0]["volumeMounts"]);
}

#[test]
fn the_mode_comes_from_the_annotation_the_flag_and_the_version() {
    let native = ["init podcreds sidecar", "main app -"];
    let init = ["init podcreds init", "main app -"];
    let sidecar = ["init podcreds init", "main app -", "main podcreds-sidecar sidecar"];
    let old = Options { has_native_sidecars: false, ..options() };
    let by_flag = |mode| Options { mode: Some(mode), ..options() };
    for (annotation, options, expected) in [
        ("", options(), &native[..]),
        ("", by_flag(Mode::Init), &init),
        ("", by_flag(Mode::Sidecar), &sidecar),
        ("", old.clone(), &sidecar),
        ("inject.podcreds.io/mode: init", by_flag(Mode::Sidecar), &init),
        ("inject.podcreds.io/mode: native-sidecar", by_flag(Mode::Init), &native),
    ] {
        assert_eq!(containers(&edited(&one_container(annotation), &options)), expected, "{annotation}");
    }
    let job = one_container("").replace("apps/v1", "batch/v1").replace("Deployment", "Job");
    assert_eq!(containers(&edited(&job, &old)), init);
    assert_eq!(containers(&edited(&job, &options())), native);
    let error = try_run(&one_container(""), &Options { mode: Some(Mode::NativeSidecar), ..old }).unwrap_err();
    assert!(error.to_string().contains("mode native-sidecar needs Kubernetes 1.29"), "{error}");
    let output = try_run(&job, &by_flag(Mode::Sidecar)).unwrap();
    assert!(output.warnings[0].contains("the Job does not complete"), "{:?}", output.warnings);
}

#[test]
fn another_run_with_other_options_updates_what_the_first_one_added() {
    let first = edited(&one_container(""), &options());
    let others = [
        Options { image: "other:1".to_owned(), pull_policy: Some("Always".to_owned()), ..options() },
        Options { mode: Some(Mode::Sidecar), args: vec!["--events".to_owned()], ..options() },
        Options { mode: Some(Mode::Init), memory_limit: "64Mi".to_owned(), ..options() },
        Options { mount_path: "/creds".to_owned(), port: 9000, ..options() },
        Options { volume_size: Some("4Mi".to_owned()), ..options() },
    ];
    for other in &others {
        let expected = edited(&one_container(""), other);
        let updated = edited(&first, other);
        assert_ne!(updated, first);
        assert_eq!(parsed(&updated), parsed(&expected));
        assert_eq!(edited(&updated, other), updated);
        let back = edited(&updated, &Options { volume_size: Some("1Mi".to_owned()), ..options() });
        assert_eq!(parsed(&back), parsed(&first));
        assert_eq!(edited(&updated, &uninject()), one_container(""));
    }
}

#[test]
fn an_update_changes_nothing_but_the_container() {
    let spec = "      initContainers:\n      - name: wait # first\n        image: x\n      containers:\n      - name: app\n        image: x\n      volumes: # all\n      - name: data\n        emptyDir: {}\n";
    let first = edited(&deployment("", spec), &options());
    let updated = edited(&first, &Options { image: "other:1".to_owned(), ..options() });
    assert_eq!(updated, first.replace("registry.example.com/podcreds:0.1.0", "other:1"));
}

#[test]
fn defaults_of_the_api_server_hide_nothing() {
    let first = edited(&one_container(""), &options());
    // As kubectl prints it: more fields, and sorted keys.
    let mut live: serde_json::Value = parsed(&first);
    let container = &mut live["spec"]["template"]["spec"]["initContainers"][0];
    container["terminationMessagePath"] = "/dev/termination-log".into();
    container["terminationMessagePolicy"] = "File".into();
    container["imagePullPolicy"] = "IfNotPresent".into();
    container["ports"][0]["protocol"] = "TCP".into();
    container["livenessProbe"]["httpGet"]["scheme"] = "HTTP".into();
    container["livenessProbe"]["successThreshold"] = 1.into();
    container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1".into();
    let live = serde_json::to_string_pretty(&live).unwrap();
    assert_eq!(edited(&live, &options()), live);
    assert_eq!(parsed(&edited(&live, &uninject())), parsed(&one_container("")));
    let updated = edited(&live, &Options { image: "other:1".to_owned(), ..options() });
    assert_eq!(pod_spec(&updated)["initContainers"][0]["image"], "other:1");
}

#[test]
fn the_registry_and_other_programs_may_have_a_name_with_podcreds() {
    for container in ["image: podcreds.example.com/shop/app", "command: [/bin/start-podcreds]"] {
        let text = deployment("", &format!("      containers:\n      - {{name: app, {container}}}\n"));
        assert_ne!(edited(&text, &options()), text, "{container}");
    }
}

#[test]
fn a_name_with_a_line_break_does_not_begin_a_line() {
    let text = one_container("").replace("name: app}", "name: \"a\\n::error::b\"}");
    assert_eq!(
        try_run(&text, &options()).unwrap().notes,
        ["app.yaml:1:1: Deployment/a ::error::b: injected podcreds (mode native-sidecar)"]
    );
}

#[test]
fn a_mount_at_the_path_stays_with_a_slash_at_its_end_too() {
    let mount = "      - {name: app, volumeMounts: [{name: a, mountPath: /podcreds/}]}\n";
    let injected = edited(&deployment("", &format!("      containers:\n{mount}")), &options());
    assert!(injected.contains(mount), "{injected}");
}

#[test]
fn the_mode_is_compared_as_the_policy_compares_it() {
    let error = try_run(&one_container("inject.podcreds.io/mode: ' init'"), &options()).unwrap_err();
    assert!(error.to_string().contains("unknown mode \" init\""), "{error}");
}

#[test]
fn a_container_that_a_user_wrote_or_changed_stays() {
    let first = edited(&one_container(""), &options());
    for (text, reason) in [
        (first.replace("cpu: 500m", "cpu: 750m"), "container podcreds is not one that podcreds inject adds"),
        (
            deployment("", "      containers:\n      - {name: podcreds, image: x}\n"),
            "container podcreds is not one",
        ),
        (
            deployment("", "      containers:\n      - {name: app, image: registry/podcreds:1}\n"),
            "container app runs podcreds itself",
        ),
        (
            deployment("", "      containers:\n      - {name: app, command: [/tools/podcreds, exec]}\n"),
            "container app runs podcreds itself",
        ),
        (
            one_container("")
                .replace("metadata:\n", "metadata:\n      labels: {podcreds.io/inject: \"false\"}\n"),
            "has the label podcreds.io/inject: \"false\"",
        ),
    ] {
        let output = try_run(&text, &options()).unwrap();
        assert_eq!(output.texts, [text.as_str()]);
        assert!(output.notes.is_empty(), "{:?}", output.notes);
        let [warning] = &output.warnings[..] else { panic!("{:?}", output.warnings) };
        assert!(warning.starts_with("app.yaml:1:1: Deployment/app: left as it is: "), "{warning}");
        assert!(warning.contains(reason), "{warning}");
        // And nothing of it is removed.
        assert_eq!(edited(&text, &uninject()), text);
    }
    for example in
        ["native-sidecar/native-sidecar.yaml", "sidecar/sidecar.yaml", "exec/exec.yaml", "job/job.yaml"]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(example);
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(edited(&text, &options()), text, "{example}");
        assert_eq!(edited(&text, &uninject()), text, "{example}");
    }
}

#[test]
fn manifests_without_annotations_pass_through() {
    for text in [
        "a: 1\n---\n# nothing\n---\n- x\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {other.io/x: y}}\nspec: {containers: []}\n",
    ] {
        let output = try_run(text, &options()).unwrap();
        assert_eq!(output.texts, [text]);
        let expected = "nothing to inject: no pod template has an annotation such as podcreds.io/db.secret";
        assert_eq!(output.warnings, [expected]);
    }
    let misplaced = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, annotations: {podcreds.io/db.secret: x}}\nspec: {template: {spec: {containers: [{name: a}]}}}\n";
    let output = try_run(misplaced, &options()).unwrap();
    assert_eq!(output.texts, [misplaced]);
    assert!(
        output.warnings[0].ends_with(
            "annotations podcreds.io/... have no effect here: move them to the pod template, under spec.template.metadata.annotations"
        ),
        "{:?}",
        output.warnings
    );
}

#[test]
fn invalid_annotations_are_all_reported_with_their_positions() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  annotations:\n    podcreds.io/db.secert: orders\n    podcreds.io/db.optional: true\n    inject.podcreds.io/mode: deamon\n    inject.podcreds.io/port: \"0\"\n    inject.podcreds.io/containers: app, proxy\n    inject.podcreds.io/image: x\nspec:\n  containers:\n  - name: app\n";
    let error = try_run(text, &options()).unwrap_err().to_string();
    for expected in [
        "problems, and nothing is written:\n  app.yaml:",
        "app.yaml:6:5: Pod/app: invalid annotation: podcreds.io/db.secert: unknown annotation key",
        "app.yaml:7:5: Pod/app: annotation podcreds.io/db.optional is true or false, and the API server accepts only text",
        "app.yaml:8:5: Pod/app: annotation inject.podcreds.io/mode: unknown mode \"deamon\"; write native-sidecar",
        "app.yaml:9:5: Pod/app: annotation inject.podcreds.io/port: invalid port \"0\"",
        "app.yaml:10:5: Pod/app: annotation inject.podcreds.io/containers: the pod has no container \"proxy\"",
        "app.yaml:11:5: Pod/app: annotation inject.podcreds.io/image: unknown annotation key",
    ] {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
    let other_cluster = one_container("podcreds.io/db.cluster: west");
    assert_eq!(containers(&edited(&other_cluster, &options())).len(), 2);
}

#[test]
fn a_missing_token_and_a_taken_port_are_warnings() {
    let spec = "      automountServiceAccountToken: false\n      containers:\n      - name: app\n        ports: [{containerPort: 8081}]\n";
    let output = try_run(&deployment("", spec), &options()).unwrap();
    assert!(output.warnings[0].contains("no service account token"), "{:?}", output.warnings);
    assert!(output.warnings[1].contains("port 8081 is a port of container app"), "{:?}", output.warnings);
    let init = try_run(&deployment("inject.podcreds.io/mode: init", spec), &options()).unwrap();
    assert_eq!(init.warnings.len(), 1);
}

#[test]
fn keys_without_a_value_are_filled() {
    for (nothing, comment) in [("", ""), (" null", ""), (" ~", " # none"), ("", " # none")] {
        let spec = format!(
            "      initContainers:{nothing}{comment}\n      containers:\n      - name: app\n        volumeMounts:{nothing}\n      volumes:{nothing}{comment}\n"
        );
        let text = edited(&deployment("", &spec), &options());
        let expected = edited(&one_container(""), &options());
        let mut spec = pod_spec(&expected);
        spec["containers"][0].as_object_mut().unwrap().remove("image");
        assert_eq!(pod_spec(&text), spec, "{text}");
        assert_eq!(text.matches("# none").count(), if comment.is_empty() { 0 } else { 2 });
        assert_eq!(edited(&text, &options()), text);
    }
    let flow = "{apiVersion: v1, kind: Pod, metadata: {annotations: {podcreds.io/db.secret: x}}, spec: {containers: [{name: a, volumeMounts: null}], volumes: }}";
    let text = edited(flow, &options());
    assert_eq!(parsed(&text)["spec"]["volumes"][0]["name"], "podcreds");
}

#[test]
fn what_several_places_share_is_not_edited() {
    let shared =
        "cannot be edited, because it has an anchor (&), is an alias (*) or comes from a merge key (<<)";
    for (text, place) in [
        (
            deployment("", "      containers: &all\n      - name: app\n      initContainers: *all\n"),
            "app.yaml:11:23",
        ),
        (
            deployment("", "      containers:\n      - &app\n        name: app\n      - *app\n"),
            "app.yaml:10:9",
        ),
        (
            format!(
                "x: &base {{volumes: []}}\n{}",
                deployment("", "      <<: *base\n      containers:\n      - name: a\n")
            )
            .replace("apiVersion: apps/v1\n", "")
            .replacen("x: ", "apiVersion: apps/v1\nx: ", 1),
            "app.yaml:10:7",
        ),
    ] {
        let error = try_run(&text, &options()).unwrap_err().to_string();
        assert!(error.contains(shared), "{error}\n{text}");
        assert!(error.starts_with(place), "{error}\n{text}");
    }
    // Anchors elsewhere are of no concern.
    let spec = "      serviceAccountName: &name app\n      containers:\n      - name: *name\n";
    let text = edited(&deployment("", spec), &options());
    assert!(text.contains("- name: *name\n"), "{text}");
}

#[test]
fn layouts_that_are_not_understood_are_refused() {
    for spec in [
        "      ? containers\n      : - name: app\n",
        "      !!map\n      containers: !!seq\n      - name: app\n",
        "      containers:\n      - !!map\n        name: app\n",
    ] {
        let text = deployment("", spec);
        match try_run(&text, &options()) {
            Ok(output) => assert_eq!(edited(&output.texts[0], &uninject()), text),
            Err(error) => assert!(error.to_string().contains("cannot be edited in this layout"), "{error}"),
        }
    }
}

#[test]
fn a_prefix_of_its_own_is_passed_on() {
    let text = one_container("").replace("podcreds.io/db", "creds.example.com/db");
    let own = Options {
        prefix: "creds.example.com".to_owned(),
        args: vec!["--annotation-prefix=creds.example.com".to_owned()],
        ..options()
    };
    let args = &pod_spec(&edited(&text, &own))["initContainers"][0]["args"];
    assert_eq!(*args, serde_json::json!(["sidecar", "--annotation-prefix=creds.example.com"]));
    assert_eq!(edited(&text, &options()), text);
}

#[test]
fn a_volume_of_the_same_name_that_podcreds_cannot_write_to_is_a_warning() {
    let warnings = |volume: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{podcreds.io/db.secret: db}}}}, spec: {{containers: [{{name: app}}], volumes: [{{name: podcreds{volume}}}]}}}}"
        );
        try_run(&text, &options()).unwrap().warnings
    };
    let own = warnings(", secret: {secretName: x}");
    assert_eq!(own.len(), 1, "{own:?}");
    assert!(
        own[0].ends_with("the pod's own volume podcreds is not an emptyDir, and podcreds writes its files there: rename that volume"),
        "{own:?}"
    );
    for volume in [", emptyDir: {}", ", emptyDir:", ", emptyDir: {medium: Memory}"] {
        assert_eq!(warnings(volume), [""; 0], "{volume}");
    }
}

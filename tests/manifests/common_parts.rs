//! Each directory is self-contained, so that a reader finds everything in one place and can copy it. The parts that the examples
//! have in common must stay the same.

use serde_json::Value;

use super::{
    ANOTHER_NAMESPACE, CRONJOB, ENV, EXAMPLES, RESTART_SENTINEL, VERIFY_FULL, after_exec, documents, only,
    pod, podcreds_containers, render, without, workload,
};

/// The lines of an application that reads its file again and again, where they differ from those of one that reads it once.
const FOLLOWS: [&str; 3] =
    [r#"if [ "$PGUSER:$PGPASSWORD" != "$known" ]; then"#, "known=$PGUSER:$PGPASSWORD", "fi"];

/// The objects of an example, with the names of the first one. `None` means that kubectl is missing.
pub(crate) fn with_common_names(example: &str) -> Option<Vec<Value>> {
    let rendered = render(example)?;
    let Some(name) = example.strip_prefix("deploy/") else { return Some(documents(&rendered)) };
    Some(documents(
        &rendered.replace(&format!("app-{name}"), "app").replace(&format!("shop-db-{name}"), "shop-db"),
    ))
}

/// What the application's script reads and prints, whether it does so once or repeatedly.
fn reads_and_prints(script: &str) -> Vec<&str> {
    let lines: Vec<_> = script.lines().map(str::trim).collect();
    if lines.contains(&"known=") {
        assert!(FOLLOWS.iter().all(|line| lines.contains(line)), "{script}");
    }
    let is_common =
        |line: &&str| line.starts_with(". ") || (line.starts_with("echo ") && line.contains("PGPASSWORD"));
    lines.into_iter().filter(is_common).collect()
}

/// The application's container, with what differs by design removed or replaced.
fn application(documents: &[Value], first: &[Value]) -> Value {
    let containers = pod(documents)["spec"]["containers"].as_array().unwrap();
    let mut app = containers.iter().find(|container| container["name"] == "app").unwrap().clone();
    // The version that the example with the sentinel stores, and its directory.
    let script = app["args"][0].as_str().unwrap().replace(". /podcreds/shop/", ". /podcreds/");
    let mut lines = reads_and_prints(&script);
    if let Some(command) = after_exec(&app["command"]) {
        // The application does the same without sourcing a file, because its variables are already set.
        lines.insert(0, ". /podcreds/shop.env");
        app["command"] = command.into();
    }
    if let Some(env) = app["env"].as_array() {
        // The kubelet sets its variables from the file, without a mount.
        assert!(!env.is_empty() && app["volumeMounts"].is_null());
        lines.insert(0, ". /podcreds/shop.env");
        app.as_object_mut().unwrap().remove("env");
        app["volumeMounts"] = pod(first)["spec"]["containers"][0]["volumeMounts"].clone();
    }
    app["args"] = lines.into();
    // The mount of an image volume, and that of the sentinel.
    without(&mut app["volumeMounts"], |mount| mount["name"] == "podcreds-image" || mount["name"] == "tmp");
    app.as_object_mut().unwrap().remove("livenessProbe");
    app
}

/// The template's metadata, with the annotations that differ by design removed or replaced.
fn metadata(example: &str, documents: &[Value]) -> Value {
    let mut metadata = pod(documents)["metadata"].clone();
    let annotations = metadata["annotations"].as_object_mut().unwrap();
    match example {
        ENV => {
            assert_eq!(
                annotations.insert("podcreds.io/shop.format".into(), "env".into()).unwrap(),
                "envfile"
            );
        }
        RESTART_SENTINEL => {
            assert_eq!(annotations.remove("podcreds.io/shop.path"), Some("shop/shop.env".into()));
        }
        ANOTHER_NAMESPACE => {
            let secret = annotations.insert("podcreds.io/shop.secret".into(), "shop-db".into());
            assert_eq!(secret.unwrap(), "podcreds-example-databases/shop-db");
        }
        VERIFY_FULL => {
            for key in ["shop.set", "shop-ca.configmap", "shop-ca.keys"] {
                annotations.remove(&format!("podcreds.io/{key}")).expect(key);
            }
        }
        _ => {}
    }
    metadata
}

#[test]
fn all_examples_have_the_same_secret_and_the_same_application() {
    let Some(first) = with_common_names(EXAMPLES[0]) else { return };
    for example in EXAMPLES {
        let Some(documents) = with_common_names(example) else { return };
        let mut secret = only(&documents, "Secret").clone();
        secret["metadata"].as_object_mut().unwrap().remove("namespace");
        assert_eq!(secret, *only(&first, "Secret"), "{example}");
        let (template, template_of_first) = (pod(&documents), pod(&first));
        if example != CRONJOB {
            assert_eq!(application(&documents, &first), application(&first, &first), "{example}");
            assert_eq!(metadata(example, &documents), template_of_first["metadata"], "{example}");
        }
        let (spec, spec_of_first) = (&template["spec"], &template_of_first["spec"]);
        assert_eq!(spec["securityContext"], spec_of_first["securityContext"], "{example}");
        for (place, container) in podcreds_containers(template) {
            for field in ["resources", "securityContext"] {
                let of_first = &spec_of_first["initContainers"][0][field];
                assert_eq!(&container[field], of_first, "{example}: {place}: {field}");
            }
        }
    }
}

/// An application that reads its file only once cannot show a rotation.
#[test]
fn an_application_beside_a_sidecar_follows_its_file_unless_it_is_restarted() {
    for example in EXAMPLES {
        let Some(documents) = with_common_names(example) else { return };
        let spec = &pod(&documents)["spec"];
        let has_sidecar =
            podcreds_containers(pod(&documents)).iter().any(|(_, one)| one["args"][0] == "sidecar");
        let is_restarted = example.starts_with("deploy/restart-") || example == ENV;
        let script = spec["containers"][0]["args"][0].as_str().unwrap();
        assert_eq!(script.contains("known="), has_sidecar && !is_restarted, "{example}: {script}");
        assert!(workload(&documents)["metadata"]["name"] == "app", "{example}");
    }
}

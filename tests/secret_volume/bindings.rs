//! Service bindings: the root must contain only bindings, or libraries reject it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::run::run;
use crate::{Scene, TIMEOUT, password, tools};

#[test]
fn spring_cloud_bindings_finds_exactly_the_bindings_after_each_rotation() {
    if tools::java().is_none() {
        return;
    }
    let annotations = [
        ("db.secret", "db"),
        ("db.path", "bindings/db"),
        ("db.keys", "password"),
        ("db.set", "type=postgresql"),
        ("other.secret", "db"),
        ("top.secret", "db"),
        ("top.format", "json"),
    ];
    let scene = Scene::start(&annotations, "bindings/db/type");
    let root = scene.path("bindings");
    for rotation in 0..2 {
        scene.rotate(&password(rotation));
        scene.wait_until("the new password is published", || {
            fs::read_to_string(root.join("db/password")).is_ok_and(|text| text == password(rotation))
        });
        assert_eq!(bindings(&root), json!({"db/type": "postgresql", "db/password": password(rotation)}));
    }
}

#[test]
fn the_top_of_the_volume_is_not_a_binding_root() {
    if tools::java().is_none() {
        return;
    }
    let scene = Scene::start(&[("db.secret", "db"), ("db.set", "type=postgresql")], "db/type");
    let error = bindings(&scene.path(""));
    assert!(error.as_str().is_some_and(|error| error.contains("..podcreds has no type")), "{error}");
}

/// The text of each file that the library finds in this root, or the library's error.
fn bindings(root: &Path) -> Value {
    let mut java = tools::java().expect("the test has checked for it");
    java.arg("bindings").arg(root);
    let finished = run(java, TIMEOUT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let output: Value = serde_json::from_slice(&finished.stdout).unwrap();
    output.get("files").or(output.get("error")).expect("files or error").clone()
}

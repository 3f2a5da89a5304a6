//! Service bindings: a root that holds bindings and nothing else, or libraries refuse it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::run::run;
use crate::{HANGS, Scene, password, tools};

#[test]
fn spring_cloud_bindings_finds_exactly_the_bindings_through_rotations() {
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
        scene.waits("the new password is there", || {
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
    let refusal = bindings(&scene.path(""));
    assert!(refusal.as_str().is_some_and(|error| error.contains("..podcreds has no type")), "{refusal}");
}

/// What the library finds in this root: the text of each file, or why there is none.
fn bindings(root: &Path) -> Value {
    let mut java = tools::java().expect("the test has looked for it");
    java.arg("bindings").arg(root);
    let finished = run(java, HANGS);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let answer: Value = serde_json::from_slice(&finished.stdout).unwrap();
    answer.get("files").or(answer.get("error")).expect("one of both").clone()
}

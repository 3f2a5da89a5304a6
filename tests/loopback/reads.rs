//! Reads of many objects: how many requests are under way at the same time, and over how many connections. The server holds
//! responses back until it has received other requests, so that a client that does not send them would not finish.

use std::collections::BTreeSet;

use crate::support::server::{Fault, Times};
use crate::{Scene, assert_code, assert_has};

/// A pod with a credential for each of the Secrets `s00`, `s01` ….
fn secrets(count: usize) -> Scene {
    let names: Vec<_> = (0..count).map(|n| format!("s{n:02}")).collect();
    let keys: Vec<_> = names.iter().map(|name| format!("{name}.secret")).collect();
    let annotations: Vec<_> =
        keys.iter().zip(&names).map(|(key, name)| (key.as_str(), name.as_str())).collect();
    let scene = Scene::new(&annotations);
    names.iter().for_each(|name| scene.server.put_secret("prod", name, &[("password", name.as_bytes())]));
    scene
}

/// Fails unless the pod and every Secret was requested exactly once and every file is written.
#[track_caller]
fn assert_each_read_once(scene: &Scene, count: usize) {
    let lines = scene.server.request_lines();
    assert_eq!(lines.len(), 1 + count, "{lines:#?}");
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), 1 + count, "{lines:#?}");
    for n in 0..count {
        assert_eq!(scene.read(&format!("s{n:02}/password")), format!("s{n:02}"));
    }
}

#[test]
fn many_secrets_are_read_eight_at_a_time_over_eight_connections() {
    let scene = secrets(60);
    for round in 1..=7 {
        scene.server.fail_on("/secrets/", Fault::UntilRequests(1 + 8 * round), Times::N(8));
    }
    assert_code(&scene.init(&[]), 0);
    assert_each_read_once(&scene, 60);
    assert_eq!(scene.server.connections(), 8);
}

#[test]
fn four_secrets_are_read_one_after_the_other_over_one_connection() {
    let scene = secrets(4);
    assert_code(&scene.init(&[]), 0);
    assert_each_read_once(&scene, 4);
    let lines = scene.server.request_lines();
    let sorted = lines.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect::<Vec<_>>();
    assert_eq!((lines, scene.server.connections()), (sorted, 1));
}

#[test]
fn five_secrets_are_read_over_two_connections() {
    let scene = secrets(5);
    scene.server.fail_on("/secrets/", Fault::UntilRequests(1 + 2), Times::N(2));
    assert_code(&scene.init(&[]), 0);
    assert_each_read_once(&scene, 5);
    assert_eq!(scene.server.connections(), 2);
}

#[test]
fn a_secret_that_hangs_delays_no_other() {
    let scene = secrets(8);
    scene.server.fail_on("/secrets/s02", Fault::UntilRequests(1 + 8), Times::Once);
    assert_code(&scene.init(&[]), 0);
    assert_each_read_once(&scene, 8);
    assert_eq!(scene.server.connections(), 2);
}

#[test]
fn a_secret_that_hangs_does_not_delay_the_retry_of_another() {
    let scene = secrets(8);
    scene.server.fail_on("/secrets/s02", Fault::UntilRequests(1 + 8 + 1), Times::Once);
    let busy = Fault::Status { code: 503, retry_after: None, message: "test message".into() };
    scene.server.fail_on("/secrets/s05", busy, Times::Once);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["Secret prod/s05: ", "retrying in"]);
    assert_eq!(scene.server.requests().len(), 1 + 8 + 1);
}

#[test]
fn secrets_are_read_over_the_connections_of_the_templates() {
    let names: Vec<_> = (0..32).map(|n| format!("s{n:02}")).collect();
    let annotations = names.iter().enumerate().flat_map(|(n, name)| {
        let template = (n < 8).then(|| (format!("{name}.template-from"), format!("t{n}/text")));
        [(format!("{name}.secret"), name.clone())].into_iter().chain(template)
    });
    let annotations: Vec<_> = annotations.collect();
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let scene = Scene::new(&annotations);
    for (n, name) in names.iter().enumerate() {
        scene.server.put_secret("prod", name, &[("password", name.as_bytes())]);
        scene.server.put_configmap("prod", &format!("t{n}"), &[("text", "{{ password }}")], &[]);
    }
    scene.server.fail_on("/configmaps/", Fault::UntilRequests(1 + 2), Times::N(2));
    scene.server.fail_on("/secrets/", Fault::UntilRequests(1 + 8 + 8), Times::N(8));
    assert_code(&scene.init(&[]), 0);
    let lines = scene.server.request_lines();
    let is_template = |line: &String| line.contains("/configmaps/");
    assert_eq!((lines.len(), lines[1..9].iter().all(is_template)), (1 + 8 + 32, true), "{lines:#?}");
    assert_eq!(scene.server.connections(), 8);
}

#[test]
fn the_errors_of_all_objects_are_reported_in_order() {
    let scene = secrets(12);
    for name in ["s03", "s07", "s11"] {
        scene.server.fail_on(&format!("/secrets/{name}"), Fault::Body("test".into()), Times::Always);
    }
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 4);
    let (_, error) = finished.stderr.rsplit_once("ERROR").unwrap();
    let places: Vec<_> = ["s03", "s07", "s11"].map(|name| error.find(&format!("prod/{name}: "))).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{error}");
}

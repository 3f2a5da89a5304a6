//! Services as a source: the requests, the rendered host and port, and how changes are followed.

use serde_json::json;

use crate::support::run::{Running, poll_until};
use crate::support::server::Kind;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// A URI with user and password from the Secret `db` and the address from the Service `orders-rw`.
const URI: [(&str, &str); 5] = [
    ("db.secret", "db"),
    ("db.service", "orders-rw"),
    ("db.format", "uri"),
    ("db.engine", "postgresql"),
    ("db.set", "database=orders"),
];

fn uri(port: u16) -> String {
    format!("postgresql://app:{PASSWORD}@orders-rw.prod.svc:{port}/orders")
}

/// A scene whose Service has these ports.
fn scene(annotations: &[(&str, &str)], ports: &[(&str, u16)]) -> Scene {
    let scene = Scene::new(&[&URI, annotations].concat());
    scene.server.put_service("prod", "orders-rw", ports);
    scene
}

#[test]
fn a_uri_from_a_secret_and_a_service_needs_one_request_each() {
    let scene = scene(&[("again.service", "orders-rw:postgres")], &[("postgres", 6432)]);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(scene.read("db.uri"), uri(6432));
    assert_eq!(
        (scene.read("again/host"), scene.read("again/port")),
        ("orders-rw.prod.svc".into(), "6432".into())
    );
    let lines = scene.server.request_lines();
    let base = "GET /api/v1/namespaces/prod";
    let asked =
        [format!("{base}/pods/app-0"), format!("{base}/secrets/db"), format!("{base}/services/orders-rw")];
    assert_eq!(lines, asked);
}

#[test]
fn an_external_service_uses_its_external_name_and_the_default_port() {
    let scene = scene(&[("db.service", "infra/orders")], &[]);
    let spec = json!({"spec": {"type": "ExternalName", "externalName": "orders.example.com"}});
    scene.server.put_object(Kind::Service, "infra", "orders", spec);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(scene.read("db.uri"), format!("postgresql://app:{PASSWORD}@orders.example.com:5432/orders"));
}

#[test]
fn invalid_services_are_reported_with_a_remedy() {
    let several = [("postgres", 5432), ("metrics", 9187)];
    for (annotations, code, parts) in [
        (&[][..], 2, &["Service prod/orders-rw has several ports (metrics, postgres): choose one"][..]),
        (&[("db.service", "orders-rw:pg")], 3, &["has no port \"pg\"; available: metrics, postgres"]),
        (
            &[("db.service", "orders-rw:")],
            2,
            &["podcreds.io/db.service: invalid port after the colon of \"orde…\""],
        ),
        (
            &[("db.service", "none")],
            3,
            &["credential db: Service prod/none: services \"none\" not found", ".optional"],
        ),
        (
            &[("db.service", "forbidden")],
            3,
            &[
                "Service prod/forbidden: forbidden",
                "resources: [services], resourceNames: [forbidden], verbs: [get]",
            ],
        ),
    ] {
        let scene = scene(annotations, &several);
        scene.server.forbid(Kind::Service, "prod", "forbidden");
        let finished = scene.init(&["--timeout", "300ms"]);
        assert_code(&finished, code);
        assert_has(&finished.stderr, parts);
        assert!(scene.names().is_empty() && !finished.stderr.contains(PASSWORD));
    }
}

#[test]
fn a_missing_optional_service_skips_the_credential() {
    let scene = scene(&[("db.service", "none"), ("db.optional", "true"), ("raw.secret", "db")], &[]);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(
        &finished.stderr,
        &["skipping optional credential db: Service prod/none not found", "of 1 credential"],
    );
    assert_eq!(scene.files().into_keys().collect::<Vec<_>>(), ["raw/password", "raw/username"]);
}

#[test]
fn the_sidecar_follows_the_port_of_a_service() {
    let scene = scene(&[("db.service", "orders-rw:postgres")], &[("postgres", 5432)]);
    let running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    let waits = |what: &str, condition: &mut dyn FnMut() -> bool| {
        poll_until(HANGS, &format!("{what}; log:\n{}", running.stderr()), condition);
    };
    waits("the first bundle is published", &mut || scene.read("db.uri") == uri(5432));
    waits("Secret and Service are watched", &mut || scene.server.open_watches() == 2);
    let watched: Vec<_> = scene.server.watch_requests().into_iter().map(|request| request.line()).collect();
    let by_name = |line: &String| line.contains("/services?") && line.contains("metadata.name%3Dorders-rw");
    assert_eq!(watched.iter().filter(|line| by_name(line)).count(), 1, "{watched:?}");

    let rotations = || running.stderr().matches("rotated ").count();
    let before = rotations();
    scene.server.put_service("prod", "orders-rw", &[("metrics", 9187), ("postgres", 5432)]);
    waits("the event is sent", &mut || !scene.server.watches_are_behind());
    scene.server.put_service("prod", "orders-rw", &[("postgres", 6432)]);
    waits("the port is followed", &mut || scene.read("db.uri") == uri(6432));
    waits("the rotation is logged", &mut || rotations() > before);
    assert_eq!(rotations(), before + 1, "an additional port is not a rotation");

    scene.server.put_service("prod", "orders-rw", &[("metrics", 9187)]);
    waits("the missing port is logged", &mut || {
        running.stderr().contains("has no port \"postgres\"; available: metrics")
    });
    assert_eq!(scene.read("db.uri"), uri(6432), "the last good file stays");
}

#[test]
fn a_service_without_the_watch_permission_is_polled() {
    let scene = scene(&[], &[("", 5432)]);
    scene.server.forbid_watch(Kind::Service, "prod", "orders-rw");
    let running = Running::start(scene.command(&["sidecar", "--listen", "off", "--poll-interval", "100ms"]));
    poll_until(HANGS, "the missing permission is logged", || {
        running.stderr().contains("resources: [services], resourceNames: [orders-rw], verbs: [watch]")
    });
    scene.server.put_service("prod", "orders-rw", &[("", 6432)]);
    poll_until(HANGS, "the port is followed", || scene.read("db.uri") == uri(6432));
}

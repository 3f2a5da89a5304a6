//! Sources that an operator fills in steps: `init` waits for missing keys, ports and values as for missing objects.

use serde_json::Value;

use crate::support::run::{Finished, Running, run};
use crate::support::server::Kind;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

const WAITING: &str = "; waiting for it, for up to ";
const POD: &str = "GET /api/v1/namespaces/prod/pods/app-0";
const SECRET: &str = "GET /api/v1/namespaces/prod/secrets/db";
/// A credential that needs a key that the Secret `db` does not have yet.
const HOST: [(&str, &str); 2] = [("db.secret", "db"), ("db.keys", "password, host=endpoint")];

fn reads(scene: &Scene, line: &str) -> usize {
    scene.server.request_lines().iter().filter(|requested| *requested == line).count()
}

/// Starts the command, and waits until it has read the Secret `db` again.
fn waiting(scene: &Scene, args: &[&str]) -> Running {
    let running = Running::start(scene.command(args));
    running.poll_until(HANGS, "the Secret is read again", || reads(scene, SECRET) >= 3);
    running
}

fn put_host(scene: &Scene) {
    let data = [("password", PASSWORD.as_bytes()), ("endpoint", b"db.example.com")];
    scene.server.put_secret("prod", "db", &data);
}

#[test]
fn init_waits_for_a_missing_key_and_reads_only_the_sources_of_that_credential_again() {
    let others = [("more.secret", "more"), ("cache.secret", "none"), ("cache.optional", "true")];
    let scene = Scene::new(&[&HOST[..], &others].concat());
    scene.server.put_secret("prod", "more", &[("token", b"test-token-x")]);
    let running = waiting(&scene, &["init"]);
    assert!(scene.names().iter().all(|name| name.starts_with("..")), "nothing is written meanwhile");
    put_host(&scene);
    let finished = running.wait(HANGS);
    assert_code(&finished, 0);
    assert_eq!(
        (scene.read("db/host"), scene.read("db/password")),
        ("db.example.com".into(), PASSWORD.into())
    );
    assert_eq!(scene.read("more/token"), "test-token-x");
    let more = "GET /api/v1/namespaces/prod/secrets/more";
    let none = "GET /api/v1/namespaces/prod/secrets/none";
    assert_eq!([POD, more, none].map(|line| reads(&scene, line)), [1, 1, 1]);
    assert_eq!(scene.server.connections(), 1);
    let message = format!(
        "WARN  credential db: key endpoint not found in Secret prod/db; available: password, username{WAITING}"
    );
    assert_eq!(finished.stderr.matches(&message).count(), 1, "{}", finished.stderr);
    assert_eq!(finished.stderr.matches("skipping optional credential cache").count(), 1);
}

#[test]
fn each_kind_of_incomplete_input_is_waited_for() {
    let base = ("db.secret", "db");
    let uri = [base, ("db.format", "uri"), ("db.engine", "postgresql")];
    let by_name = [base, ("db.service", "db:pg"), ("db.engine", "postgresql"), ("db.format", "uri")];
    let from_config_map = [base, ("db.template-from", "templates/db.conf")];
    for (annotations, part, path, expected) in [
        (&[base][..], "Secret prod/db has no keys", "db/host", "h"),
        (&uri, "missing field host (also read from: hostname, endpoint)", "db.uri", "postgresql://app@h"),
        (&[base, ("db.format", "uri")], "missing database engine", "db.uri", "postgresql://app@h"),
        (
            &[base, ("db.format", "uri"), ("db.keys", "uri=url, engine")],
            "key url not found",
            "db.uri",
            "postgresql://app@h:1",
        ),
        (&by_name, "Service prod/db has no port \"pg\"", "db.uri", "postgresql://app@db.prod.svc:5432"),
        (&[base, ("db.template", "at {{ host }}")], "unknown field \"host\"", "db.txt", "at h"),
        (&from_config_map, "key db.conf not found in ConfigMap prod/templates", "db.txt", "in h"),
    ] {
        let scene = Scene::new(annotations);
        let first: &[(&str, &[u8])] = match part {
            "missing database engine" => &[("username", b"app"), ("host", b"h")],
            "Service prod/db has no port \"pg\"" => &[("username", b"app")],
            "missing field host (also read from: hostname, endpoint)" => {
                &[("username", b"app"), ("host", b"")]
            }
            "Secret prod/db has no keys" => &[],
            _ => &[("username", b"app")],
        };
        scene.server.put_secret("prod", "db", first);
        scene.server.put_service("prod", "db", &[("metrics", 9187)]);
        scene.server.put_configmap("prod", "templates", &[("other", "x")], &[]);
        let running = waiting(&scene, &["init"]);
        let expects = format!("{part}\nis waited for; log:\n{}", running.stderr());
        assert!(
            running.stderr().lines().any(|line| line.contains(part) && line.contains(WAITING)),
            "{expects}"
        );
        let data: &[(&str, &[u8])] = match part {
            "Service prod/db has no port \"pg\"" => first,
            "missing database engine" => &[("username", b"app"), ("host", b"h"), ("type", b"postgresql")],
            "key url not found" => &[("url", b"postgresql://app@h:1"), ("engine", b"postgresql")],
            "Secret prod/db has no keys" => &[("host", b"h")],
            _ => &[("username", b"app"), ("host", b"h")],
        };
        scene.server.put_service("prod", "db", &[("metrics", 9187), ("pg", 5432)]);
        scene.server.put_configmap("prod", "templates", &[("db.conf", "in {{ host }}")], &[]);
        scene.server.put_secret("prod", "db", data);
        assert_code(&running.wait(HANGS), 0);
        assert!(scene.read(path).starts_with(expected), "{part}: {}", scene.read(path));
    }
}

#[test]
fn a_key_that_stays_missing_ends_init_with_3_and_a_message_that_says_what_to_do() {
    let scene = Scene::new(&HOST);
    let finished = scene.init(&["--timeout", "300ms", "--log-format", "json"]);
    assert_code(&finished, 3);
    assert!(reads(&scene, SECRET) >= 2);
    let parts = [
        "credential db: key endpoint not found in Secret prod/db; available: password, username; still missing after ",
        "; check what fills the object, such as an operator, or correct the annotations; if it only takes longer, raise --timeout",
    ];
    assert_has(&scene.pod.termination_message(), &parts);
    let lines: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [waiting, last] = &lines[..] else { panic!("{}", finished.stderr) };
    assert_eq!((&waiting["level"], &waiting["credential"]), (&"warn".into(), &"db".into()));
    assert_has(last["message"].as_str().unwrap(), &parts);
    assert!(scene.names().iter().all(|name| name.starts_with("..")));
}

#[test]
fn a_warning_is_repeated_only_if_what_is_missing_has_changed() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.keys", "password, host, port")]);
    let running = waiting(&scene, &["init"]);
    let warnings = || running.stderr().matches(WAITING).count();
    assert_eq!(warnings(), 2, "{}", running.stderr());
    scene.server.put_secret("prod", "db", &[("password", b"x"), ("host", b"h")]);
    running.poll_until(HANGS, "the port alone is missing", || warnings() == 3);
    assert_has(
        &running.stderr(),
        &["key port not found in Secret prod/db; available: host, password; waiting"],
    );
    scene.server.put_secret("prod", "db", &[("password", b"x"), ("host", b"h"), ("port", b"1")]);
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn any_other_problem_ends_init_at_once_with_2_even_if_another_credential_is_incomplete() {
    let uri = [("db.format", "uri"), ("db.engine", "postgresql"), ("db.keys", "username, password")];
    let template = [("db.template-from", "templates/db.conf"), ("db.keys", "username")];
    let reserved = [("db.format", "env"), ("db.keys", "PATH=username")];
    for (annotations, part) in [
        (&[("db.format", "envfile")][..], "which"),
        // `.keys` lists no field that could become the host.
        (&uri, "missing field host"),
        (&template, "unknown field \"host\""),
        (&reserved, "PATH"),
    ] {
        let base = [("db.secret", "db"), ("late.secret", "late"), ("late.keys", "host")];
        let scene = Scene::new(&[&base[..], annotations].concat());
        scene.server.put_secret("prod", "db", &[("username", b"it's"), ("password", b"x")]);
        scene.server.put_secret("prod", "late", &[("username", b"app")]);
        scene.server.put_configmap("prod", "templates", &[("db.conf", "{{ host }}")], &[]);
        // The timeout is longer than a test may take.
        let finished = scene.init(&["--timeout", "10m"]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part]);
        assert!(!finished.stderr.contains("waiting") && reads(&scene, SECRET) <= 1, "{}", finished.stderr);
    }
}

#[test]
fn an_optional_credential_with_a_missing_object_is_not_waited_for() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "none"), ("more.optional", "true")]);
    assert_code(&scene.init(&["--timeout", "10m"]), 0);
    assert_eq!(scene.server.requests().len(), 3);
}

#[test]
fn an_object_that_vanishes_meanwhile_is_waited_for_as_well() {
    let scene = Scene::new(&HOST);
    let running = waiting(&scene, &["init"]);
    scene.server.delete(Kind::Secret, "prod", "db");
    running.poll_until(HANGS, "the deletion is logged", || running.stderr().contains("\"db\" not found"));
    put_host(&scene);
    assert_code(&running.wait(HANGS), 0);
}

#[test]
fn render_does_not_wait_and_exits_with_3() {
    let scene = Scene::new(&HOST);
    let finished = run(scene.command(&["render", "--timeout", "10m"]), HANGS);
    assert_code(&finished, 3);
    let parts =
        ["key endpoint not found in Secret prod/db", "; podcreds init waits for it until its --timeout"];
    assert_has(&finished.stderr, &parts);
    assert_eq!(scene.server.request_lines(), [POD, SECRET]);
}

#[test]
fn exec_with_render_waits() {
    let scene = Scene::new(&[&HOST[..], &[("db.format", "env")]].concat());
    let running = waiting(&scene, &["exec", "--render", "--", "/bin/sh", "-c", "echo $host"]);
    put_host(&scene);
    let Finished { code, stdout, .. } = running.wait(HANGS);
    assert_eq!((code, String::from_utf8(stdout).unwrap().as_str()), (Some(0), "db.example.com\n"));
}

#[test]
fn the_first_start_of_a_sidecar_names_what_it_waits_for() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.format", "uri"), ("db.engine", "postgresql")]);
    let running = Running::start(scene.command(&["sidecar", "--events"]));
    let message = "credential db: missing field host (also read from: hostname, endpoint): map it in .keys beside the other keys, as in host=<its key>, or write it in .set; available: password, username";
    running.poll_until(HANGS, "it is logged", || running.stderr().contains(message));
    running.poll_until(HANGS, "the Event is recorded", || {
        let events = scene.server.objects(Kind::Event);
        events.iter().any(|event| event["message"].as_str().is_some_and(|text| text.contains(message)))
    });
    assert!(running.stderr().contains("waiting"), "{}", running.stderr());
    put_host(&scene);
    running.poll_until(HANGS, "it is written", || scene.read("db.uri").contains("@db.example.com"));
}

#[test]
fn a_rotation_without_user_and_password_keeps_the_files_of_a_connection() {
    let set = ("db.set", "host=h");
    let scene = Scene::new(&[("db.secret", "db"), ("db.format", "uri"), ("db.engine", "postgresql"), set]);
    let running = Running::start(scene.command(&["sidecar"]));
    let put = |data: &[(&str, &[u8])]| scene.server.put_secret("prod", "db", data);
    let expected = format!("postgresql://app:{PASSWORD}@h:5432");
    running.poll_until(HANGS, "the first file", || scene.read("db.uri") == expected);
    put(&[("POSTGRES_USER", b"app"), ("POSTGRES_PASSWORD", b"test-2")]);
    let entries = "as in username=POSTGRES_USER, password=POSTGRES_PASSWORD; if";
    running.poll_until(HANGS, "the error", || running.stderr().contains(entries));
    assert_eq!(scene.read("db.uri"), expected);
    put(&[("username", b"app"), ("POSTGRES_PASSWORD", b"test-2")]);
    running.poll_until(HANGS, "the warning", || {
        running
            .stderr()
            .contains("WARN  credential db: writing the connection without a password: missing field")
    });
    running.poll_until(HANGS, "the file with a user", || scene.read("db.uri") == "postgresql://app@h:5432");
}

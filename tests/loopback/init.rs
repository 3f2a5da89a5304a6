//! `init` and `render` without faults, including wrong usage and wrong annotations.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::support::run::run;
use crate::support::server::ApiServer;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

#[test]
fn init_reads_each_object_once_over_one_connection() {
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("again.secret", "db"),
        ("again.format", "env"),
        ("more.secret", "other/more"),
        ("more.configmap", "settings"),
        ("more.format", "json"),
        ("more.path", "app/more.json"),
    ]);
    scene.server.put_secret("other", "more", &[("token", b"test-token-x")]);
    scene.server.put_configmap("prod", "settings", &[("host", "db.prod")], &[("ca", b"bytes")]);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    let files = scene.files();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["again.env", "app/more.json", "db/password", "db/username"]
    );
    assert_eq!(files["db/password"], PASSWORD.as_bytes());
    assert_has(&scene.read("app/more.json"), &["\"ca\": \"bytes\"", "\"host\": \"db.prod\"", "test-token-x"]);
    assert_eq!(
        scene.server.request_lines(),
        [
            "GET /api/v1/namespaces/prod/pods/app-0",
            "GET /api/v1/namespaces/other/secrets/more",
            "GET /api/v1/namespaces/prod/secrets/db",
            "GET /api/v1/namespaces/prod/configmaps/settings",
        ]
        .map(String::from)
        .iter()
        .map(String::clone)
        .collect::<Vec<_>>()
    );
    assert_eq!(scene.server.connections(), 1);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    assert_has(&finished.stderr, &["INFO", "wrote 4 files of 3 credentials to ", " ms"]);
}

#[test]
fn only_the_metadata_of_the_pod_is_requested() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    let accept = scene.server.requests()[0].header("accept").unwrap().to_owned();
    assert!(accept.starts_with("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), "{accept}");
}

#[test]
fn a_second_run_writes_nothing() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    let before = (scene.names(), scene.pod.volume().metadata().unwrap().mtime_nsec());
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(
        &finished.stderr,
        &["is up to date after ", ", with 2 files of 1 credential: nothing written"],
    );
    assert_eq!((scene.names(), scene.pod.volume().metadata().unwrap().mtime_nsec()), before);
}

/// When a pod's sandbox restarts, `init` runs again with the same volume.
#[test]
fn a_changed_secret_replaces_the_old_password() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    scene.put_password("test-password-2");
    assert_code(&scene.init(&["--grace", "1h"]), 0);
    assert_eq!((scene.read("db/password"), scene.versions("db")), ("test-password-2".into(), 2));
    scene.put_password("test-password-3");
    assert_code(&scene.init(&[]), 0);
    assert_eq!((scene.read("db/password"), scene.versions("db")), ("test-password-3".into(), 1));
}

#[test]
fn with_an_annotations_file_the_pod_is_not_read() {
    let scene = Scene::new(&[]);
    let file = scene.pod.root().join("annotations");
    fs::write(&file, "podcreds.io/db.keys=\"user=username,\\n\\tpassword\"\npodcreds.io/db.secret=\"db\"\n")
        .unwrap();
    assert_code(&scene.init(&["--annotations-file", file.to_str().unwrap()]), 0);
    assert_eq!(scene.server.request_lines(), ["GET /api/v1/namespaces/prod/secrets/db"]);
    assert_eq!(scene.read("db/user"), "app");

    fs::write(&file, "garbage").unwrap();
    let finished = scene.init(&["--annotations-file", file.to_str().unwrap()]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["line 1 has no =", "metadata.annotations"]);
    let missing = scene.init(&["--annotations-file", "/nowhere/annotations"]);
    assert_code(&missing, 2);
    assert_has(&missing.stderr, &["cannot read /nowhere/annotations", "downward API volume"]);
}

#[test]
fn the_parts_of_a_url_are_written_and_its_key_is_logged() {
    let scene = Scene::new(&[
        ("db.secret", "url"),
        ("db.keys", "PGHOST=host, PGPASSWORD=password"),
        ("db.format", "env"),
        ("pooled.secret", "url"),
        ("pooled.format", "uri"),
        ("pooled.override", "host=pooler, port=6432"),
    ]);
    scene.server.put_secret("prod", "url", &[("DATABASE_URL", b"postgres://app:a%2Fb@db.prod/orders")]);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_eq!(scene.read("db.env"), "export PGHOST='db.prod'\nexport PGPASSWORD='a/b'\n");
    assert_eq!(scene.read("pooled.uri"), "postgresql://app:a%2Fb@pooler:6432/orders");
    let said = "INFO  credential db: reading parts of the connection from the URL in key DATABASE_URL of Secret prod/url";
    assert_has(&finished.stderr, &[said, "INFO  credential pooled: reading"]);
}

#[test]
fn a_missing_optional_source_is_skipped_without_waiting() {
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("cache.secret", "none"),
        ("cache.optional", "true"),
        ("tls.secret", "db"),
        ("tls.keys", "tls.crt?, username"),
    ]);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(scene.files().keys().collect::<Vec<_>>(), ["db/password", "db/username", "tls/username"]);
    assert_eq!(scene.server.requests().len(), 3);
}

#[test]
fn a_pod_without_annotations_is_an_error_unless_allowed() {
    let scene = Scene::new(&[]);
    scene.server.put_pod("prod", "app-0", &[("podcred.io/db.secret", "db")]);
    let finished = scene.init(&[]);
    assert_code(&finished, 2);
    assert_has(
        &finished.stderr,
        &[
            "Pod prod/app-0 has no annotation that begins with podcreds.io/",
            "spec.template.metadata.annotations",
            "in a CronJob in spec.jobTemplate.spec.template.metadata.annotations",
            "one that begins with podcred.io/",
            "--allow-none",
        ],
    );
    assert_code(&scene.init(&["--allow-none"]), 0);
    let mut by_variable = scene.command(&["init"]);
    by_variable.env("PODCREDS_ALLOW_NONE", "true");
    assert_code(&run(by_variable, HANGS), 0);
    assert!(scene.files().is_empty());
}

#[test]
fn all_wrong_annotations_are_reported_before_any_secret_is_read() {
    let scene =
        Scene::new(&[("db.secert", "db"), ("x.secret", "X"), ("y.secret", "y"), ("y.cluster", "hub")]);
    let finished = scene.init(&[]);
    assert_code(&finished, 2);
    let parts = [
        "3 invalid annotations:",
        "podcreds.io/db.secert: unknown annotation key \"secert\"; did you mean \"secret\"?",
        "podcreds.io/x.secret: invalid name \"X\"",
        "podcreds.io/y.cluster: unknown cluster \"hub\": no clusters file given (--clusters)",
    ];
    assert_has(&finished.stderr, &parts);
    assert_has(&scene.pod.termination_message(), &parts);
    assert_eq!(scene.server.requests().len(), 1);
    assert!(scene.names().is_empty());
}

#[test]
fn values_may_be_empty_or_as_large_as_a_secret_can_hold() {
    let scene = Scene::plain();
    let large: Vec<u8> = (0..1_048_576_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    scene.server.put_secret("prod", "db", &[("empty", b""), ("large", &large)]);
    assert_code(&scene.init(&[]), 0);
    let files = scene.files();
    assert!(files["db/empty"].is_empty() && files["db/large"] == large);
}

#[test]
fn log_messages_can_be_json_lines() {
    let scene = Scene::new(&[("db.secret", "none")]);
    let finished = scene.init(&["--log-format", "json", "--timeout", "300ms"]);
    assert_code(&finished, 3);
    let lines: Vec<serde_json::Value> =
        finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "error");
    assert_has(last["message"].as_str().unwrap(), &["Secret prod/none: secrets \"none\" not found"]);
    assert_eq!(last["time"].as_str().map(str::len), Some("2026-11-20T17:40:01.123Z".len()));
    for line in &lines {
        let object = ["namespace", "kind", "name"].map(|field| line[field].as_str());
        assert_eq!(object, [Some("prod"), Some("Secret"), Some("none")], "{line}");
    }
}

#[test]
fn json_lines_name_the_credential_and_the_bundle() {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "none"), ("more.optional", "true")]);
    let finished = scene.init(&["--log-format", "json"]);
    assert_code(&finished, 0);
    let lines: Vec<serde_json::Value> =
        finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [omission, written] = &lines[..] else { panic!("{}", finished.stderr) };
    assert_eq!(omission["credential"], "more");
    let bundle = fs::read_link(scene.pod.volume().join("db/..data")).unwrap();
    assert_eq!(written["bundle"], bundle.to_str().unwrap());
    assert!(lines.iter().all(|line| line.as_object().unwrap().len() == 4), "no field is empty: {lines:?}");
    // The text format has the message alone.
    let text = Scene::new(&[("db.secret", "db")]).init(&[]).stderr;
    assert!(text.contains("wrote ") && !text.contains("bundle"), "{text}");
}

#[test]
fn flags_take_precedence_over_environment_variables() {
    let scene = Scene::plain();
    let mut command = scene.command(&["init", "--pod", "app-0", "--log-level", "debug"]);
    command.env("POD_NAME", "another").env("RUST_LOG", "off").env("PODCREDS_TIMEOUT", "1s");
    let finished = run(command, HANGS);
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["DEBUG GET /api/v1/namespaces/prod/pods/app-0: 200 OK"]);
}

#[test]
fn usage_errors_are_written_to_the_termination_log() {
    let scene = Scene::plain();
    for (args, part) in [
        (&["init", "--volum", "/x"][..], "unexpected argument '--volum'"),
        (&["init", "--timeout", "0s"], "longer than zero"),
        (&["init", "--annotation-prefix", "A B"], "is not a DNS subdomain"),
        (&["init", "--pod", "A/B"], "--pod: invalid name \"A/B\""),
        (&["init", "--namespace", "a.b"], "--namespace: invalid namespace \"a.b\""),
        (&["start"], "unrecognized subcommand 'start'"),
        (&["\u{1b}[2J"], "unrecognized subcommand '\\u{1b}[2J'"),
    ] {
        let finished = run(scene.command(args), HANGS);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[part]);
        assert_has(&scene.pod.termination_message(), &[part]);
        assert!(!finished.stderr.contains('\u{1b}') && !scene.pod.termination_message().contains('\u{1b}'));
    }
    let elsewhere = scene.pod.root().join("elsewhere");
    fs::write(&elsewhere, "").unwrap();
    assert_code(
        &run(scene.command(&["init", "--termination-log", elsewhere.to_str().unwrap(), "--volum"]), HANGS),
        2,
    );
    assert_has(&fs::read_to_string(elsewhere).unwrap(), &["unexpected argument '--volum'"]);
    assert!(scene.server.requests().is_empty());
    for args in [&["--version"][..], &["--help"], &["init", "--help"], &["render", "-h"]] {
        let finished = run(scene.command(args), HANGS);
        assert_code(&finished, 0);
        assert!(finished.stderr.is_empty() && !finished.stdout.is_empty());
    }
}

#[test]
fn empty_environment_variables_count_as_unset() {
    let scene = Scene::plain();
    let mut command = scene.command(&["init"]);
    for name in ["ANNOTATIONS_FILE", "ANNOTATION_PREFIX", "ALLOW_NONE", "TIMEOUT", "REQUEST_TIMEOUT", "GRACE"]
    {
        command.env(format!("PODCREDS_{name}"), "");
    }
    for name in
        ["PODCREDS_LOG_LEVEL", "PODCREDS_LOG_FORMAT", "PODCREDS_TERMINATION_LOG", "RUST_LOG", "POD_NAMESPACE"]
    {
        command.env(name, "");
    }
    assert_code(&run(command, HANGS), 0);
}

#[test]
fn a_filter_for_another_program_does_not_silence_this_one() {
    let scene = Scene::new(&[]);
    let mut command = scene.command(&["init"]);
    command.env("RUST_LOG", "myapp=debug");
    let finished = run(command, HANGS);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["ERROR Pod prod/app-0 has no annotation"]);
}

#[test]
fn render_takes_a_pod_or_a_workload_as_inspect_does() {
    let scene = Scene::plain();
    scene.server.put_pod(
        "prod",
        "other-0",
        &[("podcreds.io/web.secret", "db"), ("podcreds.io/web.format", "env")],
    );
    let deployments = "/apis/apps/v1/namespaces/prod/deployments";
    let put = |name: &str, annotations: serde_json::Value| {
        let template = json!({"metadata": {"annotations": annotations}, "spec": {"containers": []}});
        let metadata = json!({"name": name, "namespace": "prod"});
        let object = json!({"metadata": metadata, "spec": {"template": template}});
        scene.server.put_raw(&format!("{deployments}/{name}"), &object.to_string());
    };
    put("app", json!({"podcreds.io/tpl.secret": "db", "podcreds.io/tpl.format": "env"}));
    put("bare", json!({"podcred.io/tpl.secret": "db"}));
    let render = |args: &[&str]| run(scene.command(&[&["render"], args].concat()), HANGS);
    for (target, path) in
        [("other-0", "# web.env ("), ("pod/other-0", "# web.env ("), ("deployment.apps/app", "# tpl.env (")]
    {
        let finished = render(&[target]);
        assert_code(&finished, 0);
        assert_has(&finished.stdout_text(), &[path, "export password='********'"]);
    }
    assert!(!scene.server.request_lines().iter().any(|line| line.ends_with("/pods/app")));

    scene.server.refuse(&format!("{deployments}/secret"));
    for (args, code, parts) in [
        (
            &["deploy/none"][..],
            3,
            &["ERROR Deployment prod/none: ", "; podcreds looked in namespace prod of https://"][..],
        ),
        (
            &["none"],
            3,
            &[
                "pods \"none\" not found; for a workload write KIND/NAME, such as deploy/none; podcreds looked in namespace prod of https://",
                ": to look elsewhere, pass --namespace (",
            ],
        ),
        (
            &["deploy", "app"],
            2,
            &["unexpected argument 'app'", "Write KIND/NAME as one argument: deploy/app"],
        ),
        (
            &["deploy/secret"],
            3,
            &["forbidden", "resources: [deployments], resourceNames: [secret], verbs: [get]}"],
        ),
        (
            &["deploy/bare"],
            2,
            &[
                "pod template of Deployment prod/bare has no annotation that begins with podcreds.io/, but one that begins with podcred.io/",
            ],
        ),
        (
            &["deploy/app", "--annotations-file", "x"],
            2,
            &["--annotations-file: cannot be combined with KIND/NAME"],
        ),
        (&["secret/db"], 2, &["unsupported kind \"secret\": use pod, deployment"]),
    ] {
        let finished = render(args);
        assert_code(&finished, code);
        assert_has(&finished.stderr, parts);
    }
}

#[test]
fn outside_a_cluster_render_and_inspect_need_a_name() {
    let scene = Scene::plain();
    for command in ["render", "inspect"] {
        let mut nameless = scene.command(&[command]);
        nameless.env_remove("KUBERNETES_SERVICE_HOST").env_remove("POD_NAME");
        let finished = run(nameless, HANGS);
        assert_code(&finished, 2);
        assert_has(
            &finished.stderr,
            &[&format!("as in podcreds {command} app-0 or podcreds {command} deploy/app")],
        );
    }
}

#[test]
fn render_hides_the_values_of_secrets_by_default() {
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("db.format", "env"),
        ("db.set", "HOST=test-literal"),
        ("db.file-mode", "0400"),
        ("raw.secret", "db"),
    ]);
    let hidden = run(scene.command(&["render"]), HANGS);
    assert_code(&hidden, 0);
    assert_eq!(
        hidden.stdout_text(),
        "# db.env (mode 0400)\nexport HOST='test-literal'\nexport password='********'\nexport username='********'\n\n\
         # raw/password (mode 0440 if the pod sets fsGroup, otherwise 0444)\n********\n\n# raw/username (mode 0440 if the pod sets fsGroup, otherwise 0444)\n********\n\n"
    );
    let shown = run(scene.command(&["render", "--reveal"]), HANGS).stdout_text();
    assert_has(&shown, &["export HOST='test-literal'", &format!("export password='{PASSWORD}'")]);
    assert!(scene.names().is_empty(), "render writes nothing");
}

#[test]
fn hostile_annotations_are_rejected_and_nothing_is_written() {
    let deep = "a/".repeat(100_000) + "a";
    let long = "x".repeat(250_000);
    let many = (0..5_000).map(|i| format!("f{i}=k")).collect::<Vec<_>>().join(",");
    let opened = "{% if a %}".repeat(6_000);
    let named = format!("{{{{ {} }}}}", "a.".repeat(30_000));
    let quotes = "a=\"".to_owned() + &"\\\\".repeat(30_000);
    let names = ["a".repeat(41), "..".into(), "a/b".into(), "\u{1b}[2J".into(), "A".into(), "é".into()];
    let mut cases: Vec<Vec<(String, &str)>> =
        names.iter().map(|name| vec![(format!("{name}.secret"), "db")]).collect();
    for (word, value) in [
        ("secret", "../../pods/app-0"),
        ("secret", "db?watch=true"),
        ("secret", "kube-system/../prod/db"),
        ("secret", "db%2f..%2fx"),
        ("secret", "db\r\nHost: x"),
        ("secret", long.as_str()),
        ("path", "../../etc/cron.d/x"),
        ("path", "/etc/passwd"),
        ("path", "..data/x"),
        ("path", "a\0b"),
        ("path", "a\n\u{1b}[31mb"),
        ("path", deep.as_str()),
        ("path", long.as_str()),
        ("keys", many.as_str()),
        ("keys", "../x=password"),
        ("set", quotes.as_str()),
        ("set", many.as_str()),
        ("file-mode", "7777777777777777777777"),
        ("format", long.as_str()),
        ("template", "{{ 'x' * 100000000 }}"),
        ("template", "{{ a.b }}\u{1b}[31m{% x\u{1b} %}"),
        ("template", opened.as_str()),
        ("template", named.as_str()),
        ("template-from", "../../secrets/db/password"),
        ("delimiters", "\u{1b} \u{1b}"),
    ] {
        let source = (word != "secret").then(|| ("db.secret".to_owned(), "db"));
        cases.push([(format!("db.{word}"), value)].into_iter().chain(source).collect());
    }
    let scene = Scene::plain();
    for case in cases {
        scene.annotate(&case.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>());
        let before = scene.server.requests().len();
        let finished = scene.init(&[]);
        assert_code(&finished, 2);
        assert_eq!(scene.server.requests().len(), before + 1, "{:.100}", finished.stderr);
        assert!(scene.names().is_empty());
        assert!(finished.stderr.len() < 2000, "the message has {} bytes", finished.stderr.len());
        let plain = |c: char| c == '\n' || !c.is_control();
        assert!(finished.stderr.chars().all(plain), "{:?}", finished.stderr);
    }
}

#[test]
fn a_response_with_a_different_object_is_rejected() {
    let scene = Scene::on(ApiServer::start(), &[("db.secret", "db")]);
    let path = "/api/v1/namespaces/prod/secrets/db";
    for (kind, name, namespace) in [
        ("ConfigMap", "db", "prod"),
        ("Secret", "other", "prod"),
        ("Secret", "db", "kube-system"),
        ("Status", "", ""),
    ] {
        let metadata = format!(r#"{{"name":"{name}","namespace":"{namespace}"}}"#);
        scene.server.put_raw(
            path,
            &format!(r#"{{"kind":"{kind}","metadata":{metadata},"data":{{"a":"dGVzdA=="}}}}"#),
        );
        let finished = scene.init(&["--timeout", "200ms"]);
        assert_code(&finished, 4);
        assert_has(&finished.stderr, &["Secret prod/db: unexpected response: it describes another object"]);
        assert!(scene.names().is_empty());
    }
}

#[test]
fn vault_db_injector_annotations_give_the_expected_variables() {
    let scene = Scene::plain();
    let prefix = "db-creds-injector.numberly.io";
    let annotations = [
        ("cluster", "database"),
        ("classic.role", "orders"),
        ("classic.mode", "classic"),
        ("classic.env-key-dbuser", "PG_USER,PGUSER"),
        ("classic.secret", "db"),
        ("uri.role", "orders"),
        ("uri.mode", "uri"),
        ("uri.template", "postgresql://{{user}}:{{password}}@db.prod.svc:5432/orders?sslmode=require"),
        ("uri.env-key-uri", "DATABASE_URL"),
        ("uri.secret", "db"),
    ];
    let annotations: Vec<_> =
        annotations.iter().map(|(name, value)| (format!("{prefix}/{name}"), *value)).collect();
    let annotations: Vec<_> = annotations.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    scene.server.put_pod("prod", "app-0", &annotations);
    // Other keys of the Secret do not matter.
    scene.server.put_secret(
        "prod",
        "db",
        &[("user", b"app"), ("pass", b"it's@1"), ("type", b"unknown"), ("port", b"x")],
    );
    let finished = scene.init(&["--annotation-prefix", prefix]);
    assert_code(&finished, 0);
    assert_eq!(
        scene.read("classic.env"),
        "export DBPASSWORD='it'\\''s@1'\nexport PGUSER='app'\nexport PG_USER='app'\n"
    );
    let uri = "export DATABASE_URL='postgresql://app:it%27s%401@db.prod.svc:5432/orders?sslmode=require'\n";
    assert_eq!(scene.read("uri.env"), uri);
    for name in ["cluster", "classic.role", "uri.role"] {
        assert_has(&finished.stderr, &[&format!("ignoring annotation {prefix}/{name}: it is for Vault")]);
    }
}

//! Templates from the annotation or a ConfigMap: the order of requests, and how changes are followed.

use crate::support::run::{Running, poll_until, run};
use crate::support::server::Kind;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// A pod with a template in ConfigMap `templates` under `db.conf`.
fn scene(template: &str, annotations: &[(&str, &str)]) -> Scene {
    let base = [("db.secret", "db"), ("db.template-from", "templates/db.conf")];
    let scene = Scene::new(&[&base, annotations].concat());
    put_template(&scene, template);
    scene
}

fn put_template(scene: &Scene, template: &str) {
    scene.server.put_configmap("prod", "templates", &[("db.conf", template)], &[]);
}

const POD: &str = "GET /api/v1/namespaces/prod/pods/app-0";
const SECRET: &str = "GET /api/v1/namespaces/prod/secrets/db";
const TEMPLATES: &str = "GET /api/v1/namespaces/prod/configmaps/templates";

#[test]
fn a_template_in_an_annotation_becomes_a_file() {
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("db.template", "{{ .Values.x }}\nurl=postgres://[[ username ]]:[[ password | urlencode ]]@db/app"),
        ("db.delimiters", "[[ ]]"),
        ("db.path", "app/db.properties"),
    ]);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(
        scene.read("app/db.properties"),
        format!("{{{{ .Values.x }}}}\nurl=postgres://app:{PASSWORD}@db/app")
    );
}

#[test]
fn a_template_is_read_before_any_secret() {
    let scene = scene("user={{ username }}\n", &[("again.secret", "db"), ("again.configmap", "templates")]);
    assert_code(&scene.init(&[]), 0);
    assert_eq!(scene.server.request_lines(), [POD, TEMPLATES, SECRET], "each once, the template first");
    assert_eq!(scene.read("db.txt"), "user=app\n");
    assert_eq!(scene.read("again/db.conf"), "user={{ username }}\n");
}

#[test]
fn an_invalid_template_is_reported_before_any_secret_is_read() {
    for (template, annotations, said) in [
        ("a\n{{ username | jason }}", &[][..], "key db.conf: line 2, column 15: unknown filter \"jason\""),
        ("{{ user }}", &[("db.keys", "username")], "key db.conf: line 1, column 4: unknown field \"user\""),
        ("{% include 'x' %}", &[("db.optional", "true")], "line 1, column 4: unknown statement include"),
    ] {
        let scene = scene(template, annotations);
        let finished = scene.init(&[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["credential db: ConfigMap prod/templates, ", said]);
        assert_eq!(scene.server.request_lines(), [POD, TEMPLATES]);
        assert!(scene.names().is_empty());
    }
    let scene = Scene::new(&[("db.secret", "db"), ("db.template", "{{ user }}"), ("db.keys", "username")]);
    let finished = scene.init(&[]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["podcreds.io/db.template: line 1, column 4: unknown field \"user\""]);
    assert_eq!(scene.server.request_lines(), [POD]);
}

#[test]
fn a_missing_template_is_reported_like_a_missing_source() {
    let base = [("db.secret", "db"), ("db.template-from", "templates/db.conf")];
    let scene = Scene::new(&base);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["credential db: ConfigMap prod/templates: ", "create the missing object"]);
    scene.annotate(&[&base[..], &[("db.optional", "true")]].concat());
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["skipping optional credential db: ConfigMap prod/templates not found"]);
    scene.server.put_configmap("prod", "templates", &[("other", "x")], &[]);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["key db.conf not found in ConfigMap prod/templates; available: other"]);
}

#[test]
fn the_fields_of_an_optional_credential_may_be_missing() {
    let with = |template| [("app.template", template), ("c.secret", "none"), ("c.optional", "true")];
    let scene = Scene::new(&with("{{ credentials.c.password | default('x') }}"));
    assert_code(&scene.init(&[]), 0);
    assert_eq!(scene.read("app.txt"), "x", "without a source of its own");
    scene.annotate(&with("{{ credentials.c.password }}"));
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    let said = "; credential app uses fields of credential c, which is optional and missing: ";
    assert_has(&finished.stderr, &["credential app and 1 more: Secret prod/none: ", said]);
}

#[test]
fn a_path_like_that_of_a_file_without_a_format_is_warned_of() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.path", "app.env")]);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["credential db: without .format, .path is a directory"]);
    assert_eq!(scene.read("app.env/password"), PASSWORD);
}

#[test]
fn render_shows_the_template_and_hides_the_values() {
    let scene = scene("{{ username }} {{ password | shell }}", &[("db.keys", "username,password")]);
    let hidden = run(scene.command(&["render"]), HANGS);
    assert_code(&hidden, 0);
    assert_has(&hidden.stdout_text(), &["# db.txt (mode 0440 if", "******** '********'\n"]);
    let shown = run(scene.command(&["render", "--reveal"]), HANGS);
    assert_has(&shown.stdout_text(), &[&format!("app '{PASSWORD}'\n")]);
}

#[test]
fn the_sidecar_keeps_the_file_while_a_changed_template_is_invalid() {
    let scene = scene("1 {{ password }}\n", &[("db.on-change", "touch notified")]);
    let mut command = scene.command(&["sidecar", "--listen", "off", "--request-timeout", "2s"]);
    command.args(["--grace", "0s"]);
    let running = Running::start(command);
    let reads = |expected: &str| {
        let expected = format!("{expected}\n");
        poll_until(HANGS, &format!("{expected}log:\n{}", running.stderr()), || {
            scene.read("db.txt") == expected
        });
    };
    reads(&format!("1 {PASSWORD}"));
    poll_until(HANGS, "both are watched", || scene.server.open_watches() == 2);
    put_template(&scene, "2 {{ password }}\n");
    reads(&format!("2 {PASSWORD}"));
    poll_until(HANGS, "the application is notified", || scene.pod.volume().join("notified").exists());
    put_template(&scene, "3 {{ passwd }}\n");
    poll_until(HANGS, "the invalid template is logged", || {
        running.stderr().contains("key db.conf: line 1, column 6: unknown field \"passwd\"")
    });
    reads(&format!("2 {PASSWORD}"));
    scene.server.delete(Kind::ConfigMap, "prod", "templates");
    scene.put_password("test-password-2");
    put_template(&scene, "4 {{ password }}\n");
    reads("4 test-password-2");
    assert!(!running.stderr().contains(PASSWORD));
}

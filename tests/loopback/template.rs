//! Templates, from the annotation or a ConfigMap to the file: what is asked for and when, and what follows a change.

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
        format!("{{{{ .Values.x }}}}\nurl=postgres://app:{PASSWORD}@db/app\n")
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
fn no_secret_is_asked_for_when_a_template_is_wrong() {
    for (template, annotations, said) in [
        (
            "a\n{{ username | jason }}",
            &[][..],
            "key db.conf: line 2, column 15: there is no filter \"jason\"",
        ),
        (
            "{{ user }}",
            &[("db.keys", "username")],
            "key db.conf: line 1, column 4: there is no field \"user\"",
        ),
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
    assert_has(&finished.stderr, &["podcreds.io/db.template: line 1, column 4: there is no field \"user\""]);
    assert_eq!(scene.server.request_lines(), [POD]);
}

#[test]
fn a_missing_template_is_told_like_a_missing_source() {
    let base = [("db.secret", "db"), ("db.template-from", "templates/db.conf")];
    let scene = Scene::new(&base);
    let finished = scene.init(&["--timeout", "300ms"]);
    assert_code(&finished, 3);
    assert_has(&finished.stderr, &["credential db: ConfigMap prod/templates: ", "create the missing object"]);
    scene.annotate(&[&base[..], &[("db.optional", "true")]].concat());
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(&finished.stderr, &["credential db is left out: there is no ConfigMap prod/templates"]);
    scene.server.put_configmap("prod", "templates", &[("other", "x")], &[]);
    let finished = scene.init(&[]);
    assert_code(&finished, 0);
    assert_has(
        &finished.stderr,
        &["ConfigMap prod/templates has no key db.conf", "0 files of 0 credentials"],
    );
}

#[test]
fn render_shows_the_template_and_hides_the_values() {
    let scene = scene("{{ username }} {{ password | shell }}", &[("db.keys", "username,password")]);
    let hidden = run(scene.command(&["render"]), HANGS);
    assert_code(&hidden, 0);
    assert_has(&hidden.stdout_text(), &["# db.txt (mode 0444", "******** '********'\n"]);
    let shown = run(scene.command(&["render", "--reveal"]), HANGS);
    assert_has(&shown.stdout_text(), &[&format!("app '{PASSWORD}'\n")]);
}

#[test]
fn the_sidecar_follows_a_template_and_keeps_the_file_while_it_is_wrong() {
    let scene = scene("1 {{ password }}\n", &[("db.on-change", "touch told")]);
    let mut command = scene.command(&["sidecar", "--listen", "off", "--request-timeout", "2s"]);
    command.args(["--grace", "0s"]);
    let running = Running::start(command);
    let reads = |expected: &str| {
        let expected = format!("{expected}\n");
        poll_until(HANGS, &format!("{expected}it said:\n{}", running.stderr()), || {
            scene.read("db.txt") == expected
        });
    };
    reads(&format!("1 {PASSWORD}"));
    poll_until(HANGS, "both are watched", || scene.server.open_watches() == 2);
    put_template(&scene, "2 {{ password }}\n");
    reads(&format!("2 {PASSWORD}"));
    poll_until(HANGS, "the application is told", || scene.pod.volume().join("told").exists());
    put_template(&scene, "3 {{ passwd }}\n");
    poll_until(HANGS, "the wrong template is told", || {
        running.stderr().contains("key db.conf: line 1, column 6: there is no field \"passwd\"")
    });
    reads(&format!("2 {PASSWORD}"));
    scene.server.delete(Kind::ConfigMap, "prod", "templates");
    scene.put_password("test-password-2");
    put_template(&scene, "4 {{ password }}\n");
    reads("4 test-password-2");
    assert!(!running.stderr().contains(PASSWORD));
}

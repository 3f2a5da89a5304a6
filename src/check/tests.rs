use std::fs;
use std::path::Path;

use super::files::paths_in;
use super::notifications::local_port;
use super::pod::{below, bytes, trimmed};
use super::program::{Setting, Subcommand};
use super::*;
use crate::manifest::Manifest;

fn options(is_injected: bool) -> Options {
    let namespace = Namespace::parse("default").unwrap();
    Options {
        prefix: "podcreds.io".to_owned(),
        namespace,
        clusters: None,
        is_injected,
        parse_command: |_| None,
    }
}

/// The ids of the findings in a pod with this spec, in flow style.
fn ids_of(annotations: &str, spec: &str) -> Vec<&'static str> {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{{annotations}}}}}, spec: {{{spec}}}}}"
    );
    let manifest = Manifest::parse("pod.yaml", text).unwrap();
    let options = options(false);
    let report = check(&manifest.objects(), &options);
    report.findings.iter().map(|finding| finding.rule.id).collect()
}

/// The call of podcreds in a container, in flow style.
fn program(container: &str, read: impl Fn(Option<&program::Program<'_>>)) {
    let text = format!("{{apiVersion: v1, kind: Pod, spec: {{containers: [{{{container}}}]}}}}");
    let manifest = Manifest::parse("pod.yaml", text).unwrap();
    let pod = Pod::new(manifest.objects()[0].template().unwrap(), false);
    read(pod.containers[0].program.as_ref());
}

#[test]
fn a_key_that_may_be_a_misplaced_value_is_not_shown() {
    let key = "\"podcreds.io/postgres://u:test-only@h/db\": 1";
    let pod =
        format!("{{apiVersion: v1, kind: Pod, metadata: {{annotations: {{{key}}}, labels: {{{key}}}}}}}");
    let manifest = Manifest::parse("pod.yaml", pod).unwrap();
    let options = options(false);
    let report = check(&manifest.objects(), &options);
    assert!(report.findings.len() >= 2);
    assert!(report.findings.iter().all(|finding| !finding.message.contains("test-only")));
}

#[test]
fn values_of_secrets_that_another_tool_replaces_are_not_checked() {
    let ids = |value: &str| {
        let pod =
            "{apiVersion: v1, kind: Pod, metadata: {annotations: {podcreds.io/db.secret: db}}, spec: {}}";
        let secret = "{apiVersion: v1, kind: Secret, metadata: {name: db}";
        let text = format!("{pod}\n---\n{secret}, data: {{password: {value}}}}}\n");
        let manifest = Manifest::parse("pod.yaml", text).unwrap();
        let options = options(true);
        let report = check(&manifest.objects(), &options);
        report.findings.iter().map(|finding| finding.rule.id).collect::<Vec<_>>()
    };
    for value in ["<path:a#b>", "'${PASSWORD}'", "'{{ .password }}'", "'ENC[AES256_GCM,data:a]'", "null"] {
        assert!(!ids(value).contains(&"source"), "{value}: {:?}", ids(value));
    }
    assert!(ids("test-password").contains(&"source"));
}

#[test]
fn every_check_is_documented_with_its_id_and_level() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.md")).unwrap();
    let table = page.split("## The checks").nth(1).unwrap();
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split(" | ").collect::<Vec<_>>());
    let documented: Vec<_> =
        rows.map(|row| (row[0].trim_matches(['|', ' ', '`']).to_owned(), row[1].to_owned())).collect();
    let known: Vec<_> =
        rule::ALL.iter().map(|rule| (rule.id.to_owned(), rule.level.name().to_owned())).collect();
    assert_eq!(documented, known);
}

#[test]
fn ids_are_unique_and_stable_words() {
    for (at, rule) in rule::ALL.iter().enumerate() {
        assert!(rule.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", rule.id);
        assert!(
            (rule.id == "annotation") == rule.remedy.is_empty() && !rule.remedy.ends_with('.'),
            "{}",
            rule.id
        );
        assert!(rule::ALL[..at].iter().all(|other| other.id != rule.id), "{}", rule.id);
    }
}

#[test]
fn a_container_runs_podcreds_by_entrypoint_by_path_or_in_a_script() {
    use Subcommand::{Exec, Init, Install, Other, Sidecar};
    for (container, expected) in [
        ("image: 'podcreds:1', args: [init]", Some((Init, None))),
        ("image: 'registry:5000/x/podcreds@sha256:0', args: [sidecar, --events]", Some((Sidecar, None))),
        ("image: 'registry:5000/x/podcreds', args: [--log-level, debug, sidecar]", Some((Sidecar, None))),
        ("image: podcreds", Some((Other, None))),
        ("image: mirror/creds, name: podcreds-install, args: [install, /x]", Some((Install, None))),
        ("image: app, command: [/podcreds/bin/podcreds, exec, --, app, sidecar]", Some((Exec, None))),
        ("image: app, command: [tini, --, /x/podcreds], args: [exec, --, app]", Some((Exec, None))),
        ("image: app, command: [sh, -c, 'set -e; exec /x/podcreds exec -- app']", Some((Exec, Some("exec")))),
        ("image: app, command: [sh, -c], args: ['cd / && /x/podcreds init']", Some((Init, Some("/")))),
        ("image: thanos, name: sidecar, args: [sidecar]", None),
        ("image: app, command: [podcreds-exporter, sidecar]", None),
        ("image: app, command: [sh, -c, 'cat /podcreds/db.env']", None),
        ("image: app, command: [sh, -c, 'ls /podcreds']", None),
    ] {
        program(container, |program| {
            assert_eq!(program.map(|program| (program.subcommand, program.shell)), expected, "{container}");
        });
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let container = |rest: &str| format!("image: podcreds, {rest}");
    for (rest, expected) in [
        ("args: [init]", Setting::Unset),
        ("args: [init, --volume, /a]", Setting::Text("/a")),
        ("args: [init, --volume=/a], env: [{name: PODCREDS_VOLUME, value: /b}]", Setting::Text("/a")),
        ("args: [init], env: [{name: PODCREDS_VOLUME, value: /b}]", Setting::Text("/b")),
        ("args: [init], env: [{name: PODCREDS_VOLUME, value: ''}]", Setting::Unset),
        ("args: [init], env: [{name: PODCREDS_VOLUME, valueFrom: {}}]", Setting::Unknown),
        ("args: [init], envFrom: [{configMapRef: {name: x}}]", Setting::Unknown),
        ("args: [init, --volume=$(DIR)]", Setting::Unknown),
        ("args: [init, --volume-size=1]", Setting::Unset),
        ("args: [exec, --, app, --volume=/a]", Setting::Unset),
    ] {
        program(&container(rest), |program| {
            assert_eq!(program.unwrap().setting("--volume"), expected, "{rest}")
        });
    }
}

#[test]
fn paths_are_found_where_a_text_refers_to_the_volume() {
    for (text, expected) in [
        ("/podcreds/db.env", &[("db.env", true)][..]),
        (". /podcreds/db.env; cat /podcreds/ca/ca.crt.", &[("db.env", true), ("ca/ca.crt", true)]),
        (
            "file:/podcreds/app.properties,configtree:/podcreds/db/",
            &[("app.properties", true), ("db/", true)],
        ),
        ("ls /podcreds/*.env /podcreds/$NAME", &[("", false), ("", false)]),
        ("/data/podcreds/db /podcreds-old/db /podcreds", &[]),
        ("http://example.com/podcreds/db", &[]),
    ] {
        assert_eq!(paths_in(text, "/podcreds"), expected, "{text}");
    }
}

#[test]
fn a_path_is_below_itself_and_its_parents() {
    assert_eq!(below("/podcreds/db", "/podcreds"), Some("db"));
    assert_eq!((below("/podcreds", "/podcreds"), below("/podcreds", "/")), (Some(""), Some("podcreds")));
    assert_eq!((below("/podcreds-old", "/podcreds"), below("/a", "/b")), (None, None));
    assert_eq!((trimmed("/podcreds//"), trimmed("/")), ("/podcreds", "/"));
    assert_eq!(crate::rbac::repository("registry:5000/x/podcreds:1@sha256:0"), "podcreds");
}

#[test]
fn quantities_have_units() {
    let read = |text: &str| bytes(&crate::yaml::parse(text.as_bytes()).unwrap());
    assert_eq!(
        (read("1Mi"), read("32M"), read("1048576"), read("\"5\"")),
        (Some(1 << 20), Some(32_000_000), Some(1 << 20), Some(5))
    );
    assert_eq!(
        (read("1.5Gi"), read("1X"), read("{}"), read("99999999999999999999Gi")),
        (None, None, None, None)
    );
}

#[test]
fn only_urls_of_the_pod_itself_have_a_local_port() {
    let ports = [
        "http://localhost:8080/x",
        "https://127.0.0.1/",
        "http://[::1]:90?x",
        "http://LOCALHOST",
        "http://app:8080/",
        "http://1.27.0.1:8/",
    ];
    assert_eq!(ports.map(local_port), [Some(8080), Some(443), Some(90), Some(80), None, None]);
}

const DB: &str = "podcreds.io/db.secret: orders-db";
const NAME: &str = "env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";
const VOLUMES: &str = "volumes: [{name: v, emptyDir: {medium: Memory}}]";

/// A pod with podcreds as init container, with these additions to podcreds' container and to the application's.
fn pod(podcreds: &str, app: &str) -> String {
    format!(
        "initContainers: [{{name: podcreds, image: podcreds, {podcreds}}}], containers: [{{name: app, image: app, {app}}}], {VOLUMES}"
    )
}

#[test]
fn each_mistake_in_the_containers_has_its_own_finding() {
    let init = format!("args: [init], {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}]");
    let native = init.replace("[init]", "[sidecar]") + ", restartPolicy: Always";
    let probe = "startupProbe: {exec: {command: [/bin/podcreds, probe]}}";
    let mount = "volumeMounts: [{name: v, mountPath: /podcreds}]";
    for (podcreds, app, expected) in [
        (init.clone(), mount.to_owned(), &[][..]),
        (format!("{native}, {probe}"), mount.to_owned(), &[]),
        (
            format!("{native}, startupProbe: {{httpGet: {{path: /readyz, port: 8081}}}}"),
            mount.to_owned(),
            &[],
        ),
        (
            format!("{native}, startupProbe: {{httpGet: {{path: /healthz, port: 8081}}}}"),
            mount.to_owned(),
            &["startup-probe"],
        ),
        (
            format!("{native}, startupProbe: {{tcpSocket: {{port: 8081}}}}"),
            mount.to_owned(),
            &["startup-probe"],
        ),
        (native.clone(), mount.to_owned(), &["no-startup-probe"]),
        (format!("{init}, restartPolicy: Always"), mount.to_owned(), &["init-restarts"]),
        (
            format!("{native}, {probe}, livenessProbe: {{httpGet: {{path: /healthz, port: 8080}}}}"),
            mount.to_owned(),
            &["probe-port"],
        ),
        (
            format!("{native}, {probe}, livenessProbe: {{httpGet: {{path: /healthz, port: health}}}}"),
            mount.to_owned(),
            &["probe-port"],
        ),
        (
            format!(
                "{native}, {probe}, ports: [{{name: health, containerPort: 8081}}], livenessProbe: {{httpGet: {{path: /healthz, port: health}}}}"
            ),
            mount.to_owned(),
            &[],
        ),
        (
            native.replace("[sidecar]", "[sidecar, '--listen=127.0.0.1:9']")
                + ", startupProbe: {httpGet: {path: /readyz, port: 9}}",
            mount.to_owned(),
            &["probe-port"],
        ),
        (
            native.replace("[sidecar]", "[sidecar, --listen, 'off']")
                + ", startupProbe: {httpGet: {path: /readyz, port: 9}}",
            mount.to_owned(),
            &["probe-port"],
        ),
        (
            native.replace("[sidecar]", "[sidecar, --listen, off]") + ", " + probe,
            mount.to_owned(),
            &["argument-type"],
        ),
        (
            native.replace("[sidecar]", "[sidecar, --exit-on-change=88]") + ", " + probe,
            mount.to_owned(),
            &["exit-on-change"],
        ),
        (
            native.replace("[sidecar]", "[sidecar, --exit-on-change=88]")
                + ", "
                + probe
                + ", restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [88]}}]",
            mount.to_owned(),
            &[],
        ),
        (init.replace(NAME, "x: y"), mount.to_owned(), &["no-pod-name"]),
        (init.replace("metadata.name", "spec.nodeName"), mount.to_owned(), &["pod-name"]),
        (init.replace(NAME, "env: [{name: POD_NAME, value: other}]"), mount.to_owned(), &["pod-name"]),
        (init.replace(NAME, "env: [{name: POD_NAME, value: app}]"), mount.to_owned(), &[]),
        (init.replace(NAME, "envFrom: [{configMapRef: {name: x}}]"), mount.to_owned(), &[]),
        (
            init.replace("[init]", "[init, --annotations-file=/a]").replace(NAME, "x: y"),
            mount.to_owned(),
            &[],
        ),
        (
            init.replace("mountPath: /podcreds", "mountPath: /podcreds, readOnly: true"),
            mount.to_owned(),
            &["read-only-mount"],
        ),
        (init.replace("mountPath: /podcreds", "mountPath: /"), mount.to_owned(), &[]),
        (init.clone(), "volumeMounts: [{name: v, mountPath: /a, subPath: db}]".to_owned(), &[]),
        (init.clone(), "volumeMounts: [{name: v, mountPath: /a, subPath: bd}]".to_owned(), &["sub-path"]),
        (init.clone(), String::new(), &["not-mounted"]),
        (
            init.clone(),
            format!("{mount}, command: [/podcreds/podcreds, exec, --, app]"),
            &["exec-binary", "exec-files"],
        ),
        (init.clone(), format!("{mount}, command: [/opt/podcreds, exec, --allow-none, --, app]"), &[]),
        (
            init.clone(),
            "command: [/opt/podcreds, exec, --allow-none, --, app]".to_owned(),
            &["no-mount", "not-mounted"],
        ),
    ] {
        let mut found = ids_of(DB, &pod(&podcreds, &app));
        found.sort_unstable();
        assert_eq!(found, expected, "{podcreds} // {app}");
    }
}

#[test]
fn each_mistake_in_the_pod_has_its_own_finding() {
    let own =
        format!("name: podcreds, image: podcreds, {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}]");
    let app = "name: app, image: app, volumeMounts: [{name: v, mountPath: /podcreds}]";
    let init = format!("{{{own}, args: [init]}}");
    let probe = "startupProbe: {exec: {command: [/bin/podcreds, probe]}}";
    let native = format!("{{{own}, args: [sidecar], restartPolicy: Always, {probe}}}");
    let second =
        native.replace("name: podcreds", "name: podcreds-2").replace("[sidecar]", "[sidecar, '--listen=:9']");
    let with = |init: &str, containers: &str, more: &str| {
        format!("initContainers: [{init}], containers: [{{{app}}}{containers}], {VOLUMES}{more}")
    };
    let nothing = String::new();
    for (annotations, spec, expected) in [
        (DB.to_owned(), with(&init, "", ""), &[][..]),
        (DB.to_owned(), with("", &format!(", {init}"), ""), &["init-place"]),
        (DB.to_owned(), with("", &format!(", {init}"), ", restartPolicy: Never"), &[]),
        (DB.to_owned(), with(&format!("{native}, {second}"), "", ""), &["two-sidecars"]),
        (
            DB.to_owned(),
            with(&format!("{native}, {}", second.replace(":9", ":8081")), "", ""),
            &["port-taken", "two-sidecars"],
        ),
        (format!("{DB}, podcreds.io/db.cluster: eu"), with(&init, "", ""), &["no-clusters"]),
        (
            format!("{DB}, podcreds.io/db.cluster: eu"),
            with(&init.replace("[init]", "[init, --clusters=/c]"), "", ""),
            &[],
        ),
        (format!("{DB}, podcreds.io/db.on-change: touch x"), with(&init, "", ""), &["never-notified"]),
        (format!("{DB}, podcreds.io/db.on-change: touch x"), with(&native, "", ""), &[]),
        (DB.to_owned(), with(&init.replace(NAME, "x: y"), "", ", hostname: db"), &["pod-name"]),
        (
            DB.to_owned(),
            with("", &format!(", {}", native.replace(", restartPolicy: Always", "")), ""),
            &["no-init"],
        ),
        (DB.to_owned(), with(&native, "", ", hostNetwork: true"), &["host-port"]),
        (
            format!("{DB}, podcreds.io/db.format: pgpass"),
            with(&init, "", ", securityContext: {runAsUser: 1000}"),
            &[],
        ),
        (
            format!("{DB}, podcreds.io/db.file-mode: '0400'"),
            with(
                &init.replace("args", "securityContext: {runAsUser: 1}, args"),
                "",
                ", securityContext: {runAsUser: 2}",
            ),
            &["file-owner"],
        ),
        (
            format!("{DB}, podcreds.io/db.file-mode: '0400'"),
            with(
                &init.replace("args", "securityContext: {runAsUser: 1}, args"),
                "",
                ", securityContext: {runAsUser: 0}",
            ),
            &[],
        ),
        (nothing.clone(), with(&init, "", ""), &["no-annotations"]),
        (nothing.clone(), with(&init.replace("[init]", "[init, --allow-none]"), "", ""), &[]),
        (
            nothing,
            with(&init.replace("[init]", "[init, --annotation-prefix=x.io]"), "", ""),
            &["no-annotations"],
        ),
        (
            "x.io/db.secret: db".to_owned(),
            with(&init.replace("[init]", "[init, --annotation-prefix=x.io/]"), "", ""),
            &[],
        ),
    ] {
        let mut found = ids_of(&annotations, &spec);
        found.sort_unstable();
        assert_eq!(found, expected, "{annotations} // {spec}");
    }
}

#[test]
fn a_file_key_reference_must_name_a_variable_that_the_kubelet_can_read() {
    let init = format!("args: [init], {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}]");
    let keys = "podcreds.io/db.keys: 'A=a, B=b'";
    for (annotations, reference, expected) in [
        (format!("podcreds.io/db.format: envfile, {keys}"), "path: db.envfile, key: A", None),
        ("podcreds.io/db.format: envfile".to_owned(), "path: db.envfile, key: X", None),
        (format!("podcreds.io/db.format: envfile, {keys}"), "path: db.envfile, key: X", Some(Level::Error)),
        (format!("podcreds.io/db.format: envfile, {keys}"), "path: db.envfile, key: X, optional: true", Some(Level::Warning)),
        (format!("podcreds.io/db.format: env, {keys}"), "path: db.env, key: A", Some(Level::Error)),
        ("podcreds.io/db.format: uri, podcreds.io/db.engine: mysql, podcreds.io/db.variable: URL, podcreds.io/db.path: u.env".to_owned(), "path: u.env, key: URL", Some(Level::Error)),
    ] {
        let env = format!("env: [{{name: X, valueFrom: {{fileKeyRef: {{volumeName: v, {reference}}}}}}}]");
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{{DB}, {annotations}}}}}, spec: {{{}}}}}", pod(&init, &env));
        let manifest = Manifest::parse("pod.yaml", text).unwrap();
        let options = options(false);
        let report = check(&manifest.objects(), &options);
        let found: Vec<_> = report.findings.iter().map(|finding| (finding.rule.id, finding.level)).collect();
        let expected: Vec<_> = expected.into_iter().map(|level| ("file-key-ref", level)).collect();
        assert_eq!(found, expected, "{annotations} // {reference}");
    }
}

#[test]
fn a_volume_is_judged_by_its_type_and_size() {
    let init = format!(
        "args: [init], {NAME}, resources: {{limits: {{memory: 32Mi}}}}, volumeMounts: [{{name: v, mountPath: /podcreds}}]"
    );
    let app = "volumeMounts: [{name: v, mountPath: /podcreds}]";
    for (volume, expected) in [
        ("emptyDir: {medium: Memory, sizeLimit: 1Mi}", &[][..]),
        ("emptyDir: {medium: Memory, sizeLimit: 32Mi}", &["memory-limit"]),
        ("emptyDir: {sizeLimit: 32Mi}", &["volume-on-disk"]),
        ("emptyDir:", &["volume-on-disk"]),
        ("persistentVolumeClaim: {claimName: x}", &["volume-type"]),
        ("secret: {secretName: x}", &["volume-type"]),
    ] {
        let spec = pod(&init, app).replace("emptyDir: {medium: Memory}", volume);
        assert_eq!(ids_of(DB, &spec), expected, "{volume}");
    }
}

#[test]
fn a_container_added_later_leaves_the_checks_of_the_pod() {
    let spec = "containers: [{name: app, image: app, ports: [{containerPort: 8081}]}]";
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: a, annotations: {{{DB}, podcreds.io/db.on-change: signal HUP x}}}}, spec: {{automountServiceAccountToken: false, {spec}}}}}"
    );
    let manifest = Manifest::parse("pod.yaml", text).unwrap();
    for (is_injected, expected) in [
        (false, &["no-container", "signal-namespace"][..]),
        (true, &["no-token", "port-taken", "signal-namespace"]),
    ] {
        let options = options(is_injected);
        let report = check(&manifest.objects(), &options);
        let mut found: Vec<_> = report.findings.iter().map(|finding| finding.rule.id).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_annotations_of_the_injection_are_checked() {
    for (annotation, expected) in [
        ("inject.podcreds.io/mode: init", &[][..]),
        ("inject.podcreds.io/mode: inti", &["inject-annotation"]),
        ("inject.podcreds.io/port: '0'", &["inject-annotation"]),
        ("inject.podcreds.io/containers: 'app, '", &[]),
        ("inject.podcreds.io/containers: 'ap'", &["inject-annotation"]),
        ("inject.podcreds.io/contaners: app", &["inject-annotation"]),
    ] {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{labels: {{podcreds.io/inject: 'true'}}, annotations: {{{DB}, {annotation}}}}}, spec: {{containers: [{{name: app}}]}}}}"
        );
        let manifest = Manifest::parse("pod.yaml", text).unwrap();
        let options = options(false);
        let report = check(&manifest.objects(), &options);
        let found: Vec<_> = report.findings.iter().map(|finding| finding.rule.id).collect();
        assert_eq!(found, expected, "{annotation}");
    }
}

#[test]
fn a_role_may_name_the_pods_of_a_stateful_set() {
    let findings = |replicas: &str, pods: &str| {
        let rules = format!(
            "[{{apiGroups: [''], resources: [secrets], resourceNames: [orders], verbs: [get, watch]}}, {{apiGroups: [''], resources: [pods], resourceNames: {pods}, verbs: [get]}}]"
        );
        let text = format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: app}}, rules: {rules}}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: app}}, roleRef: {{kind: Role, name: app}}, subjects: [{{kind: ServiceAccount, name: default}}]}}\n---\n\
             {{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: db}}, spec: {{{replicas} template: {{metadata: {{annotations: {{podcreds.io/db.secret: orders}}}}, spec: {{containers: []}}}}}}}}"
        );
        let manifest = Manifest::parse("app.yaml", text).unwrap();
        let options = options(true);
        let findings = check(&manifest.objects(), &options).findings;
        findings.into_iter().filter(|finding| finding.rule.id == "role").count()
    };
    for (replicas, pods, expected) in [
        ("", "[db-0]", 0),
        ("replicas: 2,", "[db-0, db-1]", 0),
        ("replicas: 2,", "[db-0]", 1),
        ("replicas: 2, ordinals: {start: 5},", "[db-5, db-6]", 0),
        ("replicas: 2, ordinals: {start: 5},", "[db-0, db-1]", 1),
    ] {
        assert_eq!(findings(replicas, pods), expected, "{replicas} {pods}");
    }
}

/// The findings of manifests, each with its id, message and remedy.
fn findings_of(text: &str, is_injected: bool) -> Vec<(&'static str, String, String)> {
    let manifest = Manifest::parse("app.yaml", text.to_owned()).unwrap();
    let options = options(is_injected);
    let findings = check(&manifest.objects(), &options).findings;
    findings.into_iter().map(|finding| (finding.rule.id, finding.message, finding.remedy)).collect()
}

fn only_ids(findings: &[(&'static str, String, String)]) -> Vec<&'static str> {
    let mut ids = Vec::new();
    findings.iter().for_each(|(id, ..)| ids.push(*id));
    ids.sort_unstable();
    ids
}

#[test]
fn what_selects_a_workload_for_the_component_stays_when_it_has_the_container() {
    let init = format!("args: [init], {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}]");
    let app = "volumeMounts: [{name: v, mountPath: /podcreds}]";
    let deployment = |spec: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: app, labels: {{podcreds.io/inject: 'true'}}, annotations: {{inject.podcreds.io/mode: init}}}}, \
             spec: {{template: {{metadata: {{annotations: {{{DB}}}}}, spec: {{{spec}}}}}}}}}"
        )
    };
    assert_eq!(only_ids(&findings_of(&deployment(&pod(&init, app)), false)), [""; 0]);
    let bare = findings_of(&deployment("containers: [{name: app, image: app}]"), false);
    assert_eq!(only_ids(&bare), ["annotation-place", "inject-label"]);
}

#[test]
fn the_remedy_for_a_container_of_exec_names_what_it_lacks() {
    let pod = |more: &str, spec: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app{more}, annotations: {{{DB}, podcreds.io/db.format: env}}}}, spec: {{{spec}}}}}"
        )
    };
    let app = "containers: [{name: app, image: app, command: [/podcreds/bin/podcreds, exec, --, app]}]";
    let bare = findings_of(&pod("", app), false);
    assert_eq!(only_ids(&bare), ["exec-binary", "no-container", "no-mount"]);
    let (_, message, remedy) = bare.iter().find(|(id, ..)| *id == "no-container").unwrap();
    assert!(
        message.contains("container app runs podcreds exec, and no container writes the files"),
        "{message}"
    );
    assert!(!remedy.contains("podcreds inject") && remedy.contains("podcreds exec --render"), "{remedy}");
    // The injection adds the volume and the mount, and not the binary.
    for (labels, is_injected) in [(", labels: {podcreds.io/inject: 'true'}", false), ("", true)] {
        assert_eq!(only_ids(&findings_of(&pod(labels, app), is_injected)), ["exec-binary"], "{labels}");
    }
    let image = app.replace("/podcreds/bin/", "/bin/");
    assert_eq!(only_ids(&findings_of(&pod("", &image), true)), [""; 0]);
    let others = pod(", labels: {podcreds.io/inject: 'true'}", &image)
        .replace("podcreds.io/db.secret", "inject.podcreds.io/containers: other, podcreds.io/db.secret")
        .replace("containers: [{", "containers: [{name: other, image: app}, {");
    assert_eq!(only_ids(&findings_of(&others, false)), ["no-mount"]);
}

#[test]
fn several_arguments_in_one_item_are_a_mistake_of_their_own() {
    for command in [
        "image: podcreds, args: ['sidecar --events']",
        "image: podcreds, args: ['--log-level debug sidecar']",
        "image: podcreds, command: [/bin/podcreds, 'sidecar --events']",
        "image: podcreds, command: [/bin/podcreds], args: ['sidecar --events']",
        "image: podcreds, command: ['/bin/podcreds sidecar']",
    ] {
        let container = format!(
            "name: podcreds, restartPolicy: Always, {command}, {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}], startupProbe: {{exec: {{command: [/bin/podcreds, probe]}}}}"
        );
        let app = "name: app, image: app, volumeMounts: [{name: v, mountPath: /podcreds}]";
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{{DB}}}}}, spec: {{initContainers: [{{{container}}}], containers: [{{{app}}}], {VOLUMES}}}}}"
        );
        let found = findings_of(&text, false);
        assert_eq!(only_ids(&found), ["command-line"], "{command}");
        assert!(found[0].2.contains("one argument per list item"), "{}", found[0].2);
    }
}

#[test]
fn the_message_about_an_annotation_needs_no_remedy() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: app, annotations: {podcreds.io/db.secrte: x}}, spec: {containers: []}}";
    let found = findings_of(text, true);
    assert_eq!(only_ids(&found), ["annotation"]);
    assert_eq!(found[0].2, "");
}

#[test]
fn the_kubelet_does_not_start_podcreds_as_root_if_that_is_forbidden() {
    let init = format!("args: [init], {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}]");
    let app = "volumeMounts: [{name: v, mountPath: /podcreds}]";
    let both = "securityContext: {runAsUser: 0, runAsNonRoot: true}";
    for (own, of_pod, expected) in [
        (both, "", &["root-user"][..]),
        ("", both, &["root-user"]),
        ("securityContext: {runAsNonRoot: true}", "securityContext: {runAsUser: 0}", &["root-user"]),
        ("securityContext: {runAsUser: 65532}", both, &[]),
        ("securityContext: {runAsNonRoot: false}", both, &[]),
        ("", "securityContext: {runAsNonRoot: true}", &[]),
    ] {
        let spec = format!("{}, {of_pod}", pod(&format!("{init}, {own}"), app));
        assert_eq!(ids_of(DB, &spec), expected, "{own} // {of_pod}");
    }
}

#[test]
fn a_connection_whose_listed_fields_cannot_name_the_engine_lacks_it() {
    let init = format!("args: [init], {NAME}, volumeMounts: [{{name: v, mountPath: /podcreds}}]");
    let spec = pod(&init, "volumeMounts: [{name: v, mountPath: /podcreds}]");
    for (annotations, expected) in [
        ("podcreds.io/db.format: jdbc, podcreds.io/db.keys: 'host, username, password'", &["no-engine"][..]),
        (
            "podcreds.io/db.format: uri, podcreds.io/db.keys: 'username, password', podcreds.io/db.set: 'host=db'",
            &["no-engine"],
        ),
        ("podcreds.io/db.format: adonet, podcreds.io/db.keys: 'host, username, password'", &["no-engine"]),
        (
            "podcreds.io/db.format: uri, podcreds.io/db.keys: 'host, username', podcreds.io/db.engine: mysql",
            &[],
        ),
        ("podcreds.io/db.format: uri, podcreds.io/db.keys: 'host, username, engine'", &[]),
        ("podcreds.io/db.format: uri, podcreds.io/db.keys: 'host, username, type=kind'", &[]),
        (
            "podcreds.io/db.format: uri, podcreds.io/db.keys: 'host, username', podcreds.io/db.set: 'engine=mysql'",
            &[],
        ),
        ("podcreds.io/db.format: uri, podcreds.io/db.keys: 'uri=DATABASE'", &[]),
        ("podcreds.io/db.format: uri, podcreds.io/db.keys: 'x=DATABASE_URL'", &[]),
        ("podcreds.io/db.format: uri", &[]),
        ("podcreds.io/db.format: libpq, podcreds.io/db.keys: 'host, username, password'", &[]),
        ("podcreds.io/db.format: json, podcreds.io/db.keys: 'host, username, password'", &[]),
    ] {
        assert_eq!(ids_of(&format!("{DB}, {annotations}"), &spec), expected, "{annotations}");
    }
}

#[test]
fn a_secret_that_is_nearly_one_of_the_manifests_is_probably_misspelt() {
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{{DB}, podcreds.io/old.secret: orders-old}}}}, spec: {{containers: []}}}}"
    );
    let object = |kind: &str, name: &str, more: &str| {
        format!("{pod}\n---\n{{apiVersion: v1, kind: {kind}, metadata: {{name: {name}{more}}}}}")
    };
    for (text, expected) in [
        (object("Secret", "order-db", ""), &["source-name"][..]),
        (object("Secret", "billing", ""), &[]),
        (object("ConfigMap", "order-db", ""), &[]),
        (object("Secret", "order-db", ", namespace: other"), &[]),
        (object("Secret", "orders-db2", ""), &[]),
        (
            format!(
                "{}\n---\n{{apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {{name: orders-db}}}}",
                object("Secret", "order-db", "")
            ),
            &[],
        ),
        (object("Secret", "order-db", "").replace("orders-old", "order-db"), &[]),
    ] {
        let found = findings_of(&text, true);
        assert_eq!(only_ids(&found), expected, "{text}");
        assert!(found.iter().all(|(_, message, _)| message.ends_with("did you mean order-db?")), "{found:?}");
    }
}

#[test]
fn a_role_that_is_bound_to_another_account_is_for_another_pod() {
    let objects = |subject: &str, names: &str, more: &str| {
        format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: app}}, rules: [{{apiGroups: [''], resources: [secrets], resourceNames: {names}, verbs: [get, watch]}}]}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: app}}, roleRef: {{kind: Role, name: app}}, subjects: [{subject}]}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{{DB}}}}}, spec: {{serviceAccountName: orders, containers: []}}}}{more}"
        )
    };
    let account = |name: &str| format!("{{kind: ServiceAccount, name: {name}}}");
    let other = "\n---\n{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {serviceAccountName: order, containers: []}}";
    for (text, expected) in [
        (objects(&account("order"), "[orders-db]", ""), &["role"][..]),
        (objects(&account("order"), "[billing]", ""), &[]),
        (objects(&account("order"), "[]", ""), &[]),
        (objects(&account("order"), "[orders-db]", other), &[]),
        (objects("{kind: Group, name: x}", "[orders-db]", ""), &[]),
    ] {
        let found = findings_of(&text, true);
        assert_eq!(only_ids(&found), expected, "{text}");
        assert!(
            found.iter().all(|(_, message, _)| message == "RoleBinding/app allows ServiceAccount order to read Secret orders-db, and the pod runs as orders"),
            "{found:?}"
        );
    }
}

#[test]
fn a_container_that_does_not_start_is_reported_with_the_message_of_the_kubelet() {
    let status = |list: &str, name: &str, reason: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app}}, spec: {{{}}}, status: {{{list}: [{{name: {name}, state: {{waiting: {{reason: {reason}, message: why}}}}, lastState: {{terminated: {{exitCode: 2}}}}}}]}}}}",
            pod("args: [init]", "")
        );
        let manifest = Manifest::parse("pod.yaml", text).unwrap();
        let mut report = Report::default();
        not_starting(&manifest.objects()[0], &mut report);
        let found = report.findings.first().map(|finding| (finding.rule.id, finding.message.clone()));
        assert!(report.findings.iter().all(|finding| finding.rule.is_of_cluster()));
        found
    };
    let expected = |reason: &str| {
        Some((
            "not-starting",
            format!("init container podcreds does not start: {reason}; why; its last exit code is 2"),
        ))
    };
    for reason in [
        "ImagePullBackOff",
        "ErrImagePull",
        "CreateContainerConfigError",
        "CrashLoopBackOff",
        "RunContainerError",
    ] {
        assert_eq!(status("initContainerStatuses", "podcreds", reason), expected(reason));
    }
    assert_eq!(status("initContainerStatuses", "podcreds", "PodInitializing"), None);
    assert_eq!(status("containerStatuses", "app", "CrashLoopBackOff"), None);
}

#[test]
fn a_prefix_that_is_nearly_ours_is_an_error_only_in_a_pod_of_podcreds() {
    let levels = |more: &str, labels: &str, spec: &str, is_injected: bool| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{prodcreds.io/team: payments{more}}}, labels: {{{labels}}}}}, spec: {{{spec}}}}}"
        );
        let manifest = Manifest::parse("pod.yaml", text).unwrap();
        let options = options(is_injected);
        let findings = check(&manifest.objects(), &options).findings;
        let mut levels = Vec::new();
        let own = findings.iter().filter(|finding| finding.rule.id == "annotation-prefix");
        own.for_each(|finding| levels.push(finding.level));
        levels
    };
    let app = "containers: [{name: app, image: app}]";
    assert_eq!(levels("", "", app, false), [Level::Warning]);
    assert_eq!(levels("", "podcreds.io/inject: 'false'", app, false), [Level::Warning]);
    for (more, labels, spec, is_injected) in [
        ("", "podcreds.io/inject: 'true'", app.to_owned(), false),
        ("", "", pod("args: [init]", ""), false),
        ("", "", app.to_owned(), true),
        (", podcreds.io/db.secret: db", "", app.to_owned(), false),
    ] {
        assert_eq!(levels(more, labels, &spec, is_injected), [Level::Error], "{more} // {labels} // {spec}");
    }
}

#[test]
fn a_namespace_with_the_name_of_the_program_is_not_a_call_of_it() {
    for container in [
        "image: kubectl, command: [kubectl, -n, podcreds, exec, deploy/app, --, ls]",
        "image: helm, command: [helm, --namespace, podcreds, install, app]",
        "image: kubectl, command: [sh, -c, 'kubectl -n podcreds exec deploy/app -- ls']",
    ] {
        program(container, |program| assert!(program.is_none(), "{container}: {program:?}"));
    }
}

#[test]
fn a_config_map_whose_values_another_tool_replaces_is_not_rendered() {
    let ids = |port: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{podcreds.io/db.configmap: db, podcreds.io/db.format: uri, podcreds.io/db.engine: postgresql}}}}, spec: {{containers: []}}}}\n---\n\
             {{apiVersion: v1, kind: ConfigMap, metadata: {{name: db}}, data: {{host: db, port: '{port}', database: d, username: u, password: test}}}}"
        );
        only_ids(&findings_of(&text, true))
    };
    assert_eq!(ids("5432"), [""; 0]);
    assert_eq!(ids("port"), ["source"]);
    for port in ["${DB_PORT}", "<path:secret/db#port>"] {
        assert_eq!(ids(port), [""; 0], "{port}");
    }
}

/// What the status of a pod in namespace `prod` shows about its init container podcreds.
fn status_findings(status: &str) -> Vec<(String, String)> {
    let text = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: app-1, namespace: prod}}, spec: {{{}}}, status: {status}}}",
        pod("args: [init]", "")
    );
    let manifest = Manifest::parse("pod.yaml", text).unwrap();
    let mut report = Report::default();
    not_starting(&manifest.objects()[0], &mut report);
    let findings = report.findings.into_iter();
    findings.map(|finding| (finding.message, finding.remedy)).collect::<Vec<_>>()
}

#[test]
fn the_remedy_for_a_container_that_does_not_start_is_a_whole_command() {
    let waiting = |reason: &str| {
        let status = format!(
            "{{initContainerStatuses: [{{name: podcreds, state: {{waiting: {{reason: {reason}}}}}}}]}}"
        );
        status_findings(&status).remove(0).1
    };
    assert_eq!(
        waiting("CrashLoopBackOff"),
        "see its last messages: kubectl -n prod logs app-1 -c podcreds --previous"
    );
    assert_eq!(waiting("ImagePullBackOff"), "see the Events of the pod: kubectl -n prod describe pod app-1");
}

#[test]
fn an_init_container_that_failed_keeps_the_pod_from_starting() {
    let ended = |code: &str| {
        status_findings(&format!(
            "{{phase: Failed, initContainerStatuses: [{{name: podcreds, state: {{terminated: {{reason: Error, exitCode: {code}}}}}}}]}}"
        ))
    };
    let [(message, remedy)] = &ended("3")[..] else { panic!("{:?}", ended("3")) };
    assert_eq!(message, "init container podcreds does not start: it ended with exit code 3");
    assert_eq!(remedy, "see its last messages: kubectl -n prod logs app-1 -c podcreds");
    assert_eq!(ended("0"), []);
}

#[test]
fn a_status_with_missing_or_odd_fields_has_no_finding() {
    for status in [
        "null",
        "[]",
        "{}",
        "{initContainerStatuses: null}",
        "{initContainerStatuses: {}}",
        "{initContainerStatuses: [null, 1, {}, {name: podcreds}, {name: podcreds, state: null}, {name: podcreds, state: {waiting: null}}]}",
        "{initContainerStatuses: [{name: podcreds, state: {terminated: {}}}, {state: {waiting: {reason: ErrImagePull}}}]}",
        "{initContainerStatuses: [{name: other, state: {waiting: {reason: ErrImagePull}}}]}",
    ] {
        assert_eq!(status_findings(status), [], "{status}");
    }
}

#[test]
fn the_rules_of_an_aggregated_role_are_not_known() {
    let text = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: a}}, rules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: a}}, roleRef: {{kind: Role, name: a}}, subjects: [{{kind: ServiceAccount, name: default}}]}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: b}}, aggregationRule: {{}}, rules: []}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: b}}, roleRef: {{kind: ClusterRole, name: b}}, subjects: [{{kind: ServiceAccount, name: default}}]}}\n---\n\
         {{apiVersion: v1, kind: Pod, metadata: {{name: app, annotations: {{{DB}}}}}, spec: {{containers: []}}}}"
    );
    assert_eq!(only_ids(&findings_of(&text.replace("aggregationRule: {}, ", ""), true)), ["role"]);
    assert_eq!(only_ids(&findings_of(&text, true)), [""; 0]);
}

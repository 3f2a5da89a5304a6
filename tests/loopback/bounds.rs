//! No input of a permitted size takes more than 64 MiB, or more processor time than a limit that depends on the speed of the machine:
//! it is rendered, or rejected with a message that names the bound. The program runs under limits of the kernel, which end it with a
//! signal, or with a failed allocation.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::support::pki::{Authority, Leaf};
use crate::support::run::{Finished, Running, run};
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// The address space, in KiB, of a run that reads one small Secret: mostly the program's image and the stacks of its threads.
const BASE: usize = 48 * 1024;
/// The address space, in KiB, that a run may take beyond that.
const MEMORY: usize = 64 * 1024;
/// The size of a large value: with others it still fits into a Secret of 1 MiB.
const LARGE: usize = 1_000_000;

/// The processor time that a run may take, in whole seconds: a multiple of what some work takes in this thread, so that it fits slow
/// and fast machines. On a machine that needs 0.25 s for that work in a debug build and 0.1 s in a release build, a run may take 11 s
/// and 2 s; the costliest takes a third and half of that.
static SECONDS: LazyLock<u64> = LazyLock::new(|| {
    let start = processor_time();
    for _ in 0..100 {
        // What podcreds does most with an object of many keys.
        black_box(many_keys(10_000).into_iter().zip(0..).collect::<BTreeMap<_, usize>>());
    }
    // podcreds gains more from optimization than this work does.
    let times = if cfg!(debug_assertions) { 40 } else { 15 };
    ((processor_time() - start) * times).as_secs() + 1
});

/// The processor time of this thread so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it does not run backwards")
}

/// The command with this address space, in KiB.
fn limited(memory: usize, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -v {memory} && ulimit -t {} && exec \"$@\"", *SECONDS), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    // glibc reserves 64 MiB of address space for each thread. The libc of a release does not.
    shell.env_clear().env("MALLOC_ARENA_MAX", "1");
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().expect("the directory of a container"));
    shell
}

fn run_within(memory: usize, command: &Command) -> Finished {
    // The limits end it long before, unless the machine is busy with other tests.
    run(limited(memory, command), HANGS * 4)
}

/// Runs `podcreds init`.
fn init(scene: &Scene) -> Finished {
    run_within(BASE + MEMORY, &scene.command(&["init", "--timeout", "100s"]))
}

/// A pod with these annotations, and the Secret `db`.
fn scene(annotations: &[(String, String)], secret: &[(&str, &[u8])]) -> Scene {
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let scene = Scene::new(&annotations);
    scene.server.put_secret("prod", "db", secret);
    scene
}

/// Annotations of one credential `db`.
fn db(annotations: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = [&[("secret", "db")], annotations].concat();
    all.iter().map(|(key, value)| (format!("db.{key}"), (*value).to_owned())).collect()
}

/// Fails unless the run ended with this code and a short message with these parts.
#[track_caller]
fn assert_rejected(finished: &Finished, code: i32, parts: &[&str]) {
    assert_code(finished, code);
    assert_has(&finished.stderr, parts);
    assert!(finished.stderr.len() < 20_000, "{}", finished.stderr);
}

const TOO_LARGE: &str =
    "with this credential, the files of all credentials exceed the limit of 16777216 bytes";

/// `f0=key,f1=key,…`
fn one_key_under(names: usize, key: &str) -> String {
    (0..names).map(|index| format!("f{index}={key}")).collect::<Vec<_>>().join(",")
}

#[test]
fn a_plain_run_takes_less_than_the_base() {
    let scene = Scene::plain();
    assert_code(&run_within(BASE, &scene.command(&["init"])), 0);
    assert_eq!(scene.read("db/password"), PASSWORD);
}

#[test]
fn a_password_is_not_written_for_thousands_of_hosts() {
    let (hosts, password) = (vec!["a"; 8000].join(","), vec![b'x'; LARGE]);
    let scene = scene(&db(&[("format", "pgpass")]), &[("host", hosts.as_bytes()), ("password", &password)]);
    let message = "credential db: with field host, the connection has more than 64 hosts";
    assert_rejected(&init(&scene), 2, &[message]);

    let hosts = vec!["a"; 64].join(",");
    scene.server.put_secret("prod", "db", &[("host", hosts.as_bytes()), ("password", &password)]);
    assert_rejected(&init(&scene), 2, &["credential db: the connection takes more than 1048576 bytes"]);
}

#[test]
fn one_key_under_many_names_is_not_copied_for_each() {
    let (keys, value) = (one_key_under(256, "big"), vec![b'x'; LARGE]);
    for format in ["files", "env", "json", "properties"] {
        let scene = scene(&db(&[("format", format), ("keys", &keys)]), &[("big", &value)]);
        assert_rejected(&init(&scene), 2, &["credential db: ", TOO_LARGE]);
    }
}

#[test]
fn a_value_that_grows_by_its_escapes_is_not_written_beyond_the_limit() {
    let (keys, value) = (one_key_under(30, "big"), vec![1; LARGE]);
    for format in ["json", "properties"] {
        let scene = scene(&db(&[("format", format), ("keys", &keys)]), &[("big", &value)]);
        assert_rejected(&init(&scene), 2, &["credential db: ", TOO_LARGE]);
    }
}

#[test]
fn the_largest_bundle_is_written() {
    let (keys, value) = (one_key_under(16, "big"), vec![b'x'; LARGE]);
    let scene = scene(&db(&[("format", "env"), ("keys", &keys)]), &[("big", &value)]);
    assert_code(&init(&scene), 0);
    assert!(scene.read("db.env").len() > 16 * LARGE);
}

#[test]
fn thousands_of_options_are_rejected() {
    let mut options = String::new();
    (0..100_000).for_each(|index| write!(options, "z{index}=&").unwrap());
    let annotations = db(&[("format", "uri"), ("engine", "postgresql")]);
    let scene = scene(&annotations, &[("host", b"h"), ("options", options.as_bytes())]);
    let message = "credential db: field options (or the query of the URI) contains an option that only annotations may set";
    assert_rejected(&init(&scene), 2, &[message]);

    let uri = format!("postgresql://h/db?{options}");
    scene.server.put_secret("prod", "db", &[("uri", uri.as_bytes())]);
    assert_rejected(&init(&scene), 2, &["credential db: "]);
}

#[test]
fn large_options_under_many_names_are_rejected() {
    let (keys, value) = (format!("host,{}", one_key_under(200, "big")), vec![b'/'; LARGE]);
    let annotations = db(&[("format", "uri"), ("engine", "postgresql"), ("keys", &keys)]);
    let scene = scene(&annotations, &[("host", b"h"), ("big", &value)]);
    assert_rejected(&init(&scene), 2, &["credential db: the connection takes more than 1048576 bytes"]);
}

#[test]
fn templates_of_all_credentials_together_are_bounded() {
    let template = "{% for name in fields %}{% set x = big|xml %}{% endfor %}";
    let annotations: Vec<_> = (0..128)
        .flat_map(|index| [(format!("c{index}.secret"), "db"), (format!("c{index}.template"), template)])
        .map(|(key, value)| (key, value.to_owned()))
        .collect();
    let names: Vec<_> = (0..1000).map(|index| format!("k{index}")).collect();
    let value = vec![b'&'; 100_000];
    let mut data: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    data.push(("big", &value));
    let message = "credential c0: the template: line 1, column 36: rendering takes more than 524288 bytes of intermediate text";
    assert_rejected(&init(&scene(&annotations, &data)), 2, &[message]);
}

#[test]
fn large_templates_of_all_credentials_together_are_bounded() {
    let template = "{{a}}".repeat(64 * 1024 / 5);
    let annotations: Vec<_> = (0..128)
        .flat_map(|index| [(format!("c{index}.secret"), "db"), (format!("c{index}.template-from"), "t/t")])
        .map(|(key, value)| (key, value.to_owned()))
        .collect();
    let scene = scene(&annotations, &[("a", b"x")]);
    scene.server.put_configmap("prod", "t", &[("t", &template)], &[]);
    let message = "credential c0: ConfigMap prod/t, key t: is longer than 16384 bytes";
    assert_rejected(&init(&scene), 2, &[message]);
    scene.server.put_configmap("prod", "t", &[("t", &template[..16_000])], &[]);
    assert_code(&init(&scene), 0);
}

#[test]
fn key_stores_of_all_credentials_together_are_bounded() {
    let annotations: Vec<_> = (0..128)
        .flat_map(|index| [(format!("c{index}.secret"), "db"), (format!("c{index}.format"), "pkcs12")])
        .map(|(key, value)| (key, value.to_owned()))
        .collect();
    let server = Authority::new().issue(&Leaf::default()).unwrap();
    let (certificate, key) = (server.certificate_pem(), server.key_pem());
    let stores = |authorities: &str, password: &[u8]| {
        let fields = [("tls.crt", certificate), ("tls.key", &key), ("ca.crt", authorities)]
            .map(|(key, pem)| (key, pem.as_bytes()));
        scene(&annotations, &[&fields[..], &[("password", password)]].concat())
    };
    let scene = stores(certificate, b"changeit");
    assert_code(&init(&scene), 0);
    assert!(fs::read(scene.pod.volume().join("c127/truststore.p12")).unwrap().len() > 500);

    // AES without optimization is more than ten times slower.
    if !cfg!(debug_assertions) {
        let scene = stores(&certificate.repeat(1000), b"changeit");
        assert_rejected(&init(&scene), 2, &[TOO_LARGE]);
    }
    assert_rejected(
        &init(&stores(&certificate.repeat(1001), b"changeit")),
        2,
        &["more than 1000 certificates"],
    );
    assert_rejected(&init(&stores(certificate, &[b'x'; LARGE])), 2, &["longer than 1023 bytes"]);
}

#[test]
fn a_password_file_of_all_credentials_is_checked_in_time() {
    let of_credential = |index: usize| {
        [
            (format!("c{index}.secret"), "db".to_owned()),
            (format!("c{index}.format"), "pgpass".to_owned()),
            (format!("c{index}.path"), "x/pgpass".to_owned()),
            (format!("c{index}.set"), format!("database=d{index}")),
        ]
    };
    let annotations: Vec<_> = (0..128).flat_map(of_credential).collect();
    let hosts: Vec<_> = (0..64).map(|index| format!("h{index}")).collect();
    let scene = scene(&annotations, &[("host", hosts.join(",").as_bytes()), ("password", &[b'x'; 2000])]);
    assert_code(&init(&scene), 0);
    assert_eq!(scene.read("x/pgpass").lines().count(), 128 * 64);
}

#[test]
fn the_largest_merged_file_is_written_beside_the_largest_sources() {
    let of_credential = |index: usize| {
        let format = if index < 16 { "env" } else { "files" };
        [
            (format!("c{index}.secret"), format!("s{index}")),
            (format!("c{index}.format"), format.to_owned()),
            (format!("c{index}.keys"), format!("K{index}={}", if index < 16 { "big" } else { "a" })),
            (format!("c{index}.path"), if index < 16 { "all.env".to_owned() } else { format!("c{index}") }),
        ]
    };
    let annotations: Vec<_> = (0..24).flat_map(of_credential).collect();
    let scene = scene(&annotations, &[]);
    let value = vec![b'x'; LARGE];
    (0..24).for_each(|index| {
        scene.server.put_secret("prod", &format!("s{index}"), &[("a", b"1"), ("big", &value)]);
    });
    assert_code(&init(&scene), 0);
    assert!(scene.read("all.env").len() > 16 * LARGE);
}

#[test]
fn a_large_template_that_many_credentials_refer_to_is_held_once() {
    let large = "{{a}}".repeat(64 * 1024 / 5);
    let small = "{{credentials.a0.a}}{{credentials.a1.a}}{{credentials.a2.a}}";
    let template =
        |index: usize| if index < 3 { (format!("a{index}"), &*large) } else { (format!("b{index}"), small) };
    let of_credential = |(name, text): (String, &str)| {
        [(format!("{name}.secret"), "db".to_owned()), (format!("{name}.template"), text.to_owned())]
    };
    let annotations: Vec<_> = (0..120).map(template).flat_map(of_credential).collect();
    let scene = scene(&annotations, &[("a", b"x")]);
    assert_code(&init(&scene), 0);
    assert_eq!(scene.read("b119.txt"), "xxx");
}

/// The names of this many keys.
fn many_keys(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("k{index:x}")).collect()
}

#[test]
fn many_references_to_objects_of_many_keys_are_bounded() {
    let names = many_keys(10_000);
    let data: Vec<_> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let with = |secret: &str, more: &[(&str, &str)]| {
        let mut annotations = Vec::new();
        for index in 0..128 {
            let of_credential = [&[("secret", secret)], more].concat();
            let named = |(key, value): (&str, &str)| (format!("c{index}.{key}"), value.to_owned());
            annotations.extend(of_credential.into_iter().map(named));
        }
        init(&scene(&annotations, &data))
    };
    let four = "a=db,b=db,c=db,d=db";
    assert_rejected(&with(four, &[]), 2, &["credential c0: more than 10000 fields: list only"]);
    assert_code(&with(four, &[("keys", "a.k0, b.k1, c.k2, d.k3")]), 0);
    let message = "credential c0: field a.k0 is not a valid environment variable name";
    assert_rejected(&with("a=db", &[("format", "env")]), 2, &[message, "more"]);
}

#[test]
fn templates_that_refer_to_credentials_of_many_keys_are_bounded() {
    let names = many_keys(5000);
    let data: Vec<_> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let rendered = |others: usize| {
        let text: String = (0..others).map(|index| format!("{{{{credentials.a{index}.k0}}}}")).collect();
        let mut annotations = Vec::new();
        for index in 0..60 {
            let (name, key, value) = match index < others {
                true => (format!("a{index}"), "format", "json"),
                false => (format!("b{index}"), "template", &*text),
            };
            annotations.push((format!("{name}.secret"), "db".to_owned()));
            annotations.push((format!("{name}.{key}"), value.to_owned()));
        }
        init(&scene(&annotations, &data))
    };
    assert_code(&rendered(2), 0);
    assert_rejected(&rendered(7), 2, &["credential b10: more than 10000 fields: list only"]);
}

#[test]
fn objects_of_very_many_keys_are_rejected() {
    let names: Vec<_> = (0..130_000).map(|index| format!("k{index:x}")).collect();
    let data: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let sources: Vec<_> = (0..8).map(|index| format!("s{index}")).collect();
    let annotations: Vec<_> = sources.iter().map(|name| (format!("{name}.secret"), name.clone())).collect();
    let scene = scene(&annotations, &[]);
    sources.iter().for_each(|name| scene.server.put_secret("prod", name, &data));
    let message =
        "credential s0: Secret prod/s0: the object has more than 10000 keys: move some to other objects";
    assert_rejected(&init(&scene), 3, &[message]);
}

#[test]
fn the_same_keys_of_two_sources_give_a_short_message() {
    let names = many_keys(5000);
    let data: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let scene = scene(&db(&[("configmap", "db")]), &data);
    scene.server.put_configmap(
        "prod",
        "db",
        &names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>(),
        &[],
    );
    assert_rejected(
        &init(&scene),
        2,
        &["field k0 comes from Secret prod/db and from ConfigMap prod/db", "and 4980 more"],
    );
}

#[test]
fn the_largest_sources_are_held_once() {
    let names: Vec<_> = (0..24).map(|index| format!("s{index}")).collect();
    let annotations: Vec<_> = names
        .iter()
        .flat_map(|name| [(format!("{name}.secret"), name.clone()), (format!("{name}.keys"), "a".to_owned())])
        .collect();
    let scene = scene(&annotations, &[]);
    let value = vec![b'x'; LARGE];
    names.iter().for_each(|name| scene.server.put_secret("prod", name, &[("a", b"1"), ("big", &value)]));
    assert_code(&init(&scene), 0);
    assert_eq!(scene.read("s23/a"), "1");
}

/// `begin`, as many units as fit into 1 MiB and into `count`, and `end`.
fn fill(begin: &str, unit: impl Fn(usize) -> String, end: &str, count: usize) -> String {
    let mut text = begin.to_owned();
    for unit in (0..count).map(unit) {
        if text.len() + unit.len() + end.len() > 1024 * 1024 {
            break;
        }
        text += &unit;
    }
    text + end
}

#[test]
fn a_kubeconfig_or_clusters_file_of_any_form_is_read_or_rejected() {
    let same = |unit: &'static str| move |_| unit.to_owned();
    let many = usize::MAX;
    let extension =
        "clusters: [{name: c, cluster: {extensions: [{name: client.authentication.k8s.io/exec, extension: [";
    let named = |index| format!("{{name: n{index:x}}},");
    let with_id = |index| format!("{{id: n{index:x}}},");
    let with_typos = |index| {
        let typos: Vec<_> = (0..490).map(|typo| format!("tok{typo}:")).collect();
        format!("- {{id: n{index:x}, {}}}\n", typos.join(" , "))
    };
    let kubeconfigs = [
        (fill("a:\n", same("- b:\n"), "", many), "holds more than 100000 values"),
        // What takes most memory below that bound.
        (fill("users: [", named, "]", 33_000), "no current-context"),
        (fill("users: [{name: u, user: {as-groups: [", same("a,"), "]}}]", 99_000), "no current-context"),
        (fill(extension, same("{b},"), "]}]}}]", 33_000), "no current-context"),
        (fill("", same("["), "", many), "invalid YAML"),
    ];
    let clusters_files = [
        (fill("a: [", same("0,"), "]", many), "holds more than 100000 values"),
        (fill("clusters: [", with_id, "]", 33_000), "at most 100 clusters"),
        (fill("clusters:\n- id: a\n", |index| format!("  tok{index}:\n"), "", 49_000), "1000 errors"),
        (fill("clusters:\n", with_typos, "", 100), "1000 errors"),
    ];
    let kubeconfigs = kubeconfigs.map(|(text, message)| ("KUBECONFIG", text, message));
    let clusters_files = clusters_files.map(|(text, message)| ("PODCREDS_CLUSTERS", text, message));
    let scene = Scene::plain();
    let path = scene.pod.root().join("document.yaml");
    for (variable, text, message) in kubeconfigs.into_iter().chain(clusters_files) {
        fs::write(&path, &text).unwrap();
        let mut command = scene.command(&["init", "--timeout", "1s"]);
        command.env(variable, &path);
        let finished = run_within(BASE + MEMORY, &command);
        assert_eq!(finished.code, Some(2), "{text:.80}: {}", finished.stderr);
        assert!(finished.stderr.contains(message), "{text:.80}: {}", finished.stderr);
    }
}

#[test]
fn a_costly_change_of_one_source_holds_up_no_other_credential() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.format", "pgpass"), ("other.secret", "other")]);
    let put_other = |text: &[u8]| scene.server.put_secret("prod", "other", &[("a", text)]);
    put_other(b"1");
    let running = Running::start(limited(BASE + MEMORY, &scene.command(&["sidecar"])));
    running.poll_until(HANGS, "the first files", || scene.read("other/a") == "1");
    running.poll_until(HANGS, "both are watched", || scene.server.open_watches() == 2);
    let before = scene.read("db.pgpass");
    let (hosts, password) = (vec!["a"; 8000].join(","), vec![b'x'; LARGE]);
    scene.server.put_secret("prod", "db", &[("host", hosts.as_bytes()), ("password", &password)]);
    running.poll_until(HANGS, "the error", || {
        running.stderr().contains("the connection has more than 64 hosts")
    });
    put_other(b"2");
    running.poll_until(HANGS, "the change of the other", || scene.read("other/a") == "2");
    assert_eq!(scene.read("db.pgpass"), before);
}

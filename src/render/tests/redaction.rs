//! Redacted output: it hides what comes from Secrets, and shows everything else.

use proptest::prelude::*;

use super::*;
use crate::object::ServiceData;

/// A marker in the values of Secrets. No escaping rule changes it.
const MARKER: &str = "testmark7f3a";
/// The port in a Secret.
const MARKED_PORT: &str = "61999";

fn service(host: &str, port: &str) -> ObjectData {
    ObjectData::Service(ServiceData {
        host: host.into(),
        ports: BTreeMap::from([("postgresql".to_owned(), port.into())]),
    })
}

/// The only file, redacted.
#[track_caller]
fn shown(annotations: &[(&str, &str)], sources: &Sources) -> String {
    let credentials = credentials(annotations);
    bundle(&credentials, sources).unwrap();
    let files = hidden(&credentials, sources, "***").unwrap();
    assert_eq!(files.len(), 1);
    files.into_values().next().unwrap().content.expose_text().unwrap().to_owned()
}

#[test]
fn a_connection_shows_its_parts_that_do_not_come_from_a_secret() {
    let login: &[(&str, &[u8])] = &[("username", b"test-user"), ("password", b"test-password")];
    let mut sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(login))),
        (object(Kind::ConfigMap, "c"), Some(data(&[("database", b"orders")]))),
        (object(Kind::Service, "v"), Some(service("v.prod.svc", "5432"))),
    ]);
    let base =
        [("db.secret", "s"), ("db.configmap", "c"), ("db.service", "v"), ("db.set", "sslmode=require")];
    let with = |more: &[(&'static str, &'static str)]| [&base, more].concat();
    let engine = ("db.engine", "postgresql");
    for (format, expected) in [
        ("uri", "postgresql://hidden:hidden@v.prod.svc:5432/orders?sslmode=require"),
        ("jdbc", "jdbc:postgresql://v.prod.svc:5432/orders?user=hidden&password=hidden&sslmode=require"),
        (
            "libpq",
            "host='v.prod.svc' port='5432' dbname='orders' user='hidden' password='hidden' sslmode='require'",
        ),
        ("pgpass", "v.prod.svc:5432:orders:hidden:hidden\n"),
    ] {
        assert_eq!(shown(&with(&[engine, ("db.format", format)]), &sources), expected, "{format}");
    }

    // Only the host and its own port come from the Secret, then only the port of all hosts.
    let uri = ("db.format", "uri");
    let host: &[(&str, &[u8])] = &[("host", b"test-host:6000,[::1]"), ("password", b"test-password")];
    sources.insert(object(Kind::Secret, "s"), Some(data(host)));
    let listed = [engine, uri, ("db.secret", "s"), ("db.set", "port=7000,username=app")];
    assert_eq!(shown(&listed, &sources), "postgresql://app:hidden@hidden:1,hidden:7000");
    let port: &[(&str, &[u8])] = &[("port", b"6000"), ("password", b"test-password")];
    sources.insert(object(Kind::Secret, "s"), Some(data(port)));
    let listed = [engine, uri, ("db.secret", "s"), ("db.set", "host=\"a:5,b\",username=app")];
    assert_eq!(shown(&listed, &sources), "postgresql://app:hidden@a:5,b:1");
}

#[test]
fn a_url_is_as_secret_as_the_object_with_its_key() {
    let url = b"postgresql://test-user:test-password@test-host:6000/test-database?application_name=test-name";
    let of = |kind| Sources::from([(object(kind, "o"), Some(data(&[("url", url)])))]);
    let parts = [("db.format", "uri"), ("db.override", "host=pooler,sslmode=require")];
    let with = |key: &'static str| [&[(key, "o")], &parts[..1], &[("db.override", "host=pooler")]].concat();
    assert_eq!(
        shown(&with("db.secret"), &of(Kind::Secret)),
        "postgresql://hidden:hidden@pooler:1/hidden?hidden=hidden"
    );
    assert_eq!(
        shown(&with("db.configmap"), &of(Kind::ConfigMap)),
        "postgresql://test-user:test-password@pooler:6000/test-database?application_name=test-name"
    );
    let template = [("db.format", "template"), ("db.template", "{{ username }} {{ host }}")];
    assert_eq!(shown(&[&[("db.secret", "o")], &template[..]].concat(), &of(Kind::Secret)), "*** ***");
    assert_eq!(
        shown(&[&[("db.configmap", "o")], &template[..]].concat(), &of(Kind::ConfigMap)),
        "test-user test-host"
    );
    let keys = [("db.format", "json"), ("db.keys", "who=username")];
    assert_eq!(
        shown(&[&[("db.configmap", "o")], &keys[..]].concat(), &of(Kind::ConfigMap)),
        "{\n  \"who\": \"test-user\"\n}\n"
    );
}

#[test]
fn a_uri_of_override_replaces_that_of_the_secret_whatever_its_name() {
    let of = |key| {
        Sources::from([(
            object(Kind::Secret, "s"),
            Some(data(&[(key, b"postgresql://a:test-password@c/d")])),
        )])
    };
    for (key, given) in [
        ("uri", "uri=postgresql://x:y@z:1/w"),
        ("connection_string", "uri=postgresql://x:y@z:1/w"),
        ("uri", "connection_string=postgresql://x:y@z:1/w"),
    ] {
        let annotations = [("db.secret", "s"), ("db.format", "libpq"), ("db.override", given)];
        let expected = "host='z' port='1' dbname='w' user='x' password='y'";
        let written = bundle(&credentials(&annotations), &of(key)).unwrap().into_values().next().unwrap();
        assert_eq!(written.content.expose_text(), Some(expected), "{key} {given}");
        assert_eq!(shown(&annotations, &of(key)), expected, "{key} {given}");
    }
}

#[test]
fn a_template_shows_the_fields_of_other_credentials_that_are_not_secret() {
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(&[("password", b"test-password")]))),
        (object(Kind::ConfigMap, "c"), Some(data(&[("host", b"db")]))),
    ]);
    let annotations = [
        ("a.template", "{{ credentials.b.password }}@{{ credentials.b.host | upper }}/{{ credentials.b.x }}"),
        ("b.secret", "s"),
        ("b.configmap", "c"),
        ("b.set", "x=1"),
    ];
    let files = hidden(&credentials(&annotations), &sources, "***").unwrap();
    let content =
        |path: &str| files[&RelativePath::parse(path).unwrap()].content.expose_text().unwrap().to_owned();
    assert_eq!(content("a.txt"), "***@DB/1");
    assert_eq!(
        (content("b/password"), content("b/host"), content("b/x")),
        ("***".into(), "db".into(), "1".into())
    );
}

#[test]
fn values_that_do_not_suit_a_placeholder_are_hidden_too() {
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(&[("password", b"x")]))),
        (object(Kind::ConfigMap, "c"), Some(data(&[("logo", b"\xff")]))),
    ]);
    // The placeholder takes a branch that the password does not.
    let template = "{% if password != 'x' %}{{ logo | upper }}{% endif %}{{ password }}";
    let annotations = [("db.secret", "s"), ("db.configmap", "c"), ("db.template", template)];
    assert_eq!(shown(&annotations, &sources), "******");
}

/// Where a field comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Nowhere,
    Secret,
    ConfigMap,
    Set,
}

/// Each field with its value in a Secret, and elsewhere.
const FIELDS: [(&str, &str, &str); 9] = [
    ("username", "MARK", "app"),
    ("password", "MARK", "public-word"),
    ("host", "MARK", "db.example.com"),
    ("port", MARKED_PORT, "5432"),
    ("database", "MARK", "orders"),
    ("options", "application_name=MARK", "connect_timeout=7"),
    (
        "uri",
        "postgresql://MARK:MARK@MARK:61999/MARK?application_name=MARK",
        "postgresql://a:b@c:5432/d?connect_timeout=7",
    ),
    ("sslmode", "MARK", "require"),
    ("other", "MARK", "public-other"),
];
const FORMATS: [&str; 13] = [
    "files",
    "env",
    "dotenv",
    "envfile",
    "json",
    "yaml",
    "properties",
    "uri",
    "jdbc",
    "adonet",
    "libpq",
    "pgpass",
    "pgservice",
];
const CONNECTIONS: [&str; 5] = ["uri", "jdbc", "adonet", "libpq", "pgservice"];
const TEMPLATES: [&str; 4] = [
    "{% for name in fields %}{{ name }}={{ fields[name] | shell }}\n{% endfor %}",
    "{{ username }}:{{ password | upper }}@{{ host }}",
    "{% if password == 'public-word' %}{{ host | b64encode }}{% else %}{{ password | trim }}{% endif %}",
    "{{ credentials.db.other | json }}{{ other | replace('p', 'q') }}",
];

proptest! {
    #[test]
    fn redacted_output_has_no_part_of_a_secret_and_every_other_value(
        places in proptest::collection::vec(
            prop_oneof![Just(From::Nowhere), Just(From::Secret), Just(From::ConfigMap), Just(From::Set)],
            FIELDS.len(),
        ),
        format in 0..FORMATS.len() + TEMPLATES.len(),
        tail in "[a-z0-9]{0,6}",
    ) {
        let (mut secret, mut public, mut set) = (Vec::new(), Vec::new(), Vec::new());
        for ((field, marked, plain), place) in FIELDS.into_iter().zip(&places) {
            let marked = marked.replace("MARK", &format!("{MARKER}{tail}"));
            match place {
                From::Nowhere => {}
                From::Secret => secret.push((field.to_owned(), SecretBytes::from(marked.as_str()))),
                From::ConfigMap => public.push((field.to_owned(), SecretBytes::from(plain))),
                From::Set => set.push(format!("{field}={plain}")),
            }
        }
        let set = set.join(",");
        let mut annotations = vec![("db.secret", "s"), ("db.configmap", "c")];
        match FORMATS.get(format) {
            Some(format) => annotations.push(("db.format", format)),
            None => annotations.push(("db.template", TEMPLATES[format - FORMATS.len()])),
        }
        if FORMATS.get(format).is_some_and(|format| CONNECTIONS.contains(format)) {
            annotations.push(("db.engine", "postgresql"));
        }
        if !set.is_empty() {
            annotations.push(("db.set", &set));
        }
        let credentials = credentials(&annotations);
        let sources = Sources::from([
            (object(Kind::Secret, "s"), Some(secret.into_iter().collect())),
            (object(Kind::ConfigMap, "c"), Some(public.into_iter().collect())),
        ]);
        let rendered = bundle(&credentials, &sources);
        let redacted = hidden(&credentials, &sources, "********");
        prop_assert!(rendered.is_err() || redacted.is_ok(), "only redacted output fails");
        for (path, file) in redacted.iter().flatten() {
            let text = file.content.expose_text().unwrap();
            let is_clean = !text.to_lowercase().contains(MARKER) && !text.contains(MARKED_PORT);
            prop_assert!(is_clean, "{path}: {text}");
        }
        if FORMATS.get(format) == Some(&"json") && let Ok(redacted) = redacted {
            let text = redacted.into_values().next().unwrap().content.expose_text().unwrap().to_owned();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            for ((field, _, plain), place) in FIELDS.into_iter().zip(places) {
                match place {
                    From::Nowhere => prop_assert_eq!(&json[field], &serde_json::Value::Null),
                    From::Secret => prop_assert_eq!(&json[field], "********"),
                    From::ConfigMap | From::Set => prop_assert_eq!(&json[field], plain),
                }
            }
        }
    }
}

/// Keys of Secrets. MARK is the marker.
const KEYS: [(&str, &str); 16] = [
    ("username", "MARK"),
    ("user", "MARK"),
    ("password", "MARK\n"),
    ("host", "MARK:61999"),
    ("endpoint", "MARK:61999,MARK"),
    ("port", "61999\n"),
    ("dbname", "MARK"),
    ("options", "application_name=MARK&connect_timeout=61999"),
    ("uri", "postgresql://MARK:MARK@MARK.data.svc:61999/MARK?application_name=MARK"),
    ("connection_string", "mysql://MARK:MARK@MARK:61999,MARK/MARK"),
    ("DATABASE_URL", "postgresql://MARK:MARK@MARK/MARK?application_name=MARK"),
    ("json", r#"{"user": "MARK", "port": 61999, "deep": {"password": "MARK"}}"#),
    ("encoded", "dGVzdG1hcms3ZjNh"),
    ("sslmode", "MARK"),
    ("type", "postgresql"),
    ("other", "MARK"),
];
/// Keys of the ConfigMap.
const PUBLIC_KEYS: [(&str, &str); 6] = [
    ("username", "app"),
    ("host", "db"),
    ("port", "5432"),
    ("uri", "postgresql://a:b@c:5432/d"),
    ("connection_string", "no URL"),
    ("other", "public"),
];
/// Entries of `.keys`.
const ENTRIES: [&str; 16] = [
    "username?",
    "password=password?",
    "host?",
    "port?",
    "database?",
    "uri=DATABASE_URL?",
    "connection_string?",
    "user=json#/user?",
    "pass=json#/deep/password?",
    "port=json#/port?",
    "application_name=other?",
    "sslmode=a.sslmode?",
    "username=a.username?",
    "hostname=a.host?",
    "token=encoded?",
    "dbname=b.other?",
];
/// Items of `.override`.
const OVERRIDES: [&str; 8] = [
    "host=pooler",
    "hostname=pooler",
    "port=5433",
    "username=app",
    "user=",
    "database=orders",
    "uri=postgresql://x:y@z/w",
    "connection_string=none",
];
/// Other annotations, of which a later one replaces an earlier one.
const OTHERS: [(&str, &str); 15] = [
    ("db.secret", "a=s"),
    ("db.secret", "data/s"),
    ("db.secret", "a=s, b=data/s2"),
    ("db.configmap", "c"),
    ("db.configmap", "c"),
    ("db.configmap", "b=c"),
    ("db.service", "v"),
    ("db.trim", "true"),
    ("db.prefix", "app_"),
    ("db.names", "upper"),
    ("db.optional", "true"),
    ("db.set", "connect_timeout=7,port=5432"),
    ("db.set", "uri=postgresql://a:b@c:1/d"),
    ("db.on-change-header", "Authorization: Basic {{ password | default('') }}{{ other | default('') }}"),
    ("db.variable", "DATABASE_URL"),
];
const MORE_TEMPLATES: [&str; 4] = [
    "{{ username }}:{{ password | b64encode }}@{{ host | upper }}:{{ port }}/{{ database }}",
    "{{ encoded | b64decode | replace('t', 'T') }}{{ json | json }}",
    "{% set x = other | replace(other, password) %}{{ x | default('') }}{% for f in fields %}{{ fields[f] | b64encode | lower }}{% endfor %}",
    "{% for f in fields %}{% if fields[f] != '' %}{{ f }}={{ fields[f] | urlencode | yaml }}\n{% endif %}{% endfor %}",
];
const OTHER_TEMPLATES: [&str; 3] = [
    "{{ credentials.db.password | default('') }}{{ token | trim }}{{ credentials.db.host | default('') | b64encode }}",
    "{{ credentials['db']['app_password'] | default('') | upper }}{{ username }}",
    "{{ token | b64encode }}{{ credentials.db.uri | default('') | replace('postgresql', 'x') }}",
];

/// Whether a text has a marker, also in other letters or in base64, whatever precedes it there.
fn is_marked(text: &str) -> bool {
    use base64::Engine as _;
    let mut encoded = (0..3).map(|before| {
        let whole = base64::engine::general_purpose::STANDARD.encode("x".repeat(before) + MARKER + "xxx");
        // Without the ends, which depend on what is beside the marker.
        whole[4..16].to_lowercase()
    });
    let text = text.to_lowercase();
    text.contains(MARKER) || text.contains(MARKED_PORT) || encoded.any(|part| text.contains(&part))
}

fn some_of<T: Copy + std::fmt::Debug + 'static>(
    all: &'static [T],
    count: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<T>> {
    proptest::sample::subsequence(all.to_vec(), count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn no_way_to_select_and_write_fields_shows_a_part_of_a_secret(
        (first, second, public) in (prop_oneof![some_of(&KEYS, 1..=8), some_of(&KEYS[8..], 1..=2)], some_of(&KEYS, 1..=4), some_of(&PUBLIC_KEYS, 0..=3)),
        (entries, overrides, others) in (some_of(&ENTRIES, 1..=6), some_of(&OVERRIDES, 1..=2), some_of(&OTHERS, 0..=4)),
        format in 0..FORMATS.len() + 2 + TEMPLATES.len() + MORE_TEMPLATES.len(),
        (lists, replaces, has_engine) in any::<(bool, bool, bool)>(),
        template in 0..OTHER_TEMPLATES.len(),
    ) {
        let marked = |keys: Vec<(&'static str, &'static str)>| -> ObjectData {
            let value = |value: &str| SecretBytes::from(value.replace("MARK", MARKER).as_str());
            keys.into_iter().map(|(key, text)| (key.to_owned(), value(text))).collect()
        };
        let (entries, overrides) = (entries.join(","), overrides.join(","));
        let mut annotations = vec![
            ("db.secret", "s"),
            ("two.secret", "t"),
            ("two.template", OTHER_TEMPLATES[template]),
        ];
        let formats = [&FORMATS[..], &["mycnf", "pkcs12"]].concat();
        match formats.get(format) {
            Some(format) => annotations.push(("db.format", format)),
            None => annotations.push(("db.template", [TEMPLATES, MORE_TEMPLATES].concat()[format - formats.len()])),
        }
        if has_engine && formats.get(format).is_some_and(|format| CONNECTIONS.contains(format)) {
            annotations.push(("db.engine", "postgresql"));
        }
        if lists {
            annotations.push(("db.keys", &entries));
        }
        if others.iter().any(|(word, _)| *word == "db.on-change-header") {
            annotations.push(("db.on-change", "POST http://127.0.0.1:1/"));
        }
        if replaces {
            annotations.push(("db.override", &overrides));
        }
        annotations.extend(others);
        let named = annotations.into_iter().map(|(word, value)| (format!("{DEFAULT_PREFIX}/{word}"), value.to_owned()));
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        // Annotations that do not fit together.
        let Ok(credentials) = parse(&named.collect(), DEFAULT_PREFIX, &scope) else { return Ok(()) };
        let (first, second) = (marked(first), marked(second));
        let sources = Sources::from([
            (object(Kind::Secret, "s"), Some(first.clone())),
            (object(Kind::Secret, "data/s"), Some(first)),
            (object(Kind::Secret, "data/s2"), Some(second)),
            (object(Kind::Secret, "t"), Some(marked(vec![("token", "MARK"), ("username", "MARK")]))),
            (object(Kind::ConfigMap, "c"), Some(marked(public))),
            (object(Kind::Service, "v"), Some(service("v.prod.svc", "5432"))),
        ]);
        let rendered = super::super::render(&credentials, &sources);
        let redacted = render_redacted(&credentials, &sources, "********");
        prop_assert!(rendered.is_err() || redacted.is_ok(), "only redacted output fails");
        let mut shown = Vec::new();
        for result in [&rendered, &redacted] {
            match result {
                Ok(rendered) => shown.extend(rendered.notices.iter().map(ToString::to_string)),
                Err(errors) => shown.push(errors.to_string()),
            }
        }
        if let Ok(Rendered { bundle, headers, .. }) = &redacted {
            shown.extend(bundle.values().map(|file| file.content.expose_text().unwrap().to_owned()));
            shown.extend(headers.iter().map(|(_, header)| header.value.expose_text().unwrap().to_owned()));
        }
        for text in shown {
            prop_assert!(!is_marked(&text), "{text}");
        }
    }
}

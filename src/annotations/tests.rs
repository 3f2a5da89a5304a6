mod chart;
mod header;
mod options;
mod secrecy;

use core::time::Duration;

use super::*;
use crate::credential::{FieldName, TemplateSource};
use crate::object::{ClusterId, Namespace};

fn read(annotations: &[(&str, &str)]) -> Result<Vec<Credential>, String> {
    let map = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    parse(&map, DEFAULT_PREFIX, &ReferenceScope::local(Namespace::parse("prod").unwrap()))
        .map_err(|errors| errors.to_string())
}

/// The errors of a credential `db` with a source and these annotations.
fn errors_of(annotations: &[(&str, &str)]) -> String {
    let named: Vec<_> =
        annotations.iter().map(|(key, value)| (format!("podcreds.io/db.{key}"), *value)).collect();
    let mut all: Vec<_> = named.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    all.push(("podcreds.io/db.secret", "db"));
    read(&all).expect_err("these annotations are invalid")
}

#[test]
fn a_single_annotation_is_enough() {
    let read = read(&[("podcreds.io/db.secret", "postgres"), ("other.io/db.secret", "no\nmatter")]).unwrap();
    let [credential] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!(credential.sources[0].object.to_string(), "Secret prod/postgres");
    assert_eq!(credential.path.to_string(), "db");
    assert_eq!(
        (credential.output.format(), &credential.key_mapping, credential.mode),
        (Format::Files, &KeyMapping::All, None)
    );
}

#[test]
fn every_key_is_read() {
    let read = read(&[
        ("podcreds.io/db.secret", "creds/postgres"),
        ("podcreds.io/db.configmap", "postgres"),
        ("podcreds.io/db.service", "infra/postgres:sql"),
        ("podcreds.io/db.keys", "DBUSER=username\nDBPASSWORD=password,"),
        ("podcreds.io/db.set", "SSL='verify, full'"),
        ("podcreds.io/db.format", "env"),
        ("podcreds.io/db.path", "app/db.env"),
        ("podcreds.io/db.file-mode", "0400"),
        ("podcreds.io/db.optional", "true"),
    ])
    .unwrap();
    let [db] = read.as_slice() else { panic!("{read:?}") };
    let sources: Vec<_> = db.source_objects().map(ToString::to_string).collect();
    assert_eq!(sources, ["Secret creds/postgres", "ConfigMap prod/postgres", "Service infra/postgres"]);
    assert_eq!(db.sources[2].port.as_deref(), Some("sql"));
    assert_eq!(db.inline_fields[0].1.expose(), b"verify, full");
    assert_eq!((db.path.to_string().as_str(), db.mode.map(FileMode::bits)), ("app/db.env", Some(0o400)));
    assert!(db.optional && matches!(&db.key_mapping, KeyMapping::Listed(keys) if keys.len() == 2));
}

#[test]
fn each_format_has_a_default_extension() {
    for (format, path) in [
        ("files", "db"),
        ("env", "db.env"),
        ("dotenv", "db.env"),
        ("envfile", "db.envfile"),
        ("json", "db.json"),
        ("yaml", "db.yaml"),
        ("properties", "db.properties"),
        ("uri", "db.uri"),
        ("jdbc", "db.jdbc"),
        ("adonet", "db.adonet"),
        ("libpq", "db.libpq"),
        ("pgpass", "db.pgpass"),
        ("pgservice", "db.pgservice"),
        ("mycnf", "db.cnf"),
    ] {
        let read = read(&[("podcreds.io/db.secret", "db"), ("podcreds.io/db.format", format)]).unwrap();
        assert_eq!(read[0].path.to_string(), path, "{format}");
    }
}

#[test]
fn an_annotation_key_that_is_a_field_gets_a_hint() {
    let message = read(&[("podcreds.io/db.secret", "s"), ("podcreds.io/db.password", "test-1")]).unwrap_err();
    let hint = "unknown annotation key \"password\": values come from the Secret that .secret names";
    assert!(message.contains(hint) && !message.contains("test-1"), "{message}");
}

#[test]
fn all_errors_are_reported_at_once_with_their_annotations() {
    let message = read(&[
        ("podcreds.io/a.secert", "x"),
        ("podcreds.io/b.secret", "Bad_Name"),
        ("podcreds.io/c.path", "c"),
        ("podcreds.io/secret", "x"),
        ("podcreds.io/DB.secret", "x"),
    ])
    .unwrap_err();
    for part in [
        "5 invalid annotations:",
        "podcreds.io/a.secert: unknown annotation key \"secert\"; did you mean \"secret\"?",
        "podcreds.io/b.secret: invalid name \"Bad_…\"",
        "podcreds.io/c: no source: add .secret, .configmap or .service to credential c (.set",
        "podcreds.io/secret: missing credential name: write podcreds.io/<name>.secret",
        "podcreds.io/DB.secret: invalid credential name \"DB\"",
    ] {
        assert!(message.contains(part), "{part}\nis not in\n{message}");
    }
    assert!(!message.contains("podcreds.io/a: "), "a misspelt source is reported once: {message}");
}

#[test]
fn sources_are_read_from_the_named_cluster_and_the_template_from_the_local_one() {
    let hub = ClusterId::parse("hub").unwrap();
    let scope = ReferenceScope {
        namespace: Namespace::parse("prod").unwrap(),
        clusters: BTreeMap::from([(hub.clone(), Namespace::parse("shared").unwrap())]),
    };
    let parse = |cluster: &str| {
        let annotations = [
            ("secret", "db"),
            ("configmap", "other/db"),
            ("service", "db:5432"),
            ("template-from", "templates/t"),
            ("cluster", cluster),
        ];
        let map = annotations.map(|(key, value)| (format!("podcreds.io/db.{key}"), value.to_owned())).into();
        parse(&map, DEFAULT_PREFIX, &scope).map_err(|errors| errors.to_string())
    };
    let objects: Vec<_> = parse("hub").unwrap()[0].objects().map(ToString::to_string).collect();
    for object in [
        "Secret shared/db of cluster hub",
        "ConfigMap other/db of cluster hub",
        "Service shared/db of cluster hub",
        "ConfigMap prod/templates",
    ] {
        assert!(objects.contains(&object.to_owned()), "{object}: {objects:?}");
    }
    let wrong = parse("hbu").unwrap_err();
    assert!(
        wrong.ends_with("unknown cluster \"hbu\": not in the clusters file; did you mean \"hub\"?"),
        "{wrong}"
    );
    assert!(errors_of(&[("cluster", "hub")]).contains("no clusters file given (--clusters)"));
    assert!(errors_of(&[("cluster", "a b")]).contains("invalid cluster id"));
}

#[test]
fn the_error_for_an_unknown_format_lists_every_format() {
    let message = errors_of(&[("format", "xml")]);
    assert!(message.contains("(supported: files, env, dotenv, "), "{message}");
    assert!(Format::ALL.iter().all(|(name, _)| message.contains(name)), "{message}");
    let message = errors_of(&[("format", "uri"), ("variable", "URL"), ("variable-format", "xml")]);
    assert!(message.contains("(supported: env, dotenv, envfile)"), "{message}");
}

#[test]
fn invalid_values_are_rejected() {
    for (key, value, part) in [
        ("format", "jason", "did you mean \"json\"?"),
        ("format", "", "unknown format"),
        ("keys", "", "empty list"),
        ("keys", "a=b,a=c", "duplicate field a"),
        ("keys", "a/b", "invalid key"),
        ("keys", "..data", "invalid key"),
        ("set", "a=1,a=2", "duplicate field a"),
        ("override", "", "empty list"),
        ("override", "a=1,a=2", "duplicate field a"),
        ("set", "a b=1", "entry 1 has spaces before its `=`"),
        ("set", "a/b=1", "entry 1 does not start with a field name"),
        ("path", "../x", "begins with `..`"),
        ("path", "/etc/passwd", "absolute"),
        ("path", "a\nb", "control characters"),
        ("file-mode", "888", "octal"),
        ("on-change", "reboot", "is not one of: POST URL"),
        ("on-change", "touch db", "touches db, which credential db writes"),
        (
            "splay",
            "30",
            "invalid duration \"30\": write a number with its unit, such as 500ms, 30s or 1m30s, up to a year",
        ),
        ("splay", "-1s", "invalid duration \"-1s\""),
        ("splay", "2years", "invalid duration \"2yea…\""),
        ("optional", "yes", "must be \"true\" or \"false\", not \"yes\""),
        ("configmap", "a/b/c", "write name or namespace/name"),
        ("configmap", "db, redis", "several objects need an alias each: write alias=name, alias=name"),
        ("configmap", "db redis", "invalid list of objects \"db…\": name one object, or give each an alias"),
        ("configmap", ",", "invalid name \"\": use lower-case letters"),
        ("prefix", "a b", "invalid prefix \"a…\""),
        ("names", "uper", "must be \"upper\", which names db-user DB_USER, not \"uper\""),
        ("trim", "yes", "must be \"true\" or \"false\", not \"yes\""),
        ("configmap", "{{ .Values.db }}", "invalid name \"…\": use lower-case letters"),
        ("keys", "a,b=c/d", "entry 2 has an invalid key"),
        ("keys", "password=p@ss", "a value that is not secret belongs in .set"),
        ("keys", "PW=password  # the password", "`#` does not begin a comment here"),
        ("keys", "PW=password\n# the password", "`#` does not begin a comment here"),
        ("format", "p12", "did you mean \"pkcs12\"?"),
        ("format", "jks", "did you mean \"pkcs12\"?"),
        ("engine", "postgress", "is only for formats uri, jdbc"),
        ("configmap", "{{ .Values.db }}", "`{{` looks like a Helm expression"),
        ("path", "{{ .Values.x }}/..", "`{{` looks like a Helm expression"),
        ("configmap", "postgresql://app@db/orders", "this looks like a URL: store it in a Secret"),
        ("on-change", "POST http://localhost:99999/x", "the port is not a number from 1 to 65535"),
        ("service", "a/b/c", "write name or namespace/name"),
        ("service", "db:", "invalid port after the colon"),
    ] {
        let message = errors_of(&[(key, value)]);
        assert!(message.contains(part) && message.contains(&format!("db.{key}")), "{key}={value}: {message}");
    }
    let message = errors_of(&[("keys", "a"), ("set", "a=1")]);
    assert!(message.contains("db.set: duplicate field a, which .keys names: remove"), "{message}");
    assert!(!errors_of(&[("keys", "a"), ("override", "a=1"), ("format", "x")]).contains("override"));
    let message = errors_of(&[("override", "a=1"), ("set", "a=1")]);
    assert!(message.contains("db.override: field a is in .set too: write it in one of them"), "{message}");
    assert!(errors_of(&[("set", &"x".repeat(VALUE_LIMIT + 1))]).contains("longer than"));
}

/// Without `.on-change` it may be meant for `--exit-on-change` or `exec --render --restart-on-change`.
#[test]
fn a_splay_is_a_duration_and_needs_no_on_change() {
    let splay = |value| {
        let found = read(&[("podcreds.io/db.secret", "db"), ("podcreds.io/db.splay", value)]).unwrap();
        found[0].splay
    };
    assert_eq!(splay(" 1m30s "), Some(Duration::from_secs(90)));
    assert_eq!(splay("0s"), Some(Duration::ZERO), "which wins over the flag");
    assert_eq!(read(&[("podcreds.io/db.secret", "db")]).unwrap()[0].splay, None);
}

#[test]
fn a_template_is_a_format_of_its_own() {
    let template = |annotations: &[(&str, &str)]| {
        let all = [annotations, &[("podcreds.io/db.secret", "db")]].concat();
        let [db] = read(&all).unwrap().try_into().unwrap();
        assert_eq!((db.output.format(), db.path.to_string().as_str()), (Format::Template, "db.txt"));
        db
    };
    let db = template(&[("podcreds.io/db.template", "{{ password }}")]);
    assert_eq!(db.objects().count(), 1);
    let db = template(&[
        ("podcreds.io/db.template", "{{ x }}[[ password ]]"),
        ("podcreds.io/db.delimiters", "[[ ]]"),
        ("podcreds.io/db.format", "template"),
        ("podcreds.io/db.keys", "password"),
    ]);
    let Output::Template { source: TemplateSource::Text(text), env_export: None } = db.output else {
        panic!("{db:?}")
    };
    assert_eq!(text.required_names().collect::<Vec<_>>(), ["password"]);
    let db = template(&[("podcreds.io/db.template-from", "templates/db.conf")]);
    let objects: Vec<_> = db.objects().map(ToString::to_string).collect();
    assert_eq!(objects, ["Secret prod/db", "ConfigMap prod/templates"]);
    template(&[
        ("podcreds.io/db.template", "{{ PGHOST }}:{{ port }}"),
        ("podcreds.io/db.service", "postgres"),
        ("podcreds.io/db.keys", "PGHOST=host"),
    ]);
}

#[test]
fn a_service_alone_is_a_source() {
    let read = read(&[("podcreds.io/db.service", "postgres")]).unwrap();
    let objects: Vec<_> = read[0].objects().map(ToString::to_string).collect();
    assert_eq!(objects, ["Service prod/postgres"]);
}

#[test]
fn template_errors_are_reported_with_all_other_errors() {
    for (annotations, parts) in [
        (&[("template", "{{ a"), ("path", "/x")][..], &["db.template: line 1, column 4", "db.path"][..]),
        (&[("template", "a\n{{ b | jason }}")], &["db.template: line 2, column 8: unknown filter \"jason\""]),
        (
            &[("template", "{{ a }}{{ b }}{{ c }}{{ d }}"), ("keys", "a"), ("set", "d=1")],
            &[
                "2 invalid",
                "column 11: unknown field \"b\"; available: a, d",
                "column 18: unknown field \"c\"",
            ],
        ),
        (
            &[("template", "{{ host }}{{ port }}"), ("keys", "PGHOST=host"), ("service", "postgres")],
            &["column 4: unknown field \"host\"; available: PGHOST, port"],
        ),
        (
            &[("template", "{{ credentials.dbs.x }}{{ credentials.db.x }}")],
            &[
                "db.template: line 1, column 4: unknown credential \"dbs\"; available: db; did you mean \"db\"?",
            ],
        ),
        (&[("template", "a"), ("format", "env")], &["db.format: must be \"template\" when .template"]),
        (&[("template-from", "a/b"), ("format", "env")], &["db.format: must be \"template\" when .template"]),
        (&[("template", "a"), ("template-from", "a/b")], &["db.template-from: conflicts with .template"]),
        (&[("format", "template")], &["db.format: missing template: add .template or .template-from"]),
        (&[("delimiters", "[[ ]]")], &["db.delimiters: missing template"]),
        (
            &[("template", "{{ a }"), ("delimiters", "[[")],
            &["db.delimiters: is not an opening and a closing"],
        ),
        (&[("template-from", "a")], &["db.template-from: invalid reference \"a\" to a key of a ConfigMap"]),
        (&[("template", "")], &["db.template: empty template"]),
        (&[("format", "templat")], &["did you mean \"template\"?"]),
    ] {
        let message = errors_of(annotations);
        for part in parts {
            assert!(message.contains(part), "{annotations:?}\n{part}\nis not in\n{message}");
        }
    }
}

#[test]
fn a_template_with_fields_of_other_credentials_needs_no_source() {
    let db = ("podcreds.io/db.secret", "db");
    let with = |annotations: &[(&str, &str)]| read(&[&[db], annotations].concat());
    let app = with(&[
        ("podcreds.io/app.template", "{{ credentials.db.x }}{{ a }}"),
        ("podcreds.io/app.set", "a=1"),
    ]);
    let app = app.unwrap().remove(0);
    assert!(app.sources.is_empty());
    assert_eq!(app.objects().map(ToString::to_string).collect::<Vec<_>>(), ["Secret prod/db"]);
    for (annotations, said) in [
        (
            &[("podcreds.io/app.template", "{{ credentials.db.x }}{{ a }}")][..],
            "unknown field \"a\"; available: none",
        ),
        (
            &[("podcreds.io/app.template", "{{ credentials.db.x }}"), ("podcreds.io/app.keys", "a")],
            "podcreds.io/app: no source: add .secret",
        ),
        (
            &[("podcreds.io/app.template", "{{ credentials.app.x }}")],
            "podcreds.io/app: no source: add .secret",
        ),
        (
            &[("podcreds.io/app.template", "{% if credentials.nope.x is defined %}{% endif %}")],
            "unknown credential \"nope\"",
        ),
        (
            &[("podcreds.io/app.template", "{{ credentials.db.x }}{{ a }}"), ("podcreds.io/app.secert", "s")],
            "did you mean \"secret\"?",
        ),
    ] {
        let message = with(annotations).unwrap_err();
        assert!(message.starts_with("invalid annotation: ") && message.contains(said), "{message}");
    }
}

#[test]
fn a_key_without_a_known_alias_is_an_error_of_the_annotation() {
    let both = ("podcreds.io/db.secret", "db=orders-db, cache=orders-redis");
    let keys = |keys: &str, more: &[(&str, &str)]| {
        read(&[&[both, ("podcreds.io/db.keys", keys)], more].concat()).map(drop)
    };
    for (text, said) in [
        (
            "X=cahce.password",
            "key cahce.password does not begin with an alias (db, cache); did you mean cache.password?",
        ),
        (
            "X=password",
            "key password does not begin with an alias (db, cache): write one before it, as in db.password",
        ),
        (
            "tls.crt?",
            "key tls.crt does not begin with an alias (db, cache): write one before it, as in db.tls.crt",
        ),
        (
            "X=hunter2SECRET",
            "key hunt… does not begin with an alias (db, cache): write one before it, as in db.hunt…",
        ),
    ] {
        assert_eq!(
            keys(text, &[]),
            Err(format!("invalid annotation: podcreds.io/db.keys: {said}")),
            "{text}"
        );
    }
    keys("X=cache.password, db.tls.crt, H=db.host", &[]).unwrap();
    keys("X=cahce.password", &[("podcreds.io/db.configmap", "c")]).unwrap();
    let message = keys("X=password", &[("podcreds.io/db.configmap", "A")]).unwrap_err();
    assert!(!message.contains("alias"), "{message}");
}

#[test]
fn a_prefix_that_no_variable_can_have_is_an_error_of_the_annotation() {
    for (prefix, more, said) in [
        ("orders-", &[][..], "such as ORDERS_, and add .names: \"upper\" if the keys"),
        ("orders.", &[("names", "upper")], "such as ORDERS_"),
        ("1st_", &[], "such as APP_, and add"),
        ("hunter2-SECRET", &[], "such as APP_, and add"),
    ] {
        for format in ["env", "dotenv"] {
            let message = errors_of(&[&[("format", format), ("prefix", prefix)], more].concat());
            assert!(
                message.starts_with("invalid annotation: podcreds.io/db.prefix: is not valid in the name of an environment variable")
                    && message.contains(said),
                "{message}"
            );
        }
    }
    for format in ["json", "envfile", "files"] {
        let [secret, format] = [("podcreds.io/db.secret", "db"), ("podcreds.io/db.format", format)];
        read(&[secret, format, ("podcreds.io/db.prefix", "orders-")]).unwrap();
    }
}

#[test]
fn engine_is_only_for_connections() {
    for format in ["files", "env", "json", "pkcs12"] {
        let message = errors_of(&[("format", format), ("engine", "postgresql")]);
        assert!(
            message.contains(
                "db.engine: is only for formats uri, jdbc, adonet, libpq, pgpass, pgservice and mycnf"
            ) && !message.contains("client's scheme"),
            "{message}"
        );
    }
    assert!(
        errors_of(&[("engine", "postgresql"), ("template", "x")]).contains("db.engine: is only for formats")
    );
}

#[test]
fn one_mistake_in_the_format_is_one_error() {
    for (annotations, said) in [
        (
            &[("template", "{{ a }}"), ("variable", "X"), ("format", "env")][..],
            "db.format: must be \"template\" when .template or .template-from is set: remove one of them; the format of a file with .variable belongs in .variable-format",
        ),
        (&[("format", "url"), ("variable", "X"), ("engine", "redis")], "did you mean \"uri\"?"),
        (&[("format", "env"), ("variable", "X")], "and template: for a URL, set .format: uri; in formats"),
    ] {
        let message = errors_of(annotations);
        assert!(message.starts_with("invalid annotation: ") && message.contains(said), "{message}");
    }
}

#[test]
fn a_credential_name_with_a_dot_is_corrected() {
    let message = read(&[("podcreds.io/my.db.secret", "x")]).unwrap_err();
    let expected = "invalid annotation: podcreds.io/my.db.secret: the name of a credential cannot contain a dot: write podcreds.io/my-db.secret";
    assert_eq!(message, expected);
}

#[test]
fn a_path_of_a_directory_that_looks_like_a_file_is_found() {
    let map = |entries: &[(&str, &str)]| {
        entries.iter().map(|(key, value)| (format!("podcreds.io/{key}"), (*value).to_owned())).collect()
    };
    for (entries, expected) in [
        (&[("a.path", "app.env"), ("b.path", "b/x.json"), ("c.path", "app.d")][..], &["a", "b"][..]),
        (&[("a.path", "app.env"), ("a.format", "files")], &[]),
        (&[("a.path", "app.json"), ("a.template", "x")], &[]),
    ] {
        assert_eq!(directories_like_files(&map(entries), DEFAULT_PREFIX), expected);
    }
}

#[test]
fn errors_never_show_literals() {
    for value in [
        "a='test-password",
        "a=\"test-password\"x",
        "a=\"test-password\\q\"",
        "a=test-password,a=2",
        "a=x,test-password",
        "a=x\ntest-password",
        "a=x,!test-password=y",
    ] {
        assert!(!errors_of(&[("set", value)]).contains("test-password"), "{value}");
    }
}

#[test]
fn two_credentials_cannot_write_one_path() {
    let base =
        [("podcreds.io/a.secret", "s"), ("podcreds.io/b.secret", "s"), ("podcreds.io/b.format", "json")];
    for path in ["a", "a/b", "b.json"] {
        let clash = [("podcreds.io/a.path", "b.json/x"), ("podcreds.io/b.path", path)];
        assert_eq!(read(&[base.as_slice(), &clash].concat()).is_err(), path == "b.json", "{path}");
    }
    let same = read(&[base.as_slice(), &[("podcreds.io/b.path", "a")]].concat()).unwrap_err();
    assert!(
        same.contains(
            "podcreds.io/b.path: \"a\" as a file in format json conflicts with credential a, which writes it as a directory"
        ),
        "{same}"
    );
}

#[test]
fn numbers_have_bounds() {
    let many: Vec<_> = (0..=CREDENTIAL_LIMIT).map(|i| (format!("podcreds.io/c{i}.secret"), "s")).collect();
    let many: Vec<_> = many.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert!(read(&many).unwrap_err().contains("more than 128 credentials"));
    let wrong: Vec<_> = (0..100).map(|i| (format!("podcreds.io/c{i}.x"), "s")).collect();
    let wrong: Vec<_> = wrong.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert!(read(&wrong[..50]).unwrap_err().ends_with("and 30 more"));
}

#[test]
fn the_prefix_is_a_setting_and_a_misspelt_one_is_found() {
    let map = BTreeMap::from([("podcred.io/db.secret".to_owned(), "s".to_owned())]);
    let namespace = Namespace::parse("prod").unwrap();
    assert!(parse(&map, DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone())).unwrap().is_empty());
    assert_eq!(similar_prefix(&map, DEFAULT_PREFIX), Some("podcred.io"));
    assert_eq!(parse(&map, "podcred.io", &ReferenceScope::local(namespace.clone())).unwrap().len(), 1);
}

fn injected(annotations: &[(&str, &str)]) -> Result<Vec<Credential>, String> {
    let named = |(key, value): &(&str, &str)| (format!("{INJECTOR_PREFIX}/{key}"), (*value).to_owned());
    let map = annotations.iter().map(named).collect();
    parse(&map, INJECTOR_PREFIX, &ReferenceScope::local(Namespace::parse("prod").unwrap()))
        .map_err(|errors| errors.to_string())
}

fn names(names: &[&str]) -> Vec<FieldName> {
    names.iter().map(|name| FieldName::parse(name).unwrap()).collect()
}

#[test]
fn a_pod_annotated_for_vault_db_injector_only_needs_secrets() {
    let read = injected(&[
        ("cluster", "database"),
        ("uuid", "0b1c"),
        ("a.uuid", "0b1c"),
        ("a.role", "app"),
        ("a.secret", "db"),
        ("b.role", "app"),
        ("b.mode", "classic"),
        ("b.env-key-dbuser", "PG_USER, PGUSER"),
        ("b.env-key-dbpassword", "PG_PASS"),
        ("b.secret", "other/db"),
        ("c.mode", "uri"),
        ("c.template", "postgresql://@db:5432/app?sslmode=require"),
        ("c.env-key-uri", "DATABASE_URL,URL"),
        ("c.secret", "db"),
        ("d.secret", "db"),
        ("d.format", "json"),
    ])
    .unwrap();
    let [a, b, c, d] = read.as_slice() else { panic!("{read:?}") };
    let classic = |user: &[&str], password: &[&str]| {
        Output::InjectorEnv(InjectorEnv::Classic { user: names(user), password: names(password) })
    };
    assert_eq!(a.output, classic(&["DBUSER"], &["DBPASSWORD"]));
    assert_eq!(b.output, classic(&["PG_USER", "PGUSER"], &["PG_PASS"]));
    assert!(matches!(&c.output, Output::InjectorEnv(InjectorEnv::Uri { names, .. }) if names.len() == 2));
    assert_eq!((b.path.to_string().as_str(), d.output.format()), ("b.env", Format::Json));
}

#[test]
fn errors_in_vault_db_injector_annotations_have_a_correction() {
    for (annotations, part) in [
        (
            &[("a.role", "app")][..],
            "/a: a Vault role alone is not supported (podcreds does not talk to Vault): add .secret to credential a",
        ),
        (&[("a.secret", "db"), ("a.mode", "file")], "/a.mode: must be classic or uri"),
        (
            &[("a.secret", "db"), ("a.mode", "uri"), ("a.env-key-uri", "URL")],
            "/a.template: missing: write the URI",
        ),
        (
            &[("a.secret", "db"), ("a.mode", "uri"), ("a.template", "pg://h")],
            "/a.env-key-uri: missing: write the name",
        ),
        (&[("a.secret", "db"), ("a.env-key-dbuser", "A-B")], "invalid environment variable name \"A-B\""),
        (&[("a.secret", "db"), ("a.env-key-dbuser", ",")], "invalid environment variable name"),
        (
            &[("a.secret", "db"), ("a.env-key-dbuser", "X"), ("a.env-key-dbpassword", "X")],
            "duplicate field X",
        ),
        (&[("a.secret", "db"), ("a.env-key-dbusr", "X")], "did you mean \"env-key-dbuser\"?"),
        (&[("a.secret", "db"), ("A.uuid", "0b1c")], "invalid credential name"),
        (&[("a.secret", "db"), ("a.names", "upper")], "/a.names: renames fields, but the variables"),
        (
            &[
                ("a.secret", "db"),
                ("a.prefix", "X_"),
                ("a.mode", "uri"),
                ("a.template", "pg://h"),
                ("a.env-key-uri", "URL"),
            ],
            "/a.prefix: renames fields, but the variables",
        ),
    ] {
        let message = injected(annotations).unwrap_err();
        assert!(message.contains(part), "{part}\nis not in\n{message}");
    }
    assert!(
        errors_of(&[("mode", "uri")]).contains("unknown annotation key \"mode\""),
        "its keys need its prefix"
    );
}

#[test]
fn annotations_for_vault_are_ignored_and_listed() {
    let keys = [
        "cluster",
        "revoke-ttl",
        "a.role",
        "a.secret",
        "a.uuid",
        "a.env-key-uri",
        "b.mode",
        "b.env-key-dbuser",
    ];
    let map = keys.map(|key| (format!("{INJECTOR_PREFIX}/{key}"), "uri".to_owned())).into();
    let expected = ["a.env-key-uri", "a.role", "a.uuid", "b.env-key-dbuser", "cluster", "revoke-ttl"];
    let expected = expected.map(|key| format!("{INJECTOR_PREFIX}/{key}"));
    assert_eq!(ignored_annotations(&map, INJECTOR_PREFIX), expected);
    assert!(ignored_annotations(&map, DEFAULT_PREFIX).is_empty());
}

#[test]
fn variable_is_only_for_connection_formats_and_templates() {
    let message = errors_of(&[("format", "env"), ("variable", "URL")]);
    assert!(
        message.contains("db.variable: is only for formats uri, jdbc, adonet, libpq and template"),
        "{message}"
    );
    for format in ["dotenv", "envfile"] {
        let message = errors_of(&[("format", format), ("variable", "URL")]);
        assert!(
            message.contains("in formats env, dotenv and envfile, .keys names the variables"),
            "{message}"
        );
    }
    let message = errors_of(&[("format", "uri"), ("variable", "A-B")]);
    assert!(message.contains("invalid environment variable name \"A-B\""), "{message}");
}

#[test]
fn variable_format_requires_variable() {
    let read = |annotations: &[(&str, &str)]| {
        let named = |(key, value): &(&str, &str)| (format!("podcreds.io/db.{key}"), (*value).to_owned());
        let all = [&[("secret", "db"), ("format", "uri"), ("variable", "URL")], annotations].concat();
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        parse(&all.iter().map(named).collect(), DEFAULT_PREFIX, &scope).unwrap().remove(0)
    };
    for (format, path, is_env_file) in
        [("env", "db.env", true), ("dotenv", "db.env", false), ("envfile", "db.envfile", false)]
    {
        let db = read(&[("variable-format", format)]);
        assert_eq!((db.path.to_string().as_str(), db.is_env_file()), (path, is_env_file), "{format}");
    }
    assert_eq!(read(&[("variable-format", "envfile"), ("path", "app/x")]).path.to_string(), "app/x");
    let message = errors_of(&[("format", "uri"), ("variable-format", "envfile")]);
    assert!(message.contains("db.variable-format: requires .variable"), "{message}");
    let message = errors_of(&[("format", "uri"), ("variable", "URL"), ("variable-format", "env-file")]);
    assert!(message.contains("unknown variable format \"env-file\" (supported: env, dotenv, envfile); did you mean \"envfile\"?"), "{message}");
    let message = errors_of(&[("format", "uri"), ("variable", "URL"), ("variable-format", "json")]);
    assert!(message.contains("(supported: env, dotenv, envfile)"), "{message}");
}

#[test]
fn a_template_may_become_a_variable() {
    for (more, path, is_env_file) in [
        (&[][..], "db.env", true),
        (&[("podcreds.io/db.variable-format", "dotenv")], "db.env", false),
        (&[("podcreds.io/db.variable-format", "envfile")], "db.envfile", false),
        (&[("podcreds.io/db.format", "template"), ("podcreds.io/db.path", "app/x")], "app/x", true),
    ] {
        let base = [
            ("podcreds.io/db.secret", "db"),
            ("podcreds.io/db.template", "{{ a }}"),
            ("podcreds.io/db.variable", "TOKEN, OTHER"),
        ];
        let [db] = read(&[&base, more].concat()).unwrap().try_into().unwrap();
        assert_eq!((db.path.to_string().as_str(), db.is_env_file()), (path, is_env_file), "{more:?}");
        assert_eq!(db.output.format(), Format::Template);
    }
}

#[test]
fn two_mergeable_formats_cannot_share_a_file() {
    let message = read(&[
        ("podcreds.io/a.secret", "db"),
        ("podcreds.io/a.format", "pgpass"),
        ("podcreds.io/a.path", "x"),
        ("podcreds.io/b.secret", "db"),
        ("podcreds.io/b.format", "pgservice"),
        ("podcreds.io/b.path", "x"),
    ])
    .unwrap_err();
    let expected = "invalid annotation: podcreds.io/b.path: \"x\" as a file in format pgservice conflicts with credential a, which writes it as a file in format pgpass: change the .path of one of them, or give both the same format to share the file";
    assert_eq!(message, expected);
}

/// Two credentials `a` and `b` with the file `x`, and more annotations.
fn share(more: &[(&str, &str)]) -> Result<(), String> {
    let base = [
        ("podcreds.io/a.secret", "db"),
        ("podcreds.io/a.path", "x"),
        ("podcreds.io/b.secret", "db"),
        ("podcreds.io/b.path", "x"),
    ];
    read(&[&base, more].concat()).map(drop)
}

#[test]
fn the_format_of_the_file_decides_whether_it_is_shared() {
    let uri = [("podcreds.io/a.format", "uri"), ("podcreds.io/b.format", "env")];
    let conflict = "podcreds.io/b.path: \"x\" as a file in format env conflicts with credential a, which writes it as a file in format uri: change the .path of one of them, or add a.variable, which makes its text a variable of a file that they share";
    assert!(share(&uri).unwrap_err().contains(conflict));
    let variable = [&uri[..], &[("podcreds.io/a.variable", "URL")]].concat();
    share(&variable).unwrap();
    let dotenv = [&variable[..], &[("podcreds.io/a.variable-format", "dotenv")]].concat();
    let conflict = "as a file in format env conflicts with credential a, which writes it as a file in format dotenv: change the .path of one of them, or give both the same format to share the file";
    assert!(share(&dotenv).unwrap_err().contains(conflict));
    let mode = [&variable[..], &[("podcreds.io/b.file-mode", "0400")]].concat();
    let conflict = "podcreds.io/b.file-mode: conflicts with credential a, which writes the same file x with a different mode: give both the same .file-mode";
    assert!(share(&mode).unwrap_err().contains(conflict));
}

#[test]
fn entries_that_two_credentials_name_for_one_file_are_found_without_their_sources() {
    let env =
        [("podcreds.io/a.format", "env"), ("podcreds.io/b.format", "uri"), ("podcreds.io/b.engine", "redis")];
    let both = |more: &[(&str, &str)]| share(&[&env, more].concat());
    let clash = [("podcreds.io/a.keys", "URL=url, HOST=host"), ("podcreds.io/b.variable", "OTHER, URL")];
    let message = both(&clash).unwrap_err();
    assert_eq!(
        message,
        "invalid annotation: podcreds.io/b.path: duplicate variable URL in \"x\", which credential a writes too: choose another variable name in the annotations of one of them, or change the .path of one of them"
    );
    both(&[&clash[..], &[("podcreds.io/a.optional", "true")]].concat()).unwrap();
    both(&[("podcreds.io/a.set", "URL=x"), ("podcreds.io/b.variable", "OTHER")]).unwrap();
    // Fields of a connection are not entries of the file.
    both(&[
        ("podcreds.io/a.keys", "host"),
        ("podcreds.io/b.keys", "host"),
        ("podcreds.io/b.variable", "URL"),
    ])
    .unwrap();
    let json = [("podcreds.io/a.format", "json"), ("podcreds.io/b.format", "json")];
    let message =
        share(&[&json[..], &[("podcreds.io/a.keys", "a.b"), ("podcreds.io/b.set", "a.b=1")]].concat());
    let message = message.unwrap_err();
    assert!(message.contains("duplicate member a.b in \"x\", which credential a writes too: rename it in one of them with .keys or .prefix"), "{message}");
}

#[test]
fn scheme_is_only_for_uri_and_agrees_with_the_engine() {
    for (annotations, said) in [
        (&[("scheme", "postgis")][..], "db.scheme: is only for format uri: remove it, or set .format: uri"),
        (&[("format", "jdbc"), ("scheme", "postgis")], "db.scheme: is only for format uri"),
        (&[("format", "uri"), ("scheme", "post_gis")], "db.scheme: invalid scheme \"post…\""),
        (&[("format", "uri"), ("scheme", "jaydebeapi")], "db.scheme: unknown scheme \"jayd…\": add .engine"),
        (
            &[("format", "uri"), ("scheme", "mysql2"), ("engine", "postgres")],
            "db.scheme: is a scheme of engine mysql, but .engine is postgresql",
        ),
    ] {
        let message = errors_of(annotations);
        assert!(message.contains(said), "{message}");
    }
    for engine in ["mysql2", "postgresql+asyncpg"] {
        let message = errors_of(&[("format", "uri"), ("engine", engine)]);
        assert!(
            message.ends_with("this is a client's scheme: for format uri, set it with .scheme instead"),
            "{message}"
        );
    }
    let message = errors_of(&[("format", "uri"), ("scheme", "jaydebeapi"), ("engine", "postgress")]);
    assert!(message.contains("db.engine: unknown engine \"postgress\" "), "{message}");
    assert!(message.ends_with("did you mean \"postgres\"?"), "{message}");
}

//! Secrets that contain only a URL, and another host for the same Secret.

use super::*;

const NEON: (&str, &[u8]) =
    ("DATABASE_URL", b"postgres://app%40x:p%2Fw%20%C3%A9@ep-1.neon.tech/orders?sslmode=require\n");
const PARTS: (&str, &str) =
    ("db.keys", "PGHOST=host, PGUSER=username, PGPASSWORD=password, PGPORT=port, PGDATABASE=database");

fn notices(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Vec<String> {
    let all = [&[("db.secret", "s")], annotations].concat();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let credentials = credentials(&all);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    rendered.notices.iter().map(ToString::to_string).collect()
}

fn file(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Result<String, String> {
    let files = render(annotations, secret)?;
    Ok(files.into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect())
}

#[test]
fn keys_select_the_parts_of_the_only_url_in_every_format() {
    let lines = "export PGDATABASE='orders'\nexport PGHOST='ep-1.neon.tech'\nexport PGPASSWORD='p/w é'\nexport PGPORT='5432'\nexport PGUSER='app@x'\n";
    assert_eq!(file(&[PARTS, ("db.format", "env")], &[NEON]).unwrap(), lines);
    let files = render(&[("db.keys", "username, password, u=DATABASE_URL")], &[NEON]).unwrap();
    assert_eq!(files["db/username"], b"app@x");
    assert_eq!(files["db/password"], "p/w é".as_bytes());
    assert_eq!(files["db/u"], NEON.1, "the URL itself is not changed");
    let keys = ("db.keys", "spring.datasource.password=password");
    assert_eq!(
        file(&[keys, ("db.format", "properties")], &[NEON]).unwrap(),
        "spring.datasource.password=p/w \\u00E9\n"
    );
    assert_eq!(
        notices(&[PARTS, ("db.format", "json")], &[NEON]),
        ["credential db: reading parts of the connection from the URL in key DATABASE_URL of Secret prod/s"]
    );
    let aliased = [("db.secret", "db=s"), ("db.keys", "PGHOST=db.host"), ("db.format", "properties")];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[NEON])))]);
    let files = bundle(&credentials(&aliased), &sources).unwrap();
    assert_eq!(files.into_values().next().unwrap().content.expose(), b"PGHOST=ep-1.neon.tech\n");
}

#[test]
fn nothing_is_written_that_was_not_asked_for() {
    for format in ["files", "env", "json", "yaml", "properties"] {
        let plain = file(&[("db.format", format)], &[("DATABASE_URL", b"postgres://a:p@h/d")]).unwrap();
        assert!(plain.contains("postgres://a:p@h/d") && !plain.contains("5432"), "{format}: {plain}");
    }
}

#[test]
fn a_template_finds_the_parts_that_it_mentions() {
    let template = |text| {
        let annotations = [("db.format", "template"), ("db.template", text)];
        file(&annotations, &[NEON])
    };
    assert_eq!(
        template("{{ username }}:{{ host }}:{{ port }}").unwrap().trim_end(),
        "app@x:ep-1.neon.tech:5432"
    );
    assert_eq!(template("{{ database | default('x') }}").unwrap().trim_end(), "orders");
    assert_eq!(
        template("{% for name in fields %}{{ name }}{% endfor %}").unwrap().trim_end(),
        "DATABASE_URL"
    );
    assert!(template("{{ user }}").unwrap_err().contains("unknown field \"user\""));
    let broken: &[(&str, &[u8])] = &[("U", b"postgres://a:test-p@ss@h/d")];
    let url = [("db.format", "template"), ("db.template", "{{ U }}")];
    assert!(file(&url, broken).is_ok(), "a URL that is only passed on is not parsed");
    let host = [("db.format", "template"), ("db.template", "{{ host }}")];
    let message = file(&host, broken).unwrap_err();
    assert!(message.contains("the value of field U is not a URI") && !message.contains("test"), "{message}");
}

#[test]
fn a_template_with_placeholders_shows_no_part_of_a_url() {
    let all = [("db.secret", "s"), ("db.format", "template"), ("db.template", "{{ password }}")];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[NEON])))]);
    let files = hidden(&credentials(&all), &sources, "<hidden>").unwrap();
    assert_eq!(files.into_values().next().unwrap().content.expose_text().unwrap().trim_end(), "<hidden>");
}

#[test]
fn a_connection_is_read_from_the_only_url() {
    for (format, expected) in [
        ("uri", "postgresql://app%40x:p%2Fw%20%C3%A9@ep-1.neon.tech:5432/orders?sslmode=require"),
        ("libpq", "host='ep-1.neon.tech' dbname='orders' user='app@x' password='p/w é' sslmode='require'"),
        ("pgpass", "ep-1.neon.tech:*:orders:app@x:p/w é\n"),
    ] {
        assert_eq!(file(&[("db.format", format)], &[NEON]).unwrap(), expected);
        assert_eq!(
            notices(&[("db.format", format)], &[NEON])[..1],
            [
                "credential db: reading parts of the connection from the URL in key DATABASE_URL of Secret prod/s"
            ]
        );
    }
    let hosts: &[(&str, &[u8])] = &[("MONGO_URL", b"mongodb://a:p@h1:1,h2:2/d?replicaSet=rs0")];
    assert_eq!(file(&[("db.format", "uri")], hosts).unwrap(), "mongodb://a:p@h1:1,h2:2/d?replicaSet=rs0");
    let two: &[(&str, &[u8])] = &[("A_URL", b"postgres://h1"), ("B_URL", b"redis://h2")];
    let message = file(&[("db.format", "uri")], two).unwrap_err();
    assert!(message.contains("field A_URL looks like a URI: to use it, set .keys: uri=A_URL"), "{message}");
    let twice: &[(&str, &[u8])] = &[("A_URI", b"redis://h"), ("B_URI", b"redis://h")];
    assert_eq!(file(&[("db.format", "uri")], twice).unwrap(), "redis://h:6379");
    let with_named: &[(&str, &[u8])] = &[("A_URL", b"postgres://h1"), ("uri", b"redis://h2")];
    assert_eq!(file(&[("db.format", "uri")], with_named).unwrap(), "redis://h2:6379");
}

/// A URL of another service must not decide where the password of this one goes.
#[test]
fn no_connection_is_read_from_a_url_beside_a_part_under_its_own_key() {
    let secret: &[(&str, &[u8])] = &[("password", b"p"), ("REDIS_URL", b"redis://:r@cache:6379")];
    let message = file(&[("db.format", "uri"), ("db.engine", "postgresql")], secret).unwrap_err();
    assert!(message.contains("missing field host"), "{message}");
    let message = file(&[("db.keys", "password, host")], secret).unwrap_err();
    assert_eq!(message, "credential db: key host not found in Secret prod/s; available: REDIS_URL, password");
    let both = [("db.secret", "s"), ("db.configmap", "c"), ("db.keys", "password, host")];
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(&secret[..1]))),
        (object(Kind::ConfigMap, "c"), Some(data(&secret[1..]))),
    ]);
    let message = bundle(&credentials(&both), &sources).unwrap_err().to_string();
    assert!(message.contains("key host not found in Secret prod/s and ConfigMap prod/c"), "{message}");
}

#[test]
fn a_missing_part_is_a_missing_key() {
    let secret: &[(&str, &[u8])] = &[("REDIS_URL", b"redis://cache")];
    let message = file(&[("db.keys", "password")], secret).unwrap_err();
    assert_eq!(
        message,
        "credential db: key password not found in Secret prod/s; available: REDIS_URL; the URL in key REDIS_URL has no password"
    );
    let optional = [("db.keys", "host, port?, password?"), ("db.format", "properties")];
    assert_eq!(file(&optional, secret).unwrap(), "host=cache\nport=6379\n");
    let said = notices(&optional, secret).join("\n");
    assert!(said.contains("without optional field password") && !said.contains("field port"), "{said}");
    let empty: &[(&str, &[u8])] = &[("REDIS_URL", b"redis://:p@cache")];
    assert!(file(&[("db.keys", "username")], empty).unwrap_err().contains("has no username"));
    let two: &[(&str, &[u8])] = &[("A_URL", b"postgres://h1"), ("B_URL", b"redis://h2")];
    let message = file(&[("db.keys", "host")], two).unwrap_err();
    assert!(
        message.ends_with(
            "; several keys contain URLs (A_URL, B_URL): to use the parts of one, add uri=<its key> to .keys"
        ),
        "{message}"
    );
    let chosen = [("db.keys", "uri=B_URL, host"), ("db.format", "properties")];
    assert_eq!(file(&chosen, two).unwrap(), "host=h2\nuri=redis://h2\n");
    assert!(
        file(&[("db.keys", "host=A_URL#/x, b=host#/x")], two).unwrap_err().contains("key host not found")
    );
}

#[test]
fn a_url_that_cannot_be_read_is_reported_once_and_not_shown() {
    let broken: &[(&str, &[u8])] = &[("DATABASE_URL", b"postgres://app:test-p@ss@h/d")];
    let message = file(&[PARTS], broken).unwrap_err();
    assert_eq!(message.matches("the value of field DATABASE_URL is not a URI").count(), 1, "{message}");
    assert!(!message.contains("test-p"), "{message}");
    let hosts: &[(&str, &[u8])] = &[("DATABASE_URL", b"postgres://app:test-p@h1,h2/d")];
    let message = file(&[PARTS], hosts).unwrap_err();
    assert_eq!(message.matches("is not a URI with a single host").count(), 1, "{message}");
    let login = [("db.keys", "username, password"), ("db.format", "properties")];
    assert_eq!(file(&login, hosts).unwrap(), "password=test-p\nusername=app\n");
}

#[test]
fn parts_count_towards_the_limit_of_derived_values() {
    let url = format!("postgres://app:{}@h/d", "x".repeat(1_000_000));
    let keys: String = (0..5).map(|at| format!("f{at}=password,")).collect();
    let message = file(&[("db.keys", &keys)], &[("U", url.as_bytes())]).unwrap_err();
    assert!(message.contains("exceed the limit of 4194304 bytes"), "{message}");
}

#[test]
fn hosts_of_a_url_are_written_as_a_host_field_is() {
    for (url, host, port) in [
        ("postgres://[2001:db8::1]:6000/d", "2001:db8::1", "6000"),
        ("postgresql:///d?host=/run/postgresql", "/run/postgresql", "5432"),
        ("amqps://h/%2F", "h", "5671"),
        ("mysql://h/d?port=3307", "h", "3307"),
    ] {
        let annotations = [("db.keys", "h=host, p=port"), ("db.format", "properties")];
        let expected = format!("h={}\np={port}\n", host.replace(':', "\\:"));
        let found = file(&annotations, &[("U", url.as_bytes())]).unwrap();
        assert_eq!(found.replace("\\:", ":"), expected.replace("\\:", ":"), "{url}");
    }
}

const POOLER: (&str, &str) = ("db.override", "host=pooler, port=6432");
const CNPG: &[(&str, &[u8])] =
    &[("host", b"rw"), ("port", b"5432"), ("username", b"app"), ("password", b"p"), ("dbname", b"d")];

#[test]
fn override_replaces_fields_of_the_sources() {
    let uri = [("db.format", "uri"), ("db.engine", "postgresql"), POOLER];
    assert_eq!(file(&uri, CNPG).unwrap(), "postgresql://app:p@pooler:6432/d");
    let renamed =
        [("db.keys", "PGHOST=host, PGUSER=username"), ("db.override", "PGHOST=pooler"), ("db.format", "env")];
    assert_eq!(file(&renamed, CNPG).unwrap(), "export PGHOST='pooler'\nexport PGUSER='app'\n");
    assert_eq!(render(&[POOLER], CNPG).unwrap()["db/host"], b"pooler");
    let optional = [("db.keys", "username, host?"), ("db.override", "host=h"), ("db.format", "properties")];
    assert_eq!(file(&optional, &[("username", b"a")]).unwrap(), "host=h\nusername=a\n");
}

#[test]
fn override_decides_over_other_names_of_a_part_and_over_a_uri() {
    let aliased: &[(&str, &[u8])] = &[("hostname", b"old:1"), ("user", b"app"), ("port", b"5432")];
    let uri = [("db.format", "uri"), ("db.engine", "postgresql"), ("db.override", "host=new")];
    assert_eq!(file(&uri, aliased).unwrap(), "postgresql://app@new:5432");
    let port = [uri[0], uri[1], ("db.override", "port=6432")];
    assert_eq!(file(&port, aliased).unwrap(), "postgresql://app@old:6432", "also over a port in the host");
    let uri = [("db.format", "uri"), ("db.override", "host=new")];
    for key in ["uri", "DATABASE_URL"] {
        let secret: &[(&str, &[u8])] = &[(key, b"postgres://app:p@old:6000/d?sslmode=require")];
        assert_eq!(file(&uri, secret).unwrap(), "postgresql://app:p@new:6000/d?sslmode=require", "{key}");
        let set = [("db.format", "uri"), ("db.set", "host=new")];
        assert_eq!(file(&set, secret).unwrap(), "postgresql://app:p@new:6000/d?sslmode=require", "{key}");
    }
    let login: &[(&str, &[u8])] =
        &[("username", b"app"), ("password", b"p"), ("uri", b"postgres://other@old:1,old2:2/d")];
    assert_eq!(file(&uri, login).unwrap(), "postgresql://app:p@new:5432/d");
    let port = [("db.format", "uri"), ("db.override", "port=6")];
    assert_eq!(file(&port, login).unwrap(), "postgresql://app:p@old:6,old2:6/d");
    let set = ("db.set", "hostname=set, user=app, engine=postgresql");
    let set = [("db.format", "uri"), set, ("db.override", "host=new")];
    assert_eq!(file(&set, &[("host", b"old")]).unwrap(), "postgresql://app@new:5432", "also over .set");
    let template = [("db.template", "{{ host }}:{{ port }}"), ("db.override", "host=new")];
    assert_eq!(file(&template, &[NEON]).unwrap().trim_end(), "new:5432");
}

#[test]
fn an_override_of_nothing_is_an_error() {
    let message = file(&[("db.override", "hots=pooler")], CNPG).unwrap_err();
    assert_eq!(
        message,
        "credential db: .override replaces fields of the sources, and none has field hots: correct the name, or write it in .set to add it; available: dbname, host, password, port, username"
    );
    let message = file(&[("db.override", "host=x")], &[("hostname", b"old")]).unwrap_err();
    assert!(message.contains("none has field host (it is called hostname): correct the name"), "{message}");
    assert!(file(&[("db.override", "host=x")], &[NEON]).is_err(), "the field would be written in addition");
    let uri = [("db.format", "uri"), ("db.engine", "postgresql"), ("db.override", "sslmode=require")];
    assert!(file(&uri, CNPG).unwrap_err().contains("none has field sslmode: "));
    let sslmode = [CNPG, &[("sslmode", b"disable")]].concat();
    assert_eq!(file(&uri, &sslmode).unwrap(), "postgresql://app:p@rw:5432/d?sslmode=require");
}

#[test]
fn a_field_of_set_that_a_source_has_is_an_error_that_names_override() {
    let message = file(&[("db.set", "host=pooler")], CNPG).unwrap_err();
    assert_eq!(
        message,
        "credential db: field host comes from Secret prod/s and from the annotation .set: remove it from .set, or move it to .override, which replaces fields of the sources"
    );
}

/// A Secret of CloudNativePG in another namespace.
const ELSEWHERE: &[(&str, &[u8])] = &[
    ("host", b"orders-rw"),
    ("username", b"app"),
    ("uri", b"postgresql://app@orders-rw.dbns:5432/d"),
    ("fqdn-uri", b"postgresql://app@orders-rw.dbns.svc.cluster.local:5432/d"),
    ("password", b"p"),
];

/// Renders a credential whose Secret is in this namespace, and returns its file and its notices.
fn from(namespace: &str, annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> (String, Vec<String>) {
    let name = format!("{namespace}/s");
    let all = [&[("db.secret", name.as_str())], annotations].concat();
    let sources = Sources::from([(object(Kind::Secret, &name), Some(data(secret)))]);
    let credentials = credentials(&all);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    let level = |notice: &Notice<'_>| if notice.is_suspicious() { "WARN" } else { "INFO" };
    let said = rendered.notices.iter().map(|notice| format!("{} {notice}", level(notice))).collect();
    let bytes = rendered.bundle.into_values().map(|file| file.content.expose_text().unwrap().to_owned());
    (bytes.collect(), said)
}

const WARNING: &str = "WARN credential db: the host in key host of Secret dbns/s has no dot, so the pod resolves it in its own namespace: if it is a Service of namespace dbns, set .override: host=<service>.dbns.svc";

#[test]
fn a_short_host_of_another_namespace_is_completed_in_a_connection_if_the_secret_has_the_whole_one() {
    let uri = ("db.format", "uri");
    let (file, said) = from("dbns", &[uri], ELSEWHERE);
    assert_eq!(file, "postgresql://app:p@orders-rw.dbns.svc.cluster.local:5432");
    assert_eq!(
        said,
        [
            "INFO credential db: writing the whole host name from a URI in Secret dbns/s, because the short one in key host resolves only in namespace dbns"
        ]
    );
    let keys = ("db.keys", "host, username");
    let (file, _) = from("dbns", &[("db.format", "libpq"), keys], ELSEWHERE);
    assert_eq!(file, "host='orders-rw.dbns.svc.cluster.local' user='app'");
    assert_eq!(from("prod", &[uri], ELSEWHERE), ("postgresql://app:p@orders-rw:5432".to_owned(), vec![]));
}

#[test]
fn a_short_host_of_another_namespace_is_warned_of() {
    let (file, said) = from("dbns", &[("db.format", "properties")], &ELSEWHERE[..1]);
    assert_eq!((file.as_str(), said), ("host=orders-rw\n", vec![WARNING.to_owned()]));
    let other: &[(&str, &[u8])] =
        &[("host", b"orders"), ("uri", b"postgres://orders-rw.dbns.svc"), ("fqdn-uri", b"postgres://x.y")];
    let (file, said) = from("dbns", &[("db.format", "uri"), ("db.keys", "host, uri")], other);
    assert_eq!((file.as_str(), said), ("postgresql://orders:5432", vec![WARNING.to_owned()]));
    let (_, said) = from("dbns", &[("db.keys", "PGHOST=host")], ELSEWHERE);
    assert_eq!(said, [WARNING.replace(".override: host", ".override: PGHOST")]);
    let url: &[(&str, &[u8])] = &[("uri", b"postgres://app:p@orders-rw:5432/d")];
    let (_, said) = from("dbns", &[("db.format", "uri")], url);
    assert_eq!(said, [WARNING.replace("key host", "key uri")]);
    let (_, said) = from("dbns", &[("db.keys", "PGHOST=host")], url);
    assert_eq!(
        said[0],
        WARNING.replace("key host", "key uri").replace(".override: host", ".override: PGHOST")
    );
    let (file, said) = from("dbns", &[("db.format", "uri"), ("db.override", "host=orders-rw")], url);
    assert_eq!((file.as_str(), said.len()), ("postgresql://app:p@orders-rw:5432/d", 0), "named on purpose");
    assert!(from("dbns", &[("db.keys", "username")], ELSEWHERE).1.is_empty());
    let with_port: &[(&str, &[u8])] = &[("host", b"orders-rw:6432"), ELSEWHERE[3]];
    let annotations = [("db.format", "uri"), ("db.engine", "postgresql"), ("db.keys", "host")];
    let (file, _) = from("dbns", &annotations, with_port);
    assert_eq!(file, "postgresql://orders-rw.dbns.svc.cluster.local:6432");
    for host in ["a.b", "/run/x", "::1", "[::1]:5", "10.0.0.1:5", "localhost", "LOCALHOST:1", "a,b", ""] {
        assert!(from("dbns", &[], &[("host", host.as_bytes())]).1.is_empty(), "{host}");
    }
    for host in ["db", "db:5432", "db\n"] {
        assert_eq!(from("dbns", &[], &[("host", host.as_bytes())]).1.len(), 1, "{host}");
    }
}

#[test]
fn a_short_host_of_another_cluster_is_warned_of() {
    let scope = ReferenceScope {
        namespace: Namespace::parse("prod").unwrap(),
        clusters: BTreeMap::from([(
            crate::object::ClusterId::parse("eu").unwrap(),
            Namespace::parse("prod").unwrap(),
        )]),
    };
    let annotations = [("db.secret", "s"), ("db.format", "uri"), ("db.cluster", "eu")];
    let named = annotations.map(|(key, value)| (format!("{DEFAULT_PREFIX}/{key}"), value.to_owned()));
    let credentials = parse(&BTreeMap::from(named), DEFAULT_PREFIX, &scope).unwrap();
    let sources = Sources::from([(credentials[0].sources[0].object.clone(), Some(data(ELSEWHERE)))]);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    let said: Vec<_> = rendered.notices.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("has no dot, and a Service of another cluster does not resolve in this one: replace it with .override: host=<an address that the pod reaches>"), "{said:?}");
    let file = rendered.bundle.into_values().next().unwrap();
    assert_eq!(file.content.expose(), b"postgresql://app:p@orders-rw:5432");
}

//! Reading a connection from the URI in a Secret.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use crate::object::{Kind, Namespace, ObjectRef};
use crate::render::Sources;
use crate::render::tests::bundle;

/// Renders the only file of these annotations and this Secret.
fn render(annotations: &[(&str, &str)], secret: &[(&str, &str)]) -> Result<String, String> {
    let namespace = Namespace::parse("prod").unwrap();
    let annotations: BTreeMap<_, _> = annotations
        .iter()
        .chain(&[("secret", "s")])
        .map(|(word, value)| (format!("{DEFAULT_PREFIX}/db.{word}"), (*value).to_owned()))
        .collect();
    let credentials = parse(&annotations, DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone())).unwrap();
    let data = secret.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let secret = ObjectRef::new(Kind::Secret, namespace, "s").unwrap();
    let files = bundle(&credentials, &Sources::from([(secret, Some(data))])).map_err(|e| e.to_string())?;
    Ok(files.into_values().next().unwrap().content.expose_text().unwrap().to_owned())
}

fn libpq(secret: &[(&str, &str)]) -> String {
    render(&[("format", "libpq")], secret).unwrap()
}

#[test]
fn every_part_is_read_from_a_uri() {
    assert_eq!(
        libpq(&[("uri", " postgres://a%40b:p%2Fw@h1:1,[::1]:2/o%20s?sslmode=require&options=-c%20x\n")]),
        "host='h1,::1' port='1,2' dbname='o s' user='a@b' password='p/w' sslmode='require' options='-c x'"
    );
    assert_eq!(libpq(&[("uri", "postgres://h")]), "host='h'");
    assert_eq!(libpq(&[("uri", "postgres://:p@h/?")]), "host='h' password='p'");
    assert_eq!(
        libpq(&[("uri", "postgresql:///o?host=/var/run&user=a&password=p")]),
        "host='/var/run' dbname='o' user='a' password='p'"
    );
    let sqlserver = render(&[("format", "jdbc")], &[("uri", "sqlserver://sa:p@h?database=o&encrypt=true")]);
    assert_eq!(
        sqlserver.unwrap(),
        "jdbc:sqlserver://h:1433;databaseName={o};user={sa};password={p};encrypt={true}"
    );
}

#[test]
fn fields_and_annotations_take_precedence() {
    let uri = ("uri", "postgresql://other:pw@h:1/no?sslmode=disable&connect_timeout=9");
    assert_eq!(
        libpq(&[uri, ("user", "app"), ("pass", "p"), ("db", "o"), ("options", "sslmode=require")]),
        "host='h' port='1' dbname='o' user='app' password='p' sslmode='require'"
    );
    assert_eq!(
        render(&[("format", "libpq"), ("set", "sslmode=verify-full, database=o")], &[uri]).unwrap(),
        "host='h' port='1' dbname='o' user='other' password='pw' sslmode='verify-full' connect_timeout='9'"
    );
}

/// Bitnami's charts do not encode the password, so its characters would decide what can be read.
#[test]
fn nothing_is_read_if_a_field_names_the_host() {
    for password in ["p", "p@x/y:z", "%zz"] {
        let uri = format!("postgresql://app:{password}@other:1/o?sslmode=require");
        assert_eq!(libpq(&[("uri", &uri), ("hostname", "h"), ("user", "u")]), "host='h' user='u'");
    }
}

#[test]
fn uris_of_other_schemes_are_ignored() {
    for uri in ["https://u:p@h/x", "Server=tcp:h;Password=p", "", "h:1", "jdbc:postgresql://h/o?user=u"] {
        let message = render(&[("format", "uri"), ("engine", "mysql")], &[("uri", uri)]).unwrap_err();
        assert!(message.contains("missing field host"), "{uri}: {message}");
    }
}

#[test]
fn nothing_is_read_from_a_uri_that_is_not_encoded_and_no_value_is_shown() {
    for uri in [
        "mysql://u:test-p@ss@h/o",
        "mysql://u:test-p/w@h/o",
        "mysql://u:test-p?w@h/o",
        "mysql://u:test-p#w@h/o",
        "mysql://u:test:p@h/o",
        "mysql://u:test-%p@h/o",
        "mysql://u:test-\"@h/o",
        "mysql://u:test é@h/o",
        "mysql://u:test-p@h/a/b",
        "mysql://u:test-p@h:0/o",
        "mysql://u:test-p@h,/o",
        "mysql://u:test-p@%2Ftmp/o",
        "mysql://u:test-p@h/o#f",
        "mysql://u:test-p@h/o?x",
        "mysql://u:test-p@h/o?x=a@b",
        "mysql://u:test-p@h/o?password=test-q",
        "sqlserver://u:test-p@h/instance",
        "mysql://u:test-p@h:5/o?port=9",
        "postgresql://u:test-p@h1:5,h2/o?port=9",
        "postgresql://u:test-p@::1/o",
        "postgresql://u:test-p@h,::1/o",
        "postgresql://u:test-p@h/o?application_name=a=b",
        "postgresql://u:test-p@h/o?sslmode=require&&connect_timeout=1",
        "postgresql://u:test-p@h/o?&sslmode=require",
    ] {
        let message = render(&[("format", "uri")], &[("uri", uri)]).unwrap_err();
        assert!(message.contains("the value of field uri is not a URI"), "{uri}: {message}");
        assert!(!message.contains("test"), "{uri}: {message}");
    }
}

#[test]
fn the_scheme_of_a_uri_decides_on_tls_if_the_type_does_not() {
    let engine = |kind, uri| {
        let secret = [("host", "h"), ("pass", "p"), ("type", kind), ("connection_string", uri)];
        let uri = render(&[("format", "uri")], &secret);
        uri.unwrap().split_once(':').unwrap().0.to_owned()
    };
    assert_eq!(engine("rabbitmq", "amqps://u:p@h:5671/"), "amqps");
    assert_eq!(engine("redis", "rediss://:p@h"), "rediss");
    assert_eq!(engine("amqps", "amqp://h"), "amqps");
    assert_eq!(engine("mysql", "postgresql://h"), "mysql");
    assert_eq!(engine("mongodb", "mongodb+srv://h"), "mongodb");
    assert_eq!(engine("rabbitmq", "https://h"), "amqp");
}

proptest! {
    /// A URI that podcreds wrote is read back unchanged.
    #[test]
    fn a_uri_is_read_back(
        engine in prop::sample::select(vec!["postgresql", "mysql", "mongodb", "redis", "amqp"]),
        username in "[ -~é]{0,12}",
        password in "[ -~é\n]{0,12}",
        // Dots alone are rejected, because readers normalize them as path segments.
        database in "[ -~é]{0,12}".prop_filter("dots", |text| ![".", ".."].contains(&text.as_str())),
        option in "[ -~é]{0,12}",
    ) {
        let secret = [
            ("type", engine), ("host", "h"), ("username", username.as_str()), ("password", password.as_str()),
            ("database", database.as_str()), ("timeout", option.as_str()),
        ];
        let keys = ("keys", "type, host, username, password, database, timeout");
        let written = render(&[("format", "uri"), keys], &secret).unwrap();
        let read = render(&[("format", "uri")], &[("uri", &written)]);
        prop_assert_eq!(read.unwrap(), written);
    }
}

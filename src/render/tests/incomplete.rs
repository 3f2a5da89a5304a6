//! Which problems a source may still solve when it gets more keys, ports or values.

use super::*;
use crate::object::ServiceData;

/// Renders a credential `db` from Secret `s`, and from Service `d` and ConfigMap `c` if the annotations name them. Returns whether
/// its errors are incomplete input, and the errors.
fn errors(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> (bool, String) {
    let credentials = credentials(&[&[("db.secret", "s")], annotations].concat());
    let ports = [("sql".to_owned(), "5432".into()), ("metrics".to_owned(), "9187".into())].into();
    let service = ObjectData::Service(ServiceData { host: "db".into(), ports });
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(secret))),
        (object(Kind::Service, "d"), Some(service)),
        (object(Kind::ConfigMap, "c"), Some(data(&[("text", b"{{ host }}")]))),
    ]);
    let errors = bundle(&credentials, &sources).unwrap_err();
    (errors.are_incomplete_input(&credentials), errors.to_string())
}

/// Annotations, the Secret, and a part of the message.
type Case = (Vec<(&'static str, &'static str)>, &'static [(&'static str, &'static [u8])], &'static str);

const URI: [(&str, &str); 2] = [("db.format", "uri"), ("db.engine", "postgresql")];

#[test]
fn keys_ports_and_values_that_may_still_come_are_incomplete_input() {
    let uri = |annotations: &[(&'static str, &'static str)]| [&URI[..], annotations].concat();
    let cases: [Case; 15] = [
        (vec![], &[], "has no keys"),
        (vec![("db.keys", "host")], &[], "key host not found"),
        (vec![("db.keys", "host=j#/host")], &[("j", b"{}")], "JSON pointer /host: not found"),
        (vec![("db.service", "d:pg")], &[], "has no port"),
        (uri(&[]), &[("username", b"a")], "missing field host"),
        (uri(&[]), &[("host", b"")], "missing field host"),
        (uri(&[("db.keys", "hostname")]), &[("hostname", b"")], "missing field host"),
        (uri(&[("db.keys", "uri")]), &[("uri", b"")], "missing field host"),
        (vec![("db.format", "uri")], &[("host", b"h")], "missing database engine"),
        (vec![("db.format", "uri"), ("db.keys", "host, type")], &[("host", b"h"), ("type", b"")], "engine"),
        (vec![("db.template", "{{ host }}")], &[("username", b"a")], "unknown field"),
        (vec![("db.template-from", "c/text")], &[("username", b"a")], "unknown field"),
        (vec![("db.template-from", "c/none")], &[("username", b"a")], "key none not found"),
        (
            vec![("o.secret", "s"), ("db.keys", "username"), ("db.template", "{{ credentials.o.host }}")],
            &[("username", b"a")],
            "credential \"o\" has no field \"host\"",
        ),
        (vec![("db.template", "{{ credentials.db.host }}")], &[("username", b"a")], "has no field \"host\""),
    ];
    for (annotations, secret, part) in cases {
        let (is_incomplete, message) = errors(&annotations, secret);
        assert!(is_incomplete && message.contains(part), "{annotations:?}: {message}");
    }
}

#[test]
fn what_only_the_annotations_can_correct_is_not_incomplete_input() {
    let uri = |annotations: &[(&'static str, &'static str)]| [&URI[..], annotations].concat();
    let cases: [Case; 10] = [
        // No field that .keys lists can become the missing one.
        (uri(&[("db.keys", "username")]), &[("username", b"a")], "missing field host"),
        (vec![("db.format", "uri"), ("db.keys", "host")], &[("host", b"h")], "missing database engine"),
        (
            vec![("db.template-from", "c/text"), ("db.keys", "username")],
            &[("username", b"a")],
            "unknown field",
        ),
        (vec![("db.keys", "host=j#/host")], &[("j", b"")], "is not JSON"),
        (vec![("db.service", "d")], &[], "several ports"),
        (vec![("db.configmap", "c")], &[("text", b"a")], "field text comes from"),
        (uri(&[]), &[("host", b"h"), ("port", b"x")], "is not a port"),
        (vec![("db.format", "env")], &[("a-b", b"x")], "not a valid environment variable name"),
        // The other credential lists its fields.
        (
            vec![("o.secret", "s"), ("o.keys", "username"), ("db.template", "{{ credentials.o.host }}")],
            &[("username", b"a")],
            "credential \"o\" has no field \"host\"",
        ),
        // One of two problems.
        (vec![("db.configmap", "c"), ("db.keys", "none, text")], &[("text", b"a")], "key none"),
    ];
    for (annotations, secret, part) in cases {
        let (is_incomplete, message) = errors(&annotations, secret);
        assert!(!is_incomplete && message.contains(part), "{annotations:?}: {message}");
    }
}

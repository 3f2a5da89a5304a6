//! `.on-change-header`: the rendered header.

use super::*;
use crate::credential::HEADER_LIMIT;

const POST: (&str, &str) = ("db.on-change", "POST https://app/reload");

/// The value of the header of credential `db` from Secret `s`, and the names of its files.
fn header(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Result<(String, Vec<String>), String> {
    let all = [&[("db.secret", "s"), POST], annotations].concat();
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(secret))),
        (object(Kind::Secret, "reload"), Some(data(&[("token", b"test-token-9")]))),
    ]);
    let credentials = credentials(&all);
    let rendered = super::super::render(&credentials, &sources).map_err(|errors| errors.to_string())?;
    let (credential, header) = &rendered.headers[0];
    assert_eq!((credential.name.as_str(), rendered.headers.len()), ("db", 1));
    let value = header.value.expose_text().unwrap().to_owned();
    Ok((format!("{}: {value}", header.name), rendered.bundle.keys().map(ToString::to_string).collect()))
}

const SECRET: &[(&str, &[u8])] =
    &[("host", b"h"), ("password", b"test-password"), ("token", b"test-token-1")];

#[test]
fn the_value_comes_from_the_fields() {
    let bearer = ("db.on-change-header", "Authorization: Bearer {{ token }}");
    let files = ["db/host", "db/password", "db/token"];
    assert_eq!(
        header(&[bearer], SECRET),
        Ok(("Authorization: Bearer test-token-1".into(), files.map(String::from).into()))
    );
    let other = ("db.on-change-header", "X-Key: {{ credentials.reload.token }}");
    let (value, files) = header(
        &[("db.template", "{{ host }}"), other, ("reload.secret", "reload"), ("reload.keys", "token")],
        SECRET,
    )
    .unwrap();
    assert_eq!(
        (value.as_str(), files),
        ("X-Key: test-token-9", vec!["db.txt".into(), "reload/token".into()])
    );
}

#[test]
fn a_value_that_a_header_cannot_carry_is_an_error_without_the_value() {
    let bearer = ("db.on-change-header", "Authorization: Bearer {{ token }}");
    for (token, trims) in [("test-token\n", true), ("test-token\r\nHost: x", false), ("test\0token", false)] {
        let message = header(&[bearer], &[("token", token.as_bytes())]).unwrap_err();
        let remedy = ": set .trim: \"true\" to remove the line break at the end of the value";
        assert_eq!(
            message,
            format!(
                "credential db: .on-change-header: field token has a line break or another control character, which a header cannot carry{}",
                if trims { remedy } else { "" }
            )
        );
    }
    let (value, _) = header(&[bearer, ("db.trim", "true")], &[("token", b"test-token\n")]).unwrap();
    assert_eq!(value, "Authorization: Bearer test-token");
    let decoded = ("db.on-change-header", "X: {{ token | b64decode }}");
    let message = header(&[decoded], &[("token", b"YQpi")]).unwrap_err();
    assert!(message.contains(".on-change-header: the value has a line break"), "{message}");
    let long = vec![b'x'; HEADER_LIMIT];
    let message = header(&[bearer], &[("token", &long)]).unwrap_err();
    assert_eq!(message, "credential db: .on-change-header: the header is longer than 7168 bytes");
}

#[test]
fn an_unknown_field_is_incomplete_input_as_long_as_the_source_may_get_it() {
    let annotations = [("db.secret", "s"), POST, ("db.on-change-header", "X: {{ tokn }}")];
    let credentials = credentials(&annotations);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(SECRET)))]);
    let errors = super::super::render(&credentials, &sources).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "credential db: .on-change-header: line 1, column 7: unknown field \"tokn\"; available: host, password, token; did you mean \"token\"?"
    );
    assert!(errors.are_incomplete_input(&credentials));
}

#[test]
fn a_redacted_header_is_the_placeholder_alone() {
    let annotations = [("db.secret", "s"), POST, ("db.on-change-header", "X: literal {{ token }}")];
    let credentials = credentials(&annotations);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(SECRET)))]);
    let rendered = render_redacted(&credentials, &sources, "***").unwrap();
    assert_eq!(rendered.headers[0].1.value.expose(), b"***");
}

#[test]
fn a_connection_does_not_take_a_field_of_the_header_as_an_option() {
    let annotations = [
        ("db.secret", "s"),
        ("db.format", "uri"),
        ("db.engine", "postgresql"),
        ("db.keys", "host, password, reload-key=token"),
        ("db.set", "username=app, sslmode=require"),
        POST,
        (
            "db.on-change-header",
            "Authorization: Basic {{ (username ~ ':' ~ fields['reload-key']) | b64encode }}",
        ),
    ];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(SECRET)))]);
    let credentials = credentials(&annotations);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    let uri = rendered.bundle.values().next().unwrap().content.expose_text();
    assert_eq!(uri, Some("postgresql://app:test-password@h:5432?sslmode=require"));
    let value = rendered.headers[0].1.value.expose_text();
    assert_eq!(value, Some("Basic YXBwOnRlc3QtdG9rZW4tMQ=="));
}

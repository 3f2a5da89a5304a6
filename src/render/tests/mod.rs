//! Rendering tests that are independent of the format; the submodules test single formats each.

mod adonet;
mod bounds;
mod certificates;
mod databases;
mod envfile;
mod header;
mod incomplete;
mod logins;
mod merge;
mod options;
mod pages;
mod pkcs12;
mod read_back;
mod schemes;
mod selection;
mod services;
mod templates;
mod uri_parse;
mod url_parts;
mod variables;

use std::collections::BTreeMap;

use super::*;
use crate::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use crate::credential::{FieldName, Format};
use crate::object::{Kind, Namespace, ObjectData, ObjectRef};

fn object(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef::parse(kind, name, &Namespace::parse("prod").unwrap()).unwrap()
}

fn credentials(annotations: &[(&str, &str)]) -> Vec<Credential> {
    let named = |(word, value): &(&str, &str)| (format!("{DEFAULT_PREFIX}/{word}"), (*value).to_owned());
    parse(
        &annotations.iter().map(named).collect(),
        DEFAULT_PREFIX,
        &ReferenceScope::local(Namespace::parse("prod").unwrap()),
    )
    .unwrap()
}

fn data(entries: &[(&str, &[u8])]) -> ObjectData {
    entries.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::new(value.to_vec()))).collect()
}

fn bundle(credentials: &[Credential], sources: &Sources) -> Result<Bundle, Errors> {
    super::render(credentials, sources).map(|rendered| rendered.bundle)
}

fn hidden(credentials: &[Credential], sources: &Sources, placeholder: &str) -> Result<Bundle, Errors> {
    render_redacted(credentials, sources, placeholder).map(|rendered| rendered.bundle)
}

/// Renders a credential `db` from Secret `s` and returns its files by path, or its errors.
fn render(
    annotations: &[(&str, &str)],
    secret: &[(&str, &[u8])],
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let all = [&[("db.secret", "s")], annotations].concat();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let bundle = bundle(&credentials(&all), &sources).map_err(|errors| errors.to_string())?;
    Ok(bundle.into_iter().map(|(path, file)| (path.to_string(), file.content.expose().to_vec())).collect())
}

fn one_file(format: &str, secret: &[(&str, &[u8])]) -> String {
    let files = render(&[("db.format", format)], secret).unwrap();
    assert_eq!(files.len(), 1);
    String::from_utf8(files.into_values().next().unwrap()).unwrap()
}

const PLAIN: &[(&str, &[u8])] = &[("username", b"app"), ("password", b"it's a \"test\"\n")];

#[test]
fn each_format_writes_its_documented_example() {
    for (format, expected) in [
        ("env", "export password='it'\\''s a \"test\"\n'\nexport username='app'\n"),
        ("json", "{\n  \"password\": \"it's a \\\"test\\\"\\n\",\n  \"username\": \"app\"\n}\n"),
        ("yaml", "password: \"it's a \\\"test\\\"\\n\"\nusername: \"app\"\n"),
        ("properties", "password=it's a \"test\"\\n\nusername=app\n"),
    ] {
        assert_eq!(one_file(format, PLAIN), expected, "{format}");
    }
    assert_eq!(
        one_file("dotenv", &[("A", b"it's"), ("B", b"x\ny #"), ("C", b"x \"#"), ("D", b"a$ -$-")]),
        "A=\"it's\"\nB=\"x\\ny #\"\nC='x \"#'\nD='a$ -$-'\n"
    );
}

#[test]
fn files_are_written_byte_for_byte() {
    let files = render(&[], &[("a", b"\0\xff\n"), ("b", b"")]).unwrap();
    assert_eq!((files["db/a"].as_slice(), files["db/b"].as_slice()), (&b"\0\xff\n"[..], &b""[..]));
}

#[test]
fn an_empty_secret_is_an_error_and_an_empty_configmap_a_warning() {
    let message = "credential db: Secret prod/s has no keys, so it provides no fields: check its name, and the operator or job that should fill it";
    for format in ["files", "env", "dotenv", "json", "yaml", "properties"] {
        assert_eq!(render(&[("db.format", format)], &[]).unwrap_err(), message, "{format}");
        let optional = render(&[("db.format", format), ("db.optional", "true")], &[]);
        assert_eq!(optional.unwrap_err(), message, "the credential is optional, and its Secret exists");
    }
    let credentials = credentials(&[("db.configmap", "c"), ("db.format", "json")]);
    let sources = Sources::from([(object(Kind::ConfigMap, "c"), Some(data(&[])))]);
    let rendered = super::render(&credentials, &sources).unwrap();
    assert_eq!(rendered.bundle.values().next().unwrap().content.expose(), b"{}\n");
    assert!(rendered.notices[0].is_suspicious());
}

#[test]
fn keys_select_and_rename_and_inline_fields_are_added() {
    let annotations = [("db.keys", "USER=username"), ("db.set", "HOST=db.prod"), ("db.format", "env")];
    assert_eq!(render(&annotations, PLAIN).unwrap()["db.env"], b"export HOST='db.prod'\nexport USER='app'\n");
}

#[test]
fn one_secret_can_have_a_key_under_two_names() {
    let files = render(&[("db.keys", "a=username,b=username")], PLAIN).unwrap();
    assert_eq!((files["db/a"].as_slice(), files["db/b"].as_slice()), (&b"app"[..], &b"app"[..]));
}

#[test]
fn a_missing_key_is_an_error_that_lists_the_available_keys() {
    let message = render(&[("db.keys", "passwd")], PLAIN).unwrap_err();
    assert_eq!(
        message,
        "credential db: key passwd not found in Secret prod/s; available: password, username"
    );
    assert_eq!(
        render(&[("db.keys", "passwd"), ("db.optional", "true")], PLAIN).unwrap_err(),
        format!(
            "{message}; .optional is only about missing objects: if the key may be missing, write `?` after its entry in .keys"
        ),
    );
    let files = render(&[("db.keys", "passwd?, username")], PLAIN).unwrap();
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["db/username"]);
}

#[test]
fn an_entry_of_keys_that_is_the_wrong_way_round_is_reported_with_the_right_one() {
    let turned =
        "; in .keys, the left side is the field and the right side is the key: write PGUSER=username";
    let keys = ("db.keys", "username=PGUSER, PGPASSWORD=password");
    let message = render(&[keys], PLAIN).unwrap_err();
    assert_eq!(
        message,
        format!(
            "credential db: key PGUSER not found in Secret prod/s; available: password, username{turned}"
        )
    );
    let optional = credentials(&[("db.secret", "s"), ("db.keys", "username=PGUSER?")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]);
    let rendered = super::render(&optional, &sources).unwrap();
    assert_eq!(
        rendered.notices[0].to_string(),
        format!(
            "writing credential db without optional field username: key PGUSER not found in Secret prod/s; available: password, username{turned}"
        )
    );
}

#[test]
fn a_value_in_keys_is_not_repeated() {
    let message = render(&[("db.keys", "username, password=hunter2zq9")], PLAIN).unwrap_err();
    assert_eq!(
        message,
        "credential db: key hunt… of field password not found in Secret prod/s; available: password, username; in .keys, the left side is the field and the right side is the key (.set is for values, if they are not secret)"
    );
    let keys = [("db.keys", "login=DB-User?"), ("db.secret", "s")];
    let (optional, sources) =
        (credentials(&keys), Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]));
    let rendered = super::render(&optional, &sources).unwrap();
    assert_eq!(
        rendered.notices[0].to_string(),
        "writing credential db without optional field login: key DB-U… of field login not found in Secret prod/s; available: password, username"
    );
}

#[test]
fn a_value_in_keys_is_repeated_only_if_it_looks_like_a_key() {
    let secret: &[(&str, &[u8])] = &[("username", b"app"), ("db2password", b"p")];
    for (keys, more, key) in [
        ("hunter2SECRETVALUE", &[][..], "hunt…"),
        ("hunter2SECRETVALUE", &[("db.prefix", "APP_")], "hunt…"),
        ("hunter2SECRETVALUE", &[("db.names", "upper"), ("db.prefix", "APP_")], "hunt…"),
        ("PW=hunter2SECRETVALUE", &[], "hunt… of field PW"),
        ("correct-horse-battery-staple-correct-horse-battery", &[], "corr…"),
        ("db2pasword", &[], "db2pasword"),
        ("PW=db2pasword", &[], "db2pasword"),
        ("ca.crt", &[], "ca.crt"),
    ] {
        let message = render(&[&[("db.keys", keys)], more].concat(), secret).unwrap_err();
        let expected = format!("key {key} not found in Secret prod/s; available: db2password, username");
        assert_eq!(message, format!("credential db: {expected}"));
        let optional = format!("{keys}?");
        let credentials = credentials(&[&[("db.secret", "s"), ("db.keys", &optional)], more].concat());
        let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
        let notice = super::render(&credentials, &sources).unwrap().notices[0].to_string();
        assert!(notice.ends_with(&expected) && !notice.to_lowercase().contains("secretvalue"), "{notice}");
    }
}

#[test]
fn a_field_from_two_sources_is_an_error() {
    let message = render(&[("db.set", "username=x")], PLAIN).unwrap_err();
    assert!(
        message.contains("field username comes from Secret prod/s and from the annotation .set"),
        "{message}"
    );

    let both = credentials(&[("db.secret", "s"), ("db.configmap", "c"), ("db.keys", "host,password")]);
    let sources = |host: &[(&str, &[u8])]| {
        Sources::from([
            (object(Kind::Secret, "s"), Some(data(&[("password", b"x"), ("host", b"a")]))),
            (object(Kind::ConfigMap, "c"), Some(data(host))),
        ])
    };
    assert_eq!(bundle(&both, &sources(&[("port", b"1")])).unwrap().len(), 2);
    assert!(bundle(&both, &sources(&[("host", b"b")])).is_err());
}

#[test]
fn an_optional_credential_without_its_source_has_no_files() {
    let optional = credentials(&[("db.secret", "s"), ("db.set", "host=x"), ("db.optional", "true")]);
    assert!(bundle(&optional, &Sources::from([(object(Kind::Secret, "s"), None)])).unwrap().is_empty());
}

#[test]
fn what_is_optional_and_missing_is_reported() {
    let optional = credentials(&[
        ("a.secret", "s"),
        ("a.keys", "username,passwd?"),
        ("b.secret", "none"),
        ("b.optional", "true"),
        ("c.secret", "s"),
    ]);
    let sources =
        Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN))), (object(Kind::Secret, "none"), None)]);
    let rendered = super::render(&optional, &sources).unwrap();
    assert_eq!(rendered.credentials, 2, "a skipped credential is not counted");
    let reported: Vec<_> = rendered.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        reported,
        [
            "writing credential a without optional field passwd: key passwd not found in Secret prod/s; available: password, username",
            "skipping optional credential b: Secret prod/none not found",
        ]
    );
}

#[test]
fn values_that_a_format_cannot_represent_are_errors() {
    for format in ["env", "dotenv", "envfile", "json", "yaml", "properties"] {
        let message = render(&[("db.format", format)], &[("a", b"test-\xff")]).unwrap_err();
        assert!(message.contains("field a is binary") && !message.contains("test-"), "{format}: {message}");
    }
    for format in ["env", "dotenv"] {
        let message = render(&[("db.format", format)], &[("a", b"\0")]).unwrap_err();
        assert!(message.contains("binary") || message.contains("a NUL character"), "{message}");
        let message = render(&[("db.format", format)], &[("tls.crt", b"x")]).unwrap_err();
        assert!(message.contains("rename it with .keys, for example TLS_CRT=tls.crt"), "{message}");
    }
    for value in [
        "a\rb", "${a}", "a${b}", "a$(b)", "a$b", "a$1", "a$_", "$", "$-", "a\\$", "a\\\\b", "a\\", "'\"",
        "'$", "'`", "'\\", "\n\"", "\n$", "\n`", "\n\\",
    ] {
        let message = render(&[("db.format", "dotenv")], &[("a", value.as_bytes())]).unwrap_err();
        assert!(message.contains("dotenv libraries read differently"), "{value}: {message}");
    }
}

#[test]
fn keys_that_kubernetes_would_reject_are_rejected() {
    for key in ["../x", "a/b", "..", "a\nb"] {
        let message = render(&[], &[(key, b"test-password")]).unwrap_err();
        assert!(message.contains("invalid key") && !message.contains("test-password"), "{message}");
    }
}

#[test]
fn two_credentials_cannot_write_the_same_file() {
    let two =
        credentials(&[("a.secret", "s"), ("b.secret", "s"), ("b.path", "a/username"), ("b.format", "json")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]);
    let message = bundle(&two, &sources).unwrap_err().to_string();
    assert_eq!(
        message,
        "credential b: \"a/username\" as a file in format json conflicts with credential a, which writes it as a file: change the .path of one of them"
    );
}

#[test]
fn fields_and_files_and_keys_in_a_message_are_bounded() {
    let many: Vec<_> = (0..=FILE_LIMIT).map(|i| format!("k{i}")).collect();
    let secret: Vec<_> = many.iter().map(|key| (key.as_str(), &b""[..])).collect();
    assert!(
        render(&[], &secret).unwrap_err().starts_with("credential db: more than 10000 fields: list only")
    );
    let message = render(&[("db.set", "x=1")], &secret[1..]).unwrap_err();
    assert!(message.contains("exceed the limit of 10000 files"), "{message}");
    let message = render(&[("db.keys", "none")], &secret).unwrap_err();
    assert!(message.contains(" and 9981 more") && message.len() < 500, "{message}");
}

#[test]
fn bytes_of_a_bundle_are_bounded_and_all_errors_are_counted() {
    let large = vec![b'x'; BUNDLE_LIMIT];
    assert!(
        render(&[], &[("a", &large), ("b", b"x")])
            .unwrap_err()
            .contains("exceed the limit of 16777216 bytes")
    );
    let keys: Vec<_> = (0..30).map(|i| format!("k{i}")).collect();
    let message = render(&[("db.keys", &keys.join(","))], PLAIN).unwrap_err();
    assert!(message.ends_with("and 10 more"), "{message}");
}

#[test]
fn redacted_output_contains_no_value() {
    let with_literal =
        credentials(&[("db.secret", "s"), ("db.set", "x=test-literal"), ("db.format", "json")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]);
    let shown = hidden(&with_literal, &sources, "********").unwrap().into_values().next().unwrap();
    let expected =
        "{\n  \"password\": \"********\",\n  \"username\": \"********\",\n  \"x\": \"********\"\n}\n";
    assert_eq!(shown.content.expose_text(), Some(expected));
    let secret: &[(&str, &[u8])] = &[
        ("username", b"test-1"),
        ("password", b"test-2"),
        ("host", b"test-3:6000,[::1]"),
        ("port", b"7000"),
        ("database", b"test-4"),
        ("type", b"postgresql"),
        ("options", b"application_name=test-5"),
    ];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    // These need other sources, and have tests of their own.
    let others = ["template", "mycnf", "pkcs12"];
    for (format, _) in Format::ALL.into_iter().filter(|(format, _)| !others.contains(format)) {
        let shown = credentials(&[("db.secret", "s"), ("db.format", format), ("db.set", "sslmode=test-6")]);
        bundle(&shown, &sources).unwrap_or_else(|errors| panic!("{format}: {errors}"));
        let shown =
            hidden(&shown, &sources, "********").unwrap_or_else(|errors| panic!("{format}: {errors}"));
        for file in shown.values() {
            let text = file.content.expose_text().unwrap();
            assert!(!text.contains("test-") && !text.contains("00"), "{format}: {text}");
        }
    }
}

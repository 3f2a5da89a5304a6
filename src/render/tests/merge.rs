//! Several credentials in one file.

use proptest::prelude::*;

use super::*;
use crate::render::tests::envfile::read_env_file;
use crate::render::tests::read_back::{any_text, variables_of_shell};

type Secret = BTreeMap<String, String>;

/// Renders credentials `c0`, `c1` … in one format, each from a Secret of its own: into the file `all`, or one file each.
fn write(format: &str, secrets: &[Secret], path: Option<&str>) -> Result<Vec<Vec<u8>>, String> {
    let mut annotations = Vec::new();
    for index in 0..secrets.len() {
        annotations.push((format!("c{index}.secret"), format!("s{index}")));
        annotations.push((format!("c{index}.format"), format.to_owned()));
        annotations.extend(path.map(|path| (format!("c{index}.path"), path.to_owned())));
    }
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let sources = secrets.iter().enumerate().map(|(index, secret)| {
        let data = secret.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        (object(Kind::Secret, &format!("s{index}")), Some(data))
    });
    let bundle =
        bundle(&credentials(&annotations), &sources.collect()).map_err(|errors| errors.to_string())?;
    Ok(bundle.into_values().map(|file| file.content.expose().to_vec()).collect())
}

fn merged(format: &str, secrets: &[Secret]) -> Result<Vec<u8>, String> {
    let mut files = write(format, secrets, Some("all"))?;
    assert_eq!(files.len(), 1);
    Ok(files.remove(0))
}

fn read_with(format: &str, file: &[u8]) -> Secret {
    let text = std::str::from_utf8(file).unwrap();
    match format {
        "env" => variables_of_shell("sh", text).unwrap(),
        "dotenv" => dotenvy::from_read_iter(file).map(Result::unwrap).collect(),
        "envfile" => {
            let entries = read_env_file(file).unwrap();
            let names = entries.len();
            let read: Secret = entries.into_iter().collect();
            assert_eq!(read.len(), names, "a name twice");
            read
        }
        // These two reject a name that occurs twice.
        "json" => serde_json::from_str(text).unwrap(),
        "yaml" => yaml_serde::from_str(text).unwrap(),
        "properties" => java_properties::read(file).unwrap().into_iter().collect(),
        other => unreachable!("{other}"),
    }
}

const FORMATS: [&str; 6] = ["env", "dotenv", "envfile", "json", "yaml", "properties"];

fn any_secrets(values: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<Secret>> {
    // Few names, so that some are in two Secrets.
    let secret = prop::collection::btree_map("[B-M][0-9]?", values, 1..4);
    prop::collection::vec(secret, 2..5)
}

/// Checks that the merged file reads back as the union of what each credential writes, or that a common name is reported.
fn is_union(format: &str, secrets: &[Secret]) -> Result<(), TestCaseError> {
    let Ok(alone) = write(format, secrets, None) else {
        prop_assert!(merged(format, secrets).is_err());
        return Ok(());
    };
    let mut union = Secret::new();
    let mut is_disjoint = true;
    for file in alone {
        for (name, value) in read_with(format, &file) {
            is_disjoint &= union.insert(name, value).is_none();
        }
    }
    match merged(format, secrets) {
        Ok(file) => {
            prop_assert!(is_disjoint);
            prop_assert_eq!(read_with(format, &file), union);
        }
        Err(message) => {
            prop_assert!(!is_disjoint, "{}", message);
            prop_assert!(message.contains("duplicate "), "{}", message);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_merged_env_file_is_the_union_for_a_shell(secrets in any_secrets(any_text())) {
        is_union("env", &secrets)?;
    }
}

proptest! {
    #[test]
    fn a_merged_file_is_the_union(secrets in any_secrets(any_text())) {
        for format in FORMATS.into_iter().filter(|format| !["env", "properties"].contains(format)) {
            is_union(format, &secrets)?;
        }
        // This reader does not combine surrogate pairs.
        let is_low = |secret: &Secret| secret.values().all(|value| value.chars().all(|c| c <= '\u{ffff}'));
        if secrets.iter().all(is_low) {
            is_union("properties", &secrets)?;
        }
    }

    #[test]
    fn a_merged_file_of_plain_values_is_the_union(secrets in any_secrets("[a-z ]{1,8}")) {
        for format in FORMATS.into_iter().filter(|format| *format != "env") {
            is_union(format, &secrets)?;
        }
    }
}

fn secret(entries: &[(&str, &str)]) -> Secret {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn entries_are_in_the_order_of_the_credentials() {
    let secrets = [secret(&[("Z", "1"), ("B", "2")]), secret(&[("A", "3")])];
    for (format, expected) in [
        ("env", "export B='2'\nexport Z='1'\nexport A='3'\n"),
        ("dotenv", "B='2'\nZ='1'\nA='3'\n"),
        ("envfile", "B='2'\nZ='1'\nA='3'\n"),
        ("json", "{\n  \"B\": \"2\",\n  \"Z\": \"1\",\n  \"A\": \"3\"\n}\n"),
        ("yaml", "B: \"2\"\nZ: \"1\"\nA: \"3\"\n"),
        ("properties", "B=2\nZ=1\nA=3\n"),
    ] {
        assert_eq!(merged(format, &secrets).unwrap(), expected.as_bytes(), "{format}");
    }
}

#[test]
fn a_duplicate_entry_names_both_credentials_and_what_to_do() {
    let secrets =
        [secret(&[("A", "test-1"), ("B", "test-1"), ("C", "")]), secret(&[("B", "test-1"), ("C", "")])];
    for (format, entry) in [
        ("env", "variable"),
        ("dotenv", "variable"),
        ("json", "member"),
        ("yaml", "key"),
        ("properties", "key"),
    ] {
        let message = merged(format, &secrets).unwrap_err();
        let expected = format!(
            "credential c1: duplicate {entry} B, C in \"all\", which credential c0 writes too: rename it in one of them with .keys or .prefix, or change the .path of one of them"
        );
        assert_eq!(message, expected);
    }
    // Each of these has hundreds of names in common with the first one.
    let many: Secret = (0..300).map(|index| (format!("A{index}"), "test-1".to_owned())).collect();
    let message = merged("json", &[many.clone(), many.clone(), many]).unwrap_err();
    assert_eq!(message.lines().count(), 2, "{message}");
    assert!(message.contains("A115 and 280 more in \"all\"") && message.len() < 900, "{message}");
}

/// A PostgreSQL and a Redis, with their URLs in variables of one file.
fn two_urls(format: &str) -> Vec<(&'static str, String)> {
    let mut annotations = Vec::new();
    let mut add = |key, value: &str| annotations.push((key, value.to_owned()));
    for (source, secret) in [("a.secret", "a"), ("b.secret", "b"), ("c.secret", "c")] {
        add(source, secret);
    }
    for path in ["a.path", "b.path", "c.path"] {
        add(path, "config/app.env");
    }
    for connection in ["a.format", "b.format"] {
        add(connection, "uri");
    }
    for file in ["a.variable-format", "b.variable-format", "c.format"] {
        add(file, format);
    }
    add("a.variable", "DATABASE_URL");
    add("b.variable", "REDIS_URL, CACHE_URL");
    add("c.keys", "SESSION_KEY=key");
    annotations
}

fn with<'a>(base: &'a [(&str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = base.iter().filter(|(key, _)| !more.iter().any(|(other, _)| other == key));
    kept.map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect()
}

fn three_sources() -> Sources {
    let url = |text: &str| Some(data(&[("uri", text.as_bytes())]));
    Sources::from([
        (object(Kind::Secret, "a"), url("postgresql://app:test-1@db/orders")),
        (object(Kind::Secret, "b"), url("redis://:test-2@cache")),
        (object(Kind::Secret, "c"), Some(data(&[("key", b"test-3")]))),
    ])
}

#[test]
fn connection_strings_and_fields_share_a_file_of_variables() {
    for (format, export) in [("env", "export "), ("dotenv", ""), ("envfile", "")] {
        let bundle = bundle(&credentials(&with(&two_urls(format), &[])), &three_sources()).unwrap();
        let file = &bundle[&RelativePath::parse("config/app.env").unwrap()];
        let lines = [
            "DATABASE_URL='postgresql://app:test-1@db:5432/orders'\n",
            "CACHE_URL='redis://default:test-2@cache:6379'\n",
            "REDIS_URL='redis://default:test-2@cache:6379'\n",
            "SESSION_KEY='test-3'\n",
        ];
        let expected: String = lines.map(|line| format!("{export}{line}")).concat();
        assert_eq!((bundle.len(), file.content.expose_text()), (1, Some(expected.as_str())));
    }
}

#[test]
fn a_skipped_credential_takes_no_entry_away() {
    let base = two_urls("env");
    let optional = with(&base, &[("a.optional", "true"), ("b.optional", "true"), ("c.optional", "true")]);
    let (credentials, path) = (credentials(&optional), RelativePath::parse("config/app.env").unwrap());
    let mut sources = three_sources();
    let complete = bundle(&credentials, &sources).unwrap().remove(&path).unwrap();
    let mut expected: Vec<_> = complete.content.expose_text().unwrap().lines().collect();
    for (secret, lines) in [("b", 2), ("a", 1)] {
        sources.insert(object(Kind::Secret, secret), None);
        expected.drain(if secret == "b" { 1..3 } else { 0..lines });
        let rest = bundle(&credentials, &sources).unwrap().remove(&path).unwrap();
        assert_eq!(rest.content.expose_text().unwrap().lines().collect::<Vec<_>>(), expected);
    }
    sources.insert(object(Kind::Secret, "c"), None);
    assert!(bundle(&credentials, &sources).unwrap().is_empty());
}

#[test]
fn optional_credentials_may_name_one_variable_if_only_one_of_them_exists() {
    let optional = [
        ("a.optional", "true"),
        ("b.optional", "true"),
        ("b.variable", "DATABASE_URL"),
        ("c.optional", "true"),
    ];
    let base = two_urls("env");
    let credentials = credentials(&with(&base, &optional));
    let mut sources = three_sources();
    let message = bundle(&credentials, &sources).unwrap_err().to_string();
    assert_eq!(
        message,
        "credential b: duplicate variable DATABASE_URL in \"config/app.env\", which credential a writes too: choose another variable name in the annotations of one of them, or change the .path of one of them"
    );
    sources.insert(object(Kind::Secret, "a"), None);
    let file = bundle(&credentials, &sources).unwrap().into_values().next().unwrap();
    let expected = "export DATABASE_URL='redis://default:test-2@cache:6379'\nexport SESSION_KEY='test-3'\n";
    assert_eq!(file.content.expose_text(), Some(expected));
}

#[test]
fn redacted_output_of_a_merged_file_has_every_entry() {
    let base = two_urls("dotenv");
    let shown = hidden(&credentials(&with(&base, &[])), &three_sources(), "********").unwrap();
    let text = shown.into_values().next().unwrap().content.expose_text().unwrap().to_owned();
    assert!(!text.contains("test-") && text.lines().count() == 4, "{text}");
}

#[test]
fn the_variables_of_vault_db_injector_share_a_file_with_others() {
    let prefix = crate::annotations::INJECTOR_PREFIX;
    let read = |b: &str| {
        let annotations = [
            ("a.secret", "s"),
            ("a.env-key-dbuser", "A_USER"),
            ("a.env-key-dbpassword", "PASSWORD"),
            ("b.secret", "s"),
            ("b.env-key-dbuser", "B_USER"),
            ("b.env-key-dbpassword", b),
            ("a.path", "x.env"),
            ("b.path", "x.env"),
            ("a.mode", "classic"),
            ("b.mode", "classic"),
        ];
        let named = |(key, value): (&str, &str)| (format!("{prefix}/{key}"), value.to_owned());
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        parse(&annotations.into_iter().map(named).collect(), prefix, &scope)
            .map_err(|errors| errors.to_string())
    };
    let sources =
        Sources::from([(object(Kind::Secret, "s"), Some(data(&[("username", b"u"), ("password", b"p")])))]);
    let bundle = bundle(&read("B_PASSWORD").unwrap(), &sources).unwrap();
    let content = bundle.into_values().next().unwrap().content;
    let expected = "export A_USER='u'\nexport PASSWORD='p'\nexport B_PASSWORD='p'\nexport B_USER='u'\n";
    assert_eq!(content.expose_text(), Some(expected));
    let message = read("PASSWORD").unwrap_err();
    assert!(message.contains("/b.path: duplicate variable PASSWORD in \"x.env\", which credential a writes too: choose another variable name"), "{message}");
}

fn pgpass(second: &[(&str, &str)]) -> Result<String, String> {
    let shared = [
        ("a.secret", "a"),
        ("a.format", "pgpass"),
        ("a.path", ".pgpass"),
        ("a.set", "host=db"),
        ("b.secret", "b"),
        ("b.format", "pgpass"),
        ("b.path", ".pgpass"),
    ];
    let credentials = credentials(&[&shared, second].concat());
    let login = |password: &[u8]| Some(data(&[("username", b"test-user"), ("password", password)]));
    let sources = Sources::from([
        (object(Kind::Secret, "a"), login(b"test-1")),
        (object(Kind::Secret, "b"), login(b"test-2")),
    ]);
    let shown = hidden(&credentials, &sources, "********");
    let result = bundle(&credentials, &sources);
    assert_eq!(shown.is_ok(), result.is_ok(), "redacted output has the same errors");
    let file = result.map_err(|errors| errors.to_string())?.into_values().next().unwrap();
    assert_eq!(file.mode, Some(crate::credential::FileMode::OWNER));
    Ok(file.content.expose_text().unwrap().to_owned())
}

#[test]
fn a_password_line_that_libpq_would_never_use_is_an_error() {
    let file = pgpass(&[("b.set", "host=other")]).unwrap();
    assert_eq!(file, "db:*:*:test-user:test-1\nother:*:*:test-user:test-2\n");
    for set in ["host=db", "host=db,database=orders", "host=db,port=5432", "host=db:5432"] {
        let message = pgpass(&[("b.set", set)]).unwrap_err();
        assert!(
            message.starts_with("credential b: in \".pgpass\", libpq would never use a line of this credential, because a line of credential a comes first")
                && !message.contains("test-"),
            "{message}"
        );
    }
}

#[test]
fn the_limit_of_all_files_holds_for_a_merged_file_before_it_is_joined() {
    let half: Secret = [("A".to_owned(), "x".repeat(BUNDLE_LIMIT / 2))].into();
    let other: Secret = [("B".to_owned(), "x".repeat(BUNDLE_LIMIT / 2))].into();
    let message = merged("json", &[half.clone(), other]).unwrap_err();
    assert!(
        message.starts_with("credential c1: with this credential, the files of all credentials exceed"),
        "{message}"
    );
    assert!(merged("json", &[half, secret(&[("B", "x")])]).is_ok());
}

#[test]
fn each_shared_file_counts_as_one_file() {
    let shared = credentials(&with(&two_urls("env"), &[("z.secret", "c"), ("z.format", "json")]));
    let left = |files| {
        let taken = Size { bytes: 0, files: FILE_LIMIT - files };
        render_beside(taken, 0, &shared, &three_sources()).map(|rendered| rendered.bundle.len())
    };
    assert!(left(1).is_err());
    assert_eq!(left(2).unwrap(), 2);
}

#[test]
fn a_file_of_one_credential_claims_no_entries() {
    let alone =
        credentials(&[("a.secret", "s"), ("a.format", "json"), ("b.secret", "s"), ("b.format", "json")]);
    assert!(alone.iter().all(|credential| !is_shared(credential, &alone)));
}

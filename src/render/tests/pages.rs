//! The examples of docs/fields.md and docs/formats/template.md, with the files that these pages show.

use super::*;

/// A Secret: its name, and its keys with their values.
type Secret = (&'static str, &'static [(&'static str, &'static str)]);

/// The content of the block with this beginning, up to the end of the block.
fn block(page: &'static str, start: &str) -> &'static str {
    let at = page.find(start).unwrap_or_else(|| panic!("{start}"));
    page[at..].split("```").next().unwrap()
}

/// Renders annotations that are written as YAML.
fn files(annotations: &str, secrets: &[Secret]) -> BTreeMap<String, String> {
    let annotations = yaml_serde::from_str(annotations).unwrap();
    let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
    let credentials = parse(&annotations, DEFAULT_PREFIX, &scope).unwrap();
    let mut sources = Sources::new();
    for (name, entries) in secrets {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        sources.insert(object(Kind::Secret, name), Some(data(&entries)));
    }
    let bundle = bundle(&credentials, &sources).unwrap();
    bundle
        .into_iter()
        .map(|(path, file)| (path.to_string(), file.content.expose_text().unwrap().to_owned()))
        .collect()
}

#[test]
fn the_examples_of_fields_write_what_the_page_shows() {
    const PAGE: &str = include_str!("../../../docs/fields.md");
    let aliases = block(PAGE, "podcreds.io/app.secret: db=");
    let secrets = [("orders-db", &[("password", "test-1")][..]), ("orders-redis", &[("password", "test-2")])];
    assert_eq!(files(aliases, &secrets)["app.env"], block(PAGE, "export CACHE_PASSWORD"));

    let url = block(PAGE, "podcreds.io/db.secret: orders\n");
    const VALUE: &str = "postgres://app:p%40ss@db.example.com/orders?sslmode=require";
    assert!(PAGE.contains(&format!("DATABASE_URL: {VALUE}\n")));
    let secrets: [Secret; 1] = [("orders", &[("DATABASE_URL", VALUE)])];
    assert_eq!(files(url, &secrets)["db.env"], block(PAGE, "export PGDATABASE"));

    let bulk = block(PAGE, "podcreds.io/db.secret: orders-db       # keys db-user and db.password");
    let secrets: [Secret; 1] = [("orders-db", &[("db-user", "app"), ("db.password", "test-1")])];
    let expected = "export ORDERS_DB_PASSWORD='test-1'\nexport ORDERS_DB_USER='app'\n";
    assert_eq!(files(bulk, &secrets)["db.env"], expected);

    let host = block(PAGE, "podcreds.io/db.secret: orders-app");
    let secrets: [Secret; 1] = [(
        "orders-app",
        &[
            ("username", "app"),
            ("password", "test-1"),
            ("host", "orders-rw"),
            ("port", "5432"),
            ("dbname", "orders"),
            ("uri", "postgresql://app:test-1@orders-rw.prod:5432/orders"),
        ],
    )];
    assert_eq!(files(host, &secrets)["db.uri"], "postgresql://app:test-1@orders-pooler-rw:6432/orders");
}

#[test]
fn the_example_of_fields_of_another_credential_writes_what_the_page_shows() {
    const PAGE: &str = include_str!("../../../docs/formats/template.md");
    let secrets: [Secret; 2] = [
        ("orders-db", &[("username", "app"), ("password", "test-1%")]),
        ("orders-smtp", &[("password", "test-2")]),
    ];
    let (_, section) = PAGE.split_once("### Fields of another credential\n").unwrap();
    let written = files(block(section, "podcreds.io/db.secret"), &secrets);
    assert_eq!(written["app.ini"], block(section, "[database]\nuser = app"));
    assert_eq!(written["db.pgpass"], "*:*:*:app:test-1%\n");
}

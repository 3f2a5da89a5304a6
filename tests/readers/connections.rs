//! URIs and JDBC URLs are read back: user, password, host, port, database and an option, each of them hard.

use std::collections::BTreeMap;
use std::fs;

use super::{Case, Files, cases, node, python, render};

/// An option that pymongo, which knows its names and kinds, takes for any text.
const OPTION: &str = "authSource";
/// Longer values are for formats that are files of their own.
const LONGEST: usize = 4096;

/// Every value of the other formats as password, and its neighbours as the other parts that may be any text.
fn connections(engine: &str) -> Vec<Case> {
    let values: Vec<_> = cases::values()
        .into_iter()
        .flat_map(|case| case.fields.into_values().map(move |value| (case.name.clone(), value)))
        // A part that is empty is not given.
        .filter(|(_, value)| !value.is_empty() && value.len() <= LONGEST)
        .collect();
    let case = |index: usize| {
        let value = |offset: usize| values[(index + offset) % values.len()].1.clone();
        // pymongo takes no other name for one of MongoDB.
        let database = if engine == "mongodb" { "orders".to_owned() } else { value(2) };
        let fields = [
            ("username", value(1)),
            ("password", value(0)),
            ("host", "db.prod".to_owned()),
            ("port", "1234".to_owned()),
            ("database", database),
            // dj-database-url makes numbers and booleans of those that look like one.
            (OPTION, format!("<{}>", value(3))),
        ];
        Case {
            name: values[index].0.clone(),
            fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    };
    (0..values.len()).map(case).collect()
}

impl Files {
    /// The connections of an engine, as `uri-ENGINE` or `jdbc-ENGINE`, but those of which `cannot` says so.
    fn connect(format: &'static str, cannot: impl Fn(&BTreeMap<String, String>) -> bool) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let (kind, engine) = format.split_once('-').unwrap();
        let mut cases = connections(engine);
        let keys = cases[0].fields.keys().cloned().collect::<Vec<_>>().join(", ");
        let annotations = [("format", kind), ("engine", engine), ("keys", &keys)];
        cases.retain(|case| match render(&annotations, case) {
            Ok((name, content)) => {
                assert!(!cannot(&case.fields), "{format}, case {} is written", case.name);
                let folder = root.path().join(&case.name);
                fs::create_dir(&folder).unwrap();
                fs::write(folder.join(name), content).unwrap();
                true
            }
            Err(refusal) => {
                assert!(cannot(&case.fields), "{format}, case {}: {refusal}", case.name);
                assert!(refusal.contains("which this format cannot represent"), "{refusal}");
                false
            }
        });
        assert!(cases.len() > 100, "{format}: {} cases", cases.len());
        Self { root, format, cases }
    }
}

/// A database that is a path which goes nowhere.
fn is_dots(format: &str, fields: &BTreeMap<String, String>) -> bool {
    format != "uri-sqlserver" && [".", ".."].contains(&fields["database"].as_str())
}

#[test]
fn uris_are_read_by_python() {
    for (format, module, readers) in [
        ("uri-postgresql", "sqlalchemy, dj_database_url", &["urllib", "SQLAlchemy", "dj-database-url"][..]),
        ("uri-mysql", "sqlalchemy, dj_database_url", &["urllib", "SQLAlchemy", "dj-database-url"]),
        ("uri-mariadb", "sqlalchemy", &["urllib", "SQLAlchemy"]),
        ("uri-clickhouse", "sqlalchemy", &["urllib", "SQLAlchemy"]),
        ("uri-mongodb", "pymongo", &["urllib", "pymongo"]),
        ("uri-amqp", "urllib", &["urllib"]),
        ("uri-redis", "urllib", &["urllib"]),
        ("uri-sqlserver", "urllib", &["urllib"]),
        ("uri-cassandra", "urllib", &["urllib"]),
    ] {
        let Some(python) = python(module) else { continue };
        Files::connect(format, |fields| is_dots(format, fields)).read_by(python, readers);
    }
}

#[test]
fn uris_are_read_by_node() {
    for format in [
        "uri-postgresql",
        "uri-mysql",
        "uri-mariadb",
        "uri-clickhouse",
        "uri-mongodb",
        "uri-amqp",
        "uri-redis",
        "uri-sqlserver",
        "uri-cassandra",
    ] {
        let Some(node) = node() else { return };
        Files::connect(format, |fields| is_dots(format, fields)).read_by(node, &["WHATWG URL"]);
    }
}

/// No driver is at hand for SQL Server and MySQL, so that their grammar is read as it is documented.
#[test]
fn jdbc_urls_are_read_by_their_grammar() {
    let ampersand = |fields: &BTreeMap<String, String>| {
        let parts = ["username", "password", OPTION].map(|name| fields[name].contains('&'));
        parts.contains(&true) || fields["database"].contains(['?', '&'])
    };
    for (format, reader, cannot) in [
        ("jdbc-postgresql", "the grammar of PgJDBC", false),
        ("jdbc-mysql", "the grammar of Connector/J", false),
        ("jdbc-mariadb", "the grammar of MariaDB's", true),
        ("jdbc-sqlserver", "the grammar of SQL Server's", false),
    ] {
        let Some(python) = python("urllib") else { return };
        Files::connect(format, |fields| cannot && ampersand(fields)).read_by(python, &[reader]);
    }
}

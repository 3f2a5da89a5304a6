//! Reads URIs and JDBC URLs back, with user, password, host, port, database and an option that are difficult to escape.

use std::collections::BTreeMap;
use std::fs;

use super::{Case, Files, cases, node, python, render, ruby};

/// An option for which pymongo, which validates options, accepts any text.
pub(crate) const OPTION: &str = "authSource";
/// Only other formats are tested with longer values.
const LONGEST: usize = 4096;

/// Every value of the other formats as the password, with its neighbors as the other parts that can be any text.
fn connections(engine: &str) -> Vec<Case> {
    let values: Vec<_> = cases::values()
        .into_iter()
        .flat_map(|case| case.fields.into_values().map(move |value| (case.name.clone(), value)))
        // Empty parts are omitted.
        .filter(|(_, value)| !value.is_empty() && value.len() <= LONGEST)
        .collect();
    let case = |index: usize| {
        let value = |offset: usize| values[(index + offset) % values.len()].1.clone();
        // pymongo rejects other names of a MongoDB database.
        let database = if engine == "mongodb" { "orders".to_owned() } else { value(2) };
        let fields = [
            ("username", value(1)),
            ("password", value(0)),
            ("host", "db.prod".to_owned()),
            ("port", "1234".to_owned()),
            ("database", database),
            // dj-database-url converts values that look like numbers or booleans.
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
    /// Writes the connections of an engine, as `uri-ENGINE`, `jdbc-ENGINE` or `adonet-ENGINE`, or the URIs with the scheme of
    /// a client, as `scheme-SCHEME`. podcreds must reject
    /// those for which `unsupported` is true.
    pub(crate) fn write_connections(
        format: &'static str,
        unsupported: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let (kind, engine) = format.split_once('-').unwrap();
        let mut cases = connections(engine);
        let keys = cases[0].fields.keys().cloned().collect::<Vec<_>>().join(", ");
        let annotations = match kind {
            "scheme" => [("format", "uri"), ("scheme", engine), ("keys", &keys)],
            _ => [("format", kind), ("engine", engine), ("keys", &keys)],
        };
        cases.retain(|case| match render(&annotations, case) {
            Ok((name, content)) => {
                assert!(!unsupported(&case.fields), "{format}, case {} is written", case.name);
                let directory = root.path().join(&case.name);
                fs::create_dir(&directory).unwrap();
                fs::write(directory.join(name), content).unwrap();
                true
            }
            Err(error) => {
                assert!(unsupported(&case.fields), "{format}, case {}: {error}", case.name);
                assert!(error.contains("which this format cannot represent"), "{error}");
                false
            }
        });
        assert!(cases.len() > 100, "{format}: {} cases", cases.len());
        Self { root, format, cases }
    }
}

/// Whether the database is a relative path segment, which a URI cannot represent.
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
        Files::write_connections(format, |fields| is_dots(format, fields)).read_by(python, readers);
    }
}

/// Percent-encodes a part of a URL. It may leave the characters as they are that RFC 3986 calls sub-delims.
fn encode(value: &str, rng: &mut fastrand::Rng) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' if rng.bool() => {
                encoded.push(byte.into());
            }
            _ if rng.bool() => encoded.push_str(&format!("%{byte:02x}")),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[test]
fn the_parts_of_a_url_are_those_that_python_finds() {
    let keys = "username, password?, host, port, database?";
    for engine in ["postgresql", "mysql", "mongodb", "amqp"] {
        let Some(python) = python("urllib") else { return };
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let mut rng = fastrand::Rng::with_seed(0x7572_6c73);
        let mut cases = connections(engine);
        for case in &mut cases {
            let mut parts = std::mem::take(&mut case.fields);
            parts.remove(OPTION);
            let mut url = format!("{engine}://{}", encode(&parts["username"], &mut rng));
            if rng.bool() {
                url.push_str(&format!(":{}", encode(&parts["password"], &mut rng)));
            } else {
                parts.remove("password");
            }
            url.push_str(["@db.prod", "@[2001:db8::1]", "@10.0.0.1"][rng.usize(..3)]);
            if rng.bool() {
                url.push_str(":1234");
            }
            if rng.bool() {
                url.push_str(&format!("/{}", encode(&parts["database"], &mut rng)));
            } else {
                parts.remove("database");
            }
            url.push_str(["", "?", "?a=b%26"][rng.usize(..3)]);
            let directory = root.path().join(&case.name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("url"), &url).unwrap();
            case.fields = [("DATABASE_URL".to_owned(), url)].into();
            let (_, json) = render(&[("format", "json"), ("keys", keys)], case).unwrap();
            case.fields = serde_json::from_slice(&json).unwrap();
            for name in ["username", "password", "database"] {
                assert_eq!(case.fields.get(name), parts.get(name), "case {}: {name}", case.name);
            }
        }
        Files { root, format: "url-parts", cases }.read_by(python, &["urllib"]);
    }
}

#[test]
fn uris_with_the_scheme_of_a_client_are_read_by_it() {
    for (format, module, readers) in [
        ("scheme-postgresql+asyncpg", "sqlalchemy", &["SQLAlchemy"][..]),
        ("scheme-postgresql+psycopg", "sqlalchemy", &["SQLAlchemy"]),
        ("scheme-mysql+pymysql", "sqlalchemy", &["SQLAlchemy"]),
        ("scheme-mssql+pyodbc", "sqlalchemy", &["SQLAlchemy"]),
        ("scheme-postgis", "dj_database_url", &["dj-database-url"]),
        ("scheme-mysql2", "dj_database_url", &["dj-database-url"]),
        ("scheme-mssql", "dj_database_url", &["dj-database-url"]),
        ("scheme-cockroach", "dj_database_url", &["dj-database-url"]),
    ] {
        let Some(python) = python(module) else { continue };
        Files::write_connections(format, |fields| is_dots(format, fields)).read_by(python, readers);
    }
    for format in ["scheme-mysql2", "scheme-postgis", "scheme-trilogy"] {
        let Some(ruby) = ruby("active_record") else { return };
        Files::write_connections(format, |fields| is_dots(format, fields)).read_by(ruby, &["Active Record"]);
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
        Files::write_connections(format, |fields| is_dots(format, fields)).read_by(node, &["WHATWG URL"]);
    }
}

/// Whether the URL of MariaDB's driver cannot represent these fields.
pub(crate) fn rejected_by_mariadb(fields: &BTreeMap<String, String>) -> bool {
    let parts = ["username", "password", OPTION].map(|name| fields[name].contains('&'));
    parts.contains(&true) || fields["database"].contains(['?', '&'])
}

/// `options.rs` reads with the drivers themselves, which not every machine has.
#[test]
fn jdbc_urls_follow_their_documented_grammar() {
    for (format, reader, rejects_ampersands) in [
        ("jdbc-postgresql", "the grammar of PgJDBC", false),
        ("jdbc-mysql", "the grammar of Connector/J", false),
        ("jdbc-mariadb", "the grammar of MariaDB's", true),
        ("jdbc-sqlserver", "the grammar of SQL Server's", false),
    ] {
        let Some(python) = python("urllib") else { return };
        Files::write_connections(format, |fields| rejects_ampersands && rejected_by_mariadb(fields))
            .read_by(python, &[reader]);
    }
}

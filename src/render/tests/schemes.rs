//! URIs with the scheme of a client.

use super::*;

fn uri(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Result<String, String> {
    let files = render(&[&[("db.format", "uri")], annotations].concat(), secret)?;
    Ok(String::from_utf8(files["db.uri"].clone()).unwrap())
}

#[test]
fn the_annotation_chooses_the_scheme_and_with_it_the_engine() {
    let secret: &[(&str, &[u8])] = &[("username", b"app"), ("password", b"p"), ("host", b"h"), ("db", b"d")];
    for (scheme, expected) in [
        ("postgresql+asyncpg", "postgresql+asyncpg://app:p@h:5432/d"),
        ("postgres", "postgres://app:p@h:5432/d"),
        ("postgis", "postgis://app:p@h:5432/d"),
        ("cockroachdb", "cockroachdb://app:p@h:26257/d"),
        ("mysql2", "mysql2://app:p@h:3306/d"),
        ("mysql+pymysql", "mysql+pymysql://app:p@h:3306/d"),
        ("mongodb+srv", "mongodb+srv://app:p@h/d"),
        ("rediss", "rediss://app:p@h:6379/d"),
        ("amqps", "amqps://app:p@h:5671/d"),
        ("pyamqp", "pyamqp://app:p@h:5672/d"),
        ("sqlserver", "sqlserver://app:p@h:1433?database=d"),
        ("mssql+pyodbc", "mssql+pyodbc://app:p@h:1433/d"),
        ("sqlsrv", "sqlsrv://app:p@h:1433/d"),
    ] {
        assert_eq!(uri(&[("db.scheme", scheme)], secret).unwrap(), expected);
    }
    let annotations = [("db.scheme", "jaydebeapi"), ("db.engine", "mysql")];
    assert_eq!(uri(&annotations, secret).unwrap(), "jaydebeapi://app:p@h:3306/d");
    // The field names the service, which the scheme replaces as .engine does.
    let annotations = [("db.scheme", "rediss"), ("db.set", "type=redis")];
    assert_eq!(uri(&annotations, &[("host", b"h"), ("pass", b"p")]).unwrap(), "rediss://default:p@h:6379");
}

#[test]
fn a_uri_with_the_scheme_of_a_client_is_read_and_written_with_that_of_its_engine() {
    for (source, expected) in [
        ("postgres://app:p@h/d", "postgresql://app:p@h:5432/d"),
        ("postgresql+asyncpg://app:p@h/d?ssl=require", "postgresql://app:p@h:5432/d?ssl=require"),
        ("postgis://app:p@h:6000/d", "postgresql://app:p@h:6000/d"),
        ("COCKROACHDB://app:p@h/d", "postgresql://app:p@h:26257/d"),
        ("cockroachdb://app:p@a:1,b/d", "postgresql://app:p@a:1,b:26257/d"),
        ("cockroachdb://app:p@h/d?port=9", "postgresql://app:p@h:9/d"),
        ("cockroachdb://app:p@h:9/d", "postgresql://app:p@h:9/d"),
        ("mysql2://app:p@h/d", "mysql://app:p@h:3306/d"),
        ("mysql+pymysql://app:p@h/d?charset=utf8mb4", "mysql://app:p@h:3306/d?charset=utf8mb4"),
        ("mssql+pyodbc://app:p@h/d", "sqlserver://app:p@h:1433?database=d"),
        ("valkeys://app:p@h/0", "rediss://app:p@h:6379/0"),
    ] {
        assert_eq!(uri(&[], &[("uri", source.as_bytes())]).unwrap(), expected, "{source}");
    }
    for (source, scheme, expected) in [
        ("postgresql://app:p@h/d", "postgresql+psycopg", "postgresql+psycopg://app:p@h:5432/d"),
        ("postgresql+asyncpg://app:p@h/d", "postgres", "postgres://app:p@h:5432/d"),
        ("mysql2://app:p@h/d", "mysql+aiomysql", "mysql+aiomysql://app:p@h:3306/d"),
    ] {
        assert_eq!(uri(&[("db.scheme", scheme)], &[("uri", source.as_bytes())]).unwrap(), expected);
    }
    let secret: &[(&str, &[u8])] = &[("uri", b"mysql2://app:p@h/d")];
    assert_eq!(
        render(&[("db.format", "jdbc")], secret).unwrap()["db.jdbc"],
        b"jdbc:mysql://h:3306/d?user=app&password=p"
    );
}

/// Without the TLS that the text after the `+` may mean, the password would be sent in the clear.
#[test]
fn a_scheme_that_may_mean_tls_is_not_read_as_the_plain_one() {
    for source in ["amqp+ssl://app:test-1@h", "redis+tls://app:test-1@h", "redis+sentinel://app:test-1@h"] {
        let message = uri(&[], &[("uri", source.as_bytes())]).unwrap_err();
        assert!(message.contains("because its scheme is not that of a supported engine"), "{message}");
        assert!(!message.contains("test-1"), "{message}");
    }
}

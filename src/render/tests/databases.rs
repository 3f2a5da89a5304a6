//! The database formats and the fields that they read from a Secret.

use super::*;

#[test]
fn a_password_file_has_no_wildcard_from_a_field_and_an_option_file_needs_no_host() {
    let files = render(&[("db.format", "pgpass"), ("db.set", "username=*")], &[("password", b"p")]);
    assert!(files.unwrap_err().contains("field username contains nothing but *"));
    let files = render(&[("db.format", "mycnf"), ("db.set", "port=3307")], &[("password", b"p")]).unwrap();
    assert_eq!(files.into_values().next().unwrap(), b"[client]\nport=\"3307\"\npassword=\"p\"\n");
}

/// Renders a connection with a password in this format.
fn connect(format: &str, engine: &str, password: &str) -> Result<String, String> {
    let mut annotations = vec![("db.format", format)];
    annotations.extend((!engine.is_empty()).then_some(("db.engine", engine)));
    let secret = [("host", &b"h"[..]), ("password", password.as_bytes())];
    let files = render(&annotations, &secret)?;
    Ok(String::from_utf8(files.into_values().next().unwrap()).unwrap())
}

#[test]
fn lines_that_the_reader_would_truncate_are_rejected() {
    // The lengths subtract `password=`, and in an option file two quotes as well.
    for (format, longest, said) in [
        ("pgservice", 1021 - 9, "more than about 1000 bytes"),
        ("mycnf", 4094 - 11, "more than about 4000 bytes"),
    ] {
        assert!(connect(format, "", &"a".repeat(longest)).is_ok(), "{format}");
        let message = connect(format, "", &"a".repeat(longest + 1)).unwrap_err();
        assert!(message.contains(&format!("field password contains {said}")), "{message}");
    }
    assert!(connect("mycnf", "", &"\\".repeat(2042)).is_err(), "the limit limit on the escaped line");
}

#[test]
fn an_engine_that_a_format_does_not_support_is_reported_with_formats_that_do() {
    let message = connect("jdbc", "redis", "a").unwrap_err();
    let expected = "format jdbc does not support engine redis: use format uri, or one that writes each field separately, such as env or json";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn values_for_mariadbs_jdbc_driver_are_not_percent_encoded() {
    let url = "jdbc:mariadb://h:3306/?password= é%41+#?/=\"";
    assert_eq!(connect("jdbc", "mariadb", " é%41+#?/=\"").unwrap(), url);
    let message = connect("jdbc", "mariadb", "a&b").unwrap_err();
    assert!(message.contains("the value of field password contains an ampersand"), "{message}");
    assert_eq!(connect("jdbc", "mysql", "a&b").unwrap(), "jdbc:mysql://h:3306/?password=a%26b");

    let annotations = [("db.format", "jdbc"), ("db.engine", "mariadb")];
    let message = render(&annotations, &[("host", b"h"), ("database", b"a?b")]).unwrap_err();
    assert!(message.contains("the value of field database contains a question mark"), "{message}");
}

#[test]
fn a_database_that_is_a_dot_segment_is_rejected_in_uris() {
    let database = |name: &str, engine: &str| {
        let annotations = [("db.format", "uri"), ("db.engine", engine)];
        render(&annotations, &[("host", b"h"), ("user", b"app"), ("database", name.as_bytes())])
    };
    for name in [".", ".."] {
        let message = database(name, "postgresql").unwrap_err();
        assert!(message.contains("the value of field database contains dots alone"), "{message}");
        assert!(database(name, "sqlserver").is_ok(), "its the database has a parameter");
    }
    assert!(database("...", "postgresql").is_ok());
}

/// A connection whose password needs escaping must format.
const CONNECTION: &[(&str, &[u8])] = &[
    ("username", b"app user"),
    ("password", b"p@ss:w/or'd\\"),
    ("host", b"db.prod.svc"),
    ("port", b"6000"),
    ("dbname", b"my/db"),
];

#[test]
fn each_database_format_writes_its_documented_example() {
    for (format, engine, expected) in [
        (
            "uri",
            "postgresql",
            "postgresql://app%20user:p%40ss%3Aw%2For%27d%5C@db.prod.svc:6000/my%2Fdb?sslmode=verify-full",
        ),
        (
            "uri",
            "mysql",
            "mysql://app%20user:p%40ss%3Aw%2For%27d%5C@db.prod.svc:6000/my%2Fdb?sslmode=verify-full",
        ),
        (
            "uri",
            "mongodb+srv",
            "mongodb+srv://app%20user:p%40ss%3Aw%2For%27d%5C@db.prod.svc/my%2Fdb?sslmode=verify-full",
        ),
        (
            "uri",
            "sqlserver",
            "sqlserver://app%20user:p%40ss%3Aw%2For%27d%5C@db.prod.svc:6000?database=my%2Fdb&sslmode=verify-full",
        ),
        (
            "jdbc",
            "postgresql",
            "jdbc:postgresql://db.prod.svc:6000/my%2Fdb?user=app%20user&password=p%40ss%3Aw%2For%27d%5C&sslmode=verify-full",
        ),
        (
            "jdbc",
            "sqlserver",
            "jdbc:sqlserver://db.prod.svc:6000;databaseName={my/db};user={app user};password={p@ss:w/or'd\\};sslmode={verify-full}",
        ),
        (
            "libpq",
            "",
            "host='db.prod.svc' port='6000' dbname='my/db' user='app user' password='p@ss:w/or\\'d\\\\' sslmode='verify-full'",
        ),
        ("pgpass", "", "db.prod.svc:6000:my/db:app user:p@ss\\:w/or'd\\\\\n"),
        (
            "pgservice",
            "",
            "[db]\nhost=db.prod.svc\nport=6000\ndbname=my/db\nuser=app user\npassword=p@ss:w/or'd\\\nsslmode=verify-full\n",
        ),
        (
            "mycnf",
            "",
            "[client]\nhost=\"db.prod.svc\"\nport=\"6000\"\nuser=\"app user\"\npassword=\"p@ss:w/or'd\\\\\"\nsslmode=\"verify-full\"\n\n[mysql]\ndatabase=\"my/db\"\n",
        ),
    ] {
        let mut annotations = vec![("db.format", format), ("db.set", "sslmode=verify-full")];
        if !engine.is_empty() {
            annotations.push(("db.engine", engine));
        }
        let files = render(&annotations, CONNECTION).unwrap();
        assert_eq!(files.into_values().next().unwrap(), expected.as_bytes(), "{format} of {engine}");
    }
}

/// Renders a URI for an engine from these fields, which `.keys` lists, so that it needs no login.
fn uri(engine: &str, fields: &[(&str, &[u8])]) -> Result<String, String> {
    let keys = fields.iter().map(|(field, _)| *field).collect::<Vec<_>>().join(",");
    let files = render(&[("db.format", "uri"), ("db.engine", engine), ("db.keys", &keys)], fields)?;
    Ok(String::from_utf8(files.into_values().next().unwrap()).unwrap())
}

#[test]
fn hosts_may_be_addresses_lists_and_sockets_if_the_engine_supports_them() {
    for (engine, host, expected) in [
        ("postgresql", "::1", "postgresql://[::1]:5432"),
        ("postgresql", "[fe80::1]:6000", "postgresql://[fe80::1]:6000"),
        ("postgresql", "a,b:6000", "postgresql://a:5432,b:6000"),
        ("postgresql", "/run/postgresql", "postgresql://?host=%2Frun%2Fpostgresql"),
        ("mysql", "/run/mysqld.sock", "mysql://%2Frun%2Fmysqld.sock"),
        ("mongodb", "a:1,b:2,c", "mongodb://a:1,b:2,c:27017/"),
        ("mongodb", "/tmp/mongodb.sock", "mongodb://%2Ftmp%2Fmongodb.sock/"),
        ("redis", "10.0.0.7", "redis://10.0.0.7:6379"),
        ("amqps", "mq", "amqps://mq:5671"),
        ("clickhouse", "ch", "clickhouse://ch:9000"),
        ("cassandra", "a,b", "cassandra://a:9042,b:9042"),
    ] {
        assert_eq!(uri(engine, &[("host", host.as_bytes())]).as_deref(), Ok(expected));
    }
    for (engine, host, part) in [
        ("redis", "a,b", "only one host"),
        ("redis", "/run/redis.sock", "Unix socket path"),
        ("postgresql", "a b", "field host is not a host name"),
        ("postgresql", "a:0", "field host is not a host with a port"),
        ("postgresql", "a:+1", "field host is not a host with a port"),
        ("postgresql", "user@evil", "field host is not a host name"),
        ("postgresql", "test-host\u{e9}", "field host is not a host name"),
        ("postgresql", "a,,b", "field host is not a host name"),
        ("oracle", "a", "format uri does not support engine oracle: use format jdbc, or one that"),
    ] {
        let message = uri(engine, &[("host", host.as_bytes())]).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-host"), "{host}: {message}");
    }
}

#[test]
fn fields_are_found_under_their_usual_names_and_empty_ones_are_ignored() {
    let fields: &[(&str, &[u8])] =
        &[("user", b"u"), ("pass", b"p"), ("endpoint", b"h"), ("db", b"d"), ("port", b"")];
    assert_eq!(uri("mariadb", fields).as_deref(), Ok("mariadb://u:p@h:3306/d"));
    assert_eq!(
        uri("redis", &[("password", b"p"), ("host", b"h")]).as_deref(),
        Ok("redis://default:p@h:6379")
    );
    let message = uri("mariadb", &[("user", b"u"), ("hostess", b"h")]).unwrap_err();
    assert!(
        message.ends_with("missing field host (also read from: hostname, endpoint): map it in .keys beside the other keys, as in host=<its key>, or write it in .set; available: hostess, user"),
        "{message}"
    );
    let secret: &[(&str, &[u8])] = &[("host", b"h"), ("type", b"postgres"), ("user", b"u")];
    assert_eq!(render(&[("db.format", "uri")], secret).unwrap()["db.uri"], b"postgresql://u@h:5432");
    for (fields, part) in [
        (&[("host", &b"h"[..])][..], "add .engine"),
        (&[("host", b"h"), ("type", b"test-engine")], "field type is not a supported engine: add .engine"),
    ] {
        let message = render(&[("db.format", "uri")], fields).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-"), "{message}");
    }
}

#[test]
fn options_are_in_the_order_of_the_annotations_then_of_the_field_options() {
    let options = &b"?connect_timeout=10&application%5Fname=a%20b"[..];
    let fields = &[("host", &b"h"[..]), ("user", b"u"), ("options", options), ("other", b"no")];
    let files = render(
        &[
            ("db.format", "uri"),
            ("db.engine", "postgresql"),
            ("db.set", "sslmode=require, channel_binding=\"a&b\""),
        ],
        fields,
    );
    assert_eq!(
        files.unwrap().into_values().next().unwrap(),
        b"postgresql://u@h:5432?sslmode=require&channel_binding=a%26b&connect_timeout=10&application_name=a%20b"
    );
    for options in ["a", "a=%zz", "=b", "sslmode=1&sslmode=2"] {
        let message = uri("postgresql", &[("host", b"h"), ("options", options.as_bytes())]).unwrap_err();
        assert!(message.contains("field options is not options as in a URI"), "{options}: {message}");
    }
}

#[test]
fn entries_are_merged_in_order_of_name_into_a_file_for_the_owner() {
    let both = credentials(&[
        ("b.secret", "s"),
        ("b.format", "pgpass"),
        ("b.path", "pgpass"),
        ("a.secret", "s"),
        ("a.format", "pgpass"),
        ("a.path", "pgpass"),
        ("a.set", "host=first"),
    ]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[("password", b"p")])))]);
    let bundle = bundle(&both, &sources).unwrap();
    let (path, file) = bundle.iter().next().unwrap();
    assert_eq!((bundle.len(), path.to_string().as_str()), (1, "pgpass"));
    assert_eq!(file.content.expose(), b"first:*:*:*:p\n*:*:*:*:p\n");
    assert_eq!(file.mode.unwrap().bits(), 0o600);
}

#[test]
fn values_that_a_format_for_databases_cannot_represent_are_errors() {
    for (format, password, part) in [
        ("pgpass", "test-\n", "field password ends with a line break"),
        ("pgservice", "test- ", "field password contains white space at its end"),
        ("pgservice", "test-\nx", "field password contains a line break"),
        ("pgservice", &"test-".repeat(300), "field password contains more than about 1000 bytes"),
        ("libpq", "test-\0", "field password is binary"),
        ("mycnf", "test-\0", "field password is binary"),
    ] {
        let message = render(&[("db.format", format)], &[("password", password.as_bytes())]).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-"), "{format}: {message}");
    }
    let oracle = [("db.format", "jdbc"), ("db.engine", "oracle")];
    let message = render(&oracle, &[("host", b"h"), ("password", b"a\"b")]).unwrap_err();
    assert!(message.contains("field password contains a double quote"), "{message}");
    let message = render(&[("db.format", "pgpass")], &[("host", b"h")]).unwrap_err();
    assert!(message.contains("missing field password (also read from: pass)"), "{message}");
}

#[test]
fn a_connection_string_can_be_the_value_of_variables() {
    let annotations =
        [("db.format", "uri"), ("db.engine", "postgresql"), ("db.variable", "DATABASE_URL, URL")];
    let files = render(&annotations, &[("host", b"h"), ("user", b"app"), ("pass", b"it's")]).unwrap();
    let (path, content) = files.into_iter().next().unwrap();
    assert_eq!(path, "db.env");
    let uri = "postgresql://app:it%27s@h:5432";
    let expected = format!("export DATABASE_URL='{uri}'\nexport URL='{uri}'\n");
    assert_eq!(String::from_utf8(content).unwrap(), expected);
}

//! Connections whose Secret has no field that is known as the user or the password.

use super::*;

const FORMATS: [&str; 7] = ["uri", "jdbc", "adonet", "libpq", "pgservice", "mycnf", "pgpass"];
const POSTGRES: &[(&str, &[u8])] =
    &[("POSTGRES_USER", b"app"), ("POSTGRES_PASSWORD", b"test-1"), ("POSTGRES_DB", b"orders")];

fn connection<'a>(format: &'a str, annotations: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("db.secret", "s"), ("db.format", format), ("db.engine", "postgresql")], annotations].concat()
}

/// The warnings about a credential `db` of the Secret `s`.
fn warnings(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Vec<String> {
    let credentials = credentials(annotations);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    assert!(rendered.notices.iter().all(Notice::is_suspicious));
    rendered.notices.iter().map(ToString::to_string).collect()
}

#[test]
fn a_connection_of_all_keys_of_a_secret_needs_a_user_or_a_password() {
    for format in FORMATS.into_iter().filter(|format| *format != "pgpass") {
        let annotations = connection(format, &[("db.set", "host=h")]);
        assert_eq!(
            render(&annotations, POSTGRES).unwrap_err(),
            "credential db: missing fields username (also read from: user) and password (also read from: pass): map them in .keys beside the other keys, as in username=POSTGRES_USER, password=POSTGRES_PASSWORD; if the server needs no login, list only the other keys; available: POSTGRES_DB, POSTGRES_PASSWORD, POSTGRES_USER, host",
            "{format}"
        );
        let empty: &[(&str, &[u8])] = &[("username", b""), ("password", b"")];
        assert!(render(&annotations, empty).unwrap_err().contains("missing fields username"), "{format}");
    }
    let message = render(&connection("uri", &[]), POSTGRES).unwrap_err();
    assert!(
        message.contains("missing field host") && message.contains("missing fields username"),
        "{message}"
    );
}

#[test]
fn a_missing_login_is_incomplete_input() {
    let credentials = credentials(&connection("libpq", &[]));
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&[("host", b"h")])))]);
    assert!(bundle(&credentials, &sources).unwrap_err().are_incomplete_input(&credentials));
}

#[test]
fn connections_without_a_login_can_be_written() {
    for format in FORMATS.into_iter().filter(|format| *format != "pgpass") {
        let host: &[(&str, &[u8])] = &[("host", b"h")];
        assert!(render(&connection(format, &[("db.keys", "host")]), host).is_ok(), "{format}: listed keys");
        let url: &[(&str, &[u8])] = &[("uri", b"postgresql://h/d")];
        assert!(render(&connection(format, &[]), url).is_ok(), "{format}: a URL without user information");
        let of_a_configmap =
            credentials(&[("db.configmap", "c"), ("db.format", format), ("db.engine", "mysql")]);
        let sources = Sources::from([(object(Kind::ConfigMap, "c"), Some(data(host)))]);
        assert!(bundle(&of_a_configmap, &sources).is_ok(), "{format}: a ConfigMap");
    }
    let mongodb: &[(&str, &[u8])] = &[("connectionString.standard", b"mongodb://a,b/?replicaSet=rs0")];
    assert!(render(&[("db.format", "uri")], mongodb).is_ok());
}

#[test]
fn half_a_login_is_warned_of() {
    let host = ("db.set", "host=h");
    for format in FORMATS {
        let secret: &[(&str, &[u8])] = &[("DB_USER", b"app"), ("password", b"p")];
        let said = warnings(&connection(format, &[host]), secret);
        if format == "pgpass" {
            assert_eq!(said, [""; 0], "the client names the user");
            continue;
        }
        assert_eq!(
            said,
            [
                "credential db: writing the connection without a username: missing field username (also read from: user); map it in .keys beside the other keys, as in username=DB_USER; if the login needs none, list only the other keys; available: DB_USER, host, password"
            ],
            "{format}"
        );
        let said = warnings(&connection(format, &[host]), &[("username", b"app"), ("x", b"1")]);
        assert_eq!(said.len(), 1, "{format}");
        assert!(said[0].contains("without a password: missing field password"), "{}", said[0]);
        assert!(said[0].contains("as in password=<its key>;"), "{}", said[0]);
        let listed = connection(format, &[host, ("db.keys", "username")]);
        assert_eq!(warnings(&listed, &[("username", b"app")]), [""; 0], "{format}");
    }
    for engine in ["redis", "rediss"] {
        let annotations = [("db.secret", "s"), ("db.format", "uri"), ("db.engine", engine), host];
        assert_eq!(warnings(&annotations, &[("password", b"p")]), [""; 0], "Redis has a default user");
    }
}

#[test]
fn a_message_about_a_missing_part_names_the_key_that_seems_to_contain_it() {
    let aliased = [("db.secret", "db=s"), ("db.format", "uri"), ("db.engine", "mysql")];
    let secret: &[(&str, &[u8])] = &[("host", b"h"), ("username", b"app"), ("password", b"p")];
    let credentials = credentials(&aliased);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let message = bundle(&credentials, &sources).unwrap_err().to_string();
    for entry in
        ["as in host=db.host, or write it in .set;", "as in username=db.username, password=db.password;"]
    {
        assert!(message.contains(entry), "{message}");
    }
    // Of two, podcreds chooses none.
    let secret: &[(&str, &[u8])] = &[("username", b"app"), ("a-host", b"a"), ("b-host", b"b")];
    let message = render(&connection("uri", &[]), secret).unwrap_err();
    assert!(message.contains("as in host=<its key>, or"), "{message}");
}

#[test]
fn a_line_break_at_the_end_of_a_value_has_its_own_remedy() {
    let remedy = "field password ends with a line break, which this format cannot represent: add .trim: \"true\", which removes it";
    for (format, engine) in [("pgpass", "postgresql"), ("pgservice", "postgresql"), ("jdbc", "oracle")] {
        let annotations = [("db.format", format), ("db.engine", engine), ("db.set", "username=app, host=h")];
        for password in [&b"test-1\n"[..], b"test-1\r\n"] {
            let message = render(&annotations, &[("password", password)]).unwrap_err();
            assert!(message.ends_with(remedy), "{format}: {message}");
            let trimmed = [&annotations[..], &[("db.trim", "true")]].concat();
            assert!(render(&trimmed, &[("password", password)]).is_ok(), "{format}");
        }
    }
    let annotations = [("db.format", "pgpass")];
    for password in [&b"test-1\n\n"[..], b"test\n1\n", b"test-1\r"] {
        let message = render(&annotations, &[("password", password)]).unwrap_err();
        assert!(message.contains("field password contains a line break"), "{message}");
    }
    let options = [("db.format", "pgservice"), ("db.keys", "username, password, sslmode")];
    let secret: &[(&str, &[u8])] = &[("username", b"app"), ("password", b"p"), ("sslmode", b"require\n")];
    let message = render(&options, secret).unwrap_err();
    assert!(message.contains("field sslmode ends with a line break"), "{message}");
    let template = [("db.template", "{{ password | userlist }}")];
    let message = render(&template, &[("password", b"test-1\n")]).unwrap_err();
    let expected = "the value ends with a line break, which userlist cannot represent: add .trim: \"true\", which removes it";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn a_variable_that_only_env_can_represent_has_its_own_remedy() {
    let annotations = |format| {
        [
            ("db.format", "adonet"),
            ("db.engine", "postgresql"),
            ("db.variable", "ConnectionStrings__Default"),
            ("db.variable-format", format),
        ]
    };
    let secret: &[(&str, &[u8])] = &[("username", b"app"), ("host", b"h"), ("password", b"it's \"1\"")];
    let remedy = "set .variable-format: env, and start the application with podcreds exec";
    for (format, problem) in [
        ("dotenv", "contains a single quote together with"),
        ("envfile", "contains a single quote, which the kubelet reads"),
    ] {
        let message = render(&annotations(format), secret).unwrap_err();
        let start = format!("credential db: the value of variable ConnectionStrings__Default {problem}");
        assert!(message.starts_with(&start) && message.ends_with(remedy), "{message}");
    }
    assert!(render(&annotations("env"), secret).is_ok());
    let large = "a".repeat(70_000);
    let secret: &[(&str, &[u8])] = &[("username", b"app"), ("host", b"h"), ("password", large.as_bytes())];
    let message = render(&annotations("envfile"), secret).unwrap_err();
    assert!(message.ends_with("remove .variable, and read the file"), "{message}");
}

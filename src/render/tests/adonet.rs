//! Connection strings of .NET.

use proptest::prelude::*;

use super::*;

fn adonet(engine: &str, secret: &[(&str, &[u8])]) -> Result<String, String> {
    set(engine, "sslmode=verify-full", secret)
}

fn set(engine: &str, set: &str, secret: &[(&str, &[u8])]) -> Result<String, String> {
    let annotations = [("db.format", "adonet"), ("db.engine", engine), ("db.set", set)];
    let files = render(&annotations, secret)?;
    Ok(String::from_utf8(files["db.adonet"].clone()).unwrap())
}

const CONNECTION: &[(&str, &[u8])] = &[
    ("username", b"app user"),
    ("password", b"a\"b;Host=evil.example'"),
    ("host", b"db.prod.svc"),
    ("dbname", b"my=db"),
];

#[test]
fn each_driver_has_its_own_keywords() {
    for (engine, expected) in [
        (
            "postgresql",
            r#"Host="db.prod.svc";Port="5432";Database="my=db";Username="app user";Password="a""b;Host=evil.example'";sslmode="VerifyFull""#,
        ),
        (
            "mysql",
            r#"Server="db.prod.svc";Port="3306";Database="my=db";User ID="app user";Password="a""b;Host=evil.example'";sslmode="VerifyFull""#,
        ),
        (
            "sqlserver",
            r#"Data Source="db.prod.svc,1433";Initial Catalog="my=db";User ID="app user";Password="a""b;Host=evil.example'";sslmode="verify-full""#,
        ),
    ] {
        assert_eq!(adonet(engine, CONNECTION).unwrap(), expected, "{engine}");
    }
    assert_eq!(adonet("mariadb", CONNECTION), adonet("mysql", CONNECTION));
}

#[test]
fn other_engines_are_refused() {
    for engine in ["mongodb", "redis", "amqp", "oracle", "clickhouse"] {
        let message = adonet(engine, &[("host", b"h")]).unwrap_err();
        let part = format!("format adonet does not support engine {engine}: use format uri, or one that");
        assert!(message.contains(&part), "{message}");
    }
    let message = render(&[("db.format", "adonet")], &[("host", b"h")]).unwrap_err();
    assert!(message.contains("missing database engine"), "{message}");
    let message = adonet("mysql", &[("password", b"p")]).unwrap_err();
    assert!(message.contains("missing field host"), "{message}");
    let message = adonet("mysql", &[("host", b"h"), ("password", b"a\0b")]).unwrap_err();
    assert!(message.contains("field password is binary") && !message.contains("a\0b"), "{message}");
}

#[test]
fn hosts_are_written_as_each_driver_splits_them() {
    for (engine, host, expected) in [
        ("postgresql", "h:6000", r#"Host="h";Port="6000""#),
        ("postgresql", "::1", r#"Host="::1";Port="5432""#),
        ("postgresql", "a:1,b,[::1]:2", r#"Host="a:1,b:5432,[::1]:2""#),
        ("postgresql", "/run/postgresql", r#"Host="/run/postgresql";Port="5432""#),
        ("postgresql", "/cloudsql/a:b:c", r#"Host="/cloudsql/a:b:c";Port="5432""#),
        ("postgresql", "/run/a\";Host=b", r#"Host="/run/a"";Host=b";Port="5432""#),
        ("mysql", "h:3307", r#"Server="h";Port="3307""#),
        ("sqlserver", "h:1434", r#"Data Source="h,1434""#),
        ("sqlserver", "[::1]:1434", r#"Data Source="::1,1434""#),
    ] {
        let secret = [("host", host.as_bytes()), ("password", b"p")];
        let written = set(engine, "application_name=a", &secret).unwrap();
        assert!(written.starts_with(&format!("{expected};Password=\"p\";")), "{engine}, {host}: {written}");
    }
    for (engine, host, part) in [
        ("postgresql", "/run/a,/run/b", "supports only one host"),
        ("postgresql", "/run/a,b", "supports only one host"),
        ("postgresql", "/run/a:1", "option \"host\" contains a single colon"),
        ("mysql", "a,b", "supports only one host"),
        (
            "mysql",
            "/run/mysqld.sock",
            "Unix socket path, which this format does not support for engine mysql",
        ),
        ("sqlserver", "a,b", "supports only one host"),
        ("sqlserver", "/run/a", "Unix socket path"),
    ] {
        let message = adonet(engine, &[("host", host.as_bytes())]).unwrap_err();
        assert!(message.contains(part), "{engine}, {host}: {message}");
    }
}

#[test]
fn options_have_the_keywords_and_values_of_the_driver() {
    for (engine, options, expected) in [
        ("postgresql", "sslmode=require", "sslmode=\"Require\""),
        ("postgresql", "SSL%20Mode=verify-ca", "SSL Mode=\"VerifyCA\""),
        ("postgresql", "sslmode=%22;x=1", "sslmode=\"\"\";x=1\""),
        ("postgresql", "sslrootcert=/ca.crt", "Root Certificate=\"/ca.crt\""),
        ("postgresql", "target_session_attrs=any", "Target Session Attributes=\"any\""),
        ("postgresql", "connect_timeout=5", "Timeout=\"5\""),
        ("postgresql", "application_name=a%3Bb", "applicationname=\"a;b\""),
        ("postgresql", "options=-c%20search_path%3Dapp", "options=\"-c search_path=app\""),
        ("postgresql", "Maximum%20Pool%20Size=9", "Maximum Pool Size=\"9\""),
        ("mysql", "ssl-mode=REQUIRED", "sslmode=\"Required\""),
        ("mysql", "sslMode=VERIFY_IDENTITY", "sslMode=\"VerifyFull\""),
        ("mysql", "sslmode=disable", "sslmode=\"None\""),
        ("mariadb", "ssl_ca=/ca.crt", "sslca=\"/ca.crt\""),
        ("mysql", "connectTimeout=5", "Connection Timeout=\"5\""),
        ("mysql", "Allow%20User%20Variables=true", "Allow User Variables=\"true\""),
        ("sqlserver", "app%20name=a", "Application Name=\"a\""),
        ("sqlserver", "connection%20timeout=5", "Connect Timeout=\"5\""),
        ("sqlserver", "trustServerCertificate=true", "trustServerCertificate=\"true\""),
        ("sqlserver", "Encrypt=Strict", "Encrypt=\"Strict\""),
    ] {
        let written = set(engine, "password=p", &[("host", b"h"), ("options", options.as_bytes())]).unwrap();
        assert!(written.ends_with(&format!("\";{expected}")), "{engine}, {options}: {written}");
    }
    for name in ["a.b", "-", "_"] {
        let message = set("postgresql", &format!("{name}=1"), &[("host", b"h")]).unwrap_err();
        let part = format!("\"{name}\" is not a valid option name for this format");
        assert!(message.contains(&part), "{message}");
    }
    let annotations = [
        ("db.format", "adonet"),
        ("db.engine", "sqlserver"),
        ("db.set", "Trusted_Connection=true"),
        ("db.keys", "host"),
    ];
    let files = render(&annotations, &[("host", b"h")]).unwrap();
    let written = str::from_utf8(&files["db.adonet"]).unwrap();
    assert!(written.ends_with(";Trusted_Connection=\"true\""), "{written}");
}

/// Every keyword and synonym of the drivers that names a server, a login, a database, or something that reads, writes or runs:
/// `NpgsqlConnectionStringBuilder`, `MySqlConnectionStringOption`, and `DbConnectionStringKeywords` with
/// `DbConnectionStringSynonyms`. The drivers ignore case.
#[test]
fn options_of_a_source_name_no_other_server_user_or_database() {
    for (engine, keywords) in [
        (
            "postgresql",
            "Host,Server,Port,Database,DB,Username,User Name,UserId,User Id,UID,Password,PSW,PWD,Passfile,\
             Integrated Security,Kerberos Service Name,Include Realm,Persist Security Info,EF Template Database,\
             EF Admin Database,Log Parameters,Include Error Detail",
        ),
        (
            "mysql",
            "Server,Host,Data Source,DataSource,Address,Addr,Network Address,Port,User ID,UserID,Username,Uid,User name,\
             User,Password,pwd,Database,Initial Catalog,Connection Protocol,ConnectionProtocol,Protocol,Pipe Name,\
             PipeName,Pipe,Allow Load Local Infile,AllowLoadLocalInfile,Server Redirection Mode,Server RSA Public Key File,\
             Server SPN,Certificate File,Certificate Store Location,Certificate Thumbprint,Persist Security Info,\
             Plugin,Integrated Security,Kerberos Auth Mode,Default Authentication Plugin,Logging,Interceptors,\
             Command Interceptors,Exception Interceptors,Replication",
        ),
        (
            "sqlserver",
            "Data Source,Server,Addr,Address,Network Address,Net,Network,Network Library,Initial Catalog,Database,\
             AttachDBFilename,Extended Properties,Initial File Name,Failover Partner,Failover Partner SPN,FailoverPartnerSPN,\
             Server SPN,ServerSPN,User ID,UID,User,Password,PWD,Integrated Security,Trusted_Connection,Authentication,\
             Attestation Protocol,Enclave Attestation Url,Context Connection,User Instance,Persist Security Info,\
             Server Certificate,ServerCertificate",
        ),
    ] {
        for keyword in keywords.split(',') {
            for spelling in [
                keyword.to_owned(),
                keyword.to_uppercase(),
                keyword.replace(' ', ""),
                keyword.replace(' ', "_"),
            ] {
                let options = format!("{}=test-1", spelling.replace(' ', "%20"));
                let secret: &[(&str, &[u8])] = &[("host", b"good"), ("options", options.as_bytes())];
                let message = set(engine, "username=ro", secret).expect_err(&spelling);
                let part = "contains an option that only annotations may set";
                assert!(message.contains(part) && !message.contains("test-1"), "{spelling}: {message}");
            }
        }
    }
}

#[test]
fn a_connection_string_is_read_from_a_uri_and_set_as_a_variable() {
    let secret: &[(&str, &[u8])] =
        &[("uri", b"postgresql://app:it%27s%3B@h1:1,h2/orders?sslmode=verify-full&channel_binding=require")];
    let variable = ("db.variable", "ConnectionStrings__Default");
    let files = render(&[("db.format", "adonet"), variable], secret).unwrap();
    assert_eq!(
        str::from_utf8(&files["db.env"]).unwrap(),
        "export ConnectionStrings__Default='Host=\"h1:1,h2:5432\";Database=\"orders\";Username=\"app\";Password=\"it'\\''s;\";\
         sslmode=\"VerifyFull\";channelbinding=\"require\"'\n"
    );
    let all = credentials(&[("db.secret", "s"), ("db.format", "adonet")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let shown = hidden(&all, &sources, "hidden").unwrap().into_values().next().unwrap();
    assert_eq!(
        shown.content.expose_text().unwrap(),
        "Host=\"hidden:1,hidden:5432\";Database=\"hidden\";Username=\"hidden\";Password=\"hidden\";hidden=\"hidden\";hidden=\"hidden\""
    );
}

/// Reads `keyword="value";…` by the rules of ADO.NET: inside double quotes, two of them mean one.
fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let (mut pairs, mut rest) = (Vec::new(), text);
    loop {
        let (keyword, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        rest = after;
        loop {
            let (piece, after) = rest.split_once('"')?;
            value.push_str(piece);
            rest = after;
            match rest.strip_prefix('"') {
                Some(after) => rest = after,
                None => break,
            }
            value.push('"');
        }
        pairs.push((keyword.to_owned(), value));
        match rest.strip_prefix(';') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(pairs),
        }
    }
}

proptest! {
    /// No value adds a keyword, or changes another one.
    #[test]
    fn a_connection_string_is_read_back(
        engine in prop::sample::select(vec!["postgresql", "mysql", "sqlserver"]),
        values in prop::array::uniform4("[;=\"' {}a-zé\n]{1,12}"),
    ) {
        let keys = ["username", "password", "database", "charset"];
        let mut secret: Vec<_> = keys.into_iter().zip(values.iter().map(String::as_bytes)).collect();
        secret.push(("host", b"h"));
        let keys = ("db.keys", "host, username, password, database, charset");
        let annotations = [("db.format", "adonet"), ("db.engine", engine), keys];
        let files = render(&annotations, &secret).unwrap();
        let pairs = parse(str::from_utf8(&files["db.adonet"]).unwrap()).unwrap();
        let [username, password, database, option] = values;
        let (host, names) = match engine {
            "postgresql" => (vec![("Host", "h"), ("Port", "5432")], ["Database", "Username"]),
            "mysql" => (vec![("Server", "h"), ("Port", "3306")], ["Database", "User ID"]),
            _ => (vec![("Data Source", "h,1433")], ["Initial Catalog", "User ID"]),
        };
        let rest = [(names[0], &*database), (names[1], &username), ("Password", &password), ("charset", &option)];
        let expected: Vec<_> = host.into_iter().chain(rest).collect();
        let read: Vec<_> = pairs.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str())).collect();
        prop_assert_eq!(read, expected);
    }
}

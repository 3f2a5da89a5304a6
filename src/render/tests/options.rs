//! The options that a source may set, and the messages about a connection that a field does not describe.

use super::*;

/// Renders a connection whose annotations name host and user, and whose Secret has these options.
fn with_options(format: &str, engine: &str, options: &str) -> Result<String, String> {
    let annotations =
        [("db.format", format), ("db.engine", engine), ("db.set", "host=good, username=ro, database=d")];
    let files = render(&annotations, &[("options", options.as_bytes())])?;
    Ok(String::from_utf8(files.into_values().next().unwrap()).unwrap())
}

#[test]
fn options_of_a_source_name_no_other_server_user_or_database_and_load_no_code() {
    for (format, engine, names) in [
        (
            "uri",
            "postgresql",
            "user password host hostaddr port dbname service servicefile passfile sslkeylogfile \
             HOST database oauth_issuer scram_client_key krbsrvname dsn",
        ),
        (
            "libpq",
            "postgresql",
            "user hostaddr service servicefile passfile requirepeer gsslib oauth_client_id",
        ),
        ("pgservice", "mysql", "user hostaddr service servicefile passfile ssl_ca_file"),
        (
            "jdbc",
            "postgresql",
            "PGHOST PGPORT PGDBNAME pghost user socketFactory socketFactoryArg sslfactory sslhostnameverifier \
             sslpasswordcallback authenticationPluginClassName xmlFactoryFactory loggerFile jaasApplicationName \
             localSocketAddress service",
        ),
        (
            "mycnf",
            "mysql",
            "loose-host loose_host hos h use proto protocol plugin-dir plugin_dir plugin-d default-auth \
             init-command init_command init-command-add pager tee execute local-infile loose-plugin-dir dns-srv-name \
             password1 socket database enable-local-infile character-sets-dir load-data-local-dir login-path",
        ),
        (
            "jdbc",
            "mysql",
            "socketFactory queryInterceptors exceptionInterceptors connectionLifecycleInterceptors \
             propertiesTransform authenticationPlugins defaultAuthenticationPlugin useConfigs \
             allowLoadLocalInfile allowUrlInLocalInfile trustCertificateKeyStoreUrl socksProxyHost dnsSrv \
             ociConfigFile sessionVariables password2 profilerEventHandler logger namedPipePath address dbname",
        ),
        (
            "jdbc",
            "mariadb",
            "localSocket pipe socketFactory credentialType tlsSocketType initSql sessionVariables keyStore \
             serverRsaPublicKeyFile address",
        ),
        (
            "jdbc",
            "sqlserver",
            "server serverName user userName database databaseName port portNumber failoverPartner instanceName domain \
             domainName socketFactoryClass trustManagerClass accessTokenCallbackClass authentication \
             enclaveAttestationUrl keyVaultProviderClientId uid pwd",
        ),
        ("uri", "sqlserver", "server user%20id failoverpartner odbc_connect driver database"),
        ("uri", "mysql", "host socketPath unix_socket read_default_file init_command passwd db plugin_dir"),
        ("uri", "mongodb", "proxyHost proxyUsername authMechanismProperties srvServiceName"),
        ("uri", "redis", "host path unix_socket_path db username credential_provider"),
        ("uri", "amqp", "host vhost server_name_indication"),
        ("uri", "clickhouse", "host database username http_proxy"),
        ("uri", "cassandra", "keyspace"),
        ("jdbc", "oracle", "TNS_ADMIN https_proxy wallet_location oracle.net.tns_admin"),
    ] {
        for name in names.split_ascii_whitespace() {
            let message = with_options(format, engine, &format!("{name}=test-1")).expect_err(name);
            let said = "credential db: field options (or the query of the URI) contains an option that only annotations may set";
            assert!(message.starts_with(said), "{format}, {name}: {message}");
            assert!(!message.contains("test-1"), "{format}, {name}: {message}");
        }
    }
}

#[test]
fn options_of_a_source_are_compared_as_their_clients_compare_them() {
    for (format, engine, options) in [
        ("uri", "postgresql", "sslmode=require&connect_timeout=5&application_name=a"),
        ("uri", "postgresql", "schema=public&connection_limit=5&pgbouncer=true"),
        ("jdbc", "postgresql", "ApplicationName=a&currentSchema=b&targetServerType=primary"),
        ("libpq", "mysql", "target_session_attrs=read-write&options=-c%20search_path%3Dapp"),
        ("mycnf", "postgresql", "ssl-ca=/ca&ssl_mode=REQUIRED&ssl-verify-server-cert=1"),
        (
            "jdbc",
            "mysql",
            "useSSL=true&serverTimezone=UTC&allowPublicKeyRetrieval=true&rewriteBatchedStatements=true",
        ),
        ("jdbc", "sqlserver", "encrypt=true&trustServerCertificate=false&hostNameInCertificate=h"),
        ("uri", "sqlserver", "app%20name=a&encrypt=true"),
        ("uri", "mongodb", "replicaSet=rs0&authSource=admin&tls=true&retryWrites=true&w=majority"),
        ("uri", "rediss", "ssl_cert_reqs=required&protocol=3"),
        ("uri", "amqps", "heartbeat=30&verify=verify_peer"),
    ] {
        with_options(format, engine, options).unwrap_or_else(|message| panic!("{format}: {message}"));
    }
    // The annotations have decided already.
    for options in ["sslMode=disable", "SSLMODE=disable", "ssl-mode=disable"] {
        let annotations =
            [("db.format", "jdbc"), ("db.engine", "mysql"), ("db.set", "host=h, sslMode=VERIFY_CA")];
        let message = render(&annotations, &[("options", options.as_bytes())]).unwrap_err();
        assert!(message.contains("field options is not options as in a URI"), "{options}: {message}");
        let uri = format!("mysql://h/d?{options}");
        let annotations = [("db.format", "jdbc"), ("db.set", "sslMode=VERIFY_CA")];
        let files = render(&annotations, &[("uri", uri.as_bytes())]).unwrap();
        assert_eq!(files["db.jdbc"], b"jdbc:mysql://h:3306/d?sslMode=VERIFY_CA");
    }
}

#[test]
fn the_connection_strings_of_common_providers_and_frameworks_are_read() {
    for uri in [
        // Neon, Supabase with Prisma and as Vercel's integration writes it, Heroku, Aiven, CockroachDB.
        "postgresql://u:p@ep-cool-1-pooler.aws.neon.tech/db?sslmode=require&channel_binding=require",
        "postgresql://u:p@ep-cool-1.aws.neon.tech/db?sslmode=require&options=endpoint%3Dep-cool-1",
        "postgres://u:p@pooler.supabase.com:6543/db?pgbouncer=true&connection_limit=1&connect_timeout=15",
        "postgres://u:p@pooler.supabase.com:6543/db?sslmode=require&supa=base-pooler.x",
        "postgres://u:p@pooler.supabase.com:6543/db?workaround=supabase-pooler.vercel",
        "postgres://u:p@ec2.amazonaws.com:5432/db?sslmode=require",
        "postgres://u:p@pg.aivencloud.com:1/defaultdb?sslmode=require",
        "postgresql://u:p@c.cockroachlabs.cloud:26257/db?sslmode=verify-full&options=--cluster%3Dc-1",
        // Symfony, node-postgres, SQLAlchemy with asyncpg, pgx, Prisma, Django, lib/pq.
        "postgresql://u:p@h:5432/app?serverVersion=16&charset=utf8",
        "postgresql://u:p@h/db?uselibpqcompat=true&sslmode=require",
        "postgresql://u:p@h/db?ssl=require&prepared_statement_cache_size=0&command_timeout=5",
        "postgresql://u:p@h/db?pool_max_conns=10&pool_min_idle_conns=1&pool_max_conn_lifetime_jitter=1m",
        "postgresql://u:p@h/db?search_path=app&statement_timeout=5000&jit=off&work_mem=64MB",
        "postgresql://u:p@h/db?schema=public&max_connection_lifetime=60&single_use_connections=true",
        "postgresql://u:p@h/db?conn_max_age=600&conn_health_checks=true&disable_server_side_cursors=true",
        "postgresql://u:p@h/db?sslmode=verify-full&sslinline=true&disable_prepared_binary_result=yes",
        // PlanetScale, Aiven, TiDB Cloud, Symfony, Connector/J, MariaDB's driver, dbmate, mysql2.
        "mysql://u:p@aws.connect.psdb.cloud/db?sslaccept=strict",
        "mysql://u:p@mysql.aivencloud.com:1/defaultdb?ssl-mode=REQUIRED",
        "mysql://u:p@tidbcloud.com:4000/d?ssl_ca=/ca.pem&ssl_verify_cert=true&ssl_verify_identity=true",
        "mysql://u:p@h:3306/app?serverVersion=8.0.32&charset=utf8mb4",
        "mysql://u:p@h/d?createDatabaseIfNotExist=true&useSSL=false&characterSetResults=utf8&maxReconnects=3",
        "mariadb://u:p@h/d?trustServerCertificate=true&useMysqlMetadata=true&permitMysqlScheme=true",
        "mysql://u:p@h/d?parseTime=true&interpolateParams=true&tls=skip-verify",
        "mysql://u:p@h/d?maxIdle=5&keepAliveInitialDelay=1000&sql_mode=ANSI&strict=true",
        // Atlas, DocumentDB, Azure Cosmos DB, and what Node and Go add.
        "mongodb+srv://u:p@cluster0.mongodb.net/?retryWrites=true&w=majority&appName=Cluster0",
        "mongodb://u:p@docdb:27017/?tls=true&tlsCAFile=global-bundle.pem&replicaSet=rs0&readPreference=secondaryPreferred&retryWrites=false",
        "mongodb://u:p@n.mongo.cosmos.azure.com:10255/?ssl=true&replicaSet=globaldb&retrywrites=false&maxIdleTimeMS=120000&appName=n",
        "mongodb://u:p@h/d?authSource=admin&useNewUrlParser=true&useUnifiedTopology=true&connect=direct",
        // Redis on Heroku, Railway, with redis-py, go-redis and ioredis.
        "rediss://:p@ec2.amazonaws.com:6380?ssl_cert_reqs=none",
        "redis://default:p@redis.railway.internal:6379?family=0",
        "redis://h:6379/0?socket_timeout=5&max_connections=10&health_check_interval=30&encoding_errors=strict",
        "redis://h:6379/0?pool_size=5&min_retry_backoff=8ms&max_active_conns=10&read_only=true",
        "redis://h:6379?lazyConnect=true&maxRetriesPerRequest=3&keyPrefix=a",
        "amqps://u:p@h/v?heartbeat=30&connection_timeout=5&no_verify_ssl=0",
        "clickhouse://u:p@h:9440/d?secure=true&verify=false&compression=lz4&async_insert=1",
        "sqlserver://u:p@h:1433?database=d&encrypt=true&TrustServerCertificate=true&connection%20timeout=5",
    ] {
        let files = render(&[("db.format", "uri")], &[("uri", uri.as_bytes())]);
        assert!(files.is_ok(), "{uri}: {}", files.unwrap_err());
    }
}

#[test]
fn a_password_file_has_no_options_and_accepts_a_uri_with_any() {
    let secret: &[(&str, &[u8])] = &[("uri", b"postgresql://u:p@h/d?some_option=1")];
    assert_eq!(render(&[("db.format", "pgpass")], secret).unwrap()["db.pgpass"], b"h:*:d:u:p\n");
    assert!(render(&[("db.format", "pgservice")], secret).is_err());
}

#[test]
fn a_client_key_of_a_source_names_no_engine_that_libpq_would_load() {
    assert!(with_options("libpq", "postgresql", "sslkey=/tls/tls.key").is_ok());
    for options in ["sslkey=dynamic:key", "sslkey=engine%3Akey"] {
        assert!(with_options("libpq", "postgresql", options).is_err(), "{options}");
    }
}

#[test]
fn a_part_that_the_annotations_name_takes_precedence_under_each_of_its_names() {
    let secret: &[(&str, &[u8])] =
        &[("host", b"evil"), ("username", b"evil"), ("database", b"evil"), ("password", b"p")];
    for set in ["hostname=h, user=app, dbname=d", "endpoint=h, user=app, db=d"] {
        let annotations = [("db.format", "uri"), ("db.engine", "mysql"), ("db.set", set)];
        assert_eq!(render(&annotations, secret).unwrap()["db.uri"], b"mysql://app:p@h:3306/d");
    }
    let annotations = [("db.format", "libpq"), ("db.set", "hostname=''")];
    assert_eq!(
        render(&annotations, &[("host", b"h"), ("user", b"u")]).unwrap()["db.libpq"],
        b"host='h' user='u'",
        "an empty one is missing"
    );
}

#[test]
fn an_engine_and_a_uri_that_the_annotations_name_take_precedence_under_each_of_their_names() {
    let secret: &[(&str, &[u8])] = &[("engine", b"mongodb"), ("password", b"p")];
    let annotations = [("db.format", "uri"), ("db.set", "host=h, type=mysql")];
    assert_eq!(render(&annotations, secret).unwrap()["db.uri"], b"mysql://:p@h:3306");
    let secret: &[(&str, &[u8])] = &[("uri", b"mongodb://evil/d"), ("password", b"p")];
    let annotations = [("db.format", "uri"), ("db.set", "connection_string=mysql://h/d")];
    assert_eq!(render(&annotations, secret).unwrap()["db.uri"], b"mysql://:p@h:3306/d");
}

#[test]
fn annotations_may_name_any_option() {
    let secret: &[(&str, &[u8])] = &[("host", b"h"), ("username", b"app"), ("plugin-dir", b"/plugins")];
    let annotations = [
        ("db.format", "mycnf"),
        ("db.keys", "host, username, plugin-dir"),
        ("db.set", "init-command='SET time_zone = UTC'"),
    ];
    let files = render(&annotations, secret).unwrap();
    let expected =
        "[client]\nhost=\"h\"\nuser=\"app\"\nplugin-dir=\"/plugins\"\ninit-command=\"SET time_zone = UTC\"\n";
    assert_eq!(str::from_utf8(&files["db.cnf"]).unwrap(), expected);
}

#[test]
fn an_option_that_the_annotations_name_replaces_one_in_a_uri_that_is_not_listed() {
    let uri: &[(&str, &[u8])] = &[("uri", b"postgresql://h/d?some_option=1&sslmode=require")];
    assert!(render(&[("db.format", "uri")], uri).is_err());
    let files = render(&[("db.format", "uri"), ("db.set", "some_option=2")], uri).unwrap();
    assert_eq!(files["db.uri"], b"postgresql://h:5432/d?some_option=2&sslmode=require");
}

#[test]
fn an_option_of_a_uri_is_kept_if_the_key_that_would_replace_it_is_missing() {
    let uri: &[(&str, &[u8])] = &[("uri", b"postgresql://h/d?sslmode=verify-full")];
    let annotations = [("db.format", "uri"), ("db.keys", "uri, sslmode?")];
    let files = render(&annotations, uri).unwrap();
    assert_eq!(files["db.uri"], b"postgresql://h:5432/d?sslmode=verify-full");
    let files = render(&annotations, &[uri, &[("sslmode", b"require")]].concat()).unwrap();
    assert_eq!(files["db.uri"], b"postgresql://h:5432/d?sslmode=require");
}

#[test]
fn the_query_of_a_uri_is_held_to_the_same_list() {
    for uri in [
        "postgresql://u@h/d?PGHOST=evil",
        "postgresql://u@h/d?PGDBNAME=test-1",
        "mysql://h/d?socketFactory=test-1",
    ] {
        let message = render(&[("db.format", "jdbc")], &[("uri", uri.as_bytes())]).unwrap_err();
        assert!(message.contains("(or the query of the URI) contains an option"), "{message}");
        assert!(!message.contains("test-1"), "{message}");
    }
}

#[test]
fn the_parameter_options_of_libpq_has_a_way_of_its_own() {
    for (format, expected) in [
        ("uri", "postgresql://h:5432?options=-c%20search_path%3Dapp"),
        ("jdbc", "jdbc:postgresql://h:5432/?options=-c%20search_path%3Dapp"),
        ("libpq", "host='h' options='-c search_path=app'"),
        ("pgservice", "[db]\nhost=h\noptions=-c search_path=app\n"),
    ] {
        let render = |options: &str| {
            let set = format!("host=h, options='{options}'");
            let annotations = [
                ("db.format", format),
                ("db.engine", "postgresql"),
                ("db.set", &set),
                ("db.keys", "provider"),
            ];
            render(&annotations, &[("provider", b"x")])
        };
        let files = render("options=-c%20search_path%3Dapp").unwrap();
        assert_eq!(String::from_utf8(files.into_values().next().unwrap()).unwrap(), expected);
        for options in ["-c search_path=app", "endpoint=ep-cool-123", "-c search_path"] {
            let message = render(options).unwrap_err();
            assert!(message.contains("libpq's own parameter options"), "{format}: {message}");
            assert!(message.contains("options=-c%20search_path%3Dapp"), "{format}: {message}");
        }
    }
}

#[test]
fn a_port_may_end_with_a_line_break_as_a_host_may() {
    let annotations = [("db.format", "uri"), ("db.engine", "mysql"), ("db.keys", "host, port")];
    let files = render(&annotations, &[("host", b"h\n"), ("port", b"3307\n")]);
    assert_eq!(files.unwrap()["db.uri"], b"mysql://h:3307");
}

#[test]
fn a_message_about_a_host_says_what_to_remove() {
    for (host, part) in [
        ("https://db.test-1.com", "field host is not a host: remove the scheme and `://`"),
        ("tcp:test-1,1433", "field host is not a host with a port from 1 to 65535 after the `:`"),
        ("test-1:5432/", "without a scheme or path"),
        ("test-1/db", "field host is not a host name, an address or an absolute path"),
        ("test-1:0", "field host is not a host with a port from 1 to 65535"),
    ] {
        let message = render(&[("db.format", "uri"), ("db.engine", "mysql")], &[("host", host.as_bytes())])
            .unwrap_err();
        assert!(message.contains(part) && !message.contains("test-1"), "{host}: {message}");
    }
}

#[test]
fn a_message_about_a_missing_part_names_the_field_that_seems_to_have_it() {
    for (format, field, value, part) in [
        (
            "pgpass",
            "uri",
            "sqlite+aiosqlite://app:test-1@h/d",
            "podcreds ignores the URI in field uri, because its scheme",
        ),
        (
            "jdbc",
            "uri",
            "firebird://app:test-1@h/d",
            "podcreds ignores the URI in field uri, because its scheme",
        ),
        (
            "uri",
            "credentials",
            "{ \"password\": \"test-1\" }",
            "field credentials contains JSON: select its values with .keys, as in password=credentials#/password",
        ),
        (
            "pgpass",
            "credentials",
            "{\"password\":\"test-1\"}",
            "field credentials contains JSON: select its values with .keys, as in password=credentials#/password",
        ),
    ] {
        let message = render(&[("db.format", format)], &[(field, value.as_bytes())]).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-1"), "{format}: {message}");
    }
    let message = render(&[("db.format", "pgpass")], &[("uri", b"postgres://h")]).unwrap_err();
    assert!(message.ends_with("available: host, uri") || message.ends_with("available: uri"), "{message}");
}

#[test]
fn a_jdbc_url_for_sql_server_has_an_ipv6_host_as_a_property() {
    let secret: &[(&str, &[u8])] = &[("host", b"::1"), ("port", b"1434"), ("database", b"d")];
    let annotations = [("db.format", "jdbc"), ("db.engine", "sqlserver"), ("db.set", "user=u")];
    let expected = b"jdbc:sqlserver://;serverName=::1;portNumber=1434;databaseName={d};user={u}";
    assert_eq!(render(&annotations, secret).unwrap()["db.jdbc"], expected);
    let expected = b"jdbc:sqlserver://;serverName=::1;portNumber=1433;user={u}";
    assert_eq!(render(&annotations, &[("host", b"[::1]")]).unwrap()["db.jdbc"], expected);
}

#[test]
fn a_jdbc_url_for_mariadb_has_no_description_of_hosts_but_its_own() {
    let parts = [
        ("user", "a address=(b"),
        ("password", "address=(host=evil)"),
        ("database", "address=("),
        ("x", "address=("),
    ];
    for (field, value) in parts.into_iter().chain([("address", "(host=evil)"), ("an.address", "(")]) {
        let annotations =
            [("db.format", "jdbc"), ("db.engine", "mariadb"), ("db.keys", &*format!("host, {field}"))];
        let message = render(&annotations, &[("host", b"h"), (field, value.as_bytes())]).unwrap_err();
        assert!(message.contains(field) && message.contains("contains `address=(`"), "{field}: {message}");
    }
    let annotations = [("db.format", "jdbc"), ("db.engine", "mysql")];
    let files = render(&annotations, &[("host", b"h"), ("password", b"address=(")]).unwrap();
    assert_eq!(files["db.jdbc"], b"jdbc:mysql://h:3306/?password=address%3D%28");
}

#[test]
fn several_hosts_in_a_format_for_one_are_an_error() {
    for (format, engine) in
        [("uri", "amqp"), ("uri", "mysql"), ("uri", "redis"), ("jdbc", "sqlserver"), ("mycnf", "mysql")]
    {
        let message = with_hosts(format, engine).unwrap_err();
        assert!(message.contains("supports only one host for this engine"), "{format}, {engine}: {message}");
    }
    for (format, engine) in [
        ("uri", "postgresql"),
        ("uri", "mongodb"),
        ("uri", "clickhouse"),
        ("uri", "cassandra"),
        ("jdbc", "mariadb"),
    ] {
        assert!(with_hosts(format, engine).unwrap().contains("a:1,b:2"), "{format}, {engine}");
    }
}

fn with_hosts(format: &str, engine: &str) -> Result<String, String> {
    let annotations = [("db.format", format), ("db.engine", engine), ("db.keys", "host")];
    let files = render(&annotations, &[("host", b"a:1,b:2")])?;
    Ok(String::from_utf8(files.into_values().next().unwrap()).unwrap())
}

#[test]
fn the_answer_of_vault_is_a_field_only_if_keys_names_it() {
    let secret: &[(&str, &[u8])] = &[("password", b"p"), ("_raw", b"{\"data\":{\"password\":\"p\"}}")];
    assert_eq!(render(&[], secret).unwrap().into_keys().collect::<Vec<_>>(), ["db/password"]);
    for (format, path, expected) in
        [("env", "db.env", "export password='p'\n"), ("json", "db.json", "{\n  \"password\": \"p\"\n}\n")]
    {
        assert_eq!(render(&[("db.format", format)], secret).unwrap()[path], expected.as_bytes());
    }
    let files = render(&[("db.keys", "password, vault.json=_raw")], secret).unwrap();
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["db/password", "db/vault.json"]);

    let of_a_configmap = credentials(&[("db.configmap", "c")]);
    let sources = Sources::from([(object(Kind::ConfigMap, "c"), Some(data(&[("_raw", b"x")])))]);
    assert_eq!(bundle(&of_a_configmap, &sources).unwrap().len(), 1);
}

//! The options of a source, against the tables and parsers of real clients: no option that podcreds accepts may change the
//! server, the login or the database, or load code. Also reads JDBC URLs with their drivers.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::connections::{OPTION, rejected_by_mariadb};
use super::{Case, Files, PYTHON, TIMEOUT, find, outputs, reader, render, require, run};

/// Names the directory with the jars of `tests/readers/jdbc/pom.xml`.
const DRIVERS: &str = "PODCREDS_TEST_DRIVERS";
/// The address and login that the annotations and the Secret name.
pub(crate) const GOOD: [(&str, &str); 5] =
    [("username", "app"), ("password", "pw"), ("host", "db.prod"), ("port", "1234"), ("database", "orders")];
/// Parts of names that suggest a server, a login, a database, a file, a command or a class.
const SUSPICIOUS: [&str; 52] = [
    "address",
    "auth",
    "callback",
    "catalog",
    "class",
    "command",
    "config",
    "credential",
    "database",
    "dbname",
    "dir",
    "dns",
    "domain",
    "dsn",
    "enclave",
    "endpoint",
    "extension",
    "factory",
    "file",
    "gss",
    "handler",
    "host",
    "init",
    "instance",
    "interceptor",
    "jaas",
    "key",
    "krb",
    "load",
    "log",
    "oauth",
    "pass",
    "path",
    "pipe",
    "plugin",
    "principal",
    "protocol",
    "provider",
    "proxy",
    "pwd",
    "realm",
    "redirect",
    "scram",
    "server",
    "service",
    "session",
    "socket",
    "spn",
    "store",
    "uid",
    "url",
    "user",
];
/// Names with such a part that are harmless: times, numbers, switches, character sets, and files with certificates. In lower
/// case, without `-` and `_`.
const HARMLESS: [&str; 47] = [
    "allowpublickeyretrieval",
    "assumeminserverversion",
    "cacheserverconfiguration",
    "characterencoding",
    "connectexpiredpassword",
    "createdatabaseifnotexist",
    "databasemetadatacachefields",
    "databasemetadatacachefieldsmib",
    "delayloadinglobs",
    "disconnectonexpiredpasswords",
    "enabledsslprotocolsuites",
    "enabledtlsprotocols",
    "forceconnectiontimezonetosession",
    "gssencmode",
    "gssresponsetimeout",
    "hostnameincertificate",
    "hostrecheckseconds",
    "initialtimeout",
    "ipaddresspreference",
    "loadbalancehosts",
    "logintimeout",
    "logservererrordetail",
    "logunclosedconnections",
    "nullcatalogmeanscurrent",
    "nulldatabasemeanscurrent",
    "passwordcharacterencoding",
    "protocolversion",
    "requireauth",
    "secureauth",
    "servertimezone",
    "sockettimeout",
    "sslcapath",
    "sslcrldir",
    "sslcrlpath",
    "sslkey",
    "sslmaxprotocolversion",
    "sslminprotocolversion",
    "sslpassword",
    "sslprotocol",
    "sslverifyservercert",
    "targetservertype",
    "targetsessionattrs",
    "tcpusertimeout",
    "trustservercertificate",
    "uselocalsessionstate",
    "useserverprepstmts",
    "verifyservercertificate",
];

/// Whether podcreds writes a connection with this option from the Secret.
fn render_with_option(format: &str, engine: &str, name: &str) -> Option<Vec<u8>> {
    let options = format!("{name}=1");
    let fields = GOOD.into_iter().chain([("options", options.as_str())]);
    let fields = fields.map(|(field, value)| (field.to_owned(), value.to_owned())).collect();
    let case = Case { name: name.to_owned(), fields };
    render(&[("format", format), ("engine", engine)], &case).ok().map(|(_, content)| content)
}

/// Returns the names that podcreds accepts, after a check that no suspicious name is among them.
pub(crate) fn accepted<'a>(
    format: &str,
    engine: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<String, Vec<u8>> {
    let accepted: BTreeMap<_, _> = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), render_with_option(format, engine, name)?)))
        .collect();
    let is_suspicious = |name: &str| {
        let lower = name.to_lowercase().replace(['-', '_'], "");
        SUSPICIOUS.iter().any(|part| lower.contains(part)) && !HARMLESS.contains(&&*lower)
    };
    let suspicious: Vec<_> = accepted.keys().filter(|name| is_suspicious(name)).collect();
    assert!(suspicious.is_empty(), "{format}, {engine}: {suspicious:?}");
    accepted
}

/// A Java program with the drivers.
fn java() -> Option<Command> {
    let jars = env::var_os(DRIVERS).map(PathBuf::from).filter(|jars| jars.is_dir());
    let jars =
        require(&format!("{DRIVERS} (mvn dependency:copy-dependencies, of tests/readers/jdbc)"), jars)?;
    require("java with its compiler", find("javac"))?;
    let mut class_path = OsString::from(jars);
    class_path.push("/*");
    let mut command = Command::new("java");
    command.arg("-cp").arg(class_path).arg(reader("jdbc/Drivers.java"));
    Some(command)
}

#[test]
fn no_option_of_a_source_changes_what_a_jdbc_driver_connects_to() {
    for engine in ["postgresql", "mysql", "mariadb", "sqlserver"] {
        let Some(mut names) = java() else { return };
        names.args(["names", engine]);
        let names = run(names, TIMEOUT);
        assert_eq!(names.code, Some(0), "{}", names.stderr);
        let names = String::from_utf8(names.stdout).unwrap();
        assert!(names.lines().count() > 40, "{engine}: {names}");
        let written = accepted("jdbc", engine, names.lines());
        assert!(written.len() > 15, "{engine}: {:?}", written.keys());

        let root = tempfile::tempdir().unwrap();
        for (name, url) in &written {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("db.jdbc"), url).unwrap();
        }
        let mut read = java().unwrap();
        read.arg(format!("jdbc-{engine}")).arg(root.path());
        let read = outputs(read);
        assert_eq!(read.len(), written.len());
        // A driver may reject the value.
        for output in read.iter().filter(|output| output.error.is_none()) {
            for (field, value) in GOOD {
                assert_eq!(output.fields[field].0, value.as_bytes(), "{engine}, {}: {field}", output.case);
            }
        }
    }
}

#[test]
fn no_option_of_a_source_changes_what_libpq_connects_to() {
    let Some(libpq) = libpq() else { return };
    let names: Vec<String> = serde_json::from_value(libpq(&["names"])).unwrap();
    assert!(names.len() > 30, "{names:?}");
    for format in ["libpq", "uri"] {
        let written = accepted(format, "postgresql", names.iter().map(String::as_str));
        assert!(written.len() > 20, "{:?}", written.keys());
        let texts = written.values().map(|text| str::from_utf8(text).unwrap());
        let parsed = libpq(&["parse"].into_iter().chain(texts).collect::<Vec<_>>());
        for ((name, _), parsed) in written.iter().zip(parsed.as_array().unwrap()) {
            for (keyword, (_, value)) in ["user", "password", "host", "port", "dbname"].into_iter().zip(GOOD)
            {
                assert_eq!(parsed[keyword], value, "{format}, {name}: {keyword}");
            }
        }
    }
}

#[test]
fn no_option_of_a_source_changes_what_mariadb_connects_to() {
    let Some(mariadb) = require("mariadb", find("mariadb")) else { return };
    let variables = |file: Option<&PathBuf>| {
        let mut command = Command::new(&mariadb);
        command.args(file.map(|file| format!("--defaults-file={}", file.display()))).arg("--help");
        let finished = run(command, TIMEOUT);
        let text = String::from_utf8_lossy(&finished.stdout).into_owned();
        let lines = text.lines().skip_while(|line| !line.starts_with("Variables")).skip(2);
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let mut names: BTreeSet<_> = variables(None).into_keys().collect();
    assert!(names.len() > 40 && names.contains("plugin-dir"), "{names:?}");
    // Of other clients and of MySQL's.
    names.extend(
        ["dns-srv-name", "execute", "pager", "password1", "login-path", "init-command-add", "tee"]
            .map(str::to_owned),
    );
    // The clients accept a prefix that only one name has, `_` for `-`, and modifiers.
    let mut spellings = BTreeSet::new();
    for name in &names {
        spellings.extend((1..=name.len()).map(|end| name[..end].to_owned()));
        spellings.extend(
            ["loose-", "loose_", "skip-", "enable-", "disable-", "maximum-"]
                .map(|modifier| format!("{modifier}{name}")),
        );
        spellings.insert(name.replace('-', "_"));
    }
    let written = accepted("mycnf", "mysql", spellings.iter().map(String::as_str));
    assert!(written.len() > 10, "{:?}", written.keys());
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("db.cnf");
    let kept = [
        "host",
        "user",
        "port",
        "socket",
        "protocol",
        "plugin-dir",
        "default-auth",
        "init-command",
        "local-infile",
    ];
    let select = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        let variables = variables(Some(&file));
        kept.map(|name| variables.get(name).cloned())
    };
    let fields = GOOD.map(|(field, value)| (field.to_owned(), value.to_owned())).into();
    let plain = render(&[("format", "mycnf")], &Case { name: "plain".to_owned(), fields }).unwrap().1;
    let plain = select(&plain);
    assert_eq!(plain[..3], ["db.prod", "app", "1234"].map(|value| Some(value.to_owned())));
    for (name, content) in &written {
        let read = select(content);
        // The client rejects options that it does not know.
        assert!(read == plain || read == kept.map(|_| None), "{name}: {read:?}");
    }
}

#[test]
fn a_uri_in_a_secret_means_what_libpq_reads_in_it() {
    let Some(libpq) = libpq() else { return };
    let uris = [
        "postgresql://h",
        "postgresql://u:p%40w@h:5/d?sslmode=require",
        "postgres://h1:1,h2:2/d",
        "postgresql://h1,h2/d?port=9",
        "postgresql://h1:1,h2/d?port=9",
        "postgresql://h:5/?port=9",
        "postgresql://h/?port=9",
        "postgresql:///d?host=/run/postgresql&port=9",
        "postgresql://[::1]:5/d",
        "postgresql://::1",
        "postgresql://::1/d",
        "postgresql://h/d?application_name=a=b",
        "postgresql://h/d?application_name=a%3Db",
        "postgresql://h/d?sslmode=require&&connect_timeout=1",
        "postgresql://h/d?sslmode=require&",
        "postgresql://h/d?&sslmode=require",
        "postgresql://h/d?&",
        "postgresql://h/d?",
        "postgresql://h/d?options=-c%20search_path%3Dapp",
        "postgresql://u@h/d?password=p",
    ];
    let parsed = libpq(&["parse"].into_iter().chain(uris).collect::<Vec<_>>());
    let mut read = 0;
    for (uri, expected) in uris.into_iter().zip(parsed.as_array().unwrap()) {
        let case = Case { name: "uri".to_owned(), fields: [("uri".to_owned(), uri.to_owned())].into() };
        if let Ok((_, written)) = render(&[("format", "libpq")], &case) {
            let written = libpq(&["parse", str::from_utf8(&written).unwrap()]);
            // One port counts for all hosts.
            let mut expected = expected.clone();
            if uri == "postgresql://h1,h2/d?port=9" {
                assert_eq!(expected["port"], "9");
                expected["port"] = "9,9".into();
            }
            assert_eq!(written[0], expected, "{uri}");
            read += 1;
        }
    }
    assert_eq!(read, 12, "the others are ambiguous, or libpq rejects them");
}

#[test]
fn jdbc_urls_are_read_by_their_drivers() {
    for format in ["jdbc-postgresql", "jdbc-mysql", "jdbc-mariadb", "jdbc-sqlserver"] {
        let Some(java) = java() else { return };
        let is_mariadb = format == "jdbc-mariadb";
        let mut files = Files::write_connections(format, |fields| is_mariadb && rejected_by_mariadb(fields));
        files.cases.retain(|case| {
            let database = case.fields["database"].as_str();
            // Connector/J trims the database as `String.trim` does.
            let is_kept = format != "jdbc-mysql" || database.trim_matches(|c| c <= ' ') == database;
            is_kept || fs::remove_dir_all(files.root.path().join(&case.name)).is_err()
        });
        // The parser of mssql-jdbc drops options that it does not know.
        if format == "jdbc-sqlserver" {
            files.cases.iter_mut().for_each(|case| drop(case.fields.remove(OPTION)));
        }
        files.read_by(java, &["the driver"]);
    }
}

#[test]
fn an_ipv6_host_in_a_jdbc_url_is_read_by_its_driver() {
    for engine in ["postgresql", "mysql", "mariadb", "sqlserver"] {
        let Some(mut java) = java() else { return };
        let fields =
            [("host", "2001:db8::1"), ("username", "app"), ("password", "p;w"), ("database", "orders")];
        let fields = fields.map(|(field, value)| (field.to_owned(), value.to_owned())).into();
        let (_, url) =
            render(&[("format", "jdbc"), ("engine", engine)], &Case { name: "ipv6".to_owned(), fields })
                .unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("ipv6")).unwrap();
        fs::write(root.path().join("ipv6/db.jdbc"), url).unwrap();
        java.arg(format!("jdbc-{engine}")).arg(root.path());
        let read = outputs(java).pop().unwrap();
        let host = str::from_utf8(&read.fields["host"].0).unwrap().trim_matches(['[', ']']).to_owned();
        let port = str::from_utf8(&read.fields["port"].0).unwrap().to_owned();
        let expected = match engine {
            "postgresql" => "5432",
            "sqlserver" => "1433",
            _ => "3306",
        };
        assert_eq!((host.as_str(), port.as_str()), ("2001:db8::1", expected), "{engine}");
    }
}

/// Runs `libpq.py`.
fn libpq() -> Option<impl Fn(&[&str]) -> serde_json::Value> {
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let command = move |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(reader("libpq.py")).args(arguments);
        command
    };
    let loads = command(&["names"]).output().is_ok_and(|output| output.status.success());
    require("Python with libpq.so.5 (libpq5)", loads.then_some(()))?;
    Some(move |arguments: &[&str]| {
        let finished = run(command(arguments), TIMEOUT);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        serde_json::from_slice(&finished.stdout).unwrap()
    })
}

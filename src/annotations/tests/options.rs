//! Fields that would become options of a connection, but are probably meant as a part of it.

use super::*;

fn all(format: &str, annotations: &[(&'static str, &'static str)]) -> BTreeMap<String, String> {
    let base = [("secret", "db"), ("engine", "postgresql")];
    let mut all = BTreeMap::from([("podcreds.io/db.format".to_owned(), format.to_owned())]);
    for (key, value) in base.iter().chain(annotations) {
        all.insert(format!("podcreds.io/db.{key}"), (*value).to_owned());
    }
    all
}

fn message(format: &str, annotations: &[(&'static str, &'static str)]) -> String {
    let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
    match parse(&all(format, annotations), DEFAULT_PREFIX, &scope) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_misspelt_part_is_not_an_option() {
    for format in ["uri", "jdbc", "adonet", "libpq", "pgpass", "pgservice", "mycnf"] {
        assert_eq!(
            message(format, &[("keys", "user=username, pasword=password, host")]),
            "invalid annotation: podcreds.io/db.keys: field pasword would become an option of the connection: write password",
            "{format}"
        );
        assert_eq!(
            message(format, &[("set", "hots=db.prod.svc")]),
            "invalid annotation: podcreds.io/db.set: field hots would become an option of the connection; did you mean \"host\"?",
            "{format}"
        );
    }
    for format in ["files", "env", "json", "properties"] {
        let mut annotations = all(format, &[("keys", "pasword=password"), ("set", "hots=db")]);
        annotations.remove("podcreds.io/db.engine");
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        assert!(parse(&annotations, DEFAULT_PREFIX, &scope).is_ok(), "{format} has no options");
    }
}

#[test]
fn no_option_takes_its_value_from_a_key_that_is_named_like_the_user_or_the_password() {
    for (keys, written) in [
        ("DB_PASSWORD=password", "DB_PASSWORD would become an option of the connection: write password"),
        ("x=pass", ": write password=pass"),
        ("x=user", ": write username=user"),
        ("POSTGRES_PASSWORD", ": write password=POSTGRES_PASSWORD"),
        ("POSTGRES_USER", ": write username=POSTGRES_USER"),
        ("x=mysql-password?", ": write password=mysql-password"),
        ("x=PGPASSWORD", ": write password=PGPASSWORD"),
        ("PGUSER=username", ": write username"),
        ("x=config.json#/db/password", ": write password=config.json#/db/password"),
    ] {
        let message = message("uri", &[("keys", keys)]);
        assert!(message.ends_with(written), "{keys}: {message}");
    }
    let aliased =
        message("uri", &[("secret", "db=a, cache=b"), ("keys", "db.password, db.host, x=db.username")]);
    for written in ["password=db.password", "host=db.host", "username=db.username"] {
        assert!(aliased.contains(&format!(": write {written}")), "{aliased}");
    }
}

#[test]
fn options_that_are_similar_to_a_login_are_allowed() {
    for keys in [
        "host, sslpassword=password",
        "host, trustStorePassword=password",
        "host, username, password, second=password, PASSWORD2=mfa-password",
        "host, password1=password",
        "host, application_name=username",
    ] {
        assert_eq!(message("jdbc", &[("keys", keys)]), "", "{keys}");
    }
    for set in ["sslmode=require, hostaddr=10.0.0.7, pool=5", "application_name=a;b, options='a=b&c=d'"] {
        assert_eq!(message("libpq", &[("set", set)]), "", "{set}");
    }
}

#[test]
fn a_keyword_of_the_driver_for_a_part_is_not_an_option() {
    for (set, part) in [
        ("Host=other", "host"),
        ("PASSWORD=x", "password"),
        ("Server=other", "host"),
        ("Username=x", "username"),
        ("DataSource=x", "host"),
        ("UID=x", "username"),
        ("pwd=x", "password"),
        ("InitialCatalog=x", "database"),
        ("Port=1", "port"),
    ] {
        let message = message("adonet", &[("set", set)]);
        assert!(message.ends_with(&format!("did you mean \"{part}\"?")), "{set}: {message}");
    }
    assert!(message("jdbc", &[("set", "databaseName=x")]).ends_with("did you mean \"database\"?"));
    assert_eq!(message("adonet", &[("set", "SslMode=VerifyFull, TrustServerCertificate=true")]), "");
}

#[test]
fn one_value_does_not_contain_several_options() {
    for (format, set) in [
        ("adonet", "\"SslMode=VerifyFull;TrustServerCertificate=true\""),
        ("adonet", "SslMode=VerifyFull;TrustServerCertificate=true"),
        ("uri", "sslmode=require&connect_timeout=5"),
    ] {
        let set = set.trim_matches('"');
        let message = message(format, &[("set", set)]);
        assert!(message.contains("continues with another option: separate options with commas"), "{message}");
        assert!(!message.contains("VerifyFull") && !message.contains("require"), "{message}");
    }
    let message = message("adonet", &[("set", "Trust Server Certificate=true")]);
    assert!(message.ends_with("entry 1 has spaces before its `=`: write a name without them, as in TrustServerCertificate=true, or, if the entry is a part of a value, quote the value"), "{message}");
}

#[test]
fn a_scheme_is_written_without_its_colon_and_slashes() {
    let message = message("uri", &[("scheme", "postgresql+asyncpg://")]);
    assert!(message.ends_with("; remove `://`"), "{message}");
}

//! Names of variables in the formats `env` and `dotenv`, and all wrong fields of a credential at once.

use super::*;

/// Variables on which shells or the dynamic linker act, of every kind.
const RESERVED: [&str; 22] = [
    "RANDOM",
    "OPTIND",
    "UID",
    "PATH",
    "IFS",
    "ENV",
    "_",
    "LD_PRELOAD",
    "BASH_ENV",
    "BASHOPTS",
    "KSHUID",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "PROMPT_COMMAND",
    "PROMPT_EOL_MARK",
    "MAILPATH",
    "HISTFILE",
    "histchars",
    "signals",
];
/// Variables by which other programs change what they run, and those that a login sets.
const OF_PROGRAMS: [&str; 24] = [
    "NODE_OPTIONS",
    "PERL5OPT",
    "PERL5LIB",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "GIT_SSH_COMMAND",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "OPENSSL_CONF",
    "TNS_ADMIN",
    "PSQLRC",
    "npm_config_script_shell",
    "LUA_INIT_5_4",
    "PHP_INI_SCAN_DIR",
    "HOME",
    "USERNAME",
    "LANG",
];
/// Variables of databases, clouds and frameworks, whose names begin like those above.
const ORDINARY: [&str; 32] = [
    "DB_PASSWORD",
    "HISTORY_DB_PASSWORD",
    "HISTORIAN_URL",
    "PROMPT_TEMPLATE",
    "EPOCHS",
    "COMP_ID",
    "PSQL_PASSWORD",
    "ODBC_CONNECTION_STRING",
    "TERMINAL_ID",
    "TERMS_URL",
    "LESSONS_DB_PASSWORD",
    "PGPASSWORD",
    "PGSSLMODE",
    "PSK",
    "PS",
    "PATH_PREFIX",
    "USER",
    "HOST",
    "HOSTNAME",
    "NODE_ENV",
    "SASL_USERNAME",
    "SASL_PASSWORD",
    "GIT_USERNAME",
    "GIT_TOKEN",
    "MYSQL_PWD",
    "MYSQL_PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "SPRING_DATASOURCE_PASSWORD",
    "options",
    "path",
    "status",
    "username",
];

fn message(annotations: &[(&str, &str)], name: &str) -> Option<String> {
    render(annotations, &[(name, b"x")]).err()
}

#[test]
fn env_never_sets_a_variable_on_which_shells_or_the_linker_act() {
    for name in RESERVED {
        let keys = format!("{name}, B=b");
        for annotations in [&[("db.format", "env")][..], &[("db.format", "env"), ("db.keys", &keys)]] {
            let message = render(annotations, &[(name, b"x"), ("b", b"x")]).unwrap_err();
            let expected = format!("rename it with .keys, for example DB_{name}={name}");
            assert!(
                message.contains("shells or the dynamic linker act on") && message.contains(&expected),
                "{message}"
            );
        }
    }
    let message = render(
        &[("db.format", "uri"), ("db.engine", "redis"), ("db.set", "host=h"), ("db.variable", "PS1")],
        &[("password", b"x")],
    );
    assert!(message.unwrap_err().contains("the annotations name variable PS1, which shells"));
}

#[test]
fn only_an_annotation_chooses_a_variable_by_which_programs_change_what_they_run() {
    for name in OF_PROGRAMS {
        for format in ["env", "dotenv"] {
            let error = message(&[("db.format", format)], name).unwrap();
            assert!(
                error.contains(&format!("to set that variable, list it there as {name}={name}")),
                "{error}"
            );
            assert_eq!(message(&[("db.format", format), ("db.keys", name)], name), None);
            let set = format!("{name}=x");
            assert_eq!(message(&[("db.format", format), ("db.set", &set), ("db.keys", "B=b")], "b"), None);
        }
    }
    for name in ORDINARY {
        assert_eq!(message(&[("db.format", "env")], name), None);
        assert_eq!(message(&[("db.format", "dotenv")], name), None);
    }
}

#[test]
fn dotenv_passes_on_a_variable_of_shells_only_if_an_annotation_names_it_and_never_one_of_the_linker() {
    for name in RESERVED {
        let is_of_linker = name.starts_with("LD_");
        let is_of_the_file_alone = ["histchars", "signals"].contains(&name);
        assert_eq!(message(&[("db.format", "dotenv")], name).is_none(), is_of_the_file_alone, "{name}");
        let named = message(&[("db.format", "dotenv"), ("db.keys", name)], name);
        assert_eq!(named.is_some(), is_of_linker, "{name}: {named:?}");
    }
}

#[test]
fn the_manifest_and_not_the_key_names_a_variable_of_envfile() {
    for name in RESERVED.into_iter().chain(OF_PROGRAMS) {
        assert_eq!(message(&[("db.format", "envfile")], name), None);
    }
}

#[test]
fn a_wrong_name_of_a_key_can_be_corrected_in_bulk() {
    let error = message(&[("db.format", "env"), ("db.names", "upper")], "username").unwrap();
    assert!(error.contains("for example DB_USERNAME=username, or add .prefix: DB_;"), "{error}");
    let error = message(&[("db.format", "env")], "PATH").unwrap();
    assert!(error.ends_with("for example DB_PATH=PATH, or add .prefix: DB_"), "{error}");
    let error = message(&[("db.format", "env"), ("db.keys", "PATH")], "PATH").unwrap();
    assert!(error.ends_with("for example DB_PATH=PATH"), "{error}");
    let error = message(&[("db.format", "env")], "db.user").unwrap();
    assert!(error.ends_with("for example DB_USER=db.user, or add .names: \"upper\""), "{error}");
    let error = message(&[("db.format", "env")], "1st").unwrap();
    assert!(error.ends_with("for example _1ST=1st, or add a .prefix"), "{error}");
    let error = message(&[("db.format", "env"), ("db.prefix", "APP_")], "db-user").unwrap();
    assert!(
        error.contains("field APP_db-user is not") && error.contains("for example APP_DB_USER=db-user, or"),
        "{error}"
    );
    let error = message(&[("db.format", "env"), ("db.keys", "PATH=db-user")], "db-user").unwrap();
    assert!(error.ends_with("for example DB_PATH=db-user"), "{error}");
    let error = message(&[("db.format", "env"), ("db.set", "PATH=x")], "A").unwrap();
    assert!(error.ends_with("for example DB_PATH=<its key>"), "{error}");
    let error = message(&[("db.format", "env"), ("db.keys", "db.user")], "db.user").unwrap();
    assert!(error.ends_with("for example DB_USER=db.user"), "{error}");
}

#[test]
fn all_wrong_fields_of_a_credential_are_reported_together() {
    let names: &[(&str, &[u8])] =
        &[("a.b", b"x"), ("c-d", b"x"), ("LD_PRELOAD", b"x"), ("e", b"\xff"), ("f", b"x")];
    for format in ["env", "dotenv"] {
        let keys = ("db.keys", "a.b, c-d, LD_PRELOAD, e, f");
        let error = render(&[("db.format", format), keys], names).unwrap_err();
        for part in [
            "field a.b is not a valid environment variable name",
            "field c-d is not a valid",
            "field LD_PRELOAD has the name",
            "field e is binary",
        ] {
            assert!(error.contains(part), "{format}: {part}: {error}");
        }
        assert!(!error.contains("field f "), "{error}");
    }
    for format in ["env", "dotenv", "envfile", "json", "yaml", "properties"] {
        let error =
            render(&[("db.format", format)], &[("a", b"\xff"), ("b", b"x"), ("c", b"\xfe")]).unwrap_err();
        assert!(
            error.contains("field a is binary") && error.contains("field c is binary"),
            "{format}: {error}"
        );
        assert!(!error.contains("field b "), "{error}");
    }
    let error = render(
        &[
            ("db.format", "uri"),
            ("db.engine", "redis"),
            ("db.set", "host=h"),
            ("db.variable", "PS1, PATH, URL"),
        ],
        &[("password", b"x")],
    );
    let error = error.unwrap_err();
    assert!(
        error.contains("variable PS1,") && error.contains("variable PATH,") && !error.contains("URL"),
        "{error}"
    );
}

#[test]
fn a_message_about_one_credential_lists_a_few_of_very_many_wrong_fields() {
    let names: Vec<_> = (0..1000).map(|index| format!("a-{index}")).collect();
    let secret: Vec<_> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let sources = Sources::from([(object(Kind::Secret, "db"), Some(data(&secret)))]);
    let credentials = credentials(&[("db.secret", "db"), ("db.format", "env")]);
    let errors = super::super::render(&credentials, &sources).unwrap_err().by_credential();
    let message = errors["db"].to_string();
    assert!(message.lines().count() == 21 && message.ends_with("and 980 more"), "{message}");
}

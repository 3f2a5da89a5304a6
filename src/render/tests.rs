use std::collections::BTreeMap;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::annotations::{DEFAULT_PREFIX, parse};
use crate::credential::FieldName;
use crate::object::{Data, Kind, Namespace, ObjectRef};

fn object(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef::parse(kind, name, &Namespace::parse("prod").unwrap()).unwrap()
}

fn credentials(annotations: &[(&str, &str)]) -> Vec<Credential> {
    let named = |(word, value): &(&str, &str)| (format!("{DEFAULT_PREFIX}/{word}"), (*value).to_owned());
    parse(&annotations.iter().map(named).collect(), DEFAULT_PREFIX, &Namespace::parse("prod").unwrap())
        .unwrap()
}

fn data(entries: &[(&str, &[u8])]) -> Data {
    entries.iter().map(|(key, value)| ((*key).to_owned(), SecretBytes::new(value.to_vec()))).collect()
}

/// Renders one credential `db` from Secret `s` and returns its files by path, or its errors.
fn render(
    annotations: &[(&str, &str)],
    secret: &[(&str, &[u8])],
) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let all = [&[("db.secret", "s")], annotations].concat();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let bundle = bundle(&credentials(&all), &sources).map_err(|errors| errors.to_string())?;
    Ok(bundle.into_iter().map(|(path, file)| (path.to_string(), file.content.expose().to_vec())).collect())
}

fn one_file(format: &str, secret: &[(&str, &[u8])]) -> String {
    let files = render(&[("db.format", format)], secret).unwrap();
    assert_eq!(files.len(), 1);
    String::from_utf8(files.into_values().next().unwrap()).unwrap()
}

const PLAIN: &[(&str, &[u8])] = &[("username", b"app"), ("password", b"it's a \"test\"\n")];

#[test]
fn each_format_writes_what_its_page_shows() {
    for (format, expected) in [
        ("env", "export password='it'\\''s a \"test\"\n'\nexport username='app'\n"),
        ("json", "{\n  \"password\": \"it's a \\\"test\\\"\\n\",\n  \"username\": \"app\"\n}\n"),
        ("yaml", "password: \"it's a \\\"test\\\"\\n\"\nusername: \"app\"\n"),
        ("properties", "password=it's a \"test\"\\n\nusername=app\n"),
    ] {
        assert_eq!(one_file(format, PLAIN), expected, "{format}");
    }
    assert_eq!(one_file("dotenv", &[("A", b"it's"), ("B", b"x\ny \"#")]), "A=\"it's\"\nB='x\ny \"#'\n");
}

#[test]
fn files_are_byte_for_byte() {
    let files = render(&[], &[("a", b"\0\xff\n"), ("b", b"")]).unwrap();
    assert_eq!((files["db/a"].as_slice(), files["db/b"].as_slice()), (&b"\0\xff\n"[..], &b""[..]));
}

#[test]
fn an_empty_source_is_an_empty_document() {
    for (format, expected) in
        [("env", ""), ("dotenv", ""), ("json", "{}\n"), ("yaml", "{}\n"), ("properties", "")]
    {
        assert_eq!(one_file(format, &[]), expected, "{format}");
    }
    assert!(render(&[], &[]).unwrap().is_empty());
}

#[test]
fn keys_choose_and_rename_and_literals_are_added() {
    let annotations = [("db.keys", "USER=username"), ("db.set", "HOST=db.prod"), ("db.format", "env")];
    assert_eq!(render(&annotations, PLAIN).unwrap()["db.env"], b"export HOST='db.prod'\nexport USER='app'\n");
}

#[test]
fn one_secret_can_have_a_key_under_two_names() {
    let files = render(&[("db.keys", "a=username,b=username")], PLAIN).unwrap();
    assert_eq!((files["db/a"].as_slice(), files["db/b"].as_slice()), (&b"app"[..], &b"app"[..]));
}

#[test]
fn a_missing_key_is_an_error_that_lists_the_keys_there_are() {
    let message = render(&[("db.keys", "passwd")], PLAIN).unwrap_err();
    assert_eq!(message, "credential db: Secret prod/s has no key passwd; it has password, username");
    let files = render(&[("db.keys", "passwd, username"), ("db.optional", "true")], PLAIN).unwrap();
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["db/username"]);
}

#[test]
fn a_field_from_two_sources_is_an_error() {
    let message = render(&[("db.set", "username=x")], PLAIN).unwrap_err();
    assert!(
        message.contains("field username comes from Secret prod/s and from the annotation .set"),
        "{message}"
    );

    let both = credentials(&[("db.secret", "s"), ("db.configmap", "c"), ("db.keys", "host,password")]);
    let sources = |host: &[(&str, &[u8])]| {
        Sources::from([
            (object(Kind::Secret, "s"), Some(data(&[("password", b"x"), ("host", b"a")]))),
            (object(Kind::ConfigMap, "c"), Some(data(host))),
        ])
    };
    assert_eq!(bundle(&both, &sources(&[("port", b"1")])).unwrap().len(), 2);
    assert!(bundle(&both, &sources(&[("host", b"b")])).is_err());
}

#[test]
fn an_optional_credential_without_its_source_has_no_files() {
    let optional = credentials(&[("db.secret", "s"), ("db.set", "host=x"), ("db.optional", "true")]);
    assert!(bundle(&optional, &Sources::from([(object(Kind::Secret, "s"), None)])).unwrap().is_empty());
}

/// Renders credential `db` from Secret `s` with a template in ConfigMap `c` under `t`.
fn render_from(annotations: &[(&str, &str)], config: Option<&[(&str, &[u8])]>) -> Result<Vec<u8>, String> {
    let all = [&[("db.secret", "s"), ("db.template-from", "c/t")], annotations].concat();
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(PLAIN))),
        (object(Kind::ConfigMap, "c"), config.map(data)),
    ]);
    let credentials = credentials(&all);
    let checked = check_templates(&credentials, &sources).map_err(|errors| errors.to_string());
    let bundle = bundle(&credentials, &sources).map_err(|errors| errors.to_string());
    if let (Err(checked), Err(rendered)) = (&checked, &bundle) {
        assert_eq!(checked, rendered);
    }
    checked?;
    Ok(bundle?.into_values().next().map(|file| file.content.expose().to_vec()).unwrap_or_default())
}

#[test]
fn a_template_in_an_annotation_makes_one_file() {
    let files = render(&[("db.template", "{{ username }}:{{ password | json }}")], PLAIN).unwrap();
    assert_eq!(files["db.txt"], b"app:\"it's a \\\"test\\\"\\n\"\n");
    let message = render(&[("db.template", "\n{{ passwd }}")], PLAIN).unwrap_err();
    assert_eq!(
        message,
        "credential db: the template: line 2, column 4: there is no field \"passwd\"; there are password, username"
    );
}

#[test]
fn a_template_in_a_config_map_is_no_source_of_fields() {
    let config: &[(&str, &[u8])] = &[("t", b"{% for n in fields %}{{ n }} {% endfor %}"), ("other", b"x")];
    assert_eq!(render_from(&[], Some(config)).unwrap(), b"password username \n");
    for (annotations, config, expected) in [
        (
            &[][..],
            &[("t", b"\n {{ x".as_slice())][..],
            "ConfigMap prod/c, key t: line 2, column 5: unexpected end",
        ),
        (&[], &[("t", b"{{ x }}")], "ConfigMap prod/c, key t: line 1, column 4: there is no field \"x\""),
        (&[("db.keys", "username")], &[("t", b"{{ password }}")], "no field \"password\"; there is username"),
        (&[], &[("t", b"\xff")], "ConfigMap prod/c, key t: the template is no text"),
        (&[], &[("u", b"")], "ConfigMap prod/c has no key t; it has u"),
    ] {
        let message = render_from(annotations, Some(config)).unwrap_err();
        assert!(message.contains(expected), "{expected}\nis not in\n{message}");
    }
}

#[test]
fn an_optional_credential_without_its_template_has_no_file() {
    let optional = [("db.optional", "true")];
    for config in [None, Some(&[("u", b"".as_slice())][..])] {
        assert_eq!(render_from(&optional, config).unwrap(), b"", "{config:?}");
    }
    let credentials =
        credentials(&[("db.secret", "s"), ("db.template-from", "c/t"), ("db.optional", "true")]);
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(PLAIN))),
        (object(Kind::ConfigMap, "c"), Some(data(&[]))),
    ]);
    let told: Vec<_> = left_out(&credentials, &sources).map(|omission| omission.to_string()).collect();
    assert_eq!(told, ["credential db is left out: ConfigMap prod/c has no key t (.optional)"]);
}

#[test]
fn hidden_values_stay_hidden_in_templates_and_make_none_fail() {
    let text = b"{{ username }} {{ b64 | b64decode }} {{ fields[which] }} {{ raw | b64encode }}".as_slice();
    let secret: &[(&str, &[u8])] =
        &[("username", b"app"), ("b64", b"YXBw"), ("which", b"username"), ("raw", b"\xff")];
    let sources = Sources::from([
        (object(Kind::Secret, "s"), Some(data(secret))),
        (object(Kind::ConfigMap, "c"), Some(data(&[("t", text)]))),
    ]);
    for template in [("db.template", std::str::from_utf8(text).unwrap()), ("db.template-from", "c/t")] {
        let credentials = credentials(&[("db.secret", "s"), template]);
        let content = |bundle: Bundle| {
            String::from_utf8(bundle.into_values().next().unwrap().content.expose().to_vec()).unwrap()
        };
        assert_eq!(content(bundle(&credentials, &sources).unwrap()), "app app app /w==\n");
        assert_eq!(content(hidden(&credentials, &sources, "***").unwrap()), "*** *** *** Kioq\n");
    }
}

#[test]
fn what_is_left_out_is_told() {
    let optional = credentials(&[
        ("a.secret", "s"),
        ("a.keys", "username,passwd"),
        ("a.optional", "true"),
        ("b.secret", "none"),
        ("b.optional", "true"),
        ("c.secret", "s"),
    ]);
    let sources =
        Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN))), (object(Kind::Secret, "none"), None)]);
    let told: Vec<_> = left_out(&optional, &sources).map(|omission| omission.to_string()).collect();
    assert_eq!(
        told,
        [
            "credential a is written without field passwd: Secret prod/s has no key passwd (.optional)",
            "credential b is left out: there is no Secret prod/none (.optional)",
        ]
    );
}

#[test]
fn what_a_format_cannot_carry_is_an_error() {
    for format in ["env", "dotenv", "json", "yaml", "properties"] {
        let message = render(&[("db.format", format)], &[("a", b"test-\xff")]).unwrap_err();
        assert!(message.contains("field a is binary") && !message.contains("test-"), "{format}: {message}");
    }
    for format in ["env", "dotenv"] {
        let message = render(&[("db.format", format)], &[("a", b"\0")]).unwrap_err();
        assert!(message.contains("binary") || message.contains("a NUL character"), "{message}");
        let message = render(&[("db.format", format)], &[("tls.crt", b"x")]).unwrap_err();
        assert!(message.contains("rename it with .keys, for example TLS_CRT=tls.crt"), "{message}");
    }
    for value in ["a\rb", "${a}", "$(a)", "a\\\\b", "a\\", "'\"", "'$a", "'`", "'\\"] {
        let message = render(&[("db.format", "dotenv")], &[("a", value.as_bytes())]).unwrap_err();
        assert!(message.contains("dotenv libraries read differently"), "{value}: {message}");
    }
}

#[test]
fn variables_that_belong_to_a_shell_are_refused_in_env() {
    for name in [
        "RANDOM",
        "OPTIND",
        "UID",
        "PATH",
        "IFS",
        "_",
        "LD_PRELOAD",
        "BASH_ENV",
        "USERNAME",
        "KSHUID",
        "path",
    ] {
        let message = render(&[("db.format", "env")], &[(name, b"x[$(touch made)0]")]).unwrap_err();
        assert!(
            message.contains(&format!("rename it with .keys, for example DB_{name}=<its key>")),
            "{message}"
        );
        assert!(render(&[("db.format", "dotenv")], &[(name, b"x")]).is_ok(), "{name}");
    }
}

/// Every variable that a shell starts with and that podcreds would write takes a value as it is, and runs nothing.
#[test]
fn no_name_makes_a_shell_run_what_a_value_holds() {
    for (shell, list) in [("sh", "set"), ("bash", "compgen -v"), ("mksh", "typeset +")] {
        let Ok(output) = program(shell).args(["-c", list]).output() else { continue };
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = listed.lines().filter_map(|line| line.split('=').next()?.split(' ').next_back());
        let more = ["RANDOM", "SRANDOM", "HISTCMD", "OPTIND", "SECONDS", "COLUMNS", "PGRP"];
        for name in words.chain(more).filter(|name| FieldName::parse(name).is_ok()) {
            let secret = [(name, &b"x[$(touch made)0]"[..]), ("zz_VALUE", b"after")];
            let Ok(files) =
                render(&[("db.format", "env"), ("db.keys", &format!("{name},VALUE=zz_VALUE"))], &secret)
            else {
                continue;
            };
            let file = String::from_utf8(files["db.env"].clone()).unwrap();
            assert_eq!(sourced_by(shell, &file).as_deref(), Some(&b"after"[..]), "{shell}: {name}");
        }
    }
}

#[test]
fn keys_that_kubernetes_would_refuse_are_refused() {
    for key in ["../x", "a/b", "..", "a\nb"] {
        let message = render(&[], &[(key, b"test-password")]).unwrap_err();
        assert!(message.contains("is no key") && !message.contains("test-password"), "{message}");
    }
}

#[test]
fn a_file_of_one_credential_cannot_stand_in_for_anothers() {
    let two =
        credentials(&[("a.secret", "s"), ("b.secret", "s"), ("b.path", "a/username"), ("b.format", "json")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]);
    let message = bundle(&two, &sources).unwrap_err().to_string();
    assert_eq!(
        message,
        "credential b: needs \"a/username\" as a file, which credential a needs as a file: give one of them another .path"
    );
}

#[test]
fn a_bundle_has_a_bound_on_its_files_and_a_message_on_its_keys() {
    let many: Vec<_> = (0..=FILE_LIMIT).map(|i| format!("k{i}")).collect();
    let secret: Vec<_> = many.iter().map(|key| (key.as_str(), &b""[..])).collect();
    assert!(render(&[], &secret).unwrap_err().contains("more than 10000 files together"));
    let message = render(&[("db.keys", "none")], &secret).unwrap_err();
    assert!(message.contains(" and 9981 more") && message.len() < 500, "{message}");
}

#[test]
fn a_bundle_has_a_bound_and_all_errors_are_counted() {
    let large = vec![b'x'; BUNDLE_LIMIT];
    assert!(render(&[], &[("a", &large), ("b", b"x")]).unwrap_err().contains("more than 33554432 bytes"));
    let keys: Vec<_> = (0..30).map(|i| format!("k{i}")).collect();
    let message = render(&[("db.keys", &keys.join(","))], PLAIN).unwrap_err();
    assert!(message.ends_with("and 10 more"), "{message}");
}

#[test]
fn hidden_values_are_nowhere_in_what_is_shown() {
    let with_literal =
        credentials(&[("db.secret", "s"), ("db.set", "x=test-literal"), ("db.format", "json")]);
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(PLAIN)))]);
    let shown = hidden(&with_literal, &sources, "********").unwrap().into_values().next().unwrap();
    let expected =
        "{\n  \"password\": \"********\",\n  \"username\": \"********\",\n  \"x\": \"********\"\n}\n";
    assert_eq!(shown.content.expose_text(), Some(expected));
    let secret: &[(&str, &[u8])] = &[
        ("username", b"test-1"),
        ("password", b"test-2"),
        ("host", b"test-3:6000,[::1]"),
        ("port", b"7000"),
        ("database", b"test-4"),
        ("type", b"postgresql"),
        ("options", b"application_name=test-5"),
    ];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    for (format, _) in Format::ALL.into_iter().filter(|(format, _)| !["template", "mycnf"].contains(format)) {
        let shown = credentials(&[("db.secret", "s"), ("db.format", format), ("db.set", "sslmode=test-6")]);
        bundle(&shown, &sources).unwrap_or_else(|errors| panic!("{format}: {errors}"));
        let shown =
            hidden(&shown, &sources, "********").unwrap_or_else(|errors| panic!("{format}: {errors}"));
        for file in shown.values() {
            let text = file.content.expose_text().unwrap();
            assert!(!text.contains("test-") && !text.contains("00"), "{format}: {text}");
        }
    }
}

#[test]
fn options_of_a_secret_are_no_other_server_and_no_other_user() {
    for options in ["user=root", "a=1&HOST=evil", "databaseName=x", "socket=/x", "application_name=a%00b"] {
        for format in ["uri", "jdbc", "libpq", "pgservice", "mycnf"] {
            let annotations =
                [("db.format", format), ("db.engine", "postgresql"), ("db.set", "host=good, username=ro")];
            let message = render(&annotations, &[("options", options.as_bytes())]).unwrap_err();
            assert!(message.contains("field options is not options as in a URI"), "{format}: {message}");
        }
    }
    let message = render(&[("db.format", "libpq")], &[("options", b"test-name=1")]).unwrap_err();
    assert!(message.contains("field options holds a name that is no parameter"), "{message}");
    assert!(!message.contains("test-name"), "{message}");
    let files = render(&[("db.format", "pgpass"), ("db.set", "username=*")], &[("password", b"p")]);
    assert!(files.unwrap_err().contains("field username holds nothing but *"));
    let files = render(&[("db.format", "mycnf"), ("db.set", "port=3307")], &[("password", b"p")]).unwrap();
    assert_eq!(files.into_values().next().unwrap(), b"[client]\nport=\"3307\"\npassword=\"p\"\n");
}

/// One connection in this format, with a password.
fn connect(format: &str, engine: &str, password: &str) -> Result<String, String> {
    let mut annotations = vec![("db.format", format)];
    annotations.extend((!engine.is_empty()).then_some(("db.engine", engine)));
    let secret = [("host", &b"h"[..]), ("password", password.as_bytes())];
    let files = render(&annotations, &secret)?;
    Ok(String::from_utf8(files.into_values().next().unwrap()).unwrap())
}

#[test]
fn a_line_that_its_reader_would_cut_is_refused() {
    // `password=`, and in an option file two quotes.
    for (format, longest, said) in [
        ("pgservice", 1021 - 9, "more than about 1000 bytes"),
        ("mycnf", 4094 - 11, "more than about 4000 bytes"),
    ] {
        assert!(connect(format, "", &"a".repeat(longest)).is_ok(), "{format}");
        let message = connect(format, "", &"a".repeat(longest + 1)).unwrap_err();
        assert!(message.contains(&format!("field password holds {said}")), "{message}");
    }
    assert!(connect("mycnf", "", &"\\".repeat(2042)).is_err(), "it is the line that counts");
}

#[test]
fn the_jdbc_driver_of_mariadb_decodes_nothing() {
    let url = "jdbc:mariadb://h:3306/?password= é%41+#?/=\"";
    assert_eq!(connect("jdbc", "mariadb", " é%41+#?/=\"").unwrap(), url);
    let message = connect("jdbc", "mariadb", "a&b").unwrap_err();
    assert!(message.contains("the value of field password holds an ampersand"), "{message}");
    assert_eq!(connect("jdbc", "mysql", "a&b").unwrap(), "jdbc:mysql://h:3306/?password=a%26b");

    let annotations = [("db.format", "jdbc"), ("db.engine", "mariadb")];
    let message = render(&annotations, &[("host", b"h"), ("database", b"a?b")]).unwrap_err();
    assert!(message.contains("the value of field database holds a question mark"), "{message}");
}

#[test]
fn a_database_that_is_a_dot_segment_is_in_no_uri() {
    let database = |name: &str, engine: &str| {
        let annotations = [("db.format", "uri"), ("db.engine", engine)];
        render(&annotations, &[("host", b"h"), ("database", name.as_bytes())])
    };
    for name in [".", ".."] {
        let message = database(name, "postgresql").unwrap_err();
        assert!(message.contains("the value of field database holds dots alone"), "{message}");
        assert!(database(name, "sqlserver").is_ok(), "there it is no path");
    }
    assert!(database("...", "postgresql").is_ok());
}

/// Any text that a text format must carry, with what is special in one of them more often than chance would have it.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\n\r\t]{0,40}",
        "['\"\\\\$`{}#=:! \n\t\u{85}\u{2028}\u{feff}\u{7f}\u{a0}é😀]{0,20}"
    ]
    .prop_map(|text| text.replace('\0', ""))
}

/// A shell and its first arguments.
fn program(shell: &str) -> Command {
    let mut words = shell.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

fn sourced_by(shell: &str, file: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.env");
    std::fs::write(&path, file).unwrap();
    let output = program(shell)
        .args(["-c", "umask 077; . \"$1\" && exec env -0", "sh"])
        .arg(&path)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(folder.path())
        .output()
        .ok()?;
    assert!(output.status.success(), "{shell}: {output:?}");
    let found = output.stdout.split(|b| *b == 0).find_map(|pair| pair.strip_prefix(b"VALUE="));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "sourcing {file:?} made a file");
    found.map(<[u8]>::to_vec)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn env_is_read_back_by_a_shell(value in any_text()) {
        let file = one_file("env", &[("VALUE", value.as_bytes())]);
        prop_assert_eq!(sourced_by("sh", &file).unwrap(), value.as_bytes());
        if let Some(read) = sourced_by("bash", &file) {
            prop_assert_eq!(read, value.as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn dotenv_is_read_back_by_dotenvy(value in any_text()) {
        if let Ok(files) = render(&[("db.format", "dotenv")], &[("VALUE", value.as_bytes())]) {
            let read: Vec<_> = dotenvy::from_read_iter(files["db.env"].as_slice()).map(Result::unwrap).collect();
            prop_assert_eq!(read, [("VALUE".to_owned(), value)]);
        }
    }

    #[test]
    fn json_is_read_back_by_a_parser(value in any::<String>()) {
        let file = one_file("json", &[("a", value.as_bytes())]);
        let read: BTreeMap<String, String> = serde_json::from_str(&file).unwrap();
        prop_assert_eq!(&read["a"], &value);
    }

    #[test]
    fn yaml_is_read_back_by_a_parser(value in any_text(), name in "[-._a-zA-Z0-9]{1,8}") {
        prop_assume!(FieldName::parse(&name).is_ok());
        let file = one_file("yaml", &[(name.as_str(), value.as_bytes())]);
        let read: BTreeMap<String, String> = yaml_serde::from_str(&file).unwrap();
        prop_assert_eq!(read, BTreeMap::from([(name, value)]));
    }

    #[test]
    fn properties_are_read_back_by_a_parser(value in any_text(), name in "[-._a-zA-Z0-9]{1,8}") {
        prop_assume!(FieldName::parse(&name).is_ok());
        // This reader does not put surrogate pairs together; Java, which does, is asked in tests/formats.rs.
        let value = value.replace(|c: char| c > '\u{ffff}', "");
        let file = one_file("properties", &[(name.as_str(), value.as_bytes())]);
        let read = java_properties::read(file.as_bytes()).unwrap();
        prop_assert_eq!(read, std::collections::HashMap::from([(name, value)]));
    }
}

/// A connection with a password that every format has to escape.
const CONNECTION: &[(&str, &[u8])] = &[
    ("username", b"app user"),
    ("password", b"p@ss:w/or'd\\"),
    ("host", b"db.prod.svc"),
    ("port", b"6000"),
    ("dbname", b"my/db"),
];

#[test]
fn each_format_for_databases_writes_what_its_page_shows() {
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

/// A URI of an engine from these fields.
fn uri(engine: &str, fields: &[(&str, &[u8])]) -> Result<String, String> {
    let files = render(&[("db.format", "uri"), ("db.engine", engine)], fields)?;
    Ok(String::from_utf8(files.into_values().next().unwrap()).unwrap())
}

#[test]
fn hosts_may_be_addresses_lists_and_sockets_where_the_scheme_has_them() {
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
        ("redis", "a,b", "several hosts"),
        ("redis", "/run/redis.sock", "path of a Unix socket"),
        ("postgresql", "a b", "field host is not a host name"),
        ("postgresql", "a:0", "field host is not a port"),
        ("postgresql", "a:+1", "field host is not a port"),
        ("postgresql", "user@evil", "field host is not a host name"),
        ("postgresql", "test-host\u{e9}", "field host is not a host name"),
        ("postgresql", "a,,b", "field host is not a host name"),
        ("oracle", "a", "format uri is not for engine oracle"),
    ] {
        let message = uri(engine, &[("host", host.as_bytes())]).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-host"), "{host}: {message}");
    }
}

#[test]
fn parts_are_found_under_their_usual_names_and_what_is_empty_is_not_given() {
    let fields: &[(&str, &[u8])] =
        &[("user", b"u"), ("pass", b"p"), ("endpoint", b"h"), ("db", b"d"), ("port", b"")];
    assert_eq!(uri("mariadb", fields).as_deref(), Ok("mariadb://u:p@h:3306/d"));
    assert_eq!(
        uri("redis", &[("password", b"p"), ("host", b"h")]).as_deref(),
        Ok("redis://default:p@h:6379")
    );
    let message = uri("mariadb", &[("hostess", b"h")]).unwrap_err();
    assert!(
        message.contains("there is no field host (or hostname, endpoint); name it with .keys or .set"),
        "{message}"
    );
    assert!(message.contains("there is hostess"), "{message}");
    let files = render(&[("db.format", "uri")], &[("host", b"h"), ("type", b"postgres")]).unwrap();
    assert_eq!(files.into_values().next().unwrap(), b"postgresql://h:5432");
    for (fields, part) in [
        (&[("host", &b"h"[..])][..], "add .engine"),
        (
            &[("host", b"h"), ("type", b"test-engine")],
            "field type is no engine that podcreds knows: add .engine",
        ),
    ] {
        let message = render(&[("db.format", "uri")], fields).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-"), "{message}");
    }
}

#[test]
fn options_come_from_the_annotations_in_their_order_and_from_the_field_options() {
    let fields: &[(&str, &[u8])] =
        &[("host", b"h"), ("options", b"?connect_timeout=10&application%5Fname=a%20b"), ("other", b"no")];
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
        b"postgresql://h:5432?sslmode=require&channel_binding=a%26b&connect_timeout=10&application_name=a%20b"
    );
    for options in ["a", "a=%zz", "=b", "a=1&a=2"] {
        let message = uri("postgresql", &[("host", b"h"), ("options", options.as_bytes())]).unwrap_err();
        assert!(message.contains("field options is not options as in a URI"), "{options}: {message}");
    }
}

#[test]
fn a_file_of_entries_is_put_together_in_order_of_name_and_is_the_owners() {
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
fn what_a_format_for_databases_cannot_carry_is_an_error() {
    for (format, password, part) in [
        ("pgpass", "test-\n", "field password holds a line break"),
        ("pgservice", "test- ", "field password holds white space at its end"),
        ("pgservice", "test-\nx", "field password holds a line break"),
        ("pgservice", &"test-".repeat(300), "field password holds more than about 1000 bytes"),
        ("libpq", "test-\0", "field password is binary"),
        ("mycnf", "test-\0", "field password is binary"),
    ] {
        let message = render(&[("db.format", format)], &[("password", password.as_bytes())]).unwrap_err();
        assert!(message.contains(part) && !message.contains("test-"), "{format}: {message}");
    }
    let oracle = [("db.format", "jdbc"), ("db.engine", "oracle")];
    let message = render(&oracle, &[("host", b"h"), ("password", b"a\"b")]).unwrap_err();
    assert!(message.contains("field password holds a double quote"), "{message}");
    let message = render(&[("db.format", "pgpass")], &[("host", b"h")]).unwrap_err();
    assert!(message.contains("there is no field password (or pass)"), "{message}");
}

#[test]
fn the_text_of_a_connection_can_be_a_variable() {
    let annotations =
        [("db.format", "uri"), ("db.engine", "postgresql"), ("db.variable", "DATABASE_URL, URL")];
    let files = render(&annotations, &[("host", b"h"), ("user", b"app"), ("pass", b"it's")]).unwrap();
    let (path, content) = files.into_iter().next().unwrap();
    assert_eq!(path, "db.env");
    let uri = "postgresql://app:it%27s@h:5432";
    let expected = format!("export DATABASE_URL='{uri}'\nexport URL='{uri}'\n");
    assert_eq!(String::from_utf8(content).unwrap(), expected);
}

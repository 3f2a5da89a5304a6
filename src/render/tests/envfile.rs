//! `envfile`: values that the kubelet reads back unchanged are written, all others are rejected with the reason.

use proptest::prelude::*;

use super::*;
use crate::render::tests::read_back::{any_text, program};

/// Parses an env file byte by byte by the rules of the Kubernetes documentation. For details that the page omits, it follows follows the
/// kubelet's `ParseEnv`: a line with its break has at most 64 KiB, and CR LF is a line break.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-via-file/#env-file-syntax>
pub(crate) fn read_env_file(file: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut clean = Vec::new();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        if line.len() > 65_536 || line.len() == 65_536 && !line.ends_with(b"\n") {
            return Err("a line is too long".to_owned());
        }
        match line.strip_suffix(b"\r\n") {
            Some(line) => clean.extend(line.iter().chain(b"\n")),
            None => clean.extend(line),
        }
    }
    let mut found = Vec::new();
    let mut rest = clean.as_slice();
    loop {
        while let [b' ' | b'\t' | b'\n', after @ ..] = rest {
            rest = after;
        }
        match rest {
            [] => return Ok(found),
            [b'#', ..] => rest = rest.iter().position(|b| *b == b'\n').map_or(&[], |end| &rest[end..]),
            _ => {
                let line = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                let equals = rest[..line].iter().position(|b| *b == b'=').ok_or("a line without =")?;
                let (name, [b'=', b'\'', after @ ..]) = rest.split_at(equals) else {
                    return Err("a value without quotes".to_owned());
                };
                if name.is_empty() || name.ends_with(b" ") || name.ends_with(b"\t") {
                    return Err("a wrong name".to_owned());
                }
                let end = after.iter().position(|b| *b == b'\'').ok_or("an open quote")?;
                let value = String::from_utf8(after[..end].to_vec()).map_err(|error| error.to_string())?;
                found.push((String::from_utf8(name.to_vec()).unwrap(), value));
                rest = &after[end + 1..];
                if !matches!(rest, [] | [b' ' | b'\t' | b'\n' | b'#', ..]) {
                    return Err("text behind a closing quote".to_owned());
                }
            }
        }
    }
}

/// Returns the value of `field` that the kubelet reads: the first entry, unless it is empty, which counts as missing.
fn found_by_kubelet(file: &[u8], field: &str) -> Option<String> {
    let entries = read_env_file(file).ok()?;
    entries
        .into_iter()
        .find(|(name, _)| name == field)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

fn envfile(secret: &[(&str, &[u8])]) -> Result<String, String> {
    let mut files = render(&[("db.format", "envfile")], secret)?;
    Ok(String::from_utf8(files.remove("db.envfile").unwrap()).unwrap())
}

#[test]
fn each_field_is_a_line_in_single_quotes_in_order_of_name() {
    let secret: &[(&str, &[u8])] = &[("password", b"a \"b\" \\ $c `d` #e\n=f"), ("tls.crt", b"x")];
    assert_eq!(envfile(secret).unwrap(), "password='a \"b\" \\ $c `d` #e\n=f'\ntls.crt='x'\n");
}

#[test]
fn values_that_the_kubelet_cannot_read_are_rejected_with_reason_and_remedy() {
    let long = "x".repeat(65_536);
    for (value, reason) in [
        (
            "",
            "is empty, which the kubelet treats as missing: exclude the field with .keys, and mark its fileKeyRef optional: true",
        ),
        (
            "test-it's",
            "contains a single quote, which the kubelet reads as the end of the value: use format uri with .variable",
        ),
        ("test-\r\n", "contains CR LF, which the kubelet converts to LF: store it with LF alone"),
        (long.as_str(), "has a line of 64 KiB or more, which the kubelet cannot read: use format files"),
        (
            &"test-\n".repeat(25_000),
            "is larger than 128 KiB, the Linux limit for one variable: use format files",
        ),
        ("test-\0", "is binary"),
    ] {
        let message = envfile(&[("a", b"x"), ("password", value.as_bytes())]).unwrap_err();
        let start = "credential db: the value of field password ";
        assert!(message.starts_with(&format!("{start}{reason}")) && !message.contains("test-"), "{message}");
    }
    let message = envfile(&[("password", b"test-\xff")]).unwrap_err();
    assert!(message.contains("field password is binary"), "{message}");
}

#[test]
fn a_line_may_fill_the_kubelets_buffer_exactly() {
    let fits = |first: usize, last: usize| {
        let value = format!("{}\nx\n{}", "a".repeat(first), "b".repeat(last));
        let written = envfile(&[("password", value.as_bytes())]);
        let kubelet = found_by_kubelet(format!("password='{value}'\n").as_bytes(), "password");
        assert_eq!(written.is_ok(), kubelet == Some(value), "{first} {last}");
        written.is_ok()
    };
    let (first, last) = (65_535 - "password='".len(), 65_535 - "'".len());
    assert!(fits(first, 1) && !fits(first + 1, 1));
    assert!(fits(1, last) && !fits(1, last + 1));
    let alone = |length: usize| envfile(&[("password", "x".repeat(length).as_bytes())]).is_ok();
    assert!(alone(first - 1) && !alone(first));
}

#[test]
fn a_carriage_return_without_a_line_feed_is_kept() {
    for value in ["a\rb", "\r", "a\n\rb\r"] {
        let file = envfile(&[("a", value.as_bytes())]).unwrap();
        assert_eq!(found_by_kubelet(file.as_bytes(), "a").as_deref(), Some(value));
    }
}

const CONNECTION: &[(&str, &[u8])] = &[
    ("username", b"app"),
    ("password", b"it's \xc3\xa9"),
    ("host", b"db.prod.svc"),
    ("dbname", b"orders"),
    ("type", b"postgresql"),
];

fn exported(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Result<(String, String), String> {
    let files = render(&[annotations, &[("db.variable", "URL")]].concat(), secret)?;
    let (path, content) = files.into_iter().next().unwrap();
    Ok((path, String::from_utf8(content).unwrap()))
}

#[test]
fn a_url_is_assigned_in_the_file_format_of_the_annotation() {
    for (kind, path, start) in
        [("env", "db.env", "export URL='"), ("dotenv", "db.env", "URL='"), ("envfile", "db.envfile", "URL='")]
    {
        for (format, text) in [
            ("uri", "postgresql://app:it%27s%20%C3%A9@db.prod.svc:5432/orders"),
            ("jdbc", "jdbc:postgresql://db.prod.svc:5432/orders?user=app&password=it%27s%20%C3%A9"),
        ] {
            let annotations = [("db.format", format), ("db.variable-format", kind)];
            let file = exported(&annotations, CONNECTION).unwrap();
            assert_eq!(file, (path.to_owned(), format!("{start}{text}'\n")), "{format} in {kind}");
        }
    }
    assert_eq!(
        exported(&[("db.format", "uri")], CONNECTION).unwrap().0,
        "db.env",
        "as without the annotation"
    );
}

#[test]
fn a_connection_string_for_the_kubelet_has_no_quotes() {
    let annotations = [("db.format", "libpq"), ("db.variable-format", "envfile")];
    let with = |password: &str| {
        let secret: Vec<_> = CONNECTION
            .iter()
            .map(|(key, value)| if *key == "password" { (*key, password.as_bytes()) } else { (*key, *value) })
            .collect();
        exported(&annotations, &secret)
    };
    let (_, file) = with("a\"b=c;$d#").unwrap();
    assert_eq!(file, "URL='host=db.prod.svc dbname=orders user=app password=a\"b=c;$d#'\n");
    for password in ["it's", "a b", "a\\b", "a\nb", "\u{e9}"] {
        let message = with(password).unwrap_err();
        assert!(
            message.contains("field password contains a character that requires single quotes"),
            "{message}"
        );
    }
    let empty = [&annotations[..], &[("db.set", "application_name=''")]].concat();
    let secret: Vec<_> = CONNECTION.iter().copied().filter(|(key, _)| *key != "password").collect();
    let message = exported(&empty, &secret).unwrap_err();
    assert!(message.contains("contains nothing"), "{message}");
}

#[test]
fn the_message_for_a_url_with_a_single_quote_names_its_variable() {
    let annotations = [("db.format", "jdbc"), ("db.engine", "sqlserver"), ("db.variable-format", "envfile")];
    let message = exported(&annotations, CONNECTION).unwrap_err();
    assert!(message.contains("the value of variable URL contains a single quote"), "{message}");
}

/// Returns the variable VALUE after a POSIX shell has sourced the file, which it reads as the kubelet does.
fn sourced(shell: &str, file: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.envfile");
    std::fs::write(&path, file).unwrap();
    let output = program(shell)
        .args(["-c", "set -a; . \"$1\" && exec env -0", "sh"])
        .arg(&path)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{shell}: {output:?}");
    output.stdout.split(|b| *b == 0).find_map(|pair| pair.strip_prefix(b"VALUE=")).unwrap().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn a_value_is_written_exactly_if_the_kubelet_reads_it_back(
        value in any_text(),
        name in "[-._a-zA-Z0-9]{1,8}",
        before in "[-._a-zA-Z0-9]{1,8}",
    ) {
        prop_assume!(FieldName::parse(&name).is_ok() && FieldName::parse(&before).is_ok() && name != before);
        let unescaped = format!("{name}='{value}'\n");
        match envfile(&[(&before, b"other"), (&name, value.as_bytes())]) {
            Ok(file) => {
                prop_assert_eq!(found_by_kubelet(file.as_bytes(), &name), Some(value));
                prop_assert_eq!(found_by_kubelet(file.as_bytes(), &before), Some("other".to_owned()));
            }
            Err(message) => {
                prop_assert!(message.contains("kubelet"), "{}", message);
                prop_assert_ne!(found_by_kubelet(unescaped.as_bytes(), &name), Some(value));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_shell_reads_an_envfile_as_the_kubelet_does(value in any_text()) {
        if let Ok(file) = envfile(&[("VALUE", value.as_bytes())]) {
            prop_assert_eq!(sourced("sh", &file), value.as_bytes());
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::annotations::{self, DEFAULT_PREFIX, ReferenceScope};
use crate::escape;
use crate::object::{Kind, Namespace, ObjectRef};
use crate::render;
use crate::secret::SecretBuffer;

fn path(text: &str) -> RelativePath {
    RelativePath::parse(text).unwrap()
}

fn environment(files: &[(&str, &str)]) -> Result<Environment, Vec<Error>> {
    let files = files.iter().map(|(name, content)| (path(name), SecretBytes::from(*content))).collect();
    Environment::from_files(&files).map_err(|errors| errors.0)
}

fn texts(environment: &Environment) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name, value.expose_text().unwrap())).collect()
}

/// The files that format `env` writes for a Secret with these keys.
fn rendered(secret: &BTreeMap<String, Vec<u8>>) -> BTreeMap<RelativePath, SecretBytes> {
    let namespace = Namespace::parse("prod").unwrap();
    let annotations = [("db.secret", "s"), ("db.format", "env")]
        .map(|(key, value)| (format!("{DEFAULT_PREFIX}/{key}"), value.to_owned()));
    let credentials =
        annotations::parse(&annotations.into(), DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone()))
            .unwrap();
    let data = secret.iter().map(|(key, value)| (key.clone(), SecretBytes::new(value.clone()))).collect();
    let object = ObjectRef::parse(Kind::Secret, "s", &namespace).unwrap();
    let sources = [(object, Some(data))].into();
    let bundle = render::render(&credentials, &sources).unwrap().bundle;
    bundle.into_iter().map(|(path, file)| (path, file.content)).collect()
}

/// One line of format `env`.
fn line(name: &str, value: &str) -> String {
    let mut quoted = SecretBuffer::default();
    escape::shell(value, &mut quoted).unwrap();
    format!("export {name}={}\n", quoted.finish().expose_text().unwrap())
}

#[test]
fn the_variables_of_all_files_are_merged() {
    let read = environment(&[
        ("a.env", "export B='two\nlines'\nexport A='it'\\''s \"$x\" \\'\n"),
        ("b/c.env", "export C=''\n"),
        ("none.env", ""),
    ]);
    assert_eq!(texts(&read.unwrap()), [("A", "it's \"$x\" \\"), ("B", "two\nlines"), ("C", "")]);
}

#[test]
fn text_that_format_env_does_not_write_is_rejected_with_its_line() {
    for wrong in [
        "A='x'\n",
        "export PATH='/tmp'\n",
        "export LD_PRELOAD='/tmp/x.so'\n",
        "export A=x\n",
        "export A=\"x\"\n",
        "export A='x'",
        "export A='x' \n",
        "export A='x'y\n",
        "export A='x''y'\n",
        "export A='x\n",
        "export A='x'\\'\n",
        "export A='a\0b'\n",
        "export A='x'\r\n",
        "export  A='x'\n",
        "export 1A='x'\n",
        "export A-B='x'\n",
        "export ='x'\n",
        "export A\n",
        "# A\n",
        "\n",
        "\u{feff}export A='x'\n",
    ] {
        let text = format!("export FIRST='two\nlines'\n{wrong}");
        let expected = vec![Error::UnsupportedSyntax { file: path("db.env"), line: 3 }];
        assert_eq!(environment(&[("db.env", &text)]).unwrap_err(), expected, "{wrong:?}");
    }
}

#[test]
fn files_may_repeat_a_variable_but_not_change_its_value() {
    let one = "export A='x'\nexport B='y'\n";
    assert_eq!(environment(&[("one.env", one), ("two.env", one)]).unwrap().len(), 2);
    let conflict =
        |name: &str| Error::Conflict { name: name.into(), first: path("one.env"), second: path("two.env") };
    let errors = environment(&[
        ("one.env", one),
        ("three.env", "A='test'"),
        ("two.env", "export A='test'\nexport B=''\n"),
    ]);
    assert_eq!(
        errors.unwrap_err(),
        [Error::UnsupportedSyntax { file: path("three.env"), line: 1 }, conflict("A"), conflict("B")]
    );
}

#[test]
fn no_message_shows_a_value() {
    let errors = environment(&[
        ("a.env", "export A='test-1'\n"),
        ("b.env", "export A='test-2'\n"),
        ("c.env", "test-3"),
    ]);
    let message =
        format!("{}{:?}", Errors(errors.unwrap_err()), environment(&[("a.env", "export A='test-1'\n")]));
    assert!(!message.contains("test-"), "{message}");
}

#[test]
fn the_largest_variable_is_returned_with_its_file() {
    let environment =
        environment(&[("a.env", "export LONG_NAME=''\n"), ("b.env", "export B='0123456789'\n")]);
    assert_eq!(environment.unwrap().largest(), Some(("B", &path("b.env"))));
}

proptest! {
    #[test]
    fn files_of_format_env_read_back_the_same(
        secret in prop::collection::btree_map("X[A-Za-z0-9_]{0,8}", "[^\\x00]*|['\\\\\n=ex]{0,20}", 1..8),
    ) {
        let secret: BTreeMap<_, _> = secret.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        let environment = Environment::from_files(&rendered(&secret)).unwrap();
        let read: BTreeMap<_, _> =
            environment.iter().map(|(name, value)| (name.to_owned(), value.expose().to_vec())).collect();
        prop_assert_eq!(read, secret);
    }

    #[test]
    fn accepted_text_is_exactly_what_format_env_writes(
        values in prop::collection::vec("['x\n=]{0,3}", 1..3),
        at in any::<prop::sample::Index>(),
        removed in 0..3_usize,
        inserted in prop::sample::select(vec!["", "'", "\\''", "\n", " ", "=", "x", "\\", "export "]),
    ) {
        let mut text: String = values.iter().enumerate().map(|(n, value)| line(&format!("A{n}"), value)).collect();
        let at = at.index(text.len());
        text.replace_range(at..(at + removed).min(text.len()), inserted);
        if let Ok(variables) = parse(text.as_bytes()) {
            let lines = variables.iter().map(|(name, value)| line(name, value.expose_text().unwrap()));
            prop_assert_eq!(lines.collect::<String>(), text);
        }
    }
}

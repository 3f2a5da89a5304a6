//! Any annotations of two credentials, in either vocabulary, with any Secret and ConfigMap: what is rendered stays in the
//! volume and reads back with independent readers, and no value is in an error or in redacted output.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, keys, parse};
use podcreds::credential::{Bundle, RelativePath};
use podcreds::env_file::Environment;
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{render, render_redacted};
use podcreds::secret::SecretBytes;

const INJECTOR: &str = "db-creds-injector.numberly.io";
/// A marker in values, which no error and no redacted output may contain. No escaping rule changes it.
const MARKER: &str = "testmark7f3a";
const PLACEHOLDER: &str = "hidden";

/// Values that make sense, which random text would seldom hit.
const VALUES: [&str; 44] = [
    "s",
    "s",
    "c",
    "prod/s",
    "files",
    "env",
    "dotenv",
    "envfile",
    "json",
    "yaml",
    "properties",
    "uri",
    "jdbc",
    "adonet",
    "libpq",
    "pgpass",
    "pgservice",
    "mycnf",
    "pkcs12",
    "template",
    "postgresql",
    "postgresql+asyncpg",
    "rediss",
    "mysql",
    "sqlserver",
    "mongodb",
    "amqp",
    "redis",
    "true",
    "0400",
    "username, password",
    "USERNAME=username, PASSWORD=password",
    "password=other",
    "host=db, port=5432",
    "database=orders",
    "options=sslmode=require",
    "shared/x",
    "shared.pgpass",
    "{{ password }}",
    "{% for name in fields %}{{ name }}={{ fields[name] | shell }}\n{% endfor %}",
    "{{ other | default('x') | json }}",
    "c/t",
    "URL",
    "[[ ]]",
];
/// Fields that formats use, and some that they do not.
const FIELDS: [&str; 12] = [
    "username",
    "password",
    "host",
    "port",
    "database",
    "type",
    "options",
    "uri",
    "other",
    "DATABASE_URL",
    "ca.crt",
    "t",
];

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    injector: bool,
    annotations: Vec<(bool, u8, Text<'a>)>,
    secret: Vec<(u8, bool, &'a [u8])>,
    configmap: Option<Vec<(u8, Text<'a>)>>,
}

#[derive(Arbitrary, Debug)]
enum Text<'a> {
    Known(u8),
    Any(&'a str),
}

impl Text<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Known(number) => VALUES[usize::from(*number) % VALUES.len()],
            Self::Any(text) => text,
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let namespace = Namespace::parse("prod").expect("a namespace");
    let known: Vec<_> = keys().collect();
    let prefix = if input.injector { INJECTOR } else { DEFAULT_PREFIX };
    let annotations: BTreeMap<_, _> = input
        .annotations
        .iter()
        .map(|(is_a, key, value)| {
            let name = if *is_a { "a" } else { "b" };
            let key = known[usize::from(*key) % known.len()];
            (format!("{prefix}/{name}.{key}"), value.as_str().to_owned())
        })
        .collect();
    // The fuzzer learns the marker. Text of templates may be shown.
    let texts = input.configmap.iter().flatten().map(|(_, text)| text.as_str());
    if texts.chain(annotations.values().map(String::as_str)).any(|text| text.contains(MARKER)) {
        return;
    }
    let credentials = match parse(&annotations, prefix, &ReferenceScope::local(namespace.clone())) {
        Ok(credentials) => credentials,
        Err(errors) => return drop(errors.to_string()),
    };
    let data: BTreeMap<_, _> = input
        .secret
        .iter()
        .map(|(field, is_marked, value)| {
            let value = if *is_marked { [MARKER.as_bytes(), value].concat() } else { value.to_vec() };
            (FIELDS[usize::from(*field) % FIELDS.len()], value)
        })
        .collect();
    let secret = data.iter().map(|(field, value)| ((*field).to_owned(), SecretBytes::new(value.clone())));
    let configmap = input.configmap.as_ref().map(|entries| {
        let entry = |(field, value): &(u8, Text<'_>)| {
            (FIELDS[usize::from(*field) % FIELDS.len()].to_owned(), SecretBytes::from(value.as_str()))
        };
        entries.iter().map(entry).collect()
    });
    let object = |kind, name| ObjectRef::new(kind, namespace.clone(), name).expect("a name");
    let sources = BTreeMap::from([
        (object(Kind::Secret, "s"), Some(secret.collect())),
        (object(Kind::ConfigMap, "c"), configmap),
    ]);
    // Names of fields are shown, and a ConfigMap's and annotations' own text may be; only the Secret's values may not.
    match (render(&credentials, &sources), render_redacted(&credentials, &sources, PLACEHOLDER)) {
        (Err(errors), redacted) => {
            assert!(!errors.to_string().contains(MARKER), "{errors}");
            redacted.iter().for_each(|rendered| is_redacted(&rendered.bundle));
        }
        (Ok(rendered), Ok(redacted)) => {
            assert!(!format!("{rendered:?}").contains(MARKER), "Debug shows a value");
            assert!(rendered.bundle.keys().eq(redacted.bundle.keys()), "redacted output has other files");
            is_redacted(&redacted.bundle);
            for path in rendered.bundle.keys() {
                let path = path.to_string();
                assert!(
                    !path.starts_with('/') && path.split('/').all(|part| !part.starts_with("..")),
                    "{path}"
                );
            }
            for name in ["a", "b"] {
                reads_back(&annotations, &format!("{prefix}/{name}"), &rendered.bundle, &data);
            }
        }
        (Ok(_), Err(errors)) => panic!("only redacted output fails: {errors}"),
    }
});

fn is_redacted(bundle: &Bundle) {
    for (path, file) in bundle {
        let content = file.content.expose();
        assert!(!content.windows(MARKER.len()).any(|part| part == MARKER.as_bytes()), "{path} shows a value");
    }
}

/// If the credential consists of a whole Secret in a format of names and values, reads the file and compares it.
fn reads_back(
    annotations: &BTreeMap<String, String>,
    credential: &str,
    bundle: &Bundle,
    data: &BTreeMap<&str, Vec<u8>>,
) {
    // With .path, the other credential may have entries in the same file.
    if annotations.keys().any(|key| key.ends_with(".path")) {
        return;
    }
    let of_credential: Vec<_> = annotations
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(credential)?.strip_prefix('.')?, value.as_str())))
        .collect();
    let known = |(key, value): &&(&str, &str)| match *key {
        "secret" => ["s", "prod/s"].contains(value),
        "format" | "on-change" | "file-mode" => true,
        _ => false,
    };
    if of_credential.iter().filter(known).count() != of_credential.len() {
        return;
    }
    let Some((_, format)) = of_credential.iter().find(|(key, _)| *key == "format") else { return };
    let name = credential.rsplit('/').next().expect("a name");
    let Some((path, file)) =
        bundle.iter().find(|(path, _)| path.to_string().starts_with(&format!("{name}.")))
    else {
        return;
    };
    let Some(text) = file.content.expose_text() else { return };
    let read = match *format {
        "env" => environment(path, file.content.clone()),
        "dotenv" => dotenv(text),
        "json" => serde_json::from_str(text).expect("JSON"),
        "yaml" => yaml_serde::from_str(text).expect("YAML"),
        "properties" => java_properties::read(text.as_bytes()).expect("properties").into_iter().collect(),
        _ => return,
    };
    // Without .keys, these formats skip keys that are not the names of variables.
    let is_variable = |field: &str| {
        !field.starts_with(|c: char| c.is_ascii_digit())
            && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let expected: BTreeMap<_, _> = data
        .iter()
        .filter(|(field, _)| !["env", "dotenv"].contains(format) || is_variable(field))
        .map(|(field, value)| {
            ((*field).to_owned(), String::from_utf8(value.clone()).expect("the format has text only"))
        })
        .collect();
    assert_eq!(read, expected, "{format} wrote {text:?}");
}

fn environment(path: &RelativePath, content: SecretBytes) -> BTreeMap<String, String> {
    let environment =
        Environment::from_files(&BTreeMap::from([(path.clone(), content)])).expect("an env file");
    environment
        .iter()
        .map(|(name, value)| (name.to_owned(), value.expose_text().expect("text").to_owned()))
        .collect()
}

/// `NAME='value'` or `NAME="value"`; the second has escapes, and a value may have several lines.
fn dotenv(text: &str) -> BTreeMap<String, String> {
    let (mut read, mut rest) = (BTreeMap::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let quote = after.chars().next().expect("a quote");
        assert!(['\'', '"', '`'].contains(&quote), "{after:?}");
        let (value, end) =
            after[1..].split_once(&format!("{quote}\n")).expect("a closing quote at the end of a line");
        let value = if quote == '"' { value.replace("\\n", "\n") } else { value.to_owned() };
        read.insert(name.to_owned(), value);
        rest = end;
    }
    read
}

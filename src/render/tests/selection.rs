//! Which fields a credential has: several sources, values inside JSON, names in bulk, optional keys and line breaks.

use proptest::prelude::*;

use super::*;

/// A name, and values by key.
type Secret<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);

/// Renders a credential `db` from Secrets of these names.
fn render_all(
    annotations: &[(&str, &str)],
    secrets: &[Secret<'_>],
) -> Result<BTreeMap<String, String>, String> {
    let sources: Sources =
        secrets.iter().map(|(name, keys)| (object(Kind::Secret, name), Some(data(keys)))).collect();
    let bundle = bundle(&credentials(annotations), &sources).map_err(|errors| errors.to_string())?;
    let text = |file: BundleFile| file.content.expose_text().unwrap().to_owned();
    Ok(bundle.into_iter().map(|(path, file)| (path.to_string(), text(file))).collect())
}

fn shown(notice: &Notice<'_>) -> String {
    format!("{}{notice}", if notice.is_suspicious() { "WARN: " } else { "INFO: " })
}

fn notices(annotations: &[(&str, &str)], secret: &[(&str, &[u8])]) -> Vec<String> {
    let all = [&[("db.secret", "s")], annotations].concat();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(secret)))]);
    let credentials = credentials(&all);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    rendered.notices.iter().map(shown).collect()
}

const TWO: &[Secret<'_>] =
    &[("orders-db", &[("user", b"app"), ("password", b"p1")]), ("orders-redis", &[("password", b"p2")])];
const BOTH: (&str, &str) = ("db.secret", "db=orders-db, cache=orders-redis");

#[test]
fn the_fields_of_several_secrets_have_the_alias_of_theirs() {
    let files = render_all(&[BOTH, ("db.format", "properties")], TWO).unwrap();
    assert_eq!(files["db.properties"], "cache.password=p2\ndb.password=p1\ndb.user=app\n");
    let keys = ("db.keys", "DB_PASSWORD=db.password, CACHE_PASSWORD=cache.password");
    let files = render_all(&[BOTH, keys, ("db.format", "env")], TWO).unwrap();
    assert_eq!(files["db.env"], "export CACHE_PASSWORD='p2'\nexport DB_PASSWORD='p1'\n");
    let files = render_all(&[BOTH, ("db.names", "upper"), ("db.format", "env")], TWO).unwrap();
    assert_eq!(
        files["db.env"],
        "export CACHE_PASSWORD='p2'\nexport DB_PASSWORD='p1'\nexport DB_USER='app'\n"
    );
    let keys = ("db.keys", "username=db.user, password=db.password");
    let set = ("db.set", "host=h, database=orders, engine=postgresql");
    let files = render_all(&[BOTH, keys, set, ("db.format", "uri")], TWO).unwrap();
    assert_eq!(files["db.uri"], "postgresql://app:p1@h:5432/orders");
    let message = render_all(&[BOTH, ("db.keys", "db.passwd")], TWO).unwrap_err();
    assert!(message.ends_with("; available: db.password, db.user, cache.password"), "{message}");
}

#[test]
fn a_value_inside_json_is_a_field_under_the_name_of_its_entry() {
    let json: &[(&str, &[u8])] = &[(
        "config.json",
        br#"{"user": "a\u0070p", "port": 5432, "big": 12345678901234567890.10, "tls": true, "hosts": ["a", {"b/c": "d\n"}], "none": null}"#,
    )];
    let keys = "user=config.json#/user, port=config.json#/port, big=config.json#/big, tls=config.json#/tls, h=config.json#/hosts/1/b~1c";
    let files = render(&[("db.keys", keys), ("db.format", "json")], json).unwrap();
    let expected = "{\n  \"big\": \"12345678901234567890.10\",\n  \"h\": \"d\\n\",\n  \"port\": \"5432\",\n  \"tls\": \"true\",\n  \"user\": \"app\"\n}\n";
    assert_eq!(str::from_utf8(&files["db.json"]).unwrap(), expected);
    for (pointer, expected) in [
        ("/password", "JSON pointer /password: not found; available: user, port, big, tls, hosts, none"),
        ("/hosts/2", "not found; the array has 2 elements"),
        ("/hosts/01", "not found; the array has 2 elements"),
        ("/hosts", "selects an array, not a string, number or boolean; the array has 2 elements"),
        ("", "JSON pointer \"\": selects an object, not a string, number or boolean; available: user,"),
        (
            "/none",
            "selects null, not a string, number or boolean; store a value there, or remove the null and mark",
        ),
        ("/user/name", "continues after a string"),
    ] {
        let message = render(&[("db.keys", &format!("a=config.json#{pointer}"))], json).unwrap_err();
        assert!(message.contains(expected), "{pointer}: {message}");
        assert!(message.starts_with("credential db: Secret prod/s, key config.json, "), "{message}");
        assert!(!message.contains("5432") && !message.contains("app"), "{message}");
    }
    for text in ["", "{", "test-password", "{} x", "\"\\ud800\"", "\"\\ud800\\n\"", "\u{feff}{}"] {
        let message = render(&[("db.keys", "a=k#")], &[("k", text.as_bytes())]).unwrap_err();
        assert!(
            message.contains("JSON pointer \"\": the key's value is not JSON: correct it"),
            "{text}: {message}"
        );
    }
    assert_eq!(
        render(&[("db.keys", "a=k#")], &[("k", br#""\ud83d\ude00\"\\\/\b""#)]).unwrap()["db/a"],
        "😀\"\\/\u{8}".as_bytes()
    );
}

#[test]
fn an_optional_entry_may_lack_its_key_or_what_its_pointer_names() {
    let keys = ("db.keys", "a, b?, c=j#/c?, d=k#/d?");
    let files = render(&[keys], &[("a", b"1"), ("j", b"{}")]).unwrap();
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["db/a"]);
    let said = notices(&[keys], &[("a", b"1"), ("j", b"{}")]);
    assert_eq!(
        said,
        [
            "INFO: writing credential db without optional field c: Secret prod/s, key j, JSON pointer /c: not found",
            "INFO: writing credential db without optional field b: key b not found in Secret prod/s; available: a, j",
            "INFO: writing credential db without optional field d: key k not found in Secret prod/s; available: a, j",
        ]
    );
    let message = render(&[("db.keys", "a=j#/c?")], &[("j", b"[")]).unwrap_err();
    assert!(message.contains("is not JSON"), "what is not JSON is a mistake: {message}");
}

#[test]
fn json_pointers_read_no_more_than_their_share() {
    let value = format!("{{\"a\": \"{}\", \"b\": 1}}", "x".repeat(900_000));
    let keys: String = (0..40).map(|at| format!("f{at}=k#/b,")).collect();
    let message = render(&[("db.keys", &keys)], &[("k", value.as_bytes())]).unwrap_err();
    assert!(message.contains("together read too much JSON"), "{message}");
    let message = render(&[("db.keys", "a=k#/a,b=k#/a,c=k#/a,d=k#/a,e=k#/a")], &[("k", value.as_bytes())]);
    let message = message.unwrap_err();
    assert!(message.contains("exceed the limit of 4194304 bytes"), "{message}");
}

#[test]
fn names_in_bulk_are_injective_or_refused() {
    let names = [("db.names", "upper"), ("db.prefix", "ORDERS_"), ("db.format", "env")];
    let files = render(&names, &[("db-user", b"app"), ("password", b"p")]).unwrap();
    assert_eq!(files["db.env"], b"export ORDERS_DB_USER='app'\nexport ORDERS_PASSWORD='p'\n");
    let message = render(&names, &[("db-user", b"a"), ("db.user", b"b"), ("DB_USER", b"c")]).unwrap_err();
    for key in ["db-user of Secret prod/s", "db.user of Secret prod/s"] {
        assert!(
            message.contains(&format!(
                "field ORDERS_DB_USER comes from key DB_USER of Secret prod/s and from key {key}: "
            )),
            "{message}"
        );
    }
    for (key, said) in
        [("path", "field PATH has the name of a variable"), ("node-options", "field NODE_OPTIONS")]
    {
        let message = render(&[names[0], names[2]], &[(key, b"x")]).unwrap_err();
        assert!(message.contains(said), "{message}");
    }
    let errors = parse(
        &[("db.secret", "s"), ("db.format", "uri"), ("db.names", "upper")]
            .into_iter()
            .map(|(key, value)| (format!("{DEFAULT_PREFIX}/{key}"), value.to_owned()))
            .collect(),
        DEFAULT_PREFIX,
        &ReferenceScope::local(Namespace::parse("prod").unwrap()),
    );
    let message = errors.unwrap_err().to_string();
    assert!(
        message.contains("podcreds.io/db.names: renames fields, which this format finds by their names"),
        "{message}"
    );
}

#[test]
fn a_key_that_no_variable_can_have_as_its_name_is_omitted_with_a_warning() {
    let secret: &[(&str, &[u8])] = &[("fqdn-uri", b"x"), ("1st", b"x"), ("user", b"app")];
    for (format, path, line) in
        [("env", "db.env", "export user='app'\n"), ("dotenv", "db.env", "user='app'\n")]
    {
        let format = ("db.format", format);
        assert_eq!(render(&[format], secret).unwrap()[path], line.as_bytes());
        assert_eq!(
            notices(&[format], secret),
            ["1st", "fqdn-uri"].map(|field| format!("WARN: writing credential db without field {field}, whose name is not a valid environment variable name: rename it with .keys or .names, or list only the needed keys in .keys"))
        );
        for (annotation, secret) in [
            (("db.keys", "user, fqdn-uri"), secret),
            (("db.trim", "false"), &secret[..2]),
            // A literal is not a key.
            (("db.set", "HOST=db"), &secret[..2]),
        ] {
            let message = render(&[format, annotation], secret).unwrap_err();
            assert!(message.contains("field fqdn-uri is not a valid environment variable name"), "{message}");
        }
    }
}

#[test]
fn one_line_break_at_the_end_of_each_value_can_be_removed() {
    let secret: &[(&str, &[u8])] =
        &[("a", b"1\n"), ("b", b"2\r\n"), ("c", b"3\n\n"), ("d", b"4\r"), ("e", b"\xff\n")];
    let files = render(&[("db.trim", "true")], secret).unwrap();
    let values: Vec<_> = files.into_values().collect();
    assert_eq!(values, [&b"1"[..], b"2", b"3\n", b"4\r", b"\xff"]);
    assert_eq!(render(&[], secret).unwrap()["db/a"], b"1\n");
    let large = vec![b'\n'; 1024 * 1024];
    let keys: String = (0..5).map(|at| format!("f{at}=k,")).collect();
    let message = render(&[("db.keys", &keys), ("db.trim", "true")], &[("k", &large)]).unwrap_err();
    assert!(message.contains("exceed the limit of 4194304 bytes"), "{message}");
}

#[test]
fn a_part_of_a_connection_that_ends_with_a_line_break_is_warned_of() {
    let secret: &[(&str, &[u8])] =
        &[("username", b"app\n"), ("password", b"p\n"), ("host", b"h\n"), ("port", b"1\n"), ("note", b"\n")];
    let uri = [("db.format", "uri"), ("db.engine", "postgresql")];
    let said = notices(&uri, secret);
    let expected = |field| {
        format!(
            "WARN: credential db: the value of field {field} ends with a line break, which probably came from `echo` or an editor: store it without, or add .trim: \"true\""
        )
    };
    assert_eq!(said, ["host", "password", "port", "username"].map(expected));
    assert_eq!(render(&uri, secret).unwrap()["db.uri"], b"postgresql://app%0A:p%0A@h:1");
    let trimmed = [uri[0], uri[1], ("db.trim", "true")];
    assert!(notices(&trimmed, secret).is_empty());
    assert_eq!(render(&trimmed, secret).unwrap()["db.uri"], b"postgresql://app:p@h:1");
    assert!(notices(&[("db.format", "json")], secret).is_empty());
}

proptest! {
    #[test]
    fn bulk_names_are_injective_or_refused(keys in prop::collection::btree_set("[aAbB._-]{1,3}", 1..5), prefix in "[a-zA-Z_]{0,2}") {
        let valid = keys.iter().filter(|key| FieldName::parse(key).is_ok());
        let secret: Vec<(&str, &[u8])> = valid.map(|key| (key.as_str(), key.as_bytes())).collect();
        prop_assume!(!secret.is_empty());
        let mut annotations = vec![("db.names", "upper"), ("db.format", "json")];
        annotations.extend((!prefix.is_empty()).then_some(("db.prefix", prefix.as_str())));
        let name = |key: &str| format!("{prefix}{}", key.to_uppercase().replace(['-', '.'], "_"));
        let expected: BTreeMap<_, _> = secret.iter().map(|(key, _)| (name(key), (*key).to_owned())).collect();
        match render(&annotations, &secret) {
            Ok(files) => {
                let found: BTreeMap<String, String> = serde_json::from_slice(&files["db.json"]).unwrap();
                prop_assert_eq!(found.len(), secret.len());
                prop_assert_eq!(found, expected);
            }
            Err(message) => prop_assert!(expected.len() < secret.len(), "{}", message),
        }
    }
}

//! No error repeats more of a value than its start, wherever a user put a password.

use super::*;
use crate::annotations::keys::{INJECTOR_KEYS, KEYS};

/// A password. Messages may show its first four characters.
const PASSWORD: &str = "Zq7wK9xT2mB5vR8n";

/// Values as users put them into the wrong annotation.
fn misplaced() -> Vec<String> {
    [
        "postgresql://app:PASSWORD@db/orders",
        "postgresql+asyncpg://PASSWORD@db/orders",
        "DATABASE_URL=postgresql://app:PASSWORD@db/orders",
        "app:PASSWORD/x",
        "app/PASSWORD:x",
        "a/b/app:PASSWORD",
        "app@PASSWORD:x",
        "db:PASSWORD",
        "password=PASSWORD!",
        "password=x,PASSWORD!",
        "password=\"PASSWORD",
        "password: PASSWORD",
        "PASSWORD",
        "PASSWORD!",
        "PASSWORD PASSWORD",
        "/PASSWORD",
        "../PASSWORD",
        "{{ PASSWORD! }}",
        "{{ 'PASSWORD' }",
        "{{ a | b64('PASSWORD') }}",
        "{{ .Values.PASSWORD }}",
        "http://app:PASSWORD@localhost/reload",
        "POST http://app:PASSWORD@localhost/reload",
        "POST http://localhost:PASSWORD/reload",
        "POST https://localhost/reload?token=PASSWORD",
        "signal PASSWORD app",
        "signal HUP app:PASSWORD",
        "touch /PASSWORD",
        "exec app PASSWORD",
        "\u{1b}[2KPASSWORD",
    ]
    .map(|text| text.replace("PASSWORD", PASSWORD))
    .to_vec()
}

#[test]
fn a_password_in_a_wrong_annotation_is_not_repeated() {
    let scope = ReferenceScope {
        namespace: Namespace::parse("prod").unwrap(),
        clusters: BTreeMap::from([(ClusterId::parse("hub").unwrap(), Namespace::parse("prod").unwrap())]),
    };
    let mut rejected = 0;
    for (prefix, keys) in [(DEFAULT_PREFIX, &KEYS[..]), (INJECTOR_PREFIX, &INJECTOR_KEYS[..])] {
        for (key, value) in keys.iter().flat_map(|(key, _)| misplaced().into_iter().map(move |it| (key, it)))
        {
            let mut annotations = BTreeMap::from([(format!("{prefix}/db.secret"), "db".to_owned())]);
            match *key {
                "variable" | "variable-format" => {
                    annotations.insert(format!("{prefix}/db.format"), "uri".to_owned());
                    annotations.insert(format!("{prefix}/db.variable"), "URL".to_owned());
                }
                "engine" | "scheme" => {
                    drop(annotations.insert(format!("{prefix}/db.format"), "uri".to_owned()))
                }
                "delimiters" => {
                    drop(annotations.insert(format!("{prefix}/db.template"), "[[ a ]]".to_owned()))
                }
                "env-key-uri" => {
                    annotations.insert(format!("{prefix}/db.mode"), "uri".to_owned());
                    annotations.insert(format!("{prefix}/db.template"), "a://@h".to_owned());
                }
                _ => {}
            }
            annotations.insert(format!("{prefix}/db.{key}"), value.clone());
            let Err(errors) = parse(&annotations, prefix, &scope) else { continue };
            rejected += 1;
            let said = format!("{errors}\n{errors:?}");
            assert!(!said.contains(&PASSWORD[..5]), "{key}: {value}\n{said}");
            assert!(!said.contains(&PASSWORD[8..]), "{key}: {value}\n{said}");
            assert!(said.contains(&format!("{prefix}/db")), "{said}");
        }
    }
    assert!(rejected > 400, "most of these values are invalid: {rejected}");
}

#[test]
fn the_template_of_an_injector_shows_nothing_behind_its_scheme() {
    for template in misplaced() {
        let annotations =
            [("a.secret", "db"), ("a.mode", "uri"), ("a.env-key-uri", "URL"), ("a.template", &template)];
        let Err(message) = injected(&annotations) else { continue };
        assert!(!message.contains(&PASSWORD[..5]), "{message}");
    }
}

#[test]
fn a_key_that_holds_a_url_is_not_repeated_behind_its_scheme() {
    for key in ["podcreds.io/postgresql://app:PASSWORD@h/d.secret", "podcreds.io/db.DATABASE_URL=PASSWORD"] {
        let message = read(&[(&key.replace("PASSWORD", PASSWORD), "x")]).unwrap_err();
        assert!(!message.contains(PASSWORD), "{message}");
    }
}

//! `.on-change-header`.

use super::*;

const POST: (&str, &str) = ("on-change", "POST https://app.prod.svc/reload");

fn header(text: &str) -> (&'static str, &str) {
    ("on-change-header", text)
}

#[test]
fn a_header_needs_a_request() {
    let missing = "podcreds.io/db.on-change-header: requires .on-change with POST or GET";
    for on_change in [None, Some("signal HUP app"), Some("touch reload")] {
        let on_change: Vec<_> = on_change.map(|text| ("on-change", text)).into_iter().collect();
        let message = errors_of(&[&on_change[..], &[header("X-Key: {{ key }}")]].concat());
        assert!(message.contains(missing), "{message}");
    }
    let message = errors_of(&[("on-change", "PUT https://a"), header("X-Key: {{ key }}")]);
    assert!(!message.contains("requires"), "one error is enough: {message}");
    for request in ["POST https://app/x", "GET http://localhost:8080"] {
        let annotations = [
            ("podcreds.io/db.secret", "db"),
            ("podcreds.io/db.on-change", request),
            ("podcreds.io/db.on-change-header", "X-Key: {{ key }}"),
        ];
        assert_eq!(read(&annotations).unwrap()[0].on_change_header.as_ref().unwrap().name, "X-Key");
    }
}

#[test]
fn the_fields_of_a_header_are_checked_as_those_of_a_template() {
    let message = errors_of(&[POST, ("keys", "username, token"), header("Authorization: Bearer {{ tokn }}")]);
    assert_eq!(
        message,
        "invalid annotation: podcreds.io/db.on-change-header: line 1, column 26: unknown field \"tokn\"; available: token, username; did you mean \"token\"?"
    );
    let message = errors_of(&[POST, header("X-Key: {{ credentials.reload.token }}")]);
    assert!(
        message.contains("podcreds.io/db.on-change-header: line 1") && message.contains("reload"),
        "{message}"
    );
    let message = errors_of(&[POST, header("X-Key: {% if %}")]);
    assert!(message.contains("podcreds.io/db.on-change-header: line 1"), "{message}");
}

#[test]
fn the_delimiters_are_those_of_the_credential() {
    let annotations = |text| {
        [
            ("podcreds.io/db.secret", "db"),
            ("podcreds.io/db.keys", "key"),
            ("podcreds.io/db.on-change", "POST https://app/x"),
            ("podcreds.io/db.delimiters", "[[ ]]"),
            ("podcreds.io/db.on-change-header", text),
        ]
    };
    assert!(read(&annotations("X-Key: [[ key ]]")).is_ok());
    let message = read(&annotations("X-Key: [[ kye ]]")).unwrap_err();
    assert!(message.contains("unknown field \"kye\""), "{message}");
    let message = errors_of(&[("delimiters", "[[ ]]")]);
    assert!(message.contains("add .template, .template-from or .on-change-header"), "{message}");
}

#[test]
fn a_header_uses_the_fields_of_other_credentials() {
    let read = read(&[
        ("podcreds.io/db.secret", "db"),
        ("podcreds.io/db.on-change", "POST https://app/x"),
        ("podcreds.io/db.on-change-header", "X-Key: {{ credentials.reload.token }}"),
        ("podcreds.io/reload.secret", "reload"),
    ])
    .unwrap();
    let objects: Vec<_> = read[0].objects().map(ToString::to_string).collect();
    assert_eq!(objects, ["Secret prod/db", "Secret prod/reload"]);
}

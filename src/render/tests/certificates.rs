//! Which certificates are found among the fields.

use super::*;

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec!["test".into()]).unwrap().self_signed(&key).unwrap().pem()
}

/// The fields of credential `db` that contain a certificate.
fn found(annotations: &[(&str, &str)], secret: &[(&str, &str)]) -> Vec<String> {
    let credentials = credentials(&[&[("db.secret", "s")], annotations].concat());
    let secret: Vec<_> = secret.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&secret)))]);
    let rendered = super::super::render(&credentials, &sources).unwrap();
    rendered.expiries.iter().map(|expiry| expiry.field.to_string()).collect()
}

#[test]
fn certificates_are_found_in_the_formats_that_write_fields() {
    let certificate = certificate();
    let secret = [("ca.crt", &*certificate), ("host", "db"), ("password", "p"), ("username", "u")];
    for (annotations, expected) in [
        (&[][..], &["ca.crt"][..]),
        (&[("db.format", "json")], &["ca.crt"]),
        (&[("db.keys", "root=ca.crt, password"), ("db.format", "properties")], &["root"]),
        (&[("db.keys", "password")], &[]),
        (&[("db.format", "pkcs12")], &["ca.crt"]),
        (&[("db.template", "{{ fields['ca.crt'] }}")], &["ca.crt"]),
        // A connection does not contain it.
        (&[("db.format", "uri"), ("db.engine", "postgresql"), ("db.set", "database=orders")], &[]),
        (&[("db.format", "pgpass"), ("db.set", "database=orders")], &[]),
    ] {
        assert_eq!(found(annotations, &secret), expected, "{annotations:?}");
    }
}

#[test]
fn a_secret_of_many_certificates_is_observed_in_part() {
    let certificate = certificate();
    let names: Vec<_> = (100..200).map(|number| format!("{number}.crt")).collect();
    let secret: Vec<_> = names.iter().map(|name| (name.as_str(), certificate.as_str())).collect();
    assert_eq!(found(&[], &secret), names[..CERTIFICATE_LIMIT]);
}

#[test]
fn one_key_under_many_names_is_not_searched_for_each_of_them() {
    let text = "x".repeat(SOURCES_LIMIT / 4 + 1) + &certificate();
    let keys: Vec<_> = (10..20).map(|number| format!("f{number}=ca.crt")).collect();
    let annotations = [("db.keys", &*keys.join(",")), ("db.template", "{% if f10 == '' %}-{% endif %}")];
    assert_eq!(found(&annotations, &[("ca.crt", &text)]), ["f10", "f11", "f12"]);
}

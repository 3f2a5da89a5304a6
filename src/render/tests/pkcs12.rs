//! Format `pkcs12`: which files it writes, when they change, and what it refuses. tests/readers/keystores.rs reads the stores.

use super::*;

/// A self-signed certificate and its key, both in PEM.
fn pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["test".into()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn stores(fields: &[(&str, &str)]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let fields: Vec<_> = fields.iter().map(|(field, value)| (*field, value.as_bytes())).collect();
    render(&[("db.format", "pkcs12")], &fields)
}

fn names(fields: &[(&str, &str)]) -> Vec<String> {
    stores(fields).unwrap().into_keys().collect()
}

#[test]
fn each_store_is_written_if_its_fields_exist() {
    let (certificate, key) = pair();
    let (tls, ca, password) = (
        [("tls.crt", &*certificate), ("tls.key", &*key)],
        ("ca.crt", &*certificate),
        ("password", "changeit"),
    );
    assert_eq!(names(&[tls[0], tls[1], password]), ["db/keystore.p12", "db/password"]);
    assert_eq!(names(&[ca, password]), ["db/password", "db/truststore.p12"]);
    assert_eq!(
        names(&[tls[0], tls[1], ca, password, ("username", "app")]),
        ["db/keystore.p12", "db/password", "db/truststore.p12"]
    );
    // cert-manager leaves the key empty if the issuer has no authority of its own.
    assert_eq!(names(&[tls[0], tls[1], ("ca.crt", ""), password]), ["db/keystore.p12", "db/password"]);
    // Strimzi's names.
    let user = [("user.crt", &*certificate), ("user.key", &*key), ("user.password", "changeit")];
    assert_eq!(names(&user), ["db/keystore.p12", "db/password"]);
    assert_eq!(stores(&user).unwrap(), stores(&[tls[0], tls[1], password]).unwrap());
}

#[test]
fn the_password_is_written_as_it_is_and_set_takes_precedence() {
    let (certificate, _) = pair();
    let secret = [("ca.crt", certificate.as_bytes()), ("user.password", b"of the Secret")];
    let read = |annotations: &[(&str, &str)]| {
        render(&[&[("db.format", "pkcs12")], annotations].concat(), &secret).unwrap()
    };
    assert_eq!(read(&[])["db/password"], b"of the Secret");
    assert_eq!(read(&[("db.set", "password=changeit")])["db/password"], b"changeit");
    assert_eq!(
        read(&[("db.set", "user.password=changeit"), ("db.keys", "ca.crt, password=user.password")])["db/password"],
        b"changeit"
    );
}

#[test]
fn stores_change_only_with_their_content_and_password() {
    let ((certificate, key), (other, other_key)) = (pair(), pair());
    let input = |certificate: &str, key: &str, ca: &str, password: &str| {
        stores(&[("tls.crt", certificate), ("tls.key", key), ("ca.crt", ca), ("password", password)]).unwrap()
    };
    let first = input(&certificate, &key, &other, "changeit");
    let (keys, trusted) = ("db/keystore.p12", "db/truststore.p12");
    assert_eq!(first, input(&certificate, &key, &other, "changeit"));
    // Line ends are not content.
    assert_eq!(
        first,
        input(&certificate.replace('\n', "\r\n"), &key.replace('\n', "\r\n"), &other, "changeit")
    );
    let another_password = input(&certificate, &key, &other, "changeme");
    assert!(first[keys] != another_password[keys] && first[trusted] != another_password[trusted]);
    let another_pair = input(&other, &other_key, &other, "changeit");
    assert!(first[keys] != another_pair[keys] && first[trusted] == another_pair[trusted]);
    let longer_chain = input(&(certificate.clone() + &other), &key, &other, "changeit");
    assert!(first[keys] != longer_chain[keys] && first[trusted] == longer_chain[trusted]);
    let another_authority = input(&certificate, &key, &certificate, "changeit");
    assert!(first[keys] == another_authority[keys] && first[trusted] != another_authority[trusted]);
}

/// The salts and initialization vectors, which are public, as 16 bytes after the tag and length of their octet string.
fn random_parts(store: &[u8]) -> impl Iterator<Item = &[u8]> {
    store.windows(18).filter(|part| part[..2] == [4, 16]).map(|part| &part[2..])
}

#[test]
fn salts_and_initialization_vectors_differ_between_stores_and_passwords() {
    let (certificate, key) = pair();
    let input = |password| {
        let fields =
            [("tls.crt", &*certificate), ("tls.key", &key), ("ca.crt", &certificate), ("password", password)];
        stores(&fields).unwrap()
    };
    let files = [input("changeit"), input("changeme")];
    let mut parts = Vec::new();
    for files in &files {
        for name in ["db/keystore.p12", "db/truststore.p12"] {
            let mut own: Vec<_> = random_parts(&files[name]).collect();
            own.sort();
            own.dedup();
            parts.extend(own);
        }
    }
    // A salt for the encryption and one for the MAC, and a vector for the certificates and one for the key. The ciphertext may
    // look like one by chance.
    assert!(parts.len() >= 2 * (4 + 3), "{}", parts.len());
    let count = parts.len();
    parts.sort();
    parts.dedup();
    assert_eq!(parts.len(), count);
}

#[test]
fn a_missing_field_is_reported_with_what_it_is_for() {
    let (certificate, key) = pair();
    let ca = ("ca.crt", &*certificate);
    for (fields, expected) in [
        (
            vec![ca],
            "missing field password (also read from: user.password): map it in .keys beside the other keys, as in password=<its key>; available: ca.crt; Java opens no key store without a password",
        ),
        (vec![ca, ("password", "")], "missing field password"),
        (
            vec![("tls.crt", &*certificate), ca, ("password", "x")],
            "missing field tls.key (also read from: user.key): map it in .keys beside the other keys, as in tls.key=<its key>; available: ca.crt, password, tls.crt; a key store needs a certificate and its key: for a trust store alone",
        ),
        (vec![("tls.key", &*key), ca, ("password", "x")], "missing field tls.crt"),
        (vec![("username", "app"), ("password", "x")], "missing field tls.crt"),
    ] {
        let error = stores(&fields).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_password_that_some_jdk_does_not_take_is_refused() {
    let (certificate, _) = pair();
    let read = |password: &str| stores(&[("ca.crt", &certificate), ("password", password)]);
    for password in [" ", "a", "it's \"1\" \\ $x ~", &"x".repeat(1023)] {
        assert!(read(password).is_ok(), "{password}");
    }
    for (password, expected) in [
        ("test-password\n", "the value of field password ends with a line break"),
        ("test-password\r\n", "ends with a line break"),
        ("test-password é", "contains characters other than printable ASCII"),
        ("test-password 😀", "printable ASCII"),
        ("test-password\tx", "printable ASCII"),
        ("test-password\u{7f}", "printable ASCII"),
        (&"test-password".repeat(79), "is longer than 1023 bytes"),
    ] {
        let error = read(password).unwrap_err();
        assert!(error.contains(expected) && !error.contains("test-password"), "{error}");
    }
}

fn block(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_refused_without_its_content() {
    let ((certificate, key), (other, _)) = (pair(), pair());
    let legacy = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\ntest-key";
    let cases = [
        (&*other, &*key, "tls.key contains a private key that does not match"),
        (&certificate, "test-key", "tls.key contains no PEM private key"),
        (&certificate, &certificate, "tls.key contains no PEM private key"),
        (
            &certificate,
            &block("ENCRYPTED PRIVATE KEY", "test-key"),
            "tls.key contains an encrypted private key",
        ),
        (&certificate, &block("RSA PRIVATE KEY", legacy), "tls.key contains an encrypted private key"),
        (
            &certificate,
            &block("PRIVATE KEY", "test-key!"),
            "tls.key contains a private key that is not valid PEM",
        ),
        (
            &certificate,
            "-----BEGIN PRIVATE KEY-----\nAAAA",
            "tls.key contains a private key that is not valid PEM",
        ),
        (&certificate, &block("PRIVATE KEY", "MAA="), "tls.key contains a private key that is damaged"),
        (&certificate, &block("RSA PRIVATE KEY", "MAA="), "tls.key contains a private key that is damaged"),
        (&certificate, &block("EC PRIVATE KEY", "MAA="), "tls.key contains a private key that is damaged"),
        (&key, &key, "tls.crt contains no PEM certificate"),
        (&block("CERTIFICATE", "AAAA"), &key, "tls.crt contains a certificate that is not valid PEM"),
        (&certificate[..200], &key, "tls.crt contains a certificate that is not valid PEM"),
    ];
    for (certificate, key, expected) in cases {
        let error =
            stores(&[("tls.crt", certificate), ("tls.key", key), ("password", "changeit")]).unwrap_err();
        assert!(error.contains(expected) && !error.contains("test-key"), "{error}");
    }
    let error = stores(&[("ca.crt", &certificate.repeat(1001)), ("password", "changeit")]).unwrap_err();
    assert!(error.contains("ca.crt contains more than 1000 certificates"), "{error}");
    assert!(stores(&[("ca.crt", &certificate.repeat(1000)), ("password", "changeit")]).is_ok());
}

/// Trailing and surrounding text is what bundles and `openssl x509 -text` have.
#[test]
fn text_between_the_sections_is_ignored() {
    let (certificate, key) = pair();
    let plain = stores(&[("tls.crt", &certificate), ("tls.key", &key), ("password", "changeit")]);
    let chain = format!("Certificate:\n    Data: -----\n{certificate}\n# end");
    let key = format!("{}{key}", block("EC PARAMETERS", "BggqhkjOPQMBBw=="));
    assert_eq!(plain, stores(&[("tls.crt", &chain), ("tls.key", &key), ("password", "changeit")]));
}

#[test]
fn hidden_output_names_the_files_and_hides_all_of_them() {
    let (certificate, key) = pair();
    let secret =
        [("tls.crt", &*certificate), ("tls.key", &key), ("ca.crt", &certificate), ("password", "changeit")];
    let secret: Vec<_> = secret.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&secret)))]);
    let credentials = credentials(&[("db.secret", "s"), ("db.format", "pkcs12"), ("db.path", "tls/db/")]);
    let files: Vec<_> = hidden(&credentials, &sources, "hidden")
        .unwrap()
        .into_iter()
        .map(|(path, file)| (path.to_string(), file.content.expose_text().unwrap().to_owned()))
        .collect();
    let names = ["tls/db/keystore.p12", "tls/db/password", "tls/db/truststore.p12"];
    assert_eq!(files, names.map(|name| (name.to_owned(), "hidden".to_owned())));
}

#[test]
fn each_file_belongs_to_one_credential() {
    let (certificate, _) = pair();
    let secret = [("ca.crt", certificate.as_bytes()), ("password", b"changeit")];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&secret)))]);
    let with = |annotations: &[(&str, &str)]| {
        let own = [("db.secret", "s"), ("db.format", "pkcs12"), ("other.secret", "s")];
        let credentials = credentials(&[&own, annotations].concat());
        bundle(&credentials, &sources).map(|bundle| bundle.len()).map_err(|errors| errors.to_string())
    };
    for annotations in [
        [("other.format", "pkcs12"), ("other.path", "db")],
        [("other.format", "json"), ("other.path", "db/truststore.p12")],
        [("other.keys", "truststore.p12=ca.crt"), ("other.path", "db")],
    ] {
        let error = with(&annotations).unwrap_err();
        assert!(error.contains("conflicts with credential db"), "{error}");
    }
    assert_eq!(with(&[("other.format", "json"), ("other.path", "db/other.json")]), Ok(3));
}

#[test]
fn stores_count_toward_the_limits_of_the_bundle() {
    let (certificate, _) = pair();
    let secret = [("ca.crt", certificate.as_bytes()), ("password", b"changeit")];
    let sources = Sources::from([(object(Kind::Secret, "s"), Some(data(&secret)))]);
    let credentials = credentials(&[("db.secret", "s"), ("db.format", "pkcs12")]);
    let beside = |bytes, files| {
        let taken = Size { bytes: BUNDLE_LIMIT - bytes, files: FILE_LIMIT - files };
        render_beside(taken, 0, &credentials, &sources).map(drop).map_err(|errors| errors.to_string())
    };
    assert_eq!(beside(2000, 3), Ok(()));
    assert!(beside(300, 3).unwrap_err().contains("exceed the limit"));
    assert!(beside(2000, 2).unwrap_err().contains("exceed the limit"));
}

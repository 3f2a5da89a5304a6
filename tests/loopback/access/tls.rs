//! Whom a kubeconfig trusts, and what is said of a server that is not trusted.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use super::Outside;
use crate::support::home::{base64, text};
use crate::support::openssl::{self, KeyForm, X509};
use crate::support::pki::{Authority, Issued, Leaf};
use crate::support::server::{ApiServer, TOKEN};
use crate::support::skip::require;
use crate::{PASSWORD, assert_code, assert_has};

/// A server with this certificate, which the kubeconfig's authority has to lead to.
fn shown(issued: Issued, trusted: &str) -> Outside {
    let outside = Outside::of(ApiServer::builder().shows(issued).start());
    outside.enters(&json!({"server": outside.server.url(), "certificate-authority-data": base64(trusted)}));
    outside
}

#[test]
fn a_certificate_that_does_not_prove_who_the_server_is_is_told_with_what_is_wrong() {
    let root = Authority::new();
    let issue = |leaf: &Leaf| root.issue(leaf).unwrap();
    let own = root.own();
    let self_signed = Leaf::default().self_signed();
    let between = root.intermediate("between");
    for (issued, trusted, parts) in [
        (
            issue(&Leaf::named(&["api.example.com", "*.example.net", "10.0.0.1"])),
            root.pem(),
            [
                "its certificate is for another name or address",
                "it is for api.example.com, *.example.net, 10.0.0.1:",
                "tls-server-name",
                "",
            ],
        ),
        (issue(&Leaf::expired()), root.pem(), ["its certificate has expired", "the clock", "", ""]),
        (
            issue(&Leaf::not_yet_valid()),
            root.pem(),
            ["its certificate is not valid yet", "the clock", "", ""],
        ),
        (
            self_signed,
            root.pem(),
            [
                "its certificate is not signed by a trusted certificate authority",
                "certificate-authority",
                "",
                "",
            ],
        ),
        (
            issue(&Leaf::default()),
            Authority::new().pem(),
            ["its certificate is not signed by a trusted certificate authority", "", "", ""],
        ),
        (
            issue(&Leaf::default()),
            Authority::named("other").pem(),
            ["its certificate is not signed by a trusted certificate authority", "", "", ""],
        ),
        (
            own,
            Authority::new().pem(),
            ["its certificate is that of a certificate authority (self-signed)", "", "", ""],
        ),
        (
            root.own(),
            root.pem(),
            ["its certificate is that of a certificate authority (self-signed)", "", "", ""],
        ),
        (
            between.issue(&Leaf::default()).unwrap().alone(),
            root.pem(),
            ["its certificate is not signed by a trusted certificate authority", "", "", ""],
        ),
    ] {
        let outside = shown(issued, &trusted);
        let finished = outside.fails(&[], &["TLS handshake with https://127.0.0.1:"]);
        assert_has(&finished.stderr, &parts);
        assert!(outside.server.requests().is_empty(), "{parts:?}");
    }
}

#[test]
fn a_certificate_that_leads_to_the_authority_is_enough_however_it_does() {
    let root = Authority::new();
    let (upper, self_signed) = (root.intermediate("upper"), Leaf::default().self_signed());
    let lower = upper.intermediate("lower");
    let trusted = self_signed.certificate_pem().to_owned();
    let issue = |authority: &Authority| authority.issue(&Leaf::default()).unwrap();
    for (issued, trusted) in [
        (issue(&upper), root.pem()),
        (issue(&lower), root.pem()),
        // As where somebody trusts the lower half of a company's authorities alone.
        (issue(&lower), upper.pem()),
        (issue(&upper).alone(), upper.pem()),
        // A server without any authority, which the kubeconfig names itself.
        (self_signed, trusted),
    ] {
        let outside = shown(issued, &trusted);
        assert_code(&outside.init(&[]), 0);
        assert_eq!(outside.read(), PASSWORD);
    }
}

/// As many as a company's bundle has.
const MANY: usize = 150;

fn bundle(known: Option<&Authority>) -> Vec<String> {
    let mut pem: Vec<_> =
        (0..MANY).map(|number| Authority::named(&format!("authority {number}")).pem()).collect();
    if let Some(known) = known {
        pem[MANY - 1] = known.pem();
    }
    pem
}

#[test]
fn of_150_authorities_any_will_do() {
    let outside = Outside::new();
    let all = bundle(Some(outside.server.authority())).concat();
    outside.home.put("bundle.crt", &all);
    for authority in
        [json!({"certificate-authority": "bundle.crt"}), json!({"certificate-authority-data": base64(&all)})]
    {
        let mut cluster = json!({"server": outside.server.url()});
        cluster.as_object_mut().unwrap().extend(authority.as_object().unwrap().clone());
        outside.enters(&cluster);
        assert_code(&outside.init(&[]), 0);
        assert_eq!(outside.read(), PASSWORD);
        outside.home.clear();
    }

    outside.enters(&json!({"server": outside.server.url(), "certificate-authority": "bundle.crt"}));
    outside.home.put("bundle.crt", &bundle(None).concat());
    outside.fails(&[], &["its certificate is not signed by a trusted certificate authority"]);
}

#[test]
fn an_authority_that_cannot_be_used_is_told_before_anybody_is_asked() {
    let outside = Outside::new();
    let mut broken = bundle(Some(outside.server.authority()));
    // A whole PEM block around half of a certificate.
    let cut: Vec<_> =
        broken[76].lines().enumerate().filter(|(number, _)| *number != 3).map(|(_, line)| line).collect();
    broken[76] = cut.join("\n") + "\n";
    let garbled = broken[0].replacen("MII", "M(I", 1);
    for (content, said) in [
        (broken.concat(), "contains a certificate (number 77) that cannot be parsed"),
        (garbled, "is not valid PEM"),
        (String::new(), "is empty"),
        (" \n".to_owned(), "is empty"),
        ("test-garbage".to_owned(), "contains no PEM certificate (-----BEGIN CERTIFICATE-----)"),
    ] {
        let path = outside.home.put("bundle.crt", &content);
        outside.enters(&json!({"server": outside.server.url(), "certificate-authority": "bundle.crt"}));
        let finished = outside.init(&[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[&format!("{} {said}", text(&path))]);
        assert_eq!(fs::read_to_string(outside.home.path("termination-log")).unwrap_or_default(), "");

        if !content.trim().is_empty() {
            let data = base64(&content);
            outside.enters(&json!({"server": outside.server.url(), "certificate-authority-data": data}));
            let finished = outside.init(&[]);
            assert_code(&finished, 2);
            assert_has(&finished.stderr, &[&format!("certificate-authority-data {said}")]);
        }
    }
    assert_eq!(outside.server.connections(), 0);
}

#[test]
fn the_name_of_the_certificate_may_be_another_than_that_of_the_address() {
    let leaf = Leaf::named(&["api.example.com", "*.example.net"]);
    let outside = Outside::of(ApiServer::builder().leaf(leaf).start());
    for name in ["api.example.com", "API.example.com", "kubernetes.example.net"] {
        outside.enters(&outside.cluster(&json!({"tls-server-name": name})));
        assert_code(&outside.init(&[]), 0);
    }
    for name in ["example.com", "127.0.0.1"] {
        outside.enters(&outside.cluster(&json!({"tls-server-name": name})));
        outside.fails(&[], &["its certificate is for another name or address"]);
    }
    outside.enters(&outside.cluster(&json!({"tls-server-name": "a b"})));
    let finished = outside.init(&[]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["tls-server-name is neither a DNS name nor an IP address"]);
}

#[test]
fn whoever_is_told_not_to_look_at_certificates_is_warned_each_time() {
    for leaf in [Leaf::expired(), Leaf::named(&["api.example.com"])] {
        let outside = Outside::of(ApiServer::builder().leaf(leaf).start());
        outside.enters(&json!({"server": outside.server.url(), "insecure-skip-tls-verify": true}));
        for _ in 0..2 {
            let finished = outside.init(&[]);
            assert_code(&finished, 0);
            let parts = ["WARN", "is disabled (insecure-skip-tls-verify)", &outside.server.url()];
            assert_has(&finished.stderr, &parts);
        }
    }
}

/// A port where this is said to whoever comes, and no word of TLS.
fn says(words: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| {
                // The greeting of TLS is read first: a connection that is closed on unread bytes is reset.
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096])?;
                stream.write_all(words)
            });
        }
    });
    port
}

#[test]
fn a_server_that_speaks_no_tls_or_nothing_at_all_is_named() {
    let outside = Outside::new();
    for (words, said) in [
        (
            &b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"[..],
            "does not speak TLS",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (b"", "the connection was closed before the response was complete"),
    ] {
        let url = format!("https://127.0.0.1:{}", says(words));
        outside.enters(&outside.cluster(&json!({"server": url})));
        outside.fails(&[], &[&url, said]);
    }
}

#[test]
fn a_client_key_that_is_of_another_certificate_is_told_before_anybody_is_asked() {
    let outside = Outside::new();
    let issue = || outside.server.authority().issue(&Leaf::named(&["jane"])).unwrap();
    let (one, other) = (issue(), issue());
    let data = |certificate: &str, key: &str| json!({"client-certificate-data": base64(certificate), "client-key-data": base64(key)});
    for (user, said) in [
        (
            data(one.certificate_pem(), &other.key_pem()),
            "the client key does not match the client certificate",
        ),
        (data(&one.key_pem(), &one.key_pem()), "the client certificate contains no PEM certificate"),
        (data(one.certificate_pem(), one.certificate_pem()), "the client key contains no PEM private key"),
        (
            json!({"client-certificate": "none.crt", "client-key": "none.key"}),
            "none.crt cannot be read: No such file",
        ),
    ] {
        outside.enters_as(&outside.cluster(&json!({})), &user);
        let finished = outside.init(&[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["kubeconfig config: ", said]);
    }
    assert_eq!(outside.server.connections(), 0);
}

#[test]
fn a_client_certificate_may_be_of_any_version_and_with_any_form_of_key() {
    if require("openssl", openssl::found()).is_none() {
        return;
    }
    let outside = Outside::new();
    let authority = Authority::named("clients");
    let paths =
        (&*outside.home.put("ca.crt", &authority.pem()), &*outside.home.put("ca.key", &authority.key_pem()));
    for form in [KeyForm::Pkcs8, KeyForm::Pkcs1, KeyForm::Sec1] {
        for version in [X509::Version1, X509::Version3] {
            let client = || openssl::client(paths, "/CN=jane", form, version);
            let ((certificate, key), (other, _)) = (client(), client());
            let user = |certificate: &str| {
                let [certificate, key] = [certificate, &key].map(base64);
                json!({"token": TOKEN, "client-certificate-data": certificate, "client-key-data": key})
            };
            outside.enters_as(&outside.cluster(&json!({})), &user(&certificate));
            let finished = outside.init(&[]);
            assert_eq!(finished.code, Some(0), "{form:?} {version:?}: {}", finished.stderr);
            outside.enters_as(&outside.cluster(&json!({})), &user(&other));
            let finished = outside.init(&[]);
            assert_eq!(finished.code, Some(2), "{form:?} {version:?}: {}", finished.stderr);
            assert_has(&finished.stderr, &["the client key does not match the client certificate"]);
        }
    }
}

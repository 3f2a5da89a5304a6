//! Which certificate authorities a kubeconfig trusts, and the messages for untrusted servers.

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

/// A server that presents this certificate, and a kubeconfig that trusts this authority.
fn server_with(issued: Issued, trusted: &str) -> Outside {
    let outside = Outside::with_server(ApiServer::builder().shows(issued).start());
    outside
        .configure(&json!({"server": outside.server.url(), "certificate-authority-data": base64(trusted)}));
    outside
}

#[test]
fn an_untrusted_server_certificate_is_reported_with_the_reason() {
    let root = Authority::new();
    let issue = |leaf: &Leaf| root.issue(leaf).unwrap();
    let own = root.own();
    let self_signed = Leaf::default().self_signed();
    let between = root.intermediate("between");
    let (expired_alone, named_alone) =
        (issue(&Leaf::expired()).alone(), issue(&Leaf::named(&["api.example.com"])).alone());
    let (expired_pem, named_pem) =
        (expired_alone.certificate_pem().to_owned(), named_alone.certificate_pem().to_owned());
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
        // A certificate that is trusted itself still has to be valid, and for the server's name.
        (expired_alone, expired_pem, ["its certificate has expired", "", "", ""]),
        (
            named_alone,
            named_pem,
            ["its certificate is for another name or address", "it is for api.example.com:", "", ""],
        ),
        (
            between.issue(&Leaf::default()).unwrap().alone(),
            root.pem(),
            ["its certificate is not signed by a trusted certificate authority", "", "", ""],
        ),
    ] {
        let outside = server_with(issued, &trusted);
        let finished = outside.fails(&[], &["TLS handshake with https://127.0.0.1:"]);
        assert_has(&finished.stderr, &parts);
        assert!(outside.server.requests().is_empty(), "{parts:?}");
    }
}

#[test]
fn a_server_certificate_that_is_trusted_itself_is_accepted() {
    let root = Authority::new();
    let leaf = root.issue(&Leaf::default()).unwrap();
    let with_chain = root.intermediate("between").issue(&Leaf::default()).unwrap();
    let own = root.own();
    for issued in [leaf, with_chain, own] {
        let pem = issued.certificate_pem().to_owned();
        let outside = server_with(issued, &format!("{}{pem}", Authority::new().pem()));
        assert_code(&outside.init(&[]), 0);
        assert_eq!(outside.read(), PASSWORD);
    }
}

#[test]
fn any_chain_to_a_trusted_authority_is_accepted() {
    let root = Authority::new();
    let (upper, self_signed) = (root.intermediate("upper"), Leaf::default().self_signed());
    let lower = upper.intermediate("lower");
    let trusted = self_signed.certificate_pem().to_owned();
    let issue = |authority: &Authority| authority.issue(&Leaf::default()).unwrap();
    for (issued, trusted) in [
        (issue(&upper), root.pem()),
        (issue(&lower), root.pem()),
        // The client trusts an intermediate authority but not the company's root.
        (issue(&lower), upper.pem()),
        (issue(&upper).alone(), upper.pem()),
        // A self-signed certificate that the kubeconfig trusts directly.
        (self_signed, trusted),
    ] {
        let outside = server_with(issued, &trusted);
        assert_code(&outside.init(&[]), 0);
        assert_eq!(outside.read(), PASSWORD);
    }
}

/// About as many as a company's CA bundle has.
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
fn any_of_150_authorities_can_verify_the_server() {
    let outside = Outside::new();
    let all = bundle(Some(outside.server.authority())).concat();
    outside.home.put("bundle.crt", &all);
    for authority in
        [json!({"certificate-authority": "bundle.crt"}), json!({"certificate-authority-data": base64(&all)})]
    {
        let mut cluster = json!({"server": outside.server.url()});
        cluster.as_object_mut().unwrap().extend(authority.as_object().unwrap().clone());
        outside.configure(&cluster);
        assert_code(&outside.init(&[]), 0);
        assert_eq!(outside.read(), PASSWORD);
        outside.home.clear();
    }

    outside.configure(&json!({"server": outside.server.url(), "certificate-authority": "bundle.crt"}));
    outside.home.put("bundle.crt", &bundle(None).concat());
    outside.fails(&[], &["its certificate is not signed by a trusted certificate authority"]);
}

#[test]
fn an_invalid_authority_is_reported_before_any_request() {
    let outside = Outside::new();
    let mut broken = bundle(Some(outside.server.authority()));
    // A complete PEM block around half of a certificate.
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
        outside.configure(&json!({"server": outside.server.url(), "certificate-authority": "bundle.crt"}));
        let finished = outside.init(&[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &[&format!("{} {said}", text(&path))]);
        assert_eq!(fs::read_to_string(outside.home.path("termination-log")).unwrap_or_default(), "");

        if !content.trim().is_empty() {
            let data = base64(&content);
            outside.configure(&json!({"server": outside.server.url(), "certificate-authority-data": data}));
            let finished = outside.init(&[]);
            assert_code(&finished, 2);
            assert_has(&finished.stderr, &[&format!("certificate-authority-data {said}")]);
        }
    }
    assert_eq!(outside.server.connections(), 0);
}

#[test]
fn tls_server_name_overrides_the_name_in_the_address() {
    let leaf = Leaf::named(&["api.example.com", "*.example.net"]);
    let outside = Outside::with_server(ApiServer::builder().leaf(leaf).start());
    for name in ["api.example.com", "API.example.com", "kubernetes.example.net"] {
        outside.configure(&outside.cluster(&json!({"tls-server-name": name})));
        assert_code(&outside.init(&[]), 0);
    }
    for name in ["example.com", "127.0.0.1"] {
        outside.configure(&outside.cluster(&json!({"tls-server-name": name})));
        outside.fails(&[], &["its certificate is for another name or address"]);
    }
    outside.configure(&outside.cluster(&json!({"tls-server-name": "a b"})));
    let finished = outside.init(&[]);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["tls-server-name is neither a DNS name nor an IP address"]);
}

#[test]
fn every_run_with_insecure_skip_tls_verify_logs_a_warning() {
    for leaf in [Leaf::expired(), Leaf::named(&["api.example.com"])] {
        let outside = Outside::with_server(ApiServer::builder().leaf(leaf).start());
        outside.configure(&json!({"server": outside.server.url(), "insecure-skip-tls-verify": true}));
        for _ in 0..2 {
            let finished = outside.init(&[]);
            assert_code(&finished, 0);
            let parts = ["WARN", "is disabled (insecure-skip-tls-verify)", &outside.server.url()];
            assert_has(&finished.stderr, &parts);
        }
    }
}

/// Listens on a port and sends these bytes in plain text to every client.
fn plain_text_port(words: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| {
                // Read the ClientHello first: closing a connection with unread bytes resets it.
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096])?;
                stream.write_all(words)
            });
        }
    });
    port
}

#[test]
fn a_server_without_tls_is_reported_by_address() {
    let outside = Outside::new();
    for (words, said) in [
        (
            &b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"[..],
            "does not speak TLS",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (b"", "the connection was closed before the response was complete"),
    ] {
        let url = format!("https://127.0.0.1:{}", plain_text_port(words));
        outside.configure(&outside.cluster(&json!({"server": url})));
        outside.fails(&[], &[&url, said]);
    }
}

#[test]
fn a_client_key_of_another_certificate_is_reported_before_any_request() {
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
        outside.configure_as(&outside.cluster(&json!({})), &user);
        let finished = outside.init(&[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["kubeconfig config: ", said]);
    }
    assert_eq!(outside.server.connections(), 0);
}

#[test]
fn client_certificates_of_every_version_and_key_encoding_work() {
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
            outside.configure_as(&outside.cluster(&json!({})), &user(&certificate));
            let finished = outside.init(&[]);
            assert_eq!(finished.code, Some(0), "{form:?} {version:?}: {}", finished.stderr);
            outside.configure_as(&outside.cluster(&json!({})), &user(&other));
            let finished = outside.init(&[]);
            assert_eq!(finished.code, Some(2), "{form:?} {version:?}: {}", finished.stderr);
            assert_has(&finished.stderr, &["the client key does not match the client certificate"]);
        }
    }
}

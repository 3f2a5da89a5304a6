//! Decisions that depend on the text of other software's messages, because it provides no other way to tell cases apart. These texts
//! may change with any version, so all such decisions are in this file, each with a test. The tests quote the messages of the oldest
//! and the newest Kubernetes that podcreds is tested with, and make rustls and ureq produce theirs.
//!
//! A denial by RBAC reads `RESOURCE "NAME" is forbidden: User "USER" cannot VERB resource "RESOURCE" in API group "GROUP" …`.
//! Source: `ForbiddenStatusError` in k8s.io/apiserver, `pkg/endpoints/handlers/responsewriters/errors.go`.

use std::fmt;

/// Why the API server refused a request with 403.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Denial<'a> {
    /// The request carried no credentials that the API server knows.
    Anonymous,
    /// The user must not impersonate the user, group or attribute of the request.
    Impersonation {
        /// The resource on which the user lacks the verb `impersonate`.
        resource: &'a str,
        /// The mode of constrained impersonation that the API server tried first (KEP-5284, since Kubernetes 1.36). `None`
        /// means that it knows the verb `impersonate` only.
        mode: Option<&'a str>,
    },
    /// The user lacks a right on the object of the request.
    Object,
}

impl<'a> Denial<'a> {
    /// Parses the `message` of a `Status` with the code 403.
    pub(crate) fn parse(message: &'a str) -> Self {
        let Some((user, verb, what)) = refusal(message) else { return Self::Object };
        if user == "system:anonymous" {
            return Self::Anonymous;
        }
        let named = || what.strip_prefix("resource \"")?.split('"').next()?.split('/').next();
        if let Some(on) = verb.strip_prefix("impersonate-on:") {
            // The message names the object of the request; what it impersonates appears as the mode only.
            let mode = on.split(':').next().unwrap_or_default();
            let resource = if mode == "serviceaccount" { "serviceaccounts" } else { "users" };
            return Self::Impersonation { resource, mode: Some(mode) };
        }
        match (verb.strip_prefix("impersonate"), named()) {
            (Some(""), Some(resource)) => Self::Impersonation { resource, mode: None },
            (Some(rest), Some(resource)) if rest.starts_with(':') => {
                // Constrained impersonation has a resource of its own for nodes; the verb `impersonate` takes them as users.
                let resource = if resource == "nodes" { "users" } else { resource };
                Self::Impersonation { resource, mode: Some(&rest[1..]) }
            }
            _ => Self::Object,
        }
    }
}

/// The user, the verb, and the text after it. The user's name is a quoted Go string, and may hold anything.
fn refusal(message: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = message.split_once("forbidden: User \"")?;
    let mut is_escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })?;
    let (verb, what) = rest[end + 1..].strip_prefix(" cannot ")?.split_once(' ')?;
    Some((&rest[..end], verb, what))
}

/// Whether the `message` of a `Status` with the code 403 denies something to this user.
pub(crate) fn refuses_user(message: &str, user: &str) -> bool {
    refusal(message).is_some_and(|(refused, ..)| refused == user)
}

/// Whether the `message` of a `Status` with the code 404 means that the object is missing. If the API server does not
/// serve an API version, its message says that it could not find the "requested resource" and names no object.
pub(crate) fn names_object(message: &str, name: &str) -> bool {
    message.contains(&format!(" \"{name}\" "))
}

/// Whether a server presented the certificate of a certificate authority as its own, as tools for self-signed certificates do. rustls
/// passes this error of webpki on as an opaque `Other`, whose `Debug` is the only access to it.
pub(crate) fn is_ca_used_as_end_entity(error: &impl fmt::Debug) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

/// The value of a certificate's name, which rustls passes on as `DnsName("api.example.com")` or `IpAddress(10.0.0.1)`.
pub(crate) fn san_value(name: &str) -> &str {
    let value = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    value.trim_matches('"')
}

/// The status of a proxy's response to CONNECT. ureq provides it only in a sentence that ends with `/STATUS`.
pub(crate) fn connect_status(reason: &str) -> Option<u16> {
    reason.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::crypto::ring;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{CertificateError, RootCertStore};

    use super::*;

    /// What both versions say to a user without the right to read a Secret.
    const SECRET: &str = r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot get resource "secrets" in API group "" in the namespace "prod""#;

    fn impersonation<'a>(resource: &'a str, mode: Option<&'a str>) -> Denial<'a> {
        Denial::Impersonation { resource, mode }
    }

    #[test]
    fn a_missing_right_on_an_object_reads_the_same_in_1_20_and_1_37() {
        assert_eq!(Denial::parse(SECRET), Denial::Object);
    }

    #[test]
    fn a_request_without_credentials_reads_the_same_in_1_20_and_1_37() {
        let message = r#"secrets "db" is forbidden: User "system:anonymous" cannot get resource "secrets" in API group "" in the namespace "prod""#;
        assert_eq!(Denial::parse(message), Denial::Anonymous);
    }

    #[test]
    fn missing_impersonation_in_1_20_names_what_is_impersonated() {
        for (message, resource) in [
            (
                r#"users "jane" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "users" in API group "" at the cluster scope"#,
                "users",
            ),
            (
                r#"groups "team" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "groups" in API group "" at the cluster scope"#,
                "groups",
            ),
            (
                r#"serviceaccounts "other" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "prod""#,
                "serviceaccounts",
            ),
            (
                r#"userextras.authentication.k8s.io "bar" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "userextras/foo" in API group "authentication.k8s.io" at the cluster scope"#,
                "userextras",
            ),
        ] {
            assert_eq!(Denial::parse(message), impersonation(resource, None), "{message}");
        }
    }

    #[test]
    fn missing_impersonation_in_1_37_names_the_mode_and_the_object_of_the_request() {
        for (message, resource, mode) in [
            (
                r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:user-info:get resource "secrets" in API group "" in the namespace "prod""#,
                "users",
                "user-info",
            ),
            (
                r#"secrets is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:user-info:watch resource "secrets" in API group "" in the namespace "prod""#,
                "users",
                "user-info",
            ),
            (
                r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:serviceaccount:get resource "secrets" in API group "" in the namespace "prod""#,
                "serviceaccounts",
                "serviceaccount",
            ),
            (
                r#"secrets "db" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:arbitrary-node:get resource "secrets" in API group "" in the namespace "prod""#,
                "users",
                "arbitrary-node",
            ),
            (
                r#"forbidden: User "system:serviceaccount:prod:app" cannot impersonate-on:user-info:get path "/version""#,
                "users",
                "user-info",
            ),
            (
                r#"groups.authentication.k8s.io "team" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope"#,
                "groups",
                "user-info",
            ),
        ] {
            assert_eq!(Denial::parse(message), impersonation(resource, Some(mode)), "{message}");
        }
        // Once a mode has let the user in, 1.37 words what is missing there as 1.20 does.
        let message = r#"groups "team" is forbidden: User "system:serviceaccount:prod:app" cannot impersonate resource "groups" in API group "" at the cluster scope"#;
        assert_eq!(Denial::parse(message), impersonation("groups", None));
    }

    #[test]
    fn the_name_of_a_user_does_not_pass_for_the_verb() {
        for user in [
            " cannot impersonate resource ",
            r#"x\" cannot impersonate resource \"users\""#,
            r"system:anonymous\\",
        ] {
            let message = SECRET.replace("system:serviceaccount:prod:app", user);
            assert_eq!(Denial::parse(&message), Denial::Object, "{message}");
        }
        assert_eq!(Denial::parse("it gave no reason"), Denial::Object);
        assert_eq!(Denial::parse(r#"x is forbidden: User "a"#), Denial::Object);
    }

    #[test]
    fn a_refused_review_names_the_user_in_1_20_and_1_37() {
        let message = r#"subjectaccessreviews.authorization.k8s.io is forbidden: User "system:serviceaccount:prod:app" cannot create resource "subjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope"#;
        assert!(refuses_user(message, "system:serviceaccount:prod:app"));
        assert!(!refuses_user(message, "system:serviceaccount:prod:ap"));
        assert!(!refuses_user(message, "app"));
    }

    #[test]
    fn a_missing_object_is_distinguished_from_a_missing_api_version_in_1_20_and_1_37() {
        assert!(names_object(r#"deployments.apps "web" not found"#, "web"));
        for name in ["server", "resource", "web"] {
            assert!(!names_object("the server could not find the requested resource", name), "{name}");
        }
    }

    /// The error of rustls about a certificate that signs itself and is trusted, for a server of this name.
    fn verify(is_ca: rcgen::IsCa, name: &'static str) -> CertificateError {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec!["api.example.com".into(), "10.0.0.1".into()]).unwrap();
        params.is_ca = is_ca;
        let certificate = CertificateDer::from(params.self_signed(&key).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let name = ServerName::try_from(name).unwrap();
        match verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now()) {
            Err(rustls::Error::InvalidCertificate(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rustls_reports_a_certificate_authority_as_a_server_certificate() {
        let is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let CertificateError::Other(error) = verify(is_ca, "api.example.com") else { panic!() };
        assert!(is_ca_used_as_end_entity(&error), "{error:?}");
    }

    #[test]
    fn rustls_lists_the_names_of_a_certificate_for_another_host() {
        let error = verify(rcgen::IsCa::NoCa, "other.example.com");
        let CertificateError::NotValidForNameContext { presented, .. } = error else { panic!("{error:?}") };
        let names: Vec<_> = presented.iter().map(|name| san_value(name)).collect();
        assert_eq!(names, ["api.example.com", "10.0.0.1"], "{presented:?}");
    }

    #[test]
    fn ureq_reports_the_status_of_a_proxys_response_to_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let proxy_thread = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            // The request may arrive in several pieces, and a connection that is closed too early fails in another way.
            let mut request = BufReader::new(&connection).lines();
            while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            connection
                .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        });
        let config = ureq::Agent::config_builder().proxy(Some(ureq::Proxy::new(&proxy).unwrap())).build();
        let error = ureq::Agent::new_with_config(config).get("https://127.0.0.1:1/").call().unwrap_err();
        proxy_thread.join().unwrap();
        let ureq::Error::ConnectProxyFailed(reason) = error else { panic!("{error:?}") };
        assert_eq!(connect_status(&reason), Some(407), "{reason}");
        assert_eq!(connect_status("no status"), None);
    }
}

//! Maps transport errors to [`Cause`], attributing them to the server or to the proxy.

use std::io;

use crate::kube::config::Server;
use crate::kube::error::Cause;
use crate::kube::transport::proxy::Proxy;
use crate::kube::transport::resolver::NoThread;
use crate::kube::transport::tls::ProxyConnectionError;
use crate::kube::upstream_texts::{connect_status, is_ca_used_as_end_entity, san_value};
use crate::text::one_line;

/// How many names of a certificate a message lists, and in how many characters.
const NAMES: usize = 5;
const NAMES_SHOWN: usize = 300;

/// The cause of a failed request to `server` through `proxy`.
pub(crate) fn from_ureq(server: &Server, proxy: Option<&Proxy>, error: &ureq::Error) -> Cause {
    if let (ureq::Error::Other(other), Some(through)) = (error, proxy)
        && let Some(ProxyConnectionError(error)) = other.downcast_ref()
    {
        return match from_ureq(server, proxy, error) {
            Cause::Tls { server, reason, error } => {
                Cause::Tls { server, reason: format!("the proxy {through}: {reason}"), error }
            }
            cause => cause,
        };
    }
    let server = server.clone();
    let unreachable = |reason: String| Cause::Unreachable {
        server: server.clone(),
        reason: match proxy {
            Some(proxy) => format!("through the proxy {proxy}: {reason}"),
            None => reason,
        },
    };
    match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => Cause::DeadlineExceeded { server },
        ureq::Error::Timeout(timeout) => {
            Cause::TimedOut { server, phase: phase(*timeout, proxy.is_some()), is_cut_short: false }
        }
        ureq::Error::Io(io) => match tls_error(error) {
            Some(error) => Cause::Tls {
                server,
                reason: tls_reason(error, UNTRUSTED, OTHER_NAME),
                error: Box::new(error.clone()),
            },
            None if io.kind() == io::ErrorKind::UnexpectedEof => {
                unreachable("the connection was closed before the response was complete".into())
            }
            None => unreachable(io.to_string()),
        },
        ureq::Error::ConnectProxyFailed(reason) => {
            let proxy = proxy.map(ToString::to_string).unwrap_or_default();
            Cause::Unreachable { server, reason: format!("the proxy {proxy} {}", proxy_refusal(reason)) }
        }
        // The proxy resolves the name of the server, so this is the proxy's own.
        ureq::Error::HostNotFound => Cause::Unreachable {
            server,
            reason: match proxy {
                Some(proxy) => format!("unknown host name of the proxy {proxy}"),
                None => "unknown host name".into(),
            },
        },
        ureq::Error::Other(other) if let Some(NoThread(error)) = other.downcast_ref() => {
            Cause::NoThread { reason: error.to_string() }
        }
        ureq::Error::Protocol(error) => Cause::unreadable(format!("invalid HTTP: {error}")),
        ureq::Error::LargeResponseHeader(..) => Cause::unreadable("the response headers are too large"),
        other => unreachable(other.to_string()),
    }
}

/// Describes a proxy's response to CONNECT.
fn proxy_refusal(reason: &str) -> String {
    match connect_status(reason) {
        Some(status @ (401 | 407)) => format!(
            "requires a valid user and password ({status}): write them in its URL, http://user:password@host:port"
        ),
        Some(403) => "denies this host or port (403): ask its administrator".into(),
        Some(status @ 500..) => format!("cannot connect ({status}): check whether it can reach the server"),
        Some(status) => format!("answered {status}: check whether it is a proxy"),
        None => format!("refused to connect: {reason}"),
    }
}

fn phase(timeout: ureq::Timeout, has_proxy: bool) -> &'static str {
    match timeout {
        ureq::Timeout::Resolve => "resolving the host name",
        ureq::Timeout::Connect if has_proxy => "connecting through the proxy",
        ureq::Timeout::Connect => "connecting",
        ureq::Timeout::SendRequest => "sending the request",
        ureq::Timeout::RecvResponse => "waiting for the first byte",
        _ => "reading the response",
    }
}

/// The remedy for an API server's certificate that no trusted authority has signed.
const UNTRUSTED: &str = "its certificate is not signed by a trusted certificate authority (ca.crt, certificate-authority, ca_file)";
/// The remedy for an API server's certificate that has other names.
const OTHER_NAME: &str = "use one of these, or set tls-server-name to one; in a pod without a kubeconfig, the address comes from KUBERNETES_SERVICE_HOST, which the manifest or a Service named kubernetes may have changed (set enableServiceLinks: false)";

/// The error of rustls that a connection failed with.
pub(crate) fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Says what is wrong with a TLS connection. `untrusted` is for a certificate that no trusted authority has signed, and `other_name` is
/// what to do about one whose names are others.
pub(crate) fn tls_reason(error: &rustls::Error, untrusted: &str, other_name: &str) -> String {
    use rustls::CertificateError as Certificate;
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return "the server does not speak TLS: check host and port".into();
        }
        _ => return error.to_string(),
    };
    match certificate {
        // Certificate authorities often share one name; then the mismatch shows in the signature only.
        Certificate::UnknownIssuer | Certificate::BadSignature => untrusted.to_owned(),
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this machine is wrong".into()
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this machine is wrong".into()
        }
        Certificate::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(NAMES).map(|name| san_value(name)).collect();
            format!(
                "its certificate is for another name or address; it is for {}: {other_name}",
                one_line(&names.join(", "), NAMES_SHOWN)
            )
        }
        Certificate::NotValidForName => "its certificate is for another name or address".into(),
        Certificate::Other(other) if is_ca_used_as_end_entity(other) => {
            "its certificate is that of a certificate authority (self-signed): issue a server certificate with that authority, or trust this certificate itself".into()
        }
        _ => error.to_string(),
    }
}

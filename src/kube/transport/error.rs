//! What becomes of a connection, in words: whoever was asked, or a proxy on the way.

use std::io;

use crate::kube::config::server::Server;
use crate::kube::error::Cause;
use crate::kube::transport::proxy::Proxy;
use crate::kube::transport::tls::OfProxy;
use crate::text::one_line;

/// How many names of a certificate are shown, and in how many characters.
const NAMES: usize = 5;
const NAMES_SHOWN: usize = 300;

/// Why there is no answer from this server, which is asked through this proxy.
pub(crate) fn cause(server: &Server, proxy: Option<&Proxy>, error: &ureq::Error) -> Cause {
    if let (ureq::Error::Other(other), Some(of)) = (error, proxy)
        && let Some(OfProxy(error)) = other.downcast_ref()
    {
        return match cause(server, proxy, error) {
            Cause::Tls { server, reason } => {
                Cause::Tls { server, reason: format!("the proxy {of}: {reason}") }
            }
            cause => cause,
        };
    }
    let server = server.clone();
    let unreachable = |reason: String| Cause::Unreachable {
        server: server.clone(),
        reason: match proxy {
            Some(proxy) => format!("on the way through the proxy {proxy}: {reason}"),
            None => reason,
        },
    };
    match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => Cause::OutOfTime { server },
        ureq::Error::Timeout(timeout) => Cause::TimedOut { server, phase: phase(*timeout, proxy.is_some()) },
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => Cause::Tls { server, reason: tls_reason(error) },
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                unreachable("the connection was closed in the middle".into())
            }
            None => unreachable(error.to_string()),
        },
        ureq::Error::ConnectProxyFailed(reason) => {
            let proxy = proxy.map(ToString::to_string).unwrap_or_default();
            Cause::Unreachable { server, reason: format!("the proxy {proxy} {}", refusal(reason)) }
        }
        // The server's own name is for the proxy to find.
        ureq::Error::HostNotFound => Cause::Unreachable {
            server,
            reason: match proxy {
                Some(proxy) => format!("the name of the proxy {proxy} is not known"),
                None => "its name is not known".into(),
            },
        },
        ureq::Error::Protocol(error) => Cause::unreadable(format!("broken HTTP: {error}")),
        ureq::Error::LargeResponseHeader(..) => Cause::unreadable("its header is too large"),
        other => unreachable(other.to_string()),
    }
}

/// What a proxy answered to CONNECT, of which ureq gives a sentence that ends with the status.
fn refusal(reason: &str) -> String {
    match reason.rsplit('/').next().and_then(|status| status.parse::<u16>().ok()) {
        Some(status @ (401 | 407)) => format!(
            "wants a user and password that it knows ({status}): write them in its URL, http://user:password@host:port"
        ),
        Some(403) => "does not let this host or port through (403): ask whoever runs it".into(),
        Some(status @ 500..) => format!("gets no connection ({status}): see whether it can reach the server"),
        Some(status) => format!("answered {status}: see whether it is a proxy"),
        None => format!("lets nobody through: {reason}"),
    }
}

fn phase(timeout: ureq::Timeout, has_proxy: bool) -> &'static str {
    match timeout {
        ureq::Timeout::Resolve => "resolving its name",
        ureq::Timeout::Connect if has_proxy => "connecting through the proxy",
        ureq::Timeout::Connect => "connecting",
        ureq::Timeout::SendRequest => "sending the request",
        ureq::Timeout::RecvResponse => "waiting for the first byte",
        _ => "reading the answer",
    }
}

fn tls_reason(error: &rustls::Error) -> String {
    use rustls::CertificateError as Certificate;
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return "what answers there speaks no TLS: see whether host and port are right".into();
        }
        _ => return error.to_string(),
    };
    match certificate {
        // Authorities often have one and the same name; then only the signature tells them apart.
        Certificate::UnknownIssuer | Certificate::BadSignature => {
            "its certificate is signed by none of the authorities that are trusted (ca.crt, certificate-authority, ca_file)".into()
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            "its certificate has expired, or the clock of this machine is wrong".into()
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or the clock of this machine is wrong".into()
        }
        Certificate::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(NAMES).map(|name| bare(name)).collect();
            format!(
                "its certificate is for another name or address; it is for {}: use one of these, or name it with tls-server-name",
                one_line(&names.join(", "), NAMES_SHOWN)
            )
        }
        Certificate::NotValidForName => "its certificate is for another name or address".into(),
        // A server that shows an authority's own certificate, as tools for self-signed ones make it.
        Certificate::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate is that of an authority itself (self-signed): give it one that the authority has signed".into()
        }
        _ => error.to_string(),
    }
}

/// A name of a certificate, which rustls gives as `DnsName("api.example.com")` or `IpAddress(10.0.0.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

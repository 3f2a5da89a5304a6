//! Client configuration, validated before the first connection: from a pod's service account, a kubeconfig or a clusters file.

pub mod clusters_file;
pub mod in_cluster;
pub mod kubeconfig;
pub(crate) mod registry;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::kube::auth::Identity;
use crate::kube::reloading_file::Reloading;
use crate::kube::retry::Limits;
use crate::kube::transport::proxy::Proxy;
use crate::kube::transport::tls::Roots;
use crate::text::Quoted;

/// How to connect to one cluster.
#[derive(Debug)]
pub struct ClientConfig {
    /// The API server's address.
    pub server: Server,
    /// The name to verify in its certificate (`tls-server-name`). `None` means the host of the address.
    pub server_name: Option<TlsName>,
    /// How to verify its certificate.
    pub trust: Trust,
    /// The credentials.
    pub identity: Identity,
    /// The forward proxy.
    pub proxy: Option<Proxy>,
    /// The timeout of each phase of a request: connecting, sending it, the first byte of the response, the rest of it.
    pub request_timeout: Duration,
    /// The client-side rate limit. `None` means no limit.
    pub limits: Option<Limits>,
}

/// How to verify an API server's certificate.
#[derive(Debug)]
pub enum Trust {
    /// Verify against these CAs.
    Roots(Reloading<Roots>),
    /// Skip verification: a man in the middle can read and modify everything.
    Insecure,
}

/// A name or address that a certificate can be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(pub ServerName<'static>);

impl TlsName {
    /// Checks the name.
    ///
    /// # Errors
    /// If it is neither a DNS name nor an IP address.
    pub(crate) fn parse(text: &str) -> Result<Self, TlsNameError> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| TlsNameError)
    }
}

/// A name that cannot appear in a certificate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("is neither a DNS name nor an IP address")]
pub(crate) struct TlsNameError;

/// The address of an API server: always HTTPS, with a path if it is behind another server (such as Rancher).
// http::Uri does not replace its parser, because it is laxer: it accepts a user with a password, a query, the port 0, ports that are
// not numbers and braces in a path, and its errors do not tell which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server(Arc<Endpoint>);

#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    port: u16,
    /// Empty, or a path with a leading and no trailing slash.
    path: String,
}

impl Server {
    /// Parses a host (an IPv4 address, an IPv6 address with or without brackets, or a DNS name) and a port.
    pub(crate) fn parse(host: &str, port: &str) -> Result<Self, ServerError> {
        let port =
            port.parse().ok().filter(|port| *port != 0).ok_or_else(|| ServerError::Port(port.to_owned()))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse() {
            Ok(IpAddr::V4(address)) if bare == host => Ok(Self::new(address.to_string(), port, "")),
            Ok(IpAddr::V6(address)) => Ok(Self::new(format!("[{address}]"), port, "")),
            _ if is_dns_name(host) => Ok(Self::new(host.to_owned(), port, "")),
            _ => Err(ServerError::Host(host.to_owned())),
        }
    }

    /// Parses an address as in a kubeconfig: `https://host[:port][/path]`. The default port is 443.
    ///
    /// # Errors
    /// If the URL is invalid, or is `http://`: that would send the token in clear text.
    pub fn parse_url(url: &str) -> Result<Self, ServerError> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => return Err(ServerError::Plain),
            _ => return Err(ServerError::Scheme),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let path = path.trim_end_matches('/');
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%:@!$&'()*+,;=".contains(&b);
        if !path.bytes().all(is_plain) {
            return Err(ServerError::Path);
        }
        // The text before an @ may be a password, so the error does not quote it.
        if authority.contains('@') {
            return Err(ServerError::User);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, "443"),
        };
        let bare = Self::parse(host, port)?;
        Ok(Self::new(bare.0.host.clone(), bare.0.port, path))
    }

    /// The host: a name, or an IP address without brackets.
    pub(crate) fn host(&self) -> &str {
        self.0.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Host and port for connecting, with brackets around an IPv6 address. A name is in lower case: musl compares it with those in
    /// `/etc/hosts` byte by byte.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.0.host.to_ascii_lowercase(), self.0.port)
    }

    /// The URL of a request for this path and query.
    pub(crate) fn request_url(&self, path: &str) -> String {
        format!("https://{}{}{path}", self.authority(), self.0.path)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    fn new(host: String, port: u16, path: &str) -> Self {
        Self(Arc::new(Endpoint { host, port, path: path.to_owned() }))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}{}", self.0.host, self.0.port, self.0.path)
    }
}

fn is_dns_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(inner);
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// An invalid address of an API server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ServerError {
    /// Neither an IP address nor a DNS name.
    #[error("invalid host {}: expected an IP address or a DNS name", Quoted(.0))]
    Host(String),
    /// Not a number from 1 to 65535.
    #[error("invalid port {}", Quoted(.0))]
    Port(String),
    /// `http://`
    #[error("http:// is not allowed, because it would send the token in clear text; use https://")]
    Plain,
    /// Another scheme, or none.
    #[error("not the URL of an API server: use https://host:port")]
    Scheme,
    /// A user in the URL.
    #[error("a user in the URL is not allowed: use https://host:port")]
    User,
    /// Characters that a path cannot contain, or a query.
    #[error("invalid path in the URL: use https://host:port or https://host:port/path")]
    Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_ip_addresses_or_dns_names() {
        for (host, port, url) in [
            ("10.0.0.1", "443", "https://10.0.0.1:443"),
            ("fd00::1", "6443", "https://[fd00::1]:6443"),
            ("[fd00::1]", "6443", "https://[fd00::1]:6443"),
            ("kubernetes.default.svc", "443", "https://kubernetes.default.svc:443"),
        ] {
            assert_eq!(Server::parse(host, port).unwrap().to_string(), url);
        }
        for (host, port) in [
            ("", "443"),
            ("a b", "443"),
            ("[10.0.0.1]", "443"),
            ("fd00::1%eth0", "443"),
            ("user@host", "443"),
            ("host/path", "443"),
            ("host:1", "443"),
            ("host", ""),
            ("host", "0"),
            ("host", "65536"),
            ("host", "tcp://10.0.0.1:443"),
        ] {
            assert!(Server::parse(host, port).is_err(), "{host} {port}");
        }
    }

    #[test]
    fn a_name_is_looked_up_in_lower_case_and_shown_as_it_was_written() {
        let server = Server::parse_url("https://API.Example.com:6443/Path").unwrap();
        assert_eq!(server.authority(), "api.example.com:6443");
        assert_eq!(server.request_url("/api?X"), "https://api.example.com:6443/Path/api?X");
        assert_eq!(server.to_string(), "https://API.Example.com:6443/Path");
    }

    #[test]
    fn urls_of_kubeconfigs_are_parsed() {
        for (url, read) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("HTTPS://api.example.com", "https://api.example.com:443"),
            ("https://api.example.com:6443/", "https://api.example.com:6443"),
            ("https://[fd00::1]", "https://[fd00::1]:443"),
            ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
            (
                "https://rancher.example.com/k8s/clusters/c-m-1",
                "https://rancher.example.com:443/k8s/clusters/c-m-1",
            ),
        ] {
            assert_eq!(Server::parse_url(url).unwrap().to_string(), read, "{url}");
        }
        for (url, error) in [
            ("http://10.0.0.1:8080", ServerError::Plain),
            ("10.0.0.1:6443", ServerError::Scheme),
            ("", ServerError::Scheme),
            ("https://test-user:test-password@h", ServerError::User),
            ("https://h:1/a?b=c", ServerError::Path),
            ("https://h:1/a b", ServerError::Path),
            ("https://", ServerError::Host(String::new())),
            ("https://h:x", ServerError::Port("x".into())),
        ] {
            assert_eq!(Server::parse_url(url).unwrap_err(), error, "{url}");
        }
    }
}

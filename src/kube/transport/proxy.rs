//! A forward proxy in front of an API server. TLS to the server passes through it end to end, by CONNECT.
//! Source: <https://www.rfc-editor.org/rfc/rfc9110#name-connect>, and for the environment variables, which kubectl honours,
//! <https://pkg.go.dev/net/http#ProxyFromEnvironment>.

use std::fmt;
use std::net::IpAddr;

use crate::kube::config::Server;
use crate::text::RedactedPrefix;

/// A proxy; its URL may hold a password.
#[derive(Clone)]
pub struct Proxy(ureq::Proxy);

impl Proxy {
    /// Parses `http://[user:password@]host[:port]`, or the same with `https`. ureq parses the URL; the
    /// scheme is checked here, so that the error can name it.
    ///
    /// # Errors
    /// If it is not such a URL; `socks5` is not supported.
    pub(crate) fn parse(url: &str) -> Result<Self, ProxyError> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {
                // As in Go. ureq would send user and password to port 80.
                if !has_valid_port(url) {
                    return Err(ProxyError::Invalid);
                }
                ureq::Proxy::new(url).map(Self).map_err(|_| ProxyError::Invalid)
            }
            // Go defaults to http:// for an environment variable without a scheme.
            None if !url.is_empty() => Self::parse(&format!("http://{url}")),
            Some(scheme @ ("socks5" | "socks5h" | "socks4" | "socks4a")) => {
                Err(ProxyError::Socks(scheme.to_owned()))
            }
            _ => Err(ProxyError::Scheme(RedactedPrefix(url).to_string())),
        }
    }

    pub(crate) fn inner(&self) -> ureq::Proxy {
        self.0.clone()
    }
}

impl fmt::Display for Proxy {
    /// Host and port, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.host(), self.0.port())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Whether a URL has a port from 1 to 65535 or none. ureq's parser also accepts other text there, for example 99999, and ureq then
/// connects to the scheme's default port.
fn has_valid_port(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => port.parse::<u16>().is_ok_and(|port| port != 0),
        _ => !host.contains("]") || host.ends_with(']'),
    }
}

/// An unusable proxy URL. Messages show the scheme only: the rest may contain a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProxyError {
    #[error("proxies of type {0} are not supported: use http://host:port or https://host:port")]
    Socks(String),
    /// Holds the quoted scheme only, so that `Debug` too shows no password.
    #[error("{0} is not a proxy URL: use http://host:port or https://host:port")]
    Scheme(String),
    #[error("invalid proxy URL: use http://host:port or https://host:port, with a port from 1 to 65535")]
    Invalid,
}

/// Whether `NO_PROXY` exempts this server. A name matches itself and its subdomains, with a leading dot only the subdomains; an
/// address or network matches addresses, `*` matches everything, and a port may follow. As in Go, loopback never uses a proxy.
pub(crate) fn bypasses_proxy(server: &Server, no_proxy: &str) -> bool {
    let host = server.host().trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        if entry == "*" {
            return true;
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
            _ => (entry.as_str(), None),
        };
        if port.is_some_and(|port| port.parse() != Ok(server.port())) {
            return false;
        }
        let name = name.trim_start_matches('[').trim_end_matches(']');
        match (address, name.split_once('/')) {
            (Some(address), Some((network, bits))) => is_in_network(address, network, bits),
            (Some(address), None) => name.parse() == Ok(address),
            (None, _) if name.is_empty() => false,
            (None, _) => {
                let name = name.strip_prefix("*.").map_or_else(|| name.to_owned(), |rest| format!(".{rest}"));
                match name.strip_prefix('.') {
                    Some(_) => host.ends_with(&name),
                    None => host == name || host.ends_with(&format!(".{name}")),
                }
            }
        }
    })
}

fn is_in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse(), bits.parse::<u32>()) else { return false };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let differs = u32::from(address) ^ u32::from(network);
            differs.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let differs = u128::from(address) ^ u128::from(network);
            differs.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_parsed_and_their_passwords_never_shown() {
        let proxy = Proxy::parse("http://test-user:test%2Fpassword@proxy.example.com:3128").unwrap();
        assert_eq!(
            (proxy.to_string(), format!("{proxy:?}")),
            ("proxy.example.com:3128".into(), "Proxy(proxy.example.com:3128)".into())
        );
        assert_eq!(proxy.inner().password(), Some("test/password"));
        assert_eq!(Proxy::parse("proxy.example.com:3128").unwrap().to_string(), "proxy.example.com:3128");
        for wrong in
            ["", "socks5://test-password@h", "ftp://test-password@h", "http://", "http://test-password @h"]
        {
            let error = Proxy::parse(wrong).unwrap_err();
            let message = format!("{error} {error:?}");
            assert!(!message.contains("test-password"), "{message}");
        }
    }

    #[test]
    fn a_port_that_is_not_one_is_an_error_and_not_port_80() {
        for wrong in ["h:99999", "h:0", "h:", "h:x", "h:1:2", "[fd00::1]:99999", "[fd00::1"] {
            for user in ["", "test-user:test-password@"] {
                for url in [
                    format!("http://{user}{wrong}"),
                    format!("https://{user}{wrong}/"),
                    format!("{user}{wrong}"),
                ] {
                    assert_eq!(Proxy::parse(&url).unwrap_err(), ProxyError::Invalid, "{url}");
                }
            }
        }
        for (url, shown) in [
            ("http://h", "h:80"),
            ("https://h", "h:443"),
            ("http://u:test-password@h:65535/", "h:65535"),
            ("http://[fd00::1]:3128", "[fd00::1]:3128"),
            ("http://u:%40%3A@h", "h:80"),
        ] {
            assert_eq!(Proxy::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn no_proxy_matches_as_in_go() {
        let server = |url: &str| Server::parse_url(url).unwrap();
        let named = server("https://api.k8s.example.com:6443");
        for direct in [
            "example.com",
            ".example.com",
            "*.example.com",
            "api.k8s.example.com",
            "x, EXAMPLE.com",
            "*",
            "example.com:6443",
        ] {
            assert!(bypasses_proxy(&named, direct), "{direct}");
        }
        for proxied in [
            "",
            "xample.com",
            ".api.k8s.example.com",
            "example.com:443",
            "10.0.0.0/8",
            "com.",
            ",",
            "example.org",
        ] {
            assert!(!bypasses_proxy(&named, proxied), "{proxied}");
        }
        let numbered = server("https://10.1.2.3:6443");
        for direct in ["10.1.2.3", "10.0.0.0/8", "10.1.2.3:6443", "0.0.0.0/0", "10.1.2.3/32"] {
            assert!(bypasses_proxy(&numbered, direct), "{direct}");
        }
        for proxied in
            ["10.1.2.4", "11.0.0.0/8", "10.1.2.3:443", "10.0.0.0/33", "10.1.2.2/32", "fd00::/8", "3"]
        {
            assert!(!bypasses_proxy(&numbered, proxied), "{proxied}");
        }
        assert!(bypasses_proxy(&server("https://[fd00::1]:6443"), "fd00::/8"));
        assert!(bypasses_proxy(&server("https://[fd00::1]:6443"), "[fd00::1]:6443"));
        for own in ["https://localhost:6443", "https://127.0.0.1:6443", "https://[::1]:6443"] {
            assert!(bypasses_proxy(&server(own), ""), "{own}");
        }
    }
}

//! The action after a rotation, parsed from `.on-change`.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;

use crate::credential::path::{PathError, RelativePath};
use crate::text::{Excerpt, Quoted};

/// The longest URL, in bytes.
const URL_LIMIT: usize = 2048;
/// The longest name of a process, in bytes.
const PROCESS_LIMIT: usize = 64;

/// How an application is notified after a rotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnChange {
    /// A POST with a small JSON body, to an `http` or `https` URL.
    Post(String),
    /// A GET of an `http` or `https` URL.
    Get(String),
    /// A signal to every process of this name.
    Signal { signal: SignalName, process: String },
    /// A new modification time for a file at the top of the volume.
    Touch(RelativePath),
}

/// The signals that programs use to reload their configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SignalName {
    Hup,
    Int,
    Quit,
    Term,
    Usr1,
    Usr2,
    Winch,
}

impl SignalName {
    /// The name without `SIG`.
    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, signal)| *signal == self).map_or("", |(name, _)| name)
    }

    const ALL: [(&'static str, Self); 7] = [
        ("HUP", Self::Hup),
        ("INT", Self::Int),
        ("QUIT", Self::Quit),
        ("TERM", Self::Term),
        ("USR1", Self::Usr1),
        ("USR2", Self::Usr2),
        ("WINCH", Self::Winch),
    ];

    fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        Self::ALL.iter().find(|(spelling, _)| *spelling == name).map(|(_, signal)| *signal)
    }
}

impl OnChange {
    /// Parses `POST URL`, `GET URL`, `signal SIGNAL PROCESS` or `touch NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, OnChangeError> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words.as_slice() {
            ["POST", url] => Ok(Self::Post(check_url(url)?)),
            ["GET", url] => Ok(Self::Get(check_url(url)?)),
            ["signal", signal, process] => {
                let signal =
                    SignalName::parse(signal).ok_or_else(|| OnChangeError::Signal(Excerpt::new(signal)))?;
                let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
                if process.len() > PROCESS_LIMIT || !process.bytes().all(inner) {
                    return Err(OnChangeError::Process(Excerpt::new(process)));
                }
                Ok(Self::Signal { signal, process: (*process).to_owned() })
            }
            ["touch", path] => {
                let path = RelativePath::parse(path)?;
                if path.parts().count() == 1 { Ok(Self::Touch(path)) } else { Err(OnChangeError::Deep) }
            }
            _ => Err(OnChangeError::Form(Excerpt::new(text))),
        }
    }
}

/// Checks a URL as far as that is possible without sending a request. http::Uri alone is not enough: it accepts an empty port and a
/// port above 65535, with which the HTTP client would connect to port 80, and its errors do not say what is wrong.
/// Like http::Uri, the checks accept characters that RFC 3986 forbids but servers read, such as the `|` of a query.
fn check_url(url: &str) -> Result<String, OnChangeError> {
    let error = |problem| Err(OnChangeError::Url(problem));
    let Some(rest) = after_scheme(url) else { return error("it does not begin with http:// or https://") };
    if url.len() > URL_LIMIT {
        return error("it is longer than 2048 bytes");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return error("user info before the host is not supported");
    }
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return error("`]` is missing after the IPv6 address"),
        Some(Some((address, _))) if address.parse::<Ipv6Addr>().is_err() => {
            return error("the text in brackets is not an IPv6 address");
        }
        Some(Some((address, port))) => (address, port),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if host.is_empty() || !host.bytes().all(is_host) {
        return error("the host is not a name or an IP address; write an IPv6 address in brackets");
    }
    let number = port.strip_prefix(':').filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
    if !port.is_empty() && !number.is_some_and(|number| number.parse::<u16>().is_ok_and(|port| port != 0)) {
        return error("the port is not a number from 1 to 65535");
    }
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let is_sent =
        |text: &str, never: &[u8]| text.bytes().all(|b| b.is_ascii_graphic() && !never.contains(&b));
    if !is_sent(path, b"<>`") || !is_sent(query, b"<>\"") {
        return error("it contains a character that a URL must encode with %");
    }
    Ok(url.to_owned())
}

fn after_scheme(url: &str) -> Option<&str> {
    url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))
}

/// A URL without its query and fragment, which may contain a token.
fn without_query(url: &str) -> Quoted<'_> {
    Quoted(url.split(['?', '#']).next().unwrap_or_default())
}

impl OnChange {
    /// The URL of a request. `None` means that the notification is not a request.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Post(url) | Self::Get(url) => Some(url),
            Self::Signal { .. } | Self::Touch(_) => None,
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url().is_some_and(|url| url.starts_with("https://"))
    }

    /// Whether the request goes unencrypted to another host than this one.
    pub(crate) fn is_exposed(&self) -> bool {
        let Some(rest) = self.url().and_then(|url| url.strip_prefix("http://")) else { return false };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(address) => address.split(']').next(),
            None => authority.split(':').next(),
        };
        let host = host.unwrap_or_default();
        !host.eq_ignore_ascii_case("localhost")
            && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Post(url) => write!(f, "POST {}", without_query(url)),
            Self::Get(url) => write!(f, "GET {}", without_query(url)),
            Self::Signal { signal, process } => write!(f, "signal {} to {process}", signal.name()),
            Self::Touch(path) => write!(f, "touch {path}"),
        }
    }
}

/// An invalid value of `.on-change`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OnChangeError {
    /// Not one of the four forms.
    #[error("{_0} is not one of: POST URL, GET URL, signal SIGNAL PROCESS, touch NAME")]
    Form(Excerpt),
    #[error("invalid URL: {_0}; use http://host:port/path or https://host:port/path")]
    Url(&'static str),
    #[error("unsupported signal {_0}; supported: HUP, INT, QUIT, TERM, USR1, USR2, WINCH")]
    Signal(Excerpt),
    #[error("invalid process name {_0}: use at most 64 letters, digits, `-`, `_`, `.` and `+`")]
    Process(Excerpt),
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path in a directory.
    #[error("touch takes the name of a file at the top of the volume, without /")]
    Deep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_no_request_can_be_sent_to_is_rejected_with_the_reason() {
        const PORT: &str = "the port is not a number from 1 to 65535";
        const HOST: &str = "the host is not a name or an IP address";
        for (url, problem) in [
            ("http://127.0.0.1:99999/x", PORT),
            ("http://localhost:65536", PORT),
            ("http://localhost:/x", PORT),
            ("http://localhost:0/", PORT),
            ("http://localhost:+80/", PORT),
            ("http://[::1]:/", PORT),
            ("http://[::1]8080/", PORT),
            ("http://h:1:2/", PORT),
            ("http://::1/", HOST),
            ("http://[::1/x", "`]` is missing"),
            ("http://[::x]/", "is not an IPv6 address"),
            ("http://a\\b/", HOST),
            ("http://%zz/", HOST),
            ("http://é/", HOST),
            ("http:///x", HOST),
            ("http://", HOST),
            ("http://app:pw@h/", "user info before the host"),
            ("https://h:0/", PORT),
            ("https://:443/", HOST),
            ("https:/a/", "it does not begin with http:// or https://"),
            ("HTTPS://a/", "it does not begin with http:// or https://"),
            ("localhost:8080", "it does not begin with http:// or https://"),
            ("http://a/<x>", "a character that a URL must encode"),
            ("http://a/é", "a character that a URL must encode"),
        ] {
            let message = OnChange::parse(&format!("POST {url}")).expect_err(url).to_string();
            assert!(message.starts_with("invalid URL: ") && message.contains(problem), "{url}: {message}");
        }
        let long = format!("GET http://a/{}", "x".repeat(URL_LIMIT));
        assert!(OnChange::parse(&long).unwrap_err().to_string().contains("longer than 2048 bytes"));
        for url in
            ["http://a", "http://a_b.svc:65535?x=1", "http://[fe80::1]:1/x#y", "http://10.0.0.1:080/%41"]
        {
            assert!(OnChange::parse(&format!("GET {url}")).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_url_may_contain_every_character_that_the_http_client_sends() {
        for byte in b'!'..=b'~' {
            for url in ["http://a/", "http://a/x?"].map(|start| format!("{start}{}", char::from(byte))) {
                let is_sent = ureq::http::Uri::try_from(&url).is_ok();
                assert_eq!(OnChange::parse(&format!("POST {url}")).is_ok(), is_sent, "{url}");
            }
        }
    }

    #[test]
    fn a_request_is_exposed_if_it_leaves_the_pod_unencrypted() {
        for (text, is_exposed) in [
            ("POST http://app.prod.svc/x", true),
            ("GET http://10.0.0.1:8080", true),
            ("GET http://[fd00::1]:8080?x", true),
            ("GET http://localhost.example.com/", true),
            ("GET http://LocalHost:8080/x", false),
            ("POST http://127.0.0.2/x", false),
            ("POST http://[::1]:80/x", false),
            ("POST https://app.prod.svc/x", false),
            ("touch reload", false),
        ] {
            assert_eq!(OnChange::parse(text).unwrap().is_exposed(), is_exposed, "{text}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_query() {
        for (text, shown) in [
            ("POST http://localhost:8080/reload?token=test-token", "POST \"http://localhost:8080/reload\""),
            ("GET http://localhost#test-token", "GET \"http://localhost\""),
        ] {
            assert_eq!(OnChange::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn the_four_forms_are_read() {
        for (text, shown) in [
            ("POST http://localhost:8080/reload", "POST \"http://localhost:8080/reload\""),
            (" GET  http://[::1]:9000 ", "GET \"http://[::1]:9000\""),
            ("POST https://app.prod.svc/-/reload", "POST \"https://app.prod.svc/-/reload\""),
            ("signal HUP nginx", "signal HUP to nginx"),
            ("signal SIGUSR1 my-app.x", "signal USR1 to my-app.x"),
            ("touch reload", "touch reload"),
        ] {
            assert_eq!(OnChange::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "POST",
            "post http://a",
            "POST https://",
            "POST http://",
            "POST http://user:test@a/",
            "POST http:///x",
            "POST ftp://a",
            "POST http://a b",
            "POST http://é",
            "signal KILL app",
            "signal 9 app",
            "signal HUP",
            "signal HUP ../x",
            "touch ../x",
            "touch a/b",
            "touch /etc/passwd",
            "exec rm",
        ] {
            assert!(OnChange::parse(text).is_err(), "{text}");
        }
    }
}

//! Authentication: a bearer token, a client certificate or an exec plugin, and impersonation. Files are read again when they
//! change; while they cannot be read, their last content stays in use.

pub(crate) mod client_cert;
pub(crate) mod exec;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::header::HeaderName;
use ureq::http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

pub use exec::Interactive;
pub(crate) use exec::cache::ExecAuth;
pub(crate) use exec::{Plugin, PluginVersion};

use crate::kube::auth::client_cert::{CertificateError, ClientCertificate};
use crate::kube::error::Cause;
use crate::kube::reloading_file::{FileError, Parse, Reloading};
use crate::secret::SecretBytes;

/// The credentials of a client. All fields may be set, or none: then only what `system:anonymous` may read is readable.
#[derive(Debug, Default)]
pub struct Identity {
    pub(crate) token: Option<TokenFile>,
    pub(crate) certificate: Option<CertificateFiles>,
    /// Runs only without a token.
    pub(crate) plugin: Option<ExecAuth>,
    pub(crate) impersonation: Option<Impersonation>,
}

/// What one request authenticates with.
#[derive(Debug)]
pub(crate) struct RequestAuth {
    pub(crate) headers: HeaderMap,
    /// Whether the client certificate differs from that of the previous request.
    pub(crate) is_certificate_changed: bool,
    /// Which of the exec plugin's credentials the request carries; zero without one. A 401 passes it to [`Identity::invalidate`].
    pub(crate) exec_generation: u64,
}

impl Identity {
    /// Returns the authentication of the next request, which the caller wanted since `asked`. `within` bounds the exec plugin.
    ///
    /// # Errors
    /// If the exec plugin fails.
    pub(crate) fn authenticate(
        &mut self,
        asked: Instant,
        within: Option<Duration>,
    ) -> Result<RequestAuth, Cause> {
        let mut headers = self.impersonation.as_ref().map(|user| user.0.clone()).unwrap_or_default();
        let mut is_certificate_changed =
            self.certificate.as_mut().is_some_and(CertificateFiles::reload_if_changed);
        let mut exec_generation = 0;
        if let Some(token) = &mut self.token {
            headers.insert("authorization", bearer(&token.current().0)?);
        } else if let Some(plugin) = &mut self.plugin {
            is_certificate_changed |= plugin.refresh(asked, within)?;
            if let Some(token) = plugin.token() {
                headers.insert("authorization", bearer(token)?);
            }
            exec_generation = plugin.generation();
        }
        Ok(RequestAuth { headers, is_certificate_changed, exec_generation })
    }

    /// The client certificate. A configured one takes precedence over the exec plugin's.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        let configured = self.certificate.as_ref().map(|files| &files.pair);
        configured.or_else(|| self.plugin.as_ref()?.certificate())
    }

    /// Drops the credentials that a 401 rejected, so that the next request loads new ones. `exec_generation` is that of the
    /// rejected request: a credential that replaced it meanwhile is kept. A token file is read again, because its metadata may not
    /// show that it changed.
    pub(crate) fn invalidate(&mut self, exec_generation: u64) {
        if let Some(token) = &mut self.token {
            token.reload();
        }
        if let Some(plugin) = &mut self.plugin {
            plugin.invalidate(exec_generation);
        }
    }

    /// The kind of credentials, for the message about a 401.
    pub(crate) fn kind(&self) -> &'static str {
        match (&self.token, &self.plugin, &self.certificate) {
            (Some(_), _, _) => "the token",
            (None, Some(_), _) => "the exec plugin's credential",
            (None, None, Some(_)) => "the client certificate",
            (None, None, None) => "a request without credentials",
        }
    }
}

fn bearer(token: &Token) -> Result<HeaderValue, Cause> {
    let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
    // `parse_token` admits nothing that a header cannot carry.
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Cause::Configuration { reason: "the token is not a valid HTTP header".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A client certificate and its key, each from a file or inline.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    certificate: Reloading<Arc<SecretBytes>>,
    key: Reloading<Arc<SecretBytes>>,
    pair: ClientCertificate,
}

/// Where PEM comes from.
#[derive(Clone, Debug)]
pub enum PemSource {
    /// The PEM itself.
    Inline(SecretBytes),
    /// The file that contains it.
    File(PathBuf),
}

impl PemSource {
    fn open(self) -> Result<Reloading<Arc<SecretBytes>>, FileError> {
        match self {
            Self::Inline(pem) => Ok(Reloading::fixed(Arc::new(pem))),
            Self::File(path) => Reloading::open(path, |bytes| Ok(Arc::new(SecretBytes::new(bytes.to_vec())))),
        }
    }
}

impl CertificateFiles {
    /// Reads both for the first time.
    ///
    /// # Errors
    /// If one of them cannot be read or parsed, or they do not match.
    pub(crate) fn open(certificate: PemSource, key: PemSource) -> Result<Self, CertificateFilesError> {
        let (mut certificate, mut key) = (certificate.open()?, key.open()?);
        let pair = ClientCertificate::parse(certificate.current().0.expose(), key.current().0.expose())?;
        Ok(Self { certificate, key, pair })
    }

    fn reload_if_changed(&mut self) -> bool {
        let (certificate, is_certificate_changed) = self.certificate.current();
        let (key, is_key_changed) = self.key.current();
        if !is_certificate_changed && !is_key_changed {
            return false;
        }
        match ClientCertificate::parse(certificate.expose(), key.expose()) {
            Ok(pair) => {
                self.pair = pair;
                true
            }
            // The two files are replaced one after the other. The pair is complete once the second one has changed.
            Err(error) => {
                warn!("{error}; keeping the previous client certificate");
                false
            }
        }
    }
}

/// A client certificate that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateFilesError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// The headers that ask the API server to treat a request as another user's.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
#[derive(Clone, Debug)]
pub(crate) struct Impersonation(HeaderMap);

/// The bytes of a key of `as-user-extra` that client-go percent-encodes in the name of the header: all but those of an HTTP token.
/// Source: <https://www.rfc-editor.org/rfc/rfc9110#name-tokens>
const NOT_IN_TOKENS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

impl Impersonation {
    /// Impersonates `user` with these groups and extra attributes.
    ///
    /// # Errors
    /// If an HTTP header cannot carry one of them.
    pub(crate) fn new<'a>(
        user: &str,
        uid: Option<&str>,
        groups: impl IntoIterator<Item = &'a str>,
        extra: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ImpersonationError> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| ImpersonationError);
        let mut headers = HeaderMap::new();
        headers.insert("impersonate-user", value(user)?);
        if let Some(uid) = uid {
            headers.insert("impersonate-uid", value(uid)?);
        }
        for group in groups {
            headers.append("impersonate-group", value(group)?);
        }
        for (key, text) in extra {
            let name = format!("impersonate-extra-{}", utf8_percent_encode(key, NOT_IN_TOKENS));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ImpersonationError)?;
            headers.append(name, value(text)?);
        }
        Ok(Self(headers))
    }
}

/// A user or attribute that no HTTP header can carry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("contains characters that an HTTP header cannot carry")]
pub(crate) struct ImpersonationError;

/// The largest token, in bytes: a longer one would not fit the send buffer. Service account tokens have about 1 KiB.
const TOKEN_LIMIT: usize = 6 * 1024;

/// A token file, which the kubelet keeps current.
pub(crate) type TokenFile = Reloading<Token>;

/// A token, overwritten when dropped.
pub(crate) type Token = Zeroizing<String>;

/// Reads a token file for the first time. `inline` is the token to use while the file cannot be read.
///
/// # Errors
/// If the file cannot be read, is empty, or does not contain a token, and `inline` is `None`.
pub(crate) fn open_token(path: PathBuf, inline: Option<Token>) -> Result<TokenFile, FileError> {
    let parse: Parse<Token> = |bytes| Ok(parse_token(bytes)?);
    match inline {
        Some(inline) => Ok(Reloading::open_or(path, parse, inline)),
        None => Reloading::open(path, parse),
    }
}

/// Checks a token, without the white space around it.
///
/// # Errors
/// If it is too long, or an HTTP header cannot carry it.
pub(crate) fn parse_token(bytes: &[u8]) -> Result<Token, TokenError> {
    let token = bytes.trim_ascii();
    match std::str::from_utf8(token) {
        _ if token.len() > TOKEN_LIMIT => Err(TokenError::TooLarge),
        Ok(text) if token.iter().all(u8::is_ascii_graphic) => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(TokenError::Characters),
    }
}

/// Text that is not a token. Its messages do not quote it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TokenError {
    #[error("is too long for a token (limit: {TOKEN_LIMIT} bytes)")]
    TooLarge,
    #[error("contains characters that are not allowed in a token")]
    Characters,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pem(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.into()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_replaced_certificate_is_used_once_its_key_is_replaced_too() {
        let directory = tempfile::tempdir().unwrap();
        let (at, put) = (
            |name: &str| directory.path().join(name),
            |name: &str, text: &str| {
                fs::write(directory.path().join("new"), text).unwrap();
                fs::rename(directory.path().join("new"), directory.path().join(name)).unwrap();
            },
        );
        let ((certificate, key), (next, next_key)) = (pem("one"), pem("two"));
        put("tls.crt", &certificate);
        put("tls.key", &key);
        let opened =
            CertificateFiles::open(PemSource::File(at("tls.crt")), PemSource::File(at("tls.key"))).unwrap();
        let first = opened.pair.end_entity();
        let mut identity = Identity { certificate: Some(opened), ..Identity::default() };
        assert!(!identity.authenticate(Instant::now(), None).unwrap().is_certificate_changed);
        put("tls.crt", &next);
        assert!(!identity.authenticate(Instant::now(), None).unwrap().is_certificate_changed);
        assert_eq!(identity.certificate().unwrap().end_entity(), first);
        put("tls.key", &next_key);
        assert!(identity.authenticate(Instant::now(), None).unwrap().is_certificate_changed);
        assert_ne!(identity.certificate().unwrap().end_entity(), first);
    }

    #[test]
    fn impersonation_headers_are_those_of_client_go() {
        let user = Impersonation::new(
            "jane",
            Some("7"),
            ["a", "b c"],
            [("example.com/team", "x"), ("example.com/team", "y"), ("É!#$&'*+-.^_`|~", "z")],
        );
        let headers = user.unwrap().0;
        let all = |name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (all("impersonate-user"), all("impersonate-uid")),
            (vec!["jane".to_owned()], vec!["7".to_owned()])
        );
        assert_eq!(all("impersonate-group"), ["a", "b c"]);
        assert_eq!(all("impersonate-extra-example.com%2fteam"), ["x", "y"]);
        assert_eq!(all("impersonate-extra-%c3%89!#$&'*+-.^_`|~"), ["z"]);
        assert_eq!(Impersonation::new("a\nb", None, [], []).unwrap_err(), ImpersonationError);
    }

    #[test]
    fn debug_hides_the_token_in_headers() {
        let token = Reloading::fixed(Zeroizing::new("test-token-1".to_owned()));
        let mut identity = Identity { token: Some(token), ..Identity::default() };
        let headers = identity.authenticate(Instant::now(), None).unwrap().headers;
        assert_eq!(headers["authorization"], "Bearer test-token-1");
        assert!(!format!("{headers:?} {identity:?}").contains("test-token-1"));
    }
}

#[cfg(test)]
mod token_tests {
    use super::*;

    #[test]
    fn an_invalid_token_is_rejected_without_being_shown() {
        assert_eq!(parse_token(b" test-token-1\n").unwrap().as_str(), "test-token-1");
        for bad in
            [&b"test token"[..], b"test-\xff", b"test\ntoken", b"test\0token", &[b't'; TOKEN_LIMIT + 1]]
        {
            let error = parse_token(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("test"), "{bad:?}");
        }
    }
}

//! Who we are to an API server: a token, a client certificate, what a plugin says, and whom we stand for. Files are read again
//! when they change; while they cannot be read, what they held last is used on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use ureq::http::header::HeaderName;
use ureq::http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::kube::auth::client_cert::{CertificateError, ClientCertificate};
use crate::kube::auth::exec_auth::PluginIdentity;
use crate::kube::auth::token::{Token, TokenFile};
use crate::kube::error::Cause;
use crate::kube::reloading_file::{FileError, Followed};
use crate::secret::SecretBytes;

/// What says who we are. All of it may be there, and nothing: then only what anybody may read can be read.
#[derive(Debug, Default)]
pub struct Identity {
    /// A bearer token.
    pub(crate) token: Option<TokenFile>,
    /// A client certificate.
    pub(crate) certificate: Option<CertificateFiles>,
    /// A program that gives a token or a certificate: asked where there is no token.
    pub(crate) plugin: Option<PluginIdentity>,
    /// For whom we act.
    pub(crate) impersonation: Option<Impersonation>,
}

impl Identity {
    /// The headers of a request that say who we are, and whether another client certificate goes with them than the last time.
    /// They were `asked` for at that time; since then somebody else may have had them made. A plugin has no longer than `within`.
    pub(crate) fn headers(
        &mut self,
        asked: Instant,
        within: Option<Duration>,
    ) -> Result<(HeaderMap, bool), Cause> {
        let mut headers = self.impersonation.as_ref().map(|who| who.0.clone()).unwrap_or_default();
        let mut changed = self.certificate.as_mut().is_some_and(CertificateFiles::read_if_changed);
        if let Some(token) = &mut self.token {
            headers.insert("authorization", bearer(&token.current().0)?);
        } else if let Some(plugin) = &mut self.plugin {
            changed |= plugin.renew(asked, within)?;
            if let Some(token) = plugin.token() {
                headers.insert("authorization", bearer(token)?);
            }
        }
        Ok((headers, changed))
    }

    /// The client certificate. A plugin's counts where no other was named.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        let named = self.certificate.as_ref().map(|files| &files.pair);
        named.or_else(|| self.plugin.as_ref()?.certificate())
    }

    /// The API server does not know us: what was read before may be too old.
    pub(crate) fn is_refused(&mut self) {
        if let Some(token) = &mut self.token {
            token.read_again();
        }
        if let Some(plugin) = &mut self.plugin {
            plugin.forget();
        }
    }

    /// What an API server refuses that does not know us.
    pub(crate) fn what(&self) -> &'static str {
        match (&self.token, &self.plugin, &self.certificate) {
            (Some(_), _, _) => "the token",
            (None, Some(_), _) => "what the credential plugin gave",
            (None, None, Some(_)) => "the client certificate",
            (None, None, None) => "a request without any credentials",
        }
    }
}

fn bearer(token: &Token) -> Result<HeaderValue, Cause> {
    let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| Cause::unreadable("the token is no header value"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A client certificate and its key, each in a file or where it was found.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    certificate: Followed<Arc<SecretBytes>>,
    key: Followed<Arc<SecretBytes>>,
    pair: ClientCertificate,
}

/// PEM, or the file that holds it.
#[derive(Clone, Debug)]
pub enum Material {
    /// The PEM itself.
    Inline(SecretBytes),
    /// Where it is.
    File(PathBuf),
}

impl Material {
    fn open(self) -> Result<Followed<Arc<SecretBytes>>, FileError> {
        match self {
            Self::Inline(pem) => Ok(Followed::fixed(Arc::new(pem))),
            Self::File(path) => Followed::open(path, |bytes| Ok(Arc::new(SecretBytes::new(bytes.to_vec())))),
        }
    }
}

impl CertificateFiles {
    /// Reads both for the first time.
    ///
    /// # Errors
    /// If one cannot be read or they do not belong together.
    pub(crate) fn open(certificate: Material, key: Material) -> Result<Self, MaterialError> {
        let (mut certificate, mut key) = (certificate.open()?, key.open()?);
        let pair = ClientCertificate::parse(certificate.current().0.expose(), key.current().0.expose())?;
        Ok(Self { certificate, key, pair })
    }

    fn read_if_changed(&mut self) -> bool {
        let (certificate, certificate_changed) = self.certificate.current();
        let (key, key_changed) = self.key.current();
        if !certificate_changed && !key_changed {
            return false;
        }
        match ClientCertificate::parse(certificate.expose(), key.expose()) {
            Ok(pair) => {
                self.pair = pair;
                true
            }
            // One of them is new, and the other follows.
            Err(error) => {
                warn!("{error}; going on with what was there before");
                false
            }
        }
    }
}

/// Why a client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MaterialError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in them.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// For whom we act, if the API server lets us.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
#[derive(Clone, Debug)]
pub(crate) struct Impersonation(HeaderMap);

impl Impersonation {
    /// This user, with these groups and further attributes.
    ///
    /// # Errors
    /// If one of them cannot be said in a header.
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
            let name = HeaderName::from_bytes(format!("impersonate-extra-{}", escape(key)).as_bytes());
            headers.append(name.map_err(|_| ImpersonationError)?, value(text)?);
        }
        Ok(Self(headers))
    }
}

/// A key of an attribute as part of the name of a header: what no token of HTTP has is written in percents, as client-go does.
fn escape(key: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    key.bytes().map(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Somebody whom no header can name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("holds characters that no header can carry")]
pub(crate) struct ImpersonationError;

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
    fn a_certificate_that_is_replaced_is_taken_once_its_key_is_there_too() {
        let folder = tempfile::tempdir().unwrap();
        let (at, put) = (
            |name: &str| folder.path().join(name),
            |name: &str, text: &str| {
                fs::write(folder.path().join("new"), text).unwrap();
                fs::rename(folder.path().join("new"), folder.path().join(name)).unwrap();
            },
        );
        let ((certificate, key), (next, next_key)) = (pem("one"), pem("two"));
        put("tls.crt", &certificate);
        put("tls.key", &key);
        let opened =
            CertificateFiles::open(Material::File(at("tls.crt")), Material::File(at("tls.key"))).unwrap();
        let first = opened.pair.end_entity();
        let mut identity = Identity { certificate: Some(opened), ..Identity::default() };
        assert!(!identity.headers(Instant::now(), None).unwrap().1);
        put("tls.crt", &next);
        assert!(!identity.headers(Instant::now(), None).unwrap().1);
        let kept = identity.certificate();
        assert_eq!(kept.unwrap().end_entity(), first);
        put("tls.key", &next_key);
        assert!(identity.headers(Instant::now(), None).unwrap().1);
        let taken = identity.certificate();
        assert_ne!(taken.unwrap().end_entity(), first);
    }

    #[test]
    fn impersonation_is_said_as_client_go_says_it() {
        let who = Impersonation::new(
            "jane",
            Some("7"),
            ["a", "b c"],
            [("example.com/team", "x"), ("example.com/team", "y")],
        );
        let headers = who.unwrap().0;
        let all = |name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (all("impersonate-user"), all("impersonate-uid")),
            (vec!["jane".to_owned()], vec!["7".to_owned()])
        );
        assert_eq!(all("impersonate-group"), ["a", "b c"]);
        assert_eq!(all("impersonate-extra-example.com%2fteam"), ["x", "y"]);
        assert_eq!(Impersonation::new("a\nb", None, [], []).unwrap_err(), ImpersonationError);
    }

    #[test]
    fn the_header_of_a_token_is_marked_so_that_nothing_shows_it() {
        let token = Followed::fixed(Zeroizing::new("test-token-1".to_owned()));
        let mut identity = Identity { token: Some(token), ..Identity::default() };
        let (headers, _) = identity.headers(Instant::now(), None).unwrap();
        assert_eq!(headers["authorization"], "Bearer test-token-1");
        assert!(!format!("{headers:?} {identity:?}").contains("test-token-1"));
    }
}

//! A client certificate and key for TLS client authentication, and the PEM that these and CA bundles are written in. The only
//! user of `rustls-pemfile`.

use std::sync::Arc;
use std::{fmt, io};

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, RootCertStore};

/// A certificate with its intermediates and the matching private key.
#[derive(Clone)]
pub(crate) struct ClientCertificate(Arc<CertifiedKey>);

impl ClientCertificate {
    /// Parses both from PEM. The key may be PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// If one of them is invalid, or the key belongs to another certificate.
    pub(crate) fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = certificates(certificate).map_err(CertificateError::Certificate)?;
        let key = private_key(key).map_err(CertificateError::Key)?;
        let provider = ring::default_provider();
        // rustls's error is dropped: it may describe the content of the key.
        let key =
            provider.key_provider.load_private_key(key).map_err(|_| CertificateError::UnsupportedKey)?;
        // For a key whose public half rustls cannot derive, the server finds the mismatch.
        if let (Some(ours), Some(certificate)) = (key.public_key(), chain.first()) {
            let theirs = public_key(certificate).map_err(CertificateError::InvalidCertificate)?;
            if !is_sequence_of(&ours, &theirs) {
                return Err(CertificateError::Mismatch);
            }
        }
        Ok(Self(Arc::new(CertifiedKey::new(chain, key))))
    }

    #[cfg(test)]
    pub(crate) fn end_entity(&self) -> Vec<u8> {
        self.0.cert[0].to_vec()
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }
}

/// The content of a certificate's `SubjectPublicKeyInfo`. The certificate is parsed as a trust anchor, because webpki accepts X.509
/// version 1 for these only, and `openssl x509 -req` makes client certificates of version 1 by default.
fn public_key(certificate: &CertificateDer<'static>) -> Result<Vec<u8>, Error> {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone())?;
    Ok(store.roots.first().map(|root| root.subject_public_key_info.to_vec()).unwrap_or_default())
}

/// Whether this is a DER sequence with that content: its tag and length, followed by the content.
fn is_sequence_of(sequence: &[u8], content: &[u8]) -> bool {
    const LONGEST_HEADER: usize = 4;
    !content.is_empty() && sequence.ends_with(content) && sequence.len() - content.len() <= LONGEST_HEADER
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(hidden)")
    }
}

/// A client certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("the client certificate {0}")]
    Certificate(#[source] PemError),
    #[error("the client certificate cannot be parsed: {0}")]
    InvalidCertificate(#[source] Error),
    #[error("the client key {0}")]
    Key(#[source] PemError),
    #[error("the client key is of an unsupported type")]
    UnsupportedKey,
    #[error("the client key does not match the client certificate")]
    Mismatch,
}

/// All certificates, in order. Other PEM blocks are ignored.
///
/// # Errors
/// If the PEM is invalid or contains no certificate.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Result<Vec<_>, _> = rustls_pemfile::certs(&mut &*pem).collect();
    match read {
        Err(error) => Err(PemError::Invalid(error)),
        Ok(certificates) if certificates.is_empty() => Err(PemError::NoCertificate),
        Ok(certificates) => Ok(certificates),
    }
}

/// The first private key: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
///
/// # Errors
/// If the PEM is invalid or contains no such key. The parser's error about an invalid key is dropped: it may quote the key.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    match rustls_pemfile::private_key(&mut &*pem) {
        Ok(Some(key)) => Ok(key),
        Ok(None) if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => Err(PemError::Encrypted),
        Ok(None) => Err(PemError::NoKey),
        Err(_) => Err(PemError::InvalidKey),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// PEM that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// No certificate.
    #[error("contains no PEM certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// Invalid certificates.
    #[error("is not valid PEM: {0}")]
    Invalid(#[source] io::Error),
    /// No private key.
    #[error("contains no PEM private key (PKCS#8, PKCS#1 or SEC1)")]
    NoKey,
    /// The private key is protected by a password.
    #[error("contains an encrypted private key, which podcreds cannot decrypt; store it decrypted")]
    Encrypted,
    /// An invalid private key.
    #[error("contains a private key that is not valid PEM")]
    InvalidKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["test".into()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_accepted_with_its_own_key_only() {
        let ((certificate, key), (other, _)) = (pair(), pair());
        let read = ClientCertificate::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(format!("{read:?}"), "ClientCertificate(hidden)");
        let mixed = ClientCertificate::parse(other.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(mixed, CertificateError::Mismatch), "{mixed}");
        let swapped = ClientCertificate::parse(key.as_bytes(), certificate.as_bytes()).unwrap_err();
        assert!(matches!(swapped, CertificateError::Certificate(_)), "{swapped}");
        let no_key = ClientCertificate::parse(certificate.as_bytes(), b"").unwrap_err();
        assert!(matches!(no_key, CertificateError::Key(_)), "{no_key}");
    }
}

#[cfg(test)]
mod pem_tests {
    use super::*;

    #[test]
    fn an_unusable_key_is_reported_without_its_content() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (pem, expected) in [
            (String::new(), "contains no PEM private key"),
            (block("CERTIFICATE", "AAAA"), "contains no PEM private key"),
            (block("ENCRYPTED PRIVATE KEY", "AAAA"), "contains an encrypted private key"),
            (block("PRIVATE KEY", "test-key!"), "not valid PEM"),
        ] {
            let error = private_key(pem.as_bytes()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(expected) && !shown.contains("test-key"), "{shown}");
        }
    }

    #[test]
    fn a_key_in_any_of_three_encodings_is_found_after_other_blocks() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let pem = format!(
                "# test\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"
            );
            assert!(private_key(pem.as_bytes()).is_ok(), "{label}");
        }
    }
}

//! A client certificate with its key: who we are, to an API server that looks at it in the handshake.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, RootCertStore};

use crate::kube::auth::pem;

/// A certificate, those between it and its authority, and the key: they belong together.
#[derive(Clone)]
pub(crate) struct ClientCertificate(Arc<CertifiedKey>);

impl ClientCertificate {
    /// Reads both from PEM. The key may be PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// If one cannot be read, or the key is another certificate's.
    pub(crate) fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = pem::certificates(certificate)
            .map_err(|error| CertificateError::Certificate(error.to_string()))?;
        let unusable =
            || CertificateError::Key("holds a private key of a kind that cannot be used".to_owned());
        let read = pem::private_key(key).map_err(|error| CertificateError::Key(error.to_string()))?;
        let key = ring::default_provider().key_provider.load_private_key(read).map_err(|_| unusable())?;
        // A kind of key that does not tell its public half is left to the server.
        if let (Some(ours), Some(certificate)) = (key.public_key(), chain.first()) {
            let theirs = public_key(certificate)
                .map_err(|error| CertificateError::Certificate(format!("cannot be read: {error}")))?;
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

    /// As rustls takes it.
    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }
}

/// The public key of a certificate, as it stands in its sequence. A root may be of X.509 version 1, and so may a client's
/// certificate, which openssl makes unless it is told otherwise: it is read as if it were a root.
fn public_key(certificate: &CertificateDer<'static>) -> Result<Vec<u8>, Error> {
    let mut store = RootCertStore::empty();
    store.add(certificate.clone())?;
    Ok(store.roots.first().map(|root| root.subject_public_key_info.to_vec()).unwrap_or_default())
}

/// Whether this is a DER sequence of that content, which is what its tag and its length stand before.
fn is_sequence_of(sequence: &[u8], content: &[u8]) -> bool {
    const LONGEST_HEADER: usize = 4;
    !content.is_empty() && sequence.ends_with(content) && sequence.len() - content.len() <= LONGEST_HEADER
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(hidden)")
    }
}

/// A certificate and key that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum CertificateError {
    /// The certificate.
    #[error("the client certificate {0}")]
    Certificate(String),
    /// The key.
    #[error("the client key {0}")]
    Key(String),
    /// They do not belong together.
    #[error("the client key is not that of the client certificate")]
    Mismatch,
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
    fn a_certificate_goes_with_its_own_key_only() {
        let ((certificate, key), (other, _)) = (pair(), pair());
        let read = ClientCertificate::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(format!("{read:?}"), "ClientCertificate(hidden)");
        let mixed = ClientCertificate::parse(other.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(mixed, CertificateError::Mismatch);
        let swapped = ClientCertificate::parse(key.as_bytes(), certificate.as_bytes()).unwrap_err();
        assert!(matches!(swapped, CertificateError::Certificate(_)), "{swapped}");
        let no_key = ClientCertificate::parse(certificate.as_bytes(), b"").unwrap_err();
        assert!(matches!(no_key, CertificateError::Key(_)), "{no_key}");
    }
}

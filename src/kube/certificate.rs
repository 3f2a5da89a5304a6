//! A client certificate with its key: who we are, to an API server that looks at it in the handshake.

use std::fmt;

use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use ureq::tls::{Certificate, ClientCert, PrivateKey};

use crate::kube::pem;

/// A certificate, those between it and its authority, and the key: they belong together.
#[derive(Clone)]
pub struct ClientCertificate(ClientCert);

impl ClientCertificate {
    /// Reads both from PEM. The key may be PKCS#8, PKCS#1 or SEC1.
    ///
    /// # Errors
    /// If one cannot be read, or the key is another certificate's.
    pub fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = pem::certificates(certificate)
            .map_err(|error| CertificateError::Certificate(error.to_string()))?;
        let unusable =
            || CertificateError::Key("holds a private key of a kind that cannot be used".to_owned());
        let read = pem::private_key(key).map_err(|error| CertificateError::Key(error.to_string()))?;
        let shown = ClientCert::new_with_certs(
            &chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>(),
            PrivateKey::from_pem(key).map_err(|_| unusable())?,
        );
        let key = ring::default_provider().key_provider.load_private_key(read).map_err(|_| unusable())?;
        match CertifiedKey::new(chain, key).keys_match() {
            // A kind of key that does not tell its public half is left to the server.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Self(shown)),
            Err(Error::InconsistentKeys(_)) => Err(CertificateError::Mismatch),
            Err(error) => Err(CertificateError::Certificate(format!("cannot be read: {error}"))),
        }
    }

    /// As ureq takes it.
    pub(super) fn shown(&self) -> ClientCert {
        self.0.clone()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(hidden)")
    }
}

/// A certificate and key that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CertificateError {
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

//! The certificate authorities that an API server's certificate is verified against.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::kube::auth::pem::{self, PemError};
use crate::kube::reloading_file::{FileError, Reloading};

/// Trust anchors for an API server's certificate.
#[derive(Clone, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Parses one or more PEM certificates. Other PEM blocks are ignored.
    ///
    /// # Errors
    /// If there is no certificate, or one that cannot be parsed. Skipping that one silently would show up later as an untrusted
    /// server.
    pub fn parse(pem: &[u8]) -> Result<Self, RootsError> {
        let certificates = pem::certificates(pem).map_err(RootsError::Pem)?;
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            store
                .add(certificate.clone())
                .map_err(|error| RootsError::Certificate { number: index + 1, error })?;
        }
        Ok(Self(certificates))
    }

    /// Reads a file, which is parsed again when it changes.
    ///
    /// # Errors
    /// As [`Roots::parse`], or if the file cannot be read.
    pub(crate) fn open(path: PathBuf) -> Result<Reloading<Self>, FileError> {
        Reloading::open(path, |bytes| Ok(Self::parse(bytes)?))
    }

    /// Loads the certificate authorities of the operating system, as Go does for a kubeconfig without a certificate authority.
    /// Certificates that cannot be parsed are skipped: the user did not choose them.
    ///
    /// # Errors
    /// If the system has none, as in an image that holds podcreds alone.
    pub(crate) fn from_system() -> Result<Self, RootsError> {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
        if certificates.is_empty() { Err(RootsError::NoSystem) } else { Ok(Self(certificates)) }
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

/// A CA bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// No certificate, or invalid PEM.
    #[error(transparent)]
    Pem(PemError),
    /// Invalid DER, or a certificate that cannot be a trust anchor.
    #[error("contains a certificate (number {number}) that cannot be parsed: {error}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// rustls's error.
        #[source]
        error: rustls::Error,
    },
    /// The operating system has no certificate authorities.
    #[error(
        "no certificate authority: the kubeconfig names none and this system has none; set certificate-authority"
    )]
    NoSystem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_of_a_bundle_must_parse() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let two = format!("# a comment\n{pem}\n{pem}");
        assert_eq!(Roots::parse(two.as_bytes()).unwrap().certificates().len(), 2);
        for nothing in [&b""[..], b"garbage \xff\0"] {
            assert!(matches!(Roots::parse(nothing), Err(RootsError::Pem(PemError::NoCertificate))));
        }
        let cut = &pem[..pem.len() / 2];
        assert!(matches!(Roots::parse(cut.as_bytes()), Err(RootsError::Pem(_))));
        let empty = format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(matches!(Roots::parse(empty.as_bytes()), Err(RootsError::Certificate { number: 2, .. })));
    }
}

//! The certificates that are trusted to sign an API server's.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::kube::auth::pem::{self, PemError};
use crate::kube::reloading_file::{FileError, Followed};

/// The certificates that an API server's own must lead to.
#[derive(Clone, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads one or several PEM certificates. Other PEM blocks are passed over.
    ///
    /// # Errors
    /// If there is none, or one that cannot be read: a certificate that is silently left out would look like a wrong
    /// server later.
    pub fn parse(pem: &[u8]) -> Result<Self, RootsError> {
        let certificates = pem::certificates(pem).map_err(RootsError::Pem)?;
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            store
                .add(certificate.clone())
                .map_err(|error| RootsError::Certificate { number: index + 1, reason: error.to_string() })?;
        }
        Ok(Self(certificates))
    }

    /// Those in a file, read again when it changes.
    ///
    /// # Errors
    /// As [`Roots::parse`], or if the file cannot be read.
    pub(crate) fn open(path: PathBuf) -> Result<Followed<Self>, FileError> {
        Followed::open(path, |bytes| Self::parse(bytes).map_err(|error| error.to_string()))
    }

    /// Those of the operating system, as Go takes them where a kubeconfig names no certificate authority. What cannot be read
    /// of them is passed over: nobody wrote that file for us.
    ///
    /// # Errors
    /// If there is none, as in an image that holds podcreds alone.
    pub(crate) fn of_system() -> Result<Self, RootsError> {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
        if certificates.is_empty() { Err(RootsError::NoSystem) } else { Ok(Self(certificates)) }
    }

    /// The certificates, in the order of the file.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

/// A bundle of certificates that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RootsError {
    /// Nothing in it, or broken PEM.
    #[error("{0}")]
    Pem(PemError),
    /// Broken DER, or a certificate that cannot be a root.
    #[error("holds a certificate (number {number}) that cannot be read: {reason}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// What rustls says.
        reason: String,
    },
    /// The system has no roots.
    #[error(
        "no certificate authority is named, and this system has none of its own: name one with certificate-authority"
    )]
    NoSystem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_must_be_readable() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let two = format!("# a comment\n{pem}\n{pem}");
        assert_eq!(Roots::parse(two.as_bytes()).unwrap().certificates().len(), 2);
        assert_eq!(Roots::parse(b"").unwrap_err(), RootsError::Pem(PemError::NoCertificate));
        assert_eq!(Roots::parse(b"garbage \xff\0").unwrap_err(), RootsError::Pem(PemError::NoCertificate));
        let cut = &pem[..pem.len() / 2];
        assert!(matches!(Roots::parse(cut.as_bytes()), Err(RootsError::Pem(_))));
        let empty = format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(matches!(Roots::parse(empty.as_bytes()), Err(RootsError::Certificate { number: 2, .. })));
    }
}

//! Certificates and private keys in PEM: the one place that splits it.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Every certificate, in the order of the text. Other PEM blocks are passed over.
///
/// # Errors
/// If the PEM is broken or has no certificate.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Result<Vec<_>, _> = rustls_pemfile::certs(&mut &*pem).collect();
    match read {
        Err(error) => Err(PemError::Broken(error.to_string())),
        Ok(certificates) if certificates.is_empty() => Err(PemError::NoCertificate),
        Ok(certificates) => Ok(certificates),
    }
}

/// The first private key: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
///
/// # Errors
/// If the PEM is broken or has no such key. What the parser says of a broken key is kept back: it could show some of it.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    match rustls_pemfile::private_key(&mut &*pem) {
        Ok(Some(key)) => Ok(key),
        Ok(None) if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => Err(PemError::Encrypted),
        Ok(None) => Err(PemError::NoKey),
        Err(_) => Err(PemError::BrokenKey),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// PEM that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum PemError {
    /// It has no certificate.
    NoCertificate,
    /// It cannot be read.
    Broken(String),
    /// It has no private key.
    NoKey,
    /// Its key wants a password.
    Encrypted,
    /// Its key cannot be read.
    BrokenKey,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("holds no PEM certificate (-----BEGIN CERTIFICATE-----)"),
            Self::Broken(reason) => write!(f, "is broken PEM: {reason}"),
            Self::NoKey => f.write_str("holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)"),
            Self::Encrypted => f.write_str(
                "holds an encrypted private key: nobody is there to type its password; store it decrypted",
            ),
            Self::BrokenKey => f.write_str("holds a private key that is broken PEM"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_without_a_byte_of_it() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (pem, error) in [
            (String::new(), PemError::NoKey),
            (block("CERTIFICATE", "AAAA"), PemError::NoKey),
            (block("ENCRYPTED PRIVATE KEY", "AAAA"), PemError::Encrypted),
            (block("PRIVATE KEY", "test-key!"), PemError::BrokenKey),
        ] {
            let refused = private_key(pem.as_bytes()).unwrap_err();
            assert!(!refused.to_string().contains("test-key"));
            assert_eq!(refused, error);
        }
    }

    #[test]
    fn all_three_forms_of_keys_are_found_after_other_blocks() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let pem = format!(
                "# test\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"
            );
            assert!(private_key(pem.as_bytes()).is_ok(), "{label}");
        }
    }
}

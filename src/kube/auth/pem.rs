//! PEM: certificates and private keys. The only user of `rustls-pemfile`.

use std::io;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

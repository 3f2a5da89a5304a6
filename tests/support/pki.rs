//! A certificate authority of the test's own, and the server certificates that it signs.

use std::fmt;
use std::io;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A self-signed root, as a cluster's `ca.crt` holds it.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new root with an ECDSA P-256 key. All are called `kubernetes`, as kubeadm calls them, and differ by key: to a
    /// client that trusts another one, the signature is wrong.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        Self { root: CertifiedIssuer::self_signed(params, key).expect("a root signs itself") }
    }

    /// The root certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    /// Signs a server certificate.
    ///
    /// # Errors
    /// Only for an RSA key, where no `openssl` is there to make one.
    pub(crate) fn issue(&self, leaf: &Leaf) -> Result<Issued, OpensslMissing> {
        let key = leaf.key.generate()?;
        let mut params = CertificateParams::new(leaf.names.clone()).expect("subject alternative names");
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(leaf.not_before);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(leaf.not_after);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.root).expect("the root signs a leaf");
        Ok(Issued { certificate_pem: certificate.pem(), certificate: certificate.der().clone(), key })
    }
}

/// What a server certificate says.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// DNS names and IP addresses.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) key: KeyKind,
}

impl Default for Leaf {
    fn default() -> Self {
        let now = SystemTime::now();
        Self {
            names: ["127.0.0.1", "::1", "localhost"].map(String::from).to_vec(),
            not_before: now - DAY,
            not_after: now + DAY,
            key: KeyKind::EcdsaP256,
        }
    }
}

impl Leaf {
    /// Valid yesterday, no more today.
    pub(crate) fn expired() -> Self {
        let now = SystemTime::now();
        Self { not_before: now - 2 * DAY, not_after: now - DAY, ..Self::default() }
    }

    /// For these names and addresses only.
    pub(crate) fn named(names: &[&str]) -> Self {
        Self { names: names.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    /// With a key of this kind.
    pub(crate) fn with_key(key: KeyKind) -> Self {
        Self { key, ..Self::default() }
    }
}

/// The kinds of key that API servers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    EcdsaP256,
    Ed25519,
    Rsa2048,
}

impl KeyKind {
    fn generate(self) -> Result<KeyPair, OpensslMissing> {
        match self {
            Self::EcdsaP256 => Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key")),
            Self::Ed25519 => Ok(KeyPair::generate_for(&PKCS_ED25519).expect("an Ed25519 key")),
            Self::Rsa2048 => generate_rsa(),
        }
    }
}

/// ring signs with RSA keys but makes none: <https://github.com/briansmith/ring/issues/219>.
fn generate_rsa() -> Result<KeyPair, OpensslMissing> {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output();
    match made {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpensslMissing),
        Err(error) => panic!("openssl could not be started: {error}"),
        Ok(output) if !output.status.success() => {
            panic!("openssl genpkey failed: {}", String::from_utf8_lossy(&output.stderr))
        }
        Ok(output) => {
            let pem = String::from_utf8(output.stdout).expect("openssl prints PEM");
            Ok(KeyPair::from_pem(&pem).expect("openssl prints a PKCS#8 key"))
        }
    }
}

/// There is no `openssl` program, and an RSA key was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpensslMissing;

impl fmt::Display for OpensslMissing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("openssl is missing: it makes the RSA keys of the tests")
    }
}

impl std::error::Error for OpensslMissing {}

/// A signed certificate with its key.
pub(crate) struct Issued {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

impl Issued {
    /// The chain that a server sends: the leaf alone.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The private key, for rustls.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// The certificate in PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key in PEM (PKCS#8).
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// Whole seconds: X.509 times have no fraction.
fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    Duration::from_secs(since.as_secs())
}

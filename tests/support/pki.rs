//! A certificate authority for one test, and the server certificates that it signs.

use std::fmt;
use std::io;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate authority, as in a cluster's `ca.crt`.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    /// The intermediate certificates up to the root, which a server sends after its own. Empty for a root.
    above: Vec<CertificateDer<'static>>,
}

fn authority(name: &str) -> CertificateParams {
    // The authority's certificate is also used as a server certificate, so it needs the servers' names.
    let mut params = CertificateParams::new(Leaf::default().names).expect("subject alternative names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    /// Creates a root with an ECDSA P-256 key. Every root is called `kubernetes`, as kubeadm calls it; only the key
    /// differs, so to a client that trusts another root the signature is wrong.
    pub(crate) fn new() -> Self {
        Self::named("kubernetes")
    }

    /// Creates a root with another name.
    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let root = CertifiedIssuer::self_signed(authority(name), key).expect("a root signs itself");
        Self { root, above: Vec::new() }
    }

    /// Creates an intermediate authority signed by this one; its certificates are sent with the intermediate's.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let root = CertifiedIssuer::signed_by(authority(name), key, &self.root).expect("an authority signs");
        let above = [root.der().clone()].into_iter().chain(self.above.clone()).collect();
        Self { root, above }
    }

    /// The root certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.root.pem()
    }

    /// The private key in PEM (PKCS#8).
    pub(crate) fn key_pem(&self) -> String {
        self.root.key().serialize_pem()
    }

    /// The authority's own certificate, for a server that presents it directly.
    pub(crate) fn own(&self) -> Issued {
        let key = KeyPair::from_pem(&self.key_pem()).expect("a key that was just written");
        Issued { certificate: self.root.der().clone(), certificate_pem: self.pem(), above: Vec::new(), key }
    }

    /// Signs a server certificate.
    ///
    /// # Errors
    /// `OpensslMissing` for an RSA key if openssl is not installed.
    pub(crate) fn issue(&self, leaf: &Leaf) -> Result<Issued, OpensslMissing> {
        let key = leaf.key.generate()?;
        let certificate = leaf.params().signed_by(&key, &self.root).expect("the root signs a leaf");
        Ok(Issued::new(&certificate, &self.above, key))
    }
}

/// The contents of a server certificate.
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
    /// Expired a day ago.
    pub(crate) fn expired() -> Self {
        let now = SystemTime::now();
        Self { not_before: now - 2 * DAY, not_after: now - DAY, ..Self::default() }
    }

    /// Valid for these names and addresses only.
    pub(crate) fn named(names: &[&str]) -> Self {
        Self { names: names.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    /// Not valid before tomorrow.
    pub(crate) fn not_yet_valid() -> Self {
        let now = SystemTime::now();
        Self { not_before: now + DAY, not_after: now + 2 * DAY, ..Self::default() }
    }

    /// Issues a self-signed certificate with a P-256 key. It is not an authority, and no client knows it.
    pub(crate) fn self_signed(&self) -> Issued {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let certificate = self.params().self_signed(&key).expect("a leaf signs itself");
        Issued::new(&certificate, &[], key)
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).expect("subject alternative names");
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(self.not_before);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(self.not_after);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// Uses a key of this kind.
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

/// ring signs with RSA keys but cannot generate them: <https://github.com/briansmith/ring/issues/219>.
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

/// An RSA key needs the `openssl` program, which is not installed.
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
    above: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Issued {
    fn new(certificate: &Certificate, above: &[CertificateDer<'static>], key: KeyPair) -> Self {
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { certificate: der, certificate_pem: pem, above: above.to_vec(), key }
    }

    /// The chain that a server sends: the leaf, then the intermediates.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        [self.certificate.clone()].into_iter().chain(self.above.clone()).collect()
    }

    /// Drops the intermediates.
    pub(crate) fn alone(self) -> Self {
        Self { above: Vec::new(), ..self }
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

/// X.509 times are whole seconds.
fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    Duration::from_secs(since.as_secs())
}

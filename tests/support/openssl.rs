//! Client certificates made with openssl, as users make them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::run::run;

const PATIENCE: Duration = Duration::from_secs(30);

/// The PEM encoding of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// `PRIVATE KEY`, here with an elliptic curve.
    Pkcs8,
    /// `RSA PRIVATE KEY`
    Pkcs1,
    /// `EC PRIVATE KEY`
    Sec1,
}

impl KeyForm {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Pkcs8 => &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::Pkcs1 => &["genrsa", "-traditional", "2048"],
            Self::Sec1 => &["ecparam", "-name", "prime256v1", "-genkey", "-noout"],
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Pkcs8 => "-----BEGIN PRIVATE KEY-----",
            Self::Pkcs1 => "-----BEGIN RSA PRIVATE KEY-----",
            Self::Sec1 => "-----BEGIN EC PRIVATE KEY-----",
        }
    }
}

/// The X.509 version of a certificate; openssl writes version 1 unless the certificate has extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum X509 {
    Version1,
    Version3,
}

/// Returns `Some` if openssl is installed.
pub(crate) fn found() -> Option<()> {
    Command::new("openssl").arg("version").output().is_ok().then_some(())
}

/// Returns a certificate for the subject (`/O=group/CN=user`), signed by the authority, and its key, both in PEM.
pub(crate) fn client(
    authority: (&Path, &Path),
    subject: &str,
    form: KeyForm,
    version: X509,
) -> (String, String) {
    let directory =
        tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary directory");
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(directory.path());
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(0), "openssl {args:?}: {}", finished.stderr);
        finished.stdout_text()
    };
    let key = openssl(form.arguments());
    assert!(key.starts_with(form.label()), "{form:?}");
    fs::write(directory.path().join("key"), &key).unwrap();
    openssl(&["req", "-new", "-key", "key", "-subj", subject, "-out", "csr"]);
    fs::write(directory.path().join("extensions"), "extendedKeyUsage=clientAuth\n").unwrap();
    let [ca, ca_key] = [authority.0, authority.1].map(|path| path.to_str().unwrap());
    let sign = ["x509", "-req", "-in", "csr", "-days", "2", "-set_serial", "7", "-CA", ca, "-CAkey", ca_key];
    let extensions: &[&str] = match version {
        X509::Version1 => &[],
        X509::Version3 => &["-extfile", "extensions"],
    };
    (openssl(&[&sign, extensions].concat()), key)
}

/// A certificate issued for a signing request, with its times in RFC 3339.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) not_before: String,
    /// Half of the lifetime.
    pub(crate) refresh: String,
    pub(crate) not_after: String,
}

/// Issues a client certificate for the key of a PKCS#10 request (DER) and this user; the request's subject is ignored.
pub(crate) fn issue(authority: (&Path, &Path), request: &[u8], user: &str) -> Issued {
    let directory =
        tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary directory");
    let (now, hour) = (SystemTime::now(), Duration::from_secs(60 * 60));
    let rfc3339 = |time| humantime::format_rfc3339_seconds(time).to_string();
    let [not_before, refresh, not_after] = [now, now + 12 * hour, now + 23 * hour].map(rfc3339);
    // 20261129030000Z, the format of `openssl ca`.
    let compact = |time: &str| time.replace(['-', ':', 'T'], "");
    let (ca, ca_key) = authority;
    let config = format!(
        "[ca]\ndefault_ca = test\n[test]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\ncertificate = {}\nprivate_key = {}\n\
         default_md = sha256\npolicy = any\nx509_extensions = client\nunique_subject = no\n[any]\ncommonName = supplied\n\
         [client]\nextendedKeyUsage = clientAuth\n",
        ca.display(),
        ca_key.display()
    );
    for (name, content) in [("config", config.as_bytes()), ("index", b""), ("request", request)] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let subject = format!("/CN={user}");
    let mut command = Command::new("openssl");
    command.args([
        "ca", "-batch", "-notext", "-config", "config", "-inform", "DER", "-in", "request", "-out", "issued",
    ]);
    command.args(["-subj", &subject, "-startdate", &compact(&not_before), "-enddate", &compact(&not_after)]);
    command.current_dir(directory.path());
    let finished = run(command, PATIENCE);
    assert_eq!(finished.code, Some(0), "openssl ca: {}", finished.stderr);
    let certificate = fs::read_to_string(directory.path().join("issued")).unwrap();
    Issued { certificate, not_before, refresh, not_after }
}

//! Client certificates as people make them, with openssl.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::run::run;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The form of a private key in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// `PRIVATE KEY`, here of an elliptic curve.
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

/// The version of a certificate; openssl makes the first unless it is given extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum X509 {
    Version1,
    Version3,
}

/// Whether there is one.
pub(crate) fn found() -> Option<()> {
    Command::new("openssl").arg("version").output().is_ok().then_some(())
}

/// A certificate for this subject (`/O=group/CN=user`), signed by this authority, and its key, both in PEM.
pub(crate) fn client(
    authority: (&Path, &Path),
    subject: &str,
    form: KeyForm,
    version: X509,
) -> (String, String) {
    let folder = tempfile::Builder::new().prefix("podcreds-test-").tempdir().expect("a temporary folder");
    let openssl = |args: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(folder.path());
        let finished = run(command, PATIENCE);
        assert_eq!(finished.code, Some(0), "openssl {args:?}: {}", finished.stderr);
        finished.stdout_text()
    };
    let key = openssl(form.arguments());
    assert!(key.starts_with(form.label()), "{form:?}");
    fs::write(folder.path().join("key"), &key).unwrap();
    openssl(&["req", "-new", "-key", "key", "-subj", subject, "-out", "csr"]);
    fs::write(folder.path().join("extensions"), "extendedKeyUsage=clientAuth\n").unwrap();
    let [ca, ca_key] = [authority.0, authority.1].map(|path| path.to_str().unwrap());
    let sign = ["x509", "-req", "-in", "csr", "-days", "2", "-set_serial", "7", "-CA", ca, "-CAkey", ca_key];
    let extensions: &[&str] = match version {
        X509::Version1 => &[],
        X509::Version3 => &["-extfile", "extensions"],
    };
    (openssl(&[&sign, extensions].concat()), key)
}

//! Reads the stores of format `pkcs12` with JDKs, openssl and Python's `cryptography`: key, chain and authorities must be the
//! original ones, and two TLS peers that use the stores must accept each other.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podcreds::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds::render::{self, Sources};
use podcreds::secret::SecretBytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::support::openssl;
use super::support::pki::Authority;
use super::{PYTHON, ReaderOutput, TIMEOUT, find, outputs, reader, require, run};

/// Cases: a name, the arguments of openssl for a key, and a password.
const CASES: [(&str, &[&str], &str); 7] = [
    ("p256-sec1", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "changeit"),
    ("p256", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "it's \"1\" \\ $x"),
    ("p521", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "a"),
    ("rsa-pkcs1", &["genrsa", "-traditional", "2048"], " "),
    ("rsa", &["genrsa", "3072"], "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("ed25519", &["genpkey", "-algorithm", "ED25519"], "  spaces at both ends "),
    ("long-password", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], LONG),
];
/// The longest password that podcreds accepts.
const LONG: &str = const {
    const BYTES: [u8; 1023] = [b'x'; 1023];
    match str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};

/// Stores, and what they contain by case: the key, and certificates by alias and place.
struct Stores {
    root: TempDir,
    contents: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
}

impl Stores {
    /// Returns `None`, which skips the test, without openssl.
    fn write() -> Option<Self> {
        require("openssl", openssl::found())?;
        let work = tempfile::tempdir().unwrap();
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let (authority, other) = (Authority::named("root"), Authority::named("other root"));
        let intermediate = authority.intermediate("intermediate");
        let file = |name: &str, text: &str| fs::write(work.path().join(name), text).unwrap();
        file("ca", &intermediate.pem());
        file("ca-key", &intermediate.key_pem());
        file("extensions", "subjectAltName=DNS:localhost\n");
        let openssl = |arguments: &[&str]| openssl(work.path(), arguments);
        let mut contents = BTreeMap::new();
        for (case, generate, password) in CASES {
            let key = text(openssl(generate));
            file("key", &key);
            openssl(&["req", "-new", "-key", "key", "-subj", "/CN=app", "-out", "csr"]);
            let sign = ["x509", "-req", "-in", "csr", "-days", "2", "-extfile", "extensions"];
            let leaf = text(openssl(&[&sign[..], &["-CA", "ca", "-CAkey", "ca-key"]].concat()));
            let chain = leaf.clone() + &intermediate.pem();
            let bundle = format!("# root\n{}# other\n{}", authority.pem(), other.pem().replace('\n', "\r\n"));
            let directory = root.path().join(case);
            fs::create_dir(&directory).unwrap();
            let fields =
                [("tls.crt", &*chain), ("tls.key", &key), ("ca.crt", &bundle), ("password", password)];
            for (name, content) in stores(&fields) {
                fs::write(directory.join(name), content).unwrap();
            }
            let mut content = BTreeMap::from([("key".to_owned(), pkcs8(work.path()))]);
            let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
            for (name, pem) in [
                ("db/0", &leaf),
                ("db/1", &intermediate.pem()),
                ("ca", &authority.pem()),
                ("ca-2", &other.pem()),
            ] {
                content.insert(name.to_owned(), der(pem));
            }
            contents.insert(case, content);
        }
        Some(Self { root, contents })
    }

    /// Compares what a reader has found, and returns all of its fields by case.
    fn check(&self, outputs: Vec<ReaderOutput>) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let work = tempfile::tempdir().unwrap();
        let mut read = BTreeMap::new();
        for output in outputs {
            let place = format!("{}, case {}", output.reader, output.case);
            assert_eq!(output.error, None, "{place}");
            let mut fields: BTreeMap<_, _> =
                output.fields.into_iter().map(|(name, value)| (name, value.0)).collect();
            fs::write(work.path().join("key"), &fields["key"]).unwrap();
            fields.insert("key".to_owned(), pkcs8(work.path()));
            for (name, value) in &self.contents[&*output.case] {
                assert!(fields.get(name) == Some(value), "{place}: {name} differs, of {:?}", fields.keys());
            }
            read.insert(output.case, fields);
        }
        assert_eq!(read.len(), CASES.len());
        read
    }
}

/// Renders a credential `db` with these fields.
fn stores(fields: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let namespace = Namespace::parse("prod").unwrap();
    let annotations = [("secret", "db"), ("format", "pkcs12"), ("path", "stores/")];
    let named = annotations.map(|(key, value)| (format!("{DEFAULT_PREFIX}/db.{key}"), value.to_owned()));
    let scope = ReferenceScope::local(namespace.clone());
    let credentials = parse(&named.into(), DEFAULT_PREFIX, &scope).unwrap();
    let secret = ObjectRef::new(Kind::Secret, namespace, "db").unwrap();
    let data = fields.iter().map(|(field, value)| ((*field).to_owned(), SecretBytes::from(*value))).collect();
    let bundle = render::render(&credentials, &Sources::from([(secret, Some(data))])).unwrap().bundle;
    let name = |path: String| path.strip_prefix("stores/").unwrap().to_owned();
    bundle.into_iter().map(|(path, file)| (name(path.to_string()), file.content.expose().to_vec())).collect()
}

fn openssl(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(directory);
    let finished = run(command, TIMEOUT);
    assert_eq!(finished.code, Some(0), "openssl {arguments:?}: {}", finished.stderr);
    finished.stdout
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// The file `key` in the one form of PKCS#8 that openssl writes.
fn pkcs8(directory: &Path) -> Vec<u8> {
    openssl(directory, &["pkcs8", "-topk8", "-nocrypt", "-in", "key", "-outform", "DER"])
}

/// The `bin` directories of the installed JDKs with a compiler.
fn jdks() -> Vec<PathBuf> {
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten();
    let of_path = find("javac").and_then(|javac| fs::canonicalize(javac).ok());
    let mut found: Vec<_> = installed
        .filter_map(|entry| fs::canonicalize(entry.unwrap().path().join("bin/javac")).ok())
        .chain(of_path)
        .map(|javac| javac.parent().unwrap().to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn java_finds_keys_chains_and_authorities_and_makes_tls_connections_with_them() {
    let Some(jdks) = require("javac", Some(jdks()).filter(|found| !found.is_empty())) else { return };
    let Some(stores) = Stores::write() else { return };
    for jdk in jdks {
        let mut java = Command::new(jdk.join("java"));
        java.arg(reader("KeyStores.java")).arg(stores.root.path());
        for (case, fields) in stores.check(outputs(java)) {
            assert!(fields["peer"] == fields["db/0"], "{}, case {case}: another certificate", jdk.display());
        }
    }
}

#[test]
fn keytool_lists_a_key_entry_and_trusted_certificates() {
    let Some(jdks) = require("javac", Some(jdks()).filter(|found| !found.is_empty())) else { return };
    let Some(stores) = Stores::write() else { return };
    let directory = stores.root.path().join("p256-sec1");
    for jdk in jdks {
        let list = |store: &str| {
            let mut keytool = Command::new(jdk.join("keytool"));
            keytool.args([
                "-J-Duser.language=en",
                "-list",
                "-v",
                "-storepass:file",
                "password",
                "-keystore",
                store,
            ]);
            keytool.current_dir(&directory);
            let finished = run(keytool, TIMEOUT);
            assert_eq!(finished.code, Some(0), "{}: {}", jdk.display(), finished.stdout_text());
            finished.stdout_text()
        };
        let (keys, trusted) = (list("keystore.p12"), list("truststore.p12"));
        for line in ["Alias name: db\n", "Entry type: PrivateKeyEntry\n", "Certificate chain length: 2\n"] {
            assert!(keys.contains(line), "{line}: {keys}");
        }
        assert_eq!(trusted.matches("Entry type: trustedCertEntry\n").count(), 2, "{trusted}");
    }
}

#[test]
fn openssl_finds_keys_chains_and_authorities() {
    let Some(stores) = Stores::write() else { return };
    for (case, content) in &stores.contents {
        let directory = stores.root.path().join(case);
        let read = |store, what| {
            openssl(&directory, &["pkcs12", "-in", store, "-passin", "file:password", what, "-noenc"])
        };
        fs::write(directory.join("key"), read("keystore.p12", "-nocerts")).unwrap();
        assert!(pkcs8(&directory) == content["key"], "{case}: another key");
        for (store, names) in [("keystore.p12", ["db/0", "db/1"]), ("truststore.p12", ["ca", "ca-2"])] {
            let pem = read(store, "-nokeys");
            let found: Vec<_> =
                CertificateDer::pem_slice_iter(&pem).map(|der| der.unwrap().to_vec()).collect();
            assert!(found == names.map(|name| content[name].clone()), "{case}: {store}");
        }
    }
}

#[test]
fn python_finds_keys_chains_and_authorities() {
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let imported = Command::new(&python).args(["-c", "import cryptography"]).output();
    let found = imported.is_ok_and(|output| output.status.success()).then_some(python);
    let what = "Python with cryptography (pip install -r tests/readers/requirements.txt)";
    let Some(python) = require(what, found) else { return };
    let Some(stores) = Stores::write() else { return };
    let mut command = Command::new(python);
    command.arg(reader("keystores.py")).arg(stores.root.path());
    stores.check(outputs(command));
}

//! A client certificate for PostgreSQL: libpq rejects a private key that others may read.

use std::fs;
use std::path::Path;

use crate::postgresql::Postgresql;
use crate::support::openssl::{self, KeyForm, X509};
use crate::support::pki::{Authority, Leaf};
use crate::support::pod::PodFolder;
use crate::support::run::run;
use crate::support::server::ApiServer;
use crate::support::skip::require;
use crate::users::DATABASE;
use crate::{PODCREDS, TIMEOUT};

const USER: &str = "app";

#[test]
fn libpq_accepts_a_client_key_that_is_a_credential_of_mode_0400() {
    let authority = Authority::named("databases");
    let Some(()) = require("openssl", openssl::found()) else { return };
    let Some(postgresql) = Postgresql::start(&[]) else { return };
    postgresql.administer(&format!("CREATE ROLE \"{USER}\" LOGIN;"));
    let server = authority.issue(&Leaf::default()).unwrap();
    postgresql.require_client_certificates(USER, &authority.pem(), &server);

    let api = ApiServer::start();
    let pod = PodFolder::new(&api);
    let [ca, ca_key] = ["ca.crt", "ca.key"].map(|name| pod.root().join(name));
    fs::write(&ca, authority.pem()).unwrap();
    fs::write(&ca_key, authority.key_pem()).unwrap();
    let (certificate, key) =
        openssl::client((&ca, &ca_key), &format!("/CN={USER}"), KeyForm::Pkcs8, X509::Version3);
    let data = [("ca.crt", authority.pem()), ("tls.crt", certificate), ("tls.key", key)];
    let data: Vec<_> = data.iter().map(|(name, pem)| (*name, pem.as_bytes())).collect();
    api.put_secret("prod", "orders-db-tls", &data);
    api.put_secret("prod", "orders-db", &[("username", USER.as_bytes())]);
    let volume = pod.volume();
    let path = |file: &str| volume.join(file).to_str().unwrap().to_owned();
    let set = format!(
        "host=127.0.0.1, port={}, database={DATABASE}, sslmode=verify-full, sslrootcert={}, sslcert={}, sslkey=",
        postgresql.port(),
        path("tls/ca.crt"),
        path("tls/tls.crt")
    );
    let (own, shared) = (set.clone() + &path("tls-key/tls.key"), set + &path("shared/tls.key"));
    api.put_pod(
        "prod",
        "app-0",
        &[
            ("podcreds.io/db.secret", "orders-db"),
            ("podcreds.io/db.format", "libpq"),
            ("podcreds.io/db.set", &own),
            ("podcreds.io/other.secret", "orders-db"),
            ("podcreds.io/other.format", "libpq"),
            ("podcreds.io/other.set", &shared),
            ("podcreds.io/tls.secret", "orders-db-tls"),
            ("podcreds.io/tls.keys", "ca.crt, tls.crt"),
            ("podcreds.io/tls-key.secret", "orders-db-tls"),
            ("podcreds.io/tls-key.keys", "tls.key"),
            ("podcreds.io/tls-key.file-mode", "0400"),
            ("podcreds.io/shared.secret", "orders-db-tls"),
            ("podcreds.io/shared.keys", "tls.key"),
        ],
    );
    let mut init = pod.command(Path::new(PODCREDS), &api);
    init.arg("init");
    let finished = run(init, TIMEOUT);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);

    let log_in = |file: &str| {
        let text = fs::read_to_string(volume.join(file)).unwrap();
        postgresql.select_current_user(&["-d", &text], &[])
    };
    let accepted = log_in("db.libpq");
    assert_eq!(String::from_utf8_lossy(&accepted.stdout).trim(), USER, "{}", accepted.stderr);
    let rejected = log_in("other.libpq");
    assert!(rejected.stderr.contains("has group or world access"), "{}", rejected.stderr);
}

//! Client certificates that are signed by the certificate authority that the API server trusts.

use serde_json::json;

use super::{Laptop, wait_for_stderr};
use crate::support::home::base64;
use crate::support::openssl::{KeyForm, X509};

#[test]
fn client_certificates_work_with_every_key_form_from_files_and_from_the_kubeconfig() {
    let Some(laptop) = Laptop::new() else { return };
    let jane = laptop.unique_name("jane");
    laptop.grant_only("User", &jane);
    for (form, version) in [
        (KeyForm::Pkcs8, X509::Version3),
        (KeyForm::Pkcs1, X509::Version3),
        (KeyForm::Sec1, X509::Version3),
        (KeyForm::Sec1, X509::Version1),
    ] {
        let Some((certificate, key)) = laptop.certificate(&format!("/CN={jane}"), form, version) else {
            return;
        };
        laptop.use_credentials(
            &json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)}),
        );
        let finished = laptop.init_succeeds(&["--log-level", "debug"]);
        assert!(!finished.stderr.contains("PRIVATE KEY"));
        laptop.home.put(".kube/pki/jane.crt", &certificate);
        laptop.home.put(".kube/pki/jane.key", &key);
        laptop.use_credentials(&json!({"client-certificate": "pki/jane.crt", "client-key": "pki/jane.key"}));
        laptop.init_succeeds(&[]);
    }
    // The API server uses the organization of a certificate as the group.
    let subject = format!("/O={}/CN={}", laptop.unique_name("team"), laptop.unique_name("joe"));
    let Some((certificate, key)) = laptop.certificate(&subject, KeyForm::Pkcs8, X509::Version3) else {
        return;
    };
    laptop.use_credentials(
        &json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)}),
    );
    laptop.init_fails(
        &[],
        3,
        &[&format!("User \"{}\" cannot get resource \"secrets\"", laptop.unique_name("joe"))],
    );
    laptop.grant_only("Group", &laptop.unique_name("team"));
    laptop.init_succeeds(&[]);
}

#[test]
fn the_error_for_a_certificate_of_another_authority_names_the_client_certificate() {
    let Some(laptop) = Laptop::new() else { return };
    let stranger = crate::support::pki::Authority::named("stranger");
    let issued = stranger.issue(&crate::support::pki::Leaf::named(&["stranger"])).unwrap();
    let data = [issued.certificate_pem(), &issued.key_pem()].map(base64);
    laptop.use_credentials(&json!({"client-certificate-data": data[0], "client-key-data": data[1]}));
    laptop.init_fails(&[], 3, &["the API server does not accept the client certificate: Unauthorized"]);
}

#[test]
fn a_running_sidecar_reloads_a_replaced_client_certificate() {
    let Some(laptop) = Laptop::new() else { return };
    let (jane, joe) = (laptop.unique_name("jane"), laptop.unique_name("joe"));
    let put = |user: &str| {
        let (certificate, key) = laptop.certificate(&format!("/CN={user}"), KeyForm::Sec1, X509::Version3)?;
        // One after the other, as a user would do by hand.
        laptop.home.put(".kube/tls.crt", &certificate);
        laptop.home.put(".kube/tls.key", &key);
        Some(())
    };
    laptop.grant_only("User", &jane);
    if put(&jane).is_none() {
        return;
    }
    laptop.use_credentials(&json!({"client-certificate": "tls.crt", "client-key": "tls.key"}));
    let sidecar = laptop.start_sidecar();
    laptop.grant_only("User", &joe);
    wait_for_stderr(&sidecar, &format!("User \"{jane}\" cannot get resource \"secrets\""));
    laptop.put_password("test-password-1");
    put(&joe);
    laptop.wait_for_password("test-password-1");
}

//! Client certificates, signed by the authority that the API server trusts.

use serde_json::json;

use super::{Person, says};
use crate::support::home::base64;
use crate::support::openssl::{KeyForm, X509};

#[test]
fn a_client_certificate_is_taken_with_any_form_of_key_from_files_and_from_the_kubeconfig() {
    let Some(person) = Person::new() else { return };
    let jane = person.user("jane");
    person.lets("User", &jane);
    for (form, version) in [
        (KeyForm::Pkcs8, X509::Version3),
        (KeyForm::Pkcs1, X509::Version3),
        (KeyForm::Sec1, X509::Version3),
        (KeyForm::Sec1, X509::Version1),
    ] {
        let Some((certificate, key)) = person.certificate(&format!("/CN={jane}"), form, version) else {
            return;
        };
        person.is(&json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)}));
        let finished = person.reads(&["--log-level", "debug"]);
        assert!(!finished.stderr.contains("PRIVATE KEY"));
        person.home.put(".kube/pki/jane.crt", &certificate);
        person.home.put(".kube/pki/jane.key", &key);
        person.is(&json!({"client-certificate": "pki/jane.crt", "client-key": "pki/jane.key"}));
        person.reads(&[]);
    }
    // The group of a certificate is its organization.
    let subject = format!("/O={}/CN={}", person.user("team"), person.user("joe"));
    let Some((certificate, key)) = person.certificate(&subject, KeyForm::Pkcs8, X509::Version3) else {
        return;
    };
    person.is(&json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)}));
    person.fails(&[], 3, &[&format!("User \"{}\" cannot get resource \"secrets\"", person.user("joe"))]);
    person.lets("Group", &person.user("team"));
    person.reads(&[]);
}

#[test]
fn a_certificate_of_another_authority_is_refused_with_what_was_shown() {
    let Some(person) = Person::new() else { return };
    let stranger = crate::support::pki::Authority::named("stranger");
    let issued = stranger.issue(&crate::support::pki::Leaf::named(&["stranger"])).unwrap();
    let data = [issued.certificate_pem(), &issued.key_pem()].map(base64);
    person.is(&json!({"client-certificate-data": data[0], "client-key-data": data[1]}));
    person.fails(&[], 3, &["the API server does not accept the client certificate: Unauthorized"]);
}

#[test]
fn a_client_certificate_that_is_replaced_is_followed_while_a_sidecar_runs() {
    let Some(person) = Person::new() else { return };
    let (jane, joe) = (person.user("jane"), person.user("joe"));
    let put = |user: &str| {
        let (certificate, key) = person.certificate(&format!("/CN={user}"), KeyForm::Sec1, X509::Version3)?;
        // One after the other, as somebody does by hand.
        person.home.put(".kube/tls.crt", &certificate);
        person.home.put(".kube/tls.key", &key);
        Some(())
    };
    person.lets("User", &jane);
    if put(&jane).is_none() {
        return;
    }
    person.is(&json!({"client-certificate": "tls.crt", "client-key": "tls.key"}));
    let sidecar = person.follows();
    person.lets("User", &joe);
    says(&sidecar, &format!("User \"{jane}\" cannot get resource \"secrets\""));
    person.put_password("test-password-1");
    put(&joe);
    person.arrives("test-password-1");
}

//! When certificates expire, as the status learns it from what is published.

use super::*;

const TLS: &[(&str, &str)] = &[("tls.secret", "tls"), ("tls.keys", "tls.crt?, tls.key?, ca.crt?")];

fn certificate(year: i32) -> String {
    let mut params = rcgen::CertificateParams::new(vec!["test".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
}

impl Harness {
    /// The samples of the metric, without its name.
    fn expiries(&self) -> Vec<(String, u64)> {
        let credentials = self.status.credentials();
        let served =
            credentials.filter_map(|credential| Some((credential.name.to_owned(), credential.served?)));
        let certificates = served.flat_map(|(name, served)| {
            served.certificates.iter().map(move |certificate| {
                let expires = certificate.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                (format!("{name} {}", certificate.field), expires.as_secs() / (365 * 86_400) + 1970)
            })
        });
        certificates.collect()
    }

    fn expiry_events(&self) -> usize {
        self.events.iter().filter(|(reason, _)| *reason == EventReason::Expires).count()
    }
}

fn expiring(field: &str, year: u64) -> (String, u64) {
    (format!("tls {field}"), year)
}

#[test]
fn the_certificates_are_those_of_the_published_files() {
    let mut harness = Harness::new(TLS);
    let (first, ca, second) = (certificate(2040), certificate(2045), certificate(2041));
    harness.reads("tls", "1", &[("tls.crt", &first), ("tls.key", "a key"), ("ca.crt", &ca)]);
    assert_eq!(harness.expiries(), [expiring("ca.crt", 2045), expiring("tls.crt", 2040)]);
    harness.opens("tls");
    harness.volume_fails = true;
    harness.applies("tls", "2", &[("tls.crt", &second)]);
    assert_eq!(
        harness.expiries(),
        [expiring("ca.crt", 2045), expiring("tls.crt", 2040)],
        "the old files are there"
    );
    harness.volume_fails = false;
    harness.advance(60 * SECOND);
    assert_eq!(harness.expiries(), [expiring("tls.crt", 2041)]);
    harness.applies("tls", "3", &[("tls.crt", "no certificate")]);
    assert_eq!(harness.expiries(), []);
}

#[test]
fn a_credential_that_is_not_named_any_more_has_no_certificates() {
    let mut harness = Harness::start(following(), TLS, &[]);
    harness.reads("tls", "1", &[("tls.crt", &certificate(2040))]);
    harness.edits("1", TLS);
    assert_eq!(harness.expiries(), [expiring("tls.crt", 2040)]);
    harness.opens("tls");
    harness.edits("2", &[("other.secret", "other")]);
    harness.reads("other", "1", &[("password", "p")]);
    assert_eq!(harness.expiries(), []);
}

#[test]
fn files_that_are_cleared_have_no_certificates() {
    for (on_delete, optional) in
        [(OnDelete::Clear, "false"), (OnDelete::Clear, "true"), (OnDelete::Keep, "true")]
    {
        let annotations = [TLS, &[("tls.optional", optional), ("a.secret", "a")]].concat();
        let mut harness = Harness::start(Policy { on_delete, ..policy() }, &annotations, &[]);
        harness.reads("a", "1", &[("password", "p")]);
        harness.reads("tls", "1", &[("tls.crt", &certificate(2040))]);
        assert_eq!(harness.expiries(), [expiring("tls.crt", 2040)]);
        harness.opens("tls");
        harness.deletes("tls", "2");
        harness.advance(60 * SECOND);
        assert_eq!(
            harness.expiries().is_empty(),
            harness.file("tls/tls.crt").is_none(),
            "{on_delete:?} {optional}"
        );
        assert_eq!(harness.expiries().is_empty(), on_delete == OnDelete::Clear);
    }
}

#[test]
fn a_timer_of_the_controller_reports_a_certificate() {
    let mut harness = Harness::new(TLS);
    let expired = certificate(2020);
    harness.reads("tls", "1", &[("tls.crt", &expired)]);
    assert_eq!(harness.expiry_events(), 1);
    assert!(harness.is_logged("expired at 2020-01-01T00:00:00Z"), "{:?}", harness.log);
    let soon = certificate(2040);
    harness.opens("tls");
    harness.applies("tls", "2", &[("tls.crt", &soon)]);
    assert_eq!(harness.expiry_events(), 1);
    // The status compares with the wall clock of each step.
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(2_208_988_800);
    let wait = expires.duration_since(harness.now.time).unwrap();
    harness.now.time = expires - Duration::from_secs(8 * 86_400);
    assert!(wait > 8 * 86_400 * SECOND);
    harness.advance(86_400 * SECOND);
    assert_eq!(harness.expiry_events(), 2, "{:?}", harness.events);
    harness.advance(7 * 86_400 * SECOND);
    assert_eq!(harness.expiry_events(), 3, "{:?}", harness.events);
}

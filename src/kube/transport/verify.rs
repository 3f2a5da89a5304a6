//! Verifies the certificate of a server: as webpki does, and also if it is itself one of the trusted certificates, as Go accepts it.
//! Self-signed certificates, which have no authority, are used like that, and so are server certificates copied from a connection.

use std::fmt;

use rustls::CertificateError as Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::kube::transport::tls::Roots;
use crate::kube::upstream_texts::is_ca_used_as_end_entity;

/// Verifies servers against trusted certificates. rustls' own verifier does the same, and also checks revocation lists, of which
/// there are none here.
pub(super) struct Verifier {
    roots: Roots,
    anchors: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(roots: &Roots) -> Self {
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(roots.certificates().iter().cloned());
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Self { roots: roots.clone(), anchors, algorithms }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let is_trusted = self.roots.certificates().iter().any(|trusted| trusted == certificate);
        // A trusted certificate needs no issuer. webpki looks for one only after it has checked the certificate's validity and
        // extensions. Without intermediate certificates, no error can be about one of them.
        let intermediates = if is_trusted { &[] } else { intermediates };
        let (anchors, algorithms) = (&self.anchors, self.algorithms.all);
        match verify_server_cert_signed_by_trust_anchor(&parsed, anchors, intermediates, now, algorithms) {
            Err(Error::InvalidCertificate(error)) if is_trusted && lacks_issuer(&error) => {}
            result => result?,
        }
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the error is only about the issuer: no trusted authority issued the certificate, or it is an authority itself.
fn lacks_issuer(error: &Certificate) -> bool {
    match error {
        Certificate::UnknownIssuer | Certificate::BadSignature => true,
        Certificate::Other(other) => is_ca_used_as_end_entity(other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    use super::*;

    const NAME: &str = "api.example.com";
    /// In the middle of the certificates' validity.
    const NOW: u64 = 1_800_000_000;

    fn params(is_ca: IsCa) -> CertificateParams {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (params.is_ca, params.not_before, params.not_after) =
            (is_ca, date_time_ymd(2026, 1, 1), date_time_ymd(2028, 1, 1));
        params
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let params = params(IsCa::Ca(BasicConstraints::Unconstrained));
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(params: &CertificateParams, by: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
        params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().into()
    }

    fn self_signed(params: &CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    /// The error of a server that shows `certificate` to a client that trusts `trusted`.
    fn verify(
        trusted: &[&CertificateDer<'static>],
        certificate: &CertificateDer<'static>,
        name: &str,
        now: u64,
    ) -> Result<(), Certificate> {
        let roots = Roots::from_der(trusted.iter().map(|der| (*der).clone()).collect());
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        match Verifier::new(&roots).verify_server_cert(certificate, &[], &name, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Certificates that a server may show and that the client may trust.
    fn certificates() -> [(&'static str, CertificateDer<'static>); 3] {
        [
            ("issued by an unknown authority", issued(&params(IsCa::NoCa), &authority())),
            ("self-signed", self_signed(&params(IsCa::NoCa))),
            ("an authority", self_signed(&params(IsCa::Ca(BasicConstraints::Unconstrained)))),
        ]
    }

    #[test]
    fn a_certificate_that_is_trusted_itself_is_accepted_for_its_names_while_it_is_valid() {
        const YEAR: u64 = 365 * 24 * 3600;
        for (what, certificate) in certificates() {
            let other = self_signed(&params(IsCa::Ca(BasicConstraints::Unconstrained)));
            for trusted in [&[&certificate][..], &[&other, &certificate]] {
                assert_eq!(verify(trusted, &certificate, NAME, NOW), Ok(()), "{what}");
                let error = verify(trusted, &certificate, "other.example.com", NOW).unwrap_err();
                assert!(matches!(error, Certificate::NotValidForNameContext { .. }), "{what}: {error:?}");
                let error = verify(trusted, &certificate, NAME, NOW + 2 * YEAR).unwrap_err();
                assert!(matches!(error, Certificate::ExpiredContext { .. }), "{what}: {error:?}");
                let error = verify(trusted, &certificate, NAME, NOW - 2 * YEAR).unwrap_err();
                assert!(matches!(error, Certificate::NotValidYetContext { .. }), "{what}: {error:?}");
            }
        }
    }

    #[test]
    fn only_the_very_certificate_is_trusted() {
        for ((what, trusted), (_, shown)) in certificates().iter().zip(&certificates()) {
            assert!(verify(&[trusted], shown, NAME, NOW).is_err(), "{what}");
        }
        // An authority with the same name has issued the certificate.
        let (known, unknown) = (authority(), authority());
        let shown = issued(&params(IsCa::NoCa), &unknown);
        assert!(verify(&[known.der()], &shown, NAME, NOW).is_err());
        assert_eq!(verify(&[unknown.der()], &shown, NAME, NOW), Ok(()));
        assert_eq!(verify(&[known.der(), &shown], &shown, NAME, NOW), Ok(()), "it is trusted itself");
    }

    #[test]
    fn a_client_certificate_is_not_a_server_certificate_even_if_it_is_trusted() {
        let mut client = params(IsCa::NoCa);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = issued(&client, &authority());
        assert!(verify(&[&certificate], &certificate, NAME, NOW).is_err());
    }
}

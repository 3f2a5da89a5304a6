//! TLS: which certificate authorities, certificates and names are accepted from a server, and which client certificate is
//! presented. The connector replaces ureq's own, which rejects client certificates of X.509 version 1 (what `openssl x509 -req`
//! makes by default) and does not distinguish the errors of a proxy from those of a server.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
};
use ureq::unversioned::transport::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter,
};

use crate::kube::auth::client_cert::{self, ClientCertificate, PemError};
use crate::kube::reloading_file::{FileError, Reloading};
use crate::kube::transport::buffers::TransientBuffers;
use crate::kube::transport::verify::Verifier;

/// The sessions that later connections may resume: those of the server and of the proxy, of which rustls keeps eight each. The
/// default is room for 32 servers.
const SESSIONS: usize = 16;

/// Makes TLS connections to one server, and to the proxy in front of it.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// Host and port of the server, as in its URL.
    pub(crate) server: String,
    /// The name that the certificate must have instead of the host (`tls-server-name`).
    pub(crate) name: Option<ServerName<'static>>,
    /// The result of [`config`]; an error is returned by each attempt to connect.
    pub(crate) config: Result<Arc<ClientConfig>, Error>,
}

/// Verifies servers against `roots` (`None`: no verification) and presents `certificate` to a server that requests one.
pub(crate) fn config(
    roots: Option<&Roots>,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), Arc::new(Clock))
        .with_protocol_versions(rustls::ALL_VERSIONS)?;
    let builder = match roots {
        Some(roots) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier::new(roots))),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification)),
    };
    let mut config = match certificate {
        Some(certificate) => builder.with_client_cert_resolver(certificate.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

/// rustls' own clock panics before 1970. A certificate of today is then not valid yet, which the error says.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Some(UnixTime::since_unix_epoch(now.unwrap_or_default()))
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Stream>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let is_server = details.uri.authority().is_some_and(|authority| *authority == *self.server);
        let opened = self.open(details, is_server, transport.boxed());
        match opened {
            Ok(stream) => Ok(Some(Either::B(stream))),
            Err(error) if is_server => Err(error),
            Err(error) => Err(ureq::Error::Other(Box::new(ProxyConnectionError(error)))),
        }
    }
}

impl Tls {
    fn open(
        &self,
        details: &ConnectionDetails<'_>,
        is_server: bool,
        transport: Box<dyn Transport>,
    ) -> Result<Stream, ureq::Error> {
        let name = match &self.name {
            Some(name) if is_server => name.clone(),
            _ => {
                let host = details.uri.host().unwrap_or_default();
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(bare);
                name.map_err(|_| ureq::Error::Tls("the host cannot appear in a certificate"))?.to_owned()
            }
        };
        let connection = self.config.clone().and_then(|config| ClientConnection::new(config, name));
        // rustls wraps its errors in io::Error when they pass through Read and Write; transport::error expects them so.
        let mut connection = connection.map_err(io::Error::other)?;
        let mut socket = TransportAdapter::new(transport, Arc::clone(&details.current_time));
        socket.set_timeout(left(details));
        connection.complete_io(&mut socket)?;
        let stream = StreamOwned::new(connection, socket);
        Ok(Stream { buffers: TransientBuffers::default(), stream })
    }
}

/// The rest of the connect timeout: TCP and the proxy used some of it.
fn left(details: &ConnectionDetails<'_>) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (Duration::Exact(whole), Instant::Exact(began)) = (timeout.after, details.now) {
        timeout.after = Duration::Exact(whole.saturating_sub(began.elapsed()));
    }
    timeout
}

/// A TLS connection.
pub(crate) struct Stream {
    buffers: TransientBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let sent = self.stream.write_all(&self.buffers.output()[..amount]);
        self.buffers.free_output();
        Ok(sent?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let StreamOwned { conn, sock } = &mut self.stream;
        sock.set_timeout(timeout);
        // The buffer is made when there is something to put into it.
        let mut state = conn.process_new_packets().map_err(io::Error::other)?;
        while state.plaintext_bytes_to_read() == 0 {
            let count = conn.read_tls(sock)?;
            state = conn.process_new_packets().map_err(|error| {
                // Tells the peer what is wrong.
                let _ = conn.write_tls(sock);
                io::Error::other(error)
            })?;
            while conn.wants_write() {
                conn.write_tls(sock)?;
            }
            if count == 0 || state.peer_has_closed() {
                break;
            }
        }
        self.buffers.reserve(state.plaintext_bytes_to_read().max(1));
        // An end without close_notify is an error here.
        let count = conn.reader().read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

/// The TLS handshake with an `https://` proxy failed, as opposed to the one with the server behind it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProxyConnectionError(#[source] pub(crate) ureq::Error);

/// Accepts any certificate for any name (`insecure-skip-tls-verify`), even one that cannot be parsed.
#[derive(Debug)]
struct NoVerification;

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Every scheme that a server may sign with, also those that ring does not implement: no signature is checked.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as S;
        vec![
            S::ECDSA_NISTP256_SHA256,
            S::ECDSA_NISTP384_SHA384,
            S::ECDSA_NISTP521_SHA512,
            S::ED25519,
            S::RSA_PSS_SHA256,
            S::RSA_PSS_SHA384,
            S::RSA_PSS_SHA512,
            S::RSA_PKCS1_SHA256,
            S::RSA_PKCS1_SHA384,
            S::RSA_PKCS1_SHA512,
            S::RSA_PKCS1_SHA1,
        ]
    }
}

/// Trust anchors for an API server's certificate.
#[derive(Clone, Debug)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Parses one or more PEM certificates. Other PEM blocks are ignored.
    ///
    /// # Errors
    /// If there is no certificate, or one that cannot be parsed. Skipping that one silently would show up later as an untrusted
    /// server.
    pub fn parse(pem: &[u8]) -> Result<Self, RootsError> {
        let certificates = client_cert::certificates(pem).map_err(RootsError::Pem)?;
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            store
                .add(certificate.clone())
                .map_err(|error| RootsError::Certificate { number: index + 1, error })?;
        }
        Ok(Self(certificates))
    }

    /// Reads a file, which is parsed again when it changes.
    ///
    /// # Errors
    /// As [`Roots::parse`], or if the file cannot be read.
    pub(crate) fn open(path: PathBuf) -> Result<Reloading<Self>, FileError> {
        Reloading::open(path, |bytes| Ok(Self::parse(bytes)?))
    }

    /// Reads a file once.
    ///
    /// # Errors
    /// As [`Roots::open`].
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        Ok(Self::open(path.to_owned())?.current().0)
    }

    /// The certificates of both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Loads the certificate authorities of the operating system, as Go does for a kubeconfig without a certificate authority.
    /// Certificates that cannot be parsed are skipped: the user did not choose them.
    ///
    /// # Errors
    /// If the system has none, as in an image that holds podcreds alone.
    pub(crate) fn from_system() -> Result<Self, RootsError> {
        let mut certificates = rustls_native_certs::load_native_certs().certs;
        let mut store = RootCertStore::empty();
        certificates.retain(|certificate| store.add(certificate.clone()).is_ok());
        if certificates.is_empty() { Err(RootsError::NoSystem) } else { Ok(Self(certificates)) }
    }

    #[cfg(test)]
    pub(crate) fn from_der(certificates: Vec<CertificateDer<'static>>) -> Self {
        Self(certificates)
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }
}

/// A CA bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// No certificate, or invalid PEM.
    #[error(transparent)]
    Pem(PemError),
    /// Invalid DER, or a certificate that cannot be a trust anchor.
    #[error("contains a certificate (number {number}) that cannot be parsed: {error}")]
    Certificate {
        /// Counted from 1.
        number: usize,
        /// rustls's error.
        #[source]
        error: Error,
    },
    /// The operating system has no certificate authorities.
    #[error(
        "no certificate authority: the kubeconfig names none and this system has none; set certificate-authority"
    )]
    NoSystem,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_of_a_bundle_must_parse() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let two = format!("# a comment\n{pem}\n{pem}");
        assert_eq!(Roots::parse(two.as_bytes()).unwrap().certificates().len(), 2);
        for nothing in [&b""[..], b"garbage \xff\0"] {
            assert!(matches!(Roots::parse(nothing), Err(RootsError::Pem(PemError::NoCertificate))));
        }
        let cut = &pem[..pem.len() / 2];
        assert!(matches!(Roots::parse(cut.as_bytes()), Err(RootsError::Pem(_))));
        let empty = format!("{pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(matches!(Roots::parse(empty.as_bytes()), Err(RootsError::Certificate { number: 2, .. })));
    }
}

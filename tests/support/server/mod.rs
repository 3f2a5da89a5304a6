//! An API server on loopback: real TCP, TLS and HTTP/1.1, Kubernetes objects in memory, faults on demand.
//!
//! The way of a request: `listener` accepts, `connection` speaks TLS and HTTP, `routes` decides the answer from
//! `objects`, `faults` spoils it where the test asked for that.

mod black_hole;
mod connection;
mod faults;
mod http;
mod listener;
mod objects;
mod routes;
mod socket;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use rustls::crypto::ring;
use rustls::{ServerConfig, SupportedProtocolVersion};

pub(crate) use self::black_hole::BlackHole;
use self::faults::Faults;
pub(crate) use self::faults::{Fault, Times};
pub(crate) use self::http::Request;
use self::listener::Doors;
pub(crate) use self::objects::Kind;
use self::objects::{ObjectRef, Objects};
use self::routes::Access;
use super::pki::{Authority, Leaf, OpensslMissing};

/// The bearer token that is accepted unless the test says otherwise.
pub(crate) const TOKEN: &str = "test-token-1";
/// The namespace of the pod and its service account.
pub(crate) const NAMESPACE: &str = "prod";
/// Whom a 403 names.
pub(crate) const USER: &str = "system:serviceaccount:prod:app";

/// The running server. Stopped when dropped.
pub(crate) struct ApiServer {
    address: SocketAddr,
    authority: Arc<Authority>,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads of the server share.
struct Shared {
    tls: Arc<ServerConfig>,
    cluster: Mutex<Cluster>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<Request>>,
    doors: Doors,
}

/// What the server knows and who may read it.
struct Cluster {
    objects: Objects,
    access: Access,
}

impl ApiServer {
    /// On 127.0.0.1, with TLS 1.2 and 1.3, a new authority and the token [`TOKEN`].
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://address:port`, with brackets around an IPv6 address.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Who signed its certificate.
    pub(crate) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Puts a pod with these annotations: one container, the service account `app`, running on `node-1`.
    pub(crate) fn put_pod(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) {
        self.put_object(Kind::Pod, namespace, name, objects::pod(annotations));
    }

    /// Puts an `Opaque` Secret.
    pub(crate) fn put_secret(&self, namespace: &str, name: &str, data: &[(&str, &[u8])]) {
        self.put_object(Kind::Secret, namespace, name, objects::secret(data));
    }

    /// Puts a ConfigMap with `data` and `binaryData`.
    pub(crate) fn put_configmap(
        &self,
        namespace: &str,
        name: &str,
        data: &[(&str, &str)],
        binary_data: &[(&str, &[u8])],
    ) {
        self.put_object(Kind::ConfigMap, namespace, name, objects::configmap(data, binary_data));
    }

    /// Puts any object. Kind, name, namespace and resource version are the server's to set; uid and creation
    /// time too, unless they are given.
    pub(crate) fn put_object(&self, kind: Kind, namespace: &str, name: &str, object: serde_json::Value) {
        self.cluster().objects.put(ObjectRef::new(kind, namespace, name), object);
    }

    /// Answers `path` with 200 and this text, as it is, whatever form the request prefers.
    pub(crate) fn put_raw(&self, path: &str, json_text: &str) {
        self.cluster().objects.put_raw(path, json_text);
    }

    /// Removes an object; its path answers 404 from now on. The next put goes on counting its resource version.
    pub(crate) fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().objects.delete(&ObjectRef::new(kind, namespace, name));
    }

    /// The resource version of an object that is there.
    pub(crate) fn resource_version(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        self.cluster().objects.resource_version(&ObjectRef::new(kind, namespace, name))
    }

    /// Answers 403 for this object, there or not.
    pub(crate) fn forbid(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.forbid(ObjectRef::new(kind, namespace, name));
    }

    /// Takes [`forbid`](Self::forbid) back.
    pub(crate) fn allow(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.allow(&ObjectRef::new(kind, namespace, name));
    }

    /// Accepts these bearer tokens and no others; with none, everybody gets 401.
    pub(crate) fn accept_tokens(&self, tokens: &[&str]) {
        self.cluster().access.accept(tokens);
    }

    /// Spoils the next request, whatever it is. Faults queue up, one a request.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.shared.faults().fail_next(fault);
    }

    /// Spoils requests whose path and query contain `part`. Faults from [`fail_next`](Self::fail_next) come first, then
    /// the rules in the order in which they were added.
    pub(crate) fn fail_on(&self, part: &str, fault: Fault, times: Times) {
        self.shared.faults().fail_on(part, fault, times);
    }

    /// Forgets all faults that have not been played.
    pub(crate) fn clear_faults(&self) {
        *self.shared.faults() = Faults::default();
    }

    /// Every request whose head has arrived, oldest first, spoiled ones too.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// `METHOD path?query` of every request, oldest first.
    pub(crate) fn request_lines(&self) -> Vec<String> {
        self.shared.requests().iter().map(Request::line).collect()
    }

    /// How many TCP connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.doors.accepted()
    }

    /// How many connections are open now.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.doors.open()
    }

    /// Breaks every open connection (FIN, no `close_notify`); new ones are welcome.
    pub(crate) fn drop_connections(&self) {
        self.shared.doors.drop_all();
    }

    /// From now on the kernel completes TCP handshakes, and nobody answers the TLS handshake. Connections that are open
    /// go on.
    pub(crate) fn pause_accept(&self) {
        self.shared.doors.pause();
    }

    /// Serves again, first those who came during the pause.
    pub(crate) fn resume_accept(&self) {
        self.shared.doors.resume();
    }

    /// Closes the port and all connections and ends all threads. The port refuses connections afterwards; what was
    /// counted and recorded stays.
    pub(crate) fn stop(&self) {
        let Some(acceptor) = self.acceptor().take() else { return };
        self.shared.doors.stop(self.address);
        let ended = acceptor.join();
        assert!(ended.is_ok() || thread::panicking(), "a thread of the test's API server panicked");
    }

    /// After [`stop`](Self::stop): serves the same objects with the same certificate at the same address.
    pub(crate) fn start_again(&self) {
        let mut acceptor = self.acceptor();
        assert!(acceptor.is_none(), "the server is running");
        self.shared.doors.reopen();
        *acceptor = Some(listen(&self.shared, bind(self.address)));
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.shared.cluster()
    }

    fn acceptor(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.acceptor.lock().unwrap()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap()
    }
}

/// How a server is to be.
pub(crate) struct Builder {
    tls_versions: Vec<&'static SupportedProtocolVersion>,
    leaf: Leaf,
    authority: Option<Arc<Authority>>,
    tokens: Vec<String>,
    host: IpAddr,
    port: u16,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tls_versions: rustls::ALL_VERSIONS.to_vec(),
            leaf: Leaf::default(),
            authority: None,
            tokens: vec![TOKEN.to_owned()],
            host: Ipv4Addr::LOCALHOST.into(),
            port: 0,
        }
    }
}

impl Builder {
    /// Such as `&[&rustls::version::TLS12]`.
    pub(crate) fn tls_versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.tls_versions = versions.to_vec();
        self
    }

    /// What its certificate says.
    pub(crate) fn leaf(mut self, leaf: Leaf) -> Self {
        self.leaf = leaf;
        self
    }

    /// Signs with an authority that another server has already.
    pub(crate) fn authority(mut self, authority: &Arc<Authority>) -> Self {
        self.authority = Some(Arc::clone(authority));
        self
    }

    /// Accepts this bearer token in place of [`TOKEN`].
    pub(crate) fn token(mut self, token: &str) -> Self {
        self.tokens = vec![token.to_owned()];
        self
    }

    /// Listens on this address, `127.0.0.1` or `[::1]`.
    pub(crate) fn bind(mut self, host: &str) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        self.host = bare.parse().unwrap_or_else(|_| panic!("{host:?} is no IP address"));
        self
    }

    /// Listens on this port, for a server that comes back; by default on any that is free.
    pub(crate) fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// Where the address cannot be bound, or the key needs `openssl` and there is none.
    pub(crate) fn start(self) -> ApiServer {
        self.try_start().unwrap_or_else(|missing| panic!("{missing}"))
    }

    /// Starts it.
    ///
    /// # Errors
    /// Where the key needs `openssl` and there is none.
    pub(crate) fn try_start(self) -> Result<ApiServer, OpensslMissing> {
        let authority = self.authority.unwrap_or_else(|| Arc::new(Authority::new()));
        let issued = authority.issue(&self.leaf)?;
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.tls_versions)
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(issued.chain(), issued.key())
            .expect("the key belongs to the certificate");

        let listener = bind(SocketAddr::new(self.host, self.port));
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            tls: Arc::new(tls),
            cluster: Mutex::new(Cluster { objects: Objects::default(), access: Access::new(self.tokens) }),
            faults: Mutex::default(),
            requests: Mutex::default(),
            doors: Doors::default(),
        });
        let acceptor = Mutex::new(Some(listen(&shared, listener)));
        Ok(ApiServer { address, authority, shared, acceptor })
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).unwrap_or_else(|error| panic!("{address} cannot be bound: {error}"))
}

fn listen(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || listener::accept_until_stopped(&shared, listener))
}

//! An API server on loopback: real TCP, TLS and HTTP/1.1, Kubernetes objects in memory, faults on demand.
//!
//! The way of a request: `listener` accepts, `connection` speaks TLS and HTTP, `routes` decides the answer from
//! `objects`, `faults` spoils it where the test asked for that.
//!
//! The way of a watch: `watch` is what was asked for, `watches` decides what is sent next, from the `history` of
//! `objects`, `stream` sends it; `departures` tells who has left, `watching` is for the test.

mod black_hole;
mod builder;
mod connection;
mod departures;
mod faults;
mod history;
mod http;
mod listener;
mod objects;
mod reviews;
mod routes;
mod socket;
mod stream;
mod watch;
mod watches;
mod watching;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustls::ServerConfig;

pub(crate) use self::black_hole::BlackHole;
pub(crate) use self::builder::Builder;
use self::faults::Faults;
pub(crate) use self::faults::{Fault, Times, WatchFault};
use self::http::Answer;
pub(crate) use self::http::Request;
use self::listener::Doors;
pub(crate) use self::objects::Kind;
use self::objects::{ObjectRef, Objects};
pub(crate) use self::routes::Verb;
use self::routes::{Access, Reply};
use self::watches::{Step, Watches};
use super::pki::Authority;

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
    /// Wakes the watches, after anything that may concern them.
    changed: Condvar,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<Request>>,
    doors: Doors,
}

/// What the server knows and who may read it.
struct Cluster {
    objects: Objects,
    access: Access,
    watches: Watches,
    gone_as_status: bool,
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

    /// Puts a Service of type ClusterIP with these ports; one without a name has an empty one.
    pub(crate) fn put_service(&self, namespace: &str, name: &str, ports: &[(&str, u16)]) {
        self.put_object(Kind::Service, namespace, name, objects::service(ports));
    }

    /// Puts any object, and watches see it. Kind, name, namespace and resource version are the server's to set; uid and
    /// creation time too, unless they are given.
    pub(crate) fn put_object(&self, kind: Kind, namespace: &str, name: &str, object: serde_json::Value) {
        self.shared.change(|cluster| cluster.objects.put(ObjectRef::new(kind, namespace, name), object));
    }

    /// Answers `path` with 200 and this text, as it is, whatever form the request prefers. No watch sees it.
    pub(crate) fn put_raw(&self, path: &str, json_text: &str) {
        self.cluster().objects.put_raw(path, json_text);
    }

    /// Removes an object; its path answers 404 from now on, and its deletion counts as a change.
    pub(crate) fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.shared.change(|cluster| cluster.objects.delete(&ObjectRef::new(kind, namespace, name)));
    }

    /// The resource version of an object that is there: that of its last change, among all changes in the cluster.
    pub(crate) fn resource_version(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        self.cluster().objects.resource_version(&ObjectRef::new(kind, namespace, name))
    }

    /// Answers 403 to a get of this object, there or not; [`forbid_watch`](Self::forbid_watch) is for watches.
    pub(crate) fn forbid(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.forbid(Verb::Get, ObjectRef::new(kind, namespace, name));
    }

    /// Answers 403 to this verb on every object of a kind.
    pub(crate) fn forbid_kind(&self, verb: Verb, kind: Kind) {
        self.cluster().access.forbid_kind(verb, kind);
    }

    /// Answers 403 to every request of this path.
    pub(crate) fn refuse(&self, path: &str) {
        self.cluster().access.refuse(path);
    }

    /// Every object of a kind, as it is now, in order of name.
    pub(crate) fn objects(&self, kind: Kind) -> Vec<serde_json::Value> {
        self.cluster().objects.of(kind)
    }

    /// Takes [`forbid`](Self::forbid) back.
    pub(crate) fn allow(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.allow(Verb::Get, &ObjectRef::new(kind, namespace, name));
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
        self.shared.dismiss_departed();
        self.shared.doors.open()
    }

    /// Breaks every open connection (FIN, no `close_notify`); new ones are welcome.
    pub(crate) fn drop_connections(&self) {
        let dropped = self.shared.doors.drop_all();
        self.shared.change(|cluster| cluster.watches.dismiss(&dropped));
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
        self.shared.change(|cluster| cluster.watches.stop(true));
        self.shared.doors.stop(self.address);
        let ended = acceptor.join();
        assert!(ended.is_ok() || thread::panicking(), "a thread of the test's API server panicked");
    }

    /// After [`stop`](Self::stop): serves the same objects with the same certificate at the same address.
    pub(crate) fn start_again(&self) {
        let mut acceptor = self.acceptor();
        assert!(acceptor.is_none(), "the server is running");
        self.cluster().watches.stop(false);
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

    /// Changes something and lets the watches know.
    fn change(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster());
        self.changed.notify_all();
    }

    /// What the request gets; a watch is open from here on.
    fn reply(&self, request: &Request) -> Reply {
        let mut cluster = self.cluster();
        if let Some(answer) = routes::write(&mut cluster, request) {
            return Reply::Whole(answer);
        }
        let reply = routes::reply(&cluster, request);
        if let Reply::Watch(watch) = &reply {
            let Cluster { objects, watches, .. } = &mut *cluster;
            watches.open(request.connection, watch.clone(), objects);
        }
        reply
    }

    /// The answer for a fault to spoil; of a watch, what it would send at once.
    fn whole_reply(&self, request: &Request, fault: &Fault) -> Answer {
        let mut cluster = self.cluster();
        let written = if fault.comes_after_the_work() { routes::write(&mut cluster, request) } else { None };
        if let Some(answer) = written {
            return answer;
        }
        match routes::reply(&cluster, request) {
            Reply::Whole(answer) => answer,
            Reply::Watch(watch) => Answer::json_lines(watches::at_once(watch, &cluster.objects)),
        }
    }

    /// Ends the watches whose peers have left: nothing wakes their threads.
    fn dismiss_departed(&self) {
        let watched = self.cluster().watches.connections();
        let departed = self.doors.departed(watched);
        if !departed.is_empty() {
            self.change(|cluster| cluster.watches.dismiss(&departed));
        }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap()
    }
}

impl Cluster {
    /// What the watch of this connection does next.
    fn next_step(&mut self, connection: usize, now: Instant) -> Step {
        self.watches.next_step(connection, &self.objects, now)
    }
}

fn bind(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).unwrap_or_else(|error| panic!("{address} cannot be bound: {error}"))
}

fn listen(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || listener::accept_until_stopped(&shared, listener))
}

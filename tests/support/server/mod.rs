//! An API server on loopback: real TCP, TLS and HTTP/1.1, Kubernetes objects in memory, and faults on demand.
//!
//! Requests: `listener` accepts, `connection` handles TLS and HTTP, `routes` chooses the response from `objects`,
//! `faults` alters it if the test wants that.
//!
//! Watches: `watch` parses the request, `watches` decides what to send next from the `history` of `objects`, `stream`
//! sends it; `departures` finds peers that have left, `watching` is the interface for tests.

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

/// The bearer token accepted by default.
pub(crate) const TOKEN: &str = "test-token-1";
/// The namespace of the pod and its service account.
pub(crate) const NAMESPACE: &str = "prod";
/// The user that a 403 names.
pub(crate) const USER: &str = "system:serviceaccount:prod:app";

/// A running server, stopped on drop.
pub(crate) struct ApiServer {
    address: SocketAddr,
    authority: Arc<Authority>,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// State shared by the server's threads.
struct Shared {
    tls: Arc<ServerConfig>,
    cluster: Mutex<Cluster>,
    /// Wakes the watches after every change that may concern them.
    changed: Condvar,
    faults: Mutex<Faults>,
    /// Locked before `cluster`, never while `cluster` is locked.
    requests: Mutex<Vec<Request>>,
    doors: Doors,
}

/// The objects, their access rules and the watches.
struct Cluster {
    objects: Objects,
    access: Access,
    watches: Watches,
    gone_as_status: bool,
    /// The number of requests that [`Fault::Hold`] and [`Fault::Delay`] hold back.
    held: usize,
    /// How often they were released.
    releases: usize,
}

impl ApiServer {
    /// Starts a server on 127.0.0.1 with TLS 1.2 and 1.3, a new authority and the token [`TOKEN`].
    pub(crate) fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://address:port`, with brackets around an IPv6 address.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority that signed its certificate.
    pub(crate) fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Adds or replaces a pod with these annotations: one container, the service account `app`, running on `node-1`.
    pub(crate) fn put_pod(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) {
        self.put_object(Kind::Pod, namespace, name, objects::pod(annotations));
    }

    /// Adds or replaces an `Opaque` Secret.
    pub(crate) fn put_secret(&self, namespace: &str, name: &str, data: &[(&str, &[u8])]) {
        self.put_object(Kind::Secret, namespace, name, objects::secret(data));
    }

    /// Adds or replaces a ConfigMap with `data` and `binaryData`.
    pub(crate) fn put_configmap(
        &self,
        namespace: &str,
        name: &str,
        data: &[(&str, &str)],
        binary_data: &[(&str, &[u8])],
    ) {
        self.put_object(Kind::ConfigMap, namespace, name, objects::configmap(data, binary_data));
    }

    /// Adds or replaces a Service of type ClusterIP with these ports; an empty name means an unnamed port.
    pub(crate) fn put_service(&self, namespace: &str, name: &str, ports: &[(&str, u16)]) {
        self.put_object(Kind::Service, namespace, name, objects::service(ports));
    }

    /// Adds or replaces any object; watches see the change. The server sets kind, name, namespace and resource version,
    /// and uid and creation time unless they are given.
    pub(crate) fn put_object(&self, kind: Kind, namespace: &str, name: &str, object: serde_json::Value) {
        self.shared.change(|cluster| cluster.objects.put(ObjectRef::new(kind, namespace, name), object));
    }

    /// Responds to `path` with 200 and exactly this text, regardless of the `Accept` header. Watches do not see it.
    pub(crate) fn put_raw(&self, path: &str, json_text: &str) {
        self.cluster().objects.put_raw(path, json_text);
    }

    /// Deletes an object: its path responds with 404, and watches see the deletion.
    pub(crate) fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        self.shared.change(|cluster| cluster.objects.delete(&ObjectRef::new(kind, namespace, name)));
    }

    /// The resource version of an existing object: that of its last change, counted for the whole cluster.
    pub(crate) fn resource_version(&self, kind: Kind, namespace: &str, name: &str) -> Option<String> {
        self.cluster().objects.resource_version(&ObjectRef::new(kind, namespace, name))
    }

    /// Responds with 403 to a get of this object, whether it exists or not. For watches see
    /// [`forbid_watch`](Self::forbid_watch).
    pub(crate) fn forbid(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.forbid(Verb::Get, ObjectRef::new(kind, namespace, name));
    }

    /// Responds with 403 to this verb on every object of a kind.
    pub(crate) fn forbid_kind(&self, verb: Verb, kind: Kind) {
        self.cluster().access.forbid_kind(verb, kind);
    }

    /// Responds with 403 to objects of this kind with any other name, as a rule with `resourceNames` does; without names, as no rule
    /// does. A SelfSubjectRulesReview lists the names.
    pub(crate) fn allow_only(&self, kind: Kind, namespace: &str, names: &[&str]) {
        self.cluster().access.allow_only(kind, namespace, names);
    }

    /// Responds with 403 to every request for this path.
    pub(crate) fn refuse(&self, path: &str) {
        self.cluster().access.refuse(path);
    }

    /// All objects of a kind, ordered by name.
    pub(crate) fn objects(&self, kind: Kind) -> Vec<serde_json::Value> {
        self.cluster().objects.of(kind)
    }

    /// Reverts [`forbid`](Self::forbid).
    pub(crate) fn allow(&self, kind: Kind, namespace: &str, name: &str) {
        self.cluster().access.allow(Verb::Get, &ObjectRef::new(kind, namespace, name));
    }

    /// Accepts only these bearer tokens; with an empty list, every request gets 401.
    pub(crate) fn accept_tokens(&self, tokens: &[&str]) {
        self.cluster().access.accept(tokens);
    }

    /// Applies the fault to the next request. Faults queue up, one per request.
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.shared.faults().fail_next(fault);
    }

    /// Applies the fault to requests whose path and query contain `part`. Faults from [`fail_next`](Self::fail_next)
    /// come first, then the rules in the order in which they were added.
    pub(crate) fn fail_on(&self, part: &str, fault: Fault, times: Times) {
        self.shared.faults().fail_on(part, fault, times);
    }

    /// The number of requests that [`Fault::Hold`] and [`Fault::Delay`] hold back.
    pub(crate) fn held(&self) -> usize {
        self.cluster().held
    }

    /// Continues with all requests that are held back.
    pub(crate) fn release_held(&self) {
        self.shared.change(|cluster| cluster.releases += 1);
    }

    /// Clears all pending faults.
    pub(crate) fn clear_faults(&self) {
        *self.shared.faults() = Faults::default();
    }

    /// Every request whose head has arrived, oldest first, including those with a fault.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// `METHOD path?query` of every request, oldest first.
    pub(crate) fn request_lines(&self) -> Vec<String> {
        self.shared.requests().iter().map(Request::line).collect()
    }

    /// The number of accepted TCP connections.
    pub(crate) fn connections(&self) -> usize {
        self.shared.doors.accepted()
    }

    /// The number of open connections.
    pub(crate) fn open_connections(&self) -> usize {
        self.shared.dismiss_departed();
        self.shared.doors.open()
    }

    /// Breaks every open connection (FIN, no `close_notify`); new ones are accepted.
    pub(crate) fn drop_connections(&self) {
        let dropped = self.shared.doors.drop_all();
        self.shared.change(|cluster| cluster.watches.dismiss(&dropped));
    }

    /// Stops accepting: the kernel still completes TCP handshakes, but TLS handshakes hang. Open connections continue.
    pub(crate) fn pause_accept(&self) {
        self.shared.doors.pause();
    }

    /// Accepts again, beginning with the connections made during the pause.
    pub(crate) fn resume_accept(&self) {
        self.shared.doors.resume();
    }

    /// Closes the port and all connections and ends all threads. Later connections are refused; counters and recorded
    /// requests stay.
    pub(crate) fn stop(&self) {
        let Some(acceptor) = self.acceptor().take() else { return };
        self.shared.change(|cluster| cluster.watches.stop(true));
        self.shared.doors.stop(self.address);
        let ended = acceptor.join();
        assert!(ended.is_ok() || thread::panicking(), "a thread of the test's API server panicked");
    }

    /// Starts again after [`stop`](Self::stop), with the same objects, certificate and address.
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

    /// Applies a change and wakes the watches.
    fn change(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster());
        self.changed.notify_all();
    }

    /// Chooses the response; registers the watch if the request is one.
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

    /// The complete response to which a fault is applied; for a watch, what it would send immediately.
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

    /// Waits for [`ApiServer::release_held`], or until the server stops.
    fn hold(&self) {
        let mut cluster = self.cluster();
        cluster.held += 1;
        let before = cluster.releases;
        let is_held = |cluster: &mut Cluster| cluster.releases == before && !cluster.watches.is_stopped();
        self.changed.wait_while(cluster, is_held).unwrap().held -= 1;
    }

    /// Ends the watches whose peers have left, because nothing else wakes their threads.
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
    /// The next step of the watch on this connection.
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

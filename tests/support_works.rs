//! Tests of the test support itself; the other tests rely on it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, BodyReader};

use support::pki::{Authority, KeyKind, Leaf};
use support::pod::PodFolder;
use support::run::{Running, poll_until, run};
use support::server::{ApiServer, BlackHole, Fault, Kind, TOKEN, Times, WatchFault};
use support::skip::{REQUIRE, require, skip};

/// Time limit for things that happen at once; generous, so that a busy machine fails no test.
const SOON: Duration = Duration::from_secs(20);
/// How long to wait for something that must not happen.
const PATIENCE: Duration = Duration::from_millis(150);

const POD: &str = "/api/v1/namespaces/prod/pods/app-0";
const SECRET: &str = "/api/v1/namespaces/prod/secrets/db";
const WATCH: &str = "/api/v1/namespaces/prod/secrets?watch=true&fieldSelector=metadata.name%3Ddb";
const JSON: &str = "application/json";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

fn agent(ca: &str) -> Agent {
    let root = Certificate::from_pem(ca.as_bytes()).unwrap();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&[root]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_per_read(Some(SOON))
        .build()
        .new_agent()
}

struct Answer {
    code: u16,
    retry_after: Option<String>,
    location: Option<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// One GET with the default token and this `Accept` header.
fn fetch(agent: &Agent, url: &str, token: &str, accept: &str) -> Result<Answer, ureq::Error> {
    let request = agent.get(url).header("authorization", format!("Bearer {token}")).header("accept", accept);
    let mut answer = request.call()?;
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    Ok(Answer {
        code: answer.status().as_u16(),
        retry_after: header("retry-after"),
        location: header("location"),
        text: answer.body_mut().with_config().limit(64 << 20).read_to_string()?,
    })
}

/// A server with one pod and one Secret, and a client that trusts it.
struct Cluster {
    server: ApiServer,
    agent: Agent,
}

impl Cluster {
    fn start() -> Self {
        Self::with_server(ApiServer::start())
    }

    fn with_server(server: ApiServer) -> Self {
        server.put_pod("prod", "app-0", &[("podcreds.io/db.secret", "db")]);
        server.put_secret("prod", "db", &[("username", b"app"), ("password", b"\x00\xff")]);
        Self { agent: agent(&server.authority().pem()), server }
    }

    fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        fetch(&self.agent, &format!("{}{path}", self.server.url()), TOKEN, "application/json")
    }

    fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    fn fails(&self, path: &str) -> ureq::Error {
        self.try_get(path).map(|answer| answer.code).expect_err("the request must fail")
    }
}

/// The innermost I/O error, however the client wrapped it.
fn io_kind(error: &ureq::Error) -> Option<io::ErrorKind> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    let mut kind = None;
    while let Some(error) = next {
        let io = match error.downcast_ref::<ureq::Error>() {
            Some(ureq::Error::Io(io)) => Some(io),
            _ => error.downcast_ref::<io::Error>(),
        };
        if let Some(io) = io {
            kind = Some(io.kind());
        }
        next = io.and_then(|io| io.get_ref()).map(|inner| inner as _).or_else(|| error.source());
    }
    kind
}

#[test]
fn objects_look_like_those_of_kube_apiserver() {
    let cluster = Cluster::start();
    cluster.server.put_configmap("prod", "db", &[("host", "db.prod")], &[("blob", &[1, 2])]);

    let pod = cluster.get(POD).json();
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["metadata"]["annotations"]["podcreds.io/db.secret"], "db");
    assert_eq!(pod["spec"]["serviceAccountName"], "app");

    let secret = cluster.get(SECRET).json();
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(STANDARD.decode(secret["data"]["password"].as_str().unwrap()).unwrap(), [0x00, 0xff]);

    let configmap = cluster.get("/api/v1/namespaces/prod/configmaps/db").json();
    assert_eq!(
        (&configmap["data"], &configmap["binaryData"]),
        (&json!({"host": "db.prod"}), &json!({"blob": "AQI="}))
    );
}

#[test]
fn a_pod_is_served_as_metadata_alone_on_request() {
    let cluster = Cluster::start();
    let url = format!("{}{POD}", cluster.server.url());
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    for accept in [partial.to_owned(), format!("{partial},application/json")] {
        let pod = fetch(&cluster.agent, &url, TOKEN, &accept).unwrap().json();
        assert_eq!(
            (&pod["kind"], &pod["apiVersion"]),
            (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"))
        );
        assert_eq!(pod["metadata"]["name"], "app-0");
        assert_eq!(pod["spec"], Value::Null);
    }
    let whole = fetch(&cluster.agent, &url, TOKEN, &format!("application/json, {partial}")).unwrap().json();
    assert_eq!(whole["kind"], "Pod");
}

#[test]
fn each_change_raises_the_clusters_resource_version() {
    let cluster = Cluster::start();
    let version = |path| cluster.get(path).json()["metadata"]["resourceVersion"].clone();
    assert_eq!((version(POD), version(SECRET)), (json!("1"), json!("2")));
    cluster.server.put_secret("prod", "db", &[]);
    assert_eq!((version(POD), version(SECRET)), (json!("1"), json!("3")));
    cluster.server.delete(Kind::Secret, "prod", "db");
    cluster.server.delete(Kind::Secret, "prod", "db");
    assert_eq!(cluster.server.resource_version(Kind::Secret, "prod", "db"), None);
    cluster.server.put_secret("prod", "db", &[]);
    assert_eq!((version(POD), version(SECRET)), (json!("1"), json!("5")), "a deletion counts once");
}

#[test]
fn a_refusal_is_a_status_like_kube_apiservers() {
    let cluster = Cluster::start();
    let missing = cluster.get("/api/v1/namespaces/prod/secrets/none").json();
    assert_eq!(
        missing,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "secrets \"none\" not found", "reason": "NotFound",
            "details": { "name": "none", "kind": "secrets" }, "code": 404,
        })
    );
    assert_eq!(
        cluster.get("/apis/none").json()["message"],
        "the server could not find the requested resource"
    );

    cluster.server.forbid(Kind::Secret, "prod", "db");
    let forbidden = cluster.get(SECRET);
    assert_eq!((forbidden.code, &forbidden.json()["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        forbidden.json()["message"],
        "secrets \"db\" is forbidden: User \"system:serviceaccount:prod:app\" cannot get resource \"secrets\" in API \
         group \"\" in the namespace \"prod\""
    );
    cluster.server.allow(Kind::Secret, "prod", "db");
    assert_eq!(cluster.get(SECRET).code, 200);

    cluster.server.accept_tokens(&["test-token-2"]);
    let unknown = cluster.get(SECRET);
    assert_eq!((unknown.code, &unknown.json()["message"]), (401, &json!("Unauthorized")));
    let known = fetch(&cluster.agent, &format!("{}{SECRET}", cluster.server.url()), "test-token-2", "*/*");
    assert_eq!(known.unwrap().code, 200);
}

#[test]
fn raw_text_is_served_unchanged_until_it_is_replaced() {
    let cluster = Cluster::start();
    cluster.server.put_raw(SECRET, "{\"kind\": 7");
    assert_eq!(cluster.get(SECRET).text, "{\"kind\": 7");
    cluster.server.delete(Kind::Secret, "prod", "db");
    assert_eq!(cluster.get(SECRET).code, 404);
    cluster.server.put_object(Kind::Secret, "prod", "db", json!({"type": "kubernetes.io/basic-auth"}));
    assert_eq!(cluster.get(SECRET).json()["type"], "kubernetes.io/basic-auth");
}

#[test]
fn requests_are_recorded_and_share_one_connection() {
    let cluster = Cluster::start();
    for path in [POD, SECRET, "/version?timeout=1s"] {
        cluster.get(path);
    }
    let requests = cluster.server.requests();
    assert_eq!(
        cluster.server.request_lines(),
        [format!("GET {POD}"), format!("GET {SECRET}"), "GET /version?timeout=1s".to_owned()]
    );
    assert_eq!((requests[2].path.as_str(), requests[2].query.as_str()), ("/version", "timeout=1s"));
    assert_eq!(requests[0].bearer(), Some(TOKEN));
    assert_eq!(requests[0].header("ACCEPT"), Some("application/json"));
    assert!(requests.iter().all(|request| request.connection == 1));
    assert_eq!((cluster.server.connections(), cluster.server.open_connections()), (1, 1));
}

#[test]
fn all_addresses_tls_versions_and_keys_work() {
    let builders = [
        ApiServer::builder().tls_versions(&[&rustls::version::TLS12]),
        ApiServer::builder().tls_versions(&[&rustls::version::TLS13]),
        ApiServer::builder().leaf(Leaf::with_key(KeyKind::Ed25519)),
        ApiServer::builder().bind("[::1]"),
    ];
    for builder in builders {
        assert_eq!(Cluster::with_server(builder.start()).get(POD).code, 200);
    }
    let rsa = ApiServer::builder().leaf(Leaf::with_key(KeyKind::Rsa2048)).try_start();
    if let Some(server) = require("openssl", rsa.ok()) {
        assert_eq!(Cluster::with_server(server).get(POD).code, 200);
    }
}

#[test]
fn a_client_rejects_invalid_certificates() {
    let authority = Arc::new(Authority::new());
    let trusted = agent(&authority.pem());
    let expired = ApiServer::builder().authority(&authority).leaf(Leaf::expired()).start();
    let misnamed = ApiServer::builder().authority(&authority).leaf(Leaf::named(&["db.example"])).start();
    let foreign = ApiServer::start();
    for (server, says) in [(&expired, "xpired"), (&misnamed, "NotValidForName"), (&foreign, "BadSignature")] {
        let error = fetch(&trusted, &server.url(), TOKEN, "*/*").map(|answer| answer.code).unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(says), "{says}: {text}");
        assert!(server.requests().is_empty());
    }
}

#[test]
fn after_a_reset_the_next_request_is_served() {
    let cluster = Cluster::start();
    cluster.server.fail_next(Fault::Reset);
    cluster.server.fail_next(Fault::Reset);
    for _ in 0..2 {
        assert_eq!(io_kind(&cluster.fails(SECRET)), Some(io::ErrorKind::ConnectionReset));
    }
    assert_eq!(cluster.get(SECRET).code, 200);
    assert_eq!((cluster.server.requests().len(), cluster.server.connections()), (3, 3));
}

#[test]
fn a_reset_also_works_on_a_reused_connection() {
    let cluster = Cluster::with_server(ApiServer::builder().tls_versions(&[&rustls::version::TLS12]).start());
    cluster.server.fail_on("/secrets/", Fault::Reset, Times::Once);
    assert_eq!(cluster.get(POD).code, 200);
    assert_eq!(io_kind(&cluster.fails(SECRET)), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(cluster.server.connections(), 1);
}

#[test]
fn a_closed_or_silent_connection_gives_no_response() {
    let cluster = Cluster::start();
    cluster.server.fail_next(Fault::CloseBeforeAnswer);
    assert_ne!(io_kind(&cluster.fails(SECRET)), Some(io::ErrorKind::ConnectionReset));

    cluster.server.fail_next(Fault::SilentHeader);
    let url = format!("{}{SECRET}", cluster.server.url());
    let request = cluster.agent.get(&url).header("authorization", "Bearer test-token-1");
    let silent = request.config().timeout_recv_response(Some(PATIENCE)).build().call();
    assert!(matches!(silent, Err(ureq::Error::Timeout(_))), "{silent:?}");
    poll_until(SOON, "the server notices that the peer has left", || cluster.server.open_connections() == 0);
}

#[test]
fn a_held_response_is_that_of_the_time_of_the_request() {
    let server = ApiServer::start();
    server.put_secret("prod", "db", &[("password", b"before")]);
    let version = server.resource_version(Kind::Secret, "prod", "db").unwrap();
    server.fail_on(SECRET, Fault::Hold, Times::Once);
    let (url, ca) = (server.url() + SECRET, server.authority().pem());
    let held = thread::spawn(move || fetch(&agent(&ca), &url, TOKEN, JSON).unwrap());
    poll_until(SOON, "the response is held", || server.held() == 1);
    server.put_secret("prod", "db", &[("password", b"after")]);
    server.release_held();
    let answer = held.join().unwrap();
    assert_eq!(answer.json()["metadata"]["resourceVersion"], json!(version));
    poll_until(SOON, "nothing is held", || server.held() == 0);
}

#[test]
fn a_truncated_body_follows_a_valid_head() {
    let cluster = Cluster::start();
    cluster.server.fail_next(Fault::TruncateBody);
    let mut answer = cluster
        .agent
        .get(format!("{}{SECRET}", cluster.server.url()))
        .header("authorization", "Bearer test-token-1")
        .call()
        .unwrap();
    assert_eq!(answer.status(), 200);
    let announced: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let mut arrived = Vec::new();
    answer.body_mut().as_reader().read_to_end(&mut arrived).unwrap_err();
    assert_eq!(arrived.len(), announced / 2);
}

#[test]
fn a_dripping_body_is_complete_unless_the_peer_leaves() {
    let cluster = Cluster::start();
    let whole = cluster.get(SECRET).text;
    cluster.server.fail_next(Fault::Drip { interval: Duration::ZERO });
    let started = Instant::now();
    assert_eq!(cluster.get(SECRET).text, whole);
    assert!(started.elapsed() >= Duration::from_millis(1) * whole.len() as u32);
    assert_eq!(cluster.server.connections(), 1, "the connection stays open after a complete response");

    cluster.server.fail_next(Fault::Drip { interval: SOON });
    let url = format!("{}{SECRET}", cluster.server.url());
    let request = cluster.agent.get(&url).header("authorization", "Bearer test-token-1");
    let mut answer = request.config().timeout_recv_body(Some(PATIENCE)).build().call().unwrap();
    answer.body_mut().read_to_string().unwrap_err();
    drop(answer);
    poll_until(SOON, "the drip stops when the peer goes", || cluster.server.open_connections() == 0);
}

#[test]
fn a_huge_body_is_json_of_exactly_the_given_length() {
    let cluster = Cluster::start();
    let bytes = 3_000_001;
    for fault in [Fault::HugeBody { bytes }, Fault::HugeChunkedBody { bytes }] {
        cluster.server.fail_next(fault);
        let huge = cluster.get(SECRET);
        assert_eq!((huge.text.len() as u64, &huge.json()["kind"]), (bytes, &json!("Secret")));
    }
    assert_eq!(cluster.server.connections(), 1);
}

#[test]
fn custom_responses_are_sent_unchanged() {
    let cluster = Cluster::start();
    cluster.server.fail_next(Fault::Status {
        code: 429,
        retry_after: Some("7".to_owned()),
        message: "too many".to_owned(),
    });
    cluster.server.fail_next(Fault::Body("[]".to_owned()));
    cluster.server.fail_next(Fault::Redirect("https://127.0.0.1:1/".to_owned()));
    cluster.server.fail_next(Fault::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_vec()));
    cluster.server.fail_next(Fault::Raw(b"\x00\x01 nothing that HTTP knows \r\n\r\n".to_vec()));

    let busy = cluster.get(SECRET);
    assert_eq!((busy.code, busy.retry_after.as_deref()), (429, Some("7")));
    assert_eq!(
        (&busy.json()["reason"], &busy.json()["message"]),
        (&json!("TooManyRequests"), &json!("too many"))
    );
    assert_eq!(cluster.get(SECRET).text, "[]");
    let elsewhere = cluster.get(SECRET);
    assert_eq!((elsewhere.code, elsewhere.location.as_deref()), (307, Some("https://127.0.0.1:1/")));
    assert_eq!(cluster.get(SECRET).text, "no");
    cluster.fails(SECRET);
}

#[test]
fn a_rule_applies_to_its_path_the_given_number_of_times() {
    let cluster = Cluster::start();
    let status = |code| Fault::Status { code, retry_after: None, message: String::new() };
    cluster.server.fail_on("/secrets/", status(503), Times::N(2));
    cluster.server.fail_on("/secrets/", status(500), Times::Once);
    cluster.server.fail_on("watch=true", status(410), Times::Always);
    cluster.server.fail_next(status(504));

    let codes = [SECRET, POD, SECRET, SECRET, SECRET, SECRET].map(|path| cluster.get(path).code);
    assert_eq!(codes, [504, 200, 503, 503, 500, 200]);
    for _ in 0..2 {
        assert_eq!(cluster.get("/api/v1/pods?watch=true").code, 410);
    }
    cluster.server.clear_faults();
    assert_eq!(cluster.get("/api/v1/pods?watch=true").code, 404);
}

/// Whether connections to this address get no response: a TLS server would send an alert.
fn is_silent(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"not a TLS record\r\n").unwrap();
    loop {
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            heard => return matches!(heard, Err(error) if error.kind() == io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn a_black_hole_and_a_paused_server_never_respond() {
    let hole = BlackHole::start();
    assert!(is_silent(hole.address()));

    let cluster = Cluster::start();
    cluster.server.pause_accept();
    assert!(is_silent(cluster.server.address()));
    assert_eq!(cluster.server.connections(), 0);
    cluster.server.resume_accept();
    assert!(!is_silent(cluster.server.address()));
    assert_eq!(cluster.get(POD).code, 200);
}

fn stop_promptly(server: &ApiServer) {
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn stop_is_prompt_under_all_faults() {
    // A separate address, so that no other test can take the port while it is free.
    let builder = ApiServer::builder().bind("127.0.0.2").leaf(Leaf::named(&["127.0.0.2"]));
    let cluster = Cluster::with_server(builder.start());
    cluster.get(POD);
    cluster.server.fail_next(Fault::SilentHeader);
    cluster.server.fail_next(Fault::Drip { interval: SOON });
    cluster.server.fail_next(Fault::HugeBody { bytes: u64::MAX });
    let _mute = TcpStream::connect(cluster.server.address()).unwrap();
    // The client does not read the huge body, so the server blocks in a write.
    let unread = cluster.agent.clone();
    let url = format!("{}{SECRET}", cluster.server.url());
    thread::scope(|scope| {
        for count in 2..=4 {
            let (unread, url) = (&unread, &url);
            scope.spawn(move || unread.get(url).header("authorization", "Bearer test-token-1").call());
            poll_until(SOON, "the request arrives", || cluster.server.requests().len() == count);
        }
        stop_promptly(&cluster.server);
    });
    assert_eq!(cluster.server.open_connections(), 0);
    let refused = TcpStream::connect(cluster.server.address()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    cluster.server.start_again();
    assert_eq!(cluster.get(POD).code, 200);
}

#[test]
fn dropping_stops_even_a_paused_server() {
    // A separate address, so that no other test can take the port while it is free.
    let server = ApiServer::builder().bind("127.0.0.3").start();
    let address = server.address();
    server.pause_accept();
    let _waiting = TcpStream::connect(address).unwrap();
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn dropped_connections_are_replaced_by_new_ones() {
    let cluster = Cluster::start();
    assert_eq!(cluster.get(POD).code, 200);
    cluster.server.drop_connections();
    poll_until(SOON, "the connection has ended", || cluster.server.open_connections() == 0);
    // A client may only learn from a failed request that its pooled connection is closed.
    poll_until(SOON, "a new connection serves", || cluster.try_get(POD).is_ok());
    assert_eq!(cluster.server.connections(), 2);
}

/// An open watch, read line by line.
struct Stream {
    lines: BufReader<BodyReader<'static>>,
}

impl Cluster {
    fn watch(&self, query: &str) -> Stream {
        self.watch_as(query, JSON)
    }

    /// Opens a watch of the Secret with this `Accept` header.
    fn watch_as(&self, query: &str, accept: &str) -> Stream {
        let request = self.agent.get(format!("{}{WATCH}{query}", self.server.url()));
        let request = request.header("authorization", "Bearer test-token-1").header("accept", accept);
        let answer = request.call().unwrap();
        assert_eq!(answer.status(), 200);
        Stream { lines: BufReader::new(answer.into_body().into_reader()) }
    }

    fn put(&self, data: &[u8]) {
        self.server.put_secret("prod", "db", &[("password", data)]);
    }
}

impl Stream {
    /// The next line unchanged; empty at the last chunk.
    fn line(&mut self) -> String {
        self.try_line().unwrap()
    }

    fn try_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }

    fn event(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Type and resource version of the next event.
    fn next(&mut self) -> (String, String) {
        let event = self.event();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["resourceVersion"]))
    }

    fn expect(&mut self, event: &str, version: u64) {
        assert_eq!(self.next(), (event.to_owned(), version.to_string()));
    }
}

/// A watch read without ureq, which treats a reset within a body as its end, and whose timeouts apply only after the
/// handshake.
struct RawWatch {
    tls: StreamOwned<ClientConnection, TcpStream>,
}

impl RawWatch {
    fn start(server: &ApiServer) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.authority().pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        write!(stream, "GET {WATCH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
            .unwrap();
        stream.flush().unwrap();
        Self { tls: stream }
    }

    /// Reads until this text.
    fn expect(&mut self, end: &str) {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.tls.read_exact(&mut byte).unwrap();
            heard.extend(byte);
        }
    }

    /// Whether the stream stays open and silent.
    fn is_silent(&mut self) -> bool {
        self.tls.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        let heard = self.tls.read(&mut [0]);
        self.tls.sock.set_read_timeout(Some(SOON)).unwrap();
        matches!(heard, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads until the connection breaks; returns the text and the kind of error.
    fn breaks(&mut self) -> (String, io::ErrorKind) {
        let mut heard = String::new();
        let broken = self.tls.read_to_string(&mut heard).expect_err("the connection must break");
        (heard, broken.kind())
    }
}

#[test]
fn a_watch_sends_the_current_state_and_then_every_change() {
    let cluster = Cluster::start();
    let mut watch = cluster.watch("");
    assert_eq!(watch.event(), json!({ "type": "ADDED", "object": cluster.get(SECRET).json() }));

    cluster.put(b"2");
    assert_eq!(watch.event(), json!({ "type": "MODIFIED", "object": cluster.get(SECRET).json() }));

    cluster.server.put_secret("prod", "other", &[]);
    cluster.server.put_secret("other", "db", &[]);
    cluster.server.put_configmap("prod", "db", &[], &[]);
    cluster.server.delete(Kind::Secret, "prod", "db");
    let deleted = watch.event();
    assert_eq!(
        (&deleted["type"], &deleted["object"]["metadata"]["resourceVersion"]),
        (&json!("DELETED"), &json!("7"))
    );
    assert_eq!(deleted["object"]["data"], json!({ "password": STANDARD.encode("2") }));

    // For a missing object, no event comes first.
    let mut from_nothing = cluster.watch("&resourceVersion=0");
    cluster.put(b"3");
    watch.expect("ADDED", 8);
    from_nothing.expect("ADDED", 8);
    assert_eq!(cluster.server.open_watches(), 2);
}

#[test]
fn a_watch_from_a_version_sends_all_later_changes() {
    let cluster = Cluster::start();
    cluster.put(b"3");
    cluster.server.put_pod("prod", "app-0", &[]);
    cluster.server.delete(Kind::Secret, "prod", "db");
    cluster.put(b"6");
    for from in ["2", "3", "4"] {
        let mut watch = cluster.watch(&format!("&resourceVersion={from}"));
        if from == "2" {
            watch.expect("MODIFIED", 3);
        }
        watch.expect("DELETED", 5);
        watch.expect("ADDED", 6);
    }
    let mut latest = cluster.watch("&resourceVersion=6");
    cluster.put(b"7");
    latest.expect("MODIFIED", 7);
}

#[test]
fn a_watch_accepts_its_parameters_in_any_order() {
    let cluster = Cluster::start();
    cluster.server.put_configmap("prod", "app", &[], &[]);
    let targets = [
        "pods?timeoutSeconds=1&fieldSelector=metadata.name%3dapp-0&watch=1",
        "configmaps?allowWatchBookmarks=true&timeoutSeconds=1&fieldSelector=metadata.name==app&watch=true",
    ];
    for (target, kind) in targets.into_iter().zip(["Pod", "ConfigMap"]) {
        let answer = cluster.get(&format!("/api/v1/namespaces/prod/{target}"));
        let lines: Vec<&str> = answer.text.lines().collect();
        assert_eq!((answer.code, lines.len()), (200, 1), "{lines:?}");
        let event: Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!(kind)));
    }
    assert_eq!(cluster.server.watch_requests().len(), 2);
    assert_eq!((cluster.server.connections(), cluster.server.open_watches()), (1, 0), "the last chunk came");
}

#[test]
fn a_watch_of_more_than_one_object_is_rejected() {
    let cluster = Cluster::start();
    let collection = "/api/v1/namespaces/prod/secrets";
    let queries = [
        "watch=true",
        "watch=true&fieldSelector=type%3DOpaque",
        "watch=true&fieldSelector=metadata.name%3Ddb,type%3DOpaque",
        "watch=true&fieldSelector=metadata.name%3Ddb&resourceVersion=new",
        "watch=true&fieldSelector=metadata.name%3Ddb&timeoutSeconds=-1",
    ];
    for query in queries {
        let refused = cluster.get(&format!("{collection}?{query}"));
        assert_eq!((refused.code, &refused.json()["reason"]), (400, &json!("BadRequest")), "{query}");
    }
    assert_eq!(cluster.get(&format!("{collection}?watch=false")).code, 404, "there are no lists");
    assert_eq!(cluster.server.watch_requests().len(), queries.len());
}

#[test]
fn a_watch_can_send_metadata_alone() {
    let cluster = Cluster::start();
    let mut watch = cluster.watch_as("&allowWatchBookmarks=true", PARTIAL);
    cluster.put(b"3");
    cluster.server.bookmark();
    for (event, version) in [("ADDED", "2"), ("MODIFIED", "3"), ("BOOKMARK", "3")] {
        let line = watch.event();
        assert_eq!(line["type"], event);
        assert_eq!(
            (&line["object"]["kind"], &line["object"]["apiVersion"]),
            (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"))
        );
        assert_eq!(line["object"]["metadata"]["resourceVersion"], version);
        assert_eq!((&line["object"]["data"], &line["object"]["type"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn a_bookmark_follows_earlier_changes_if_the_client_allows_it() {
    let cluster = Cluster::start();
    let mut with = cluster.watch("&allowWatchBookmarks=true&resourceVersion=2");
    let mut without = cluster.watch("&resourceVersion=2");
    // Buffered, so that all of it is available when the first part is sent.
    cluster.server.mute_watches();
    cluster.put(b"3");
    cluster.server.put_pod("prod", "app-0", &[]);
    cluster.server.bookmark();
    cluster.put(b"5");
    cluster.server.unmute_watches();

    with.expect("MODIFIED", 3);
    let metadata = json!({ "resourceVersion": "4", "creationTimestamp": null });
    let bookmark = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": metadata });
    assert_eq!(with.event(), json!({ "type": "BOOKMARK", "object": bookmark }));
    with.expect("MODIFIED", 5);
    without.expect("MODIFIED", 3);
    without.expect("MODIFIED", 5);
}

#[test]
fn a_watch_from_a_compacted_version_gets_410() {
    let cluster = Cluster::start();
    let mut before = cluster.watch("&resourceVersion=2");
    cluster.put(b"3");
    cluster.put(b"4");
    cluster.server.compact();

    let mut expired = cluster.watch("&resourceVersion=3");
    assert_eq!(
        expired.event(),
        json!({ "type": "ERROR", "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version: 3 (4)", "reason": "Expired", "code": 410,
        }})
    );
    assert_eq!(expired.line(), "");

    cluster.server.gone_as_status(true);
    let gone = cluster.get(&format!("{WATCH}&resourceVersion=3"));
    assert_eq!((gone.code, &gone.json()["reason"]), (410, &json!("Expired")));

    let mut latest = cluster.watch("&resourceVersion=4");
    cluster.put(b"5");
    latest.expect("MODIFIED", 5);
    for version in 3..=5 {
        before.expect("MODIFIED", version);
    }
}

#[test]
fn a_watch_ends_in_order_after_its_timeout() {
    let cluster = Cluster::start();
    let started = Instant::now();
    let mut watch = cluster.watch("&timeoutSeconds=1");
    watch.expect("ADDED", 2);
    assert_eq!(watch.line(), "");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(cluster.server.open_watches(), 0);
    assert_eq!((cluster.get(SECRET).code, cluster.server.connections()), (200, 1));
}

#[test]
fn permissions_to_watch_and_to_get_are_independent() {
    let cluster = Cluster::start();
    cluster.server.forbid_watch(Kind::Secret, "prod", "db");
    let forbidden = cluster.get(WATCH);
    assert_eq!((forbidden.code, &forbidden.json()["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        forbidden.json()["message"],
        "secrets \"db\" is forbidden: User \"system:serviceaccount:prod:app\" cannot watch resource \"secrets\" in \
         API group \"\" in the namespace \"prod\""
    );
    assert_eq!(cluster.get(SECRET).code, 200);

    cluster.server.allow_watch(Kind::Secret, "prod", "db");
    cluster.server.forbid(Kind::Secret, "prod", "db");
    assert_eq!(cluster.get(SECRET).code, 403);
    let mut watch = cluster.watch("");
    watch.expect("ADDED", 2);

    // Permissions are checked when a watch starts.
    cluster.server.forbid_watch(Kind::Secret, "prod", "db");
    cluster.server.accept_tokens(&["test-token-2"]);
    assert_eq!(cluster.get(WATCH).code, 401);
    cluster.put(b"3");
    watch.expect("MODIFIED", 3);
}

#[test]
fn request_faults_apply_to_watches_by_query() {
    let cluster = Cluster::start();
    let busy = Fault::Status { code: 429, retry_after: Some("1".to_owned()), message: "too many".to_owned() };
    cluster.server.fail_on("watch=true", busy, Times::Once);
    cluster.server.fail_on("watch=true", Fault::Reset, Times::Once);
    cluster.server.fail_on("watch=true", Fault::TruncateBody, Times::Once);
    cluster.server.fail_on("watch=true", Fault::Drip { interval: Duration::ZERO }, Times::Once);
    assert_eq!(cluster.get(SECRET).code, 200);

    let refused = cluster.get(WATCH);
    assert_eq!((refused.code, refused.retry_after.as_deref()), (429, Some("1")));
    assert_eq!(io_kind(&cluster.fails(WATCH)), Some(io::ErrorKind::ConnectionReset));
    cluster.fails(WATCH);
    let dripped = cluster.get(WATCH);
    let types: Vec<Value> = dripped.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(types.iter().map(|event| &event["type"]).collect::<Vec<_>>(), ["ADDED", "BOOKMARK"]);

    assert_eq!(cluster.server.open_watches(), 0);
    cluster.watch("").expect("ADDED", 2);
    assert_eq!(cluster.server.watch_requests().len(), 5);
}

/// A cluster and a watch that has read the initial state.
fn watched() -> (Cluster, Stream) {
    let cluster = Cluster::start();
    let mut watch = cluster.watch("");
    watch.expect("ADDED", 2);
    (cluster, watch)
}

#[test]
fn an_open_watch_can_be_reset_closed_and_ended() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let cluster = Cluster::with_server(ApiServer::builder().tls_versions(&[version]).start());
        for (fault, breaks) in [
            (WatchFault::Reset, io::ErrorKind::ConnectionReset),
            (WatchFault::Close, io::ErrorKind::UnexpectedEof),
        ] {
            let mut watches = [RawWatch::start(&cluster.server), RawWatch::start(&cluster.server)];
            poll_until(SOON, "both are served", || cluster.server.open_watches() == 2);
            cluster.put(b"more");
            cluster.server.break_watches(fault);
            for watch in &mut watches {
                let (heard, broken) = watch.breaks();
                assert_eq!(broken, breaks, "{heard}");
                assert!(!heard.contains("\r\n0\r\n"), "{heard}");
            }
            poll_until(SOON, "the server is done with them", || cluster.server.open_connections() == 0);
        }
    }

    let (cluster, mut watch) = watched();
    cluster.server.break_watches(WatchFault::End);
    assert_eq!(watch.line(), "");
    assert_eq!((cluster.get(SECRET).code, cluster.server.connections()), (200, 1));
}

#[test]
fn an_open_watch_survives_broken_and_oversized_lines() {
    let (cluster, mut watch) = watched();
    cluster.server.break_watches(WatchFault::BrokenLine);
    let broken = watch.line();
    assert!(broken.starts_with('{') && broken.ends_with('\n'), "{broken}");
    serde_json::from_str::<Value>(&broken).unwrap_err();

    let bytes = 3_000_001;
    cluster.server.break_watches(WatchFault::OversizedLine { bytes });
    let oversized = watch.line();
    assert_eq!(oversized.len() as u64, bytes + 1);
    let event: Value = serde_json::from_str(&oversized).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("MODIFIED"), &json!("db")));

    cluster.put(b"3");
    watch.expect("MODIFIED", 3);
}

#[test]
fn an_open_watch_can_drip_only_its_next_event() {
    let (cluster, mut watch) = watched();
    let interval = Duration::from_millis(1);
    cluster.server.break_watches(WatchFault::DripLine { interval });
    let started = Instant::now();
    cluster.put(b"3");
    cluster.put(b"4");
    let line = watch.line();
    assert!(started.elapsed() >= interval * (line.len() as u32 - 1), "{:?}", started.elapsed());
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["object"]["metadata"]["resourceVersion"], "3");
    watch.expect("MODIFIED", 4);

    let mut slow = RawWatch::start(&cluster.server);
    slow.expect("}}\n\r\n");
    cluster.server.break_watches(WatchFault::DripLine { interval: SOON });
    cluster.put(b"5");
    slow.expect("1\r\n{\r\n");
    assert!(slow.is_silent());
    // Other faults apply between two bytes.
    cluster.server.break_watches(WatchFault::Reset);
    assert_eq!(slow.breaks(), (String::new(), io::ErrorKind::ConnectionReset));
}

#[test]
fn an_open_watch_can_be_ended_by_an_error_event() {
    let (cluster, mut watch) = watched();
    let message = "etcdserver: no leader".to_owned();
    cluster.server.break_watches(WatchFault::ErrorEvent { code: 500, message });
    let error = watch.event();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"], &error["object"]["message"]),
        (&json!(500), &json!("InternalError"), &json!("etcdserver: no leader"))
    );
    assert_eq!(watch.line(), "");
}

#[test]
fn muted_watches_send_everything_after_unmuting() {
    let (cluster, mut watch) = watched();
    cluster.server.mute_watches();
    let mut new = RawWatch::start(&cluster.server);
    cluster.put(b"3");
    cluster.server.break_watches(WatchFault::BrokenLine);
    poll_until(SOON, "the new request arrives", || cluster.server.open_watches() == 2);
    assert!(new.is_silent(), "not even the head is sent");
    assert_eq!(cluster.get(SECRET).json()["metadata"]["resourceVersion"], "3", "gets are served");
    drop(new);
    poll_until(SOON, "the timed-out connection is closed", || cluster.server.open_watches() == 1);

    cluster.put(b"4");
    cluster.server.unmute_watches();
    serde_json::from_str::<Value>(&watch.line()).unwrap_err();
    watch.expect("MODIFIED", 3);
    watch.expect("MODIFIED", 4);
}

#[test]
fn a_muted_watch_stays_open() {
    let cluster = Cluster::start();
    let mut watch = RawWatch::start(&cluster.server);
    watch.expect("}}\n\r\n");
    cluster.server.mute_watches();
    cluster.put(b"3");
    assert!(watch.is_silent());
    cluster.server.unmute_watches();
    watch.expect("}}\n\r\n");
    assert!(watch.is_silent());
}

#[test]
fn an_idle_watch_ends_when_its_peer_leaves() {
    for host in ["127.0.0.1", "[::1]"] {
        let cluster = Cluster::with_server(ApiServer::builder().bind(host).start());
        let unread = cluster.watch("");
        let read = {
            let mut watch = cluster.watch("");
            watch.expect("ADDED", 2);
            watch
        };
        let mut stays = cluster.watch("");
        poll_until(SOON, "all are served", || cluster.server.open_watches() == 3);
        drop((unread, read));
        poll_until(SOON, "one is left", || cluster.server.open_connections() == 1);
        assert_eq!(cluster.server.open_watches(), 1);
        stays.expect("ADDED", 2);
        cluster.put(b"3");
        stays.expect("MODIFIED", 3);
    }
}

#[test]
fn stop_and_drop_connections_end_all_watches_at_once() {
    // A separate address, so that no other test can take the port while it is free.
    let builder = ApiServer::builder().bind("127.0.0.4").leaf(Leaf::named(&["127.0.0.4"]));
    let cluster = Cluster::with_server(builder.start());
    let mut dropped = cluster.watch("&resourceVersion=2");
    cluster.server.drop_connections();
    dropped.try_line().unwrap_err();
    poll_until(SOON, "the watch has ended", || cluster.server.open_connections() == 0);

    let unread = cluster.watch("&resourceVersion=2");
    cluster.server.break_watches(WatchFault::OversizedLine { bytes: u64::MAX / 2 });
    let idle = cluster.watch("&resourceVersion=2");
    stop_promptly(&cluster.server);
    for mut watch in [unread, idle] {
        io::copy(&mut watch.lines, &mut io::sink()).expect_err("no last chunk came");
    }
    assert_eq!((cluster.server.open_watches(), cluster.server.open_connections()), (0, 0));

    cluster.server.start_again();
    let mut muted = cluster.watch("&resourceVersion=2");
    cluster.server.mute_watches();
    stop_promptly(&cluster.server);
    muted.try_line().unwrap_err();

    cluster.server.unmute_watches();
    cluster.server.start_again();
    let mut again = cluster.watch("&resourceVersion=2");
    cluster.put(b"3");
    again.expect("MODIFIED", 3);
}

#[test]
fn a_watch_that_falls_behind_is_ended_and_can_restart() {
    let (cluster, mut watch) = watched();
    cluster.server.mute_watches();
    for _ in 0..1100 {
        cluster.put(b"again");
    }
    cluster.server.unmute_watches();
    assert_eq!(watch.line(), "");
    assert_eq!(cluster.watch("&resourceVersion=2").event()["object"]["code"], 410);
    cluster.watch("").expect("ADDED", 1102);
}

#[test]
fn the_pods_files_look_like_the_kubelets_mounts() {
    let server = ApiServer::start();
    let pod = PodFolder::new(&server);
    let read = |name: &str| fs::read_to_string(pod.service_account().join(name)).unwrap();
    assert_eq!((read("token"), read("namespace")), (TOKEN.to_owned(), "prod".to_owned()));
    assert_eq!(read("ca.crt"), server.authority().pem());
    assert_eq!(fs::read_link(pod.service_account().join("token")).unwrap(), Path::new("..data/token"));

    let before = fs::read_link(pod.service_account().join("..data")).unwrap();
    pod.rotate_token("test-token-2");
    assert_eq!(read("token"), "test-token-2");
    assert_eq!(read("ca.crt"), server.authority().pem());
    assert_ne!(fs::read_link(pod.service_account().join("..data")).unwrap(), before);
    assert!(!pod.service_account().join(before).exists());

    assert_eq!(fs::read_dir(pod.volume()).unwrap().count(), 0);
    assert_eq!(pod.termination_message(), "");
}

#[test]
fn a_command_gets_only_the_pods_environment() {
    let server = ApiServer::builder().bind("[::1]").start();
    let pod = PodFolder::new(&server);
    let finished = run(pod.command(Path::new("/usr/bin/env"), &server), SOON);
    let text = finished.stdout_text();
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "KUBERNETES_SERVICE_HOST",
            "KUBERNETES_SERVICE_PORT",
            "PODCREDS_SERVICE_ACCOUNT_DIR",
            "PODCREDS_TERMINATION_LOG",
            "PODCREDS_VOLUME",
            "POD_NAME",
            "POD_NAMESPACE",
        ]
    );
    assert!(text.contains("KUBERNETES_SERVICE_HOST=::1\n"), "{text}");
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn run_returns_how_a_process_ended() {
    let finished = run(shell("echo out; echo err >&2; exit 3"), SOON);
    assert_eq!((finished.code, finished.signal), (Some(3), None));
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_str()), (b"out\n".as_slice(), "err\n"));

    let mut running = Running::start(shell("echo ready; exec sleep 600"));
    poll_until(SOON, "the sidecar is ready", || running.stdout() == b"ready\n");
    running.send(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON).signal, Some(15));
}

#[test]
#[should_panic(expected = "still at it")]
fn run_kills_a_process_at_its_deadline_and_shows_its_output() {
    run(shell("echo still at it; exec sleep 600"), Duration::from_millis(500));
}

#[test]
#[should_panic(expected = "holds its output open")]
fn run_notices_a_pipe_that_a_grandchild_keeps_open() {
    run(shell("sleep 3 & exit 0"), Duration::from_millis(500));
}

#[test]
#[should_panic(expected = "the moon rises")]
fn polling_ends_at_its_deadline() {
    poll_until(Duration::from_millis(20), "the moon rises", || false);
}

/// Set when the tests below run this program again.
const PROBE: &str = "SUPPORT_WORKS_PROBE";

#[test]
fn a_missing_tool_skips_a_test_unless_all_are_required() {
    if env::var_os(PROBE).is_some() {
        require("a unicorn", None::<()>);
        return;
    }
    let again = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "a_missing_tool_skips_a_test_unless_all_are_required", "--nocapture"]);
        command.env(PROBE, "1").env_remove(REQUIRE);
        command
    };
    let skipped = run(again(), SOON);
    assert_eq!(skipped.code, Some(0));
    assert!(skipped.stderr.contains(": a unicorn is missing"), "{}", skipped.stderr);

    let mut strict = again();
    strict.env(REQUIRE, "all");
    assert_ne!(run(strict, SOON).code, Some(0));
}

#[test]
fn a_missing_cluster_feature_always_skips_a_test() {
    if env::var_os(PROBE).is_some() {
        skip("the cluster is a unicorn");
        return;
    }
    let name = "a_missing_cluster_feature_always_skips_a_test";
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name]).env(PROBE, "1").env(REQUIRE, "all");
    let skipped = run(command, SOON);
    assert_eq!(skipped.code, Some(0), "{}", skipped.stderr);
    assert_eq!(skipped.stderr, format!("skipped: {name}: the cluster is a unicorn\n"));
}

//! The test support does what it says: otherwise the other tests prove nothing.

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
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use support::pki::{Authority, KeyKind, Leaf};
use support::pod::PodFolder;
use support::run::{Running, poll_until, run};
use support::server::{ApiServer, BlackHole, Fault, Kind, TOKEN, Times};
use support::skip::{REQUIRE, require};

/// For what happens at once; generous, so that a busy machine fails no test.
const SOON: Duration = Duration::from_secs(20);
/// For what is not expected to happen.
const PATIENCE: Duration = Duration::from_millis(150);

const POD: &str = "/api/v1/namespaces/prod/pods/app-0";
const SECRET: &str = "/api/v1/namespaces/prod/secrets/db";

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

/// One GET with the usual token and this `Accept`.
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
        Self::of(ApiServer::start())
    }

    fn of(server: ApiServer) -> Self {
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
        self.try_get(path).map(|answer| answer.code).expect_err("the request was to fail")
    }
}

/// The I/O error at the bottom, wherever the client wrapped it.
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
fn objects_read_as_the_api_gives_them() {
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
fn a_pod_comes_as_metadata_alone_when_that_is_asked_for() {
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
fn each_put_raises_the_resource_version_by_one() {
    let cluster = Cluster::start();
    let version = || cluster.get(SECRET).json()["metadata"]["resourceVersion"].clone();
    assert_eq!(version(), "1");
    cluster.server.put_secret("prod", "db", &[]);
    assert_eq!(version(), "2");
    cluster.server.delete(Kind::Secret, "prod", "db");
    assert_eq!(cluster.server.resource_version(Kind::Secret, "prod", "db"), None);
    cluster.server.put_secret("prod", "db", &[]);
    assert_eq!(version(), "3");
}

#[test]
fn a_refusal_is_a_status_in_the_words_of_the_api_server() {
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
fn raw_text_is_served_as_it_is_until_it_is_replaced() {
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
fn every_address_tls_version_and_key_serves() {
    let builders = [
        ApiServer::builder().tls_versions(&[&rustls::version::TLS12]),
        ApiServer::builder().tls_versions(&[&rustls::version::TLS13]),
        ApiServer::builder().leaf(Leaf::with_key(KeyKind::Ed25519)),
        ApiServer::builder().bind("[::1]"),
    ];
    for builder in builders {
        assert_eq!(Cluster::of(builder.start()).get(POD).code, 200);
    }
    let rsa = ApiServer::builder().leaf(Leaf::with_key(KeyKind::Rsa2048)).try_start();
    if let Some(server) = require("openssl", rsa.ok()) {
        assert_eq!(Cluster::of(server).get(POD).code, 200);
    }
}

#[test]
fn a_client_refuses_an_expired_a_foreign_and_a_misnamed_certificate() {
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
fn reset_is_a_reset_and_the_next_request_is_served() {
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
fn a_reset_also_hits_a_connection_that_was_in_use() {
    let cluster = Cluster::of(ApiServer::builder().tls_versions(&[&rustls::version::TLS12]).start());
    cluster.server.fail_on("/secrets/", Fault::Reset, Times::Once);
    assert_eq!(cluster.get(POD).code, 200);
    assert_eq!(io_kind(&cluster.fails(SECRET)), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(cluster.server.connections(), 1);
}

#[test]
fn a_closed_or_silent_connection_gives_no_answer() {
    let cluster = Cluster::start();
    cluster.server.fail_next(Fault::CloseBeforeAnswer);
    assert_ne!(io_kind(&cluster.fails(SECRET)), Some(io::ErrorKind::ConnectionReset));

    cluster.server.fail_next(Fault::SilentHeader);
    let url = format!("{}{SECRET}", cluster.server.url());
    let request = cluster.agent.get(&url).header("authorization", "Bearer test-token-1");
    let silent = request.config().timeout_recv_response(Some(PATIENCE)).build().call();
    assert!(matches!(silent, Err(ureq::Error::Timeout(_))), "{silent:?}");
    poll_until(SOON, "the server lets go of a peer that went away", || {
        cluster.server.open_connections() == 0
    });
}

#[test]
fn a_truncated_body_is_an_error_after_a_good_head() {
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
fn a_dripping_body_is_whole_in_the_end_or_stops_with_the_peer() {
    let cluster = Cluster::start();
    let whole = cluster.get(SECRET).text;
    cluster.server.fail_next(Fault::Drip { interval: Duration::ZERO });
    let started = Instant::now();
    assert_eq!(cluster.get(SECRET).text, whole);
    assert!(started.elapsed() >= Duration::from_millis(1) * whole.len() as u32);
    assert_eq!(cluster.server.connections(), 1, "a whole answer keeps the connection");

    cluster.server.fail_next(Fault::Drip { interval: SOON });
    let url = format!("{}{SECRET}", cluster.server.url());
    let request = cluster.agent.get(&url).header("authorization", "Bearer test-token-1");
    let mut answer = request.config().timeout_recv_body(Some(PATIENCE)).build().call().unwrap();
    answer.body_mut().read_to_string().unwrap_err();
    drop(answer);
    poll_until(SOON, "the drip stops when the peer goes", || cluster.server.open_connections() == 0);
}

#[test]
fn a_huge_body_is_json_of_exactly_that_length() {
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
fn answers_of_the_tests_own_come_as_they_are_told() {
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
fn a_rule_holds_for_its_path_and_as_often_as_it_says() {
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

/// Whether nobody answers at this address: a TLS server would send an alert.
fn is_mute(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"this is no TLS record\r\n").unwrap();
    loop {
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            heard => return matches!(heard, Err(error) if error.kind() == io::ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn a_black_hole_and_a_paused_server_take_connections_and_say_nothing() {
    let hole = BlackHole::start();
    assert!(is_mute(hole.address()));

    let cluster = Cluster::start();
    cluster.server.pause_accept();
    assert!(is_mute(cluster.server.address()));
    assert_eq!(cluster.server.connections(), 0);
    cluster.server.resume_accept();
    assert!(!is_mute(cluster.server.address()));
    assert_eq!(cluster.get(POD).code, 200);
}

#[test]
fn stop_is_prompt_whatever_the_server_is_doing() {
    // An address of its own: no other test can take the port once it is free.
    let builder = ApiServer::builder().bind("127.0.0.2").leaf(Leaf::named(&["127.0.0.2"]));
    let cluster = Cluster::of(builder.start());
    cluster.get(POD);
    cluster.server.fail_next(Fault::SilentHeader);
    cluster.server.fail_next(Fault::Drip { interval: SOON });
    cluster.server.fail_next(Fault::HugeBody { bytes: u64::MAX });
    let _mute = TcpStream::connect(cluster.server.address()).unwrap();
    // Nobody reads the huge body, so that the server blocks in a write.
    let unread = cluster.agent.clone();
    let url = format!("{}{SECRET}", cluster.server.url());
    thread::scope(|scope| {
        for count in 2..=4 {
            let (unread, url) = (&unread, &url);
            scope.spawn(move || unread.get(url).header("authorization", "Bearer test-token-1").call());
            poll_until(SOON, "the request has come", || cluster.server.requests().len() == count);
        }
        let started = Instant::now();
        cluster.server.stop();
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    });
    assert_eq!(cluster.server.open_connections(), 0);
    let refused = TcpStream::connect(cluster.server.address()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    cluster.server.start_again();
    assert_eq!(cluster.get(POD).code, 200);
}

#[test]
fn a_paused_server_stops_as_well_and_dropping_is_stopping() {
    // An address of its own: no other test can take the port once it is free.
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
    // A client may first learn from a failure that its pooled connection is gone.
    poll_until(SOON, "a new connection serves", || cluster.try_get(POD).is_ok());
    assert_eq!(cluster.server.connections(), 2);
}

#[test]
fn the_pod_folder_is_what_the_kubelet_mounts() {
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
fn a_command_sees_the_pods_environment_and_no_other() {
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
fn run_tells_how_a_process_ended() {
    let finished = run(shell("echo out; echo err >&2; exit 3"), SOON);
    assert_eq!((finished.code, finished.signal), (Some(3), None));
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_str()), (b"out\n".as_slice(), "err\n"));

    let mut running = Running::start(shell("echo ready; exec sleep 600"));
    poll_until(SOON, "it is ready", || running.stdout() == b"ready\n");
    running.send(rustix::process::Signal::TERM);
    assert_eq!(running.wait(SOON).signal, Some(15));
}

#[test]
#[should_panic(expected = "still at it")]
fn run_kills_what_takes_too_long_and_shows_what_it_said() {
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

/// Set where the test below runs this program again.
const PROBE: &str = "SUPPORT_WORKS_PROBE";

#[test]
fn what_is_missing_skips_a_test_unless_all_is_required() {
    if env::var_os(PROBE).is_some() {
        require("a unicorn", None::<()>);
        return;
    }
    let again = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "what_is_missing_skips_a_test_unless_all_is_required", "--nocapture"]);
        command.env(PROBE, "1").env_remove(REQUIRE);
        command
    };
    let skipped = run(again(), SOON);
    assert_eq!(skipped.code, Some(0));
    let said = |part: &str| assert!(skipped.stderr.contains(part), "{part}: {}", skipped.stderr);
    said("skipped: what_is_missing_skips_a_test_unless_all_is_required: a unicorn is missing");

    let mut strict = again();
    strict.env(REQUIRE, "all");
    assert_ne!(run(strict, SOON).code, Some(0));
}

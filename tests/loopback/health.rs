//! The sidecar's probes and metrics, and clients that misbehave.

use std::fs::{self, File};
use std::io::{Read, Write, stderr};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};

use crate::support::health::{Health, exchange, get, listening, status, unix_time};
use crate::support::run::{Finished, Running, poll_until, run};
use crate::support::server::{Fault, Kind, Times, WatchFault};
use crate::support::witness::STALE_SINCE;
use crate::{HANGS, PASSWORD, Scene, assert_code, assert_has};

/// A scene with a sidecar that serves probes and metrics.
pub(crate) struct Asked {
    pub(crate) scene: Scene,
    pub(crate) running: Running,
    pub(crate) health: Health,
}

impl Asked {
    /// Starts the sidecar with these arguments and waits until it listens.
    pub(crate) fn start(scene: Scene, args: &[&str]) -> Self {
        let mut command = scene.command(&["sidecar", "--listen", "127.0.0.1:0"]);
        command.args(args);
        Self::of(scene, command)
    }

    /// Starts this command, which must listen, and waits until it does.
    pub(crate) fn of(scene: Scene, command: Command) -> Self {
        let running = Running::start(command);
        let health = Health::of(&running, HANGS);
        Self { scene, running, health }
    }

    /// Starts the sidecar and waits until its first bundle is published and its watches are open.
    pub(crate) fn ready(scene: Scene, args: &[&str]) -> Self {
        let asked = Self::start(scene, args);
        asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
        asked.waits("its watch is open", || asked.scene.server.open_watches() > 0);
        asked
    }

    #[track_caller]
    pub(crate) fn waits(&self, what: &str, condition: impl FnMut() -> bool) {
        self.running.poll_until(HANGS, what, condition);
    }

    pub(crate) fn status(&self, path: &str) -> u16 {
        self.health.status(path)
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.health.metrics().get(name)
    }

    pub(crate) fn failures(&self, reason: &str) -> f64 {
        self.metric(&format!("podcreds_failures_total{{reason=\"{reason}\"}}"))
    }

    pub(crate) fn requests(&self, code: &str) -> f64 {
        self.metric(&format!("podcreds_api_requests_total{{code=\"{code}\"}}"))
    }

    #[track_caller]
    pub(crate) fn is_current(&self) {
        self.waits("nothing is stale", || self.metric(STALE_SINCE) == 0.0);
    }

    /// The files are stale since a time that has passed and stays; readiness and liveness stay too.
    #[track_caller]
    pub(crate) fn is_stale(&self) {
        let since = || self.metric(STALE_SINCE);
        self.waits("something is stale", || since() > 0.0);
        let first = since();
        assert!((0.0..120.0).contains(&(unix_time(SystemTime::now()) - first)), "stale since {first}");
        for path in ["/healthz", "/livez", "/readyz"] {
            assert_eq!(self.status(path), 200, "{path}");
        }
        assert_eq!(since(), first);
    }

    /// Waits until the log contains every part. The status changes before the log shows it.
    #[track_caller]
    pub(crate) fn logs(&self, parts: &[&str]) {
        self.waits(&format!("{parts:?} are logged"), || {
            let log = self.running.stderr();
            parts.iter().all(|part| log.contains(part))
        });
    }

    /// Waits until a file has this content.
    #[track_caller]
    pub(crate) fn arrives(&self, path: &str, content: &str) {
        self.waits(&format!("{path} is {content:?}"), || self.scene.read(path) == content);
    }

    #[track_caller]
    pub(crate) fn watches(&self, count: usize) {
        self.waits(&format!("{count} watches are open"), || self.scene.server.open_watches() == count);
    }

    fn probe(&self) -> Finished {
        self.probe_at(&self.health.address.to_string())
    }

    fn probe_at(&self, listen: &str) -> Finished {
        run(self.scene.command(&["probe", "--listen", listen]), HANGS)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = writeln!(stderr(), "--- log of the sidecar\n{}", self.running.stderr());
        }
    }
}

/// The metric of a credential.
pub(crate) fn stale_since(credential: &str) -> String {
    format!("podcreds_credential_stale_since_timestamp_seconds{{credential=\"{credential}\"}}")
}

fn two_secrets() -> Scene {
    let scene = Scene::new(&[("db.secret", "db"), ("more.secret", "more")]);
    scene.server.put_secret("prod", "more", &[("a", b"1")]);
    scene
}

#[test]
fn the_sidecar_is_ready_after_the_first_bundle() {
    let asked = Asked::start(Scene::new(&[("db.secret", "late")]), &[]);
    asked.waits("the missing Secret is reported", || asked.failures("api_refused") > 0.0);
    assert_eq!((asked.status("/readyz"), asked.status("/healthz")), (503, 200));
    assert!(asked.metric(STALE_SINCE) > 0.0, "nothing is current before the first bundle");
    assert_eq!(asked.metric("podcreds_last_success_timestamp_seconds"), 0.0);
    let probed = asked.probe();
    assert_code(&probed, 4);
    let said = "/readyz returned 503 Service Unavailable: these credentials have no files yet: credential db: Secret prod/late\n";
    // The message has no timestamp, so that the kubelet recognizes repeated failures as the same.
    assert!(
        probed.stderr.starts_with("the sidecar is not ready: http://") && probed.stderr.ends_with(said),
        "{}",
        probed.stderr
    );
    assert_eq!(probed.stderr.lines().count(), 1);

    asked.scene.server.put_secret("prod", "late", &[("password", PASSWORD.as_bytes())]);
    asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
    assert_eq!(asked.scene.read("db/password"), PASSWORD);
    assert_code(&asked.probe(), 0);
    asked.is_current();
}

#[test]
fn a_probe_without_a_response_times_out() {
    let asked = Asked::start(Scene::plain(), &[]);
    // A server that accepts connections and never responds, and a port without a server.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, why) in [(silent.local_addr().unwrap(), "not in time"), (gone, "refused")] {
        let probed = asked.probe_at(&address.to_string());
        assert_code(&probed, 4);
        assert_has(&probed.stderr, &["does not answer", why]);
        assert!(probed.elapsed < Duration::from_secs(4), "{:?}", probed.elapsed);
    }
    assert_code(&asked.probe_at("off"), 2);
    assert_code(&asked.probe_at("nonsense"), 2);
}

#[test]
fn a_failing_probe_keeps_the_sidecars_termination_message() {
    let scene = Scene::plain();
    fs::write(scene.pod.termination_log(), "the sidecar's own message").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_code(&run(scene.command(&["probe", "--listen", &gone.to_string()]), HANGS), 4);
    assert_code(&run(scene.command(&["probe", "--listen", "nonsense"]), HANGS), 2);
    assert_code(&run(scene.command(&["--wrong", "probe"]), HANGS), 2);
    let mut wrong_variable = scene.command(&["probe"]);
    wrong_variable.env("PODCREDS_PROBE_TIMEOUT", "soon");
    assert_code(&run(wrong_variable, HANGS), 2);
    assert_eq!(scene.pod.termination_message(), "the sidecar's own message");
}

#[test]
fn a_rotation_is_counted_and_measured() {
    let asked = Asked::ready(Scene::plain(), &[]);
    assert_eq!(asked.metric("podcreds_rotations_total"), 0.0, "the first bundle is not one");
    let before = asked.metric("podcreds_last_success_timestamp_seconds");
    asked.scene.put_password("test-password-1");
    asked.waits("the counter rises", || asked.metric("podcreds_rotations_total") == 1.0);
    assert_eq!(asked.scene.read("db/password"), "test-password-1");
    assert_eq!(asked.metric("podcreds_syncs_total{result=\"success\"}"), 2.0);
    assert_eq!(asked.metric("podcreds_syncs_total{result=\"failure\"}"), 0.0);
    assert!(asked.metric("podcreds_last_success_timestamp_seconds") > before);
    assert_eq!(asked.metric("podcreds_rotation_duration_seconds_count"), 1.0);
    let took = asked.metric("podcreds_rotation_duration_seconds_sum");
    assert!(took > 0.0 && took < HANGS.as_secs_f64(), "{took}");
    // Requests: the pod, the Secret and its watch. The event carries the new value, so that no request follows it.
    assert_eq!(asked.requests("200"), 3.0);
    assert_eq!(asked.requests("error"), 0.0);
    asked.is_current();
}

#[test]
fn files_written_by_init_make_the_sidecar_ready() {
    let scene = Scene::plain();
    assert_code(&scene.init(&[]), 0);
    let asked = Asked::ready(scene, &[]);
    assert_eq!(asked.metric("podcreds_syncs_total{result=\"success\"}"), 1.0);
    assert_eq!(asked.metric("podcreds_rotations_total"), 0.0);
    asked.scene.put_password("test-password-1");
    asked.waits("it is a rotation", || asked.metric("podcreds_rotations_total") == 1.0);
}

#[test]
fn the_rotation_delay_includes_failed_attempts() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let lock = File::open(asked.scene.pod.volume().join("..podcreds/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    asked.scene.put_password("test-password-1");
    asked.is_stale();
    let since = asked.metric(STALE_SINCE);
    let stale = unix_time(SystemTime::now()) - since;
    flock(&lock, FlockOperation::Unlock).unwrap();
    asked.waits("the counter rises", || asked.metric("podcreds_rotations_total") == 1.0);
    let took = asked.metric("podcreds_rotation_duration_seconds_sum");
    assert!(took >= stale, "{took} s, after {stale} s of staleness");
}

#[test]
fn a_forbidden_source_is_stale_until_it_is_read_again() {
    let asked = Asked::ready(two_secrets(), &[]);
    asked.watches(2);
    asked.is_current();
    asked.scene.server.forbid(Kind::Secret, "prod", "more");
    // An open watch carries the object even after the permission to get it was revoked.
    asked.scene.server.break_watches(WatchFault::End);
    asked.scene.server.put_secret("prod", "more", &[("a", b"2")]);
    asked.is_stale();
    assert_eq!(asked.metric(&stale_since("db")), 0.0);
    assert!(asked.metric(&stale_since("more")) > 0.0);
    // A change from another source does not make it current.
    asked.scene.put_password("test-password-1");
    asked.waits("the other is followed", || asked.scene.read("db/password") == "test-password-1");
    asked.is_stale();
    assert!(asked.failures("api_refused") >= 1.0 && asked.requests("403") >= 1.0);
    assert_eq!(asked.failures("api_unreachable"), 0.0);

    asked.scene.server.allow(Kind::Secret, "prod", "more");
    asked.is_current();
    asked.waits("it is written", || asked.scene.read("more/a") == "2");
}

#[test]
fn kept_files_of_a_deleted_secret_are_stale() {
    let asked = Asked::ready(two_secrets(), &[]);
    asked.waits("both watches are open", || asked.scene.server.open_watches() == 2);
    asked.scene.server.delete(Kind::Secret, "prod", "more");
    asked.is_stale();
    asked.waits("it is read again", || asked.requests("404") >= 1.0);
    assert!(asked.failures("api_refused") >= 1.0);
    asked.scene.server.put_secret("prod", "more", &[("a", b"2")]);
    asked.is_current();
    asked.waits("it is written", || asked.scene.read("more/a") == "2");
}

#[test]
fn cleared_files_of_a_deleted_secret_are_not_stale() {
    let asked = Asked::ready(two_secrets(), &["--on-delete", "clear"]);
    asked.waits("both watches are open", || asked.scene.server.open_watches() == 2);
    asked.scene.server.delete(Kind::Secret, "prod", "more");
    asked.waits("they are cleared", || asked.metric("podcreds_rotations_total") == 1.0);
    assert_eq!(asked.failures("api_refused"), 0.0);
    asked.is_current();
}

#[test]
fn a_cleared_source_is_not_stale_when_it_is_read_again() {
    let asked =
        Asked::start(two_secrets(), &["--on-delete", "clear", "--sync", "poll", "--poll-interval", "100ms"]);
    asked.waits("the sidecar is ready", || asked.status("/readyz") == 200);
    asked.scene.server.delete(Kind::Secret, "prod", "more");
    asked.waits("the request is repeated", || asked.requests("404") > 3.0);
    assert_eq!(asked.failures("api_refused"), 0.0);
    asked.is_current();
}

#[test]
fn polling_without_the_watch_permission_keeps_it_current() {
    let scene = Scene::plain();
    scene.server.forbid_watch(Kind::Secret, "prod", "db");
    let asked = Asked::start(scene, &["--poll-interval", "50ms"]);
    asked.waits("it polls", || asked.requests("403") > 3.0);
    asked.is_current();
    assert_eq!(asked.failures("api_refused"), 0.0);
    asked.scene.server.forbid(Kind::Secret, "prod", "db");
    asked.is_stale();
}

#[test]
fn a_failed_rendering_or_write_is_stale_with_its_reason() {
    let asked = Asked::ready(Scene::new(&[("db.secret", "db"), ("db.keys", "username,password")]), &[]);
    asked.scene.server.put_secret("prod", "db", &[("username", b"app")]);
    asked.is_stale();
    assert_eq!(asked.failures("render"), 1.0);
    asked.scene.put_password("test-password-1");
    asked.is_current();

    let volume = File::open(asked.scene.pod.volume().join("..podcreds/lock")).unwrap();
    flock(&volume, FlockOperation::LockExclusive).unwrap();
    asked.scene.put_password("test-password-2");
    asked.is_stale();
    assert!(asked.failures("volume") >= 1.0);
    assert!(asked.metric("podcreds_syncs_total{result=\"failure\"}") >= 2.0);
    flock(&volume, FlockOperation::Unlock).unwrap();
    asked.is_current();
    assert_eq!(asked.scene.read("db/password"), "test-password-2");
}

#[test]
fn metrics_name_credentials_and_sources_and_contain_no_secret_and_no_keys() {
    let asked = Asked::ready(Scene::new(&[("login.secret", "db")]), &[]);
    asked.is_current();
    let text = get(asked.health.address, "/metrics");
    assert_has(&text, &["Content-Type: text/plain; version=0.0.4", "podcreds_build_info{version=\""]);
    assert_has(&text, &[&format!("{} 0\n", stale_since("login"))]);
    assert_has(
        &text,
        &["podcreds_source_info{kind=\"Secret\",namespace=\"prod\",name=\"db\",resource_version=\""],
    );
    for hidden in [PASSWORD, "test-token", "password", "username", "app-0"] {
        assert!(!text.contains(hidden), "{hidden} is in\n{text}");
    }
}

#[test]
fn the_process_metrics_are_those_of_the_sidecar() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let now = unix_time(SystemTime::now());
    let metrics = asked.health.metrics();
    assert!((now - 120.0..=now).contains(&metrics.get("process_start_time_seconds")), "{metrics:?}");
    assert!(metrics.get("process_cpu_seconds_total") <= 60.0, "{metrics:?}");
    let fds = metrics.get("process_open_fds");
    assert!((4.0..=metrics.get("process_max_fds")).contains(&fds), "{metrics:?}");
    let resident = metrics.get("process_resident_memory_bytes");
    assert!((100_000.0..metrics.get("process_virtual_memory_bytes")).contains(&resident), "{metrics:?}");
    // The main loop, the HTTP server and the watch.
    assert!(metrics.get("process_threads") >= 3.0, "{metrics:?}");
}

#[test]
fn a_slow_request_does_not_turn_healthz_red() {
    // Longer than the margin that every loop has.
    let asked = Asked::ready(Scene::plain(), &["--request-timeout", "14s", "--timeout", "14s"]);
    asked.scene.server.fail_on("/secrets/db", Fault::SilentHeader, Times::Once);
    asked.scene.server.break_watches(WatchFault::End);
    asked.scene.put_password("test-password-1");
    asked.waits("the request times out", || {
        assert_eq!(asked.status("/healthz"), 200);
        asked.running.stderr().contains("waiting for the first byte")
    });
    asked.waits("the change arrives", || asked.scene.read("db/password") == "test-password-1");
}

#[test]
fn a_stuck_loop_fails_healthz_and_livez_and_is_named() {
    let asked = Asked::ready(Scene::plain(), &["--timeout", "1s"]);
    assert_eq!(asked.status("/healthz"), 200);
    // Opening a FIFO without a writer blocks forever.
    let token = asked.scene.pod.service_account().join("token");
    fs::remove_file(&token).unwrap();
    mknodat(CWD, &token, FileType::Fifo, Mode::RWXU, 0).unwrap();
    asked.scene.server.break_watches(WatchFault::End);
    asked.waits("the liveness probe fails", || asked.status("/healthz") == 503);
    for path in ["/healthz", "/livez"] {
        assert_has(&get(asked.health.address, path), &["503 ", "stuck: read of Secret prod/db"]);
    }
    assert_eq!((asked.status("/readyz"), asked.status("/metrics")), (200, 200));
}

#[test]
fn silent_and_slow_clients_do_not_delay_others() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let address = asked.health.address;
    let mut silent: Vec<_> = (0..16).map(|_| TcpStream::connect(address).unwrap()).collect();
    let drip = TcpStream::connect(address).unwrap();
    let mut dripping = drip.try_clone().unwrap();
    let dripper = thread::spawn(move || {
        for byte in "GET /metrics HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'x')) {
            if dripping.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    for _ in 0..50 {
        assert_eq!(asked.status("/healthz"), 200);
    }
    // Many clients that connect at once.
    silent.extend((0..200).map(|_| TcpStream::connect(address).unwrap()));
    assert_eq!(asked.status("/healthz"), 200);
    let _ = drip.shutdown(Shutdown::Both);
    dripper.join().unwrap();
}

#[test]
fn every_client_has_a_time_limit() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let connect = || {
        let stream = TcpStream::connect(asked.health.address).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
        stream
    };
    let started = Instant::now();
    let (mut silent, mut dripping, mut deaf) = (connect(), connect(), connect());
    deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut drip = dripping.try_clone().unwrap();
    let dripper = thread::spawn(move || {
        while drip.write_all(b"G").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    for stream in [&mut silent, &mut dripping] {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    let took = started.elapsed();
    assert!((4.5..9.0).contains(&took.as_secs_f64()), "{took:?}");
    dripper.join().unwrap();
    // The client that did not read still finds its response.
    let mut answer = String::new();
    deaf.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200);
}

#[test]
fn each_invalid_request_gets_its_status() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    let body = format!("POST /metrics HTTP/1.1\r\nContent-Length: 20000\r\n\r\n{}", "x".repeat(20_000));
    for (request, code) in [
        (long.as_bytes(), 431),
        (body.as_bytes(), 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"\0\0\0", 400),
        (b"\xff\xfe / HTTP/1.1\r\n\r\n", 400),
        (b"GET /../metrics HTTP/1.1\r\n\r\n", 404),
    ] {
        let answer = exchange(asked.health.address, request);
        assert_eq!(status(&answer), code, "{answer}");
        assert_has(&answer, &["\r\nConnection: close\r\n"]);
    }
    let head = exchange(asked.health.address, b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    // A request that is cut off in the middle.
    let mut cut = TcpStream::connect(asked.health.address).unwrap();
    cut.write_all(b"GET /metrics HTT").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    cut.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 400);
}

#[test]
fn a_client_that_is_still_sending_gets_its_response() {
    let asked = Asked::ready(Scene::plain(), &[]);
    let mut stream = TcpStream::connect(asked.health.address).unwrap();
    stream.write_all(b"POST /metrics HTTP/1.1\r\nContent-Length: 20000\r\n\r\n").unwrap();
    for _ in 0..20 {
        stream.write_all(&[b'x'; 1000]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 405);
}

#[test]
fn an_address_that_cannot_be_bound_is_a_usage_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let scene = Scene::plain();
    let finished = run(scene.command(&["sidecar", "--listen", &address]), HANGS);
    assert_code(&finished, 2);
    assert_has(&finished.stderr, &["cannot listen on ", &address, "in use", "--listen"]);
    assert!(scene.pod.termination_message().contains(&address));
    assert_code(&run(scene.command(&["sidecar", "--listen", "localhost"]), HANGS), 2);
}

#[test]
fn a_port_alone_listens_on_ipv4_too() {
    let scene = Scene::plain();
    let running = Running::start(scene.command(&["sidecar", "--listen", ":0"]));
    let port = Health::of(&running, HANGS).address.port();
    let local = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(status(&get(local, "/healthz")), 200);
}

#[test]
fn listen_off_opens_no_port() {
    let scene = Scene::plain();
    let running = Running::start(scene.command(&["sidecar", "--listen", "off"]));
    poll_until(HANGS, "the first bundle is published", || scene.read("db/password") == PASSWORD);
    assert!(listening(&running).is_none());
}

#[test]
fn json_lines_of_a_sidecar_name_their_object_and_bundle() {
    let scene = Scene::plain();
    let running = Running::start(scene.command(&["sidecar", "--listen", "off", "--log-format", "json"]));
    poll_until(HANGS, "it is watched", || scene.server.open_watches() == 1);
    scene.server.delete(Kind::Secret, "prod", "db");
    let lines = || {
        let said = running.stderr();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.collect::<Vec<_>>()
    };
    let warning = || lines().into_iter().find(|line| line["level"] == "warn");
    poll_until(HANGS, "the deletion is logged", || warning().is_some());
    let warning = warning().unwrap();
    let object = ["namespace", "kind", "name"].map(|field| warning[field].as_str());
    assert_eq!(object, [Some("prod"), Some("Secret"), Some("db")], "{warning}");
    assert!(warning.get("cluster").is_none(), "{warning}");
    let bundles: Vec<_> =
        lines().iter().filter_map(|line| line["bundle"].as_str().map(str::to_owned)).collect();
    let bundle = fs::read_link(scene.pod.volume().join("db/..data")).unwrap();
    assert_eq!(bundles, [bundle.to_str().unwrap()]);
}

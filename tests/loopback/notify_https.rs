//! Notifications to a URL with `https` or a header: which servers are trusted, and which header they get.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::ring;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::pki::{Authority, Issued, Leaf};
use crate::support::run::{Running, run};
use crate::{HANGS, Scene};

const TOKEN: &str = "test-reload-token-a1";
const NEW_TOKEN: &str = "test-reload-token-b2";

/// A request that an application received.
struct Received {
    line: String,
    authorization: Option<String>,
    body: String,
}

/// An application with a reload endpoint.
struct Application {
    port: u16,
    state: Arc<Mutex<State>>,
    received: Receiver<Received>,
}

struct State {
    /// `None` means plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    /// The only accepted `Authorization` header. `None` means that any request is.
    accepted: Option<String>,
    /// Where requests are redirected to.
    location: Option<String>,
}

fn config(issued: &Issued) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(issued.chain(), issued.key()).unwrap())
}

impl Application {
    /// Starts an application that shows this certificate.
    fn start(issued: Option<&Issued>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { tls: issued.map(config), accepted: None, location: None };
        let state = Arc::new(Mutex::new(state));
        let (sender, received) = mpsc::channel();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let tls = shared.lock().unwrap().tls.clone();
                let answer = |received: &Received| answer(&shared.lock().unwrap(), received);
                // A client that rejects the certificate ends the connection.
                let request = match tls {
                    Some(tls) => {
                        serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), &answer)
                    }
                    None => serve(stream, &answer),
                };
                if request.is_some_and(|request| sender.send(request).is_err()) {
                    return;
                }
            }
        });
        Self { port, state, received }
    }

    /// Starts an application with a certificate of this authority.
    fn of(authority: &Authority) -> Self {
        Self::start(Some(&authority.issue(&Leaf::default()).unwrap()))
    }

    fn accept(&self, token: &str) {
        self.state.lock().unwrap().accepted = Some(format!("Bearer {token}"));
    }

    fn next(&self, running: &Running) -> Received {
        self.received.recv_timeout(HANGS).unwrap_or_else(|_| panic!("{}", running.stderr()))
    }
}

fn answer(state: &State, received: &Received) -> String {
    let status = match (&state.location, &state.accepted) {
        (Some(location), _) => format!("307 Temporary Redirect\r\nlocation: {location}"),
        (None, Some(accepted)) if received.authorization.as_ref() != Some(accepted) => {
            "401 Unauthorized".to_owned()
        }
        (None, _) => "204 No Content".to_owned(),
    };
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn serve(stream: impl Read + Write, answer: &dyn Fn(&Received) -> String) -> Option<Received> {
    let mut stream = BufReader::new(stream);
    let mut received = Received { line: String::new(), authorization: None, body: String::new() };
    stream.read_line(&mut received.line).ok()?;
    received.line.truncate(received.line.trim_end().len());
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                assert_eq!(received.authorization.replace(value.to_owned()), None, "one header");
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    received.body = String::from_utf8(body).unwrap();
    stream.get_mut().write_all(answer(&received).as_bytes()).ok()?;
    stream.get_mut().flush().ok()?;
    (!received.line.is_empty()).then_some(received)
}

/// A sidecar that notifies with a header, and the file of authorities that it reads.
struct Notifying {
    scene: Scene,
    running: Running,
    ca: PathBuf,
}

impl Notifying {
    /// `ca` is the content of the file; `None` means that the flag is not set.
    fn start(on_change: &str, ca: Option<&str>, annotations: &[(&str, &str)]) -> Self {
        let base = [("db.secret", "db"), ("db.template", "{{ password }}"), ("db.on-change", on_change)];
        let scene = Scene::new(&[&base[..], annotations].concat());
        put(&scene, "test-password-1", TOKEN);
        let mut command = scene.command(&["sidecar", "--listen", "off"]);
        command.env("RUST_LOG", "trace,ureq=trace,rustls=trace");
        let path = scene.pod.root().join("reload-ca.crt");
        // No authorities of the system.
        command.env("SSL_CERT_FILE", scene.pod.root().join("none")).env_remove("SSL_CERT_DIR");
        if let Some(ca) = ca {
            fs::write(&path, ca).unwrap();
            command.arg("--on-change-ca").arg(&path);
        }
        let running = Running::start(command);
        running.poll_until(HANGS, "the watch is open", || scene.server.open_watches() == 1);
        running.poll_until(HANGS, "the files are there", || scene.read("db.txt") == "test-password-1");
        Self { scene, running, ca: path }
    }

    fn rotate(&self, password: &str, token: &str) {
        put(&self.scene, password, token);
        self.running.poll_until(HANGS, password, || self.scene.read("db.txt") == password);
    }

    /// Waits for a line of the log.
    #[track_caller]
    fn says(&self, part: &str) {
        self.running.poll_until(HANGS, part, || self.running.stderr().contains(part));
    }
}

fn put(scene: &Scene, password: &str, token: &str) {
    let data = [("username", &b"app"[..]), ("password", password.as_bytes()), ("token", token.as_bytes())];
    scene.server.put_secret("prod", "db", &data);
}

const BEARER: (&str, &str) = ("db.on-change-header", "Authorization: Bearer {{ token }}");

#[test]
fn an_application_with_a_certificate_of_the_file_gets_the_header() {
    let authority = Authority::new();
    let application = Application::of(&authority);
    application.accept(TOKEN);
    // The certificate is valid for the name and for the address.
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("POST https://{host}:{}/reload", application.port);
        let notifying = Notifying::start(&url, Some(&authority.pem()), &[BEARER]);
        notifying.rotate("test-password-2", TOKEN);
        let received = application.next(&notifying.running);
        assert_eq!(received.line, "POST /reload HTTP/1.1");
        assert_eq!(received.authorization, Some(format!("Bearer {TOKEN}")));
        let body: Value = serde_json::from_str(&received.body).unwrap();
        assert_eq!(body["credentials"], serde_json::json!(["db"]));
        notifying.says("notified of version");
        assert!(!notifying.running.stderr().contains("retrying"), "{}", notifying.running.stderr());
    }
}

#[test]
fn the_authorities_of_the_system_are_trusted_too() {
    let (of_system, of_file) = (Authority::named("system"), Authority::named("mesh"));
    for authority in [&of_system, &of_file] {
        let application = Application::of(authority);
        let scene = Scene::new(&[
            ("db.secret", "db"),
            ("db.on-change", &format!("GET https://localhost:{}/x", application.port)),
        ]);
        let (system, file) = (scene.pod.root().join("system.crt"), scene.pod.root().join("mesh.crt"));
        fs::write(&system, of_system.pem()).unwrap();
        fs::write(&file, of_file.pem()).unwrap();
        let mut command = scene.command(&["sidecar", "--listen", "off"]);
        command.env("SSL_CERT_FILE", &system).env_remove("SSL_CERT_DIR").env("PODCREDS_ON_CHANGE_CA", &file);
        let running = Running::start(command);
        running.poll_until(HANGS, "the watch is open", || scene.server.open_watches() == 1);
        scene.put_password("test-password-2");
        let received = application.next(&running);
        assert_eq!((received.line.as_str(), received.authorization), ("GET /x HTTP/1.1", None));
    }
}

#[test]
fn without_a_file_only_the_authorities_of_the_system_are_trusted() {
    let application = Application::of(&Authority::named("mesh"));
    let scene = Scene::new(&[
        ("db.secret", "db"),
        ("db.on-change", &format!("GET https://localhost:{}/x", application.port)),
    ]);
    let system = scene.pod.root().join("system.crt");
    fs::write(&system, Authority::named("system").pem()).unwrap();
    let mut command = scene.command(&["sidecar", "--listen", "off"]);
    command.env("SSL_CERT_FILE", &system).env_remove("SSL_CERT_DIR");
    let running = Running::start(command);
    running.poll_until(HANGS, "the watch is open", || scene.server.open_watches() == 1);
    scene.put_password("test-password-2");
    let part = "no certificate authority of this system has signed its certificate: mount";
    running.poll_until(HANGS, part, || running.stderr().contains(part));
    assert!(application.received.try_recv().is_err());
}

#[test]
fn a_replaced_authority_is_used_without_a_restart() {
    let (old, new) = (Authority::named("old"), Authority::named("new"));
    let application = Application::of(&old);
    let url = format!("POST https://localhost:{}/reload", application.port);
    let notifying = Notifying::start(&url, Some(&old.pem()), &[]);
    notifying.rotate("test-password-2", TOKEN);
    application.next(&notifying.running);
    let issued = new.issue(&Leaf::default()).unwrap();
    application.state.lock().unwrap().tls = Some(config(&issued));
    notifying.rotate("test-password-3", TOKEN);
    notifying.says("TLS handshake failed: no certificate authority of ");
    fs::write(&notifying.ca, new.pem()).unwrap();
    application.next(&notifying.running);
}

#[test]
fn a_server_that_cannot_be_verified_gets_no_request_and_the_message_says_what_to_do() {
    let authority = Authority::new();
    let good = || authority.issue(&Leaf::default()).unwrap();
    let (pem, other) = (authority.pem(), Authority::new().pem());
    for (issued, ca, part) in [
        (
            good(),
            Some(other.as_str()),
            "reload-ca.crt (--on-change-ca) or of this system has signed its certificate: add",
        ),
        (
            good(),
            None,
            "no certificate authority to verify the server with, as podcreds' image has none: mount",
        ),
        (good(), Some("garbage"), "--on-change-ca: "),
        (authority.issue(&Leaf::expired()).unwrap(), Some(&pem), "its certificate has expired"),
        (authority.issue(&Leaf::not_yet_valid()).unwrap(), Some(&pem), "its certificate is not valid yet"),
        (
            authority.issue(&Leaf::named(&["app.prod.svc"])).unwrap(),
            Some(&pem),
            "it is for app.prod.svc: write one of these in the URL of .on-change",
        ),
        (Leaf::default().self_signed(), Some(&pem), "has signed its certificate"),
    ] {
        let application = Application::start(Some(&issued));
        let url = format!("POST https://localhost:{}/reload", application.port);
        let notifying = Notifying::start(&url, ca, &[BEARER]);
        notifying.rotate("test-password-2", TOKEN);
        notifying.says("retrying until it succeeds");
        let log = notifying.running.stderr();
        assert!(log.contains(part), "{part}: {log}");
        assert!(application.received.try_recv().is_err(), "{part}");
        let is_early = ca.is_none_or(|ca| ca == "garbage");
        let warnings = log.matches("until this is fixed, its notifications fail").count();
        assert_eq!(warnings, usize::from(is_early), "{log}");
    }
}

#[test]
fn a_missing_file_of_authorities_is_used_as_soon_as_it_exists() {
    let authority = Authority::new();
    let application = Application::of(&authority);
    let url = format!("POST https://localhost:{}/reload", application.port);
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", &url)]);
    let file = scene.pod.root().join("reload-ca.crt");
    let mut command = scene.command(&["sidecar", "--listen", "off"]);
    command.arg("--on-change-ca").arg(&file);
    let running = Running::start(command);
    running.poll_until(HANGS, "the watch is open", || scene.server.open_watches() == 1);
    let warned = "reload-ca.crt cannot be read: No such file or directory";
    running.poll_until(HANGS, "a warning", || running.stderr().contains(warned));
    scene.put_password("test-password-2");
    running.poll_until(HANGS, "an attempt", || running.stderr().contains("retrying until it succeeds"));
    fs::write(&file, authority.pem()).unwrap();
    application.next(&running);
}

#[test]
fn a_new_token_replaces_one_that_is_refused_and_causes_no_notification_itself() {
    let authority = Authority::new();
    let application = Application::of(&authority);
    application.accept(NEW_TOKEN);
    let url = format!("POST https://localhost:{}/reload", application.port);
    let notifying = Notifying::start(&url, Some(&authority.pem()), &[BEARER]);
    notifying.rotate("test-password-2", TOKEN);
    notifying.says("HTTP status 401 Unauthorized: check the header in .on-change-header");
    assert_eq!(application.next(&notifying.running).authorization, Some(format!("Bearer {TOKEN}")));
    // Only the field of the header changes.
    put(&notifying.scene, "test-password-2", NEW_TOKEN);
    notifying.says("notified of version");
    let last = || application.received.try_iter().last().and_then(|received| received.authorization);
    notifying.running.poll_until(HANGS, "the new token", || last() == Some(format!("Bearer {NEW_TOKEN}")));

    application.accept(TOKEN);
    put(&notifying.scene, "test-password-2", TOKEN);
    notifying.rotate("test-password-3", TOKEN);
    // If the change of the token had caused a notification, that one would be first.
    let received = application.next(&notifying.running);
    assert_eq!(received.authorization, Some(format!("Bearer {TOKEN}")));
    assert!(application.received.try_recv().is_err(), "{}", notifying.running.stderr());
    for token in [TOKEN, NEW_TOKEN] {
        assert!(!notifying.running.stderr().contains(token), "{}", notifying.running.stderr());
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let authority = Authority::new();
    let (application, other) = (Application::of(&authority), Application::of(&authority));
    application.state.lock().unwrap().location = Some(format!("https://localhost:{}/", other.port));
    let url = format!("POST https://localhost:{}/reload", application.port);
    let notifying = Notifying::start(&url, Some(&authority.pem()), &[BEARER]);
    notifying.rotate("test-password-2", TOKEN);
    notifying.says("HTTP status 307 Temporary Redirect: podcreds follows no redirect");
    application.next(&notifying.running);
    assert!(other.received.try_recv().is_err(), "no request, and no header");
}

#[test]
fn each_application_gets_its_own_header() {
    let authority = Authority::new();
    let application = Application::of(&authority);
    let at = |path: &str| format!("POST https://localhost:{}{path}", application.port);
    let (same, other) = (at("/reload"), at("/other"));
    let notifying = Notifying::start(
        &same,
        Some(&authority.pem()),
        &[
            BEARER,
            ("second.secret", "db"),
            ("second.template", "{{ password }}"),
            ("second.on-change", &same),
            ("second.on-change-header", "Authorization: Key {{ username }}"),
            ("third.secret", "db"),
            ("third.template", "{{ password }}"),
            ("third.on-change", &other),
        ],
    );
    notifying.rotate("test-password-2", TOKEN);
    let mut received: Vec<_> = (0..3)
        .map(|_| {
            let Received { line, authorization, .. } = application.next(&notifying.running);
            (line, authorization.unwrap_or_default())
        })
        .collect();
    received.sort();
    let expected = [("/other", ""), ("/reload", &format!("Bearer {TOKEN}")), ("/reload", "Key app")];
    assert_eq!(received, expected.map(|(path, header)| (format!("POST {path} HTTP/1.1"), header.to_owned())));
}

#[test]
fn an_edited_annotation_sends_the_header_that_it_describes() {
    let authority = Authority::new();
    let application = Application::of(&authority);
    application.accept(TOKEN);
    let url = format!("POST https://localhost:{}/reload", application.port);
    let base = [("db.secret", "db"), ("db.template", "{{ password }}"), ("db.on-change", url.as_str())];
    let scene = Scene::new(&base);
    put(&scene, "test-password-1", TOKEN);
    let ca = scene.pod.root().join("reload-ca.crt");
    fs::write(&ca, authority.pem()).unwrap();
    let mut command = scene.command(&["sidecar", "--listen", "off", "--follow-annotations"]);
    command.arg("--on-change-ca").arg(&ca);
    let running = Running::start(command);
    running.poll_until(HANGS, "the watches are open", || scene.server.open_watches() == 2);
    put(&scene, "test-password-2", TOKEN);
    let refused = "HTTP status 401 Unauthorized: set the header that the URL requires with .on-change-header";
    running.poll_until(HANGS, "it is refused", || running.stderr().contains(refused));
    scene.annotate(&[&base[..], &[BEARER]].concat());
    let expected = Some(format!("Bearer {TOKEN}"));
    running.poll_until(HANGS, "the header", || {
        application.received.try_iter().any(|received| received.authorization == expected)
    });
}

#[test]
fn a_header_over_plain_http_to_another_host_is_reported() {
    let application = Application::start(None);
    application.accept(TOKEN);
    let url = format!("POST http://127.0.0.1:{}/reload", application.port);
    let notifying = Notifying::start(&url, None, &[BEARER]);
    notifying.rotate("test-password-2", TOKEN);
    assert_eq!(application.next(&notifying.running).authorization, Some(format!("Bearer {TOKEN}")));
    notifying.says("notified of version");
    assert!(!notifying.running.stderr().contains("unencrypted"), "{}", notifying.running.stderr());
    let notifying = Notifying::start("POST http://app.invalid/reload", None, &[BEARER]);
    notifying.says("the header travels unencrypted over the network: use https");
}

#[test]
fn render_shows_the_name_of_the_header_and_hides_its_value() {
    let scene = Scene::new(&[("db.secret", "db"), ("db.on-change", "POST https://app/x"), BEARER]);
    put(&scene, "test-password-1", TOKEN);
    let shown = run(scene.command(&["render"]), HANGS).stdout_text();
    assert!(
        shown.ends_with(
            "# header of the notification of credential db (in no file)\nAuthorization: ********\n\n"
        ),
        "{shown}"
    );
    assert!(!shown.contains(TOKEN), "{shown}");
    let shown = run(scene.command(&["render", "--reveal"]), HANGS).stdout_text();
    assert!(shown.ends_with(&format!("\nAuthorization: Bearer {TOKEN}\n\n")), "{shown}");
}

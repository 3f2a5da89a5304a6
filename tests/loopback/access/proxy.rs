//! Forward proxies on the way: tinyproxy of Debian, with its own configuration on a port of its own, and one of ours where it
//! matters what it was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use serde_json::{Value, json};

use super::Outside;
use crate::support::home::{kubeconfig, text};
use crate::support::pki::{Authority, Leaf};
use crate::support::run::{Running, poll_until, run};
use crate::support::server::{ApiServer, NAMESPACE, TOKEN};
use crate::support::skip::require;
use crate::{HANGS, PASSWORD, PODCREDS, assert_code, assert_has};

/// What a proxy knows somebody by, as it stands in a URL and as it is.
const USER: &str = "test-user:test-secret%2D1";
const PROXY_PASSWORD: &str = "test-secret";

/// A program that serves a port of 127.0.0.1, ended when this is dropped.
struct Daemon {
    port: u16,
    running: Running,
}

impl Daemon {
    /// Starts what `command` makes for a port that is free, once it listens; none where the program is not installed.
    fn start(program: &str, command: impl Fn(u16) -> Command) -> Option<Self> {
        let found = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(program));
        require(program, found.iter().find(|path| path.exists()))?;
        // Somebody else may take the port meanwhile.
        let last = (0..10).find_map(|_| Self::at(free_port(), &command).ok());
        Some(last.unwrap_or_else(|| Self::at(free_port(), &command).unwrap_or_else(|said| panic!("{said}"))))
    }

    /// The same on this port.
    ///
    /// # Errors
    /// What it said when it ended.
    fn at(port: u16, command: impl Fn(u16) -> Command) -> Result<Self, String> {
        let mut daemon = Self { port, running: Running::start(command(port)) };
        let mut is_up = false;
        poll_until(HANGS, "the proxy listens or ends", || {
            is_up = TcpStream::connect(("127.0.0.1", port)).is_ok();
            is_up || !daemon.running.is_alive()
        });
        if is_up && daemon.running.is_alive() { Ok(daemon) } else { Err(daemon.running.wait(HANGS).stderr) }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// tinyproxy, with these lines in its configuration too, and its log beside the kubeconfig.
fn tinyproxy(outside: &Outside, lines: &str) -> Option<Daemon> {
    Daemon::start("tinyproxy", |port| tinyproxy_at(outside, port, lines))
}

fn tinyproxy_at(outside: &Outside, port: u16, lines: &str) -> Command {
    let log = outside.home.put("proxy.log", "");
    let config = format!(
        "Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 600\nMaxClients 50\nLogFile \"{}\"\nLogLevel Connect\n{lines}\n",
        text(&log)
    );
    let mut command = Command::new("tinyproxy");
    command.args(["-d", "-c"]).arg(outside.home.put("proxy.conf", &config));
    command
}

/// How often the proxy was asked to connect to the server.
fn asked(outside: &Outside) -> usize {
    let connect = format!("CONNECT {} HTTP/1.1", outside.server.address());
    fs::read_to_string(outside.home.path("proxy.log")).unwrap().matches(&connect).count()
}

impl Outside {
    /// Puts a kubeconfig in place that names this proxy.
    fn goes_through(&self, proxy: &str) {
        self.enters(&self.cluster(&json!({"proxy-url": proxy})));
    }
}

#[test]
fn what_is_read_once_goes_through_the_proxy() {
    let outside = Outside::new();
    let Some(proxy) = tinyproxy(&outside, "") else { return };
    for (host, times) in [("127.0.0.1", 1), ("localhost", 2)] {
        outside.goes_through(&format!("http://{host}:{}", proxy.port));
        assert_code(&outside.init(&[]), 0);
        assert_eq!((outside.read().as_str(), asked(&outside)), (PASSWORD, times));
    }
}

#[test]
fn a_watch_lasts_through_the_proxy_and_comes_back_after_it() {
    let outside = Outside::new();
    let Some(proxy) = tinyproxy(&outside, "") else { return };
    outside.goes_through(&format!("http://127.0.0.1:{}", proxy.port));
    let sidecar = outside.sidecar(&["--poll-interval", "200ms"]);
    let waits = |what: &str, condition: &mut dyn FnMut() -> bool| {
        poll_until(HANGS, what, condition);
    };
    waits("the first bundle is out", &mut || outside.read() == PASSWORD);
    let watches = || outside.server.request_lines().iter().filter(|line| line.contains("watch=true")).count();
    waits("it is watched", &mut || watches() == 1);
    for password in ["test-password-1", "test-password-2", "test-password-3"] {
        outside.put_password(password);
        waits("the change arrives", &mut || outside.read() == password);
    }
    assert_eq!(watches(), 1);
    assert!(asked(&outside) > 0);

    let (port, through) = (proxy.port, format!("through the proxy 127.0.0.1:{}: ", proxy.port));
    drop(proxy);
    waits("the proxy is missed", &mut || sidecar.stderr().contains(&through));
    outside.put_password("test-password-4");
    let proxy = Daemon::at(port, |port| tinyproxy_at(&outside, port, "")).expect("the port is free again");
    waits("the change arrives", &mut || outside.read() == "test-password-4");
    drop(proxy);
}

#[test]
fn a_proxy_that_asks_who_comes_is_told() {
    let outside = Outside::new();
    let Some(proxy) = tinyproxy(&outside, "BasicAuth test-user test-secret-1") else { return };
    outside.goes_through(&format!("http://{USER}@127.0.0.1:{}", proxy.port));
    let finished = outside.init(&["--log-level", "debug"]);
    assert_code(&finished, 0);
    assert_eq!(outside.read(), PASSWORD);
    assert!(!finished.stderr.contains(PROXY_PASSWORD), "{}", finished.stderr);

    for user in ["", "test-user:test-secret-2@", "other:test-secret%2D1@", "test-user@"] {
        outside.goes_through(&format!("http://{user}127.0.0.1:{}", proxy.port));
        let finished = outside.fails(&["--log-level", "debug"], &[]);
        let said = format!("the proxy 127.0.0.1:{} requires a valid user and password (", proxy.port);
        assert_has(&finished.stderr, &[&said, "http://user:password@host:port"]);
        assert!(!finished.stderr.contains(PROXY_PASSWORD), "{}", finished.stderr);
    }
}

#[test]
fn a_proxy_that_is_down_or_lets_nobody_through_is_named() {
    let outside = Outside::new();
    let port = free_port();
    outside.goes_through(&format!("http://{USER}@127.0.0.1:{port}"));
    let said = format!("through the proxy 127.0.0.1:{port}: Connection refused");
    let finished = outside.fails(&[], &[&outside.server.url(), &said]);
    assert!(!finished.stderr.contains(PROXY_PASSWORD), "{}", finished.stderr);

    outside.goes_through("http://no-such-proxy.invalid:3128");
    let finished = outside.fails(&[], &[]);
    assert_has(
        &finished.stderr,
        &["through the proxy no-such-proxy.invalid:3128: failed to lookup address information"],
    );

    let silent = crate::support::server::BlackHole::start();
    outside.goes_through(&format!("http://{}", silent.address()));
    let said = "did not answer in time (connecting through the proxy)";
    outside.fails(&["--request-timeout", "100ms"], &[said]);

    for (proxy, said) in [
        ("socks5://test-user:test-secret@127.0.0.1:1", "proxies of type socks5 are not supported"),
        ("ftp://test-user:test-secret@127.0.0.1:1", "proxy-url must begin with http:// or https://"),
        ("http://test-secret @127.0.0.1:1", "invalid proxy URL"),
    ] {
        outside.goes_through(proxy);
        let finished = outside.init(&[]);
        assert_code(&finished, 2);
        assert_has(&finished.stderr, &["proxy-url", said]);
        assert!(!finished.stderr.contains(PROXY_PASSWORD), "{}", finished.stderr);
    }

    let Some(proxy) = tinyproxy(&outside, "ConnectPort 443") else { return };
    outside.goes_through(&format!("http://127.0.0.1:{}", proxy.port));
    let said = format!("the proxy 127.0.0.1:{} denies this host or port (403)", proxy.port);
    outside.fails(&[], &[&said]);

    // A server behind it that is down.
    let Some(proxy) = tinyproxy(&outside, "") else { return };
    outside.server.stop();
    outside.goes_through(&format!("http://127.0.0.1:{}", proxy.port));
    let finished = outside.fails(&[], &[]);
    assert_has(&finished.stderr, &[&format!("the proxy 127.0.0.1:{} cannot connect (50", proxy.port)]);
}

/// Serves TLS and passes on what is in it. As Go has it, the proxy has to lead to the same authority as the server.
fn stunnel(outside: &Outside, authority: &Authority, to: u16) -> Option<Daemon> {
    let issued = authority.issue(&Leaf::default()).unwrap();
    let certificate =
        outside.home.put("stunnel.pem", &format!("{}{}", issued.certificate_pem(), issued.key_pem()));
    Daemon::start("stunnel4", |port| {
        let config = format!(
            "foreground = yes\npid =\n[proxy]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{to}\ncert = {}\n",
            text(&certificate)
        );
        let mut command = Command::new("stunnel4");
        command.arg(outside.home.put("stunnel.conf", &config));
        command
    })
}

#[test]
fn a_proxy_may_be_spoken_to_in_tls() {
    let outside = Outside::new();
    let Some(proxy) = tinyproxy(&outside, "BasicAuth test-user test-secret-1") else { return };
    let Some(tls) = stunnel(&outside, outside.server.authority(), proxy.port) else { return };
    outside.goes_through(&format!("https://{USER}@127.0.0.1:{}", tls.port));
    assert_code(&outside.init(&[]), 0);
    assert_eq!(outside.read(), PASSWORD);
    assert_eq!(asked(&outside), 1);

    let Some(other) = stunnel(&outside, &Authority::new(), proxy.port) else { return };
    outside.goes_through(&format!("https://{USER}@127.0.0.1:{}", other.port));
    let said = format!(
        "the proxy 127.0.0.1:{}: its certificate is not signed by a trusted certificate authority",
        other.port
    );
    outside.fails(&[], &[&said]);
}

/// A proxy that connects to one server whatever it is asked for, and notes that.
struct Noting {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Noting {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let noted = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut peer, noted) = (stream.unwrap(), Arc::clone(&noted));
                thread::spawn(move || {
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && peer.read(&mut byte).is_ok_and(|count| count > 0) {
                        head.push(byte[0]);
                    }
                    noted.lock().unwrap().push(String::from_utf8(head).unwrap());
                    let Ok(mut server) = TcpStream::connect(to) else { return };
                    let _ = peer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
                    let (mut from, mut into) = (server.try_clone().unwrap(), peer.try_clone().unwrap());
                    thread::spawn(move || std::io::copy(&mut from, &mut into));
                    let _ = std::io::copy(&mut peer, &mut server);
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

#[test]
fn the_proxy_of_the_environment_is_for_servers_elsewhere_and_that_of_the_kubeconfig_comes_first() {
    let server = ApiServer::builder().leaf(Leaf::named(&["api.test.invalid"])).start();
    let outside = Outside::of(server);
    let (proxy, other) = (Noting::start(outside.server.address()), Noting::start(outside.server.address()));
    let named = |proxy: &Noting| format!("http://{USER}@{}", proxy.address);
    let init = |more: &Value, variables: &[(&str, &str)]| {
        let mut cluster = outside.cluster(&json!({"server": "https://api.test.invalid:6443"}));
        cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        outside.home.put_kubeconfig("config", &kubeconfig(&cluster, &json!({"token": TOKEN}), NAMESPACE));
        let args = ["--kubeconfig", "config", "--log-level", "debug"];
        let mut command = outside.home.command(PODCREDS, "init", &args);
        command.envs(variables.iter().copied());
        let finished = run(command, HANGS);
        assert!(!finished.stderr.contains(PROXY_PASSWORD), "{}", finished.stderr);
        finished
    };
    let url = named(&proxy);
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        assert_code(&init(&json!({}), &[(variable, &url), ("NO_PROXY", "example.com,10.0.0.0/8")]), 0);
        let heads = proxy.heads();
        // "test-user:test-secret-1" in base64.
        let parts =
            ["CONNECT api.test.invalid:6443 HTTP/1.1\r\n", "Basic dGVzdC11c2VyOnRlc3Qtc2VjcmV0LTE=\r\n"];
        assert_has(&heads[0], &parts);
        assert!(heads.len() == 1 && !heads[0].contains(TOKEN), "{heads:?}");
    }
    assert_code(&init(&json!({"proxy-url": url}), &[("HTTPS_PROXY", &named(&other))]), 0);
    assert_eq!((proxy.heads().len(), other.heads().len()), (1, 0));

    for variables in [
        &[("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "10.0.0.0/8, test.invalid")][..],
        &[("HTTPS_PROXY", url.as_str()), ("no_proxy", "*")],
        &[("HTTP_PROXY", url.as_str()), ("ALL_PROXY", url.as_str())],
    ] {
        let finished = init(&json!({}), &[variables, &[("PODCREDS_TIMEOUT", "300ms")]].concat());
        assert_code(&finished, 4);
        assert_has(
            &finished.stderr,
            &["https://api.test.invalid:6443 cannot be reached: failed to lookup address information"],
        );
    }
    // As Go has it, what is on this machine is never behind a proxy, unless the kubeconfig says so.
    let local = json!({"server": outside.server.url(), "tls-server-name": "api.test.invalid"});
    assert_code(&init(&local, &[("HTTPS_PROXY", &url)]), 0);
    assert!(proxy.heads().is_empty() && other.heads().is_empty());

    let wrong = init(&json!({}), &[("HTTPS_PROXY", "socks5://test-user:test-secret@127.0.0.1:1")]);
    assert_code(&wrong, 2);
    assert_has(&wrong.stderr, &["the variable HTTPS_PROXY: proxies of type socks5 are not supported"]);
}

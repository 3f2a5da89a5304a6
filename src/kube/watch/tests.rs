use std::io::{BufRead, BufReader, Write, repeat};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::kube::{ClientConfig, Identity, Trust};
use crate::object::{Kind, Namespace};
use crate::thread::spawn;

fn reference(kind: Kind) -> ObjectRef {
    ObjectRef::parse(kind, "db", &Namespace::parse("prod").unwrap()).unwrap()
}

fn metadata(name: &str, namespace: &str, version: &str) -> String {
    format!(r#"{{"name":"{name}","namespace":"{namespace}","resourceVersion":{version}}}"#)
}

/// The line of an event of this Secret.
fn line(kind: &str) -> String {
    let metadata = metadata("db", "prod", "\"7\"");
    format!(
        r#"{{"type":"{kind}","object":{{"kind":"Secret","metadata":{metadata},"data":{{"a":"dGVzdA=="}}}}}}"#
    )
}

fn parsed(line: &str) -> Result<WatchEvent<ObjectData>, Cause> {
    parse(&reference(Kind::Secret), line.as_bytes(), decode::object)
}

#[test]
fn an_event_carries_the_state_of_the_object() {
    for kind in ["ADDED", "MODIFIED"] {
        let WatchEvent::Applied { version, data } = parsed(&line(kind)).unwrap() else { panic!("{kind}") };
        assert_eq!((version.as_str(), data.keys().unwrap()["a"].expose()), ("7", &b"test"[..]));
    }
    assert_eq!(parsed(&line("DELETED")).unwrap(), WatchEvent::Deleted { version: "7".into() });
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Secret","metadata":{"resourceVersion":"8","creationTimestamp":null}}}"#;
    assert_eq!(parsed(bookmark).unwrap(), WatchEvent::Bookmark { version: "8".into() });
}

#[test]
fn an_event_of_a_pod_carries_its_annotations() {
    let pod = reference(Kind::Pod);
    for kind in ["PartialObjectMetadata", "Pod"] {
        let metadata = r#"{"name":"db","namespace":"prod","resourceVersion":"7","annotations":{"x/y":"z"}}"#;
        let line = format!(r#"{{"type":"MODIFIED","object":{{"kind":"{kind}","metadata":{metadata}}}}}"#);
        let data = BTreeMap::from([("x/y".to_owned(), "z".to_owned())]);
        let expected = WatchEvent::Applied { version: "7".into(), data };
        assert_eq!(parse(&pod, line.as_bytes(), decode::annotations).unwrap(), expected);
        let bookmark = format!(
            r#"{{"type":"BOOKMARK","object":{{"kind":"{kind}","metadata":{{"resourceVersion":"8"}}}}}}"#
        );
        let event = parse(&pod, bookmark.as_bytes(), decode::annotations).unwrap();
        assert_eq!(event, WatchEvent::Bookmark { version: "8".into() });
    }
}

#[test]
fn an_event_of_another_object_is_rejected() {
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        for (what, name, namespace) in
            [("Secret", "other", "prod"), ("Secret", "db", "other"), ("ConfigMap", "db", "prod")]
        {
            let metadata = metadata(name, namespace, "\"7\"");
            let line = format!(r#"{{"type":"{kind}","object":{{"kind":"{what}","metadata":{metadata}}}}}"#);
            let message = parsed(&line).unwrap_err().to_string();
            assert!(message.contains("another object"), "{line}: {message}");
        }
    }
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"8"}}}"#;
    assert!(parsed(bookmark).unwrap_err().to_string().contains("another watch"));
}

#[test]
fn a_resource_version_is_digits() {
    for version in [r#""""#, "null", r#""7a""#, r#""-1""#, r#""7&x=1""#] {
        let whole = |kind: &str| {
            let metadata = metadata("db", "prod", version);
            format!(r#"{{"type":"{kind}","object":{{"kind":"Secret","metadata":{metadata}}}}}"#)
        };
        for kind in ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"] {
            assert!(matches!(parsed(&whole(kind)), Err(Cause::Unreadable { .. })), "{kind} {version}");
        }
    }
    for version in ["", "7a", "-1", "7&x=1", " 7", "٧"] {
        assert!(
            watch_path(&reference(Kind::Secret), version, Duration::from_secs(1)).is_err(),
            "{version:?}"
        );
    }
    let path = watch_path(&reference(Kind::Secret), "0", Duration::from_millis(2500)).unwrap();
    assert!(path.ends_with("&timeoutSeconds=2&resourceVersion=0"), "{path}");
}

#[test]
fn an_error_event_ends_the_watch() {
    let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
    assert!(matches!(parsed(gone), Err(Cause::Gone { message }) if message == "too old"));
    let error = r#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"test"}}"#;
    assert!(matches!(parsed(error), Err(Cause::Unavailable { status: 500, .. })));
}

#[test]
fn an_invalid_event_is_rejected_without_being_shown() {
    for line in [
        "",
        "test-password",
        "{}",
        r#"{"type":"ADDED"}"#,
        r#"{"type":"ADDED","object":{}}"#,
        r#"{"type":"X","object":{"metadata":{"resourceVersion":"1"}}}"#,
        &line("ADDED").replace("dGVzdA==", "test-password"),
        &line("ADDED").replace("\"a\":", "test-password"),
    ] {
        let message = parsed(line).unwrap_err().to_string();
        assert!(!message.contains("test-password"), "{message}");
    }
}

fn server() -> Server {
    Server::parse("127.0.0.1", "1").unwrap()
}

#[test]
fn lines_are_read_one_by_one_and_freed() {
    let mut buffer = SecretBuffer::default();
    let mut reader = &b"one\ntwo\n"[..];
    for expected in ["one", "two"] {
        let line = read_line(&mut reader, &mut buffer, &server(), || Ok(())).unwrap().unwrap();
        assert_eq!(*line, expected.as_bytes());
    }
    assert!(read_line(&mut reader, &mut buffer, &server(), || Ok(())).unwrap().is_none());
    assert_eq!(buffer.capacity(), 0);
    let mut cut = &b"one"[..];
    let error = read_line(&mut cut, &mut buffer, &server(), || Ok(())).unwrap_err().to_string();
    assert!(error.contains("in the middle of an event"), "{error}");
}

#[test]
fn an_event_of_the_largest_object_is_read_and_a_longer_one_refused() {
    let mut long = repeat(b'x').take(EVENT_LIMIT as u64).chain(&b"\n"[..]);
    let line = read_line(&mut long, &mut SecretBuffer::default(), &server(), || Ok(())).unwrap().unwrap();
    assert_eq!(line.len(), EVENT_LIMIT);
    let mut endless = repeat(b'x');
    let mut buffer = SecretBuffer::default();
    let error = read_line(&mut endless, &mut buffer, &server(), || Ok(())).unwrap_err();
    assert!(matches!(error, Cause::TooLarge { limit: EVENT_LIMIT }));
    assert!(buffer.capacity() <= 2 * (EVENT_LIMIT + CHUNK));
}

#[test]
fn a_line_needs_a_permit_before_it_takes_more_memory_than_a_small_event() {
    let read = |length: usize| {
        let mut reader = repeat(b'x').take(length as u64).chain(&b"\n"[..]);
        let (mut buffer, mut calls) = (SecretBuffer::default(), 0);
        let line = read_line(&mut reader, &mut buffer, &server(), || {
            calls += 1;
            Ok(())
        });
        (line.unwrap().unwrap().len(), calls)
    };
    let small = SMALL_EVENT - 2 * CHUNK;
    for (length, calls) in [(0, 0), (small, 0), (SMALL_EVENT, 1), (EVENT_LIMIT, 1)] {
        assert_eq!(read(length), (length, calls));
    }
    let (mut endless, mut buffer) = (repeat(b'x'), SecretBuffer::default());
    let refused = || Err(Cause::unreadable("no permit"));
    let error = read_line(&mut endless, &mut buffer, &server(), refused).unwrap_err();
    assert!(error.to_string().contains("no permit"));
    assert!(buffer.capacity() <= SMALL_EVENT, "{}", buffer.capacity());
}

/// An API server that sends one response and keeps the connection until the sender of the channel is dropped.
fn serve(response: String) -> (Client, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (hold, held) = mpsc::channel();
    spawn("test server", move || respond(&listener, &response, &held)).unwrap();
    let config = ClientConfig {
        server: Server::parse("127.0.0.1", &port.to_string()).unwrap(),
        server_name: None,
        trust: Trust::Insecure,
        identity: Identity::default(),
        proxy: None,
        request_timeout: Duration::from_secs(30),
        limits: None,
    };
    (Client::new(config), hold)
}

fn respond(listener: &TcpListener, response: &str, held: &Receiver<()>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["test".into()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let (socket, _) = listener.accept().unwrap();
    let session = ServerConnection::new(Arc::new(config)).unwrap();
    let mut connection = BufReader::new(StreamOwned::new(session, socket));
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        connection.read_line(&mut request).unwrap();
    }
    connection.get_mut().write_all(response.as_bytes()).unwrap();
    let _ = held.recv();
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_closer_ends_a_watch_that_waits() {
    let event = format!("{}\n", line("ADDED"));
    let (client, _hold) = serve(format!("{OK}{:x}\r\n{event}\r\n", event.len()));
    let mut watch = client.watch(&reference(Kind::Secret), "1", LONG, LONG).unwrap();
    let closer = watch.closer();
    assert!(matches!(watch.receive(|_| ()), Ok(Some(WatchEvent::Applied { .. }))));
    let waiting = thread::spawn(move || watch.receive(|_| ()).err().map(|error| error.cause));
    closer.close();
    let cause = waiting.join().unwrap();
    assert!(matches!(cause, Some(Cause::Unreachable { .. })), "{cause:?}");
    // After the end, closing has no effect.
    closer.close();
}

#[test]
fn a_closer_ends_a_watch_that_waits_for_a_permit() {
    let value = "A".repeat(2 * SMALL_EVENT);
    let event = format!("{}\n", line("ADDED").replace("dGVzdA==", &value));
    let (client, _hold) = serve(format!("{OK}{:x}\r\n{event}\r\n", event.len()));
    let mut watch = client.watch(&reference(Kind::Secret), "1", LONG, LONG).unwrap();
    let (acquire, never) = (|flag: &_| client.permits.acquire(Duration::ZERO, flag), AtomicBool::default());
    let permits: Vec<_> = std::iter::from_fn(|| acquire(&never)).collect();
    let (closer, (sender, waits)) = (watch.closer(), mpsc::channel());
    let waiting = thread::spawn(move || {
        let received = watch.receive(|time| sender.send(time).unwrap());
        received.err().map(|error| error.to_string())
    });
    assert_eq!(waits.recv_timeout(LONG), Ok(Duration::MAX));
    closer.close();
    let error = waiting.join().unwrap().unwrap();
    assert!(error.contains("the watch was closed"), "{error}");
    drop(permits);
    assert!(acquire(&never).is_some());
}

#[test]
fn the_permit_of_a_large_event_is_returned_when_the_next_one_is_awaited() {
    let value = "A".repeat(2 * SMALL_EVENT);
    let event = format!("{}\n", line("ADDED").replace("dGVzdA==", &value));
    let (client, hold) = serve(format!("{OK}{:x}\r\n{event}\r\n", event.len()));
    let free = || {
        let acquire = || client.permits.acquire(Duration::ZERO, &AtomicBool::default());
        std::iter::from_fn(acquire).collect::<Vec<_>>().len()
    };
    let mut watch = client.watch(&reference(Kind::Secret), "1", LONG, LONG).unwrap();
    let all = free();
    assert!(matches!(watch.receive(|_| ()), Ok(Some(WatchEvent::Applied { .. }))));
    assert_eq!(free(), all - 1);
    drop(hold);
    assert!(watch.receive(|_| ()).is_err());
    assert_eq!(free(), all);
}

#[test]
fn a_resource_version_that_is_too_old_is_gone() {
    let body = r#"{"kind":"Status","code":410,"message":"too old","reason":"Expired"}"#;
    let (client, _hold) = serve(format!("HTTP/1.1 410 Gone\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let error = client.watch(&reference(Kind::Secret), "1", LONG, LONG).err().unwrap();
    assert!(matches!(&error.cause, Cause::Gone { message } if message == "too old"), "{error}");
}

#[test]
fn a_watch_that_the_server_ends_between_two_events_has_ended() {
    let event = format!("{}\n", line("DELETED"));
    let (client, _hold) = serve(format!("{OK}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()));
    let mut watch = client.watch(&reference(Kind::Secret), "1", LONG, LONG).unwrap();
    assert!(matches!(watch.receive(|_| ()), Ok(Some(WatchEvent::Deleted { .. }))));
    assert!(matches!(watch.receive(|_| ()), Ok(None)));
}

#[test]
fn a_silent_watch_is_dead() {
    let (client, _hold) = serve(OK.to_owned());
    // The bound holds for the handshake too, which a busy machine may not complete in time.
    let silence = Duration::from_millis(100);
    let error = match client.watch(&reference(Kind::Secret), "1", LONG, silence) {
        Ok(mut watch) => watch.receive(|_| ()).err().unwrap(),
        Err(error) => error,
    };
    assert!(matches!(error.cause, Cause::TimedOut { .. }), "{error}");
}

#[test]
fn a_watch_that_breaks_off_is_an_error() {
    let event = format!("{}\n", line("ADDED"));
    let (client, hold) = serve(format!("{OK}{:x}\r\n{event}\r\n", event.len()));
    let mut watch = client.watch(&reference(Kind::Secret), "1", LONG, LONG).unwrap();
    assert!(matches!(watch.receive(|_| ()), Ok(Some(WatchEvent::Applied { .. }))));
    drop(hold);
    let error = watch.receive(|_| ()).err().unwrap();
    assert!(error.to_string().contains("closed before the response was complete"), "{error}");
}

#[test]
fn an_event_of_several_mebibytes_arrives_whole() {
    // Base64 of 3 MiB of zeros.
    let value = "A".repeat(4 * 1024 * 1024 - 1024);
    let event = format!("{}\n", line("ADDED").replace("dGVzdA==", &value));
    let (client, _hold) = serve(format!("{OK}{:x}\r\n{event}\r\n", event.len()));
    let mut watch = client.watch(&reference(Kind::Secret), "1", LONG, LONG).unwrap();
    let Ok(Some(WatchEvent::Applied { data, .. })) = watch.receive(|_| ()) else { panic!("an event") };
    assert_eq!(data.keys().unwrap()["a"].expose().len(), value.len() / 4 * 3);
    assert_eq!(watch.buffer.capacity(), 0);
}

#[test]
fn headers_may_be_longer_than_one_read_up_to_a_limit() {
    let with_header = |bytes: usize| {
        let header = format!("200 OK\r\nx: {}", "x".repeat(bytes));
        let (client, hold) = serve(OK.replace("200 OK", &header));
        let opened = client.watch(&reference(Kind::Secret), "1", LONG, LONG);
        drop(hold);
        opened.err().map(|error| error.to_string())
    };
    assert_eq!(with_header(40 * 1024), None);
    let error = with_header(100 * 1024).unwrap();
    assert!(error.contains("the response headers are too large"), "{error}");
}

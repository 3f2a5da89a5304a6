//! The request and the response: bytes in, bytes out. The body of a GET or HEAD has no meaning, so a request ends with its
//! header.
//! Source: RFC 9112

use crate::telemetry::{Health, metrics};

/// Maximum size of a header, in bytes.
pub(crate) const HEADER_LIMIT: usize = 8 * 1024;

const PLAIN: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The response to the bytes received so far; `None` while the header is incomplete.
pub(crate) fn respond_to(received: &[u8], health: &Health) -> Option<Vec<u8>> {
    let line = received.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Bytes of another protocol, such as a TLS handshake, may never contain an empty line.
    if received.first().is_some_and(|first| !first.is_ascii_alphabetic()) {
        return Some(bad_request());
    }
    if !is_complete(received) {
        return (received.len() >= HEADER_LIMIT)
            .then(|| respond("431 Request Header Fields Too Large", PLAIN, "", "header too large\n", false));
    }
    Some(parse(line).map_or_else(bad_request, |(method, path)| route(method, path, health)))
}

pub(crate) fn bad_request() -> Vec<u8> {
    respond("400 Bad Request", PLAIN, "", "not an HTTP/1 request\n", false)
}

/// Whether the empty line has arrived. A lone LF ends a line too (RFC 9112, 2.2).
fn is_complete(received: &[u8]) -> bool {
    let ends = |end: &[u8]| received.windows(end.len()).any(|window| window == end);
    ends(b"\n\r\n") || ends(b"\n\n")
}

/// Returns method and path.
fn parse(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_suffix('\r').unwrap_or(line).split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let is_method = method.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !is_method || !["HTTP/1.0", "HTTP/1.1"].contains(&version) || words.next().is_some() {
        return None;
    }
    Some((method, target.split('?').next().unwrap_or_default()))
}

fn route(method: &str, path: &str, health: &Health) -> Vec<u8> {
    let only_head = method == "HEAD";
    if !["/healthz", "/livez", "/readyz", "/metrics"].contains(&path) {
        let body = "not found; available: /healthz, /livez, /readyz and /metrics\n";
        return respond("404 Not Found", PLAIN, "", body, only_head);
    }
    if !["GET", "HEAD"].contains(&method) {
        return respond(
            "405 Method Not Allowed",
            PLAIN,
            "Allow: GET, HEAD\r\n",
            "only GET and HEAD\n",
            false,
        );
    }
    let (status, kind, body) = match path {
        "/metrics" => ("200 OK", EXPOSITION, metrics::write(health)),
        "/readyz" if health.is_ready() => ("200 OK", PLAIN, "ready\n".to_owned()),
        "/readyz" => ("503 Service Unavailable", PLAIN, not_ready(health)),
        _ => match health.stalled().as_slice() {
            [] => ("200 OK", PLAIN, "alive\n".to_owned()),
            stalled => ("503 Service Unavailable", PLAIN, format!("stuck: {}\n", stalled.join(", "))),
        },
    };
    respond(status, kind, "", &body, only_head)
}

/// `more` is additional header lines, each with its line end.
fn respond(status: &str, kind: &str, more: &str, body: &str, only_head: bool) -> Vec<u8> {
    let length = body.len();
    let body = if only_head { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Why the sidecar is not ready: names of objects, never their content.
fn not_ready(health: &Health) -> String {
    let pending: Vec<_> = health.pending_sources().iter().map(ToString::to_string).collect();
    match pending.as_slice() {
        [] => "the first files are not written yet\n".to_owned(),
        pending => format!("the first files are not written yet: waiting for {}\n", pending.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;

    fn ask(health: &Health, received: &str) -> Option<String> {
        respond_to(received.as_bytes(), health).map(|response| String::from_utf8(response).unwrap())
    }

    #[test]
    fn each_request_gets_its_status() {
        let health = Health::new(Vec::new());
        let long = "x".repeat(HEADER_LIMIT);
        for (received, status) in [
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.0\n\n", "200"),
            ("GET /livez HTTP/1.1\r\n\r\n", "200"),
            ("GET /metrics?x=1 HTTP/1.1\r\n\r\n", "200"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
            ("GET /readyz HTTP/1.1\r\n\r\n", "503"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("get /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics HTTP/2.0\r\n\r\n", "400"),
            ("GET  /metrics HTTP/1.1\r\n\r\n", "400"),
            ("GET /metrics HTTP/1.1 x\r\n\r\n", "400"),
            ("GET\r\n\r\n", "400"),
            ("\x16\x03\x01", "400"),
            (&long, "431"),
        ] {
            let answer = ask(&health, received).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{received:?}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        }
        for unfinished in ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n"] {
            assert_eq!(ask(&health, unfinished), None, "{unfinished:?}");
        }
    }

    #[test]
    fn head_has_the_content_length_of_get() {
        let health = Health::new(Vec::new());
        let of = |method| ask(&health, &format!("{method} /healthz HTTP/1.1\r\n\r\n")).unwrap();
        assert!(of("GET").ends_with("\r\n\r\nalive\n") && of("GET").contains("Content-Length: 6\r\n"));
        assert!(of("HEAD").ends_with("\r\n\r\n") && of("HEAD").contains("Content-Length: 6\r\n"));
    }

    #[test]
    fn a_stalled_loop_fails_healthz_and_livez_and_is_named() {
        let health = Health::new(Vec::new());
        let heartbeat = health.heartbeat("main loop");
        let asked = |path: &str| ask(&health, &format!("GET {path} HTTP/1.1\r\n\r\n")).unwrap();
        assert!(["/healthz", "/livez"].iter().all(|path| asked(path).starts_with("HTTP/1.1 200 ")));
        heartbeat.due.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        for path in ["/healthz", "/livez"] {
            let response = asked(path);
            assert!(
                response.starts_with("HTTP/1.1 503 ") && response.ends_with("stuck: main loop\n"),
                "{response}"
            );
        }
    }
}

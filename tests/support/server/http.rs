//! Parses requests and writes responses of HTTP/1.1 as text, without sockets.

/// A request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without the query, not percent-decoded.
    pub(crate) path: String,
    /// The text after `?`, empty without one.
    pub(crate) query: String,
    /// In the order and case as sent.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The number of its connection, counted from 1.
    pub(crate) connection: usize,
}

impl Request {
    /// Parses a head, which ends before the empty line. `None` if it is not valid HTTP/1.1.
    pub(super) fn parse(head: &str, connection: usize) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target, version) = (first.next()?, first.next()?, first.next()?);
        if version != "HTTP/1.1" || first.next().is_some() {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Option<_>>()?;
        Some(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: Vec::new(),
            connection,
        })
    }

    /// The first header with this name; case is ignored.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The token from `Authorization: Bearer`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// Path and query, as in the request line.
    pub(crate) fn target(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    /// `METHOD path?query`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target())
    }

    /// The first query parameter of this name, percent-decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(key, value)| (decode(key), decode(value))).find(|(key, _)| key == name).map(|pair| pair.1)
    }

    /// Whether `watch` is set: any value except `false` and `0` counts (apimachinery, `Convert_Slice_string_To_bool`).
    pub(super) fn is_watch(&self) -> bool {
        self.flag("watch")
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    pub(super) fn wants_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The length of the body; chunked request bodies are not supported.
    pub(super) fn content_length(&self) -> Option<usize> {
        self.header("content-length").map_or(Some(0), |value| value.parse().ok())
    }
}

/// A response that is complete before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A JSON response, ended by a newline as from kube-apiserver.
    pub(super) fn json(code: u16, value: &serde_json::Value) -> Self {
        Self::text(code, format!("{value}\n"))
    }

    pub(super) fn text(code: u16, json_text: impl Into<String>) -> Self {
        Self { code, headers: Vec::new(), body: json_text.into().into_bytes() }
    }

    pub(super) fn json_lines(lines: Vec<u8>) -> Self {
        Self { code: 200, headers: Vec::new(), body: lines }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Status line and headers, including the empty line.
    pub(super) fn head(&self, framing: Framing) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.code, reason(self.code));
        head.push_str("Cache-Control: no-cache, private\r\nContent-Type: application/json\r\n");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match framing {
            Framing::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n\r\n")),
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        }
        head.into_bytes()
    }
}

/// Percent-decodes; invalid escapes stay, and invalid UTF-8 is replaced.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How the peer finds the end of the body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

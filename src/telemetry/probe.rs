//! Requests `/readyz` and `/status` from the sidecar, for commands in an image without a shell.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::telemetry::server::Listen;
use crate::text::one_line;

/// Maximum size of a response of `/readyz`, in bytes.
const READY_LIMIT: usize = 4 * 1024;
/// Maximum size of a response of `/status`, in bytes.
const STATUS_LIMIT: usize = 1024 * 1024;
/// Maximum length of a response in an error message, in characters.
const SHOWN_LIMIT: usize = 200;

/// Why the sidecar is not known to be ready, or its status is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The sidecar has no address.
    #[error("--listen is off, so podcreds does not know where to connect")]
    Off,
    /// No response.
    #[error("http://{address}{path} does not answer: {cause}")]
    NoResponse { address: SocketAddr, path: &'static str, cause: io::Error },
    /// A status other than 200.
    #[error("the sidecar is not ready: http://{address}/readyz returned {response}")]
    NotReady {
        address: SocketAddr,
        /// Status and body.
        response: String,
    },
    /// A status other than 200 of `/status`.
    #[error("http://{address}/status returned {response}")]
    NoStatus { address: SocketAddr, response: String },
    /// The response is longer than this, or its connection broke.
    #[error(
        "http://{address}/status returned an incomplete response, or one of more than {STATUS_LIMIT} bytes"
    )]
    Incomplete { address: SocketAddr },
}

/// Requests `/readyz` from the sidecar in this network namespace that listens on `listen`.
///
/// # Errors
/// If it is not ready, or does not respond within `timeout`.
pub(crate) fn check_ready(listen: Listen, timeout: Duration) -> Result<(), Error> {
    let (address, response) = get(listen, "/readyz", "", READY_LIMIT, timeout)?;
    parse(&response).map(drop).map_err(|response| Error::NotReady { address, response })
}

/// Requests the status as a table or as JSON.
///
/// # Errors
/// If the sidecar does not respond within `timeout`, or does not serve it.
pub(crate) fn status(listen: Listen, is_table: bool, timeout: Duration) -> Result<String, Error> {
    let query = if is_table { "?output=table" } else { "" };
    let (address, response) = get(listen, "/status", query, STATUS_LIMIT, timeout)?;
    let (headers, body) = parse(&response).map_err(|response| Error::NoStatus { address, response })?;
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    if headers.contains(&length) { Ok(body) } else { Err(Error::Incomplete { address }) }
}

/// Returns the response, and the address that it came from.
fn get(
    listen: Listen,
    path: &'static str,
    query: &str,
    limit: usize,
    timeout: Duration,
) -> Result<(SocketAddr, Vec<u8>), Error> {
    let Listen::At(address) = listen else { return Err(Error::Off) };
    let deadline = Instant::now() + timeout;
    let mut failed = None;
    for address in local(address) {
        match exchange(address, &format!("{path}{query}"), limit, deadline) {
            Ok(response) => return Ok((address, response)),
            // The first address is where the default listens; the second one only helps in a pod without IPv4.
            Err(cause) => failed = failed.or(Some(Error::NoResponse { address, path, cause })),
        }
    }
    Err(failed.unwrap_or(Error::Off))
}

/// The loopback addresses that reach a server which listens on this address.
fn local(address: SocketAddr) -> Vec<SocketAddr> {
    let at = |ip: IpAddr| SocketAddr::new(ip, address.port());
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![at(Ipv4Addr::LOCALHOST.into())],
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]
        }
        _ => vec![address],
    }
}

fn exchange(address: SocketAddr, target: &str, limit: usize, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(
        format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut response = Vec::new();
    let mut chunk = [0; 512];
    while response.len() < limit {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => response.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(out_of_time()),
            Err(error) => return Err(error),
        }
    }
    Ok(response)
}

/// The time until the deadline. Never zero, which would mean no timeout to the socket.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(out_of_time()) } else { Ok(left) }
}

fn out_of_time() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "not in time")
}

/// The headers and the body of a response with status 200, or else what was returned.
fn parse(response: &[u8]) -> Result<(String, String), String> {
    let response = String::from_utf8_lossy(response);
    let (line, _) = response.split_once("\r\n").unwrap_or((&response, ""));
    let (headers, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "));
    match status {
        Some(status) if status.split(' ').next() == Some("200") => {
            Ok((format!("{headers}\r\n"), body.to_owned()))
        }
        Some(status) => Err(one_line(&format!("{status}: {}", body.trim_end()), SHOWN_LIMIT)),
        None => Err("invalid HTTP response".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_means_ready() {
        let check = |response: &str| parse(response.as_bytes()).map(|(_, body)| body);
        assert_eq!(check("HTTP/1.1 200 OK\r\n\r\nready\n").as_deref(), Ok("ready\n"));
        assert_eq!(check("HTTP/1.0 200\r\n\r\n").as_deref(), Ok(""));
        for no in ["", "200", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", "SSH-2.0 200"] {
            assert!(check(no).is_err(), "{no}");
        }
        assert_eq!(
            check("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nnot\nyet\n").unwrap_err(),
            "503 Service Unavailable: not yet"
        );
    }

    #[test]
    fn an_unspecified_address_is_reached_by_the_loopback() {
        let of = |text: &str| {
            local(text.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("[::]:1"), "127.0.0.1:1 [::1]:1");
        assert_eq!(of("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(of("10.0.0.1:1"), "10.0.0.1:1");
    }
}

//! Asks a sidecar whether it is ready, for an exec probe in an image that has no shell.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::telemetry::listen::Listen;
use crate::text::one_line;

/// The most of an answer that is read, in bytes.
const ANSWER_LIMIT: usize = 4 * 1024;
/// The most of an answer that is shown, in characters.
const SHOWN_LIMIT: usize = 200;

/// Why there is no yes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is nobody to ask.
    #[error("the sidecar has no listener: --listen is off")]
    Off,
    /// Nobody answers.
    #[error("http://{address}/readyz does not answer: {cause}")]
    Silent {
        /// Who was asked.
        address: SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
    /// Something else than 200.
    #[error("http://{address}/readyz is not ready: {answer}")]
    NotReady {
        /// Who was asked.
        address: SocketAddr,
        /// Its status and what it said.
        answer: String,
    },
}

/// Asks what listens at `listen`, on this machine, whether it is ready; for `timeout` at most.
///
/// # Errors
/// If it is not, or does not say so in time.
pub(crate) fn ask(listen: Listen, timeout: Duration) -> Result<(), Error> {
    let Listen::At(address) = listen else { return Err(Error::Off) };
    let deadline = Instant::now() + timeout;
    let mut failed = None;
    for address in local(address) {
        match exchange(address, deadline) {
            Ok(answer) => return judge(address, &answer),
            // The first address is that of the default; the second one only helps where there is no IPv4.
            Err(cause) => failed = failed.or(Some(Error::Silent { address, cause })),
        }
    }
    Err(failed.unwrap_or(Error::Off))
}

/// Where something that listens at this address can be reached from here.
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

fn exchange(address: SocketAddr, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(
        format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    while answer.len() < ANSWER_LIMIT {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(out_of_time()),
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The time until the deadline, which is never zero: that would be no bound.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(out_of_time()) } else { Ok(left) }
}

fn out_of_time() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "not in time")
}

fn judge(address: SocketAddr, answer: &[u8]) -> Result<(), Error> {
    let answer = String::from_utf8_lossy(answer);
    let (status, rest) = answer.split_once("\r\n").unwrap_or((&answer, ""));
    let status = status.strip_prefix("HTTP/1.1 ").or(status.strip_prefix("HTTP/1.0 "));
    match status {
        Some(status) if status.split(' ').next() == Some("200") => Ok(()),
        Some(status) => {
            let body = rest.split_once("\r\n\r\n").unwrap_or_default().1;
            let said = format!("{status}: {}", body.trim_end());
            Err(Error::NotReady { address, answer: one_line(&said, SHOWN_LIMIT) })
        }
        None => Err(Error::NotReady { address, answer: "what it says is no HTTP".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_a_yes() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let said = |answer: &str| judge(address, answer.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(said("HTTP/1.1 200 OK\r\n\r\nready\n"), Ok(()));
        assert_eq!(said("HTTP/1.0 200\r\n\r\n"), Ok(()));
        for no in ["", "200", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", "SSH-2.0 200"] {
            assert!(said(no).is_err(), "{no}");
        }
        assert_eq!(
            said("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nnot\nyet\n").unwrap_err(),
            "http://127.0.0.1:1/readyz is not ready: 503 Service Unavailable: not yet"
        );
    }

    #[test]
    fn all_addresses_are_asked_for_on_the_loopback() {
        let of = |text: &str| {
            local(text.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("[::]:1"), "127.0.0.1:1 [::1]:1");
        assert_eq!(of("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(of("10.0.0.1:1"), "10.0.0.1:1");
    }
}

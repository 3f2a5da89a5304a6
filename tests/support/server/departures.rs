//! Finds peers that have left, without reading: a watch request stays unread so that the watch can be reset (see
//! `socket`), and a read or peek would return those bytes instead of showing the peer's FIN. The kernel's connection
//! table shows it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};

/// `TCP_CLOSE_WAIT` of Linux: the peer has sent its FIN, and this side has not.
const CLOSE_WAIT: &str = "08";

/// Local and peer address of each connection whose peer has sent FIN. Only Linux has this table; elsewhere the server
/// notices a departure when it sends.
pub(super) struct Departures(BTreeSet<(SocketAddr, SocketAddr)>);

impl Departures {
    pub(super) fn read() -> Self {
        let tables =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        Self(tables.iter().flat_map(|table| table.lines()).filter_map(parse).collect())
    }

    /// Whether the peer has left, by FIN or by RST.
    pub(super) fn include(&self, stream: &TcpStream) -> bool {
        // After RST a socket has no peer address.
        let (Ok(own), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return true };
        self.0.contains(&(own, peer))
    }
}

/// Parses a line of `/proc/net/tcp` (<https://docs.kernel.org/networking/proc_net_tcp.html>) and returns local and peer
/// address if the state is CLOSE_WAIT.
fn parse(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut fields = line.split_whitespace().skip(1);
    let (own, peer, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state == CLOSE_WAIT { Some((address(own)?, address(peer)?)) } else { None }
}

/// `0100007F:1F90` is 127.0.0.1:8080 on a little-endian machine: each word is printed in native byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..words.len()).step_by(8) {
        let word = words.get(start..start + 8)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    }
    let ip = if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        IpAddr::from(v4)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

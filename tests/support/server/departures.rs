//! Who has left, found without a read: what a watch asked for stays unread, so that the watch can be reset (see
//! `socket`), and behind unread bytes no read and no peek sees the peer's FIN. The kernel's own table tells.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};

/// `TCP_CLOSE_WAIT` of Linux: the peer has sent its FIN, and this side has not.
const CLOSE_WAIT: &str = "08";

/// The connections, each as own and peer's address, whose peer has sent FIN. Elsewhere than on Linux there is no such
/// table, and a departure shows when something is sent.
pub(super) struct Departures(BTreeSet<(SocketAddr, SocketAddr)>);

impl Departures {
    pub(super) fn read() -> Self {
        let tables =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        Self(tables.iter().flat_map(|table| table.lines()).filter_map(parse).collect())
    }

    /// Whether the peer has left, by FIN or by RST.
    pub(super) fn include(&self, stream: &TcpStream) -> bool {
        // After RST a socket has no peer.
        let (Ok(own), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return true };
        self.0.contains(&(own, peer))
    }
}

/// Own and peer's address of a line of `/proc/net/tcp` where the state is CLOSE_WAIT
/// (<https://docs.kernel.org/networking/proc_net_tcp.html>).
fn parse(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut fields = line.split_whitespace().skip(1);
    let (own, peer, state) = (fields.next()?, fields.next()?, fields.next()?);
    if state == CLOSE_WAIT { Some((address(own)?, address(peer)?)) } else { None }
}

/// `0100007F:1F90` is 127.0.0.1:8080 where the lowest byte comes first: each word is printed as a number of the machine.
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

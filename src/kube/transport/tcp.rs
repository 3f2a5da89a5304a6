//! TCP connections that replace ureq's. They send keep-alive probes, hold no buffer while they wait, and time out exactly: the socket
//! options that ureq uses can time out an eighth later.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use ureq::unversioned::transport::time;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use crate::kube::transport::buffers::TransientBuffers;
use crate::thread::lock;

/// How long a connection is idle before the kernel probes the peer, and the time between two probes: as in Go, so that podcreds notices
/// a dead connection as early as kubectl does. The kernel gives up after nine probes (`tcp_keepalive_probes`).
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The least time for one of several addresses, as in Go.
const LEAST: Duration = Duration::from_secs(2);

/// A time at which reading from a connection fails, whatever its timeouts are. ureq takes timeouts only at the start of a request; a
/// watch waits for hours for an event that must then arrive within seconds. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadDeadline(Arc<Mutex<Option<Instant>>>);

impl ReadDeadline {
    /// Sets or removes the time.
    pub(crate) fn set(&self, at: Option<Instant>) {
        *lock(&self.0) = at;
    }
}

/// Makes TCP connections.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    /// For all of its connections.
    pub(super) read_deadline: ReadDeadline,
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(tunnel) = chained {
            return Ok(Some(Either::A(tunnel)));
        }
        let stream = Arc::new(connect(&details.addrs, details.timeout)?);
        let handle: Weak<dyn ShutdownHandle> = Arc::<TcpStream>::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        let (read_deadline, buffers) = (self.read_deadline.clone(), TransientBuffers::default());
        Ok(Some(Either::B(Socket { stream, read_deadline, buffers })))
    }
}

/// Tries the addresses one after the other. Each gets an equal share of the time that is left.
fn connect(addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, Error> {
    let until = deadline(timeout);
    let mut failed = Error::HostNotFound;
    for (index, address) in addresses.iter().enumerate() {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let connected = match left {
            Some(left) if left.is_zero() => return Err(Error::Timeout(timeout.reason)),
            Some(left) => {
                let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
                TcpStream::connect_timeout(address, share.max(LEAST).min(left))
            }
            None => TcpStream::connect(address),
        };
        match connected.and_then(prepare) {
            Ok(stream) => return Ok(stream),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                failed = Error::Timeout(timeout.reason);
            }
            Err(error) => failed = error.into(),
        }
    }
    Err(failed)
}

fn prepare(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE)?;
    Ok(stream)
}

/// `None` means never.
fn deadline(timeout: NextTimeout) -> Option<Instant> {
    match timeout.after {
        time::Duration::Exact(after) => Instant::now().checked_add(after),
        time::Duration::NotHappening => None,
    }
}

/// A TCP connection.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    read_deadline: ReadDeadline,
    buffers: TransientBuffers,
}

impl Socket {
    /// Waits until reading or writing makes progress.
    fn wait(&self, flags: PollFlags, until: Option<Instant>, reason: Timeout) -> Result<(), Error> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::Timeout(reason));
            }
            // A timeout that is too long for the kernel's type means no timeout.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&*self.stream, flags)], left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let until = deadline(timeout);
        let mut sent = 0;
        while sent < amount {
            match (&*self.stream).write(&self.buffers.output()[sent..amount]) {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::WriteZero).into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, until, timeout.reason)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.buffers.free_output();
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let until = deadline(timeout).into_iter().chain(*lock(&self.read_deadline.0)).min();
        loop {
            self.wait(PollFlags::IN, until, timeout.reason)?;
            self.buffers.reserve(usize::MAX);
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Ok(count) => {
                    self.buffers.input_appended(count);
                    return Ok(count > 0);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A server that has sent something since the last response is not used again: it closes the connection, or is confused.
    fn is_open(&mut self) -> bool {
        let peeked = self.stream.peek(&mut [0]);
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn within(after: Duration) -> NextTimeout {
        NextTimeout { after: after.into(), reason: Timeout::Connect, ..NextTimeout::default() }
    }

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(&[listener.local_addr().unwrap()], within(Duration::from_secs(60))).unwrap();
        let (read_deadline, buffers) = (ReadDeadline::default(), TransientBuffers::default());
        let socket = Socket { stream: Arc::new(stream), read_deadline, buffers };
        (socket, listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_is_probed_while_it_is_idle() {
        let (socket, _peer) = pair();
        let stream = &*socket.stream;
        assert!(sockopt::socket_keepalive(stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(stream).unwrap(), KEEP_ALIVE);
        assert_eq!(sockopt::tcp_keepintvl(stream).unwrap(), KEEP_ALIVE);
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let long = within(Duration::from_secs(60));
        assert_eq!(connect(&[refusing, address], long).unwrap().peer_addr().unwrap(), address);
        assert!(matches!(connect(&[refusing, refusing], long), Err(Error::Io(_))));
        assert!(matches!(connect(&[], long), Err(Error::HostNotFound)));
        assert!(matches!(connect(&[address], within(Duration::ZERO)), Err(Error::Timeout(Timeout::Connect))));
    }

    #[test]
    fn input_is_awaited_for_as_long_as_the_timeout_allows() {
        let (mut socket, mut peer) = pair();
        assert!(matches!(
            socket.await_input(within(Duration::from_millis(1))),
            Err(Error::Timeout(Timeout::Connect))
        ));
        peer.write_all(b"test").unwrap();
        assert!(socket.await_input(within(Duration::from_secs(60))).unwrap());
        assert_eq!(socket.buffers().input(), b"test");
        assert!(socket.is_open());
        drop(peer);
        assert!(!socket.await_input(within(Duration::from_secs(60))).unwrap(), "the peer has closed");
        assert!(!socket.is_open());
    }

    #[test]
    fn a_read_deadline_ends_reads_whose_timeout_is_longer() {
        let (mut socket, mut peer) = pair();
        let long = within(Duration::from_secs(60));
        socket.read_deadline.set(Some(Instant::now()));
        peer.write_all(b"test").unwrap();
        assert!(matches!(socket.await_input(long), Err(Error::Timeout(Timeout::Connect))));
        socket.read_deadline.set(None);
        assert!(socket.await_input(long).unwrap());
    }

    #[test]
    fn output_larger_than_the_kernel_takes_is_sent_or_times_out() {
        let (mut socket, mut peer) = pair();
        let amount = socket.buffers().output().len();
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; amount];
            peer.read_exact(&mut received).map(|()| peer)
        });
        socket.transmit_output(amount, within(Duration::from_secs(60))).unwrap();
        let _peer = reader.join().unwrap().unwrap();
        let stuck = std::iter::repeat_with(|| {
            socket.buffers().output();
            socket.transmit_output(amount, within(Duration::from_millis(1)))
        });
        assert!(matches!(stuck.take(100_000).find_map(Result::err), Some(Error::Timeout(Timeout::Connect))));
    }
}

//! The CONNECT request to a forward proxy, which ureq sends. ureq gives each piece of the response the whole timeout, so that a proxy
//! that drips it would hold a thread for hours; here all of it has to arrive in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ureq::Error;
use ureq::unversioned::transport::time::Duration;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};

/// Connects through the proxy, if there is one.
#[derive(Debug, Default)]
pub(super) struct Tunnel(ConnectProxyConnector);

impl<In: Transport> Connector<In> for Tunnel {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Duration::Exact(left) = details.timeout.after else { return self.0.connect(details, chained) };
        let Some(until) = Instant::now().checked_add(left) else { return self.0.connect(details, chained) };
        let is_open = Arc::new(AtomicBool::new(false));
        let (run, shared) = (Arc::clone(&details.run_connector), Arc::clone(&is_open));
        let bounded = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::new(move |details: &ConnectionDetails<'_>| {
                let transport = run(details)?;
                Ok(Bounded { transport, until, is_open: Arc::clone(&shared) }.boxed())
            }),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        let connected = self.0.connect(&bounded, chained)?;
        is_open.store(true, Ordering::Relaxed);
        Ok(connected)
    }
}

/// A connection to a proxy. Until the proxy has connected it to the server, every wait ends at a time that is fixed.
#[derive(Debug)]
struct Bounded {
    transport: Box<dyn Transport>,
    until: Instant,
    is_open: Arc<AtomicBool>,
}

impl Bounded {
    fn bound(&self, timeout: NextTimeout) -> Result<NextTimeout, Error> {
        if self.is_open.load(Ordering::Relaxed) {
            return Ok(timeout);
        }
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        Ok(NextTimeout { after: timeout.after.min(left.into()), ..timeout })
    }
}

impl Transport for Bounded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = self.bound(timeout)?;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = self.bound(timeout)?;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use crate::kube::{Cause, Client, ClientConfig, Deadline, Error, Identity, Proxy, Server, Trust};
    use crate::object::{Kind, Namespace, ObjectRef};

    /// The error of a request with a short timeout for each phase.
    fn request(server: Server, proxy: Option<&str>) -> Error {
        let client = Client::new(ClientConfig {
            server,
            server_name: None,
            trust: Trust::Insecure,
            identity: Identity::default(),
            proxy: proxy.map(|proxy| Proxy::parse(proxy).unwrap()),
            request_timeout: Duration::from_millis(200),
            limits: None,
        });
        let object = ObjectRef::parse(Kind::Secret, "db", &Namespace::parse("prod").unwrap()).unwrap();
        client.object(&object, Deadline::after(Duration::from_secs(60))).unwrap_err()
    }

    #[test]
    fn the_time_limit_of_a_phase_includes_the_tls_handshake() {
        // The kernel accepts the connection, and nothing answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = request(Server::parse("127.0.0.1", &port.to_string()).unwrap(), None);
        assert!(matches!(error.cause, Cause::TimedOut { phase: "connecting", .. }), "{error}");
    }

    #[test]
    fn a_proxy_that_drips_its_response_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let dripping = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let bytes = b"HTTP/1.1 200 OK\r\nx: ".iter().chain(std::iter::repeat_n(&b'x', 1000));
            // Far more than the timeout in all, far less for each byte.
            for byte in bytes {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let error = request(Server::parse("api.example.com", "6443").unwrap(), Some(&proxy));
        assert!(
            matches!(error.cause, Cause::TimedOut { phase: "connecting through the proxy", .. }),
            "{error}"
        );
        dripping.join().unwrap();
    }
}

//! Name resolution in place of ureq's, which panics if it cannot start a thread: at the pids limit of a pod, which its containers
//! share, an application that forks too much would end podcreds. Here it is an error, and the request is retried.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::thread::{Job, spawn};

/// How many addresses [`ResolvedSocketAddrs`] has room for.
const MAX_ADDRESSES: usize = 16;

/// Looks a name up in a thread, as the operating system's resolver has no timeout. An IP address needs none.
#[derive(Debug)]
pub(crate) struct ThreadResolver;

/// The operating system refused another thread.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread to resolve the host name: {0}")]
pub(crate) struct NoThread(pub(crate) io::Error);

impl Resolver for ThreadResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host_and_port = uri
            .scheme()
            .zip(uri.authority())
            .and_then(|(scheme, it)| DefaultResolver::host_and_port(scheme, it));
        let host_and_port = host_and_port.ok_or(Error::HostNotFound)?;
        let mut resolved = self.empty();
        match host_and_port.parse() {
            Ok(address) => resolved.push(address),
            Err(_) => {
                let found = look_up(host_and_port, timeout, |name, run| spawn(name, run).map(drop))?;
                found.into_iter().take(MAX_ADDRESSES).for_each(|address| resolved.push(address));
            }
        }
        if resolved.is_empty() { Err(Error::HostNotFound) } else { Ok(resolved) }
    }
}

fn look_up(
    host_and_port: String,
    timeout: NextTimeout,
    start: fn(&str, Job) -> io::Result<()>,
) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = sync_channel(1);
    let run = move || {
        // Fails only after the timeout.
        let _ = sender.send(host_and_port.to_socket_addrs().map(Vec::from_iter));
    };
    start("resolve", Box::new(run)).map_err(|error| Error::Other(Box::new(NoThread(error))))?;
    let resolved = receiver.recv_timeout(*timeout.after).map_err(|error| match error {
        RecvTimeoutError::Timeout => Error::Timeout(timeout.reason),
        RecvTimeoutError::Disconnected => Error::HostNotFound,
    })?;
    Ok(resolved?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ureq::Timeout;

    use super::*;

    fn within(after: Duration) -> NextTimeout {
        NextTimeout { after: after.into(), reason: Timeout::Resolve, ..NextTimeout::default() }
    }

    fn resolve(uri: &str) -> Vec<String> {
        let resolved = ThreadResolver.resolve(
            &uri.parse().unwrap(),
            &Config::default(),
            within(Duration::from_secs(60)),
        );
        resolved.unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_and_addresses_are_resolved() {
        assert_eq!(resolve("https://10.0.0.1:6443/api"), ["10.0.0.1:6443"]);
        assert_eq!(resolve("https://[fd00::1]:6443"), ["[fd00::1]:6443"]);
        assert_eq!(resolve("http://10.0.0.1"), ["10.0.0.1:80"]);
        assert!(
            resolve("http://localhost:8080").iter().any(|it| it == "127.0.0.1:8080" || it == "[::1]:8080")
        );
    }

    #[test]
    fn without_another_thread_a_name_is_an_error() {
        let refused = look_up("localhost:80".to_owned(), within(Duration::from_secs(60)), |_, _| {
            Err(io::ErrorKind::WouldBlock.into())
        });
        assert!(matches!(refused, Err(Error::Other(error)) if error.downcast_ref::<NoThread>().is_some()));
    }

    #[test]
    fn a_lookup_ends_at_its_timeout() {
        let never = look_up("localhost:80".to_owned(), within(Duration::ZERO), |_, run| {
            std::mem::forget(run);
            Ok(())
        });
        assert!(matches!(never, Err(Error::Timeout(Timeout::Resolve))));
    }
}

//! Queries a sidecar's probes and metrics over HTTP.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::run::{Running, cpu_time, poll_until};

/// Read timeout for one response; a delayed client would wait for seconds.
const PROMPT: Duration = Duration::from_secs(2);

/// The address and the process of a running sidecar.
pub(crate) struct Health {
    pub(crate) address: SocketAddr,
    pid: u32,
    asked: Cell<u32>,
}

impl Health {
    /// Waits until the sidecar listens.
    pub(crate) fn of(running: &Running, within: Duration) -> Self {
        let mut address = None;
        poll_until(within, "it listens", || {
            address = listening(running);
            address.is_some()
        });
        Self { address: address.unwrap(), pid: running.id(), asked: Cell::default() }
    }

    pub(crate) fn status(&self, path: &str) -> u16 {
        status(&self.get(path))
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics"))
    }

    /// The number of requests that this client has sent.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.get()
    }

    /// The processor time that the sidecar has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        cpu_time(self.pid)
    }

    fn get(&self, path: &str) -> String {
        self.asked.set(self.asked.get() + 1);
        get(self.address, path)
    }
}

/// The address that the sidecar logged, once it listens.
pub(crate) fn listening(running: &Running) -> Option<SocketAddr> {
    let log = running.stderr();
    log.split_once("listening on ")?.1.split_once('\n')?.0.parse().ok()
}

/// A time as the metrics have it.
pub(crate) fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// All that comes back for these bytes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PROMPT)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
}

pub(crate) fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status: {answer}"))
}

/// One scrape of `/metrics`: values by name, where the name includes the labels.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(answer: &str) -> Self {
        let text = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no body: {answer}")).1;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}")));
        Self(samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    /// The value of a sample, zero if it is missing.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All samples of a metric, with any labels.
    pub(crate) fn all<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let samples = self.0.iter().map(|(name, value)| (name.as_str(), *value));
        samples.filter(move |(name, _)| name.split('{').next() == Some(metric))
    }
}

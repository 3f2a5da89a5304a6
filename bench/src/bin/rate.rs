//! Sends many requests through one client from several threads, and reports the rate, the processor time and the latency.
//!
//! A request reads a Secret and decodes all of its keys. Requests are due at an even pace, whether or not earlier requests
//! have completed. The latency of a request counts from its due time, so that a client that falls behind shows it. With a
//! pace of 0, each thread sends its next request right after the last response.
//!
//! `rate CLIENT THREADS REQUESTS PACE SECRET`, where CLIENT is `ureq`, `podcreds`, or `podcreds:QPS` for a client-side limit,
//! and PACE is in requests per second. Prints JSON.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use podcreds::kube::config::in_cluster;
use podcreds::kube::{Client, ClientConfig, Deadline, Limits};
use podcreds::object::{Kind, Namespace, ObjectRef};
use podcreds_bench::Pod;
use serde::Deserialize;
use serde_json::json;

const USAGE: &str = "usage: rate ureq|podcreds|podcreds:QPS THREADS REQUESTS PACE SECRET";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Unmeasured requests of each thread, which open connections and fill caches.
const WARM_UP: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [client, threads, requests, pace, secret] = arguments.as_slice() else { return Err(USAGE.into()) };
    let load = Load { threads: threads.parse()?, requests: requests.parse()?, pace: pace.parse()? };
    let results = match client.split(':').collect::<Vec<_>>().as_slice() {
        ["ureq"] => {
            let pod = Pod::from_env()?;
            load.run(|| read_bare(&pod, secret))
        }
        ["podcreds"] => load.run(reader(None, secret)?),
        ["podcreds", qps] => load.run(reader(Some(qps.parse()?), secret)?),
        _ => return Err(USAGE.into()),
    };
    let took = results.took.as_secs_f64();
    let report = json!({
        "reached": f64::from(load.requests) / took,
        "cpu_ms": results.cpu.as_secs_f64() * 1e3 / f64::from(load.requests),
        "peak_kib": peak_kib()?,
        "errors": results.errors.len(),
        "latency_ms": results.latencies.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>(),
    });
    println!("{report}");
    if let Some(error) = results.errors.first() {
        eprintln!("{} of {} requests failed, for example: {error}", results.errors.len(), load.requests);
    }
    Ok(())
}

/// Reads the Secret with podcreds' own client.
fn reader(
    qps: Option<f64>,
    secret: &str,
) -> Result<impl Fn() -> Result<usize, String> + Sync, Box<dyn Error>> {
    let variable = |name| env::var(name);
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let account = variable("PODCREDS_SERVICE_ACCOUNT_DIR")?;
    let config = in_cluster::load(Path::new(&account), Some(&host), Some(&port), TIMEOUT)?;
    let limits = qps.map(|qps| Limits { qps, burst: 40 });
    let client = Client::new(ClientConfig { limits, ..config });
    let secret = ObjectRef::parse(Kind::Secret, secret, &Namespace::parse(&variable("POD_NAMESPACE")?)?)?;
    Ok(move || {
        let read = client.object(&secret, Deadline::after(TIMEOUT));
        read.map(|object| object.data.keys().map_or(0, BTreeMap::len)).map_err(|error| error.to_string())
    })
}

#[derive(Deserialize)]
struct Secret<'a> {
    #[serde(borrow)]
    data: HashMap<&'a str, &'a str>,
}

/// Reads the Secret with a bare ureq agent.
fn read_bare(pod: &Pod, secret: &str) -> Result<usize, String> {
    let read = || -> Result<usize, Box<dyn Error>> {
        let request = pod.agent.get(format!("{}/secrets/{secret}", pod.namespace));
        let request =
            request.header("Authorization", &pod.authorization).header("Accept", "application/json");
        let body = request.call()?.body_mut().read_to_vec()?;
        let Secret { data } = serde_json::from_slice(&body)?;
        let decoded =
            data.values().map(|value| BASE64_STANDARD.decode(value)).collect::<Result<Vec<_>, _>>()?;
        Ok(decoded.len())
    };
    read().map_err(|error| error.to_string())
}

struct Load {
    threads: u32,
    requests: u32,
    /// In requests per second. 0: as fast as responses come.
    pace: f64,
}

#[derive(Default)]
struct Results {
    took: Duration,
    /// Of all threads that sent requests.
    cpu: Duration,
    latencies: Vec<Duration>,
    errors: Vec<String>,
}

impl Load {
    fn run(&self, request: impl Fn() -> Result<usize, String> + Sync) -> Results {
        let warm_up = || (0..WARM_UP).for_each(|_| drop(request()));
        thread::scope(|scope| drop((0..self.threads).map(|_| scope.spawn(warm_up)).collect::<Vec<_>>()));
        let next = AtomicU32::new(0);
        let started = Instant::now();
        let work = || {
            let (mut results, before) = (Results::default(), cpu());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.requests {
                    break;
                }
                let due = self.wait(started, number);
                match request() {
                    Ok(_) => results.latencies.push(due.elapsed()),
                    Err(error) => results.errors.push(error),
                }
            }
            results.cpu = cpu().saturating_sub(before);
            results
        };
        let mut all = Results::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            for results in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                all.cpu += results.cpu;
                all.latencies.extend(results.latencies);
                all.errors.extend(results.errors);
            }
        });
        all.took = started.elapsed();
        all
    }

    /// Waits until the request is due and returns that time.
    fn wait(&self, started: Instant, number: u32) -> Instant {
        if self.pace == 0.0 {
            return Instant::now();
        }
        let due = started + Duration::from_secs_f64(f64::from(number) / self.pace);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

/// The processor time of this thread, as the kernel counts it.
/// Source: <https://docs.kernel.org/scheduler/sched-stats.html>
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}

/// The peak resident size of this process.
fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("/proc/self/status has no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

//! Makes many requests through one client from several threads, and says how many a second that came to, what each cost, and
//! how long each took.
//!
//! A request reads a Secret and decodes all of its keys. Requests are due at an even pace, each at its own time, whether or
//! not the ones before it have been answered: how long one took counts from then on, so that a client that cannot keep up
//! shows it. At a pace of 0 each thread makes the next request right after the last.
//!
//! `rate WAY THREADS REQUESTS PACE SECRET`, where WAY is `ureq`, `podcreds`, or `podcreds:QPS` for a client-side limit, and PACE
//! is in requests a second. Prints JSON.

use std::collections::HashMap;
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
/// The bound on a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that open connections and fill caches, for each thread; they do not count.
const WARM_UP: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [way, threads, requests, pace, secret] = arguments.as_slice() else { return Err(USAGE.into()) };
    let load = Load { threads: threads.parse()?, requests: requests.parse()?, pace: pace.parse()? };
    let ran = match way.split_once(':') {
        None if way == "ureq" => {
            let pod = Pod::from_env()?;
            load.run(|| read_bare(&pod, secret))
        }
        None if way == "podcreds" => load.run(reader(None, secret)?),
        Some(("podcreds", qps)) => load.run(reader(Some(qps.parse()?), secret)?),
        _ => return Err(USAGE.into()),
    };
    let took = ran.took.as_secs_f64();
    let report = json!({
        "reached": f64::from(load.requests) / took,
        "cpu_ms": ran.cpu.as_secs_f64() * 1e3 / f64::from(load.requests),
        "peak_kib": peak_kib()?,
        "errors": ran.errors.len(),
        "latency_ms": ran.latencies.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>(),
    });
    println!("{report}");
    if let Some(error) = ran.errors.first() {
        eprintln!("{} of {} requests failed, as with: {error}", ran.errors.len(), load.requests);
    }
    Ok(())
}

/// Reads the Secret as podcreds does.
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
        read.map(|object| object.data.len()).map_err(|error| error.to_string())
    })
}

#[derive(Deserialize)]
struct Secret<'a> {
    #[serde(borrow)]
    data: HashMap<&'a str, &'a str>,
}

/// Reads the Secret with nothing around the client that podcreds is built on.
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
    /// In requests a second; 0 for as fast as answers come.
    pace: f64,
}

#[derive(Default)]
struct Ran {
    took: Duration,
    /// Of all threads that made requests.
    cpu: Duration,
    latencies: Vec<Duration>,
    errors: Vec<String>,
}

impl Load {
    fn run(&self, request: impl Fn() -> Result<usize, String> + Sync) -> Ran {
        let warm_up = || (0..WARM_UP).for_each(|_| drop(request()));
        thread::scope(|scope| drop((0..self.threads).map(|_| scope.spawn(warm_up)).collect::<Vec<_>>()));
        let next = AtomicU32::new(0);
        let started = Instant::now();
        let work = || {
            let (mut ran, before) = (Ran::default(), cpu());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.requests {
                    break;
                }
                let due = self.wait(started, number);
                match request() {
                    Ok(_) => ran.latencies.push(due.elapsed()),
                    Err(error) => ran.errors.push(error),
                }
            }
            ran.cpu = cpu().saturating_sub(before);
            ran
        };
        let mut all = Ran::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            for ran in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                all.cpu += ran.cpu;
                all.latencies.extend(ran.latencies);
                all.errors.extend(ran.errors);
            }
        });
        all.took = started.elapsed();
        all
    }

    /// Waits until the request is due, and says when that was.
    fn wait(&self, started: Instant, number: u32) -> Instant {
        if self.pace == 0.0 {
            return Instant::now();
        }
        let due = started + Duration::from_secs_f64(f64::from(number) / self.pace);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

/// What this thread has had of processors so far, by the kernel's own count.
/// Source: <https://docs.kernel.org/scheduler/sched-stats.html>
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(first.unwrap_or_default())
}

/// The largest resident size so far.
fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("/proc/self/status has no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

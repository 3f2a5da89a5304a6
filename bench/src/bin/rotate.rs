//! Changes a Secret again and again and says how long its new value takes to a file.
//!
//! One change at a time: a PATCH over a kept-alive connection, then the file is read every 100 µs until it holds the new
//! value. Between two changes it waits a little, for a different time each, so that it keeps step with nothing. Without a
//! file it changes the Secret as fast as the API server answers and waits for nothing.
//!
//! `rotate CHANGES SECRET [FILE]` prints JSON: how long each change took from before the request and from its answer on, in
//! milliseconds, and `last`, the last value of the key `password`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use podcreds_bench::Pod;
use serde_json::json;

const USAGE: &str = "usage: rotate CHANGES SECRET [FILE]";
/// How often the file is read.
const INTERVAL: Duration = Duration::from_micros(100);
/// The longest wait between two changes, in milliseconds.
const LONGEST_PAUSE: u64 = 50;
/// A change that takes longer is taken for lost.
const LOST: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let changes: u64 = arguments.next().ok_or(USAGE)?.parse()?;
    let secret = arguments.next().ok_or(USAGE)?;
    let file = arguments.next().map(PathBuf::from);
    let pod = Pod::from_env()?;

    let (mut after_answer, mut after_request) = (Vec::new(), Vec::new());
    let mut value = String::new();
    for change in 0..changes {
        value = format!("test-password-{}-{change}", process::id());
        let asked = Instant::now();
        write(&pod, &secret, &value)?;
        let answered = Instant::now();
        if let Some(file) = &file {
            let arrived = wait_for(file, &value)?;
            after_answer.push(milliseconds(answered, arrived));
            after_request.push(milliseconds(asked, arrived));
            // 7 and the longest pause have no common divisor: every length comes up.
            thread::sleep(Duration::from_millis(change * 7 % LONGEST_PAUSE));
        }
    }
    let report = json!({
        "last": value,
        "after_answer_ms": after_answer,
        "after_request_ms": after_request,
    });
    println!("{report}");
    Ok(())
}

fn write(pod: &Pod, secret: &str, value: &str) -> Result<(), Box<dyn Error>> {
    let request = pod.agent.patch(format!("{}/secrets/{secret}", pod.namespace));
    let request = request
        .header("Authorization", &pod.authorization)
        .header("Content-Type", "application/merge-patch+json");
    let body = json!({ "stringData": { "password": value } });
    request.send(body.to_string())?.body_mut().read_to_vec()?;
    Ok(())
}

fn wait_for(file: &Path, value: &str) -> Result<Instant, Box<dyn Error>> {
    let deadline = Instant::now() + LOST;
    while fs::read(file).ok().as_deref() != Some(value.as_bytes()) {
        if Instant::now() > deadline {
            return Err(format!("{} did not get {value} within {LOST:?}", file.display()).into());
        }
        thread::sleep(INTERVAL);
    }
    Ok(Instant::now())
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

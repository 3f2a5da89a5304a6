//! Changes a Secret repeatedly and measures how long each new value takes to reach a file.
//!
//! For each change it sends a PATCH over a kept-alive connection and then reads the file every 100 µs until the file has the
//! new value. It pauses for a varying time between changes, so that it does not synchronize with a timer of the measured
//! program. Without a file it changes the Secret as fast as the API server responds.
//!
//! `rotate CHANGES SECRET [FILE]` prints JSON: for each change the milliseconds from the start of the request and from its
//! response to the new value in the file, and `last`, the last value of the key `password`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use podcreds_bench::Pod;
use serde_json::json;

const USAGE: &str = "usage: rotate CHANGES SECRET [FILE]";
const INTERVAL: Duration = Duration::from_micros(100);
/// In milliseconds.
const LONGEST_PAUSE: u64 = 50;
/// A change that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let changes: u64 = arguments.next().ok_or(USAGE)?.parse()?;
    let secret = arguments.next().ok_or(USAGE)?;
    let file = arguments.next().map(PathBuf::from);
    let pod = Pod::from_env()?;

    let (mut after_response, mut after_request) = (Vec::new(), Vec::new());
    let mut value = String::new();
    for change in 0..changes {
        value = format!("test-password-{}-{change}", process::id());
        let requested = Instant::now();
        pod.set_password(&secret, &value)?;
        let responded = Instant::now();
        if let Some(file) = &file {
            let arrived = wait_for(file, &value)?;
            after_response.push(milliseconds(responded, arrived));
            after_request.push(milliseconds(requested, arrived));
            // 7 and the longest pause have no common divisor, so every length occurs.
            thread::sleep(Duration::from_millis(change * 7 % LONGEST_PAUSE));
        }
    }
    let report = json!({
        "last": value,
        "after_response_ms": after_response,
        "after_request_ms": after_request,
    });
    println!("{report}");
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

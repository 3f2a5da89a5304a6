//! Many large objects that change at the same time: the memory that a sidecar takes for them, beyond the objects themselves.

use std::ops::Range;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::run::{Running, peak_memory};
use crate::support::server::{Kind, WatchFault};
use crate::{HANGS, Scene};

const SOURCES: usize = 24;
/// The size of an unused key.
const LARGE: usize = 500_000;
/// The size of an unused key of which half of an event is still large.
const MEDIUM: usize = 200_000;
/// The memory that a burst may take beyond the peak of the first reads, which is about 10 MB above the sources. Without a limit on
/// events, each source takes three times its size.
const BOUND: u64 = 12_000_000;
/// A debug build decodes large objects slowly, and other tests run at the same time.
const PATIENCE: Duration = HANGS.saturating_mul(4);

fn name(index: usize) -> String {
    format!("s{index}")
}

fn put(scene: &Scene, indices: Range<usize>, value: &str, size: usize) {
    let large = vec![b'x'; size];
    for index in indices {
        scene.server.put_secret("prod", &name(index), &[("a", value.as_bytes()), ("big", &large)]);
    }
}

/// A sidecar that watches these sources, each in a credential of its own.
fn watching(sources: usize, size: usize, args: &[&str]) -> (Scene, Running) {
    let annotations: Vec<_> = (0..sources)
        .flat_map(|index| [(format!("s{index}.secret"), name(index)), (format!("s{index}.keys"), "a".into())])
        .collect();
    let annotations: Vec<_> = annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let scene = Scene::new(&annotations);
    put(&scene, 0..sources, "1", size);
    let mut command = scene.command(&[&["sidecar", "--grace", "0s"], args].concat());
    // glibc keeps freed memory in an arena for each thread. The libc of a release returns buffers of this size.
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "65536");
    let running = Running::start(command);
    await_value(&scene, &running, 0..sources, "1");
    running.poll_until(PATIENCE, "all are watched", || scene.server.open_watches() == sources);
    (scene, running)
}

#[track_caller]
fn await_value(scene: &Scene, running: &Running, indices: Range<usize>, value: &str) {
    let what = format!("all files have the value {value}");
    running.poll_until(PATIENCE, &what, || {
        indices.clone().all(|index| scene.read(&format!("s{index}/a")) == value)
    });
}

#[test]
fn a_burst_of_large_events_is_received_a_few_at_a_time() {
    let (scene, mut running) = watching(SOURCES, LARGE, &[]);
    let before = peak_memory(running.id());
    // All events wait in the sockets, and arrive at once.
    running.send(Signal::STOP);
    put(&scene, 0..SOURCES, "2", LARGE);
    running.poll_until(PATIENCE, "all events are sent", || !scene.server.watches_are_behind());
    running.send(Signal::CONT);
    await_value(&scene, &running, 0..SOURCES, "2");
    let after = peak_memory(running.id());
    assert!(after - before < BOUND, "{before} bytes before the burst, at most {after} with it");
}

#[test]
fn large_events_that_stall_delay_no_other_watch() {
    const STALLED: usize = 8;
    let (scene, running) = watching(STALLED + 4, MEDIUM, &["--request-timeout", "2s"]);
    for index in 0..STALLED {
        scene.server.break_watches_of(Kind::Secret, "prod", &name(index), WatchFault::StallLine);
    }
    put(&scene, 0..STALLED, "2", MEDIUM);
    running.poll_until(PATIENCE, "the stalled events have begun", || !scene.server.watches_are_behind());
    put(&scene, STALLED..STALLED + 4, "2", MEDIUM);
    await_value(&scene, &running, STALLED..STALLED + 4, "2");
    // Their watches are given up, and the objects read again.
    await_value(&scene, &running, 0..STALLED, "2");
}
